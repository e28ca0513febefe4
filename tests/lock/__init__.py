"""Locking against signed archives and a wheel index on the loopback interface, which misbehave on request."""

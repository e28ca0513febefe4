"""Frozen models and their file formats. No I/O beyond their own file."""

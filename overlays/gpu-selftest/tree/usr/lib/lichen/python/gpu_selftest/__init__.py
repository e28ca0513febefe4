"""Acceptance of a machine with GPUs of NVIDIA."""

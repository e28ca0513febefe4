"""Looks at a camera's pictures through an ONNX detector."""

"""Workloads of our own; each is a program that prints one JSON object of what it measured."""

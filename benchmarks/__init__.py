"""Benchmarks against the bare client loop: ``python -m benchmarks NAME`` in the project."""

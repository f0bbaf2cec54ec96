"""Faults made on purpose, on real servers: what this library loses, misreads and lets callers wait for under each."""

"""Inject faults into real servers, and measure what the library loses, misreads and makes callers wait for."""

"""Clients of MongoDB and Redis for each event loop, the circuit breaker, and the caches in front."""

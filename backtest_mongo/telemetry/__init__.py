"""Metrics, spans and statistics, read from the hooks of ``core.observation``."""

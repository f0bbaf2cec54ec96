"""The commands ``doctor``, ``inspect`` and ``migrate``."""

"""Engines that people run, on this storage: each module needs the engine's own package, which an extra installs."""

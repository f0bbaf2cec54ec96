"""The command ``status``: what every strategy is doing."""

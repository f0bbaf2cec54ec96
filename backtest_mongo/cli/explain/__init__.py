"""The command ``explain``: what was known at the moments of a trade."""

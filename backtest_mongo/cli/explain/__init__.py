"""The command ``explain``: what was known when a trade was scheduled, opened and closed."""

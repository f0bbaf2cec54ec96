"""Candles in files, and the commands that carry them in and out of the database."""

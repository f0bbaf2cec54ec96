"""Rows of any columns as arrays: what rows, frames and stored blocks become, and are made of."""

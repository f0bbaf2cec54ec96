"""Candles and other series: rows, sealed blocks, reads, coverage and frames."""

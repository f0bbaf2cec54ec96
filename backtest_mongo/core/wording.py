"""Phrases that messages of several rooms share."""

from __future__ import annotations

__all__ = ["format_count", "suggest_extra"]


def format_count(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as ``1 candle`` and ``2,000 candles``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def suggest_extra(extra: str) -> str:
    """Return the command that installs an extra, for a package from an index and for one from a checkout."""
    return f'pip install "backtest-mongo[{extra}]", or ".[{extra}]" in a checkout'

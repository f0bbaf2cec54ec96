"""Hints for names that don't exist."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["suggest"]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the known name that is closest, or with all of them if none is close."""
    from difflib import get_close_matches

    by_letters = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), by_letters)
    return f"did you mean {by_letters[close[0]]}?" if close else f"known are {', '.join(by_letters.values())}"

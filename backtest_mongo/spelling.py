"""What a name that nobody knows was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["meant"]


def meant(name: str, known: Iterable[str]) -> str:
    """Return a hint that gives the known name which is closest, or all of them where none is close."""
    from difflib import get_close_matches

    by_letters = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), by_letters, 1)
    return f"did you mean {by_letters[close[0]]}?" if close else f"known are {', '.join(by_letters.values())}"

"""How long, or how many, rows or versions are kept, as a setting says it: ``90d``, ``1000``, ``state=90d,signal``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

__all__ = ["FOREVER", "Retention", "find_due", "parse_retention", "parse_retentions"]

_DAYS: Final = re.compile(r"([0-9]+)d")
_ROWS: Final = re.compile(r"[0-9]+")
#: A hundred years: times before the epoch are none of ours.
_MOST_DAYS: Final = 36_500
_MOST_ROWS: Final = 10**12
#: Versions that are written between two looks at what of a key need not be kept. It is irrational, so that each of the
#: keys that take turns is looked at, however many they are.
_WRITES_PER_PRUNING: Final = 32 + (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept: all of it, or what was written in the last days, or the last so many of each key or context.

    Attributes:
        days: days of age, by the time of writing; ``None`` for no limit.
        rows: how many are kept; ``None`` for no limit.
    """

    days: int | None = None
    rows: int | None = None

    def __str__(self) -> str:
        if self.days is not None:
            return f"{self.days}d"
        return "" if self.rows is None else str(self.rows)

    @property
    def is_limited(self) -> bool:
        """Whether anything is ever deleted."""
        return self.days is not None or self.rows is not None

    def find_cut(self, now: int) -> int | None:
        """Return the time of writing before which nothing has to be kept, in milliseconds since the epoch."""
        return None if self.days is None else now - timedelta(days=self.days) // timedelta(milliseconds=1)


#: Everything is kept.
FOREVER: Final = Retention()


def find_due(before: int, count: int) -> int | None:
    """Return after which of some writes, by its index, it is time to look at what of its key need not be kept.

    Args:
        before: how many versions were written before.
        count: how many are written.

    Returns:
        The last such write, ``None`` if there is none.
    """
    last = (before + count) // _WRITES_PER_PRUNING
    return None if last == before // _WRITES_PER_PRUNING else int(last * _WRITES_PER_PRUNING) - before


def parse_retention(text: str) -> Retention:
    """Return what a text says: ``90d`` for days, ``1000`` for a number.

    Raises:
        ValueError: it says neither, or would keep nothing.
    """
    days = _DAYS.fullmatch(text)
    if days is None and not _ROWS.fullmatch(text):
        raise ValueError(f"must be days such as 90d or a number such as 1000, not {text!r}")
    value, most = (int(days[1]), _MOST_DAYS) if days else (int(text), _MOST_ROWS)
    if not value:
        raise ValueError(f"must keep something: {text} would keep nothing")
    if value > most:
        raise ValueError(f"must be {most:,}{'d' if days else ''} at most, not {text}")
    return Retention(days=value) if days else Retention(rows=value)


def parse_retentions(text: str) -> dict[str, Retention]:
    """Return what a text says of slots, by their names: ``state,session=90d,signal=1000``.

    Raises:
        ValueError: a slot is named twice, or what follows its name can't be read.
    """
    found: dict[str, Retention] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (some.strip() for some in part.partition("="))
        if name in found:
            raise ValueError(f"names {name!r} twice")
        try:
            found[name] = parse_retention(value) if equals else FOREVER
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return found

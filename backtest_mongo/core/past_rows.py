"""Rows as they were at a time, and those of which that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from backtest_mongo.core.specs import Key

__all__ = ["NO_TIME", "NO_VERSIONS", "OLDER", "FoundRow", "LostRow", "PastRow"]

#: Why it is not known what a row was.
NO_VERSIONS: Final = "it was written since, and no version of it is kept"
OLDER: Final = "it is older than the versions of it that are kept"
NO_TIME: Final = "nothing says when it was written"


class PastRow(NamedTuple):
    """A row as it was at a time.

    Attributes:
        key: its natural key.
        payload: its payload, decoded; ``None`` if the row was cleared.
        time: the simulation time from which on it was so, in milliseconds since the epoch, ``None`` if no versions of
            it are kept.
        stored: the row in the form of its database.
    """

    key: Key
    payload: Any
    time: int | None
    stored: Any


class LostRow(NamedTuple):
    """A row of which it is not known what it was.

    Attributes:
        fields: the fields of its key, or what else there is to find it by.
        problem: why it is not known.
        payload: what it is now.
    """

    fields: Mapping[str, Any]
    problem: str
    payload: Any = None


FoundRow: TypeAlias = PastRow | LostRow

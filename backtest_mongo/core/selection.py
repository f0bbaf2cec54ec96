"""Which rows of a context a list has, and in which order: by their keys, and by what their payloads hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

__all__ = ["EVERY_ROW", "LARGEST_LIMIT", "PayloadFilter", "Selection", "bound_prefix", "look_up"]

#: The largest number of rows that MongoDB takes as a limit.
LARGEST_LIMIT: Final = 2**31 - 1

_LAST_CHARACTER: Final = "\U0010ffff"
_FIRST_SURROGATE: Final = 0xD800
_AFTER_SURROGATES: Final = 0xE000


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFilter:
    """Which payloads are wanted: those that have texts, and a time within a range, at paths such as ``context.symbol``.

    A path leads through objects alone. What is there must be a text or a number of milliseconds to be compared: a
    payload without it, or with anything else there, is not wanted.

    Attributes:
        texts: paths, and the text that is there.
        time: the path of the time; empty where it doesn't matter.
        since: the earliest time, ``None`` for no limit.
        until: the latest time, ``None`` for no limit.
    """

    texts: tuple[tuple[str, str], ...] = ()
    time: str = ""
    since: int | None = None
    until: int | None = None

    def matches(self, payload: Any) -> bool:
        """Return whether a payload is wanted."""
        for path, text in self.texts:
            found = look_up(payload, path)
            if not isinstance(found, str) or found != text:
                return False
        if not self.time:
            return True
        found = look_up(payload, self.time)
        if isinstance(found, bool) or not isinstance(found, int | float) or found - found != 0:  # not finite
            return False
        return (self.since is None or found >= self.since) and (self.until is None or found <= self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rows of a context from one key to another.

    Attributes:
        first: the first key.
        end: the key before which they end, ``None`` for no end.
        newest_first: whether they come in descending order of the keys.
        limit: how many at most, ``None`` for all.
        where: which payloads are wanted, ``None`` for all.
    """

    first: str = ""
    end: str | None = None
    newest_first: bool = False
    limit: int | None = None
    where: PayloadFilter | None = None

    def has_key(self, key: str) -> bool:
        """Return whether a key is within the range."""
        return self.first <= key and (self.end is None or key < self.end)


#: All rows, in ascending order of the keys.
EVERY_ROW: Final = Selection()


def bound_prefix(prefix: str) -> tuple[str, str | None]:
    """Return the first text that begins with a prefix, and the first one after all that do, ``None`` if there is none.

    Texts are in the order of their code points.
    """
    head = prefix.rstrip(_LAST_CHARACTER)
    if not head:
        return prefix, None
    point = ord(head[-1]) + 1
    return prefix, head[:-1] + chr(_AFTER_SURROGATES if point == _FIRST_SURROGATE else point)


def look_up(payload: Any, path: str) -> Any:
    """Return what a payload has at a path, ``None`` if it has nothing there."""
    for name in path.split("."):
        if not isinstance(payload, dict):
            return None
        payload = payload.get(name)
    return payload

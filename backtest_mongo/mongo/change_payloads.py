"""The payloads of rows whose change events hold only the changed parts.

A row that is written in a run, or has an origin for another reason, is written by an update that is a pipeline. Its
event holds the changed parts of the payload instead of the whole, and the document that comes with it may be a later
one. So a watch keeps the payloads of such rows, and applies the parts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import bson

from backtest_mongo.core.payload import CODEC
from backtest_mongo.types import Document

__all__ = ["KEPT_BYTES", "UNKNOWN", "ChangePayloads"]

#: The most bytes of payloads that a watch keeps; a dropped one is known again after the next event with all of it.
KEPT_BYTES: Final = 8 << 20

#: What is returned for a payload that is unknown.
UNKNOWN: Final = object()


class _Kept(NamedTuple):
    """A payload as BSON, and when it was stored if it was read beside the stream."""

    content: bytes
    read_at: datetime | None


class _UnclearPathError(Exception):
    """A path in an event leads nowhere, or to two places."""


class ChangePayloads:
    """Payloads by the ids of their rows, those that were used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, _Kept] = OrderedDict()
        self._bytes = 0

    def put(self, oid: Any, payload: Any, read_at: datetime | None = None) -> None:
        """Keep a payload.

        Args:
            oid: the row's id.
            payload: what it holds.
            read_at: when that was stored, if it was read and events of before may be yet to come.
        """
        self.drop(oid)
        kept = _Kept(bson.encode({"": payload}, codec_options=CODEC), read_at)
        self._kept[oid] = kept
        self._bytes += len(kept.content)
        while self._bytes > KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.content)

    def drop(self, oid: Any) -> None:
        """Forget a payload."""
        before = self._kept.pop(oid, None)
        if before is not None:
            self._bytes -= len(before.content)

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()
        self._bytes = 0

    def apply(self, oid: Any, field: str, description: Document) -> Any:
        """Return the payload of a row after an update, or :data:`UNKNOWN`.

        Args:
            oid: the row's id.
            field: the field of the payload.
            description: what the event says about the update.
        """
        kept = self._kept.get(oid)
        if kept is None:
            return UNKNOWN
        stamp = description.get("updatedFields", {}).get("updatedDate")
        if kept.read_at is not None and (not isinstance(stamp, datetime) or stamp <= kept.read_at):
            # What was read has this update already, and perhaps later ones.
            return _decode(kept) if stamp == kept.read_at else UNKNOWN
        holder = {field: _decode(kept)}
        try:
            _apply(holder, field, description)
        except (_UnclearPathError, ValueError, IndexError):
            self.drop(oid)
            return UNKNOWN
        return holder[field]


def _decode(kept: _Kept) -> Any:
    return bson.decode(kept.content, CODEC)[""]


def _apply(holder: Document, field: str, description: Document) -> None:
    for array in description.get("truncatedArrays") or ():
        if _is_within(array["field"], field):
            container, name = _find(holder, array["field"])
            del container[name][array["newSize"] :]
    for path in description.get("removedFields") or ():
        if _is_within(path, field):
            container, name = _find(holder, path)
            del container[name]
    for path, value in (description.get("updatedFields") or {}).items():
        if _is_within(path, field):
            container, name = _find(holder, path)
            if isinstance(container, list) and name == len(container):
                container.append(value)
            else:
                container[name] = value


def _is_within(path: str, field: str) -> bool:
    return path.startswith(f"{field}.")


def _find(container: Any, path: str) -> tuple[Any, Any]:
    """Return what holds the value at a path, and its name or place there.

    Names may hold dots, as those of payloads do.
    """
    ways = list(_walk(container, path))
    if len(ways) != 1:
        raise _UnclearPathError(path)
    return ways[0]


def _walk(container: Any, path: str) -> Iterator[tuple[Any, Any]]:
    if isinstance(container, list):
        place, dot, rest = path.partition(".")
        if not dot:
            yield container, int(place)
        elif int(place) < len(container):
            yield from _walk(container[int(place)], rest)
    elif isinstance(container, dict):
        ways = [name for name in container if path.startswith(f"{name}.")]
        if path in container or not ways:
            yield container, path
        for name in ways:
            yield from _walk(container[name], path[len(name) + 1 :])

"""What a lease remembers of the rows that it covers: nobody else writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bson.raw_bson import RawBSONDocument

from backtest_mongo.core.commits import ABSENT_ROW, UNKNOWN_ROW, RowWrite, State, copy_document
from backtest_mongo.core.payload import freeze
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = ["KnownRow", "Memory"]

#: Bytes of payloads that are remembered at most; beyond that they are all forgotten, and read again.
_MOST_BYTES: Final = 256 << 20
#: What a row takes besides its payload.
_ROW_BYTES: Final = 512


class KnownRow:
    """A row as it is stored: what reads find, and the state by which the database knows it."""

    __slots__ = ("fields", "size", "state")

    def __init__(self, fields: Document | None, state: State, size: int) -> None:
        self.fields: Document | None = fields
        self.state: State = state
        self.size: int = size

    def copy_document(self, spec: SlotSpec, key: Key) -> Document | None:
        """Return the row as a read finds it, a copy of its own for each caller."""
        return None if self.fields is None else copy_document(spec, key, self.fields)


class Memory:
    """The rows that are known, by slot and key."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, KnownRow]] = {}
        self._bytes = 0
        #: How many times rows were written or forgotten: what was read before is not taken afterwards.
        self.changes: int = 0

    def get(self, slot: str, key: Key) -> KnownRow | None:
        rows = self._rows.get(slot)
        return None if rows is None else rows.get(key)

    def take_read(self, spec: SlotSpec, key: Key, document: Document | None, state: State) -> KnownRow:
        """Remember a row that was read."""
        known = make_known(spec, key, document, state)
        self._put(spec.name, key, known)
        return known

    def take_written(self, rows: Iterable[RowWrite], states: Iterable[State]) -> None:
        """Remember rows that were written."""
        self.changes += 1
        for row, state in zip(rows, states, strict=True):
            if state is UNKNOWN_ROW:
                self._drop(row.spec.name, row.key)
            else:
                self._put(row.spec.name, row.key, KnownRow(row.fields, state, row.size + _ROW_BYTES))

    def forget(self, rows: Iterable[RowWrite]) -> None:
        """Forget rows of which nothing is known any more."""
        self.changes += 1
        for row in rows:
            self._drop(row.spec.name, row.key)

    def clear(self) -> None:
        self.changes += 1
        self._rows.clear()
        self._bytes = 0

    def _put(self, slot: str, key: Key, known: KnownRow) -> None:
        self._drop(slot, key)
        if self._bytes + known.size > _MOST_BYTES:
            self.clear()
        self._rows.setdefault(slot, {})[key] = known
        self._bytes += known.size

    def _drop(self, slot: str, key: Key) -> None:
        known = self._rows.get(slot, {}).pop(key, None)
        if known is not None:
            self._bytes -= known.size


def make_known(spec: SlotSpec, key: Key, document: Document | None, state: State) -> KnownRow:
    """Return what is to be remembered of a stored row."""
    if document is None:
        return KnownRow(None, ABSENT_ROW, _ROW_BYTES)
    payload = document.get(spec.field)
    frozen = freeze(dict(zip(spec.key, key, strict=True)), spec.field, payload, spec.name)
    fields: Document = {spec.field: frozen}
    fields |= {name: document[name] for name in ("when", "removed") if name in document}
    return KnownRow(fields, state, (len(frozen.raw) if isinstance(frozen, RawBSONDocument) else 64) + _ROW_BYTES)

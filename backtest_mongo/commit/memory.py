"""What a lease remembers of the rows that it covers: nobody else writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from backtest_mongo.core.commits import ABSENT_ROW, UNKNOWN_ROW, RowWrite, State
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

    __slots__ = ("_row", "state")

    def __init__(self, row: RowWrite | None, state: State) -> None:
        self._row = row
        self.state: State = state

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return _ROW_BYTES + (0 if self._row is None else 2 * self._row.size)

    def copy_document(self) -> Document | None:
        """Return the row as a read finds it, without its key; the payload is the caller's own."""
        return None if self._row is None else self._row.copy_document()


class Memory:
    """The rows that are known, by slot and key."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, KnownRow]] = {}
        self._bytes = 0
        #: How many times rows were written or forgotten: what was read before is not taken afterwards.
        self.changes: int = 0

    def get_rows(self, slot: str) -> dict[Key, KnownRow]:
        """Return the rows of a slot that are known, always the same dict."""
        return self._rows.setdefault(slot, {})

    def take_read(self, spec: SlotSpec, key: Key, document: Document | None, state: State) -> KnownRow:
        """Remember a row that was read."""
        known = _make_known(spec, key, document, state)
        self._put(spec.name, key, known)
        return known

    def take_written(self, rows: Iterable[RowWrite], states: Iterable[State]) -> None:
        """Remember rows that were written."""
        self.changes += 1
        for row, state in zip(rows, states, strict=True):
            if state is UNKNOWN_ROW:
                self._drop(row.spec.name, row.key)
            else:
                self._put(row.spec.name, row.key, KnownRow(row, state))

    def forget(self, rows: Iterable[RowWrite]) -> None:
        """Forget rows of which nothing is known any more."""
        self.changes += 1
        for row in rows:
            self._drop(row.spec.name, row.key)

    def clear(self) -> None:
        self.changes += 1
        for rows in self._rows.values():
            rows.clear()
        self._bytes = 0

    def _put(self, slot: str, key: Key, known: KnownRow) -> None:
        self._drop(slot, key)
        if self._bytes + known.size > _MOST_BYTES:
            self.clear()
        self.get_rows(slot)[key] = known
        self._bytes += known.size

    def _drop(self, slot: str, key: Key) -> None:
        known = self.get_rows(slot).pop(key, None)
        if known is not None:
            self._bytes -= known.size


def _make_known(spec: SlotSpec, key: Key, document: Document | None, state: State) -> KnownRow:
    """Return what is to be remembered of a stored row."""
    if document is None:
        return KnownRow(None, ABSENT_ROW)
    named = dict(zip(spec.key, key, strict=True))
    fields: Document = {spec.field: freeze(named, spec.field, document.get(spec.field), spec.name)}
    fields |= {name: document[name] for name in ("when", "removed") if name in document}
    return KnownRow(RowWrite(spec, key, fields), state)

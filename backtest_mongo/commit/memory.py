"""What a lease keeps of rows: those that it covers, which nobody else writes, and those that wait to be committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from backtest_mongo.core.commits import ABSENT_ROW, UNKNOWN_ROW, RowWrite, State
from backtest_mongo.core.payload import freeze
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = ["AbsentRow", "Memory"]

#: Bytes of payloads that are kept at most; beyond that they are all forgotten, and read again.
_MOST_BYTES: Final = 256 << 20
#: What a row takes besides its payload.
_ROW_BYTES: Final = 512


class AbsentRow:
    """A row that is known not to exist."""

    __slots__ = ()

    is_hidden = True
    when = 0

    def copy_payload(self) -> None:
        return None

    def copy_document(self) -> None:
        return None


_ABSENT: Final = AbsentRow()


class Memory:
    """The rows by slot and key: what reads find, and the states by which the database knows them."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, RowWrite | AbsentRow]] = {}
        self._states: dict[str, dict[Key, State]] = {}
        self._bytes = 0
        #: How many times rows were written or forgotten: what was read before is not taken afterwards.
        self.changes: int = 0

    def get_finder(self, slot: str) -> Callable[[Key], RowWrite | AbsentRow | None]:
        """Return what finds the rows of a slot, always the newest ones."""
        return self._rows.setdefault(slot, {}).get

    def get(self, slot: str, key: Key) -> RowWrite | AbsentRow | None:
        return self._rows.setdefault(slot, {}).get(key)

    def get_state(self, slot: str, key: Key) -> State:
        """Return the state of a row as it is stored, ``UNKNOWN_ROW`` if it is not known."""
        return self._states.setdefault(slot, {}).get(key, UNKNOWN_ROW)

    def is_waiting(self, slot: str, key: Key) -> bool:
        """Return whether a row waits to be committed."""
        row = self.get(slot, key)
        return isinstance(row, RowWrite) and row.is_waiting

    def put_waiting(self, row: RowWrite) -> None:
        """Keep a row that waits to be committed."""
        row.is_waiting = True
        self._put(row.spec.name, row.key, row)

    def take_read(self, spec: SlotSpec, key: Key, document: Document | None, state: State) -> RowWrite | AbsentRow:
        """Keep a row that was read."""
        row = _ABSENT if document is None else _make_row(spec, key, document)
        self._states.setdefault(spec.name, {})[key] = ABSENT_ROW if document is None else state
        self._put(spec.name, key, row)
        return row

    def take_written(self, rows: Iterable[RowWrite], states: Iterable[State]) -> None:
        """Keep rows that were written and are covered, with their states."""
        self.changes += 1
        for row, state in zip(rows, states, strict=True):
            row.is_waiting = False
            if state is UNKNOWN_ROW:
                self._forget(row)
                continue
            self._states.setdefault(row.spec.name, {})[row.key] = state
            if not self.is_waiting(row.spec.name, row.key):  # with a later value
                self._put(row.spec.name, row.key, row)

    def forget(self, rows: Iterable[RowWrite]) -> None:
        """Forget what is stored of rows; those that wait stay."""
        self.changes += 1
        for row in rows:
            self._forget(row)

    def forget_context(self, slot: str, context: Key) -> None:
        """Forget the rows of a context, which were deleted."""
        self.changes += 1
        length = len(context)
        for kept in (self._states.get(slot, {}), self._rows.get(slot, {})):
            for key in [key for key in kept if key[:length] == context and not self.is_waiting(slot, key)]:
                del kept[key]

    def clear(self) -> None:
        """Forget everything but what waits."""
        self.changes += 1
        self._states = {slot: {} for slot in self._states}
        for rows in self._rows.values():
            for key in [key for key, row in rows.items() if not (isinstance(row, RowWrite) and row.is_waiting)]:
                del rows[key]
        self._bytes = 0

    def drop_all(self) -> None:
        """Forget everything."""
        self.changes += 1
        self._states.clear()
        for rows in self._rows.values():
            rows.clear()
        self._bytes = 0

    def _forget(self, row: RowWrite) -> None:
        slot, key = row.spec.name, row.key
        self._states.setdefault(slot, {}).pop(key, None)
        if not self.is_waiting(slot, key):
            self._rows.setdefault(slot, {}).pop(key, None)

    def _put(self, slot: str, key: Key, row: RowWrite | AbsentRow) -> None:
        rows = self._rows.setdefault(slot, {})
        before = rows.get(key)
        self._bytes += _size(row) - (0 if before is None else _size(before))
        rows[key] = row
        if self._bytes > _MOST_BYTES:
            self.clear()


def _size(row: RowWrite | AbsentRow) -> int:
    return _ROW_BYTES + (2 * row.size if isinstance(row, RowWrite) else 0)


def _make_row(spec: SlotSpec, key: Key, document: Document) -> RowWrite:
    named = dict(zip(spec.key, key, strict=True))
    fields: Document = {spec.field: freeze(named, spec.field, document.get(spec.field), spec.name)}
    fields |= {name: document[name] for name in ("when", "removed") if name in document}
    return RowWrite(spec, key, fields)

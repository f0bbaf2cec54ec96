"""Deletes the rows of a collection in files that need not be kept, by the times of the files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple, Protocol

from backtest_mongo.core.changes import name_context
from backtest_mongo.core.pruning import Prunable, Pruner
from backtest_mongo.core.retention import Retention
from backtest_mongo.core.selection import look_up
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.types import now_ms

__all__ = ["FilePruner", "WrittenRow"]


class WrittenRow(NamedTuple):
    """A row and when it was written.

    Attributes:
        order: its sort key among the newest rows.
        key: its key.
        written: when its file was written, in nanoseconds since the epoch.
        payload: its payload.
    """

    order: tuple[int, int]
    key: Key
    written: int
    payload: Any


class PrunedRows(Protocol):
    """What a pruner needs of the rows of a slot; all of it blocks."""

    def list_written(self, context: Key) -> Iterable[WrittenRow]:
        """Yield the rows of a context whose files can be read."""
        ...

    def delete_row(self, key: Key, written: int) -> bool:
        """Delete a row unless it was written since, and return whether it is deleted."""
        ...


class FilePruner(Pruner):
    """The pruner of one slot. Looking at the times of all files takes too long to do it beside writes.

    Args:
        spec: the slot.
        run: calls a function in a thread.
        rows: its rows.
    """

    is_automatic = False

    def __init__(self, spec: SlotSpec, run: Callable[..., Awaitable[Any]], rows: PrunedRows) -> None:
        super().__init__(spec)
        self._run = run
        self._rows = rows

    async def survey(self, retention: Retention) -> Sequence[Prunable]:
        found: list[Prunable] = await self._run("listing", partial(self._survey, retention))
        return found

    async def prune(self, context: Key, retention: Retention, limit: int) -> tuple[int, list[Key]]:
        keys: list[Key] = await self._run("deleting rows", partial(self._prune, context, retention, limit))
        return len(keys), keys

    def _survey(self, retention: Retention) -> list[Prunable]:
        spec = self.spec
        if {*spec.context} - {FLAG}:
            raise StoreError(
                "rows in files can only be pruned where a slot's context is at most the backtest flag",
                slot=spec.name,
                hint="delete the files by hand, or keep the slot in SQLite",
            )
        found = []
        for context in product(*([(False, True)] * len(spec.context))):
            stored, old = self._find_old(context, retention)
            if stored:
                found.append(Prunable(context=name_context(spec, context), key=context, stored=stored, rows=len(old)))
        return found

    def _prune(self, context: Key, retention: Retention, limit: int) -> list[Key]:
        _, old = self._find_old(context, retention)
        return [row.key for row in old[:limit] if self._rows.delete_row(row.key, row.written)]

    def _find_old(self, context: Key, retention: Retention) -> tuple[int, list[WrittenRow]]:
        """Return how many rows there are, and those that need not be kept, the oldest one first.

        The engine rewrites its files in any order, so their age is that of the files, and their order their own.
        """
        rows = sorted(self._rows.list_written(context), key=lambda row: (row.order, row.key))
        cut = retention.find_cut(now_ms())
        if cut is not None:
            old = [row for row in rows if row.written < cut * 1_000_000]
        else:
            old = [] if retention.rows is None else rows[: -retention.rows]
        if not self.spec.ended:
            return len(rows), old
        path, *values = self.spec.ended
        return len(rows), [row for row in old if look_up(row.payload, path) in values]

"""The store that an adapter gets within a transaction or a lease.

Reads see what is yet to be written, in every form; writes are kept until they are committed.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from copy import deepcopy
from dataclasses import replace
from operator import gt, lt
from typing import Any, cast

from backtest_mongo.commit.memory import AbsentRow
from backtest_mongo.commit.scope import LeaseScope, Scope
from backtest_mongo.core.commits import Committer, RowWrite
from backtest_mongo.core.contexts import EVERYTHING, Measure, matches
from backtest_mongo.core.history import VersionStore
from backtest_mongo.core.payload import freeze
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, LARGEST_LIMIT, PayloadFilter, Selection
from backtest_mongo.core.simulation_time import time_of
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.errors import InputError, StoreError
from backtest_mongo.types import Document, Version

__all__ = ["ScopedStore"]


class ScopedStore:
    """A slot's rows as a transaction or a lease sees them.

    Args:
        scope: the transaction or lease.
        spec: the slot.
        base: the slot's own store.
        outer: its rows as the transaction or lease around this one sees them.
    """

    __slots__ = ("_base", "_committer", "_finders", "_length", "_scope", "_slot", "_spec", "has_history")

    def __init__(self, scope: Scope, spec: SlotSpec, base: Store, outer: ScopedStore | None) -> None:
        self._scope = scope
        self._spec = spec
        self._base = base
        self._slot = spec.name
        self._length = len(spec.context)
        #: Whether versions of the rows are kept.
        self.has_history: bool = base.has_history
        try:
            self._committer: Committer | None = base.committer
        except StoreError:  # which its writes will raise
            self._committer = None
        own = None if self._committer is None else scope.get_finder(self._committer, spec.name)
        #: What finds rows that are yet to be written, or are known: of this scope and those around it.
        self._finders: tuple[Callable[[Key], RowWrite | AbsentRow | None], ...] = (
            *(() if own is None else (own,)),
            *(() if outer is None else outer._finders),
        )

    @property
    def versions(self) -> VersionStore:
        return self._base.versions

    @property
    def pruner(self) -> Pruner:
        return self._base.pruner

    @property
    def committer(self) -> Committer:
        return self._base.committer if self._committer is None else self._committer

    def _find_write(self, key: Key) -> RowWrite | None:
        return None if self._committer is None else self._scope.find_write(self._committer, self._slot, key)

    def _list_writes(self, context: Key) -> dict[Key, RowWrite]:
        return {} if self._committer is None else self._scope.list_writes(self._committer, self._spec, context)

    def _list_writes_at(self, context: Key, until: int | None) -> dict[Key, RowWrite]:
        """Return what is yet to be written of a context, of rows whose versions are kept as they were at a time."""
        written = self._list_writes(context)
        if until is None or not self.has_history:
            return written
        found = {key: self._find_pending_at(key, until) for key in written}
        return {key: row for key, row in found.items() if row is not None}

    async def ready(self) -> None:
        await self._base.ready()

    # Reading

    def peek(self, key: Key) -> RowWrite | AbsentRow | None:
        """Return a row that is yet to be written, or is known, without asking the database."""
        scope = self._scope
        if scope.is_closed or get_running_loop() is not scope.loop:
            scope.check_usable()
        for find in self._finders:
            row = find(key)
            if row is not None:
                return row
        return None

    async def find(self, key: Key) -> Document | None:
        row = self.peek(key)
        if row is not None:
            return row.copy_document()
        committer = self._committer
        lease = None
        if committer is not None:
            lease = self._scope.find_lease(committer, self._slot, key[: self._length])
        if lease is None:
            return await self._base.find(key)
        return (await lease.learn(self._spec, key)).copy_document()

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        """Return each row as it was at a time, where versions are kept."""
        self._scope.check_usable()
        found: list[Document | None] = [None] * len(keys)
        left: list[int] = []
        for place, key in enumerate(keys):
            row = self._find_pending_at(key, until)
            if row is None:
                left.append(place)
            else:
                found[place] = row.copy_document()
        if left:
            stored = await self._base.find_at([keys[place] for place in left], until)
            for place, document in zip(left, stored, strict=True):
                found[place] = document
        return found

    def _find_pending_at(self, key: Key, until: int) -> RowWrite | None:
        """Return the latest version that is yet to be written and is not later than a time."""
        for scope in self._scope.walk() if self._committer is not None else ():
            for rows in reversed([*scope.list_own(self._committer, self._slot)]):  # type: ignore[arg-type]
                row = rows[key].find_at(until) if key in rows else None
                if row is not None:
                    return row
        return None

    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]:
        self._scope.check_usable()
        found: list[Document | None] = []
        missing: dict[Key, list[int]] = {}
        for place, key in enumerate(keys):
            row = next((row for find in self._finders if (row := find(key)) is not None), None)
            found.append(None if row is None else row.copy_document())
            if row is None:
                missing.setdefault(key, []).append(place)
        if missing:
            for key, document in zip(missing, await self._base.find_many(list(missing)), strict=True):
                for place in missing[key]:  # to each caller one of its own
                    found[place] = document if place == missing[key][0] else deepcopy(document)
        return found

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        self._scope.check_usable()
        await self._commit_waiting(key)
        if self._find_write(key) is not None:
            raise InputError(
                "a row has no version before it is committed",
                slot=self._slot,
                hint="read with_version before the row is written, or after the transaction",
            )
        return await self._base.find_version(key)

    async def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]:
        """Yield the chosen rows of a context by key, without those that are removed or later than ``until``."""
        self._scope.check_usable()
        written = [
            (key[-1], row) for key, row in self._list_writes_at(context, until).items() if chosen.has_key(key[-1])
        ]
        written.sort(key=lambda row: row[0], reverse=chosen.newest_first)
        left = chosen.limit
        if left is not None:  # as many stored rows may be overwritten by rows that aren't listed
            chosen = replace(chosen, limit=left + len(written))
        async with aclosing(self._merge(written, context, until, chosen)) as rows:
            async for document in rows:
                if left == 0:
                    return
                yield document
                left = None if left is None else left - 1

    async def _merge(
        self, written: Sequence[tuple[str, RowWrite]], context: Key, until: int | None, chosen: Selection
    ) -> AsyncGenerator[Document, None]:
        """Yield the rows of a list, of which ``written`` are yet to be written; both are in its order."""
        item, precedes = self._spec.key[-1], gt if chosen.newest_first else lt
        place = 0
        async with aclosing(cast("Any", self._base.scan(context, until, chosen))) as stored:
            async for document in stored:
                name = document[item]
                while place < len(written) and precedes(written[place][0], name):
                    if self._is_listed(written[place][1], until, chosen.where):
                        yield _name(written[place][1])
                    place += 1
                if place < len(written) and written[place][0] == name:
                    if self._is_listed(written[place][1], until, chosen.where):
                        yield _name(written[place][1])
                    place += 1
                else:
                    yield document
        for _, row in written[place:]:
            if self._is_listed(row, until, chosen.where):
                yield _name(row)

    def _is_listed(self, row: RowWrite, until: int | None, where: PayloadFilter | None) -> bool:
        if row.fields.get("removed") is True:
            return False
        if where is not None and not where.matches(row.copy_payload()):
            return False
        if row.is_kept:
            return True
        when = None if until is None else time_of(self._spec, row.copy_document())
        return until is None or when is None or when <= until

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        """Return the ``limit`` newest rows of a context, oldest first; those that are yet to be written are newest."""
        self._scope.check_usable()
        written = self._list_writes(context)
        # A row that is stored is as old as its first write. Asked for first: a lease may commit what waits meanwhile.
        stored = await self._base.find_many(list(written)) if written else []
        if where is None or all(document is None for document in stored):
            return self._add_written(await self._base.newest(context, limit, where), written, stored, limit, where)
        # A row that is overwritten keeps its place among all rows, whatever its payload was.
        rows = await self._base.newest(context, LARGEST_LIMIT)
        return self._add_written(rows, written, stored, limit, where)

    def _add_written(
        self,
        rows: list[Document],
        written: dict[Key, RowWrite],
        stored: Sequence[Document | None],
        limit: int,
        where: PayloadFilter | None,
    ) -> list[Document]:
        """Return the newest rows, of which ``rows`` are stored, and ``stored`` is what there is of those written."""
        if not written:
            return rows
        context = next(iter(written))[:-1]
        item = self._spec.key[-1]
        listed = {(*context, document[item]) for document in rows}
        rows = [
            written[key].copy_document() if (key := (*context, document[item])) in written else document
            for document in rows
        ]
        rows += [
            row.copy_document()
            for (key, row), document in zip(written.items(), stored, strict=True)
            if document is None and key not in listed
        ]
        if where is not None:
            rows = [document for document in rows if where.matches(document.get(self._spec.field))]
        return rows[-limit:]

    # Contexts as a whole

    async def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        """Yield the contexts that have rows, stored or yet to be written, in the order of the key."""
        self._scope.check_usable()
        written = self._list_written_contexts(where)
        async with aclosing(cast("Any", self._base.list_contexts(where))) as stored:
            async for context in stored:
                while written and written[0] <= context:
                    if written[0] < context:
                        yield written[0]
                    del written[0]
                yield context
        for context in written:
            yield context

    def _list_written_contexts(self, where: Mapping[str, Any]) -> list[Key]:
        if self._committer is None:
            return []
        found: set[Key] = set()
        for scope in self._scope.walk():
            for rows in scope.list_own(self._committer, self._slot):
                found.update(key[: self._length] for key in rows)
        return sorted(context for context in found if matches(self._spec, context, where))

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._base.measure(where, by_context=by_context)

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        return await self._base.delete_some(context, owners)

    @property
    def renamer(self) -> Renamer:
        return self._base.renamer

    # Writing

    async def upsert(self, key: Key, fields: Document) -> None:
        if not self._takes((key,)):
            await self._base.upsert(key, fields)
            return
        row = self._make_row(key, fields)
        if not self._scope.take(row, self.committer):
            await self._write([row])

    async def upsert_each(self, rows: Sequence[tuple[Key, Document]]) -> None:
        """Write rows of any keys; of those of one key the last one counts."""
        if self._takes([key for key, _ in rows]):
            await self._write([self._make_row(key, fields) for key, fields in dict(rows).items()])
        else:
            await self._base.upsert_each(rows)

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        if self._takes([key for key, _ in rows]):
            await self._write([self._make_row(key, fields) for key, fields in rows])
        else:
            await self._base.upsert_many(rows)

    async def remove(self, key: Key, run: str | None = None) -> None:
        """Mark a row as removed, if there is one that is not."""
        if not self._takes((key,)):
            await self._base.remove(key, run)
            return
        spec = self._spec
        document = await self.find(key)
        if document is None or document.get("removed") is True:
            return
        is_pending = self._find_write(key) is not None
        payload = document.get(spec.field)
        if isinstance(payload, dict):
            payload["removed"] = True
        named = dict(zip(spec.key, key, strict=True))
        fields: Document = {spec.field: freeze(named, spec.field, payload, spec.name), "removed": True}
        if spec.when:
            fields["when"] = document.get("when")
        at = self._scope.default_time if self.has_history else None
        if at is not None:
            fields["at"] = at
        if run is not None:
            fields["run"] = run
        await self._write([self._make_row(key, fields, is_removal=not is_pending)])

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        """Write a row if it is what a compare-and-set expects when the transaction is committed."""
        if not self._takes((key,)):
            await self._base.replace(key, fields, expected)
            return
        await self._commit_waiting(key)
        if self._find_write(key) is not None:
            raise InputError(
                "the row is already written by this transaction, so there is nothing to compare",
                slot=self._slot,
                key=dict(zip(self._spec.key, key, strict=True)),
                hint="give if_absent or expect to the first write of the row",
            )
        await self._write([self._make_row(key, fields, expected=expected, is_conditional=True)])

    async def _commit_waiting(self, key: Key) -> None:
        """Let a lease commit a row that waits with others, so that there is a version to compare."""
        if self._committer is not None:
            for scope in self._scope.walk():
                if isinstance(scope, LeaseScope) and scope.get_own(self._committer, self._slot, key) is not None:
                    await scope.flush()

    def _make_row(self, key: Key, fields: Document, **how: Any) -> RowWrite:
        return RowWrite(self._spec, key, fields, is_kept=self.has_history, **how)

    def _takes(self, keys: Sequence[Key]) -> bool:
        scope = self._scope
        scope.check_usable()
        committer = self._committer
        if scope.takes_all or committer is None:
            return scope.takes_all
        return any(scope.takes(committer, self._slot, key) for key in keys)

    async def _write(self, rows: list[RowWrite]) -> None:
        if rows:  # none, of an empty list
            await self._scope.write(rows, self.committer)


def _name(row: RowWrite) -> Document:
    """Return a row of a list, which has its key."""
    return {**dict(zip(row.spec.key, row.key, strict=True)), **row.copy_document()}

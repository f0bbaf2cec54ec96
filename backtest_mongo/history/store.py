"""The store of a slot whose versions are kept: each write stores the row and its version in one transaction."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, cast

from backtest_mongo.core.commits import Committer, RowWrite
from backtest_mongo.core.contexts import EVERYTHING, Measure
from backtest_mongo.core.history import VersionStore
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.selection import EVERY_ROW, PayloadFilter, Selection
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.core.strategy_names import Renamer
from backtest_mongo.history.revisions import make_older_error
from backtest_mongo.types import Document, Version

__all__ = ["HistoryStore", "StrictHistoryStore"]

#: How many rows of a list are looked up at a time.
_PAGE: Final = 200


class HistoryStore:
    """A slot's rows, with their versions.

    Args:
        spec: the slot.
        base: the rows.
        versions: their versions.
    """

    has_history: Final = True

    def __init__(self, spec: SlotSpec, base: Store, versions: VersionStore) -> None:
        self._spec = spec
        self._base = base
        self._versions = versions

    @property
    def versions(self) -> VersionStore:
        return self._versions

    @property
    def pruner(self) -> Pruner:
        return self._base.pruner

    @property
    def committer(self) -> Committer:
        return self._base.committer

    async def ready(self) -> None:
        await self.committer.check()
        await self._base.ready()

    # Reading

    async def find(self, key: Key) -> Document | None:
        return await self._base.find(key)

    async def find_many(self, keys: Sequence[Key], *observed: Any) -> list[Document | None]:
        return await cast("Any", self._base).find_many(keys, *observed)  # type: ignore[no-any-return]  # of either store

    def find_at(self, keys: Sequence[Key], until: int) -> Coroutine[Any, Any, list[Document | None]]:
        return self._versions.find_at(keys, until)

    async def find_version(self, key: Key) -> tuple[Document | None, Version]:
        return await self._base.find_version(key)

    async def scan(
        self, context: Key, until: int | None = None, chosen: Selection = EVERY_ROW
    ) -> AsyncIterator[Document]:
        """Yield the chosen rows of a context by key, as they were at a time, without those that were removed then."""
        if until is None:
            async with aclosing(cast("Any", self._base.scan(context, None, chosen))) as rows:
                async for document in rows:
                    yield document
            return
        async with aclosing(self._scan_at(context, until, chosen)) as found:
            if chosen.newest_first:
                # Versions are listed in ascending order alone.
                for document in reversed(deque([row async for row in found], chosen.limit)):
                    yield document
                return
            left = chosen.limit
            async for document in found:
                yield document
                left = None if left is None else left - 1
                if left == 0:
                    return

    async def _scan_at(self, context: Key, until: int, chosen: Selection) -> AsyncGenerator[Document, None]:
        item, where = self._spec.key[-1], chosen.where
        after: Any = None
        while True:
            rows, after = await self._versions.list_rows(context, after, _PAGE, newest=False)
            is_over = bool(rows) and chosen.end is not None and rows[-1][item] >= chosen.end
            for document in await self._list_at([row for row in rows if chosen.has_key(row[item])], until):
                if where is None or where.matches(document.get(self._spec.field)):
                    yield document
            if after is None or is_over:
                return

    async def newest_at(
        self, context: Key, limit: int, until: int, where: PayloadFilter | None = None
    ) -> list[Document]:
        """Return the ``limit`` rows that were created last as of a time, as they were then, oldest first."""
        found: list[Document] = []
        after: Any = None
        while len(found) < limit:
            rows, after = await self._versions.list_rows(context, after, max(_PAGE, limit), newest=True)
            found += [
                document
                for document in await self._list_at(rows, until)
                if where is None or where.matches(document.get(self._spec.field))
            ]
            if after is None:
                break
        return found[:limit][::-1]

    async def _list_at(self, rows: Sequence[Document], until: int) -> list[Document]:
        """Return the rows of a page as they were at a time."""
        spec = self._spec
        found: list[Document | None] = [*rows]
        later: dict[int, Key] = {}
        for place, document in enumerate(rows):
            time = document["when"]
            if time is not None and time > until:
                later[place] = tuple(document[name] for name in spec.key)
        if later:
            for place, then in zip(later, await self.find_at([*later.values()], until), strict=True):
                found[place] = then
        return [document for document in found if document is not None and document.get("removed") is not True]

    async def newest(self, context: Key, limit: int, where: PayloadFilter | None = None) -> list[Document]:
        return await self._base.newest(context, limit, where)

    # Contexts as a whole, versions included

    def list_contexts(self, where: Mapping[str, Any] = EVERYTHING) -> AsyncIterator[Key]:
        return self._base.list_contexts(where)

    async def measure(self, where: Mapping[str, Any], *, by_context: bool) -> list[Measure]:
        return await self._base.measure(where, by_context=by_context)

    async def delete_some(self, context: Key, owners: Collection[str]) -> tuple[int, bool]:
        return await self._base.delete_some(context, owners)

    @property
    def renamer(self) -> Renamer:
        return self._base.renamer

    # Writing

    async def upsert(self, key: Key, fields: Document) -> None:
        await self.committer.write(RowWrite(self._spec, key, fields, is_kept=True))

    async def upsert_each(self, rows: Sequence[tuple[Key, Document]], *observed: Any) -> None:
        """Write rows of any keys; of those of one key the last one counts."""
        await self._write_all([*dict(rows).items()])

    async def upsert_many(self, rows: Sequence[tuple[Key, Document]]) -> None:
        await self._write_all(rows)

    async def _write_all(self, rows: Sequence[tuple[Key, Document]]) -> None:
        if rows:
            await self.committer.write_all([RowWrite(self._spec, key, fields, is_kept=True) for key, fields in rows])

    async def replace(self, key: Key, fields: Document, expected: Version | None) -> None:
        row = RowWrite(self._spec, key, fields, expected=expected, is_conditional=True, is_kept=True)
        await self.committer.write(row)

    async def remove(self, key: Key, run: str | None = None) -> None:
        # What it is by then is marked, and its time is the row's own where there is one.
        fields: Document = {self._spec.field: None, "removed": True}
        if run is not None:
            fields["run"] = run
        await self.committer.write(RowWrite(self._spec, key, fields, is_removal=True, is_kept=True))


class StrictHistoryStore(HistoryStore):
    """The same for ``as_of()``: where the past is unknown, it raises instead of finding nothing."""

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        found = await self._versions.find_at(keys, until)
        missing = [key for key, document in zip(keys, found, strict=True) if document is None]
        if missing:
            for key, is_complete in zip(missing, await self._versions.are_complete(missing), strict=True):
                if not is_complete:
                    raise make_older_error(self._spec, key)
        return found

"""How each series is stored: its candles in rows, as ever, or in blocks, which are then the truth.

That is kept in the database, in one document for each series that has ever been in blocks::

    {exchangeName, symbol, interval,   the key
     truth,                            "rows", "blocks", or "restoring" while rows are written again
     at,                               since when, as a date
     changes,                          how many times that was changed
     blocks,                           [[first, end], ...]: the stretches that are in blocks, joined where they touch
     writes}                           how many transactions have changed the blocks

A series without one is in rows. Every transaction that changes the blocks of a series changes this document as well,
so of two at once one starts over: while a series is "restoring" nobody adds a block, and what is in blocks is known
even if a block is lost. Adapters remember what they have read. What an adapter that knows "rows" does not find in rows,
it looks for here before it says that there is nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from bson import Int64
from pymongo import WriteConcern
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Truth
from backtest_mongo.errors import StoreError
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.format import note_candle_blocks
from backtest_mongo.series.blocks import BlockGrid
from backtest_mongo.types import Document

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

__all__ = ["ROWS", "Layout", "LayoutChangedError", "Layouts"]

#: A half-open range of times.
Run: TypeAlias = tuple[int, int]

_UNAUTHORIZED: Final = 13
_LOOKING: Final = "looking up how a series is stored"
_CHANGING: Final = "changing how a series is stored"


class LayoutChangedError(Exception):
    """A series is stored in another way than what was begun needs."""


class Layout(NamedTuple):
    """How a series is stored: see the module."""

    truth: Truth
    changes: int = 0
    writes: int = 0
    blocks: tuple[Run, ...] = ()

    @property
    def has_blocks(self) -> bool:
        """Whether candles may be in blocks alone."""
        return self.truth != "rows"

    def list_starts(self, grid: BlockGrid, first: int, end: int) -> list[int]:
        """Return the starts of the blocks that overlap a half-open range."""
        starts = []
        for run_first, run_end in self.blocks:
            start = max(run_first, grid.start(first))
            while start < min(run_end, end):
                starts.append(start)
                start = grid.end(start)
        return starts


#: How a series is stored that has no document.
ROWS: Final = Layout("rows")


class Layouts:
    """How the series of one slot are stored, as one event loop knows."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        self._hub = hub
        self._fields = spec.key[:-1]
        # Writers look at the latest on the primary, and readers at what is as durable as what they read.
        self._collection = hub.get_database(spec)[f"{spec.name.replace('_', '-')}-series"].with_options(
            read_concern=ReadConcern("local"), write_concern=WriteConcern("majority")
        )
        self._durable = self._collection.with_options(read_concern=hub.durable_read_concern)
        self._slot = SlotCollection(hub, spec, self._collection, create_indexes=self._create_indexes)
        self._known: dict[Key, Layout] = {}

    async def _create_indexes(self) -> None:
        await self._collection.create_index([(name, 1) for name in self._fields], unique=True)

    async def prepare(self) -> None:
        """Make sure, within a request, that documents have their index."""
        await self._slot.ensure_indexes()

    # What is known

    def get(self, context: Key) -> Layout | None:
        """Return what was last read of a series; ``None`` if nothing was."""
        return self._known.get(context)

    def has_blocks(self, context: Key) -> bool:
        """Return whether a series is known to have candles in blocks alone."""
        layout = self._known.get(context)
        return layout is not None and layout.has_blocks

    async def look(self, context: Key) -> Layout:
        """Return how a series is stored now, by a request of its own."""
        return (await self._slot.read(_LOOKING, lambda: self._fetch([context], self._durable)))[context]

    async def look_within(self, contexts: Collection[Key]) -> dict[Key, Layout]:
        """Return, within a request, how some series are stored now."""
        return await self._slot.attempt(_LOOKING, lambda _: self._fetch(contexts, self._collection))

    async def list_all(self) -> dict[Key, Layout]:
        """Return how all series are stored that have a document, by a request of its own."""
        return await self._slot.read(_LOOKING, self._fetch_all)

    async def _fetch_all(self) -> dict[Key, Layout]:
        found = await self._find({}, self._durable)
        return {tuple(row.get(name) for name in self._fields): _parse(row) for row in found}

    async def _fetch(self, contexts: Collection[Key], collection: AsyncCollection[Document]) -> dict[Key, Layout]:
        keys = [self._make_key(context) for context in contexts]
        found = await self._find(keys[0] if len(keys) == 1 else {"$or": keys}, collection)
        layouts = dict.fromkeys(contexts, ROWS)
        for row in found:
            layouts[tuple(row[name] for name in self._fields)] = _parse(row)
        self._known |= layouts
        return layouts

    async def _find(self, query: Document, collection: AsyncCollection[Document]) -> list[Document]:
        try:
            return await collection.find(query).to_list(None)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            return []  # this user reads and writes rows alone

    def _make_key(self, context: Key) -> Document:
        return dict(zip(self._fields, context, strict=True))

    # Changing it

    async def begin(self, context: Key, *, if_absent: bool = False) -> Layout:
        """Make blocks the truth of a series, within a request: whatever comes of its rows, readers look for blocks.

        With ``if_absent`` a series that has a document keeps its way of being stored.
        """
        await self._slot.attempt(_CHANGING, lambda _: note_candle_blocks(self._hub))
        await self._slot.ensure_indexes()
        query = self._make_key(context)
        fresh: Document = {"changes": 1, "writes": 0, "blocks": []}
        stated: Document = {"truth": "blocks", "at": datetime.now(UTC)}

        async def write(_: Attempts) -> None:
            await self._collection.update_one(query, {"$setOnInsert": {**stated, **fresh}}, upsert=True)
            if not if_absent:
                changed = {**query, "truth": {"$ne": "blocks"}}
                await self._collection.update_one(changed, {"$set": stated, "$inc": {"changes": 1}})

        await self._slot.attempt(_CHANGING, write)
        return (await self.look_within([context]))[context]

    async def change(self, context: Key, old: Truth, new: Truth) -> Layout:
        """Change how a series is stored from one way to another, within a request; nothing, if it is in neither."""
        query = {**self._make_key(context), "truth": old}
        change = {"$set": {"truth": new, "at": datetime.now(UTC)}, "$inc": {"changes": 1}}
        await self._slot.attempt(_CHANGING, lambda _: self._collection.update_one(query, change))
        return (await self.look_within([context]))[context]

    async def enter(
        self,
        session: Any,
        context: Key,
        grid: BlockGrid,
        truths: Collection[Truth],
        *,
        added: Iterable[int] = (),
        removed: Iterable[int] = (),
    ) -> None:
        """Note in a transaction that it changes blocks of a series: those with the starts that are added or removed.

        Raises:
            LayoutChangedError: the series is stored in none of these ways.
        """
        query = self._make_key(context)
        # Written first, and then read: of two transactions at once the later one conflicts, and is sent again.
        row = await self._collection.find_one_and_update(query, {"$inc": {"writes": 1}}, session=session)
        layout = ROWS if row is None else _parse(row)
        if layout.truth not in truths:
            raise LayoutChangedError
        runs = _change_runs(layout.blocks, grid, added, removed)
        if runs != layout.blocks:
            listed = [[Int64(first), Int64(end)] for first, end in runs]
            await self._collection.update_one(query, {"$set": {"blocks": listed}}, session=session)


def _parse(row: Mapping[str, Any]) -> Layout:
    truth = row.get("truth")
    try:
        if truth not in ("rows", "blocks", "restoring"):
            raise ValueError(truth)
        runs = tuple((int(first), int(end)) for first, end in row["blocks"])
        return Layout(truth, int(row["changes"]), int(row["writes"]), runs)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"reading failed: how the series {', '.join(_name(row))} is stored is not known: its document is damaged",
            hint="restore the database from a backup",
        ) from error


def _name(row: Mapping[str, Any]) -> Sequence[str]:
    return [str(row[name]) for name in ("exchangeName", "symbol", "interval") if name in row]


def _change_runs(
    runs: tuple[Run, ...], grid: BlockGrid, added: Iterable[int], removed: Iterable[int]
) -> tuple[Run, ...]:
    """Return the runs of stretches with some added and some removed, each given by its start."""
    runs = _join([*runs, *((start, grid.end(start)) for start in added)])
    for start in removed:
        end = grid.end(start)
        parts = [part for first, last in runs for part in ((first, min(last, start)), (max(first, end), last))]
        runs = tuple(part for part in parts if part[0] < part[1])
    return runs


def _join(runs: Iterable[Run]) -> tuple[Run, ...]:
    joined: list[Run] = []
    for first, end in sorted(runs):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return tuple(joined)

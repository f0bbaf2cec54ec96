"""Moving candles from rows to blocks, which are then the truth, and back; and writing and deleting such blocks.

One block is written in one transaction, which also deletes the rows that it holds, by their ids: merged and compressed
before it begins, and begun again if a block or a row is no longer what was read. What a block can't hold stays in rows:
candles off the grid, rows of other programs that are no candles, and the stretch that is not complete yet.

Candles that are written to blocks without having been rows are announced, as sealing does it, before rows are looked
for: whoever inserts a row into the stretch meanwhile withdraws the announcement, which the transaction has to find.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from bson import Int64, ObjectId

from backtest_mongo import types
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Counts
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.mongo.transactions import Transactions
from backtest_mongo.series.block_store import BlockStore, find_start
from backtest_mongo.series.blocks import (
    Block,
    BlockGrid,
    DamagedBlockError,
    decode_into,
    encode_block,
    parse_block,
)
from backtest_mongo.series.data_blocks import BlockChangedError, DataBlocks, free_keys
from backtest_mongo.series.layouts import LayoutChangedError, Layouts
from backtest_mongo.series.rows import CandleRows
from backtest_mongo.types import PRICES, Document

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["IMPORTED", "Mover"]

_SEALING: Final = "moving candles into blocks"
_RESTORING: Final = "moving candles into rows"
_IMPORTING: Final = "writing candles into blocks"
_DELETING: Final = "deleting candles"
#: Blocks that an import writes at a time.
IMPORTED: Final = 64
#: Blocks that are deleted at a time.
_DELETED: Final = 64
#: How often a block is begun again that others change all the time.
_TRIES: Final = 200
_PAUSE: Final = 0.005
#: Integers beyond it are no doubles.
_EXACT: Final = 2**53
_LATEST: Final = 2**63 - 1

T = TypeVar("T")


class _Rows(NamedTuple):
    """Rows of a stretch that a block can hold, by time, and the id of each."""

    candles: CandleArrays
    ids: list[Any]


class Mover:
    """Moves the candles of one slot's series between rows and blocks."""

    def __init__(self, hub: Hub, rows: CandleRows, copies: BlockStore, data: DataBlocks, layouts: Layouts) -> None:
        self._hub = hub
        self._rows = rows
        self._copies = copies
        self._data = data
        self._layouts = layouts
        self._transactions = Transactions(hub, data.slot)
        self._has_ids = hub.config.CC_CANDLE_ID_CACHE

    async def _request(self, doing: str, steps: Callable[[], Awaitable[T]]) -> T:
        return await self._data.slot.writes.run_steps(steps, doing)

    async def _repeat(self, doing: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Carry out an attempt as a request of its own, until nobody has changed what it began with."""
        for _ in range(_TRIES):
            try:
                return await self._request(doing, attempt)
            except BlockChangedError:
                await asyncio.sleep(_PAUSE)
        raise StoreUnavailableError(
            f"{doing} failed: other processes kept changing the same block",
            slot=self._rows.spec.name,
            collection=self._rows.spec.collection,
            hint="try again",
        )

    # The way of storing

    async def begin(self, context: Key, *, if_absent: bool = False) -> None:
        """Make blocks the truth of a series; nothing is moved yet.

        Raises:
            StoreError: the server is a standalone, which has no transactions.
        """

        async def begin() -> None:
            await self.begin_within(context, if_absent=if_absent)

        await self._request(_SEALING, begin)

    async def begin_within(self, context: Key, *, if_absent: bool = False) -> None:
        """Do the same within a request."""
        await self._transactions.check()
        await self._data.prepare()
        await self._layouts.begin(context, if_absent=if_absent)

    # From rows to blocks

    async def seal_all(self, context: Key, grid: BlockGrid) -> AsyncIterator[Counts]:
        """Move all rows that blocks can hold; yield after each stretch how many blocks were written, and rows moved."""
        position = await self._rows.find_first_time(context, types.EARLIEST)
        while position is not None and position <= types.LATEST:
            start = grid.start(position)
            yield await self.seal(context, grid, [start])
            position = await self._rows.find_first_time(context, grid.end(start))

    async def seal(self, context: Key, grid: BlockGrid, starts: Sequence[int]) -> Counts:
        """Move the rows of some stretches that blocks can hold; return how many blocks were written, and rows moved."""
        blocks = moved = 0
        for start in starts:
            if start >= grid.start(types.now_ms()):
                continue  # the stretch that is not complete yet
            rows = await self._repeat(_SEALING, partial(self._seal_block, context, grid, start))
            blocks, moved = blocks + bool(rows), moved + rows
        return blocks, moved

    async def _seal_block(self, context: Key, grid: BlockGrid, start: int) -> int:
        from backtest_mongo.core.arrays import merge_arrays

        rows = await self._read_rows(context, grid, start, grid.end(start))
        if not rows.ids:
            return 0
        (old,) = await self._read_blocks(context, grid, [start])
        before = None if old is None else await asyncio.to_thread(self._decode, context, grid, old)
        merged = rows.candles if before is None else merge_arrays(before, rows.candles)
        fresh: list[Document] = []
        if before is None or len(merged) > len(before):  # else all of the rows are shadowed by the block
            fresh = [await asyncio.to_thread(encode_block, self._make_key(context, start), grid, merged)]

        async def work(session: Any) -> None:
            await self._layouts.enter(session, context, grid, ["blocks"], added=[start])
            if fresh:
                await self._data.replace(session, context, [] if old is None else [old.document], fresh)
            if await self._rows.delete_documents(session, context, rows.ids) != len(rows.ids):
                raise BlockChangedError

        try:
            await self._transactions.run(_SEALING, work)
        except LayoutChangedError:
            return 0  # the rows are wanted
        await self._forget_ids(context, rows.candles)
        return len(rows.ids)

    async def _forget_ids(self, context: Key, candles: CandleArrays) -> None:
        if self._has_ids and len(candles):
            await self._rows.forget_ids(context, candles.timestamp.tolist())

    async def _read_rows(self, context: Key, grid: BlockGrid, first: int, end: int) -> _Rows:
        """Return, within a request, the rows of a range that a block can hold."""
        return _pick_candles(await self._rows.fetch_documents(context, first, end), grid)

    async def _read_blocks(self, context: Key, grid: BlockGrid, starts: Sequence[int]) -> list[Block | None]:
        """Return, within a request, the blocks with these starts; ``None`` where there is none.

        Raises:
            StoreError: one is damaged.
        """
        found: dict[int | None, Block] = {}
        for document in await self._data.find_latest(context, starts):
            try:
                block = parse_block(document, grid, self._data.make_key(context))
            except DamagedBlockError as error:
                raise self._data.make_damage_error(context, grid, document, str(error)) from None
            found[block.start] = block
        return [found.get(start) for start in starts]

    def _decode(self, context: Key, grid: BlockGrid, block: Block) -> CandleArrays:
        from backtest_mongo.core.arrays import CandleArrays

        candles = CandleArrays.empty(block.rows)
        try:
            decode_into(block, grid, candles, 0)
        except DamagedBlockError as error:
            raise self._data.make_damage_error(context, grid, block.document, str(error)) from None
        return candles

    def _make_key(self, context: Key, start: int) -> Document:
        return {**self._data.make_key(context), "start": start}

    # Straight into blocks

    async def insert(self, context: Key, grid: BlockGrid, candles: CandleArrays) -> int:
        """Write candles into blocks, together with the rows of their stretches, and return how many are new.

        Args:
            context: the series.
            grid: its blocks.
            candles: on the grid, ascending, and of stretches before the one that is not complete yet.

        Raises:
            LayoutChangedError: the truth of the series is not in blocks.
        """
        starts = grid.starts(candles.timestamp)
        # Chosen here, so that an attempt that was applied without an answer is known by them.
        ids = {start: ObjectId() for start in starts}
        return await self._repeat(_IMPORTING, partial(self._insert_blocks, context, grid, candles, starts, ids, {}))

    async def _insert_blocks(
        self,
        context: Key,
        grid: BlockGrid,
        candles: CandleArrays,
        starts: Sequence[int],
        ids: dict[int, ObjectId],
        applied: dict[int, int],
    ) -> int:
        from backtest_mongo.core.arrays import CandleArrays, merge_arrays

        token = await self._copies.announce_within(context, starts)
        rows, old = await asyncio.gather(
            self._read_rows(context, grid, starts[0], grid.end(starts[-1])), self._read_blocks(context, grid, starts)
        )
        parts: list[tuple[int, CandleArrays]] = []
        replaced: list[Document] = []
        moved: list[Any] = []
        new = 0

        def merge() -> list[Document]:
            nonlocal new
            for start, block in zip(starts, old, strict=True):
                end = grid.end(start)
                if block is not None and block.document["_id"] == ids[start] and start in applied:
                    new += applied[start]
                    continue
                known = CandleArrays.empty(0) if block is None else self._decode(context, grid, block)
                low, high = rows.candles.timestamp.searchsorted((start, end)).tolist()
                known = merge_arrays(known, rows.candles.take(slice(low, high)))
                merged = merge_arrays(known, candles.between(start, end))
                added = len(merged) - len(known)
                moved.extend(rows.ids[low:high])
                if block is None or len(merged) > block.rows:
                    applied[start] = added
                    parts.append((start, merged))
                    replaced.extend([] if block is None else [block.document])
                new += added
            key = self._data.make_key(context)
            encoded = [encode_block({**key, "start": start}, grid, part) for start, part in parts]
            return [{"_id": ids[block["start"]], **block} for block in encoded]

        fresh = await asyncio.to_thread(merge)

        async def work(session: Any) -> None:
            await self._layouts.enter(session, context, grid, ["blocks"], added=[start for start, _ in parts])
            if not await self._copies.withdraw(session, context, starts, token):
                raise BlockChangedError
            await self._data.replace(session, context, replaced, fresh)
            if moved and await self._rows.delete_documents(session, context, moved) != len(moved):
                raise BlockChangedError

        await self._transactions.run(_IMPORTING, work)
        if moved:
            await self._forget_ids(context, rows.candles)
        return new

    # From blocks to rows

    async def restore_all(self, context: Key, grid: BlockGrid) -> AsyncIterator[Counts]:
        """Write all blocks as rows, which are then the truth; yield after each block one, and how many rows it was.

        Raises:
            StoreError: a block is damaged or lost; what comes before it is in rows.
        """
        layout = await self._layouts.look(context)
        if layout.truth == "blocks":
            change = partial(self._layouts.change, context, "blocks", "restoring")
            layout = await self._request(_RESTORING, change)
        while layout.truth == "restoring":
            for start in await self._data.list_starts(context):
                rows = await self._repeat(_RESTORING, partial(self._restore_block, context, grid, start))
                yield bool(rows), rows
            layout = await self._layouts.look(context)
            if layout.truth != "restoring" or await self._data.list_starts(context):
                continue
            for run_start, _ in layout.blocks:
                raise self._data.make_lost_error(context, grid, run_start)
            # Nobody adds a block while it is restoring. No copy that was sealed meanwhile may lack a row.
            await self._request(_RESTORING, partial(self._copies.drop_between, context, grid, None, None))
            layout = await self._request(_RESTORING, partial(self._layouts.change, context, "restoring", "rows"))
        if layout.truth == "blocks":
            raise StoreError(
                f"{_RESTORING} failed: another process is moving {':'.join(map(str, context))} back into blocks",
                slot=self._rows.spec.name,
                collection=self._rows.spec.collection,
                hint="stop one of the two, and run the other one again",
            )

    async def _restore_block(self, context: Key, grid: BlockGrid, start: int) -> int:
        from backtest_mongo.core.arrays import encode_rows

        (block,) = await self._read_blocks(context, grid, [start])
        if block is None:
            return 0
        candles = await asyncio.to_thread(self._decode, context, grid, block)
        documents, _ = await asyncio.to_thread(encode_rows, self._rows.make_query(context), candles)
        times = {*candles.timestamp.tolist()}
        await self._rows.prepare()

        async def work(session: Any) -> None:
            await self._layouts.enter(session, context, grid, ["restoring"], removed=[start])
            await self._data.replace(session, context, [block.document], [])
            there = await self._rows.find_ids(session, context, start, grid.end(start))
            shadowed = [oid for time, oid in there.items() if time in times]
            if shadowed:
                await self._rows.delete_documents(session, context, shadowed)
            with free_keys():
                await self._rows.insert_documents(session, documents)

        try:
            await self._transactions.run(_RESTORING, work)
        except LayoutChangedError:
            return 0
        await self._copies.drop_between(context, grid, start, grid.end(start))
        return block.rows

    # Deleting

    async def delete(self, context: Key, grid: BlockGrid, first: int | None, end: int | None) -> Counts:
        """Delete the candles of a half-open range from blocks; return how many candles and blocks are changed by it.

        Raises:
            StoreError: a block that is not deleted as a whole is damaged.
        """
        if first is None and end is None:
            return await self._delete_all(context, grid)
        low = -_LATEST if first is None else grid.start(first)
        high = _LATEST if end is None else end
        layout, stored = await self._layouts.look(context), await self._data.list_starts(context)
        # With those that are lost, for which nobody need wait any longer.
        starts = sorted({*(start for start in stored if low <= start < high), *layout.list_starts(grid, low, high)})
        rows = blocks = 0
        for at in range(0, len(starts), _DELETED):
            some = starts[at : at + _DELETED]
            attempt = partial(self._delete_some, context, grid, first, end, some)
            candles, changed = await self._repeat(_DELETING, attempt)
            rows, blocks = rows + candles, blocks + changed
        return rows, blocks

    async def _delete_some(
        self, context: Key, grid: BlockGrid, first: int | None, end: int | None, starts: Sequence[int]
    ) -> Counts:
        from backtest_mongo.core.arrays import join_arrays

        low, high = -_LATEST if first is None else first, _LATEST if end is None else end
        old, fresh, removed = [], [], []
        rows = 0
        found = await self._data.find_latest(context, starts)
        for document in found:
            start = find_start(document)
            is_inside = start is not None and low <= start and grid.end(start) <= high
            if is_inside:
                count = document.get("rows")
                rows += int(count) if isinstance(count, int) and 0 < count <= grid.rows else 0
                old.append(document)
                removed.append(grid.start(start or 0))
                continue
            try:
                block = parse_block(document, grid, self._data.make_key(context))
            except DamagedBlockError as error:
                raise self._data.make_damage_error(context, grid, document, str(error)) from None
            candles = await asyncio.to_thread(self._decode, context, grid, block)
            left = join_arrays((candles.between(-_LATEST, low), candles.between(high, _LATEST)))
            if len(left) == len(candles):
                continue
            rows += len(candles) - len(left)
            old.append(document)
            if len(left):
                key = self._make_key(context, block.start)
                fresh.append(await asyncio.to_thread(encode_block, key, grid, left))
            else:
                removed.append(block.start)
        known = {find_start(document) for document in found}
        removed += [s for s in starts if s not in known and low <= s and grid.end(s) <= high]
        if not old and not removed:
            return 0, 0

        async def work(session: Any) -> None:
            await self._layouts.enter(session, context, grid, ["blocks", "restoring", "rows"], removed=removed)
            await self._data.replace(session, context, old, fresh)

        await self._transactions.run(_DELETING, work)
        return rows, len(old)

    async def _delete_all(self, context: Key, grid: BlockGrid) -> Counts:
        measured = await self._data.count_sealed(context, grid)
        layout = await self._layouts.look(context)

        async def work(session: Any) -> int:
            removed = layout.list_starts(grid, -_LATEST, _LATEST)
            await self._layouts.enter(session, context, grid, ["blocks", "restoring", "rows"], removed=removed)
            return await self._data.delete_all(session, context)

        async def attempt() -> int:
            return await self._transactions.run(_DELETING, work)

        if not layout.changes:
            return 0, 0
        deleted = await self._repeat(_DELETING, attempt)
        return measured.rows, deleted


def _pick_candles(documents: Sequence[Document], grid: BlockGrid) -> _Rows:
    """Return those of the rows that a block can hold: on the grid, and with the numbers of a candle."""
    from backtest_mongo.core.arrays import CandleArrays

    rows: dict[int, Document] = {}
    ids = []
    for document in documents:
        time = document["timestamp"]
        if type(time) not in (int, float, Int64) or time != int(time) or grid.interval.locate(int(time))[1]:
            continue
        if all(_is_double(document.get(name)) for name in PRICES):
            rows[int(time)] = document
            ids.append(document["_id"])
    return _Rows(CandleArrays.of(rows) if rows else CandleArrays.empty(0), ids)


def _is_double(value: object) -> bool:
    return type(value) is float or (type(value) in (int, Int64) and abs(value) <= _EXACT)  # type: ignore[arg-type]

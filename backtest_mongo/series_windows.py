"""Reading a series, out of memory, out of blocks and out of rows, and asking the indexes about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from backtest_mongo import series_index
from backtest_mongo.block_grid import Grid
from backtest_mongo.block_store import MongoBlocks
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.hub import Hub
from backtest_mongo.log import log
from backtest_mongo.sealing import Sealer
from backtest_mongo.series_rows import CandleRows
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.types import Candle, Coverage, Document, Sealed

if TYPE_CHECKING:
    from backtest_mongo.arrays import CandleArrays

__all__ = ["SeriesReads"]

#: From so many rows on they are handled as columns, and may be in blocks.
MANY = 512
_LATEST: Final = 2**63 - 1


class SeriesReads(CandleRows):
    """A series' rows in its MongoDB collection, its blocks, and what was read of both in memory."""

    def __init__(self, hub: Hub, spec: SlotSpec) -> None:
        super().__init__(hub, spec)
        self._columns = hub.candles
        self._use_blocks = hub.config.CC_CANDLE_BLOCKS
        self._blocks = MongoBlocks(hub, spec)
        self._sealer = Sealer(self, self._blocks)

    async def window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        """Return ``limit`` rows from ``first`` on, one each ``step``, or ``None`` if one is not stored."""
        position, beside = divmod(first, step)
        if beside or 4 * limit > self._columns.rows:
            self._note_window(False)
            return await self._read_window(context, first, step, limit)
        series = self._columns.series(context, step)
        candles, found = series.get(position, limit)
        self._note_window(found == limit)
        if found == limit:
            return candles
        missing, end = position + found, position + limit
        ahead = series.rows_ahead(missing, range(position, end))
        if end + ahead - missing < MANY:
            rows = await self.fetch(context, missing * step, (end - 1 + ahead) * step)
            series.put(rows)
            rest = _on_grid(rows, missing * step, step, limit - found)
        else:
            arrays = await self.read(context, step, missing * step, min((end + ahead) * step, _LATEST))
            series.put_arrays(arrays)
            rest = _window(arrays, missing * step, step, limit - found)
        return None if rest is None else candles + rest

    def _note_window(self, hit: bool) -> None:
        self.counts.reads.rows += 1
        self.counts.reads.trips += not hit
        self._note(hit)

    async def _read_window(self, context: Key, first: int, step: int, limit: int) -> list[Candle] | None:
        last = first + (limit - 1) * step
        if limit < MANY:
            return _on_grid(await self.fetch(context, first, last), first, step, limit)
        return _window(await self.read(context, step, first, min(last + 1, _LATEST)), first, step, limit)

    async def read(self, context: Key, step: int, first: int, end: int) -> CandleArrays:
        """Return the candles of a half-open range of times, by time, as columns."""
        from backtest_mongo.series_reads import Read

        grid = Grid.of(step)
        read = Read(self, self._blocks if self._use_blocks else None, grid, context)
        candles = await read.between(first, end)
        if read.damaged:
            await self._mend(context, grid, read.damaged)
        return candles

    async def _mend(self, context: Key, grid: Grid, damaged: Sequence[Document]) -> None:
        for block in damaged:
            log().warning(
                "a block of candles is damaged: its rows were read instead, and it is sealed again",
                problem=block["problem"],
                series=":".join(map(str, context)),
                start=block["start"],
            )
        try:
            await self._blocks.drop(context, damaged)
            await self._sealer.seal(context, grid, sorted(block["start"] for block in damaged))
        except (
            StoreError,
            StoreUnavailableError,
        ) as error:  # the reader, who may be one that may only read, has an answer
            log().warning("a damaged block of candles could not be sealed again", error=str(error))

    async def sealed(self, context: Key) -> Sealed:
        """Return the number of blocks, their rows and their bytes."""
        return Sealed(**await self._blocks.totals(context))

    async def coverage(self, context: Key, step: int) -> Coverage:
        grid = Grid.of(step)
        sealed = await self._sizes(context, grid, -_LATEST, _LATEST)
        return await series_index.coverage(self, self._spec, context, grid, sealed)

    async def bounds(self, context: Key) -> tuple[int, int] | None:
        """Return the times of the first and the last row."""
        first, last = await self.next_time(context, None), await self.next_time(context, None, -1)
        return None if first is None or last is None else (first, last)

    async def neighbours(
        self, context: Key, step: int, phase: int, first: int, end: int
    ) -> AsyncIterator[tuple[int | None, int | None]]:
        """Yield neighbours of a grid that lie more than a step apart, the ends of the range among them."""
        grid = Grid.of(step)
        sealed = await self._sizes(context, grid, first, end - grid.span + 1)
        async for pair in series_index.neighbours(self, self._spec, context, grid, phase, sealed, first, end):
            yield pair

    async def _sizes(self, context: Key, grid: Grid, first: int, end: int) -> series_index.Sizes:
        return await self._blocks.sizes(context, grid, first, end) if self._use_blocks else []

    def contexts(self) -> AsyncIterator[Key]:
        """Yield the context of each series there is."""
        return series_index.contexts(self, self._spec)


def _window(candles: CandleArrays, first: int, step: int, limit: int) -> list[Candle] | None:
    """Return the rows at ``first`` and each ``step`` after it, passing over others; ``None`` if one is missing."""
    part = candles.between(first, min(first + limit * step, _LATEST))
    part = part.take((part.timestamp - first) % step == 0)
    return part.candles() if len(part) == limit else None


def _on_grid(rows: Sequence[Document], first: int, step: int, limit: int) -> list[Candle] | None:
    """Return the rows at ``first`` and each ``step`` after it, passing over others; ``None`` if one is missing."""
    candles: list[Candle] = []
    expected = first
    for row in rows:
        time = row["timestamp"]
        if time != expected:
            if time > expected:
                return None
            continue
        # The time is taken from the grid: Node stores it as a double.
        candles.append(
            {
                "timestamp": expected,
                "open": row["open"],
                "high": row["high"],
                "low": row["low"],
                "close": row["close"],
                "volume": row["volume"],
            }
        )
        if len(candles) == limit:
            return candles
        expected += step
    return None

"""Resampling: the candles of a series of trades, or of shorter candles, read or stored.

A candle is made of the rows of its interval alone, and only when the interval is over: by the reader's time, which is
now if none is given. To be stored, it must also be certain that the series has gone on: a row at the end of the
interval or later must be there, or the last of its shorter candles.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from backtest_mongo.core.columns import UNITS_PER_MS
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.outcomes import after_writing
from backtest_mongo.core.series_times import find_grid
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.types import PRICES, Gap, WriteReport

if TYPE_CHECKING:
    from backtest_mongo.columns.store_protocol import ColumnStore
    from backtest_mongo.core.arrays import CandleArrays
    from backtest_mongo.core.frames import Kind
    from backtest_mongo.core.specs import Key, SlotSpec
    from backtest_mongo.core.store_protocols import SeriesStore

__all__ = [
    "CandleSource",
    "ColumnSource",
    "check_delay",
    "check_grid",
    "find_columns",
    "open_target",
    "read_frame",
    "store_candles",
]

#: Candles that are stored by one call: a call that was killed may have stored any of them.
_STEP: Final = 4_096
#: The most shorter candles that are read at once.
_READ: Final = 1_000_000
#: The columns that have a price, and an amount, by their names.
_PRICE_NAMES: Final = ("price", "last_price")
_AMOUNT_NAMES: Final = ("amount", "last_volume")


def check_grid(interval: object, slot: str) -> IntervalGrid:
    """Return the grid of an interval.

    Raises:
        InputTypeError: it is not a ``str``.
        InputError: it is unknown.
    """
    if not isinstance(interval, str):
        raise InputTypeError(f"interval must be a str, not {type(interval).__name__}", slot=slot)
    if interval not in GRIDS:
        raise InputError(f"interval {interval!r} (str) is unknown", slot=slot, hint=f"known are {' '.join(GRIDS)}")
    return GRIDS[interval]


def find_columns(spec: SlotSpec, price: str | None, amount: str | None) -> tuple[str, str | None]:
    """Return the columns of prices and of amounts.

    Raises:
        InputTypeError: a name is no text.
        InputError: there is no such column of numbers, or none is known.
    """
    numbers = [column.name for column in spec.columns if column.type == "float64"]
    for what, name in (("price", price), ("amount", amount)):
        if name is not None and not isinstance(name, str):
            raise InputTypeError(f"{what} must be the name of a column, not {type(name).__name__}", slot=spec.name)
        if name is not None and name not in numbers:
            hint = suggest(name, numbers)
            raise InputError(f"{what}: there is no column of float64 named {name!r}", slot=spec.name, hint=hint)
    found = price or next((name for name in _PRICE_NAMES if name in numbers), None)
    if found is None:
        raise InputError("price: nothing says which column has prices", slot=spec.name, hint=f"name it: {numbers}")
    if amount is None and price is None:
        amount = next((name for name in _AMOUNT_NAMES if name in numbers), None)
    return found, amount


@dataclass(frozen=True, slots=True)
class SourceRange:
    """What a series has, in milliseconds: the time of the first row, and until when nothing more is to be expected."""

    first: int
    end: int


class Source(Protocol):
    """A series of which candles are made."""

    async def find_range(self, limit: int) -> SourceRange | None:
        """Return what there is of rows that were known at a time; ``None`` if there are none."""
        ...

    def read(self, first: int, end: int, grid: IntervalGrid) -> AsyncGenerator[CandleArrays, None]:
        """Yield the candles of a half-open range, whose ends are intervals', in order; none is in two parts."""
        ...


class ColumnSource:
    """Trades, or other rows with a price."""

    def __init__(self, spec: SlotSpec, store: ColumnStore, context: Key, price: str, amount: str | None) -> None:
        self._store = store
        self._context = context
        self._price = price
        self._amount = amount
        self._per_ms = UNITS_PER_MS[spec.unit]

    async def find_range(self, limit: int) -> SourceRange | None:
        covered = await self._store.cover(self._context, min(limit * self._per_ms + 1, 2**63 - 1))
        if covered.first is None or covered.last is None:
            return None
        return SourceRange(covered.first // self._per_ms, covered.last // self._per_ms)

    async def read(self, first: int, end: int, grid: IntervalGrid) -> AsyncGenerator[CandleArrays, None]:
        from backtest_mongo.columns.arrays import join_columns
        from backtest_mongo.columns.chunks import read_chunks

        names = [self._price, *([self._amount] if self._amount is not None else ())]
        left: list[Any] = []
        chunks = read_chunks(self._store, self._context, first * self._per_ms, end * self._per_ms, names)
        async with aclosing(chunks) as parts:
            async for part in parts:
                # The last interval may go on in the next part.
                place, _ = grid.locate(int(part.time[-1]) // self._per_ms)
                cut = grid.time(place) * self._per_ms
                whole = part.between(-(2**63), cut)
                if len(whole):
                    yield self._make(join_columns([*left, whole]), grid)
                    left = []
                left.append(part.between(cut, 2**63 - 1))
        if left:
            yield self._make(join_columns(left), grid)

    def _make(self, rows: Any, grid: IntervalGrid) -> CandleArrays:
        import numpy as np

        from backtest_mongo.columns.resampling import make_candles

        def floats(name: str) -> Any:
            values = rows.values[name]
            return values.data if values.valid is None else np.where(values.valid, values.data, np.nan)

        amount = None if self._amount is None else floats(self._amount)
        return make_candles(rows.time // self._per_ms, floats(self._price), amount, grid)


class CandleSource:
    """Candles, of which longer ones are made."""

    def __init__(self, spec: SlotSpec, store: SeriesStore, context: Key, interval: IntervalGrid) -> None:
        self._slot = spec.name
        self._store = store
        self._context = context
        self._interval = interval

    async def find_range(self, limit: int) -> SourceRange | None:
        bounds = await self._store.find_bounds(self._context)
        if bounds is None:
            return None
        return SourceRange(bounds[0], min(self._interval.closes_at(bounds[1]), limit))

    async def read(self, first: int, end: int, grid: IntervalGrid) -> AsyncGenerator[CandleArrays, None]:
        from backtest_mongo.columns.resampling import fits_into, merge_candles

        if not fits_into(self._interval, grid):
            raise InputError(f"candles of {self._interval.name} can't become candles of {grid.name}", slot=self._slot)
        places = max(1, _READ * self._interval.shortest // grid.longest)
        while first < end:
            stop = min(end, grid.shift(first, places))
            candles = await self._store.read(self._context, self._interval, first, stop)
            self._check_ends(candles, grid)
            if len(candles):
                yield merge_candles(candles, grid)
            first = stop

    def _check_ends(self, candles: CandleArrays, grid: IntervalGrid) -> None:
        """Refuse candles that don't lie within one interval.

        Raises:
            InputError: there is one; it would show what comes after the end.
        """
        places, _ = grid.locate_all(candles.timestamp)
        last, _ = grid.locate_all(candles.timestamp + self._interval.shortest - 1)
        if (places != last).any():
            time = int(candles.timestamp[(places != last).argmax()])
            raise InputError(
                f"the candle at {time} is off the grid: it ends after the end of its {grid.name}",
                slot=self._slot,
                hint="resample to an interval that ends with it",
            )


async def read_candles(
    source: Source, grid: IntervalGrid, first: int | None, end: int | None, limit: int
) -> AsyncGenerator[CandleArrays, None]:
    """Yield the candles whose intervals lie within a half-open range and are over.

    Args:
        source: what they are made of.
        grid: of the candles.
        first: the beginning of the range in milliseconds; ``None`` for the first row.
        end: its end; ``None`` for all that is over.
        limit: when they must be over.
    """
    found = await source.find_range(limit)
    if found is None:
        return
    begin = grid.time(grid.locate(found.first)[0])
    if first is not None and first > begin:
        begin = round_up(grid, first)
    stop = limit if end is None else min(end, limit)
    stop = grid.time(grid.locate(stop)[0])
    if begin < stop:
        async with aclosing(source.read(begin, stop, grid)) as parts:
            async for candles in parts:
                yield candles


def round_up(grid: IntervalGrid, time: int) -> int:
    """Return when the first interval opens that does not open before a time."""
    place, offset = grid.locate(time)
    return grid.time(place + 1) if offset else time


class CandleTarget(Protocol):
    """A series in which candles are stored."""

    async def bounds(self) -> tuple[int, int] | None: ...
    async def gaps(self, start: Any = None, end: Any = None) -> list[Gap]: ...
    async def write_frame(self, frame: object) -> WriteReport: ...


async def store_candles(
    source: Source, target: CandleTarget, grid: IntervalGrid, first: int | None, delay: int, now: int
) -> WriteReport:
    """Store the candles that are certain and not stored yet, in order.

    Args:
        source: what they are made of.
        target: where they are stored.
        grid: of the candles.
        first: the beginning, in milliseconds; ``None`` for where a call before has stopped.
        delay: how long after the end of an interval its rows may still come, in milliseconds.
        now: when they must be over.
    """
    found = await source.find_range(now)
    if found is None:
        return WriteReport(0, 0, {})
    if first is None:
        first = await _find_start(target, grid)
    stop = min(found.end, now) - delay
    new = present = 0
    refused: dict[str, list[int]] = {}
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(aclosing(read_candles(source, grid, first, None, stop)))
        async for candles in parts:
            places, _ = grid.locate_all(candles.timestamp)
            for some in _split(candles, places):
                frame = {
                    "timestamp": some.timestamp.view("datetime64[ms]"),
                    **dict(zip(PRICES, some.prices, strict=True)),
                }
                report = await target.write_frame(frame)
                if not new + present:
                    stack.enter_context(after_writing())
                new, present = new + report.new, present + report.present
                for reason, rows in report.refused.items():
                    refused.setdefault(reason, []).extend(int(some.timestamp[row]) for row in rows)
    return WriteReport(new, present, refused)


def _split(candles: CandleArrays, places: Any) -> list[CandleArrays]:
    import numpy as np

    starts = np.flatnonzero(np.append(True, np.diff(places // _STEP) != 0)).tolist()
    return [candles.take(slice(start, end)) for start, end in zip(starts, [*starts[1:], len(candles)], strict=True)]


def open_target(target: object, source: object) -> tuple[CandleTarget, IntervalGrid]:
    """Return the series that an adapter stores, and its grid.

    Raises:
        InputTypeError: it is no adapter of candles.
        InputError: it is the source, or has no grid or other columns than candles.
    """
    spec: SlotSpec | None = getattr(target, "spec", None)
    adapter: Any = target
    if spec is None or spec.shape != "series" or isinstance(target, type):
        raise InputTypeError(f"candles must be an adapter of candles, not {type(target).__name__}")
    if type(target) is type(source) and adapter.context == getattr(source, "context", None):
        raise InputError("candles can't be stored in the series that they are made of", slot=spec.name)
    if spec.is_candles:
        return adapter, GRIDS[adapter.context["interval"]]
    grid = find_grid(spec, adapter._context)
    names = {column.name for column in spec.columns if column.type == "float64"}
    if grid is None or not names.issuperset(PRICES):
        raise InputError(
            f"{spec.name} can't store candles: it needs a grid and columns of float64 named {', '.join(PRICES)}",
            slot=spec.name,
        )
    return ColumnTarget(adapter), grid


class ColumnTarget:
    """Candles in a series with columns."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    async def bounds(self) -> tuple[int, int] | None:
        covered = await self._adapter.coverage()
        return None if covered.first is None else (covered.first, covered.last)

    async def gaps(self, start: Any = None, end: Any = None) -> list[Gap]:
        found: list[Gap] = await self._adapter.gaps(start, end)
        return found

    async def write_frame(self, frame: object) -> WriteReport:
        report: WriteReport = await self._adapter.write_frame(frame)
        return report


def check_delay(delay_ms: object, slot: str) -> int:
    """Return the delay.

    Raises:
        InputTypeError: it is not an ``int``.
        InputError: it is negative.
    """
    if type(delay_ms) is not int:
        raise InputTypeError(f"delay_ms must be an int, not {type(delay_ms).__name__}", slot=slot)
    if delay_ms < 0:
        raise InputError(f"delay_ms must not be negative: {delay_ms} (int)", slot=slot)
    return delay_ms


async def read_frame(
    source: Source, grid: IntervalGrid, range_: tuple[int | None, int | None], limit: int, as_: Kind
) -> Any:
    """Return the candles of a range as a frame; see :func:`read_candles`."""
    from backtest_mongo.core.arrays import CandleArrays, join_arrays
    from backtest_mongo.core.frames import to_frame

    parts = [part async for part in read_candles(source, grid, *range_, limit)]
    return to_frame(join_arrays(parts) if parts else CandleArrays.empty(0), None, as_)


async def _find_start(target: CandleTarget, grid: IntervalGrid) -> int | None:
    """Return where a call before has stopped: at what is missing of the last that it has stored, or after it."""
    bounds = await target.bounds()
    if bounds is None:
        return None
    place, _ = grid.locate(bounds[1])
    begin = max(bounds[0], grid.time(place // _STEP * _STEP))
    gaps = await target.gaps(begin, bounds[1])
    return gaps[0].start if gaps else grid.time(place + 1)

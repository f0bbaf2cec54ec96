"""Series: immutable rows on a time grid, their frames, what is stored and missing of them, and their sealed blocks."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import tzinfo
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from backtest_mongo import types
from backtest_mongo.adapters.shapes.documents import Adapter
from backtest_mongo.adapters.shapes.resampling import (
    CandleSource,
    check_delay,
    check_grid,
    open_target,
    read_frame,
    store_candles,
)
from backtest_mongo.connection.hub import Hub
from backtest_mongo.core.candle_rules import END, START, check_spacing, explain_problem
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.store_protocols import Counts, SeriesStore, Store
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.series.store import MongoSeriesStore
from backtest_mongo.types import (
    PRICES,
    Candle,
    Coverage,
    DeleteReport,
    Document,
    Gap,
    Sealed,
    SealReport,
    SeriesTime,
    VerifyReport,
    When,
    WriteReport,
    to_series_millis,
)

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from numpy.typing import NDArray

    from backtest_mongo.core.frames import Fill, Kind

__all__ = ["SeriesAdapter"]

_FIELDS = ("timestamp", *PRICES)
_LATEST = 2**63 - 1


class SeriesAdapter(Adapter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._interval = self._find_grid(str(self.context["interval"]))

    @classmethod
    def _open(cls, hub: Hub) -> Store:
        # Of what a ``Store`` has, a series uses ``ready()`` alone.
        return cast("Store", MongoSeriesStore(hub, cls.spec))

    @classmethod
    def _context_store(cls) -> Store:
        return cls._base_store()  # no series is written by a transaction

    @classmethod
    def _bind_filter(cls, where: Mapping[str, object]) -> dict[str, Any]:
        bound = super()._bind_filter(where)
        if "interval" in bound:
            cls._find_grid(bound["interval"])
        return bound

    @classmethod
    def _find_grid(cls, interval: str) -> IntervalGrid:
        if interval not in GRIDS:
            raise InputError(
                f"interval {interval!r} (str) is unknown",
                slot=cls.spec.name,
                hint=f"known are {' '.join(GRIDS)}",
            )
        return GRIDS[interval]

    @classmethod
    def _get_now(cls) -> int:
        """Return the time by which a candle must have closed to be missing."""
        return types.now_ms()

    def _rows(self) -> SeriesStore:
        return cast("SeriesStore", self._base_store())

    async def _read(self, limit: int, since: SeriesTime, until: SeriesTime | None = None) -> list[Candle] | None:
        if type(limit) is not int:
            raise InputTypeError(f"limit must be an int, not {type(limit).__name__}", slot=self.spec.name)
        if limit < 1:
            raise InputError(f"limit must be 1 or more, not {limit} (int)", slot=self.spec.name)
        first = self._time(since, "since_timestamp")
        last = self._interval.shift(first, limit - 1)
        if last > _LATEST:
            raise InputError(f"limit {limit} (int) leads to a time beyond 64 bits", slot=self.spec.name)
        if until is not None and last > self._time(until, "until_timestamp"):
            return None
        if first < types.EARLIEST or last > types.LATEST:
            return None  # no candle can be stored there
        return await self._rows().window(self._context, first, self._interval, limit)

    async def _write(self, candles: object) -> int:
        self._check_list(candles, self.spec.value, "write_frame() takes frames")
        now = types.now_ms()
        closed = now - self._interval.longest  # what opened by then has closed whatever its length
        rows: dict[int, Document] = {}
        still_open = []
        for index, candle in enumerate(candles):  # type: ignore[arg-type, var-annotated]  # a list, by the check above
            row = _make_plain_row(candle) or self._make_row(candle, f"{self.spec.value}[{index}]")
            time = row["timestamp"]
            if time <= closed or self._interval.closes_at(time) <= now:
                rows.setdefault(time, row)
            else:
                still_open.append(time)
        self._check_density([*rows, *still_open], self.spec.value)
        return await self._rows().insert_new(self._context, self._interval, rows)

    def _make_row(self, candle: object, path: str) -> Document:
        if not isinstance(candle, Mapping):
            raise InputTypeError(f"{path} must be a dict, not {type(candle).__name__}", slot=self.spec.name)
        missing = [name for name in _FIELDS if name not in candle]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)} ({type(candle).__name__})", slot=self.spec.name)
        row: Document = {"timestamp": self._millis(candle["timestamp"], f"{path}.timestamp")}
        for name in PRICES:
            value = candle[name]
            if type(value) is not float:
                if not isinstance(value, Real) or isinstance(value, bool):
                    kind = type(value).__name__
                    raise InputTypeError(f"{path}.{name} must be a number, not {kind}", slot=self.spec.name)
                try:
                    value = float(value)
                except OverflowError:
                    value = math.inf
            if not math.isfinite(value):
                raise InputError(f"{path}.{name} must be finite, not {value} (float)", slot=self.spec.name)
            row[name] = value
        problem = explain_problem(row)
        if problem is not None:
            raise InputError(f"{path} can't be a candle: {problem}", slot=self.spec.name)
        return row

    # Frames

    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        as_: Literal["polars"] = "polars",
        fill: Fill | None = None,
    ) -> polars.DataFrame: ...
    @overload
    async def read_frame(
        self, start: SeriesTime | None, end: SeriesTime | None, as_: Literal["pandas"], fill: Fill | None = None
    ) -> pandas.DataFrame: ...
    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["pandas"],
        fill: Fill | None = None,
    ) -> pandas.DataFrame: ...
    @overload
    async def read_frame(
        self, start: SeriesTime | None, end: SeriesTime | None, as_: Literal["arrow"], fill: Fill | None = None
    ) -> pyarrow.Table: ...
    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["arrow"],
        fill: Fill | None = None,
    ) -> pyarrow.Table: ...
    @overload
    async def read_frame(
        self, start: SeriesTime | None, end: SeriesTime | None, as_: Literal["numpy"], fill: Fill | None = None
    ) -> dict[str, NDArray[Any]]: ...
    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["numpy"],
        fill: Fill | None = None,
    ) -> dict[str, NDArray[Any]]: ...

    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        as_: Kind = "polars",
        fill: Fill | None = None,
    ) -> Any:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        from backtest_mongo.core.frames import check_arguments, fill_gaps, to_frame

        check_arguments(as_, fill, self.spec.name)
        first, last = self._clamp_range(start, end)
        candles = await self._rows().read(
            self._context,
            self._interval,
            types.EARLIEST if first is None else first,
            types.LATEST if last is None else last,
        )
        missing = None
        if fill is not None:
            before, after = await self._rows().find_around(self._context, first, last)
            candles, missing = fill_gaps(candles, self._interval, first, last, fill, before, after, slot=self.spec.name)
        return to_frame(candles, missing, as_)

    async def write_frame(self, frame: object, tz: str | tzinfo | None = None) -> WriteReport:
        """Store the candles of a frame that are not stored yet, and return what became of each row.

        The first write of a candle wins forever; of concurrent writes in a process, the one that was called first. Rows
        that can't be candles are refused, and the others are stored. A row is refused if its interval has not ended
        yet, if it has no time or one outside of the years 1 to 9999, a number that is masked or not finite, ``high``
        below ``low``, ``open`` or ``close`` outside of them, or a negative volume.

        Blocks that become complete are sealed. The ids of the documents don't go to Redis. If the call is cancelled, a
        part may be stored; call it again with the same frame to store the rest.

        Args:
            frame: what :meth:`read_frame` returns: a polars or pandas ``DataFrame``, a ``pyarrow.Table``, a mapping or
                a structured array of NumPy; also frames with ``Open``, ``High``, ``Low``, ``Close``, ``Volume`` and a
                ``DatetimeIndex``; those of yfinance with two levels of names, of which the columns of this symbol are
                used; and lists of ``[milliseconds, open, high, low, close, volume]`` as ccxt returns them. Times are
                integers (milliseconds since the epoch) or typed times, aware if the library knows zones; fractions of a
                millisecond are cut off. Other columns are ignored. Rows may be in any order; of several with one time
                the first is used.
            tz: the zone of naive times, such as ``UTC`` or ``America/New_York``.

        Returns:
            How many rows were new and how many were stored already, and the positions of the refused ones by reason.

        Raises:
            InputError: a column is missing, occurs twice or holds something else, times are naive and no zone is given,
                the clocks of the zone skip one of them or show it twice, or the median distance of the times is below
                half the interval; nothing was stored.
            StoreUnavailableError: MongoDB can't be reached; a part may be stored.
            StoreError: MongoDB answers with an error; a part may be stored.
        """
        from backtest_mongo.core.frame_input import read_columns, select_storable

        found = read_columns(frame, tz, str(self.context["symbol"]))
        self._check_density(found.timestamp, "the frame")
        candles, refused = select_storable(found, self._interval, types.now_ms())
        new = await self._rows().insert_arrays(self._context, self._interval, candles) if len(candles) else 0
        return WriteReport(new, len(candles) - new, refused)

    @overload
    async def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["polars"] = "polars",
        when: When | None = None,
    ) -> polars.DataFrame: ...
    @overload
    async def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["pandas"],
        when: When | None = None,
    ) -> pandas.DataFrame: ...
    @overload
    async def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["arrow"],
        when: When | None = None,
    ) -> pyarrow.Table: ...
    @overload
    async def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["numpy"],
        when: When | None = None,
    ) -> dict[str, NDArray[Any]]: ...

    async def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Kind = "polars",
        when: When | None = None,
    ) -> Any:
        """Return longer candles, made of these::

            hours = await candle.resample("1h", "2024-01-01", "2024-02-01")

        They are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none shows what
        came after its own end, after ``end`` or after ``when``. What is missing of an interval is left out of its
        candle; an interval without candles has none.

        Args:
            interval: of the longer candles, a multiple of that of the series; they open on its grid, in UTC.
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the interval of the
                first candle.
            end: the same; ``None`` for all that is over.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame as :meth:`read_frame` returns it.

        Raises:
            InputError: an argument is wrong, a library is not installed, or a candle is off the grid and goes on after
                the end of its interval.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        from backtest_mongo.core.frames import check_arguments

        check_arguments(as_, None, self.spec.name)
        grid = check_grid(interval, self.spec.name)
        return await read_frame(self._make_source(), grid, self._check_range(start, end), self._find_time(when), as_)

    async def resample_into(
        self, candles: Adapter, *, start: SeriesTime | None = None, delay_ms: int = 0
    ) -> WriteReport:
        """Store longer candles, made of these, in another series, from where the last call stopped::

            await persist.candle("BTCUSDT", "1m", "binance").resample_into(persist.candle("BTCUSDT", "1h", "binance"))

        A candle is stored when its interval is over and the last of the shorter ones in it is stored, or a later one.
        What is stored later doesn't change it. Calling it again, also after it was killed, stores what is missing, with
        the same values.

        Args:
            candles: the adapter of the longer candles, or of a series with columns that has a grid and columns of
                float64 named ``open``, ``high``, ``low``, ``close`` and ``volume``. Its interval is theirs.
            start: where to begin; ``None`` for where the last call stopped, which is at the first gap of the last 4,096
                intervals or else after the last candle, whoever has stored it.
            delay_ms: for how many milliseconds after its end candles of an interval may still come.

        Returns:
            How many candles were new, how many were stored already, and the times of those that the other series
            refuses, by reason.

        Raises:
            InputTypeError: ``candles`` is no adapter of candles, or another argument has the wrong type.
            InputError: an argument is wrong, or a candle is off the grid.
            StoreUnavailableError: a database can't be reached; a part may be stored.
            StoreError: a database answers with an error; a part may be stored.
        """
        target, grid = open_target(candles, self)
        first = None if start is None else self._time(start, "start")
        delay = check_delay(delay_ms, self.spec.name)
        return await store_candles(self._make_source(), target, grid, first, delay, self._get_now())

    def _make_source(self) -> CandleSource:
        return CandleSource(self.spec, self._rows(), self._context, self._interval)

    def _find_time(self, when: When | None) -> int:
        """Return the reader's time, which is not in the future."""
        return self._get_now() if when is None else min(self._millis(when), self._get_now())

    async def coverage(self) -> Coverage:
        """Return the first and the last stored time and the number of candles, from the indexes alone.

        It scans the index of what is not sealed; sealed blocks make it faster.

        Returns:
            Times in milliseconds, UTC; ``None`` if no candle is stored.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        return await self._rows().coverage(self._context, self._interval)

    async def bounds(self) -> tuple[int, int] | None:
        """Return the times of the first and the last candle, from the index alone.

        Returns:
            Milliseconds since the epoch, UTC; ``None`` if no candle is stored.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        return await self._rows().find_bounds(self._context)

    async def gaps(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> list[Gap]:
        """Return what is missing in the half-open range ``[start, end)``, by time: what is still to be fetched.

        Like :meth:`coverage`, it is answered from the indexes alone.

        Candles are missing between two that are 1.5 intervals apart or more: ``round(distance / interval) - 1`` of
        them, an interval each from the one before. So the grid of a series may move, and no stored candle is ever in a
        gap. Before the first candle they are counted back from it, and after the last one on from it. Of a series
        without candles the whole range is missing.

        Args:
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the first candle.
            end: the same; ``None`` for now. A candle that has not closed yet is never missing.

        Returns:
            The gaps, each a half-open range of milliseconds and the number of candles that are missing in it.

        Raises:
            InputError: a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        finder = GapFinder(self._interval, *self._clamp_range(start, end), self._get_now())
        bounds = await self._rows().find_bounds(self._context)
        if bounds is None:
            return list(finder.find_all(()))
        return [gap async for gap in self._rows().gaps(self._context, finder, bounds)]

    def _check_density(self, times: Any, what: str) -> None:
        check_spacing(times, self._interval.name, what, self.spec.name, noun="candles")

    def _time(self, value: SeriesTime, name: str) -> int:
        return self._millis(value, name, to_series_millis)

    def _clamp_range(self, start: SeriesTime | None, end: SeriesTime | None) -> tuple[int | None, int | None]:
        first, last = self._check_range(start, end)
        return _clamp(first), _clamp(last)

    def _check_range(self, start: SeriesTime | None, end: SeriesTime | None) -> tuple[int | None, int | None]:
        first = None if start is None else self._time(start, "start")
        last = None if end is None else self._time(end, "end")
        if first is not None and last is not None and first > last:
            raise InputError(f"start must not come after end: {first} is later than {last} (int)", slot=self.spec.name)
        return first, last

    async def delete(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> DeleteReport:
        """Delete the candles of the half-open range ``[start, end)``, so that others can be written in their place.

        Their sealed blocks, their ids in Redis and what this process keeps of the series in memory are dropped, too.
        Other processes may still return candles that they have read before, until their ``close()``.

        It works in batches, each with a deadline of ``CC_MONGO_TIMEOUT_MS``. The series may be sealed, written and read
        at the same time; a candle that is written during the call may be deleted or stay. If the process is killed or
        the call fails, a part may be deleted; call it again with the same range to delete the rest. A watch yields each
        candle as ``deleted``.

        Args:
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the first candle.
            end: the same; ``None`` for the end. Without both the whole series is deleted.

        Returns:
            How many candles were deleted, and how many blocks.

        Raises:
            InputError: a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached; a part may be deleted.
            StoreError: MongoDB answers with an error; a part may be deleted.
        """
        first, last = self._check_range(start, end)
        if first is not None and first == last:
            return DeleteReport(0, 0)
        return DeleteReport(*await self._rows().delete(self._context, self._interval, first, last))

    async def _survey(self, start: SeriesTime | None, end: SeriesTime | None) -> tuple[Coverage, int]:
        """Return what :meth:`delete` would delete: candles, and how many blocks."""
        return await self._rows().survey(self._context, self._interval, *self._check_range(start, end))

    async def sealed(self) -> Sealed:
        """Return how much of the series is in sealed blocks, within :func:`~backtest_mongo.as_of` too.

        Returns:
            How many blocks there are, the candles in them and their bytes.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        return await self._rows().count_sealed(self._context, self._interval)

    async def seal(self, progress: Callable[[SealReport], None] | None = None) -> SealReport:
        """Seal what can be sealed and isn't yet: complete blocks, and those with gaps whose time is over.

        Writes seal what they complete, so it is rarely needed. It may be killed at any time, and several may run at
        once. With ``CC_CANDLE_BLOCKS=false`` nothing is sealed. In a series whose truth is in blocks, the rows that
        blocks then hold are deleted.

        Args:
            progress: called after each stretch with what was sealed in it.

        Returns:
            How many blocks were sealed, and the candles in them.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be sealed.
            StoreError: MongoDB answers with an error; a part may be sealed.
        """
        return await self._sum(self._rows().seal(self._context, self._interval), progress)

    async def move_to_blocks(self, progress: Callable[[SealReport], None] | None = None) -> SealReport:
        """Make blocks the truth of the series, and delete the rows that they hold.

        A candle then takes ten bytes instead of two hundred, and no answer changes: the way in which a series is stored
        is kept in the database. Older versions of this library refuse the database from then on, and the Node package
        no longer sees these candles. :meth:`move_to_rows` is the way back.

        Rows that a block can't hold stay: those off the grid of the interval, and the stretch that is not complete yet.
        What is written later is moved as it was sealed before: by writes that complete a stretch, and by :meth:`seal`.
        It may be killed at any time and be called again, several may run at once, and the series may be read, written
        and deleted meanwhile. On SQLite there is nothing to do: candles are in blocks there anyway.

        Args:
            progress: called after each stretch with what was moved in it.

        Returns:
            How many blocks were written, and how many rows were deleted.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be moved.
            StoreError: MongoDB answers with an error, or is a standalone, which has no transactions; JSON files have no
                blocks.
        """
        return await self._sum(self._rows().move_to_blocks(self._context, self._interval), progress)

    async def move_to_rows(self, progress: Callable[[SealReport], None] | None = None) -> SealReport:
        """Make rows the truth of the series again, as the Node package needs them: write the candles of its blocks.

        The rows are dated when they are written, and may be sealed as ever. It may be killed at any time and be called
        again, and the series may be read, written and deleted meanwhile.

        Args:
            progress: called after each block with what was moved.

        Returns:
            How many blocks are gone, and how many rows were written.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be moved.
            StoreError: a block is damaged or lost, MongoDB answers with an error, or another process makes blocks the
                truth at the same time; JSON files have no blocks.
        """
        return await self._sum(self._rows().move_to_rows(self._context, self._interval), progress)

    async def _sum(self, steps: AsyncIterator[Counts], progress: Callable[[SealReport], None] | None) -> SealReport:
        blocks = rows = 0
        async for done, candles in steps:
            blocks, rows = blocks + done, rows + candles
            if progress is not None:
                progress(SealReport(done, candles))
        return SealReport(blocks, rows)

    async def verify(
        self, repair: bool = False, progress: Callable[[VerifyReport], None] | None = None
    ) -> VerifyReport:
        """Compare every sealed block with its rows.

        A block is damaged if one of its fields is missing, changed or of another type, or if it differs from its rows.
        In a series whose truth is in blocks there are no rows to compare with: each block is compared with its
        checksum, and one that is lost is listed, too. Nothing can repair these. Within :func:`~backtest_mongo.as_of`
        too, all that is stored now is compared.

        Args:
            repair: drop each damaged block, and seal its stretch again.
            progress: called after each block with what was found until then.

        Returns:
            How many blocks and candles were compared, the damaged blocks by their start, and how many were repaired.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or a block that is the truth can't be repaired.
        """
        blocks = rows = 0
        damaged: list[Document] = []
        problems: dict[int | None, str] = {}
        async for block, problem in self._rows().verify(self._context, self._interval):
            blocks, rows = blocks + 1, rows + int(block["rows"])
            if problem is not None:
                damaged.append(block)
                problems[block["start"]] = problem
            if progress is not None:
                progress(VerifyReport(blocks, rows, problems, 0))
        repaired = 0
        if repair and damaged:
            await self._rows().reseal(self._context, self._interval, damaged)
            repaired = len(problems)
        return VerifyReport(blocks, rows, problems, repaired)

    @classmethod
    async def list_series(cls) -> AsyncIterator[Self]:
        """Iterate over every series that is stored, each as an adapter, in the order of the unique index.

        Returns:
            An async iterator of adapters.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        async for context in cls.list_contexts():
            yield cls(**context)


def _clamp(time: int | None) -> int | None:
    """Return a time within the range of candles."""
    return None if time is None else min(max(time, types.EARLIEST), types.LATEST)


def _make_plain_row(candle: object) -> Document | None:
    """Return the row of a candle that is plainly a good one, as nearly all are; ``None`` for any other, good or bad."""
    try:
        row = {name: candle[name] for name in _FIELDS}  # type: ignore[index]  # what has no items is caught
    except (KeyError, TypeError, IndexError):
        return None
    time, open_, high, low, close, volume = row.values()
    # The sum is finite only if each of them is; where it overflows, the longer way decides.
    plain = type(time) is int and float is type(open_) is type(high) is type(low) is type(close) is type(volume)
    if not plain or not START <= time < END or not math.isfinite(open_ + high + low + close + volume):
        return None
    return row if low <= open_ <= high and low <= close <= high and volume >= 0 else None

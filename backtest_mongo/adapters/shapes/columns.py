"""Series with columns: rows by time, read as frames, appended as they come and imported as frames."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from backtest_mongo import types
from backtest_mongo.adapters.shapes.documents import Adapter
from backtest_mongo.adapters.shapes.resampling import (
    ColumnSource,
    check_delay,
    check_grid,
    find_columns,
    open_target,
    read_frame,
    store_candles,
)
from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.columns import MOST_NEGATIVE, UNITS_PER_MS
from backtest_mongo.core.gaps import GapFinder
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.outcomes import after_writing
from backtest_mongo.core.series_retention import parse_series_retention
from backtest_mongo.core.series_times import find_grid, find_known_end
from backtest_mongo.core.specs import Key
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.unit_times import round_to_units
from backtest_mongo.core.watch import ChangeSource
from backtest_mongo.errors import InputError, InputTypeError, StoreError
from backtest_mongo.series.columns.changes import ColumnChangeStream
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.types import (
    Coverage,
    Gap,
    SealReport,
    SeriesSize,
    SeriesTime,
    VerifyReport,
    When,
    WriteReport,
)

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from numpy.typing import NDArray

    from backtest_mongo.core.frames import Kind

__all__ = ["ColumnSeriesAdapter"]

_LATEST = 2**63 - 1


class ColumnSeriesAdapter(Adapter):
    """A series of rows with columns. Times are integers in the slot's unit since the epoch, UTC."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.spec.grid == "interval":
            self._check_interval(str(self.context["interval"]))

    @classmethod
    def _check_interval(cls, interval: str) -> None:
        if interval not in GRIDS:
            hint = f"known are {' '.join(GRIDS)}"
            raise InputError(f"interval {interval!r} (str) is unknown", slot=cls.spec.name, hint=hint)

    @classmethod
    def _open(cls, hub: Hub) -> Store:
        return cast("Store", MongoColumns(hub, cls.spec))

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> ChangeSource | None:
        return ColumnChangeStream(current_hub(), cls.spec, context, after)

    @classmethod
    def _context_store(cls) -> Store:
        return cls._base_store()  # no series is written by a transaction

    @classmethod
    def _bind_filter(cls, where: Mapping[str, object]) -> dict[str, Any]:
        bound = super()._bind_filter(where)
        if cls.spec.grid == "interval" and "interval" in bound:
            cls._check_interval(bound["interval"])
        return bound

    def _rows(self) -> ColumnStore:
        return cast("ColumnStore", self._base_store())

    # Writing

    async def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Store rows as they arrive, one or many in a call.

        They are on the disks of a majority of the servers when the call returns, and need not be in order. Where the
        slot is immutable, a row whose key is stored stays as it is, so a call may be repeated; otherwise the later row
        replaces it. If one call has several rows with the same key, the first is stored in an immutable slot, and
        otherwise the last. On a grid, a row whose interval has not ended is skipped. Up to 16,383 rows are stored
        together if they take up to 8 MB, and in SQLite any number; of a larger call that is cancelled or fails, a part
        may be stored. Calls are no part of a :func:`~backtest_mongo.transaction`.

        Args:
            rows: a list of dicts with ``timestamp``, the sequence if the slot has one, and the slot's columns; those
                that are nullable may be ``None`` or left out. ``timestamp`` is an integer in the slot's unit since the
                epoch, an aware ``datetime`` or ISO 8601 text.

        Returns:
            How many rows were new; without ``immutable``, how many keys were written.

        Raises:
            InputError: a row lacks a column or has an unknown one, or a value that its column can't hold without
                losing digits, or takes more than 12 MB, in SQLite 900 MB; the message names its place. Nothing was
                stored.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; append the same rows again to settle it.
            StoreError: MongoDB answers with an error; of 16,384 rows or more, or of more than 8 MB, a part may be
                stored.
        """
        from backtest_mongo.columns.row_input import check_now, read_rows

        self._check_list(rows, "rows", "write_frame() takes frames")
        store = self._rows()
        read = read_rows(self.spec, rows, store.row_bytes)
        if self.spec.grid:
            read = check_now(self.spec, self._context, read)
        return await store.insert(self._context, read)

    async def write_frame(self, frame: object, tz: str | tzinfo | None = None) -> WriteReport:
        """Store the rows of a frame, and return what became of each.

        Large frames go straight into blocks. If the call is cancelled or fails, a part may be stored, but in SQLite all
        rows or none; call it again with the same frame to store the rest.

        Args:
            frame: a polars or pandas ``DataFrame``, a ``pyarrow.Table``, a mapping or a structured array of NumPy, or a
                list of dicts; what :meth:`read_frame` returns can be written back. Its columns are ``timestamp``, the
                sequence if the slot has one, and the slot's columns; those that are nullable may be missing. Times are
                integers in the slot's unit or typed times, aware if the library knows zones. Rows may be in any order.
            tz: the zone of naive times, such as ``UTC`` or ``America/New_York``.

        Returns:
            How many rows were new, how many had a key that was stored already or that another row of the frame has, and
            the positions of the refused ones by reason: those without a time or with one outside of the years 1 to
            9999, without a sequence, with a null in a column that can't hold it, or whose interval has not ended.

        Raises:
            InputError: a column is missing, unknown, or holds what the slot's can't hold without losing digits, a row
                takes more than 12 MB, in SQLite 900 MB, or times are naive and no zone is given; nothing was stored.
            StoreUnavailableError: MongoDB can't be reached; a part may be stored.
            StoreError: MongoDB answers with an error; a part may be stored.
        """
        from backtest_mongo.columns.frame_input import read_frame

        store = self._rows()
        rows, doubles, refused = read_frame(self.spec, self._context, frame, tz, store.row_bytes)
        new = await store.insert(self._context, rows) if len(rows) else 0
        return WriteReport(new, len(rows) - new + doubles, refused)

    async def delete(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> int:
        """Delete the rows of the half-open range ``[start, end)``.

        It works in steps; a row that is written meanwhile may be deleted or stay. If the call fails, a part may be
        deleted; call it again to delete the rest.

        Args:
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
                first row.
            end: the same; ``None`` for the end. Without both all of the series is deleted.

        Returns:
            How many rows were deleted.

        Raises:
            InputError: a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached; a part may be deleted.
            StoreError: MongoDB answers with an error, or a block that only partly lies in the range is damaged.
        """
        first, last = self._range(start, end)
        if start is None and end is None:
            # Where rows replace others, some are both in the tail and in blocks, or twice in the tail.
            rows = None if self.spec.immutable else await self._count_rows()
            deleted, is_left = await self._base_store().delete_some(self._context, ())
            with after_writing():
                while is_left:
                    count, is_left = await self._base_store().delete_some(self._context, ())
                    deleted += count
            return deleted if rows is None else rows
        return await self._rows().delete_rows(self._context, first, last) if first < last else 0

    async def _count_rows(self) -> int | None:
        """Return how many rows there are, ``None`` if some are damaged."""
        try:
            return (await self._rows().cover(self._context, _LATEST)).rows
        except StoreError:
            return None

    # Reading

    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["polars"] = "polars",
        when: When | None = None,
    ) -> polars.DataFrame: ...
    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["pandas"],
        when: When | None = None,
    ) -> pandas.DataFrame: ...
    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["arrow"],
        when: When | None = None,
    ) -> pyarrow.Table: ...
    @overload
    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["numpy"],
        when: When | None = None,
    ) -> dict[str, NDArray[Any]]: ...

    async def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Kind = "polars",
        when: When | None = None,
    ) -> Any:
        """Return the rows of the half-open range ``[start, end)`` as a frame, in the order of time and sequence.

        Args:
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text, which is UTC if it
                has no offset; ``None`` for the first row.
            end: the same; ``None`` for the end of what is stored.
            columns: the columns to read; ``None`` for all. The time and the sequence are always there.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays, masked where a column has nulls.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. Later rows
                count as not stored, and so do those on a grid whose interval was not over. ``None`` is no limit.

        Returns:
            A frame with ``timestamp`` (UTC, in the slot's unit), the sequence if the slot has one, and the columns.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or a block or group is damaged: the message says which rows are
                lost.
        """
        from backtest_mongo.columns.frame_output import to_frame
        from backtest_mongo.core.frames import check_arguments

        check_arguments(as_, None, self.spec.name)
        names = self._check_columns(columns)
        first, last = self._range(start, end, when)
        rows = await self._rows().read_rows(self._context, first, max(first, last), names)
        return to_frame(self.spec, rows, as_)

    async def read_last(
        self, count: int, *, columns: Iterable[str] | None = None, when: When | None = None
    ) -> list[dict[str, Any]]:
        """Return the last rows, in the order of time and sequence.

        Args:
            count: how many rows, 1 or more.
            columns: the columns to read, besides the time and the sequence; ``None`` for all.
            when: the reader's simulation time, as for :meth:`read_frame`.

        Returns:
            ``count`` rows as dicts, or all if there are fewer; the newest one is the last. ``timestamp`` is an integer
            in the slot's unit, and nulls are ``None``.

        Raises:
            InputError: an argument is wrong.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
        if type(count) is not int:
            raise InputTypeError(f"count must be an int, not {type(count).__name__}", slot=self.spec.name)
        if count < 1:
            raise InputError(f"count must be 1 or more, not {count} (int)", slot=self.spec.name)
        return await self._read_last(count, self._check_columns(columns), self._limit(when))

    async def read_asof(
        self, time: SeriesTime, *, columns: Iterable[str] | None = None, when: When | None = None
    ) -> dict[str, Any] | None:
        """Return the latest row at or before a time: the one with the greatest key up to it.

        Args:
            time: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text.
            columns: the columns to read, besides the time and the sequence; ``None`` for all.
            when: the reader's simulation time, as for :meth:`read_frame`.

        Returns:
            The row as a dict, ``None`` if there is none.

        Raises:
            InputError: an argument is wrong.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
        end = min(self._units(time, "time", math.floor) + 1, self._limit(when))
        rows = await self._read_last(1, self._check_columns(columns), end)
        return rows[0] if rows else None

    async def _read_last(self, count: int, names: Sequence[str] | None, end: int) -> list[dict[str, Any]]:
        rows = await self._rows().read_last(self._context, count, end, names)
        return rows.rows(self.spec)

    # Resampling

    @overload
    async def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        price: str | None = None,
        amount: str | None = None,
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
        price: str | None = None,
        amount: str | None = None,
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
        price: str | None = None,
        amount: str | None = None,
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
        price: str | None = None,
        amount: str | None = None,
        as_: Literal["numpy"],
        when: When | None = None,
    ) -> dict[str, NDArray[Any]]: ...

    async def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        price: str | None = None,
        amount: str | None = None,
        as_: Kind = "polars",
        when: When | None = None,
    ) -> Any:
        """Return the candles of the series::

            minutes = await trade.resample("1m", "2024-01-01", "2024-02-01")

        The candles are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none
        shows what came after its own end, after ``end`` or after ``when``. An interval without rows has no candle.

        Args:
            interval: of the candles, such as ``1m``, ``1h`` or ``1d``; they open on its grid, in UTC.
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
                interval of the first row.
            end: the same; ``None`` for all that is over.
            price: the column of the prices, rows without one are left out; ``None`` for ``price`` or ``last_price``.
            amount: the column of the amounts, whose sum is the volume; ``None`` for ``amount`` or ``last_volume`` if
                ``price`` is not given either, and otherwise for volumes of 0.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame with ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64), in the order of time.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
        from backtest_mongo.core.frames import check_arguments

        check_arguments(as_, None, self.spec.name)
        grid = check_grid(interval, self.spec.name)
        per_ms = UNITS_PER_MS[self.spec.unit]
        first = None if start is None else -(-self._units(start, "start") // per_ms)
        last = None if end is None else self._units(end, "end", math.floor) // per_ms
        if start is not None and end is not None:
            self._range(start, end)
        return await read_frame(self._make_source(price, amount), grid, (first, last), self._find_time(when), as_)

    async def resample_into(
        self,
        candles: Adapter,
        *,
        start: SeriesTime | None = None,
        price: str | None = None,
        amount: str | None = None,
        delay_ms: int = 0,
    ) -> WriteReport:
        """Store the candles of the series in another one, from where the last call stopped::

            await trade.resample_into(persist.candle("BTCUSDT", "1m", "binance"))

        A candle is stored when its interval is over and a row is stored whose time is its end or later, so that no
        more of its rows are expected. Rows that arrive later still don't change a candle, as its first write wins.
        Calling it again, also after it was killed, stores what is missing, with the same values.

        Args:
            candles: the adapter of candles, or of a series with columns that has a grid and columns of float64 named
                ``open``, ``high``, ``low``, ``close`` and ``volume``. Its interval is theirs.
            start: where to begin; ``None`` for where the last call stopped, which is at the first gap of the last 4,096
                intervals or else after the last candle, whoever has stored it.
            price: as for :meth:`resample`.
            amount: as for :meth:`resample`.
            delay_ms: for how many milliseconds after its end the rows of an interval may still come; a row must be
                stored that is later than that.

        Returns:
            How many candles were new, how many were stored already, and the times of those that the other series
            refuses, by reason.

        Raises:
            InputTypeError: ``candles`` is no adapter of candles, or another argument has the wrong type.
            InputError: an argument is wrong.
            StoreUnavailableError: a database can't be reached; a part may be stored.
            StoreError: a database answers with an error, or what is stored is damaged; a part may be stored.
        """
        target, grid = open_target(candles, self)
        per_ms = UNITS_PER_MS[self.spec.unit]
        first = None if start is None else -(-self._units(start, "start") // per_ms)
        delay = check_delay(delay_ms, self.spec.name)
        source = self._make_source(price, amount)
        return await store_candles(source, target, grid, first, delay, self._find_time(None))

    def _make_source(self, price: str | None, amount: str | None) -> ColumnSource:
        columns = find_columns(self.spec, price, amount)
        return ColumnSource(self.spec, self._rows(), self._context, *columns)

    def _find_time(self, when: When | None) -> int:
        """Return the reader's time, which is not in the future."""
        limit = self._get_limit(when)
        return types.now_ms() if limit is None else min(limit, types.now_ms())

    # What is stored

    async def coverage(self, *, when: When | None = None) -> Coverage:
        """Return the times of the first and the last row, and the number of rows.

        Args:
            when: the reader's simulation time, as for :meth:`read_frame`.

        Returns:
            Times in the slot's unit, UTC; ``None`` if no row is stored.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
        return await self._rows().cover(self._context, self._limit(when))

    async def gaps(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> list[Gap]:
        """Return what is missing in the half-open range ``[start, end)`` of a series on a grid, by time.

        Rows are missing between two that are 1.5 intervals apart or more, before the first row and after the last one,
        as for candles. Of a series without rows the whole range is missing.

        Args:
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the first row.
            end: the same; ``None`` for now. A row whose interval is not over is never missing.

        Returns:
            The gaps, each a half-open range of milliseconds and the number of rows that are missing in it.

        Raises:
            InputError: the slot has no grid, a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
        grid = find_grid(self.spec, self._context)
        if grid is None:
            raise InputError("rows without a grid have no gaps", slot=self.spec.name)
        first, last = self._check_range(start, end)
        finder = GapFinder(grid, None if start is None else first, None if end is None else last, self._find_time(None))
        rows = await self._rows().read_rows(self._context, MOST_NEGATIVE, self._limit(None), ())
        if not len(rows):
            return list(finder.find_all(()))
        import numpy as np

        times = rows.time
        gaps = list(finder.find_before(int(times[0])))
        if finder.overlaps(int(times[0]), int(times[-1])):
            for at in np.flatnonzero(np.diff(times) >= grid.suspect).tolist():
                gaps += finder.find_between(int(times[at]), int(times[at + 1]))
        return [*gaps, *finder.find_after(int(times[-1]))]

    async def size(self) -> SeriesSize:
        """Return how the series is stored: its blocks, and the tail of rows that are not in blocks yet.

        Within :func:`~backtest_mongo.as_of` too, it is about what is stored now.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        return await self._rows().size(self._context)

    async def retain(self, keep: str | None) -> None:
        """Keep a part of the series from now on, and delete the rest::

            await trade.retain("90d")

        It is stored with the series, whichever process writes it. What need not be kept is deleted now, by writes when
        they have merged the tail into blocks, and by ``backtest-mongo prune``. Blocks and groups of rows are deleted as
        a whole, so that up to a block more is kept: 65,536 rows, or 12 MB of them before compression.

        Args:
            keep: ``"90d"`` keeps the rows of the 90 days before the last row, or before now if that is later than now;
                ``"1000000"`` the last million rows, ``"5GB"`` the last rows that take so many bytes (``KB``, ``MB``,
                ``GB``, ``TB``: powers of 1,000); ``None`` all.

        Raises:
            InputError: ``keep`` is none of these.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        if keep is not None:
            if not isinstance(keep, str):
                raise InputTypeError(f"keep must be a str or None, not {type(keep).__name__}", slot=self.spec.name)
            try:
                parse_series_retention(keep)
            except ValueError as error:
                raise InputError(f"keep {error} (str)", slot=self.spec.name) from None
        await self._rows().retain(self._context, keep)

    async def seal(self) -> SealReport:
        """Merge all of the tail into blocks.

        Writes do so themselves when the tail has become long. It may be killed at any time, and several may run at
        once. A standalone MongoDB has no transactions, so its rows stay in the tail.

        Returns:
            How many blocks were written, and how many rows of the tail are in them.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be sealed.
            StoreError: MongoDB answers with an error, or what is stored is damaged; a part may be sealed.
        """
        blocks = rows = 0
        async for done, count in self._rows().seal_rows(self._context):
            blocks, rows = blocks + done, rows + count
        return SealReport(blocks, rows)

    async def verify(self) -> VerifyReport:
        """Read every block and every group of the tail, and compare their checksums.

        Blocks are the only place of their rows, so nothing can repair them. Within :func:`~backtest_mongo.as_of` too,
        all that is stored now is read.

        Returns:
            How many blocks and groups were read, the rows in them, and what is wrong with the damaged ones by the time
            of their first row; ``None`` is the key of those whose first time is not known.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        read = rows = 0
        damaged: dict[int | None, str] = {}
        async for covered, problem in self._rows().verify_rows(self._context):
            read, rows = read + 1, rows + covered.rows
            if problem is not None:
                damaged[covered.first] = problem
        return VerifyReport(read, rows, damaged, 0)

    @classmethod
    async def list_series(cls) -> AsyncIterator[Self]:
        """Iterate over every series that is stored, each as an adapter, in the order of the unique index.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        async for context in cls.list_contexts():
            yield cls(**context)

    # Arguments

    def _units(self, value: SeriesTime, name: str, round_: Callable[[int | Fraction], int] = math.ceil) -> int:
        return self._millis(value, name, partial(round_to_units, unit=self.spec.unit, round_=round_))

    def _range(self, start: SeriesTime | None, end: SeriesTime | None, when: When | None = None) -> tuple[int, int]:
        first, last = self._check_range(start, end)
        return first, min(last, self._limit(when))

    def _check_range(self, start: SeriesTime | None, end: SeriesTime | None) -> tuple[int, int]:
        first = MOST_NEGATIVE if start is None else self._units(start, "start")
        last = _LATEST if end is None else self._units(end, "end")
        if first > last:
            raise InputError(f"start must not come after end: {first} is later than {last} (int)", slot=self.spec.name)
        return first, last

    def _limit(self, when: When | None) -> int:
        """Return the time before which a read finds rows."""
        limit = self._get_limit(when)
        return _LATEST if limit is None else find_known_end(self.spec, self._context, limit)

    @classmethod
    def _check_columns(cls, columns: Iterable[str] | None) -> list[str] | None:
        if columns is None:
            return None
        if isinstance(columns, str) or not isinstance(columns, Iterable):
            kind = type(columns).__name__
            raise InputTypeError(f"columns must be a list of names, not {kind}", slot=cls.spec.name)
        known = {column.name for column in cls.spec.columns}
        chosen = list(columns)
        for name in chosen:
            if not isinstance(name, str):
                kind = type(name).__name__
                raise InputTypeError(f"columns must be a list of names, not of {kind}", slot=cls.spec.name)
        names = [name for name in chosen if name not in cls._key_columns()]
        for name in names:
            if name not in known:
                hint = suggest(name, known)
                raise InputError(f"there is no column {name!r}", slot=cls.spec.name, hint=hint)
        return names

    @classmethod
    def _key_columns(cls) -> Key:
        return ("timestamp", cls.spec.key[-1])

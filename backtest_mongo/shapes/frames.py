"""What a series has beside its slot's methods: frames, what is there of it and what is missing, and sealed blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from backtest_mongo import types
from backtest_mongo.errors import InputError
from backtest_mongo.hub import Hub
from backtest_mongo.series_store import SeriesStore
from backtest_mongo.shapes.base import Adapter
from backtest_mongo.store import SeriesRows, Store
from backtest_mongo.types import (
    INTERVAL_MS,
    Coverage,
    Document,
    Gap,
    Sealed,
    SealReport,
    VerifyReport,
    When,
    WriteReport,
)

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    from numpy.typing import NDArray

    from backtest_mongo.frames import Fill, Kind

__all__ = ["FramesAdapter"]

_EVER = 2**63 - 1


class FramesAdapter(Adapter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        interval = str(self.context["interval"])
        if interval not in INTERVAL_MS:
            raise InputError(
                f"interval {interval!r} (str) is unknown",
                slot=self.spec.name,
                hint=f"known are {' '.join(INTERVAL_MS)}",
            )
        self._step = INTERVAL_MS[interval]

    @classmethod
    def _open(cls, hub: Hub) -> Store:
        return SeriesStore(hub, cls.spec)

    def _rows(self) -> SeriesRows:
        return cast("SeriesRows", self._store())

    @overload
    async def read_frame(
        self,
        start: When | None = None,
        end: When | None = None,
        as_: Literal["polars"] = "polars",
        fill: Fill | None = None,
    ) -> polars.DataFrame: ...
    @overload
    async def read_frame(
        self, start: When | None, end: When | None, as_: Literal["pandas"], fill: Fill | None = None
    ) -> pandas.DataFrame: ...
    @overload
    async def read_frame(
        self, start: When | None = None, end: When | None = None, *, as_: Literal["pandas"], fill: Fill | None = None
    ) -> pandas.DataFrame: ...
    @overload
    async def read_frame(
        self, start: When | None, end: When | None, as_: Literal["arrow"], fill: Fill | None = None
    ) -> pyarrow.Table: ...
    @overload
    async def read_frame(
        self, start: When | None = None, end: When | None = None, *, as_: Literal["arrow"], fill: Fill | None = None
    ) -> pyarrow.Table: ...
    @overload
    async def read_frame(
        self, start: When | None, end: When | None, as_: Literal["numpy"], fill: Fill | None = None
    ) -> dict[str, NDArray[Any]]: ...
    @overload
    async def read_frame(
        self, start: When | None = None, end: When | None = None, *, as_: Literal["numpy"], fill: Fill | None = None
    ) -> dict[str, NDArray[Any]]: ...

    async def read_frame(
        self, start: When | None = None, end: When | None = None, as_: Kind = "polars", fill: Fill | None = None
    ) -> Any:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        Its columns are ``timestamp`` (UTC, to the millisecond) and ``open``, ``high``, ``low``, ``close`` and
        ``volume`` (float64). It holds the same numbers whether they come out of sealed blocks or of rows.

        Args:
            start: milliseconds since the epoch or an aware datetime; ``None`` for the first candle.
            end: the same; ``None`` for all that is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays, whose times are ``datetime64[ms]``.
            fill: what stands where a candle is missing, from ``start`` to ``end`` where these are given and between the
                first and the last candle where not: ``None`` for nothing, so that rows are missing too; ``null`` for
                a row of nulls (NaN in pandas and NumPy); ``forward`` for a flat candle at the close before, without
                volume.

        Raises:
            InputError: an argument is wrong, or its library not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
        from backtest_mongo.frames import check_arguments, filled, to_frame

        check_arguments(as_, fill)
        first, last = self._range(start, end)
        candles = await self._rows().read(
            self._context, self._step, -_EVER if first is None else first, _EVER if last is None else last
        )
        missing = None
        if fill is not None:
            candles, missing = filled(candles, self._step, first, last, fill)
        return to_frame(candles, missing, as_)

    async def write_frame(self, frame: object) -> WriteReport:
        """Store the candles of a frame that are not stored yet, and return what became of each row.

        Takes what :meth:`read_frame` gives: a polars or pandas ``DataFrame``, a ``pyarrow.Table``, or a mapping or a
        structured array of NumPy's. Times are integers of milliseconds since the epoch or typed times, aware where
        the library knows zones; a fraction of a millisecond is cut off. Further columns are passed over, and rows may
        come in any order; of those with one time the first is taken.

        The first write of a candle wins for ever. Rows without a time or with a price that is no finite number are
        refused and keep no other from being stored, as are those whose interval has not ended yet. Blocks that are
        whole then are sealed. The ids of the documents don't go to Redis. It can be cancelled, and called again with
        the same frame to carry on.

        Raises:
            InputError: a column is missing or holds something else; nothing was stored.
            StoreUnavailableError: MongoDB can't be reached; a part may be stored.
            StoreError: MongoDB answers with an error; a part may be stored.
        """
        from backtest_mongo.frame_input import columns, storable

        candles, refused = storable(columns(frame), self._step, types.now_ms())
        new = await self._rows().insert_arrays(self._context, self._step, candles) if len(candles) else 0
        return WriteReport(new, len(candles) - new, refused)

    async def coverage(self) -> Coverage:
        """Return the first and the last time that is stored, and how many candles, out of the indexes alone.

        By one query where nothing is sealed; what is sealed makes it faster.
        """
        return await self._rows().coverage(self._context, self._step)

    async def bounds(self) -> tuple[int, int] | None:
        """Return the times of the first and the last candle, in milliseconds, or ``None`` if there is none."""
        return await self._rows().bounds(self._context)

    async def gaps(self, start: When | None = None, end: When | None = None) -> list[Gap]:
        """Return what is missing in the half-open range ``[start, end)``, by time: what is still to be fetched.

        Out of the indexes alone, as :meth:`coverage`. ``start`` is the first stored candle if left out, and ``end`` the
        last candle that has closed by now; what has not closed yet is never missing. The grid is that of the first
        stored candle.

        Raises:
            InputError: a time is wrong.
        """
        first, last = self._range(start, end)
        bounds = await self._rows().bounds(self._context)
        phase = bounds[0] % self._step if bounds else 0
        first = first if first is not None else bounds[0] if bounds else None
        closed = types.now_ms() - self._step + 1
        last = closed if last is None else min(last, closed)
        if first is None:
            return []
        lowest, highest = self._up(first, phase), self._up(last, phase)
        if bounds is None:
            edges: list[tuple[int | None, int | None]] = []
        else:
            rows = self._rows().neighbours(
                self._context, self._step, phase, max(lowest, bounds[0]), min(highest, bounds[1] + 1)
            )
            edges = [edge async for edge in rows]
        ranges = [
            (
                lowest if before is None else self._up(before + 1, phase),
                highest if after is None else self._up(after, phase),
            )
            for before, after in edges or [(None, None)]
        ]
        return [Gap(start, end, (end - start) // self._step) for start, end in ranges if start < end]

    def _up(self, time: int, phase: int) -> int:
        """Return the first place of the grid that is not before ``time``."""
        return -((phase - time) // self._step) * self._step + phase

    def _range(self, start: When | None, end: When | None) -> tuple[int | None, int | None]:
        first = None if start is None else self._millis(start, "start")
        last = None if end is None else self._millis(end, "end")
        if first is not None and last is not None and first > last:
            raise InputError(f"start must not come after end: {first} is later than {last} (int)", slot=self.spec.name)
        return first, last

    async def sealed(self) -> Sealed:
        """Return how much of the series is in sealed blocks."""
        return await self._rows().sealed(self._context)

    async def seal(self, progress: Callable[[SealReport], None] | None = None) -> SealReport:
        """Seal what can be sealed and is not: complete blocks, and those with gaps whose time is over.

        Large writes do so by themselves. It may be killed at any time, and run twice at once. With
        ``CC_CANDLE_BLOCKS=false`` nothing is sealed.

        Args:
            progress: called after each stretch with what was sealed in it.
        """
        blocks = rows = 0
        async for done, candles in self._rows().seal(self._context, self._step):
            blocks, rows = blocks + done, rows + candles
            if progress is not None:
                progress(SealReport(done, candles))
        return SealReport(blocks, rows)

    async def verify(
        self, repair: bool = False, progress: Callable[[VerifyReport], None] | None = None
    ) -> VerifyReport:
        """Compare every sealed block with its rows.

        Args:
            repair: drop each block that differs, and seal its stretch again.
            progress: called after each block with what was found until then.
        """
        blocks = rows = 0
        damaged: list[Document] = []
        problems: dict[int, str] = {}
        async for block, problem in self._rows().verify(self._context, self._step):
            blocks, rows = blocks + 1, rows + int(block["rows"])
            if problem is not None:
                damaged.append(block)
                problems[int(block["start"])] = problem
            if progress is not None:
                progress(VerifyReport(blocks, rows, problems, 0))
        repaired = 0
        if repair and damaged:
            repaired, _ = await self._rows().reseal(self._context, self._step, damaged)
        return VerifyReport(blocks, rows, problems, repaired)

    @classmethod
    async def list_series(cls) -> AsyncIterator[Self]:
        """Iterate over every series that is stored, each as an adapter, in the order of the unique index."""
        spec = cls.spec
        async for context in cast("SeriesRows", cls._store()).contexts():
            by_field = dict(zip(spec.key, context, strict=False))
            # What another program has written under an interval of its own, or without a name, is none of ours.
            if by_field["interval"] in INTERVAL_MS and all(context):
                yield cls(*(by_field[field] for field in spec.context_fields))

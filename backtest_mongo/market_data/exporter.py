"""Exporting a candle series to a Parquet or CSV file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import numpy as np

from backtest_mongo.adapters import CandleAdapter
from backtest_mongo.core.candle_rules import END, START
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import Columns
from backtest_mongo.market_data.file_output import ExportProgress, check_ending, open_output, open_parquet, write_csv
from backtest_mongo.types import PRICES, Gap, Interval, SeriesTime, to_series_millis

__all__ = ["export_candles"]

#: Grid places that are read at a time: a little more than a month of minutes.
_PLACES: Final = 50_000


class _Writer(Protocol):
    def write(self, columns: Columns) -> None: ...


async def export_candles(
    symbol: str,
    interval: Interval,
    exchange_name: str,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    fill: Literal["null", "forward"] | None = None,
    progress: ExportProgress | None = None,
) -> int:
    """Write stored candles to a Parquet or CSV file, in the order of their times.

    The ending of ``path`` chooses the format: ``.parquet``, ``.csv`` or ``.csv.gz``. In CSV, times are milliseconds
    since the epoch (UTC); in Parquet, timestamps in UTC. Both formats can be imported again without losing a digit.
    The file appears when it is complete, and replaces one of this name. Candles are read in bounded memory.

    Args:
        symbol: the symbol of the series.
        interval: the interval of the series, such as ``1m``.
        exchange_name: the exchange of the series.
        path: the file to write.
        start: the first open time; ``None`` for the first that is stored.
        end: the time before which the last candle opens; ``None`` for the last that is stored.
        fill: what to write where a candle is missing: ``null`` a row without numbers, ``forward`` a flat candle at the
            previous close, without volume; ``None`` nothing.
        progress: receives the progress of the export.

    Returns:
        How many rows the file has.

    Raises:
        InputError: an argument is wrong, or nothing is stored in the range.
        OSError: the file can't be written.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
    """
    series = CandleAdapter(symbol, interval, exchange_name)
    return await export_from(series, path, start=start, end=end, fill=fill, progress=progress)


async def export_from(
    adapter: CandleAdapter,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    fill: Literal["null", "forward"] | None = None,
    progress: ExportProgress | None = None,
) -> int:
    """Write the candles of an adapter, wherever it stores them, as :func:`export_candles` does."""
    target = Path(path)
    check_ending(target)
    if fill not in (None, "null", "forward"):
        raise InputError(f"fill must be null, forward or None, not {fill!r}")
    context = adapter.context
    series = f"{context['exchange_name']} {context['symbol']} {context['interval']}"
    grid = GRIDS[str(context["interval"])]
    bounds = await adapter.bounds()
    if bounds is None:
        raise InputError(f"no candles of {series} are stored")
    first = bounds[0] if start is None else max(_to_millis(start, "start"), bounds[0])
    stop = bounds[1] + 1 if end is None else min(_to_millis(end, "end"), bounds[1] + 1)
    if first >= stop:
        raise InputError(f"no candles of {series} are stored in that range")
    if fill is not None and not START <= first < stop <= END:
        raise InputError(
            f"fill {fill} would fill beyond the years 1 to 9999, where a candle of {series} is stored",
            hint="give start and end",
        )
    width = _PLACES * grid.shortest
    absent = await adapter.gaps(first, stop) if fill is None else []
    forward = _ForwardFill()
    rows = 0
    if progress is not None:
        progress.start(grid.room(first, stop))
    with _open_writer(target, adapter) as writer:
        for at, until in _split_range(first, stop, width, absent):
            columns: Columns = await adapter.read_frame(at, until, as_="numpy", fill=None if fill is None else "null")
            if fill == "forward":
                forward.fill(columns)
            await asyncio.to_thread(writer.write, columns)
            rows += len(columns["timestamp"])
            if progress is not None:
                progress.update(target.name, grid.room(first, until), len(columns["timestamp"]))
    return rows


def _to_millis(value: SeriesTime, name: str) -> int:
    try:
        return to_series_millis(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} {error}") from None


def _split_range(first: int, stop: int, width: int, absent: Sequence[Gap]) -> Iterator[tuple[int, int]]:
    """Yield the range in parts of ``width`` milliseconds, without the gaps that are longer than a part."""
    for start, end in [*((gap.start, gap.end) for gap in absent if gap.end - gap.start > width), (stop, stop)]:
        for at in range(first, start, width):
            yield at, min(at + width, start)
        first = max(first, end)


class _ForwardFill:
    """Fills rows without numbers from the last close, which it remembers from one part to the next."""

    def __init__(self) -> None:
        self._close = np.nan

    def fill(self, columns: Columns) -> None:
        missing = np.isnan(columns["close"])
        last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(missing))))
        closes = np.where(last >= 0, columns["close"][last], self._close) if len(last) else columns["close"]
        flat = missing & ~np.isnan(closes)
        for name in PRICES:
            columns[name][flat] = 0.0 if name == "volume" else closes[flat]
        self._close = closes[-1] if len(closes) else self._close


@contextmanager
def _open_writer(path: Path, adapter: CandleAdapter) -> Iterator[_Writer]:
    with open_output(path) as file:
        if path.name.endswith(".parquet"):
            schema = _make_schema(adapter)
            with open_parquet(file, schema) as writer:
                yield _Parquet(writer, schema)
        else:
            yield _Csv(file)


class _Csv:
    """Times are milliseconds, as the name of their column says; a number has enough digits to be read back exactly."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        write_csv(file, [[name] for name in ("timestamp_ms", *PRICES)])

    def write(self, columns: Columns) -> None:
        times = columns["timestamp"].astype(np.int64).tolist()
        prices = [
            ["" if value != value else repr(value) for value in columns[name].tolist()]  # NaN alone differs from itself
            for name in PRICES
        ]
        write_csv(self._file, [map(str, times), *prices])


class _Parquet:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer = writer
        self._schema = schema

    def write(self, columns: Columns) -> None:
        import pyarrow as pa

        times = pa.array(columns["timestamp"].astype(np.int64)).cast(self._schema.field("timestamp").type)
        prices = [pa.array(columns[name], mask=np.isnan(columns[name])) for name in PRICES]
        self._writer.write_table(pa.Table.from_arrays([times, *prices], schema=self._schema))


def _make_schema(adapter: CandleAdapter) -> Any:
    import pyarrow as pa

    about: dict[bytes | str, bytes | str] = {name: str(value) for name, value in adapter.context.items()}
    fields: list[tuple[str, pa.DataType]] = [("timestamp", pa.timestamp("ms", tz="UTC"))]
    fields += [(name, pa.float64()) for name in PRICES]
    return pa.schema(fields, metadata=about)

"""Carrying a series into a file, a stretch of candles at a time."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import numpy as np

from backtest_mongo import CandleAdapter
from backtest_mongo.candles.chunk import Columns
from backtest_mongo.candles.progress import Bar
from backtest_mongo.candles.session import title
from backtest_mongo.errors import InputError
from backtest_mongo.types import INTERVAL_MS, PRICES

__all__ = ["ENDINGS", "export_candles"]

ENDINGS: Final = (".parquet", ".csv", ".csv.gz")
#: Places of the grid in a stretch: a little more than a month of minutes.
_PLACES: Final = 50_000


class _Writer(Protocol):
    def write(self, columns: Columns) -> None: ...


async def export_candles(
    adapter: CandleAdapter, path: Path, start: int | None, end: int | None, fill: str | None
) -> int:
    """Write the candles of the half-open range ``[start, end)`` to a file and return how many rows it has.

    The file appears when it is complete. ``fill`` puts a row where a candle is missing: ``null`` one without numbers,
    ``forward`` a flat candle at the close before, without volume.

    Raises:
        InputError: nothing is stored in the range.
        OSError: the file can't be written.
        StoreUnavailableError, StoreError: MongoDB can't be reached, or answers with an error.
    """
    step = INTERVAL_MS[str(adapter.context["interval"])]
    bounds = await adapter.bounds()
    if bounds is None:
        raise InputError(f"no candles of {title(adapter)} are stored")
    first = bounds[0] if start is None else max(start, bounds[0])
    stop = bounds[1] + 1 if end is None else min(end, bounds[1] + 1)
    if first >= stop:
        raise InputError(f"no candles of {title(adapter)} are stored in that range")
    # On the grid of the series, so that no stretch begins between two of its places.
    lowest = first - (first - bounds[0]) % step
    filler = None if fill is None else _Filler(step, forward=fill == "forward")
    rows = 0
    with Bar((stop - lowest + step - 1) // step, "candles") as bar, _writer(path, adapter) as writer:
        for at in range(lowest, stop, _PLACES * step):
            until = min(at + _PLACES * step, stop)
            columns: Columns = await adapter.read_frame(max(at, first), until, as_="numpy")
            if filler is not None:
                columns = filler.filled(columns, at if at >= first else at + step, until)
            await asyncio.to_thread(writer.write, columns)
            rows += len(columns["timestamp"])
            bar.show(path.name, (until - lowest + step - 1) // step, len(columns["timestamp"]))
    return rows


class _Filler:
    """Puts rows where candles are missing; remembers the last close from one stretch to the next."""

    def __init__(self, step: int, forward: bool) -> None:
        self._step = step
        self._forward = forward
        self._close = np.nan

    def filled(self, columns: Columns, start: int, end: int) -> Columns:
        """Return a row for each place of the grid from ``start`` on."""
        grid = np.arange(start, end, self._step, dtype=np.int64)
        places, beside = np.divmod(columns["timestamp"].astype(np.int64) - start, self._step)
        there = beside == 0
        whole: Columns = {"timestamp": grid.view("datetime64[ms]")}
        for name in PRICES:
            whole[name] = np.full(len(grid), np.nan)
            whole[name][places[there]] = columns[name][there]
        if self._forward:
            missing = np.isnan(whole["close"])
            last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(grid))))
            closes = np.where(last >= 0, whole["close"][last], self._close)
            for name in PRICES:
                whole[name][missing] = 0.0 if name == "volume" else closes[missing]
            self._close = closes[-1] if len(closes) else self._close
        return whole


@contextmanager
def _writer(path: Path, adapter: CandleAdapter) -> Iterator[_Writer]:
    """Give what writes to a file of its own, which becomes ``path`` at the end and vanishes if there is an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with ExitStack() as stack:
            file = stack.enter_context(part.open("wb"))
            stack.callback(_sync, file)
            if path.name.endswith(".parquet"):
                writer: _Writer = stack.enter_context(_parquet(file, adapter))
            elif path.name.endswith(".gz"):
                # Without name and time, so that the same candles make the same file.
                writer = _Csv(stack.enter_context(gzip.GzipFile("", "wb", 6, file, 0)))
            else:
                writer = _Csv(file)
            yield writer
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


class _Csv:
    """Times are milliseconds; a number has as many digits as it takes to read the same again."""

    def __init__(self, file: Any) -> None:
        self._file = file
        file.write(f"timestamp,{','.join(PRICES)}\n".encode())

    def write(self, columns: Columns) -> None:
        times = columns["timestamp"].astype(np.int64).tolist()
        prices = [
            ["" if value != value else repr(value) for value in columns[name].tolist()]  # NaN alone differs from itself
            for name in PRICES
        ]
        rows = map(",".join, zip(map(str, times), *prices, strict=True))
        self._file.write("".join(f"{row}\n" for row in rows).encode())


class _Parquet:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer = writer
        self._schema = schema

    def write(self, columns: Columns) -> None:
        import pyarrow as pa

        times = pa.array(columns["timestamp"].astype(np.int64)).cast(self._schema.field("timestamp").type)
        prices = [pa.array(columns[name], mask=np.isnan(columns[name])) for name in PRICES]
        self._writer.write_table(pa.Table.from_arrays([times, *prices], schema=self._schema))


@contextmanager
def _parquet(file: Any, adapter: CandleAdapter) -> Iterator[_Parquet]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about: dict[bytes | str, bytes | str] = {name: str(value) for name, value in adapter.context.items()}
    fields: list[tuple[str, pa.DataType]] = [("timestamp", pa.timestamp("ms", tz="UTC"))]
    fields += [(name, pa.float64()) for name in PRICES]
    schema = pa.schema(fields, metadata=about)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield _Parquet(writer, schema)

"""Candles in Parquet files, read a batch of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from backtest_mongo.candles.chunk import ROWS, BadLine, Chunk, Columns, wrong_rows
from backtest_mongo.candles.headers import Places, find_places
from backtest_mongo.candles.times import NO_TIME, Millis, numbers_to_millis, text_to_millis
from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_parquet"]

#: Units of Arrow's times, each in so many parts of a millisecond or so many milliseconds.
_PARTS: Final = {"s": 1, "ms": 1, "us": 1000, "ns": 1_000_000}


def read_parquet(stream: BinaryIO, size: int, where: str, columns: Sequence[str] | None, unit: str) -> Iterator[Chunk]:
    """Yield the candles of a Parquet file of ``size`` bytes chunk by chunk.

    Raises:
        InputError: its columns can't be understood, or nothing in its first rows is a candle.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(stream) as file:
            schema = file.schema_arrow
            places = _places(schema, columns, where)
            rows = max(file.metadata.num_rows, 1)
            wanted = [schema.names[place] for place in places.all]
            done, symbol = 0, None
            note = _note(schema, places)
            for batch in file.iter_batches(ROWS, columns=wanted):
                arrays = {name: batch.column(name) for name in wanted}
                parts = [arrays[name] for name in wanted]
                if symbol is None and places.symbol is not None:
                    symbol = parts[-1][0].as_py() if len(batch) else None
                chunk = _chunk(parts, done, symbol, unit)
                if done == 0 and len(batch) and not len(chunk.lines):
                    raise InputError(f"{where}: row 1 is no candle, nor is any of the next: {chunk.bad[0].reason}")
                done += len(batch)
                yield Chunk(chunk.columns, chunk.lines, chunk.bad, size * done // rows, note)
                note = ""
    except pa.ArrowException as error:
        raise InputError(f"{where}: can't be read as Parquet: {str(error).splitlines()[0]}") from error


def _places(schema: pa.Schema, columns: Sequence[str] | None, where: str) -> Places:
    import pyarrow as pa

    names = list(columns or schema.names)
    # What pandas calls an index without a name.
    typed = [place for place, field in enumerate(schema) if pa.types.is_timestamp(field.type)]
    if len(typed) == 1 and names[typed[0]].startswith("__index_level"):
        names[typed[0]] = "timestamp"
    places = find_places(names, where)
    if places.clock is not None:
        raise InputError(f"{where}: has a date and a time in two columns", hint="give one column with both")
    return places


def _note(schema: pa.Schema, places: Places) -> str:
    import pyarrow as pa

    kind = schema.field(places.time).type
    naive = pa.types.is_timestamp(kind) and kind.tz is None
    zone = ", which names no zone: taken as UTC" if naive else ""
    volume, time = schema.names[places.prices[-1]], schema.names[places.time]
    return f"Parquet; volume from {volume!r}, time from {time!r}{zone}"


def _chunk(parts: list[pa.Array[Any]], done: int, symbol: object, unit: str) -> Chunk:
    columns: Columns = {"timestamp": _millis(parts[0], unit)}
    columns |= {name: _numbers(part) for name, part in zip(PRICES, parts[1:6], strict=True)}
    wrong = wrong_rows(columns)
    strange = np.zeros(len(wrong), np.bool_)
    if symbol is not None:
        strange = np.array([value != symbol for value in parts[6].to_pylist()], np.bool_)
    bad = [
        BadLine(done + place + 1, _reason(parts, place, columns, symbol))
        for place in np.flatnonzero(wrong | strange).tolist()
    ]
    kept = ~(wrong | strange)
    lines = np.arange(done + 1, done + 1 + len(kept), dtype=np.int64)[kept]
    return Chunk({name: column[kept] for name, column in columns.items()}, lines, bad)


def _reason(parts: list[pa.Array[Any]], place: int, columns: Columns, symbol: object) -> str:
    if columns["timestamp"][place] == NO_TIME:
        value = parts[0][place].as_py()
        return "there is no time" if value is None else f"{str(value)[:40]!r} is no time"
    for name, part in zip(PRICES, parts[1:6], strict=True):
        if not math.isfinite(columns[name][place]):
            value = part[place].as_py()
            if value is None:
                return f"{name} is empty"
            return f"{name} is {'no number' if isinstance(value, str) else 'not finite'}: {str(value)[:40]!r}"
    return f"symbol {str(parts[6][place].as_py())[:40]!r} instead of {symbol!r} of the first row"


def _millis(values: pa.Array[Any], unit: str) -> Millis:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_timestamp(kind):
        numbers, empty = _filled(values.cast(pa.int64()))
        scaled = numbers * 1000 if kind.unit == "s" else numbers // _PARTS[kind.unit]
    elif pa.types.is_date(kind):
        numbers, empty = _filled(values.cast(pa.date64()).cast(pa.int64()))
        scaled = numbers
    elif pa.types.is_integer(kind):
        numbers, empty = _filled(values.cast(pa.int64()))
        scaled = numbers_to_millis(numbers, unit)
    elif pa.types.is_floating(kind):
        return numbers_to_millis(values.cast(pa.float64()).to_numpy(zero_copy_only=False), unit)
    else:
        return np.array([_text_or_none(value, unit) for value in values.to_pylist()], np.int64)
    return np.where(empty, NO_TIME, scaled)


def _filled(values: pa.Array[Any]) -> tuple[Millis, npt.NDArray[np.bool_]]:
    return (
        values.fill_null(0).to_numpy(zero_copy_only=False),
        values.is_null().to_numpy(zero_copy_only=False),
    )


def _text_or_none(value: object, unit: str) -> int:
    try:
        return NO_TIME if value is None else text_to_millis(str(value), unit)
    except ValueError:
        return NO_TIME


def _numbers(values: pa.Array[Any]) -> npt.NDArray[Any]:
    """Return numbers, with NaN for what is none."""
    import pyarrow as pa

    try:
        column = values.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.array([_number_or_nan(value) for value in values.to_pylist()], np.float64)
    # Copied: an array of Arrow's can't be written to, and keeps its batch alive.
    return np.array(column.to_numpy(zero_copy_only=False), np.float64)


def _number_or_nan(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number is caught
    except (TypeError, ValueError, OverflowError):
        return math.nan

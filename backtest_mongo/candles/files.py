"""Reading candle files of any kind as a stream of chunks, in bounded memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

from backtest_mongo.candles.chunk import Chunk
from backtest_mongo.candles.sources import Source, opened
from backtest_mongo.candles.text import read_text
from backtest_mongo.candles.times import UNITS
from backtest_mongo.errors import InputError

__all__ = ["read_candles"]


def read_candles(source: Source, *, columns: Sequence[str] | None = None, unit: str = "auto") -> Iterator[Chunk]:
    """Yield the candles of one file chunk by chunk, as they stand in it; what is no candle is in ``Chunk.bad``.

    CSV with commas, semicolons or tabs, with a header or without, and Parquet, each plain, gzipped or in a zip archive;
    :func:`~backtest_mongo.candles.sources.find_sources` finds them. ``columns`` names the file's columns in their
    order where it has no header, or not an intelligible one. ``unit`` says what a number of a time counts: ``s``,
    ``ms``, ``us``, ``ns``, or ``auto`` to tell by its size. Times without a zone are UTC.

    Raises:
        InputError: the file is broken, or can't be understood: its header or none of its first rows makes sense.
    """
    if unit not in ("auto", *UNITS):
        raise InputError(f"read_candles: unit {unit!r} is unknown", hint=f"known are auto {' '.join(UNITS)}")
    with opened(source) as file:
        if not file.parquet:
            yield from read_text(file.stream, file.position, source.name, columns, unit)
            return
        if importlib.util.find_spec("pyarrow") is None:
            raise InputError(
                f"{source.name}: Parquet needs pyarrow", hint='pip install "backtest-mongo[frames]" brings it'
            )
        from backtest_mongo.candles.tables import read_parquet

        yield from read_parquet(file.stream, source.size, source.name, columns, unit)

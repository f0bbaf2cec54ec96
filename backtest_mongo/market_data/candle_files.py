"""Reading candle files of any format as chunks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from backtest_mongo.core.wording import suggest_extra
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import DEFAULT, Chunk, ReadOptions
from backtest_mongo.market_data.csv_reader import read_text
from backtest_mongo.market_data.data_files import Source, open_source
from backtest_mongo.market_data.time_formats import UNITS

__all__ = ["read_candles"]


def read_candles(source: Source, options: ReadOptions = DEFAULT, **changes: Any) -> Iterator[Chunk]:
    """Yield the candles of one file chunk by chunk, in the file's order, with its bad lines in ``Chunk.bad``.

    Reads text of any delimiter, with a header or without, Parquet and Feather, each plain, gzipped or in a zip archive.
    The format is decided once for the whole file.

    Args:
        source: a file that :func:`~backtest_mongo.market_data.data_files.find_sources` has found.
        options: what the file leaves open.
        changes: single options by name, which override ``options``.

    Raises:
        InputError: the file is broken, can't be understood, can be understood in several ways, or has only rows of
            other symbols.
    """
    options = replace(options, **changes)
    if options.unit not in ("auto", *UNITS):
        raise InputError(f"read_candles: unit {options.unit!r} is unknown", hint=f"known are auto {' '.join(UNITS)}")
    with open_source(source) as file:
        if file.table is None:
            yield from read_text(file.stream, file.position, source.name, options)
            return
        if importlib.util.find_spec("pyarrow") is None:
            raise InputError(f"{source.name}: {file.table} needs pyarrow", hint=suggest_extra("frames"))
        from backtest_mongo.market_data.parquet_reader import read_table

        yield from read_table(file.stream, file.table, source.size, source.name, options)

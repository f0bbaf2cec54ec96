"""Reading series files of any format as chunks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.wording import suggest_extra
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.data_files import Source, open_source
from backtest_mongo.market_data.series_chunks import SeriesChunk, SeriesOptions
from backtest_mongo.market_data.series_text import read_series_text
from backtest_mongo.market_data.time_formats import UNITS

__all__ = ["read_series"]


def read_series(
    spec: SlotSpec, source: Source, options: SeriesOptions | None = None, interval: str | None = None
) -> Iterator[SeriesChunk]:
    """Yield the rows of one file chunk by chunk, in the file's order, with its bad lines in ``SeriesChunk.bad``.

    Reads text of any delimiter, with a header or, where a vendor's is known, without, Parquet and Feather, each plain,
    gzipped or in a zip archive. The format is decided once for the whole file.

    Args:
        spec: of the slot.
        source: a file that :func:`~backtest_mongo.market_data.data_files.find_sources` has found.
        options: what the file leaves open.
        interval: of the slot's grid, if it has one.

    Raises:
        InputError: the file is broken, can't be understood, can be understood in several ways, or has only rows of
            other symbols.
    """
    options = options or SeriesOptions()
    if options.unit not in ("auto", *UNITS):
        raise InputError(f"read_series: unit {options.unit!r} is unknown", hint=f"known are auto {' '.join(UNITS)}")
    with open_source(source) as file:
        if file.table is None:
            yield from read_series_text(spec, interval, file.stream, file.position, source.name, options)
            return
        if importlib.util.find_spec("pyarrow") is None:
            raise InputError(f"{source.name}: {file.table} needs pyarrow", hint=suggest_extra("frames"))
        from backtest_mongo.market_data.series_table import read_series_table

        yield from read_series_table(spec, interval, file.stream, file.table, source.size, source.name, options)

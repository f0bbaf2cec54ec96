"""Exporting a series with columns to a Parquet or CSV file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from backtest_mongo.adapters.shapes import ColumnSeriesAdapter
from backtest_mongo.core.columns import Column
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.file_output import ExportProgress, check_ending, open_output, open_parquet, write_csv
from backtest_mongo.market_data.series_headers import list_series_names
from backtest_mongo.market_data.series_importer import check_series
from backtest_mongo.market_data.series_parts import find_range, read_parts
from backtest_mongo.market_data.series_values import format_float
from backtest_mongo.types import SeriesTime

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["export_series"]


class _Writer(Protocol):
    def write(self, rows: ColumnArrays) -> None: ...


async def export_series(
    adapter: ColumnSeriesAdapter,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    progress: ExportProgress | None = None,
) -> int:
    """Write the rows of a series to a Parquet or CSV file, in the order of time and sequence.

    The ending of ``path`` chooses the format: ``.parquet``, ``.csv`` or ``.csv.gz``. In CSV, times are integers in the
    slot's unit since the epoch (UTC), which the name of their column says; in Parquet, timestamps in UTC. An empty
    field is null, and two quotes are text without a character. Both formats can be imported again without losing a bit.
    The file appears when it is complete, and replaces one of this name. Rows are read in bounded memory.

    Args:
        adapter: of the series.
        path: the file to write.
        start: the first time: an integer in the slot's unit, an aware datetime or ISO 8601 text; ``None`` for the first
            that is stored.
        end: the time before which the last row is; ``None`` for the last that is stored.
        progress: receives the progress of the export.

    Returns:
        How many rows the file has.

    Raises:
        InputError: an argument is wrong, nothing is stored in the range, or text has a line break or a NUL, which CSV
            files can't hold here.
        InputTypeError: the adapter is not one of a series with columns.
        OSError: the file can't be written.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error, or what is stored is damaged.
    """
    check_series(adapter, "export_series")
    target = Path(path)
    check_ending(target)
    within = await find_range(adapter, start, end)
    rows = 0
    if progress is not None:
        progress.start(within.coverage.rows)
    with _open_writer(target, adapter) as writer:
        async for _, part in read_parts(adapter, within):
            if len(part):
                await asyncio.to_thread(writer.write, part)
            rows += len(part)
            if progress is not None:
                progress.update(target.name, rows, len(part))
    return rows


@contextmanager
def _open_writer(path: Path, adapter: ColumnSeriesAdapter) -> Iterator[_Writer]:
    with open_output(path) as file:
        if path.name.endswith(".parquet"):
            schema = _make_schema(adapter)
            with open_parquet(file, schema) as writer:
                yield _Parquet(adapter.spec, writer, schema)
        else:
            yield _Csv(adapter.spec, file)


class _Csv:
    def __init__(self, spec: SlotSpec, file: IO[bytes]) -> None:
        self._spec = spec
        self._file = file
        names = list_series_names(spec)
        write_csv(file, [[name] for name in (f"{names[0]}_{spec.unit}", *names[1:])])

    def write(self, rows: ColumnArrays) -> None:
        columns = [[*map(str, rows.time.tolist())]]
        if rows.sequence is not None:
            columns.append(
                _format_column(Column(self._spec.key[-1], self._spec.sequence or "str"), rows.sequence.tolist())
            )
        columns += [_format_column(column, rows.values[column.name].to_list(column)) for column in self._spec.columns]
        write_csv(self._file, columns)


def _format_column(column: Column, values: list[Any]) -> list[str]:
    match column.type:
        case "float64":
            return ["" if value is None else format_float(value) for value in values]
        case "bool":
            return ["" if value is None else str(value).lower() for value in values]
        case "category" | "str":
            known = {value: "" if value is None else _quote(column.name, value) for value in {*values}}
            return [known[value] for value in values]
    return ["" if value is None else str(value) for value in values]


def _quote(name: str, text: str) -> str:
    if any(mark in text for mark in "\n\r\0"):
        hint = "write a .parquet instead"
        raise InputError(
            f"{name} has text with a line break or a NUL, which no CSV file can hold: {text[:40]!r}", hint=hint
        )
    if text and text == text.strip() and not any(mark in text for mark in ',"'):
        return text
    return '"' + text.replace('"', '""') + '"'


class _Parquet:
    def __init__(self, spec: SlotSpec, writer: Any, schema: Any) -> None:
        self._spec = spec
        self._writer = writer
        self._schema = schema

    def write(self, rows: ColumnArrays) -> None:
        from backtest_mongo.columns.frame_output import to_frame

        table = to_frame(self._spec, rows, "arrow")
        self._writer.write_table(table.replace_schema_metadata(self._schema.metadata))


def _make_schema(adapter: ColumnSeriesAdapter) -> Any:
    from backtest_mongo.columns.arrays import ColumnArrays
    from backtest_mongo.columns.frame_output import to_frame

    about = {"slot": adapter.spec.name, **{name: str(value) for name, value in adapter.context.items()}}
    empty = to_frame(adapter.spec, ColumnArrays.empty(adapter.spec), "arrow")
    return empty.schema.with_metadata(about)

"""What readers of text files and of tables have in common: finding the format of times, and making chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import numpy as np

from backtest_mongo.columns.arrays import Mask
from backtest_mongo.core.candle_headers import named_unit, named_zone
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.time_zones import NO_TIME
from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import Lines, ReadOptions, SymbolSelection
from backtest_mongo.market_data.exact_times import ExactTimes
from backtest_mongo.market_data.importing import BadLine
from backtest_mongo.market_data.number_formats import NumberFormat
from backtest_mongo.market_data.series_chunks import SeriesChunk, SeriesOptions
from backtest_mongo.market_data.series_headers import SeriesColumns
from backtest_mongo.market_data.series_values import (
    ArrowCells,
    Parsed,
    TextCells,
    build_rows,
    describe_value,
    list_columns,
    parse_cells,
)
from backtest_mongo.market_data.time_formats import TimeFormat, TimeHints

__all__ = ["SeriesTable", "describe_columns", "find_hints"]

#: A row of tardis' quotes is numbered by the time of its arrival, in microseconds, and by its place among those that
#: arrived then.
_PLACES: Final = 1_000


def find_hints(name: str | None, columns: SeriesColumns, options: SeriesOptions, interval: str | None) -> TimeHints:
    """Return what the caller, the vendor and the name of the column say about times."""
    unit = options.unit if options.unit != "auto" else columns.unit or named_unit(name or "")
    return TimeHints(interval, unit, options.time_format, options.zone, has_interval=interval is not None)


class SeriesTable:
    """Makes the chunks of one file."""

    def __init__(self, spec: SlotSpec, columns: SeriesColumns, where: str, options: SeriesOptions) -> None:
        self._spec = spec
        self._columns = columns
        self._where = where
        self._by_name = {column.name: column for column in list_columns(spec)}
        self._selection = SymbolSelection(
            where, ReadOptions(symbol=options.symbol, force=options.force), option="--context symbol=NAME"
        )
        self._is_first = True
        self._arrival = _Arrival(where)

    def check(self) -> None:
        """Check, at the end of the file, that some row was read.

        Raises:
            InputError: all rows are of other symbols.
        """
        self._selection.check()

    def make_chunks(
        self,
        times: ExactTimes,
        cells: Mapping[str, TextCells | ArrowCells],
        context: Mapping[str, list[str]],
        lines: Lines,
        numbers: NumberFormat,
        position: int,
        note: str,
        bad: list[BadLine],
        describe_time: Callable[[int, bool], str],
    ) -> Iterator[SeriesChunk]:
        """Yield a chunk for each series; the first has the bad lines.

        Args:
            times: of the rows.
            cells: of the file's columns, by the slot's names.
            context: the values of the arguments of the context that the file names.
            lines: the number of each row's line.
            numbers: how numbers are written.
            position: how many bytes of the file are read.
            note: how the file was understood.
            bad: lines that are no rows.
            describe_time: returns why the time of a row can't be read, given whether it is finer than the unit.

        Raises:
            InputError: none of the first rows can be read.
        """
        parsed = {
            name: parse_cells(self._by_name[name], one, numbers, self._columns.meanings.get(name))
            for name, one in cells.items()
        }
        refused = times.data == NO_TIME
        for one in parsed.values():
            refused = refused | one.bad

        def describe(row: int) -> str:
            if times.data[row] == NO_TIME:
                return describe_time(row, bool(times.cut[row]))
            name = next(name for name, one in parsed.items() if one.bad[row])
            return describe_value(self._by_name[name], cells[name].text(row))

        for name, meaning in self._columns.meanings.items():
            if meaning == "arrival":
                parsed[name] = self._arrival.number(parsed[name])
        if self._is_first and len(lines) and refused.all():
            self._refuse(int(lines[0]), describe(0), parsed)
        self._is_first = False
        others, chosen = self._choose(context, len(lines))
        for named, rows in chosen or [({}, np.zeros(len(lines), np.bool_))]:
            wrong = [BadLine(int(lines[row]), describe(row)) for row in np.flatnonzero(refused & rows).tolist()]
            mask = rows & ~refused
            kept = slice(None) if mask.all() else mask
            built = build_rows(self._spec, times.data, parsed, kept)
            yield SeriesChunk(built, lines[kept], sorted([*bad, *wrong]), position, note, named, others)
            bad, note, others = [], "", 0

    def _refuse(self, line: int, reason: str, parsed: Mapping[str, Parsed]) -> None:
        hint = "--columns says which column is which, --time-unit what numeric times count"
        sequence = self._spec.key[-1]
        if self._spec.sequence == "int64" and parsed[sequence].bad.all():
            hint = 'register a slot of your own with sequence="str" for ids that are text'
        raise InputError(
            f"{self._where}: line {line} is not a row of {self._spec.name}, nor is any of the next: {reason}", hint=hint
        )

    def _choose(self, context: Mapping[str, list[str]], rows: int) -> tuple[int, list[tuple[dict[str, str], Mask]]]:
        """Return how many rows are of other symbols, and each series that is read, with its rows."""
        every = np.ones(rows, np.bool_)
        if not context:
            return 0, [({}, every)]
        names = list(context)
        keys = list(zip(*context.values(), strict=True))
        found = dict(zip(dict.fromkeys(keys), count()))
        which = np.array([found[key] for key in keys]) if len(found) > 1 else np.zeros(rows, np.int64)
        if "symbol" not in context:
            return 0, [(dict(zip(names, key, strict=True)), which == code) for key, code in found.items()]
        at = names.index("symbol")
        chosen = []
        taken = np.zeros(rows, np.bool_)
        for symbol, spellings in self._selection.choose(list(dict.fromkeys(key[at] for key in found))):
            groups: dict[tuple[str, ...], list[int]] = {}
            for key, code in found.items():
                if key[at] in spellings:
                    groups.setdefault((*key[:at], symbol, *key[at + 1 :]), []).append(code)
            for group, codes in groups.items():
                mask = np.isin(which, codes)
                taken |= mask
                chosen.append((dict(zip(names, group, strict=True)), mask))
        return int(np.count_nonzero(~taken)), chosen


class _Arrival:
    """Numbers rows by when they arrived, and by their place among those that arrived at the same time."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._last = 0
        self._places = 0

    def number(self, found: Parsed) -> Parsed:
        arrived = found.values.data
        kept = np.flatnonzero(~found.bad)
        known = arrived[kept]
        if not len(known):
            return found
        if known[0] < self._last or (np.diff(known) < 0).any():
            raise InputError(
                f"{self._where}: its rows are not in the order of local_timestamp, by which they are numbered"
            )
        begins = np.flatnonzero(np.append(True, np.diff(known) != 0))
        places = np.arange(len(known)) - np.repeat(begins, np.diff(np.append(begins, len(known))))
        first = known == known[0]
        if known[0] == self._last:
            places[first] += self._places
        self._last, self._places = int(known[-1]), int(places[-1]) + 1
        if places.max() >= _PLACES or known[-1] > (2**63 - 1) // _PLACES:
            raise InputError(f"{self._where}: {_PLACES:,} rows or more arrived at one time")
        data = np.zeros(len(arrived), np.int64)
        data[kept] = known * _PLACES + places
        return found._replace(values=type(found.values)(data, found.values.valid))


def describe_columns(
    columns: SeriesColumns,
    names: list[str] | None,
    times: TimeFormat | None,
    *,
    is_naive: bool,
    zone: Any,
) -> str:
    """Return in words which columns are read, and how times are written."""

    def name(index: int) -> str:
        return f"column {index + 1}" if names is None else repr(names[index].strip())

    stored = {one: at for one, at in columns.values.items() if names is None or names[at].strip() != one}
    taken = "".join(f"{one} from {name(at)}, " for one, at in stored.items())
    time = name(columns.time) + ("" if columns.clock is None else f" and {name(columns.clock)}")
    where = ""
    if is_naive and zone is not None:
        where = f", which is in {zone}"
    elif is_naive and (names is None or named_zone(names[columns.time]) is None):
        where = ", which names no zone: taken as UTC"
    written = f" ({times.note})" if times is not None and times.note and times.kind != "number" else ""
    if times is not None and times.kind == "number":
        written = f" {times.note}"
    vendor = f", as {columns.vendor}" if columns.vendor else ""
    return f"{vendor}; {taken}time from {time}{written}{where}"

"""Rows as dicts, as live code has them, one or a few at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NoReturn

from backtest_mongo import types
from backtest_mongo.columns.arrays import TIME, ColumnArrays, sort_rows
from backtest_mongo.columns.python_values import UnfitValuesError, read_times, read_values
from backtest_mongo.columns.sizes import explain_oversized, find_oversized
from backtest_mongo.core.candle_rules import check_spacing
from backtest_mongo.core.columns import Column
from backtest_mongo.core.series_times import find_grid
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError, InputTypeError

__all__ = ["check_now", "read_rows"]


def read_rows(spec: SlotSpec, rows: Sequence[Mapping[str, Any]], most_bytes: int | None = None) -> ColumnArrays:
    """Return rows in the order of their keys; of several with one key the first or the last, as the slot says.

    Args:
        spec: of the slot. If it is immutable the first row of a key counts, otherwise the last.
        rows: each with ``timestamp``, the sequence if the slot has one, and all of its columns; nullable ones may be
            missing or ``None``. Times are integers in the slot's unit, aware datetimes, NumPy's ``datetime64`` or
            ISO 8601 text. Numbers may be of any type whose value the column holds exactly; a ``Decimal`` may also be
            one that a float64 is written as, such as ``Decimal("0.1")``.
        most_bytes: how many bytes a row can have; ``None`` for any number.

    Raises:
        InputTypeError: a row or a value has the wrong type; the message names the place, such as ``rows[3].price``.
        InputError: a row has an unknown column or lacks one, the column or the unit would lose digits of a value, or a
            time is outside of the years 1 to 9999, or at or beyond an end of 64 bits, or a row has too many bytes.
    """
    reader = _READERS.get(id(spec))
    if reader is None:
        if len(_READERS) >= _MOST_READERS:
            _READERS.clear()
        reader = _READERS[id(spec)] = _RowReader(spec)
    return reader.read(rows, most_bytes)


def check_now(
    spec: SlotSpec, context: Key, rows: ColumnArrays, now: int | None = None, what: str = "rows"
) -> ColumnArrays:
    """Return the rows whose interval has ended; all of them if the slot has no grid.

    A row whose interval has not ended is skipped and not refused, as ``write_candles_data`` does: what an exchange
    returns ends with such a row each time, and where the first row wins it must not become the final one. The caller
    sends it again when its interval is over.

    Args:
        spec: of the slot.
        context: the context's values, in the order of the slot's key.
        rows: in the order of their keys.
        now: milliseconds since the epoch; ``None`` for the time of the clock.
        what: what the rows are called in the error.

    Raises:
        InputError: the median distance of all rows is below half the interval, so their times are in another unit or
            of another interval.
    """
    grid = find_grid(spec, context)
    if grid is None:
        return rows
    if len(rows) > 1:
        check_spacing(rows.time, grid.name, what, spec.name)
    still_open = grid.open_at(rows.time, types.now_ms() if now is None else now)
    return rows.take(~still_open) if still_open.any() else rows


class _RowReader:
    """Reads the rows of one slot."""

    def __init__(self, spec: SlotSpec) -> None:
        self._spec = spec
        sequence = [Column(spec.key[-1], spec.sequence)] if spec.sequence else []
        self._columns = [*sequence, *spec.columns]
        self._names = (TIME, *(column.name for column in self._columns))
        self._needed = (TIME, *(column.name for column in self._columns if not column.nullable))
        self._get = itemgetter(*self._names)
        self._lengths = {len(self._names)}
        self._has_text = any(column.type in ("str", "category") for column in self._columns)

    def read(self, rows: Sequence[Mapping[str, Any]], most_bytes: int | None) -> ColumnArrays:
        if not isinstance(rows, list | tuple):
            raise InputTypeError(f"rows must be a list, not {type(rows).__name__}", slot=self._spec.name)
        if not rows:
            return ColumnArrays.empty(self._spec)
        name = TIME
        try:
            cells = zip(*self._pick(rows), strict=True)
            time = read_times(next(cells), self._spec.unit)
            values = {}
            for column, cell in zip(self._columns, cells, strict=True):
                name = column.name
                values[name] = read_values(column, cell, is_null_allowed=column.nullable)
        except UnfitValuesError as error:
            self._refuse(name, error)
        sequence = values.pop(self._columns[0].name).data if self._spec.sequence else None
        found = ColumnArrays(time, sequence, values)
        if self._has_text and most_bytes is not None:
            self._check_sizes(found, most_bytes)
        return found if len(rows) == 1 else sort_rows(found, keeps_first=self._spec.immutable)

    def _pick(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Return the values of each row, in the order of the columns."""
        if {*map(type, rows)} == _DICT and {*map(len, rows)} == self._lengths:
            try:
                return [*map(self._get, rows)]
            except KeyError:
                pass  # some have other columns
        for index, row in enumerate(rows):
            self._check_names(row, f"rows[{index}]")
        return [[row.get(name) for name in self._names] for row in rows]

    def _check_names(self, row: object, path: str) -> None:
        if not isinstance(row, Mapping):
            raise InputTypeError(f"{path} must be a dict, not {type(row).__name__}", slot=self._spec.name)
        missing = [name for name in self._needed if name not in row]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)} ({type(row).__name__})", slot=self._spec.name)
        for name in row:
            if name not in self._names:
                hint = suggest(str(name), self._names)
                problem = f"{path} has the unknown column {name!r} ({type(row).__name__})"
                raise InputError(problem, slot=self._spec.name, hint=hint)

    def _check_sizes(self, rows: ColumnArrays, most: int) -> None:
        for at, size in find_oversized(rows, most).items():
            raise InputError(f"rows[{at}] {explain_oversized(size, most)}", slot=self._spec.name)

    def _refuse(self, name: str, error: UnfitValuesError) -> NoReturn:
        index, problem = next(iter(error.problems.items()))
        kind = InputTypeError if isinstance(problem, TypeError) else InputError
        raise kind(f"rows[{index}].{name} {problem}", slot=self._spec.name) from None


_DICT: Final = {dict}
#: The readers of the slots that were used last, by the identity of the slot's row, which each of them keeps: hashing
#: such a row takes longer than reading a row of data.
_READERS: Final[dict[int, _RowReader]] = {}
_MOST_READERS: Final = 256

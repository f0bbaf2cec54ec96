"""Rows of a series as frames of polars, pandas, PyArrow or NumPy.

A frame has ``timestamp`` (UTC, in the slot's unit), the sequence if the slot has one, and the columns in the slot's
order. Arrays are not copied where a library can use their memory as it is, so a frame of NumPy, PyArrow or pandas may
be read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.columns.arrays import TIME, ColumnArrays, Values
from backtest_mongo.core.columns import Column
from backtest_mongo.core.frames import Kind
from backtest_mongo.core.specs import SlotSpec

__all__ = ["to_frame"]


def to_frame(spec: SlotSpec, rows: ColumnArrays, kind: Kind) -> Any:
    """Return rows as a frame.

    Args:
        spec: of the slot.
        rows: with all of the slot's columns, or some.
        kind: ``polars``, ``pandas``, ``arrow`` (a ``pyarrow.Table``) or ``numpy`` (a dict of arrays).

    Returns:
        Times are ``Datetime(unit, "UTC")``, ``datetime64[unit, UTC]`` or ``timestamp[unit, UTC]``, and in NumPy
        ``datetime64[unit]``. Categories are ``Categorical`` or a dictionary array, and in NumPy an array of objects;
        other text is an array of ``StringDType`` there. Nulls are the library's own: NaN in floats of pandas, whose
        other numbers and booleans are of its nullable types if the column has nulls, and masked arrays in NumPy.
    """
    return _MAKERS[kind](spec, rows)


def _list_columns(spec: SlotSpec, rows: ColumnArrays) -> Iterator[tuple[Column, Values]]:
    if spec.sequence and rows.sequence is not None:
        yield Column(spec.key[-1], spec.sequence), Values(rows.sequence)
    for column in spec.columns:
        if column.name in rows.values:
            yield column, rows.values[column.name]


def _take_text(values: Values) -> NDArray[Any]:
    """Return the text of a category as objects, ``None`` for what is null."""
    names: NDArray[Any] = np.array([*values.categories, None], object)
    text: NDArray[Any] = names[values.data]  # -1 is the last one
    return text


def _numpy(spec: SlotSpec, rows: ColumnArrays) -> dict[str, NDArray[Any]]:
    frame: dict[str, NDArray[Any]] = {TIME: rows.time.view(f"M8[{spec.unit}]")}
    for column, values in _list_columns(spec, rows):
        data = _take_text(values) if column.type == "category" else values.data
        nulls = values.find_nulls(column)
        frame[column.name] = data if nulls is None else np.ma.masked_array(data, nulls)
    return frame


def _pandas(spec: SlotSpec, rows: ColumnArrays) -> Any:
    import pandas

    frame: dict[str, Any] = {
        TIME: pandas.DatetimeIndex(rows.time.view(f"M8[{spec.unit}]"), tz="UTC", copy=False),
    }
    for column, values in _list_columns(spec, rows):
        data, nulls = values.data, values.find_nulls(column)
        match column.type:
            case "category":
                kind = pandas.CategoricalDtype([*dict.fromkeys(values.categories)])
                frame[column.name] = pandas.Categorical.from_codes(_number(values), dtype=kind)
            case "str":
                text = data.astype(object)
                if nulls is not None:
                    text[nulls] = None
                frame[column.name] = text
            case "float64":
                frame[column.name] = data if nulls is None else np.where(nulls, np.nan, data)
            case "bool":
                frame[column.name] = data if nulls is None else pandas.arrays.BooleanArray(data, nulls)
            case _:
                frame[column.name] = data if nulls is None else pandas.arrays.IntegerArray(data, nulls)
    return pandas.DataFrame(frame, copy=False)


def _number(values: Values) -> NDArray[Any]:
    """Return codes for the different values of a category, of which a list may have one twice."""
    if len({*values.categories}) == len(values.categories):
        return values.data
    codes = {name: code for code, name in enumerate(dict.fromkeys(values.categories))}
    table: NDArray[Any] = np.array([*(codes[name] for name in values.categories), -1], np.int32)
    numbers: NDArray[Any] = table[values.data]
    return numbers


def _arrow(spec: SlotSpec, rows: ColumnArrays) -> Any:
    import pyarrow

    arrow: Any = pyarrow  # its buffers take any array, which its types do not know

    def make(data: NDArray[Any], kind: Any, nulls: NDArray[np.bool_] | None) -> Any:
        valid = None if nulls is None else pack(~nulls)
        content = pack(data) if data.dtype == np.bool_ else arrow.py_buffer(np.ascontiguousarray(data))
        return arrow.Array.from_buffers(kind, len(data), [valid, content])

    def pack(bits: NDArray[np.bool_]) -> Any:
        return arrow.py_buffer(np.packbits(bits, bitorder="little"))

    frame = {TIME: make(rows.time, arrow.timestamp(spec.unit, tz="UTC"), None)}
    for column, values in _list_columns(spec, rows):
        data, nulls = values.data, values.find_nulls(column)
        match column.type:
            case "category":
                codes = make(data, arrow.int32(), nulls)
                array = arrow.DictionaryArray.from_arrays(codes, arrow.array(values.categories, arrow.string()))
            case "str":
                array = arrow.array(data.astype(object), arrow.large_string(), mask=nulls)
            case _:
                array = make(data, arrow.from_numpy_dtype(data.dtype), nulls)
        frame[column.name] = array
    return arrow.table(frame)


def _polars(spec: SlotSpec, rows: ColumnArrays) -> Any:
    import polars

    if len(rows) >= _SHARED_ROWS and find_spec("pyarrow") is not None:
        return polars.from_arrow(_arrow(spec, rows))
    columns = [polars.Series(TIME, rows.time).cast(polars.Datetime(spec.unit, "UTC"))]
    nullable = []
    for column, values in _list_columns(spec, rows):
        if column.type == "category":
            names = polars.Series(column.name, [*values.categories, None], polars.String).cast(polars.Categorical)
            columns.append(names.gather(polars.Series(np.where(values.data < 0, len(names) - 1, values.data))))
            continue
        data = values.data.astype(object) if column.type == "str" else values.data
        columns.append(polars.Series(column.name, data, polars.String if column.type == "str" else None))
        nulls = values.find_nulls(column)
        if nulls is not None:
            nullable.append(polars.when(polars.Series(~nulls)).then(polars.col(column.name)).alias(column.name))
    return polars.DataFrame(columns).with_columns(nullable)


#: From so many rows on, copying them takes longer than importing PyArrow, through which polars uses their memory.
_SHARED_ROWS: Final = 2_000_000

_MAKERS: Final[Mapping[Kind, Callable[[SlotSpec, ColumnArrays], Any]]] = {
    "polars": _polars,
    "pandas": _pandas,
    "numpy": _numpy,
    "arrow": _arrow,
}

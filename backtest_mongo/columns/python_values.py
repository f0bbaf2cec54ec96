"""Values of Python as the arrays of a column: each is kept as it is, or refused if digits would be lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from numbers import Integral, Rational, Real
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.columns.arrays import STORED_TYPES, Values
from backtest_mongo.core.columns import Column, ColumnType, Unit
from backtest_mongo.core.unit_times import find_time_range, to_units

__all__ = ["UnfitValuesError", "check_text", "encode_categories", "read_times", "read_values"]

#: What stands for null in each type of column.
_EMPTY: Final[Mapping[ColumnType, object]] = {
    "float64": 0.0,
    "int64": 0,
    "int8": 0,
    "bool": False,
    "category": "",
    "str": "",
}
#: The types of the values that need no more than NumPy's own checks.
_PLAIN: Final = {name: {type(empty)} for name, empty in _EMPTY.items()}
_PLAIN_OR_NULL: Final = {name: {*kinds, type(None)} for name, kinds in _PLAIN.items()}
_BOUNDS: Final = {"int64": (-(2**63), 2**63 - 1), "int8": (-128, 127)}


class UnfitValuesError(Exception):
    """Some values can't be in a column.

    Attributes:
        problems: why, by their positions in ascending order: ``ValueError`` or ``TypeError`` with a text that follows a
            name, such as ``must be a number, not str``.
    """

    def __init__(self, problems: Mapping[int, ValueError | TypeError]) -> None:
        super().__init__(problems)
        self.problems = problems


def read_values(column: Column, values: Sequence[Any], *, is_null_allowed: bool = True) -> Values:
    """Return the values of a column, of which ``None`` is null.

    Raises:
        UnfitValuesError: some of them have the wrong type, would lose digits, or are null where that is not allowed.
    """
    kind = column.type
    kinds = {*map(type, values)}
    has_nulls = type(None) in kinds
    if kinds <= (_PLAIN_OR_NULL if is_null_allowed else _PLAIN)[kind]:
        try:
            if kind != "category" and not has_nulls:
                return Values(np.array(values, STORED_TYPES[kind]))
            return _make_values(kind, values, has_nulls)
        except (OverflowError, UnicodeEncodeError):
            pass  # which value it is, is found below
    converted = _convert(partial(_CONVERTERS[kind], kind), values, is_null_allowed=is_null_allowed)
    return _make_values(kind, converted, has_nulls)


def read_times(values: Sequence[Any], unit: Unit) -> NDArray[np.int64]:
    """Return times as counts of units since the epoch, each as :func:`~backtest_mongo.core.unit_times.to_units` does.

    Raises:
        UnfitValuesError: some of them are no such time; ``None`` is none, either.
    """
    if {*map(type, values)} == {int}:
        first, last = find_time_range(unit)
        if first <= min(values) and max(values) <= last:
            return np.array(values, np.int64)
    return np.array(_convert(lambda value: to_units(value, unit), values, is_null_allowed=False), np.int64)


def encode_categories(values: Sequence[str | None]) -> Values:
    """Return text of few values, or ``None``, as a category."""
    codes: dict[str | None, int] = {}
    number = [codes.setdefault(value, len(codes)) for value in values]
    data = np.array(number, np.int32)
    if None in codes:
        absent = codes.pop(None)
        data[data == absent] = -1
        data[data > absent] -= 1
    return Values(data, None, tuple(codes))  # type: ignore[arg-type]  # without None


def _make_values(kind: ColumnType, values: Sequence[Any], has_nulls: bool) -> Values:
    if kind == "category":
        found = encode_categories(values)
        for name in found.categories:
            if not name.isascii():
                name.encode()
        return found
    if not has_nulls:
        return Values(np.array(values, STORED_TYPES[kind]))
    valid = np.fromiter((value is not None for value in values), bool, len(values))
    empty = _EMPTY[kind]
    return Values(np.array([empty if value is None else value for value in values], STORED_TYPES[kind]), valid)


def _convert(convert: Callable[[Any], Any], values: Sequence[Any], *, is_null_allowed: bool) -> list[Any]:
    converted: list[Any] = []
    problems: dict[int, ValueError | TypeError] = {}
    for at, value in enumerate(values):
        if value is None and is_null_allowed:
            converted.append(None)
            continue
        try:
            converted.append(convert(value))
        except (ValueError, TypeError) as error:
            problems[at] = error
    if problems:
        raise UnfitValuesError(problems)
    return converted


# One value


def _to_float(kind: ColumnType, value: Any) -> float:
    if type(value) is float:
        return value
    if not _is_number(value):
        raise TypeError(f"must be a number, not {type(value).__name__}")
    shown = value
    if isinstance(value, Integral):
        value = int(value)  # as those of NumPy are compared with floats as floats
    try:
        converted = float(value)
    except (OverflowError, ValueError):  # Decimal's signaling NaN is such a ValueError
        raise ValueError(f"must fit in a float64, not {_show(shown)}") from None
    if math.isnan(converted) or converted == value:
        return converted
    # A decimal fraction is kept if the float that stands for it is written with the same digits.
    if isinstance(value, Decimal) and math.isfinite(converted) and Decimal(repr(converted)) == value:
        return converted
    raise ValueError(f"must not lose digits in a float64, unlike {_show(shown)}")


def _to_int(kind: ColumnType, value: Any) -> int:
    if not _is_number(value):
        raise TypeError(f"must be a whole number, not {type(value).__name__}")
    try:
        converted = int(value)
    except (OverflowError, ValueError):  # infinities and NaN
        converted = None
    if converted is None or converted != value:
        raise ValueError(f"must be a whole number, not {_show(value)}")
    lowest, highest = _BOUNDS[kind]
    if not lowest <= converted <= highest:
        raise ValueError(f"must be from {lowest} to {highest}, not {_show(value)}")
    return converted


def _is_number(value: object) -> bool:
    if type(value) is int:
        return True
    if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "m":
        return False  # NumPy counts its lengths of time among the integers
    return isinstance(value, Real | Integral | Rational | Decimal)


def _to_bool(kind: ColumnType, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"must be a bool, not {type(value).__name__}")
    return bool(value)


def check_text(value: object) -> str:
    """Return text as a plain ``str``.

    Raises:
        TypeError: it is no text.
        ValueError: it holds a lone surrogate.
    """
    if not isinstance(value, str):
        raise TypeError(f"must be a str, not {type(value).__name__}")
    text = str.__str__(value)  # a string of an enum or of NumPy: keep its text, drop its type
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds a lone surrogate, which is not valid Unicode (str)") from None
    return text


def _show(value: object) -> str:
    return f"{str(value)[:40]} ({type(value).__name__})"


_CONVERTERS: Final[Mapping[ColumnType, Callable[[ColumnType, Any], Any]]] = {
    "float64": _to_float,
    "int64": _to_int,
    "int8": _to_int,
    "bool": _to_bool,
    "category": lambda kind, value: check_text(value),
    "str": lambda kind, value: check_text(value),
}

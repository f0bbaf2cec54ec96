"""How a file writes numbers, with which decimal mark and separators, and their exact values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.csv_fields import LONGEST, Column

__all__ = ["NumberFormat", "Scan", "find_number_format", "parse_number", "read_numbers", "scan_numbers"]

#: Digits that always fit in 64 bits, and the integers and powers of ten that are exact as floats: the quotient of two
#: such numbers is the float nearest to the decimal (Clinger).
_DIGITS: Final = 19
_EXACT: Final = np.uint64(2**53)
_POWERS: Final = 10.0 ** np.arange(23)
#: By what factor the evidence for one format must outweigh that for another, so that damaged lines don't decide.
_WEIGHT: Final = 20
_GROUPS: Final = "'\u2019 \u00a0\u202f"
_CURRENCY: Final = "$€£¥₹"
#: investing.com's 1.5M.
_SUFFIXES: Final = {"K": 3, "M": 6, "B": 9, "T": 12}
_PLAIN: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written; ``thousands`` are the separators allowed between groups of three digits."""

    decimal: str = "."
    thousands: str = ""

    @property
    def note(self) -> str:
        """What is unusual, in words; may be empty."""
        words = ["decimal commas"] if self.decimal == "," else []
        words += ["thousands separators"] if self.thousands else []
        return " and ".join(words)


class Scan(NamedTuple):
    """The digits of a column.

    Attributes:
        digits: all digits of a field as one whole number.
        decimals: how many of these are decimals.
        negative: whether there is a minus.
        plain: whether a field has only digits, a sign and a decimal mark, and not too many digits.
        simple: the same with any number of digits.
    """

    digits: npt.NDArray[np.uint64]
    decimals: npt.NDArray[np.int64]
    negative: npt.NDArray[np.bool_]
    plain: npt.NDArray[np.bool_]
    simple: npt.NDArray[np.bool_]

    def floats(self) -> npt.NDArray[np.float64]:
        """Return the values, which are right only where they are plain."""
        values = self.digits.astype(np.float64) / _POWERS[np.minimum(self.decimals, len(_POWERS) - 1)]
        return np.where(self.negative, -values, values)


def scan_numbers(column: Column, decimal: str = ".") -> Scan:
    """Read a column's digits, all rows at once."""
    text, lengths = column
    rows = len(lengths)
    digits = np.zeros(rows, np.uint64)
    # One byte each: a field has at most LONGEST digits.
    counted, decimals, points = (np.zeros(rows, np.int8) for _ in range(3))
    strange = (lengths == 0) | (lengths > LONGEST)
    negative = np.zeros(rows, np.bool_)
    for at, letters in enumerate(text[: int(lengths.max(initial=0))]):
        value = letters - np.uint8(48)  # wraps around below the digits
        digit = value < 10
        if digit.all():
            digits *= np.uint64(10)
            digits += value
        else:
            point = letters == ord(decimal)
            other = ~(digit | point | (letters == 0))
            if at == 0:
                negative = letters == ord("-")
                other &= ~(negative | (letters == ord("+")))
            strange |= other
            points += point
            np.multiply(digits, np.uint64(10), out=digits, where=digit)
            np.add(digits, value, out=digits, where=digit)
        counted += digit
        decimals += digit & (points > 0)
    simple = ~strange & (counted > 0) & (points < 2)
    plain = simple & (decimals < len(_POWERS))
    if len(text) > _DIGITS:
        plain &= counted - _count_leading_zeros(text, counted) <= _DIGITS
    return Scan(digits, decimals.astype(np.int64), negative, plain, simple)


def _count_leading_zeros(text: npt.NDArray[np.uint8], counted: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return the number of leading zeros of fields with many digits."""
    zeros = np.zeros(len(counted), np.int8)
    for row in np.flatnonzero(counted > _DIGITS).tolist():
        written = text[:, row].tobytes().lstrip(b"+-").replace(b".", b"").replace(b",", b"")
        zeros[row] = len(written) - len(written.lstrip(b"0"))
    return zeros


def read_numbers(column: Column, form: NumberFormat) -> npt.NDArray[np.float64]:
    """Return a column's values, each the float nearest to the text; NaN for what is not a number.

    Numbers that are too large are infinite.
    """
    scan = scan_numbers(column, form.decimal)
    values = scan.floats()
    exact = scan.plain & (scan.digits <= _EXACT)
    long = np.flatnonzero(scan.simple & ~exact)
    if len(long):
        texts = column.take(long).bytes()
        if form.decimal != ".":
            texts = np.char.replace(texts, form.decimal.encode(), b".")
        values[long] = texts.astype(np.float64)
    for row in np.flatnonzero(~scan.simple).tolist():
        try:
            values[row] = math.nan if column.lengths[row] > LONGEST else parse_number(column.at(row), form)
        except ValueError:
            values[row] = math.nan
    return values


def parse_number(text: str, form: NumberFormat) -> float:
    """Return the value of one text, as :func:`read_numbers` does.

    Raises:
        ValueError: it is not a number.
    """
    plain = text.strip().strip(_CURRENCY).strip()
    sign = ""
    if plain[:1] in ("+", "-"):
        sign, plain = plain[0], plain[1:].strip(_CURRENCY)
    exponent = 0
    if plain[-1:].upper() in _SUFFIXES:
        exponent, plain = _SUFFIXES[plain[-1:].upper()], plain[:-1]
    whole, point, fraction = plain.partition(form.decimal)
    for separator in form.thousands:
        if separator in whole:
            if not re.fullmatch(rf"\d{{1,3}}({re.escape(separator)}\d{{3}})+", whole, re.ASCII):
                raise ValueError(text)
            whole = whole.replace(separator, "")
    plain = sign + whole + ("." if point else "") + fraction
    if not _PLAIN.fullmatch(plain):
        if plain.lower().lstrip("+-") in ("inf", "infinity"):
            return float(plain)
        raise ValueError(text)
    return float(f"{plain}e{exponent}" if exponent else plain)


def find_number_format(columns: Iterable[Column], where: str, decimal: str | None = None) -> NumberFormat:
    """Find how a file writes numbers, from all of them.

    A comma is a decimal mark or a thousands separator; numbers that can be read in only one way decide. A lone point is
    a decimal mark unless they decide otherwise.

    Args:
        decimal: the decimal mark, if it is known.

    Raises:
        InputError: the numbers can be read in both ways, or contradict each other.
    """
    columns = list(columns)
    separated = [_take_separated(column) for column in columns]
    if not any(len(some) for some in separated):
        return NumberFormat(decimal or ".")
    votes: Counter[str] = Counter()
    doubtful = ""
    for column, some in zip(columns, separated, strict=True):
        for text in some.strings():
            vote = _find_decimal_mark(text)
            votes[vote] += 1
            doubtful = doubtful or (text if vote == "?" else "")
        votes["."] += _count_decimal_points(column)
    mark = decimal
    if mark is None:
        points, commas = votes["."], votes[","]
        if points and commas and max(points, commas) <= _WEIGHT * min(points, commas):
            raise InputError(f"{where}: has decimal points and decimal commas", hint=_HINT)
        if doubtful and not points and not commas:
            raise InputError(f"{where}: {doubtful!r} can have thousands or a fraction", hint=_HINT)
        mark = "," if commas > points else "."
    return NumberFormat(mark, ("," if mark == "." else ".") + _GROUPS)


_HINT: Final = "--decimal point or --decimal comma decides"
_GROUP: Final = re.compile(r"[1-9]\d{0,2},\d{3}", re.ASCII)
_NUMERIC: Final = re.compile(rf"[\d.,{_GROUPS}]+", re.ASCII)


def _take_separated(column: Column) -> Column:
    """Return the fields that may contain separators: a comma, several points, an apostrophe or a blank."""
    strange = (column.text == ord(",")) | (column.text == ord("'")) | (column.text == ord(" ")) | (column.text > 127)
    points = (column.text == ord(".")).sum(axis=0) > 1
    return column.take((strange.any(axis=0) | points) & (column.lengths <= LONGEST))


def _count_decimal_points(column: Column) -> int:
    """Return how many fields have a point that must be a decimal mark."""
    scan = scan_numbers(column)
    sure = (scan.decimals != 3) | (scan.digits >= 1_000_000) | _has_leading_zero(column)
    return int(np.count_nonzero(scan.simple & (scan.decimals > 0) & sure))


def _has_leading_zero(column: Column) -> npt.NDArray[np.bool_]:
    text: Any = column.text
    if len(text) < 2:
        return np.zeros(len(column), np.bool_)
    found: npt.NDArray[np.bool_] = (text[0] == ord("0")) & (text[1] == ord("."))
    return found


def _find_decimal_mark(text: str) -> str:
    """Return the decimal mark of a number with separators, ``?`` if it can be read in two ways, or an empty text."""
    plain = text.strip(_CURRENCY + "+- ").rstrip("KMBTkmbt")
    commas, points = plain.count(","), plain.count(".")
    if not _NUMERIC.fullmatch(plain) or not commas + points:
        return ""
    if commas and points:
        return "," if plain.rfind(",") > plain.rfind(".") else "."
    if commas + points > 1:
        return "." if commas else ","
    if points:
        return ""
    return "?" if _GROUP.fullmatch(plain) else ","

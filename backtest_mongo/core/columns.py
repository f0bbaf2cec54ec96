"""The columns of a series: their names and types, and the units of its times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["COLUMN_TYPES", "MOST_NEGATIVE", "UNITS", "UNITS_PER_MS", "Column", "ColumnType", "Unit", "is_column_name"]

ColumnType: TypeAlias = Literal["float64", "int64", "int8", "bool", "category", "str"]
Unit: TypeAlias = Literal["ms", "us", "ns"]

COLUMN_TYPES: Final[tuple[ColumnType, ...]] = get_args(ColumnType)
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
UNITS_PER_MS: Final[Mapping[Unit, int]] = {"ms": 1, "us": 1_000, "ns": 1_000_000}
#: NumPy's mark of a time that is missing, which is no time of a row.
MOST_NEGATIVE: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a series.

    Attributes:
        name: its name in rows and frames, in snake case.
        type: ``float64``, ``int64``, ``int8``, ``bool``, ``category`` (text with few different values, such as the side
            of a trade) or ``str`` (any text).
        nullable: whether a row may have ``None`` there, or no such column at all.
    """

    name: str
    type: ColumnType
    nullable: bool = False


def is_column_name(name: object) -> bool:
    """Return whether a column can have this name."""
    return isinstance(name, str) and name.isidentifier() and name == name.lower() and not name.startswith("_")

"""The options of a reader of series files, and what it yields: chunks of rows, and the bad lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import TYPE_CHECKING

from backtest_mongo.market_data.candle_chunks import Lines
from backtest_mongo.market_data.importing import BadLine

if TYPE_CHECKING:
    from backtest_mongo.columns.arrays import ColumnArrays

__all__ = ["SeriesChunk", "SeriesOptions"]


@dataclass(frozen=True)
class SeriesOptions:
    """How to read a file of a series, where the file itself does not say.

    Attributes:
        columns: the file's names by the slot's, such as ``{"price": "px"}``, for those that can't be found; or the
            names of all columns in their order, ``-`` for one that is not used.
        unit: what numeric times count: ``s``, ``ms``, ``us``, ``ns``, or ``auto`` to find it.
        symbol: the symbol whose rows are read if a file names symbols; ``None`` for all.
        force: read a file that names one other symbol.
        decimal: the decimal mark, ``.`` or ``,``; ``None`` to find it.
        time_format: how times are written, as in ``strptime``; ``None`` to find it.
        zone: the time zone of times that name none; ``None`` for UTC.
    """

    columns: Sequence[str] | Mapping[str, str] | None = None
    unit: str = "auto"
    symbol: str | None = None
    force: bool = False
    decimal: str | None = None
    time_format: str | None = None
    zone: tzinfo | None = None

    @property
    def names(self) -> Sequence[str] | None:
        """The names of all columns."""
        return None if self.columns is None or isinstance(self.columns, Mapping) else self.columns

    @property
    def assigned(self) -> Mapping[str, str]:
        """The file's names by the slot's."""
        return self.columns if isinstance(self.columns, Mapping) else {}


@dataclass(frozen=True)
class SeriesChunk:
    """About 50,000 rows of one series at most, in the order of the file.

    Attributes:
        rows: in the order of the file, in which a key may occur twice.
        lines: the number of each row's line in the file, from 1; in a table, of its row.
        bad: the lines that are not rows.
        position: how many bytes of the file are read so far.
        note: how the file was understood; only in its first chunk.
        context: the arguments of the context that the file names, by name.
        others: how many rows of other symbols were skipped.
    """

    rows: ColumnArrays
    lines: Lines
    bad: list[BadLine] = field(default_factory=list)
    position: int = 0
    note: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    others: int = 0

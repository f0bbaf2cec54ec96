"""What reading a candle file gives: columns of numbers, piece by piece, and the lines that are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from backtest_mongo.candles.times import NO_TIME
from backtest_mongo.types import PRICES

__all__ = ["ROWS", "BadLine", "Chunk", "Columns", "Lines", "wrong_rows"]

#: Rows of a chunk, about.
ROWS: Final = 50_000

Columns: TypeAlias = dict[str, npt.NDArray[Any]]
Lines: TypeAlias = npt.NDArray[np.int64]


class BadLine(NamedTuple):
    """A line that is no candle: its number in the file, from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Up to about 50,000 candles of a file, in its order.

    ``columns`` has ``timestamp`` (int64, milliseconds, UTC) and ``open``, ``high``, ``low``, ``close`` and ``volume``
    (float64, finite); ``lines`` the number of each row's line in the file, from 1, or of its row in a Parquet file.
    ``position`` is how many bytes of the file were read so far. ``note`` says, in a file's first chunk, how the file
    was understood.
    """

    columns: Columns
    lines: Lines
    bad: list[BadLine] = field(default_factory=list)
    position: int = 0
    note: str = ""


def wrong_rows(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Return where a row has no time, or a number that is not finite."""
    wrong: npt.NDArray[np.bool_] = columns["timestamp"] == NO_TIME
    for name in PRICES:
        wrong |= ~np.isfinite(columns[name])
    return wrong

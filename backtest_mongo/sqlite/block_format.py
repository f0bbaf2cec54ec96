"""The content of a block of candles: its times as 64-bit integers, then a column of doubles for each of the prices and
the volume, all little-endian, by time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from backtest_mongo.types import PRICES

if TYPE_CHECKING:
    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["Columns", "count_rows", "decode_arrays", "decode_columns", "encode_arrays"]

#: A time and five numbers.
_ROW_BYTES: Final = 8 * (1 + len(PRICES))

#: The times of a block's candles, and their open, high, low and close prices and volumes.
Columns: TypeAlias = Sequence[list[Any]]


def count_rows(data: object) -> int:
    """Return how many candles a block has.

    Raises:
        ValueError: it has not the length of any number of them.
    """
    if not isinstance(data, bytes) or not data or len(data) % _ROW_BYTES:
        raise ValueError("not the content of a block")
    return len(data) // _ROW_BYTES


def encode_arrays(candles: CandleArrays) -> bytes:
    numbers = b"".join(column.astype("<f8", copy=False).tobytes() for column in candles.prices)
    return candles.timestamp.astype("<i8", copy=False).tobytes() + numbers


def decode_arrays(data: bytes) -> CandleArrays:
    """Return a block's candles, which share its memory.

    Raises:
        ValueError: it has not the length of any number of them.
    """
    import numpy as np

    from backtest_mongo.core.arrays import CandleArrays

    rows = count_rows(data)
    times, numbers = np.frombuffer(data, "<i8", rows), np.frombuffer(data, "<f8", offset=8 * rows)
    return CandleArrays(times, *numbers.reshape(len(PRICES), rows))


def decode_columns(data: bytes) -> Columns:
    """Return a block's candles as lists, for which NumPy would take longer.

    Raises:
        ValueError: it has not the length of any number of them.
    """
    rows, view = count_rows(data), memoryview(data)
    numbers = view[8 * rows :].cast("d")
    columns: list[list[Any]] = [view[: 8 * rows].cast("q").tolist()]
    return columns + [numbers[at : at + rows].tolist() for at in range(0, len(PRICES) * rows, rows)]

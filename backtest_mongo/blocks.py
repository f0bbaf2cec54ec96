"""The format of a block: a stretch of one series, sealed as compressed columns.

A block holds the candles of 4,096 consecutive places of an interval's grid, those that exist. Its columns are
compressed by Pcodec, which is lossless: ``nox -s bench`` measures it beside other codecs. A checksum covers all of it,
the key included, so that neither a damaged nor a misplaced block is ever taken for the candles.

::

    {exchangeName, symbol, interval, start,   the key; start is the time of the first place, in milliseconds
     format: 1, rows,                         how many of the places have a candle
     present,                                 a bit a place, the first one highest; left out if all are there
     open, high, low, close, volume,          the candles' columns, in the order of time
     checksum}                                CRC-32
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

import numpy as np
from bson import Binary
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone

from backtest_mongo.arrays import CandleArrays
from backtest_mongo.block_grid import FORMAT, Grid
from backtest_mongo.types import PRICES, Document

__all__ = ["DamagedBlockError", "check", "decode_into", "encode", "lacks"]

_CONFIG: Final = ChunkConfig(compression_level=4)
_UNCHECKED: Final = ("_id", "checksum")


class DamagedBlockError(Exception):
    """A block's bytes are not those that were sealed."""


def encode(key: Document, grid: Grid, candles: CandleArrays) -> Document:
    """Return the block with this key. All of ``candles`` lie on its places of the grid."""
    block: Document = {**key, "format": FORMAT, "rows": len(candles)}
    if len(candles) < grid.rows:
        present = np.zeros(grid.rows, bool)
        present[(candles.timestamp - key["start"]) // grid.step] = True
        block["present"] = Binary(np.packbits(present).tobytes())
    for name, column in zip(PRICES, candles.prices, strict=True):
        block[name] = Binary(standalone.simple_compress(np.ascontiguousarray(column), _CONFIG))
    block["checksum"] = _checksum(block)
    return block


def check(block: Document) -> None:
    """Check the block against its checksum.

    Raises:
        DamagedBlockError: it isn't what was sealed.
    """
    if _checksum(block) != block.get("checksum"):
        raise DamagedBlockError("its checksum differs")


def decode_into(block: Document, grid: Grid, into: CandleArrays, at: int) -> None:
    """Write the block's candles into arrays, from position ``at`` on.

    Raises:
        DamagedBlockError: it isn't what was sealed. What is in the arrays then has no meaning.
    """
    check(block)
    rows = block["rows"]
    times = into.timestamp[at : at + rows]
    if "present" in block:
        places = np.flatnonzero(_places(block["present"], grid))
        if len(places) != rows:
            raise DamagedBlockError("its presence map has another number of rows")
        np.multiply(places, grid.step, out=times)
        times += block["start"]
    else:
        if rows != grid.rows:
            raise DamagedBlockError("it lacks its presence map")
        times[:] = np.arange(block["start"], block["start"] + rows * grid.step, grid.step)
    for name, column in zip(PRICES, into.prices, strict=True):
        try:
            done = standalone.simple_decompress_into(block[name], column[at : at + rows])
        except (RuntimeError, TypeError, ValueError) as error:
            raise DamagedBlockError(f"its column {name} can't be decompressed ({type(error).__name__})") from None
        if done.n_processed != rows or not done.finished:
            raise DamagedBlockError(f"its column {name} has another number of rows")


def lacks(block: Document, grid: Grid, times: Iterable[int]) -> bool:
    """Tell whether any of these times, each in the block's stretch, is not in it."""
    if block["rows"] == 0:
        return True  # it is only announced
    present = None if "present" not in block else _places(block["present"], grid)
    for time in times:
        place, beside = divmod(time - block["start"], grid.step)
        if beside or (present is not None and not present[place]):
            return True
    return False


def _places(present: bytes, grid: Grid) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(present, np.uint8), count=grid.rows)


def _checksum(block: Document) -> int:
    checksum = 0
    for name in sorted(block):
        value = block[name]
        if isinstance(value, bytes):
            checksum = zlib.crc32(value, checksum)
        elif name not in _UNCHECKED:
            checksum = zlib.crc32(f"{name}={value!r};".encode(), checksum)
    return checksum

"""Compare codecs on trades, column by column, and the documents of a series with Parquet.

``python -m benchmarks.trade_codecs`` prints both tables; it takes a minute and needs no server.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import bson
import numpy as np
import polars as pl
import zstandard
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone
from rich.console import Console
from rich.table import Table

from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.columns.codec import decode, encode
from backtest_mongo.columns.frame_output import to_frame
from benchmarks.trade_data import TRADE, make_trades

__all__ = ["BLOCK", "measure_columns", "measure_documents"]

Array: TypeAlias = NDArray[Any]
Result = TypeVar("Result")

#: Rows of a block of a series.
BLOCK: Final = 65_536
_KEY: Final = {"exchangeName": "binance", "symbol": "BTCUSDT"}
_MILLION: Final = 1_000_000


@dataclass(frozen=True)
class Codec:
    """A way to compress a column of a block, and to decompress it."""

    name: str
    encode: Callable[[Array], bytes]
    decode: Callable[[bytes, np.dtype[Any]], Array]


def _pcodec(level: int) -> Codec:
    config = ChunkConfig(compression_level=level)
    return Codec(
        f"Pcodec, level {level}",
        lambda column: bytes(standalone.simple_compress(column, config)),
        lambda data, kind: np.asarray(standalone.simple_decompress(data)),
    )


def _zstd(level: int) -> Codec:
    compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    return Codec(
        f"zstd, level {level}",
        lambda column: compressor.compress(column.tobytes()),
        lambda data, kind: np.frombuffer(decompressor.decompress(data), kind),
    )


def _zstd_of_steps(level: int) -> Codec:
    """Return zstd of the bits' differences, byte by byte."""
    compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()

    def encode_steps(column: Array) -> bytes:
        whole = column.view(f"i{column.itemsize}")
        steps = np.diff(whole, prepend=whole.dtype.type(0))
        return compressor.compress(steps.view(np.uint8).reshape(-1, column.itemsize).T.tobytes())

    def decode_steps(data: bytes, kind: np.dtype[Any]) -> Array:
        shuffled = np.frombuffer(decompressor.decompress(data), np.uint8).reshape(kind.itemsize, -1)
        steps = np.ascontiguousarray(shuffled.T).view(f"i{kind.itemsize}")[:, 0]
        return np.cumsum(steps, dtype=steps.dtype).view(kind)

    return Codec(f"zstd, level {level}, of shuffled differences", encode_steps, decode_steps)


def _dictionary(level: int) -> Codec:
    """Return a codec of the different values, and Pcodec of their numbers."""
    codes = _pcodec(level)

    def encode_numbers(column: Array) -> bytes:
        values, numbers = np.unique(column, return_inverse=True)
        head = codes.encode(values)
        return len(head).to_bytes(4, "little") + head + codes.encode(numbers.astype(np.uint32))

    def decode_numbers(data: bytes, kind: np.dtype[Any]) -> Array:
        end = 4 + int.from_bytes(data[:4], "little")
        found: Array = codes.decode(data[4:end], kind)[codes.decode(data[end:], kind)]
        return found

    return Codec(f"dictionary, Pcodec, level {level}", encode_numbers, decode_numbers)


def _bits() -> Codec:
    """Return a codec of as many bits as the greatest number has."""

    def encode_bits(column: Array) -> bytes:
        width = max(1, int(column.max()).bit_length())
        planes = [np.packbits((column >> place & 1).astype(bool)).tobytes() for place in range(width)]
        return bytes([width]) + len(column).to_bytes(4, "little") + b"".join(planes)

    def decode_bits(data: bytes, kind: np.dtype[Any]) -> Array:
        width, count = data[0], int.from_bytes(data[1:5], "little")
        planes = np.frombuffer(data, np.uint8, offset=5).reshape(width, -1)
        found = np.zeros(count, kind)
        for place, plane in enumerate(planes):
            found |= np.unpackbits(plane, count=count).astype(kind) << place
        return found

    return Codec("packed bits", encode_bits, decode_bits)


def measure_columns(trades: ColumnArrays, rounds: int) -> list[dict[str, Any]]:
    """Return bits per row and milliseconds per million rows, by column and codec."""
    columns: dict[str, Array] = {
        "timestamp": trades.time,
        "trade_id": np.asarray(trades.sequence),
        "price": trades.values["price"].data,
        "amount": trades.values["amount"].data,
        "side": trades.values["side"].data,
    }
    numbers = [_pcodec(level) for level in (2, 4, 8)]
    numbers += [_zstd(3), _zstd_of_steps(3), _zstd_of_steps(9), _dictionary(4)]
    figures = []
    for name, column in columns.items():
        for codec in [*numbers, _bits()] if name == "side" else numbers:
            pieces = [column[at : at + BLOCK] for at in range(0, len(column), BLOCK)]
            blocks, encoding = _clock(partial(_map, codec.encode, pieces), len(column), rounds)
            decoded, decoding = _clock(
                partial(_map, partial(_decode, codec, column.dtype), blocks), len(column), rounds
            )
            assert all(map(np.array_equal, pieces, decoded)), (name, codec.name)
            bits = 8 * sum(map(len, blocks)) / len(column)
            figures.append(
                {"column": name, "codec": codec.name, "bits": bits, "encode_ms": encoding, "decode_ms": decoding}
            )
    return figures


def _map(work: Callable[[Any], Result], pieces: Sequence[Any]) -> list[Result]:
    return [work(piece) for piece in pieces]


def _decode(codec: Codec, kind: np.dtype[Any], data: bytes) -> Array:
    return codec.decode(data, kind)


def measure_documents(trades: ColumnArrays, rounds: int) -> list[dict[str, Any]]:
    """Return bytes per row and milliseconds per million rows of the documents of a series, and of Parquet."""
    rows = len(trades)
    pieces = [trades.take(slice(at, at + BLOCK)) for at in range(0, rows, BLOCK)]
    frame = to_frame(TRADE, trades, "polars")
    tried: dict[str, tuple[Callable[[], list[bytes]], Callable[[list[bytes]], object]]] = {}
    for is_compressed, name in ((True, "blocks"), (False, "groups of the tail")):
        tried[name] = (
            partial(_map, partial(_encode_document, is_compressed), pieces),
            partial(_map, lambda data: decode(TRADE, _KEY, bson.decode(data))),
        )
    for level in (3, 9, 19):
        tried[f"Parquet, zstd, level {level}"] = (partial(_write_parquet, frame, level), partial(_map, _read_parquet))
    figures = []
    for name, (write, read) in tried.items():
        stored, writing = _clock(write, rows, rounds)
        _, reading = _clock(partial(read, stored), rows, rounds)
        size = sum(map(len, stored)) / rows
        figures.append({"form": name, "bytes": size, "encode_ms": writing, "decode_ms": reading})
    return figures


def _encode_document(is_compressed: bool, rows: ColumnArrays) -> bytes:
    return bson.encode(encode(TRADE, _KEY, rows, is_compressed=is_compressed))


def _write_parquet(frame: pl.DataFrame, level: int) -> list[bytes]:
    file = io.BytesIO()
    frame.write_parquet(file, compression="zstd", compression_level=level)
    return [file.getvalue()]


def _read_parquet(data: bytes) -> pl.DataFrame:
    return pl.read_parquet(data)


def _clock(work: Callable[[], Result], rows: int, rounds: int) -> tuple[Result, float]:
    """Return the result, and the median of the processor time in milliseconds per million rows."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        result = work()
        times.append((time.process_time() - start) * 1e3 * _MILLION / rows)
    return result, statistics.median(times)


def _draw(title: str, by: Sequence[str], unit: str, figures: Sequence[dict[str, Any]]) -> Table:
    table = Table(*by, unit, "ms to write a million", "ms to read a million", title=title)
    for row in figures:
        names = [str(row[name]) for name in by]
        table.add_row(*names, f"{row[unit]:.2f}", f"{row['encode_ms']:.0f}", f"{row['decode_ms']:.0f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8 * BLOCK, help="trades to compress")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed")
    arguments = parser.parse_args()
    trades = make_trades(arguments.rows)
    console = Console()
    columns = measure_columns(trades, arguments.rounds)
    console.print(_draw("Columns of trades, bits per value", ("column", "codec"), "bits", columns))
    documents = measure_documents(trades, arguments.rounds)
    console.print(_draw("Trades, bytes per row", ("form",), "bytes", documents))


if __name__ == "__main__":
    main()

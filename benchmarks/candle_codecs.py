"""Compare codecs on columns of float64, compressed block by block as sealed candles are."""

from __future__ import annotations

import importlib
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.series.blocks import ROWS
from benchmarks.candle_data import COLUMNS, forex, market, shipped

__all__ = ["CHOSEN", "measure_codecs"]

Floats: TypeAlias = NDArray[np.float64]
#: The index of its first row, and its compressed columns.
Block: TypeAlias = tuple[int, list[bytes]]
Result = TypeVar("Result")

#: The codec of sealed blocks.
CHOSEN: Final = "Pcodec, level 4"
SIZES: Final = (1_024, 2_048, ROWS, 8_192, 16_384, 65_536)
_MILLION: Final = 1_000_000
#: Fewest rows to time; smaller sets are repeated.
_LEAST: Final = 200_000


@dataclass(frozen=True)
class Codec:
    """A way to compress a column of a block, and to decompress it into an array."""

    name: str
    encode: Callable[[Floats], bytes]
    decode: Callable[[bytes, Floats], object]


def codecs() -> Iterator[Codec]:
    """Yield the codecs of the table, each used as its documentation advises for float64."""
    blosc2, lz4, zstandard = (importlib.import_module(name) for name in ("blosc2", "lz4.block", "zstandard"))
    pcodec = importlib.import_module("pcodec")
    for level in (4, 8):
        yield _pcodec(pcodec, level)
    filters = {"shuffle": blosc2.Filter.SHUFFLE, "bitshuffle": blosc2.Filter.BITSHUFFLE}
    for codec, level in ((blosc2.Codec.ZSTD, 5), (blosc2.Codec.LZ4, 5)):
        for name, kind in filters.items():
            yield _blosc(blosc2, codec, level, name, kind)
    compressor, decompressor = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    yield _shuffled("zstd, level 3, shuffle", compressor.compress, decompressor.decompress)
    yield _shuffled("lz4, shuffle", lz4.compress, lz4.decompress)
    yield _shuffled("zlib, level 6, shuffle", lambda data: zlib.compress(data, 6), zlib.decompress)


def _pcodec(pcodec: Any, level: int) -> Codec:
    config = pcodec.ChunkConfig(compression_level=level)

    def encode(column: Floats) -> bytes:
        return bytes(pcodec.standalone.simple_compress(column, config))

    return Codec(f"Pcodec, level {level}", encode, pcodec.standalone.simple_decompress_into)


def _blosc(blosc2: Any, codec: Any, level: int, name: str, kind: Any) -> Codec:
    # Blocks are too small for threads to pay off.
    settings = {"codec": codec, "clevel": level, "typesize": 8, "filters": [kind], "nthreads": 1}

    def encode(column: Floats) -> bytes:
        return bytes(blosc2.compress2(column, **settings))

    def decode(data: bytes, into: Floats) -> None:
        blosc2.decompress2(data, dst=into, nthreads=1)

    return Codec(f"blosc2 {codec.name.lower()}, level {level}, {name}", encode, decode)


def _shuffled(name: str, compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]) -> Codec:
    """Return a codec of shuffled bytes: the first bytes of all numbers, then the second ones, and so on."""

    def encode(column: Floats) -> bytes:
        return compress(column.view(np.uint8).reshape(-1, 8).T.tobytes())

    def decode(data: bytes, into: Floats) -> None:
        into.view(np.uint8).reshape(-1, 8)[:] = np.frombuffer(decompress(data), np.uint8).reshape(8, -1).T

    return Codec(name, encode, decode)


def measure_codecs(rows: int, rounds: int) -> list[dict[str, Any]]:
    """Return bytes per candle and milliseconds per million candles, by codec, block size and set of candles."""
    figures = []
    for name, frame in (("market", market(rows)), ("forex", forex(rows)), ("EURUSD, 5,000 hours", shipped())):
        columns = [frame[column] for column in COLUMNS[1:]]
        tried = [(codec, ROWS) for codec in codecs()]
        tried += [(codec, size) for codec, _ in tried if codec.name == CHOSEN for size in SIZES if size != ROWS]
        measured = _measure(columns, tried, rounds)
        figures += [
            {"set": name, "rows": len(columns[0]), "codec": codec.name, "block": size, **figure}
            for (codec, size), figure in zip(tried, measured, strict=True)
        ]
    return figures


def _measure(columns: list[Floats], tried: list[tuple[Codec, int]], rounds: int) -> list[dict[str, float]]:
    rows = len(columns[0])
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in tried]
    sizes = [0] * len(tried)
    for _ in range(rounds):
        # Each round runs all codecs, so that a slow moment of the machine doesn't hit only one.
        for number, (codec, size) in enumerate(tried):
            encoding, decoding = times[number]
            blocks, taken = _clocked(rows, partial(_encode, codec, size, columns))
            encoding.append(taken)
            sizes[number] = sum(len(data) for _, block in blocks for data in block)
            decoded = [np.empty(rows) for _ in columns]
            _, taken = _clocked(rows, partial(_decode, codec, size, blocks, decoded))
            decoding.append(taken)
            assert all(np.array_equal(one, other) for one, other in zip(columns, decoded, strict=True)), codec.name
    return [
        {
            "bytes": size / rows,
            "encode_ms": statistics.median(encoding) * 1e3,
            "decode_ms": statistics.median(decoding) * 1e3,
        }
        for size, (encoding, decoding) in zip(sizes, times, strict=True)
    ]


def _encode(codec: Codec, size: int, columns: list[Floats]) -> list[Block]:
    starts = range(0, len(columns[0]), size)
    return [(at, [codec.encode(column[at : at + size]) for column in columns]) for at in starts]


def _decode(codec: Codec, size: int, blocks: list[Block], into: list[Floats]) -> None:
    for at, block in blocks:
        for data, column in zip(block, into, strict=True):
            codec.decode(data, column[at : at + size])


def _clocked(rows: int, work: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result, and the processor time per million rows, in seconds."""
    repeats = max(1, _LEAST // rows)
    start = time.process_time()
    for _ in range(repeats):
        result = work()
    return result, (time.process_time() - start) / (repeats * rows) * _MILLION

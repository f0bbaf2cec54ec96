"""Reading text files as blocks of whole lines in UTF-8."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_chunks import ROWS

__all__ = ["read_blocks"]

#: How many bytes are read at a time, and how many a line may have.
_BLOCK: Final = 1 << 18
_LONGEST: Final = 1 << 20


def read_blocks(stream: BinaryIO, where: str) -> Iterator[bytes]:
    """Yield a file as whole lines, each ended by a newline, as many at a time as a chunk has rows.

    Raises:
        InputError: a line is too long.
    """
    parts: list[bytes] = []
    lines = number = open_ = 0
    for block in _normalize_newlines(_decode_to_utf8(stream)):
        count = block.count(b"\n")
        open_ = len(block) - block.rfind(b"\n") - 1 if count else open_ + len(block)
        lines += count
        if open_ > _LONGEST:
            raise InputError(f"{where}: line {number + lines + 1} has more than {_LONGEST:,} characters")
        parts.append(block)
        if lines >= ROWS:
            whole = b"".join(parts)
            end = whole.rindex(b"\n") + 1
            yield whole[:end]
            parts, number, lines = [whole[end:]], number + lines, 0
    rest = b"".join(parts)
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _decode_to_utf8(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a file's bytes in UTF-8. MetaTrader writes UTF-16; binary data become lines that are not candles."""
    start = stream.read(_BLOCK)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")("replace")
        while start:
            yield decoder.decode(start).encode("utf-8", "replace")
            start = stream.read(_BLOCK)
        return
    start = start.removeprefix(codecs.BOM_UTF8)
    while start:
        yield start
        start = stream.read(_BLOCK)


def _normalize_newlines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield bytes with every line ending as one newline."""
    held = b""
    for block in blocks:
        if held or b"\r" in block:
            block = held + block
            held = b"\r" if block.endswith(b"\r") else b""
            block = block.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield block
    if held:
        yield b"\n"

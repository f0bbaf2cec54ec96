"""A block: a stretch of one series, sealed as compressed columns.

A block holds the candles of 4,096 consecutive places of an interval's grid, as many as exist. Its columns are
compressed losslessly by Pcodec; ``nox -s bench`` compares it with other codecs. A checksum covers the whole block,
its key included, so a damaged or misplaced block is never taken for the candles.

::

    {exchangeName, symbol, interval, start,   the key; start is the time of the first place, in milliseconds
     format: 1, rows,                         how many of the places have a candle
     head,                                    CRC-32 of the fields above, for answers out of the index alone
     present,                                 one bit per place, the first one highest; left out if all are there
     open, high, low, close, volume,          the candles' columns, in the order of time
     checksum}                                CRC-32 of the whole block

A document becomes a block by :func:`parse_block`, and its header by :func:`parse_header`. What these reject is damaged
and never used, unless :func:`is_block` says that it is no block at all.

NumPy and Pcodec are imported when there is something for them to do.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import bson
from bson import Binary, Int64, ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion

from backtest_mongo.core.interval_grid import IntervalGrid
from backtest_mongo.types import PRICES, Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backtest_mongo.core.arrays import CandleArrays

__all__ = [
    "CODEC",
    "FORMAT",
    "UNREADABLE",
    "Block",
    "BlockGrid",
    "BlockHeader",
    "DamagedBlock",
    "DamagedBlockError",
    "decode_documents",
    "decode_into",
    "encode_block",
    "is_block",
    "is_newer_format",
    "lacks_any",
    "parse_block",
    "parse_blocks",
    "parse_header",
    "unpack_places",
]

#: The version of the format that is written and read.
FORMAT: Final = 1
#: Places of a block.
ROWS = 4096
#: Stands for a value that can't be decoded.
UNREADABLE: Final = type("_Unreadable", (), {"__repr__": lambda self: "UNREADABLE"})()
#: How stored documents are decoded. A block holds neither text nor dates of its own, so what is lost of these makes it
#: no better.
CODEC: Final[CodecOptions[Document]] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
)

#: How long after its end a stretch may still get candles: twice what clocks may be apart, in milliseconds.
_MARGIN: Final = 1_200_000
_COMPRESSION_LEVEL: Final = 4
_UNCHECKED: Final = ("_id", "checksum")
#: The bytes of BSON's types whose size is fixed.
_SIZES: Final = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0}
#: The bytes that the others add to the length that they begin with; that of the last four counts itself.
_BESIDE: Final = {2: 4, 5: 5, 12: 16, 13: 4, 14: 4, 3: 0, 4: 0, 15: 0}
_REGEX: Final = 11

# Which stretch a block covers


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """The blocks of an interval, each of ``rows`` places of its grid; one starts at place 0. Times in milliseconds."""

    interval: IntervalGrid
    rows: int

    @classmethod
    def of(cls, interval: IntervalGrid) -> BlockGrid:
        return cls(interval, ROWS)

    def start(self, time: int) -> int:
        """Return the start of the block that ``time`` lies in."""
        place, _ = self.interval.locate(time)
        return self.interval.time(place // self.rows * self.rows)

    def end(self, start: int, blocks: int = 1) -> int:
        """Return the end of the last of so many blocks, the first of which begins at ``start``."""
        return self.interval.time(self.first_place(start) + blocks * self.rows)

    def last(self, start: int) -> int:
        """Return the open time of a block's last place."""
        return self.interval.time(self.first_place(start) + self.rows - 1)

    def first_place(self, start: int) -> int:
        """Return the number of a block's first place."""
        return self.interval.locate(start)[0]

    def starts(self, times: Sequence[int] | NDArray[np.int64]) -> list[int]:
        """Return the starts of the blocks that these ascending times lie in."""
        starts: list[int] = []
        at = 0
        while at < len(times):
            starts.append(self.start(int(times[at])))
            at += 1
            if at < len(times):
                at = bisect_left(times, self.end(starts[-1]), at)
        return starts

    def are_on_grid(self, times: Iterable[int]) -> bool:
        """Return whether all of these times are on the grid."""
        locate = self.interval.locate
        return not any(locate(time)[1] for time in times)

    def is_over(self, start: int, now: int) -> bool:
        """Return whether the stretch is over by any writer's clock, so that the block may be sealed, gaps and all."""
        return self.end(start) + _MARGIN <= now


# What is in a document


class DamagedBlockError(Exception):
    """A block is not what was sealed."""


#: The integers of a block, and their least and greatest values.
_INTEGERS: Final = {
    "start": (-(2**63), 2**63 - 1),
    "format": (FORMAT, FORMAT),
    "rows": (1, 2**63 - 1),
    "head": (0, 2**32 - 1),
    "checksum": (0, 2**32 - 1),
}
_HEADER_FIELDS: Final = frozenset(("start", "format", "rows", "head"))
_FIELDS: Final = frozenset((*_INTEGERS, "present", *PRICES))


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What the index says of a block.

    Attributes:
        start: of its stretch, in milliseconds.
        end: of its stretch.
        first_place: the number of its first place on the grid.
        rows: how many candles it holds.
    """

    start: int
    end: int
    first_place: int
    rows: int


@dataclass(frozen=True, slots=True)
class Block(BlockHeader):
    """A document whose every field is that of a block; its checksum has not been compared."""

    document: Document


@dataclass(frozen=True, slots=True)
class DamagedBlock:
    """A document that should be a block and isn't, and why."""

    document: Document
    problem: str


def is_block(document: Document) -> bool:
    """Return whether a document is a block of this format, damaged or not: no announcement, and no newer format's."""
    if is_newer_format(document):
        return False
    is_announced = _is_integer(document.get("rows")) and document["rows"] == 0
    return not (
        is_announced
        and type(document.get("token")) is ObjectId
        and _is_integer(document.get("format"))
        and document["format"] == FORMAT
        and not document.keys() & (_FIELDS - _HEADER_FIELDS)
    )


def is_newer_format(document: Document) -> bool:
    """Return whether a document is a block of a newer format, which is neither read nor changed."""
    version = document.get("format")
    return _is_integer(version) and version > FORMAT


def parse_blocks(documents: Iterable[Document], grid: BlockGrid, key: Document) -> list[Block | DamagedBlock]:
    """Return the blocks of the series with this key, damaged or not; what is no block is left out."""
    blocks: list[Block | DamagedBlock] = []
    for document in documents:
        if is_block(document):
            try:
                blocks.append(parse_block(document, grid, key))
            except DamagedBlockError as error:
                blocks.append(DamagedBlock(document, str(error)))
    return blocks


def parse_block(document: Document, grid: BlockGrid, key: Document | None = None) -> Block:
    """Return the block that a document holds, of the series with this key.

    Raises:
        DamagedBlockError: a field is missing or of another kind, or there is one too many.
    """
    header = parse_header(document, grid, key)
    _read_integer(document, "checksum")
    for name in PRICES:
        _check_bytes(document, name)
    _check_presence(document, header.rows, grid)
    return Block(header.start, header.end, header.first_place, header.rows, document)


def parse_header(document: Document, grid: BlockGrid, key: Document | None = None) -> BlockHeader:
    """Return the header of a block, out of a document that may be without its other fields.

    Raises:
        DamagedBlockError: a field of it is missing or of another kind.
    """
    start = _read_integer(document, "start")
    _read_integer(document, "format")
    rows = _read_integer(document, "rows")
    own = _key_of(document)
    for name, value in own.items():
        if type(value) not in (str, bool):
            raise DamagedBlockError(f"it has an unknown field {name!r}, or one of another type")
    if key is not None and own != key:
        raise DamagedBlockError("its key is not that of the series")
    if "_id" in document and type(document["_id"]) is not ObjectId:
        raise DamagedBlockError("its field _id holds something else")
    if rows > grid.rows:
        raise DamagedBlockError("it has more rows than the block has places")
    if _checksum_header(document, own) != _read_integer(document, "head"):
        raise DamagedBlockError("its key, format or number of rows has changed")
    place, offset = grid.interval.locate(start)
    if offset or place % grid.rows:
        raise DamagedBlockError("its start is not on the grid")
    return BlockHeader(start, grid.interval.time(place + grid.rows), place, rows)


def lacks_any(document: Document, grid: BlockGrid, times: Iterable[int]) -> bool:
    """Return whether any of these times, each in the block's stretch, is not in the block.

    A damaged block lacks all, as does what is no block of this format.
    """
    try:
        header = parse_header(document, grid)
        _check_presence(document, header.rows, grid)
    except DamagedBlockError:
        return True
    present = _unpack_places(document["present"], grid) if "present" in document else None
    for time in times:
        place, offset = grid.interval.locate(time)
        if offset or (present is not None and not present[place - header.first_place]):
            return True
    return False


def _checksum_header(document: Document, key: Document) -> int:
    known = {**{name: document[name] for name in ("start", "format", "rows")}, **key}
    return zlib.crc32(repr(sorted((name, str(value)) for name, value in known.items())).encode())


def _check_presence(document: Document, rows: int, grid: BlockGrid) -> None:
    if "present" not in document:
        if rows < grid.rows:
            raise DamagedBlockError("it lacks its presence map")
        return
    present = _check_bytes(document, "present")
    if len(present) != -(-grid.rows // 8) or rows == grid.rows:
        raise DamagedBlockError("its presence map is not of this grid")
    if int.from_bytes(present, "big").bit_count() != rows:
        raise DamagedBlockError("its presence map has a different number of rows")


def _read_integer(document: Document, name: str) -> int:
    value = document.get(name)
    least, greatest = _INTEGERS[name]
    if not _is_integer(value) or not least <= value <= greatest:
        raise DamagedBlockError(f"its field {name} is missing or holds something else")
    return int(value)


def _check_bytes(document: Document, name: str) -> bytes:
    value = document.get(name)
    if type(value) is bytes or (isinstance(value, Binary) and not value.subtype):
        return value
    raise DamagedBlockError(f"its field {name} is missing or holds something else")


def _key_of(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in _FIELDS and name != "_id"}


def _is_integer(value: object) -> TypeGuard[int]:
    return type(value) in (int, Int64)


# Candles in and out


def encode_block(key: Document, grid: BlockGrid, candles: CandleArrays) -> Document:
    """Return the block with this key. All of ``candles`` lie on its places of the grid."""
    import numpy as np
    from pcodec import ChunkConfig, standalone

    block: Document = {**key, "format": FORMAT, "rows": len(candles)}
    if len(candles) < grid.rows:
        present = np.zeros(grid.rows, bool)
        present[grid.interval.locate_all(candles.timestamp)[0] - grid.first_place(key["start"])] = True
        block["present"] = Binary(np.packbits(present).tobytes())
    config = ChunkConfig(compression_level=_COMPRESSION_LEVEL)
    for name, column in zip(PRICES, candles.prices, strict=True):
        block[name] = Binary(standalone.simple_compress(np.ascontiguousarray(column), config))
    block["head"] = _checksum_header(block, key)
    block["checksum"] = _checksum(block)
    return block


def decode_into(block: Block, grid: BlockGrid, into: CandleArrays, at: int) -> None:
    """Write a block's candles into arrays, from position ``at`` on.

    Raises:
        DamagedBlockError: it isn't what was sealed. What is in the arrays then has no meaning.
    """
    import numpy as np
    from pcodec import standalone

    document, rows = block.document, block.rows
    if _checksum(document) != document["checksum"]:
        raise DamagedBlockError("its checksum differs")
    if "present" in document:
        places = np.flatnonzero(_unpack_places(document["present"], grid)) + block.first_place
    else:
        places = np.arange(block.first_place, block.first_place + rows)
    into.timestamp[at : at + rows] = grid.interval.times_of(places)
    for name in PRICES:
        try:
            done = standalone.simple_decompress_into(document[name], getattr(into, name)[at : at + rows])
        except (RuntimeError, TypeError, ValueError) as error:
            raise DamagedBlockError(f"its column {name} can't be decompressed ({type(error).__name__})") from None
        if done.n_processed != rows or not done.finished:
            raise DamagedBlockError(f"its column {name} has a different number of rows")


def unpack_places(document: Document, header: BlockHeader, grid: BlockGrid) -> NDArray[np.uint8]:
    """Return which places of a block have a candle.

    Raises:
        DamagedBlockError: its presence map is missing or damaged.
    """
    import numpy as np

    _check_presence(document, header.rows, grid)
    return _unpack_places(document["present"], grid) if "present" in document else np.ones(grid.rows, np.uint8)


def _unpack_places(present: bytes, grid: BlockGrid) -> NDArray[np.uint8]:
    import numpy as np

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


# Decoding whatever is stored


def decode_documents(reply: bytes) -> list[Document]:
    """Return the documents of a raw reply; :data:`UNREADABLE` is what can't be decoded of them."""
    try:
        return bson.decode_all(reply, CODEC)
    except Exception:  # bson raises half a dozen kinds, some of its own and some builtin
        return [_decode(document) for document in _split(reply)]


def _split(reply: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(reply):
        end = at + _read_length(reply, at)
        yield reply[at:end]
        at = end


def _decode(document: bytes) -> Document:
    try:
        return bson.decode(document, CODEC)
    except Exception:  # bson raises half a dozen kinds, some of its own and some builtin
        return dict(map(_decode_element, _split_elements(document)))


def _split_elements(document: bytes) -> Iterator[bytes]:
    # The server stores only well-formed BSON: what may be wrong is the content of the elements.
    at = 4
    while document[at]:
        kind, value = document[at], document.index(b"\0", at + 1) + 1
        if kind == _REGEX:
            end = document.index(b"\0", document.index(b"\0", value) + 1) + 1
        else:
            end = value + (_SIZES[kind] if kind in _SIZES else _BESIDE[kind] + _read_length(document, value))
        yield document[at:end]
        at = end


def _decode_element(element: bytes) -> tuple[str, Any]:
    try:
        ((name, value),) = bson.decode((len(element) + 5).to_bytes(4, "little") + element + b"\0", CODEC).items()
    except Exception:  # bson raises half a dozen kinds, some of its own and some builtin
        return element[1 : element.index(b"\0", 1)].decode(errors="replace"), UNREADABLE
    return name, value


def _read_length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)

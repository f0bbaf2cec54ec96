"""How rows of a series are stored: a document with one binary value for each column.

::

    {…the context's fields, and what else the caller adds,
     format: 1,
     rows,                             how many there are
     first, last,                      the times of the first and the last row, in the slot's unit
     head,                             CRC-32 of all of the fields above
     columns: {timestamp, …}}          the time, the sequence and the columns, each a binary value

A binary value begins with a CRC-32 over ``head``, the column's name and the rest, so a column is checked when it is
read, whichever others are, and one of another document is never taken for it. Then come a byte for its type, one for
its codec, and its content. Where there are nulls, a bit for each row says which values are not, and the content has
these alone. Before the times, which every reader reads, are the names of all columns, so that one that is gone is not
taken for one that the slot did not have yet.

Numbers are compressed by Pcodec; ``nox -s bench`` compares it with other codecs. Text of few values is the list of
these and their codes, other text is compressed by Zstandard. Small groups of rows are stored as they are, which is
faster to write and to read, and the database compresses its pages itself.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
from bson import Int64
from numpy.typing import NDArray

from backtest_mongo.columns.arrays import STORED_TYPES, STRINGS, TIME, ColumnArrays, Values, make_nulls
from backtest_mongo.core.columns import COLUMN_TYPES, Column, ColumnType
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import Document

__all__ = [
    "FORMAT",
    "HEADER",
    "DamagedRowsError",
    "decode",
    "encode",
    "pack_column",
    "parse_header",
    "rename_key",
    "seal_header",
]

#: The version of the format that is written and read.
FORMAT: Final = 1
#: The fields of a document besides those of the context and of the caller.
HEADER: Final = ("format", "rows", "first", "last")

_COMPRESSION_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3
#: Fewer values are not worth compressing.
_FEW: Final = 64
_RAW, _PCODEC, _ZSTD = 0, 1, 2
_HAS_NULLS: Final = 0x80
_CHECKSUM_BYTES: Final = 4
_NAMES_BYTES: Final = 4
_LENGTHS: Final = np.dtype("<u4")
_TYPE_NUMBERS: Final = {kind: number for number, kind in enumerate(COLUMN_TYPES)}
_TIME_COLUMN: Final = Column(TIME, "int64")
_dump_names: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class DamagedRowsError(Exception):
    """A document is not what was stored."""


# Documents


def encode(spec: SlotSpec, key: Document, rows: ColumnArrays, *, is_compressed: bool) -> Document:
    """Return the document of one or more rows, which are in order.

    Args:
        spec: of the slot.
        key: the context's fields, and whatever else the header's checksum is to cover.
        rows: with all of the slot's columns.
        is_compressed: whether small size counts, and not the time that it takes.
    """
    document = seal_header(key, len(rows), int(rows.time[0]), int(rows.time[-1]))
    head, columns = document["head"], {}
    for column, values in _list_columns(spec, rows):
        content = _encode_values(column, values, is_compressed)
        if column.name == TIME:
            names = " ".join([column.name for column in spec.columns]).encode()
            content = len(names).to_bytes(_NAMES_BYTES, "little") + names + content
        columns[column.name] = pack_column(head, column.name, content)
    document["columns"] = columns
    return document


def seal_header(key: Document, rows: int, first: int, last: int) -> Document:
    """Return the header of a document, with its checksum."""
    header = {**key, "format": FORMAT, "rows": rows, "first": Int64(first), "last": Int64(last)}
    header["head"] = _checksum_header(header)
    return header


def pack_column(head: int, name: str, content: bytes) -> bytes:
    """Return the binary value of a column, with its checksum."""
    return _checksum_column(head, name, content) + content


def parse_header(document: Document, key: Document) -> tuple[int, int, int]:
    """Return the number of rows and the times of the first and the last one.

    Args:
        document: with its header, and maybe without columns.
        key: what :func:`encode` was given.

    Raises:
        DamagedRowsError: the header is not what was stored.
    """
    header = {**key, **{name: document.get(name) for name in HEADER}}
    for name in key:
        if document.get(name) != key[name]:
            raise DamagedRowsError(f"its field {name} has changed")
    if not all(isinstance(header[name], int) for name in HEADER) or header["format"] != FORMAT:
        raise DamagedRowsError("its header lacks something, or its format is unknown")
    if document.get("head") != _checksum_header(header):
        raise DamagedRowsError("its header has changed")
    return int(header["rows"]), int(header["first"]), int(header["last"])


def decode(spec: SlotSpec, key: Document, document: Document, names: Collection[str] | None = None) -> ColumnArrays:
    """Return the rows of a document, with all columns or those of these names.

    Raises:
        DamagedRowsError: it is not what was stored.
    """
    rows, _, _ = parse_header(document, key)
    columns, head = document.get("columns"), document["head"]
    if not isinstance(columns, Mapping):
        raise DamagedRowsError("its columns are missing")
    stored_names, content = _split_names(_check_column(columns, TIME, head))
    time = _decode_column(_TIME_COLUMN, content, rows).data
    sequence = None
    if spec.sequence:
        column = Column(spec.key[-1], spec.sequence)
        sequence = _decode_column(column, _check_column(columns, column.name, head), rows).data
    values = {}
    for column in spec.columns:
        if names is not None and column.name not in names:
            continue
        if column.nullable and column.name not in columns and column.name not in stored_names:
            values[column.name] = make_nulls(column, rows)  # the column was added to the slot later
        else:
            values[column.name] = _decode_column(column, _check_column(columns, column.name, head), rows)
    return ColumnArrays(time, sequence, values)


def rename_key(document: Document, key: Document, other: Document) -> Document:
    """Return a document with another key, without decoding its columns.

    Args:
        document: with all of its columns.
        key: what :func:`encode` was given.
        other: what it would have to be given.

    Returns:
        The fields that :func:`encode` makes.

    Raises:
        DamagedRowsError: it is not what was stored.
    """
    rows, first, last = parse_header(document, key)
    columns = document.get("columns")
    if not isinstance(columns, Mapping):
        raise DamagedRowsError("its columns are missing")
    renamed = seal_header(other, rows, first, last)
    packed = {}
    for name in columns:
        content = _check_column(columns, name, document["head"])
        packed[name] = pack_column(renamed["head"], name, bytes(content))
    renamed["columns"] = packed
    return renamed


def _list_columns(spec: SlotSpec, rows: ColumnArrays) -> list[tuple[Column, Values]]:
    listed = [(_TIME_COLUMN, Values(rows.time))]
    if spec.sequence and rows.sequence is not None:
        listed.append((Column(spec.key[-1], spec.sequence), Values(rows.sequence)))
    return listed + [(column, rows.values[column.name]) for column in spec.columns]


def _checksum_column(head: int, name: str, content: bytes | memoryview) -> bytes:
    return zlib.crc32(content, zlib.crc32(b"%d %s " % (head, name.encode()))).to_bytes(_CHECKSUM_BYTES, "little")


def _checksum_header(header: Document) -> int:
    known = sorted((name, str(value)) for name, value in header.items())
    return zlib.crc32(repr(known).encode("utf-8", "surrogatepass"))


# Columns


def _encode_values(column: Column, values: Values, is_compressed: bool) -> bytes:
    kind = _TYPE_NUMBERS[column.type]
    nulls = values.find_nulls(column)
    data, presence = values.data, b""
    if nulls is not None:
        data, presence = data[~nulls], np.packbits(~nulls).tobytes()
    codec, content = _encode_data(column.type, data, values.categories, is_compressed)
    return bytes((kind, codec | (_HAS_NULLS if nulls is not None else 0))) + presence + content


def _encode_data(
    kind: ColumnType, data: NDArray[Any], categories: tuple[str, ...], is_compressed: bool
) -> tuple[int, bytes]:
    if kind == "category":
        used = np.flatnonzero(np.bincount(data, minlength=len(categories))) if len(data) != 1 else data
        if len(used) < len(categories):
            table = np.zeros(len(categories), np.int32)
            table[used] = np.arange(len(used))
            data, categories = table[data], tuple([categories[code] for code in used.tolist()])
        names = _dump_names(categories).encode()
        codec, content = _encode_numbers(data, is_compressed)
        return codec, len(names).to_bytes(4, "little") + names + content
    if kind == "str":
        texts = data.tolist()
        lengths = np.fromiter(map(len, texts), _LENGTHS, len(texts)).tobytes()
        content = lengths + "".join(texts).encode()
        return (_ZSTD, _compress_text(content)) if is_compressed else (_RAW, content)
    if kind == "bool":
        return _RAW, np.packbits(data).tobytes()
    return _encode_numbers(data, is_compressed)


def _encode_numbers(data: NDArray[Any], is_compressed: bool) -> tuple[int, bytes]:
    if not is_compressed or len(data) < _FEW:
        return _RAW, (data if sys.byteorder == "little" else data.byteswap()).tobytes()
    from pcodec import ChunkConfig, standalone

    wide = data.astype(np.int16) if data.itemsize == 1 else np.require(data, requirements=("C", "ALIGNED"))
    return _PCODEC, standalone.simple_compress(wide, ChunkConfig(compression_level=_COMPRESSION_LEVEL))


def _check_column(columns: Mapping[str, Any], name: str, head: int) -> memoryview:
    """Return the content of a column."""
    stored = columns.get(name)
    if stored is None:
        raise DamagedRowsError(f"its column {name} is missing")
    if not isinstance(stored, bytes) or len(stored) < _CHECKSUM_BYTES + 2:
        raise DamagedRowsError(f"its column {name} holds something else")
    content = memoryview(stored)[_CHECKSUM_BYTES:]
    if _checksum_column(head, name, content) != stored[:_CHECKSUM_BYTES]:
        raise DamagedRowsError(f"the checksum of its column {name} differs")
    return content


def _split_names(content: memoryview) -> tuple[list[str], memoryview]:
    """Return the names of all columns that were stored, and the content of the times."""
    end = _NAMES_BYTES + int.from_bytes(content[:_NAMES_BYTES], "little")
    try:
        names = bytes(content[_NAMES_BYTES:end]).decode()
    except UnicodeDecodeError:
        names = ""
    if not names or len(content) < end + 2:
        raise DamagedRowsError(f"the names of its columns are missing from its column {TIME}")
    return names.split(" "), content[end:]


def _decode_column(column: Column, content: memoryview, rows: int) -> Values:
    if content[0] != _TYPE_NUMBERS[column.type]:
        known = COLUMN_TYPES[content[0]] if content[0] < len(COLUMN_TYPES) else "of an unknown type"
        raise DamagedRowsError(f"its column {column.name} is {known}, and that of the slot {column.type}")
    try:
        return _decode_values(column, content[1], content[2:], rows)
    except DamagedRowsError:
        raise
    except Exception as error:  # each codec raises kinds of its own
        raise DamagedRowsError(f"its column {column.name} can't be decoded ({type(error).__name__})") from None


def _decode_values(column: Column, codec: int, content: memoryview, rows: int) -> Values:
    valid = None
    if codec & _HAS_NULLS:
        size = -(-rows // 8)
        valid = np.unpackbits(np.frombuffer(content[:size], np.uint8), count=rows).view(bool)
        content = content[size:]
    count = rows if valid is None else int(valid.sum())
    data, categories = _decode_data(column.type, codec & ~_HAS_NULLS, content, count)
    if len(data) != count:
        raise DamagedRowsError(f"its column {column.name} has another number of rows")
    if valid is None:
        return Values(data, None, categories)
    whole = np.full(rows, -1, np.int32) if column.type == "category" else np.zeros(rows, data.dtype)
    whole[valid] = data
    return Values(whole, None if column.type == "category" else valid, categories)


def _decode_data(kind: ColumnType, codec: int, content: memoryview, count: int) -> tuple[NDArray[Any], tuple[str, ...]]:
    if kind == "category":
        size = int.from_bytes(content[:4], "little")
        names = tuple(json.loads(bytes(content[4 : 4 + size])))
        return _decode_numbers(np.dtype(np.int32), codec, content[4 + size :]), names
    if kind == "str":
        return _decode_texts(_decompress_text(content) if codec == _ZSTD else bytes(content), count), ()
    if kind == "bool":
        return np.unpackbits(np.frombuffer(content, np.uint8), count=count).view(bool), ()
    return _decode_numbers(STORED_TYPES[kind], codec, content), ()


def _decode_numbers(kind: np.dtype[Any], codec: int, content: memoryview) -> NDArray[Any]:
    if codec == _RAW:
        # It begins anywhere in the document; Pcodec, for one, takes no array that is not aligned.
        return np.require(np.frombuffer(content, kind.newbyteorder("<")), kind, ("ALIGNED",))
    from pcodec import standalone

    data: NDArray[Any] = standalone.simple_decompress(bytes(content))
    return data.astype(kind, copy=False)


def _decode_texts(content: bytes, count: int) -> NDArray[Any]:
    lengths = np.frombuffer(content, _LENGTHS, count)
    text = content[lengths.nbytes :].decode()
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    starts = [0, *ends[:-1]]
    if count and ends[-1] != len(text):
        raise DamagedRowsError("its text has another length")
    return np.array([text[start:end] for start, end in zip(starts, ends, strict=False)], STRINGS)


def _compress_text(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(content)


def _decompress_text(content: memoryview) -> bytes:
    import zstandard

    return zstandard.ZstdDecompressor().decompress(content)

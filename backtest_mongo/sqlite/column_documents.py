"""The documents that blocks and groups of a series with columns are stored as, and how their rows are merged and split.

This module imports NumPy: import it in the functions that need it, not at the top of a module.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import bson
import numpy as np
from bson.errors import BSONError

from backtest_mongo.columns.arrays import ColumnArrays, join_columns, sort_rows
from backtest_mongo.columns.codec import FORMAT, HEADER, DamagedRowsError, decode, encode, parse_header
from backtest_mongo.columns.merging import split_rows
from backtest_mongo.columns.sizes import measure_rows
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = [
    "BLOCK_ROWS",
    "Encoded",
    "Part",
    "cluster",
    "cut",
    "decode_part",
    "decode_recorded",
    "encode_block",
    "encode_group",
    "find_unfit",
    "has_times",
    "merge",
    "split",
]

#: About how many rows a block has: up to half as many again, and fewer while the series is short or has long texts.
BLOCK_ROWS: Final = 65_536
#: How many bytes the rows of a document can have: SQLite takes a billion in a row of a table.
MOST_BYTES: Final = 900_000_000
#: The field of a block's document that has its start.
_START: Final = "start"


@dataclass(frozen=True, slots=True)
class Part:
    """A block or a group of the tail, as its row has it besides the document.

    Attributes:
        number: of its row.
        start: from which time on the block is responsible; ``None`` of a group.
        first: the time of the first row.
        last: the time of the last row.
        rows: how many there are.
        head: the checksum of the header.
    """

    number: int
    start: int | None
    first: int
    last: int
    rows: int
    head: int

    @property
    def is_block(self) -> bool:
        return self.start is not None

    def overlaps(self, first: int, last: int) -> bool:
        """Return whether it may have rows from one time to another."""
        return self.first <= last and self.last >= first

    def is_within(self, first: int, last: int) -> bool:
        """Return whether it has no others."""
        return first <= self.first and self.last <= last

    @property
    def key(self) -> Document:
        """What the checksum of the header covers besides the header."""
        return _make_key(self.start)

    def check(self) -> None:
        """Compare the header with its checksum.

        Raises:
            DamagedRowsError: they differ.
        """
        header = dict(zip(HEADER, (FORMAT, self.rows, self.first, self.last), strict=True))
        parse_header({**self.key, **header, "head": self.head}, self.key)


def _make_key(start: int | None) -> Document:
    return {} if start is None else {_START: start}


# Arrays


def cut(rows: ColumnArrays, first: int, last: int) -> ColumnArrays:
    """Return the rows from one time to another, both included; the rows are in order."""
    begin = int(np.searchsorted(rows.time, np.int64(first), "left"))
    end = int(np.searchsorted(rows.time, np.int64(last), "right"))
    return rows if end - begin == len(rows) else rows.take(slice(begin, end))


def has_times(rows: ColumnArrays, first: int, last: int) -> bool:
    """Return whether some rows, which are in order, are from one time to another, both included."""
    at = int(np.searchsorted(rows.time, np.int64(first), "left"))
    return at < len(rows) and int(rows.time[at]) <= last


def merge(parts: Sequence[ColumnArrays]) -> ColumnArrays:
    """Return the rows of one or more parts in the order of their keys; of equal keys those of the latest part."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    spans = [(int(part.time[0]), int(part.time[-1])) for part in filled]
    return join_columns([_merge_overlapping([filled[at] for at in some]) for some in cluster(spans)])


def _merge_overlapping(parts: Sequence[ColumnArrays]) -> ColumnArrays:
    return parts[0] if len(parts) == 1 else sort_rows(join_columns(parts), keeps_first=False)


def cluster(spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the places of spans that overlap each other, each cluster in their order; the clusters by time."""
    clusters: list[list[int]] = []
    end = 0
    for at in sorted(range(len(spans)), key=lambda at: (spans[at][0], at)):
        first, last = spans[at]
        if clusters and first <= end:
            clusters[-1].append(at)
            end = max(end, last)
        else:
            clusters.append([at])
            end = last
    return [sorted(some) for some in clusters]


def split(rows: ColumnArrays) -> list[ColumnArrays]:
    """Return rows, which are in order, in parts of about :data:`BLOCK_ROWS`, and of the bytes of a block at most.

    Those of one time stay together, also if they are too many for that.
    """
    count = max(1, round(len(rows) / BLOCK_ROWS))
    edges = {0, len(rows)}
    for number in range(1, count):
        at = number * len(rows) // count
        edge = int(np.searchsorted(rows.time, rows.time[at], "left"))
        edges.add(edge)
    parts = [rows.take(slice(begin, end)) for begin, end in pairwise(sorted(edges))]
    return [piece for part in parts for piece in split_rows(part, len(part), is_even=True, cuts_times=False)]


def find_unfit(pieces: Sequence[ColumnArrays]) -> ColumnArrays | None:
    """Return the first piece that has too many bytes for a document."""
    return next((piece for piece in pieces if measure_rows(piece).count() > MOST_BYTES), None)


# Writing


class Encoded(NamedTuple):
    """A document, and what its row has besides."""

    start: int | None
    first: int
    last: int
    rows: int
    head: int
    document: bytes

    def make_parameters(self, context: Key, created: int, written: int) -> tuple[Any, ...]:
        """Return the parameters of an insert; both times are those of rows, in milliseconds since the epoch."""
        start = () if self.start is None else (self.start,)
        return (*context, *start, self.first, self.last, self.rows, self.head, created, written, self.document)


def encode_group(spec: SlotSpec, rows: ColumnArrays) -> Encoded:
    """Return the document of a group of the tail."""
    return _encode(spec, None, rows)


def encode_block(spec: SlotSpec, start: int, rows: ColumnArrays) -> Encoded:
    """Return the document of a block."""
    return _encode(spec, start, rows)


def _encode(spec: SlotSpec, start: int | None, rows: ColumnArrays) -> Encoded:
    document = encode(spec, _make_key(start), rows, is_compressed=start is not None)
    return Encoded(
        start, int(rows.time[0]), int(rows.time[-1]), len(rows), int(document["head"]), bson.encode(document)
    )


# Decoding


def decode_part(spec: SlotSpec, part: Part, content: Any, names: Collection[str] | None = None) -> ColumnArrays:
    """Return the rows of a part, with all columns or those of these names.

    Raises:
        DamagedRowsError: it is damaged.
    """
    part.check()
    try:
        document = bson.decode(content)
    except (BSONError, TypeError) as error:
        raise DamagedRowsError(f"its document is no BSON ({type(error).__name__})") from None
    rows = decode(spec, part.key, document, names)
    if document["head"] != part.head:
        raise DamagedRowsError("its document is another one's")
    return rows


def decode_recorded(spec: SlotSpec, content: bytes) -> ColumnArrays:
    """Return the rows of a document as the log of changes has it.

    Raises:
        ValueError: it is none.
    """
    try:
        document = bson.decode(content)
        key = {_START: document[_START]} if _START in document else {}
        return decode(spec, key, document)
    except (BSONError, DamagedRowsError) as error:
        raise ValueError(str(error)) from None

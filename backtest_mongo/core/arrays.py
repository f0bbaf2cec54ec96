"""Candles as columns of NumPy arrays, and the documents that hold such candles, many at a time.

The documents of one series are alike: they have the same fields, each of the same length. So a few NumPy calls decode
and encode thousands of them as raw BSON, without a loop over rows. Documents with another layout, such as those in
which the Node package stores whole prices as integers, are decoded one by one.

This module imports NumPy: import it in the functions that need it, not at the top of a module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import bson
import numpy as np
from bson import Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from numpy.typing import NDArray

from backtest_mongo.types import PRICES, Candle, Document

__all__ = ["CandleArrays", "decode_rows", "encode_rows", "join_arrays", "merge_arrays"]

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]

_FLOAT64: Final = 0x01
_INT64: Final = 0x12
_ID: Final = slice(9, 21)


@dataclass(frozen=True, slots=True)
class CandleArrays:
    """Candles of one series, by time; each array has one element per candle. ``timestamp`` is in milliseconds, UTC."""

    timestamp: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def empty(cls, rows: int) -> CandleArrays:
        """Return arrays for so many candles, whose values are arbitrary."""
        return cls(np.empty(rows, np.int64), *(np.empty(rows) for _ in PRICES))

    @classmethod
    def of(cls, rows: Mapping[int, Document]) -> CandleArrays:
        """Return candles that have been checked, given by their times, as columns."""
        columns = [np.fromiter((row[name] for row in rows.values()), np.float64, count=len(rows)) for name in PRICES]
        times = np.fromiter(rows, np.int64, count=len(rows))
        arrays = cls(times, *columns)
        return arrays if bool((times[1:] > times[:-1]).all()) else arrays.take(np.argsort(times))

    def __len__(self) -> int:
        return len(self.timestamp)

    @property
    def prices(self) -> tuple[Floats, ...]:
        """The five columns apart from the time: open, high, low, close, volume."""
        return self.open, self.high, self.low, self.close, self.volume

    def take(self, rows: Any) -> CandleArrays:
        """Return some of the rows, by a slice, a mask or an array of positions."""
        return CandleArrays(self.timestamp[rows], *(column[rows] for column in self.prices))

    def copy(self) -> CandleArrays:
        return CandleArrays(self.timestamp.copy(), *(column.copy() for column in self.prices))

    def between(self, first: int, end: int) -> CandleArrays:
        """Return the rows of the half-open range of times."""
        start, stop = np.searchsorted(self.timestamp, (first, end))
        return self if stop - start == len(self) else self.take(slice(start, stop))

    def put(self, at: int, rows: CandleArrays) -> None:
        """Copy rows here, from position ``at`` on."""
        for mine, theirs in zip((self.timestamp, *self.prices), (rows.timestamp, *rows.prices), strict=True):
            mine[at : at + len(theirs)] = theirs

    def candles(self) -> list[Candle]:
        return [
            {"timestamp": time, "open": open_, "high": high, "low": low, "close": close, "volume": volume}
            for time, open_, high, low, close, volume in zip(
                self.timestamp.tolist(), *(column.tolist() for column in self.prices), strict=True
            )
        ]


def join_arrays(parts: Sequence[CandleArrays]) -> CandleArrays:
    """Return all rows of the parts, which are in the order of time."""
    if len(parts) == 1:
        return parts[0]
    whole = CandleArrays.empty(sum(map(len, parts)))
    at = 0
    for part in parts:
        whole.put(at, part)
        at += len(part)
    return whole


def merge_arrays(first: CandleArrays, second: CandleArrays) -> CandleArrays:
    """Return the rows of both by time, each in the order of time itself; of two with one time that of ``first``."""
    if not len(second):
        return first
    if not len(first):
        return second
    if first.timestamp[-1] < second.timestamp[0]:
        return join_arrays((first, second))
    missing = second.take(~np.isin(second.timestamp, first.timestamp, assume_unique=True))
    if not len(missing):
        return first
    whole = join_arrays((first, missing))
    return whole.take(np.argsort(whole.timestamp, kind="stable"))


def decode_rows(reply: bytes) -> CandleArrays:
    """Return the candles of a raw reply: whole documents, one after another, with the six fields of a candle."""
    if not reply:
        return CandleArrays.empty(0)
    size = int.from_bytes(reply[:4], "little")
    rows, rest = divmod(len(reply), size)
    places = _find_places(reply[:size])
    if places is None or rest:
        return _decode_one_by_one(reply)
    raw = np.frombuffer(reply, np.uint8).reshape(rows, size)
    # All that isn't a value must be the same in all documents: their length, and each field's type and name.
    fixed = np.ones(size, bool)
    for _, start in places.values():
        fixed[start : start + 8] = False
    if not (raw[:, fixed] == raw[0, fixed]).all():
        return _decode_one_by_one(reply)

    def column(name: str) -> NDArray[Any]:
        kind, start = places[name]
        values = raw[:, start : start + 8].copy().view("<i8" if kind == _INT64 else "<f8")[:, 0]
        return values.astype(np.int64 if name == "timestamp" else np.float64, copy=False)

    return CandleArrays(*(column(name) for name in ("timestamp", *PRICES)))


def _find_places(document: bytes) -> dict[str, tuple[int, int]] | None:
    """Return each field's type and where its eight bytes begin, or ``None`` if the document has another layout."""
    places: dict[str, tuple[int, int]] = {}
    at = 4
    while document[at]:
        end = document.index(b"\0", at)
        kind, name = document[at], document[at + 1 : end].decode()
        if kind not in (_FLOAT64, _INT64):
            return None
        places[name] = (kind, end + 1)
        at = end + 9
    return places if at == len(document) - 1 and set(places) == {"timestamp", *PRICES} else None


def _decode_one_by_one(reply: bytes) -> CandleArrays:
    documents: list[Document] = bson.decode_all(reply)
    return CandleArrays(
        np.array([int(row["timestamp"]) for row in documents], np.int64),
        *(np.array([row[name] for row in documents], np.float64) for name in PRICES),
    )


def encode_rows(key: Document, candles: CandleArrays) -> tuple[list[RawBSONDocument], list[bytes]]:
    """Return the documents of candles to be inserted, with the fields of ``key`` in each, and their ids' bytes."""
    now = datetime.now(UTC)
    sample: Document = {"_id": ObjectId(), **key, "timestamp": Int64(0), **dict.fromkeys(PRICES, 0.0)}
    sample |= {"createDate": now, "updatedDate": now, "__v": 0}
    template = bson.encode(sample)
    raw = np.empty((len(candles), len(template)), np.uint8)
    raw[:] = np.frombuffer(template, np.uint8)
    ids = _make_ids(len(candles))
    raw[:, _ID] = ids
    head = len(bson.encode({"_id": ObjectId(), **key})) - 1
    for name, values in zip(("timestamp", *PRICES), (candles.timestamp, *candles.prices), strict=True):
        start = head + 1 + len(name) + 1
        raw[:, start : start + 8] = (
            np.ascontiguousarray(values)
            .astype("<i8" if name == "timestamp" else "<f8", copy=False)[:, None]
            .view(np.uint8)
        )
        head = start + 8
    data, size = raw.tobytes(), len(template)
    documents = [RawBSONDocument(data[start : start + size]) for start in range(0, len(data), size)]
    return documents, ids.view("V12")[:, 0].tolist()


def _make_ids(count: int) -> NDArray[np.uint8]:
    """Return unique ids laid out as the driver's: the time, five random bytes and an ascending counter."""
    ids = np.empty((count, 12), np.uint8)
    ids[:, :9] = np.frombuffer(int(time.time()).to_bytes(4, "big") + os.urandom(5), np.uint8)
    ids[:, 9:] = np.arange(count, dtype=">u4")[:, None].view(np.uint8)[:, 1:]
    return ids

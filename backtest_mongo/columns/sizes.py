"""How many bytes rows take in a document at most, before compression: by this, groups and blocks are cut.

What is stored is hardly larger than that even where nothing can be compressed, and MongoDB takes no document of more
than 16 MiB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.columns.arrays import ColumnArrays, Values

__all__ = ["GROUP_BYTES", "RowSizes", "explain_oversized", "find_oversized", "measure_rows", "split_groups"]

#: The bytes of a group at most, unless a single row has more.
GROUP_BYTES = 8_000_000

#: The names of a category count once for each part of the rows up to this, and with each row that has them beyond.
_NAMES_BYTES: Final = 250_000
#: What the key of a row takes besides its sequence, where a group lists the keys.
_KEY_BYTES: Final = 28
_LENGTH_BYTES: Final = 4
#: Texts that are Python strings at a time.
_TEXTS: Final = 16_384
_dump_name: Final = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class RowSizes:
    """The bytes of rows.

    Attributes:
        rows: how many rows there are.
        once: what each part of them takes besides its rows.
        each: what each row takes besides its texts.
        ends: the bytes of all rows before each, texts included, and of all rows; ``None`` if there is no text.
    """

    rows: int
    once: int
    each: int
    ends: NDArray[np.int64] | None = None

    def count(self, start: int = 0, end: int | None = None) -> int:
        """Return the bytes of some rows."""
        end = self.rows if end is None else end
        if self.ends is None:
            return self.once + (end - start) * self.each
        return self.once + int(self.ends[end] - self.ends[start])

    def find_end(self, start: int, most: int) -> int:
        """Return the end of the longest part from a row on that has so many bytes at most, and one row at least."""
        room = most - self.once
        if self.ends is None:
            end = start + room // self.each
        else:
            end = int(np.searchsorted(self.ends, self.ends[start] + room, "right")) - 1
        return min(max(end, start + 1), self.rows)


def measure_rows(rows: ColumnArrays, *, has_keys: bool = False) -> RowSizes:
    """Return the bytes of rows; with ``has_keys`` of a group that also lists their keys."""
    once, each, texts = 0, 8 + (_KEY_BYTES if has_keys else 0), list[NDArray[np.int64]]()
    if rows.sequence is not None:
        if rows.sequence.dtype.kind == "T":
            each += _LENGTH_BYTES
            lengths = _measure_texts(rows.sequence)
            texts.append(2 * lengths if has_keys else lengths)
        else:
            each += 8
    for values in rows.values.values():
        kind = values.data.dtype
        each += values.valid is not None  # a bit, in fact
        if kind.kind == "T":
            each += _LENGTH_BYTES
            texts.append(_measure_texts(values.data))
        elif kind.itemsize == 4:
            each += kind.itemsize + 1
            names = _measure_names(values)
            if isinstance(names, int):
                once += names
            else:
                texts.append(names)
        else:
            each += 2 if kind.itemsize == 1 else kind.itemsize  # Pcodec takes integers of 16 bits at least
    if not texts:
        return RowSizes(len(rows), once, each)
    ends = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(sum(texts) + each, out=ends[1:])
    return RowSizes(len(rows), once, each, ends)


def _measure_texts(data: NDArray[Any]) -> NDArray[np.int64]:
    """Return the bytes of each text."""
    found = np.empty(len(data), np.int64)
    for at, texts in _list_texts(data):
        are_ascii = all(map(str.isascii, texts))
        lengths = map(len, texts) if are_ascii else (len(text.encode()) for text in texts)
        found[at : at + len(texts)] = np.fromiter(lengths, np.int64, len(texts))
    return found


def _list_texts(data: NDArray[Any]) -> Iterator[tuple[int, list[str]]]:
    for at in range(0, len(data), _TEXTS):
        yield at, data[at : at + _TEXTS].tolist()


def _measure_names(values: Values) -> int | NDArray[np.int64]:
    """Return the bytes of the names of a category: of all of them or, if these are many, of that of each row."""
    names: Sequence[str] = values.categories
    used = None
    if len(names) > len(values):
        used = np.unique(values.data[values.data >= 0])
        names = [names[code] for code in used.tolist()]
    lengths = [len(_dump_name(name).encode()) + 1 for name in names]
    total = sum(lengths)
    if total <= _NAMES_BYTES:
        return total
    table = np.zeros(len(values.categories) + 1, np.int64)  # the last one is that of null, whose code is -1
    table[slice(0, len(lengths)) if used is None else used] = lengths
    found: NDArray[np.int64] = table[values.data]
    return found


def find_oversized(rows: ColumnArrays, most: int) -> dict[int, int]:
    """Return the places of the rows each of which has more than so many bytes, and their bytes."""
    longest = 0  # of all texts of a row, if each were the longest one of its column
    for values in rows.values.values():
        if values.data.dtype.kind == "T":
            longest += _find_longest(values.data)
        elif values.categories:
            longest += max(map(len, values.categories))
    if rows.sequence is not None and rows.sequence.dtype.kind == "T":
        longest += 2 * _find_longest(rows.sequence)
    # JSON takes six bytes for some characters of a category, and UTF-8 takes up to four for each.
    if 6 * longest + 64 * (len(rows.values) + 1) <= most:
        return {}
    sizes = measure_rows(rows, has_keys=True)
    if sizes.ends is None:
        return {}
    suspects = np.flatnonzero(np.diff(sizes.ends) + sizes.once > most).tolist()
    found = {at: measure_rows(rows.take(slice(at, at + 1)), has_keys=True).count() for at in suspects}
    return {at: size for at, size in found.items() if size > most}  # and not only with the names of others


def explain_oversized(size: int, most: int) -> str:
    """Return what is wrong with a row of too many bytes."""
    return f"has {size:,} bytes, and the database takes rows of up to {most:,}"


def _find_longest(data: NDArray[Any]) -> int:
    return max((max(map(len, texts)) for _, texts in _list_texts(data)), default=0)


def split_groups(rows: ColumnArrays, most: int, *, has_keys: bool) -> Iterator[ColumnArrays]:
    """Yield rows in parts for groups, of ``most`` rows at most."""
    sizes, start = measure_rows(rows, has_keys=has_keys), 0
    while start < len(rows):
        end = min(start + most, sizes.find_end(start, GROUP_BYTES))
        yield rows if end - start == len(rows) else rows.take(slice(start, end))
        start = end

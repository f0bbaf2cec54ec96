"""Splitting the lines of a text file into fields, a whole block at a time."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["LONGEST", "Column", "Fields", "count_fields", "make_column", "split_line", "split_lines"]

Places: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

#: The most bytes of a field that is a time, a number or a symbol.
LONGEST: Final = 64
_NEWLINE: Final = 0x0A
_QUOTE: Final = 0x22
_SPACES: Final = (0x20, 0x09)


class Column(NamedTuple):
    """One field of many rows: ``text[k]`` is the k-th byte of each, or 0 beyond its end; ``lengths`` are in bytes.

    Fields are stripped of spaces, and cut off after :data:`LONGEST` bytes, while ``lengths`` are those before the cut.
    """

    text: npt.NDArray[np.uint8]
    lengths: Places

    def __len__(self) -> int:
        return len(self.lengths)

    def at(self, row: int) -> str:
        return self.text[: self.lengths[row], row].tobytes().decode("utf-8", "replace")

    def take(self, rows: npt.NDArray[np.generic]) -> Column:
        """Return some of the rows, by a mask or by positions."""
        return Column(self.text[:, rows], self.lengths[rows])

    def strings(self) -> list[str]:
        """Return all fields as text."""
        return [field.decode("utf-8", "replace") for field in self.bytes().tolist()]

    def bytes(self) -> npt.NDArray[np.bytes_]:
        """Return all fields as an array of byte strings."""
        whole = np.ascontiguousarray(self.text.T)
        return whole.view(f"S{whole.shape[1]}")[:, 0]


def make_column(fields: list[str]) -> Column:
    """Return texts as a column."""
    texts = [field.strip().encode() for field in fields]
    width = min(max(map(len, texts), default=0), LONGEST) or 1
    lengths = np.fromiter(map(len, texts), np.int64, count=len(texts))
    whole = np.array([text[:width] for text in texts], f"S{width}")
    return Column(np.ascontiguousarray(whole.view(np.uint8).reshape(len(texts), width).T), lengths)


@dataclass(frozen=True)
class Fields:
    """Rows with the same number of fields.

    Attributes:
        lines: the position of each row's line in the block.
        ragged: the lines with another number of fields, and that number.
        quoted: which fields were in quotes, ``None`` if none was or nobody asked.
    """

    lines: Places
    ragged: list[tuple[int, int]]
    _data: npt.NDArray[np.uint8]
    #: Where each row begins and each of its fields ends; the next field begins ``_gap`` bytes further.
    _starts: Places
    _ends: Places
    _gap: int = 1
    quoted: Mask | None = None

    def __len__(self) -> int:
        return len(self.lines)

    def _span(self, place: int) -> tuple[Places, Places]:
        return self._ends[:, place - 1] + self._gap if place else self._starts, self._ends[:, place]

    def column(self, place: int) -> Column:
        """Return one field of all rows."""
        data = self._data
        starts, ends = self._span(place)
        if not len(starts):
            return Column(np.zeros((1, 0), np.uint8), np.zeros(0, np.int64))
        while (blank := (starts < ends) & _is_blank(data[starts])).any():
            starts = starts + blank
        while (blank := (starts < ends) & _is_blank(data[ends - 1])).any():
            ends = ends - blank
        lengths = ends - starts
        words = -(-max(min(int(lengths.max()), LONGEST), 1) // 8)
        # Eight bytes at a time, at any offset; the data have as many spare bytes at their end.
        anywhere = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
        text = np.empty((words, len(starts)), "<u8")
        for word in range(words):
            within = np.clip(lengths - 8 * word, 0, 8)
            text[word] = anywhere[np.where(within > 0, starts + 8 * word, 0)] & _MASKS[within]
        flat = text.view(np.uint8).reshape(words, len(starts), 8)
        return Column(np.ascontiguousarray(flat.transpose(0, 2, 1)).reshape(8 * words, len(starts)), lengths)

    def take(self, rows: Mask) -> Fields:
        """Return some of the rows, and none of the ragged lines."""
        quoted = None if self.quoted is None else self.quoted[rows]
        return Fields(self.lines[rows], [], self._data, self._starts[rows], self._ends[rows], self._gap, quoted)

    def contents(self, place: int) -> list[bytes]:
        """Return one field of all rows in full: what is in quotes as it is, and other text without blanks around it."""
        column = self.column(place)
        if self.quoted is None or not self.quoted[:, place].any():
            if len(column) and int(column.lengths.max()) > LONGEST:
                starts, ends = self._span(place)
                whole = self._data.tobytes()
                pairs = zip(starts.tolist(), ends.tolist(), strict=True)
                return [whole[start:end].strip(b" \t") for start, end in pairs]
            texts: list[bytes] = column.bytes().tolist()
            return texts
        starts, ends = self._span(place)
        whole = self._data.tobytes()
        return [
            whole[start:end] if quoted else whole[start:end].strip(b" \t")
            for start, end, quoted in zip(starts.tolist(), ends.tolist(), self.quoted[:, place].tolist(), strict=True)
        ]

    def text(self, row: int, place: int) -> str:
        """Return one field."""
        starts, ends = self._span(place)
        return self._data[starts[row] : ends[row]].tobytes().decode("utf-8", "replace").strip()


#: Masks for the first bytes of a word, by their number.
_MASKS: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], "<u8")
_SPARE: Final = bytes(LONGEST + 8)


def _is_blank(letters: npt.NDArray[np.uint8]) -> Mask:
    found: Mask = (letters == _SPACES[0]) | (letters == _SPACES[1])
    return found


def split_lines(block: bytes, delimiter: str, width: int, *, keep_quotes: bool = False) -> Fields:
    """Split a block of whole lines, each of which ends in a newline, into rows of ``width`` fields.

    Empty lines are skipped. A line with misplaced quotes or a NUL is one field.

    Args:
        block: the lines.
        delimiter: what separates the fields.
        width: how many fields a row has.
        keep_quotes: find out which fields are in quotes.
    """
    if _QUOTE in block:
        return _split_quoted(block.split(b"\n")[:-1], delimiter, width, keep_quotes=keep_quotes)
    data = np.frombuffer(block + _SPARE, np.uint8)
    text = data[: len(block)]
    newline = text == _NEWLINE
    breaks = np.flatnonzero(newline | (text == ord(delimiter)))
    rows = int(np.count_nonzero(newline))
    if rows * width == len(breaks) and newline[breaks[width - 1 :: width]].all() and 0 not in block:
        ends = breaks.reshape(rows, width)
        starts = np.concatenate((np.zeros(min(rows, 1), np.int64), ends[:-1, -1] + 1))
        return Fields(np.arange(rows), [], data, starts, ends)
    last = np.flatnonzero(newline[breaks])
    counts = np.diff(last, prepend=-1)
    ends, starts = breaks[last], np.concatenate((np.zeros(min(rows, 1), np.int64), breaks[last[:-1]] + 1))
    counts[np.searchsorted(ends, np.flatnonzero(text == 0))] = 1
    good = counts == width
    ragged = [
        (line, int(counts[line])) for line in np.flatnonzero(~good).tolist() if block[starts[line] : ends[line]].strip()
    ]
    inner = breaks[last[good][:, None] + np.arange(1 - width, 1)]
    return Fields(np.flatnonzero(good), ragged, data, starts[good], inner)


def _split_quoted(lines: list[bytes], delimiter: str, width: int, *, keep_quotes: bool) -> Fields:
    """Split lines, some of which have quotes, with the CSV parser."""
    kept: list[int] = []
    quoted: list[list[bool]] = []
    ragged: list[tuple[int, int]] = []
    texts: list[bytes] = []
    for number, line in enumerate(lines):
        fields = split_line(line.decode("utf-8", "surrogateescape"), delimiter)
        if len(fields) == width:
            kept.append(number)
            if keep_quotes:
                quoted.append(_find_quotes(line, delimiter.encode(), width))
            texts.extend(field.encode("utf-8", "surrogateescape") for field in fields)
        elif line.strip():
            ragged.append((number, len(fields)))
    sizes = np.fromiter(map(len, texts), np.int64, count=len(texts))
    ends = np.cumsum(sizes).reshape(-1, width)
    data = np.frombuffer(b"".join(texts) + _SPARE, np.uint8)
    starts = ends[:, 0] - sizes.reshape(-1, width)[:, 0]
    marks = np.array(quoted, np.bool_).reshape(-1, width) if keep_quotes else None
    return Fields(np.array(kept, np.int64), ragged, data, starts, ends, 0, marks)


def _find_quotes(line: bytes, delimiter: bytes, width: int) -> list[bool]:
    """Return which fields of a line, of which there are so many, are in quotes."""
    if b'"' not in line:
        return [False] * width
    field = rb' *(?:"(?:[^"]|"")*"|[^%b]*)(?:%b|$)' % (re.escape(delimiter), re.escape(delimiter))
    found = [match.group().lstrip(b" ").startswith(b'"') for match in re.finditer(field, line)]
    return found[:width]


def split_line(line: str, delimiter: str) -> list[str]:
    """Return the fields of one line; a line with misplaced quotes or a NUL is a single field."""
    if "\0" in line:
        return [line]
    if '"' not in line:
        return line.split(delimiter)
    try:
        # MetaTrader puts a blank between the delimiter and the quote.
        return next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True), [])
    except csv.Error:
        return [line]


def count_fields(lines: list[str], delimiter: str) -> list[int]:
    """Return how many fields each line has; 0 for an empty line."""
    return [len(split_line(line, delimiter)) if line.strip() else 0 for line in lines]

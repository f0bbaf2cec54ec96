"""What of an exported row its file can't say: the rest of the document, to the type, in one hidden file a slot.

``.backtest-mongo/{slot}.rows`` of the dump has a line of JSON a row: the file's path, a digest of its content, and the
document as BSON. It counts as long as the content is the one that was exported. Node's readers don't look there.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TextIO

import bson
from bson.errors import BSONError

from backtest_mongo.files import disk
from backtest_mongo.files.rows import digest
from backtest_mongo.files.text import from_text
from backtest_mongo.payload import CODEC, WRITE_CODEC
from backtest_mongo.specs import SlotSpec
from backtest_mongo.types import Document

__all__ = ["ORIGINALS", "Original", "Recorder", "load_originals", "recorder"]

ORIGINALS: Final = ".backtest-mongo"


@dataclass(frozen=True, slots=True)
class Original:
    """The document that a file was exported from."""

    content: str
    raw: bytes
    is_whole: bool

    def document(self, spec: SlotSpec, content: bytes, payload: Any) -> tuple[Document, bool]:
        """Return the document with the file's payload, and whether it is the one that was exported."""
        document: Document = bson.decode(self.raw, WRITE_CODEC)
        is_exact = digest(content) == self.content
        if not (is_exact and self.is_whole):
            document[spec.field] = payload
        return document, is_exact


class Recorder:
    """Records the documents of a slot as they are exported."""

    def __init__(self, file: TextIO, spec: SlotSpec, signals: bool) -> None:
        self._file = file
        self._spec = spec
        self._signals = signals

    def record(self, path: tuple[str, ...], content: bytes, raw: bytes) -> None:
        document: Document = bson.decode(raw, WRITE_CODEC)
        field = self._spec.field
        is_whole = self._spec.shape == "series" or not self._says_all(content, document[field])
        if not is_whole:
            document[field] = None  # so that the fields stay in their order
            raw = bson.encode(document, codec_options=WRITE_CODEC)
        line = {"path": path, "content": digest(content), "row": b64encode(raw).decode(), "whole": is_whole}
        self._file.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")

    def _says_all(self, content: bytes, payload: Any) -> bool:
        """Tell whether the text gives back just what is stored; a small number in 64 bits is one that it doesn't."""
        thawed = from_text(content, self._signals)
        return bson.encode({"": thawed}, codec_options=CODEC) == bson.encode({"": payload}, codec_options=WRITE_CODEC)


@contextmanager
def recorder(root: str, spec: SlotSpec, signals: bool) -> Iterator[Recorder]:
    """Give a recorder, whose file takes the place of the one before at the end."""
    directory = os.path.join(root, ORIGINALS)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{spec.name}.rows")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            yield Recorder(file, spec, signals)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        disk.drop([temporary])


def load_originals(root: str, spec: SlotSpec) -> dict[tuple[str, ...], Original]:
    """Return what was recorded of a slot's files. A line that can't be read is passed over."""
    found: dict[tuple[str, ...], Original] = {}
    try:
        with open(os.path.join(root, ORIGINALS, f"{spec.name}.rows"), encoding="utf-8") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    raw = b64decode(row["row"], validate=True)
                    bson.decode(raw, WRITE_CODEC)
                    found[tuple(row["path"])] = Original(row["content"], raw, row["whole"])
                except (ValueError, TypeError, KeyError, BSONError):
                    continue
    except FileNotFoundError:
        pass
    return found

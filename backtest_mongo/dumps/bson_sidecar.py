"""The BSON sidecar of an exported slot: what a row's file can't hold, such as ids, dates and the types of BSON.

``.backtest-mongo/{slot}.rows`` in the dump has a line of JSON per row: the file's path, a digest of its content, and
the document as BSON. The document counts as long as the file's content does not change. Node does not read the sidecar.
"""

from __future__ import annotations

import io
import json
import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, BinaryIO, Final, Literal, NamedTuple, TextIO

import bson
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError
from bson.regex import Regex
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, create_model
from pydantic_core import PydanticCustomError

from backtest_mongo.core.payload import CODEC, MAX_DOCUMENT_BYTES, WRITE_CODEC, check_payload
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.files import disk
from backtest_mongo.files.candles import encode_candle
from backtest_mongo.files.directory import digest
from backtest_mongo.files.layout import get_engine_fields
from backtest_mongo.files.paths import RowPath, compile_paths
from backtest_mongo.files.text import from_text, to_text
from backtest_mongo.types import INTERVALS, PRICES, Document

__all__ = [
    "DIRECTORY",
    "Sidecar",
    "SidecarRecord",
    "SidecarWriter",
    "describe_record",
    "load_sidecar",
    "open_sidecar",
]

#: The directory of all sidecars in a dump.
DIRECTORY: Final = ".backtest-mongo"

#: The longest record that is read: a document in base 64, and what is around it.
_MAX_BYTES: Final = 2 * MAX_DOCUMENT_BYTES
#: Unusable records of one slot that are reported.
_MAX_REPORTED: Final = 1_000


class _Line(BaseModel):
    """A line of a sidecar: one record.

    Attributes:
        path: the file's path below the dump.
        content: the digest of the file's content.
        row: the document as BSON, in base 64.
        whole: whether the document has its payload, which it lacks if the file has all of it.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    path: Annotated[list[str], Field(min_length=1)]
    content: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    row: str
    whole: bool


def _check_whole(value: float) -> float:
    if value != value // 1 or not -(2**63) <= value < 2**63:
        raise PydanticCustomError("whole", "Input should be a whole number of 64 bits")
    return value


#: Whole numbers may be doubles, as Node writes them.
_Whole = Annotated[int | float, AfterValidator(_check_whole)]
_Date = datetime | DatetimeMS | None


@lru_cache(maxsize=64)
def _model(spec: SlotSpec) -> type[BaseModel]:
    """Return the model of a slot's documents, which may also have fields of other programs."""
    kinds: dict[str, Any] = {name: bool if name == FLAG else str for name in spec.key}
    if spec.is_candles:
        kinds |= {spec.key[-1]: _Whole, "interval": Literal[tuple(INTERVALS)]} | dict.fromkeys(PRICES, FiniteFloat)
    else:
        kinds[spec.field] = Any
    kinds |= {"when": _Whole | datetime | None} if spec.when else {}
    kinds |= {"removed": bool | None} if spec.soft_delete else {}
    kinds |= {"createDate": _Date, "updatedDate": _Date}
    optional = {"when", "removed", "createDate", "updatedDate"}
    # By aliases, as a slot's field may have a name that means something to pydantic.
    fields: dict[str, Any] = {
        f"field_{at}": (kind, Field(None if name in optional else ..., alias=name))
        for at, (name, kind) in enumerate(kinds.items())
    }
    config = ConfigDict(strict=True, extra="allow", arbitrary_types_allowed=True)
    return create_model(spec.class_name, __config__=config, **fields)


@dataclass(frozen=True, slots=True)
class SidecarRecord:
    """The document that a file was exported from.

    Attributes:
        number: the number of the record in the sidecar, from 1.
        key: the row's key.
        content: the digest of the file's content.
        raw: the document as BSON.
        is_whole: whether the document has its payload.
    """

    number: int
    key: Key
    content: str
    raw: bytes
    is_whole: bool

    def decode(self, spec: SlotSpec, content: bytes, payload: Any) -> tuple[Document, bool]:
        """Return the document with the file's payload, and whether it is the one that was exported.

        Raises:
            ValueError: the file has not changed, but the document does not have its content.
        """
        document: Document = bson.decode(self.raw, WRITE_CODEC)
        is_exact = digest(content) == self.content
        if is_exact and self.is_whole and _encode_content(spec, document, self.key) != content:
            raise ValueError("its row is not what the file holds")
        if not (is_exact and self.is_whole) and not spec.is_candles:
            document[spec.field] = payload
        return document, is_exact


def _encode_content(spec: SlotSpec, document: Document, key: Key) -> bytes:
    if spec.is_candles:
        return encode_candle(key[-1], document)
    return to_text(document[spec.field], get_engine_fields(spec))


class SidecarWriter:
    """Writes the records of a slot as its rows are exported."""

    def __init__(self, file: TextIO, spec: SlotSpec) -> None:
        self._file = file
        self._spec = spec
        self._engine_fields = get_engine_fields(spec)

    def write(self, path: RowPath, content: bytes, raw: bytes) -> None:
        """Write the record of a file: its path and content, and its document as BSON."""
        document: Document = bson.decode(raw, WRITE_CODEC)
        field = self._spec.field
        is_whole = self._spec.is_candles or not self._holds_all(content, document[field])
        if not is_whole:
            document[field] = None  # so that the fields stay in their order
            raw = bson.encode(document, codec_options=WRITE_CODEC)
        line = {"path": path, "content": digest(content), "row": b64encode(raw).decode(), "whole": is_whole}
        self._file.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")

    def _holds_all(self, content: bytes, payload: Any) -> bool:
        """Return whether the content decodes to exactly what is stored, which a small number in 64 bits does not."""
        decoded = from_text(content, self._engine_fields)
        return bson.encode({"": decoded}, codec_options=CODEC) == bson.encode({"": payload}, codec_options=WRITE_CODEC)


@contextmanager
def open_sidecar(root: str, spec: SlotSpec) -> Iterator[SidecarWriter]:
    """Give a writer of a slot's sidecar, which replaces the previous sidecar at the end."""
    directory = os.path.join(root, DIRECTORY)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{spec.name}.rows")
    temporary = f"{path}.{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            yield SidecarWriter(file, spec)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        disk.drop([temporary])


class Sidecar(NamedTuple):
    """The content of a slot's sidecar.

    Attributes:
        records: the records by the paths of their files.
        problems: the records that can't be used: where each is, and why.
    """

    records: dict[RowPath, SidecarRecord]
    problems: list[tuple[str, str]]


def load_sidecar(root: str, spec: SlotSpec) -> Sidecar:
    """Read a slot's sidecar. A missing one has no records."""
    found = Sidecar({}, [])
    try:
        with io.BufferedReader(disk.open_regular(os.path.join(root, DIRECTORY, f"{spec.name}.rows"))) as file:
            for number, line in enumerate(_read_lines(file), 1):
                try:
                    path, record = _parse(spec, number, line)
                    is_repeated = path in found.records
                    found.records[path] = record
                    if is_repeated:
                        raise ValueError("an earlier record is of the same file")
                except (ValueError, TypeError, OverflowError, RecursionError, BSONError) as error:
                    if len(found.problems) < _MAX_REPORTED:
                        found.problems.append((describe_record(spec, number), _explain(error)))
    except FileNotFoundError:
        pass
    except OSError as error:
        found.problems.append((describe_record(spec), error.strerror or type(error).__name__))
    return found


def describe_record(spec: SlotSpec, number: int | None = None) -> str:
    """Return where a record is, or without a number the sidecar, for people."""
    return f"{DIRECTORY}/{spec.name}.rows" + ("" if number is None else f", record {number}")


def _read_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield each line, and ``None`` for a line that is too long."""
    while line := file.readline(_MAX_BYTES):
        if len(line) < _MAX_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(_MAX_BYTES)
        yield None


def _parse(spec: SlotSpec, number: int, line: bytes | None) -> tuple[RowPath, SidecarRecord]:
    if line is None:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
    parsed = _Line.model_validate_json(line)
    raw = b64decode(parsed.row, validate=True)
    document: Document = bson.decode(raw, WRITE_CODEC)
    _model(spec).model_validate(document)
    _check_document(spec, document)
    key = tuple(int(document[name]) if type(document[name]) is float else document[name] for name in spec.key)
    for name, value in zip(spec.key, key, strict=True):
        if isinstance(value, str):
            spec.check_key(name, value)
    path = tuple(parsed.path)
    if not compile_paths(spec).is_path_of(key, path):
        raise ValueError("its row is another file's")
    return path, SidecarRecord(number, key, parsed.content, raw, parsed.whole)


def _check_document(spec: SlotSpec, document: Document) -> None:
    """Check the id and the names of other programs' fields: MongoDB would refuse them, and their whole batch."""
    for name in document:
        if not name or name.startswith("$") or "." in name:
            raise ValueError(f"no document may have a field named {name!r}")
    check_payload({**document, **({spec.field: None} if not spec.is_candles else {})}, "row", spec.name)
    oid = document.get("_id")
    if isinstance(oid, list | Regex) or (isinstance(oid, dict) and any(name.startswith("$") for name in oid)):
        raise ValueError(f"no document may have an _id of this type ({type(oid).__name__})")


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else first["msg"]
    return str(error) or type(error).__name__

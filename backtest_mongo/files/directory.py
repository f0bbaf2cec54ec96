"""The rows in one directory: for each its payload's file and, if the slot needs one, a metadata sidecar.

Everything here blocks, so the store calls it in threads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backtest_mongo.core.simulation_time import own_time, to_time
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.layout import MAX_SLASHES, get_engine_fields
from backtest_mongo.files.names import decode_name, may_be_node_name
from backtest_mongo.files.text import from_text, to_text

__all__ = ["SUFFIX", "Directory", "FileRow", "RowToWrite", "digest", "is_text", "list_names", "list_nested"]

SUFFIX: Final = ".json"
#: How often a row that writers keep replacing is read again.
_TRIES: Final = 1_000

_last_created = 0


class FileRow(NamedTuple):
    """A row as it was read.

    Attributes:
        payload: the payload.
        when: its simulation time in milliseconds, for slots that have one.
        removed: whether the row is removed.
        key: its key, if the metadata sidecar has it and belongs to this payload.
        noted_key: the key in the metadata sidecar, even if that belongs to a payload that has been replaced since.
        content: what the payload's file holds.
        written: when that was written, in nanoseconds since the epoch.
    """

    payload: Any
    when: int | None
    removed: bool
    key: Key | None = None
    noted_key: Key | None = None
    content: bytes = b""
    written: int = 0


class RowToWrite(NamedTuple):
    """A row to be written.

    Attributes:
        name: the file's name without ``.json``.
        key: the row's key.
        payload: the payload.
        when: its simulation time in milliseconds.
        removed: whether the row is removed.
        created: when a row that is new here was first written, in nanoseconds; ``None`` is now.
        needs_key: whether to write the key into the metadata sidecar, as the path alone doesn't determine it.
    """

    name: str
    key: Key
    payload: Any
    when: int | None
    removed: bool
    created: int | None = None
    needs_key: bool = False


#: Whole numbers that MongoDB can hold, and the range of Python's dates in nanoseconds.
Whole = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_EARLIEST: Final = -62_135_596_800_000_000_000
_LATEST: Final = 253_402_300_799_999_999_999


class _Metadata(BaseModel):
    """The content of a metadata sidecar.

    Attributes:
        created: when the row was first written, in nanoseconds; never the same for two rows of this process.
        item: the field that the file is named by, if its name has been cut.
        key: the row's key, if the path alone doesn't determine it.
        payloads: a payload's simulation time, and whether it is removed, by the payload's digest.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    created: Annotated[int, Field(ge=_EARLIEST, le=_LATEST)]
    item: str | None = None
    key: list[str | bool] | None = None
    payloads: dict[str, tuple[Whole | None, bool]] = Field(default_factory=dict)


class Directory:
    """The rows of a slot in one directory."""

    def __init__(self, spec: SlotSpec, path: str) -> None:
        self._spec = spec
        self.path = path

    def read(self, name: str) -> FileRow | None:
        """Return the row of a file, or ``None`` where there is none.

        Raises:
            StoreError: the file holds no JSON.
            UnfitError: it is not a regular file, or too large.
        """
        before = None
        for _ in range(_TRIES):
            found = disk.read_with_time(self._file(name))
            if found is None:
                return None
            content, written = found
            payload = self._decode(name, content)
            removed = self._spec.soft_delete and isinstance(payload, dict) and payload.get("removed") is True
            if not self._needs_metadata(name, payload):
                return FileRow(payload, None, removed, None, None, content, written)
            metadata = self._read_metadata(name)
            known = metadata.payloads.get(digest(content)) if metadata else None
            key = None if metadata is None or metadata.key is None else tuple(metadata.key)
            if known is not None:
                return FileRow(payload, known[0], removed or known[1], key, key, content, written)
            if content == before:  # otherwise its metadata may have been replaced since
                break
            before = content
        if not self._spec.when:
            return FileRow(payload, None, removed, None, None, content, written)
        when = own_time(self._spec, payload)
        time = written // 1_000_000 if when is None else when
        return FileRow(payload, time, removed, None, key, content, written)

    def list_items(self) -> set[str]:
        """Return the fields that the rows' files are named by."""
        return {item for name in list_names(self.path) if "\0" not in (item := self.find_item(name))}

    def find_item(self, name: str) -> str:
        """Return the field that a row's file is named by."""
        item = decode_name(name)
        if item is None:
            metadata = self._read_metadata(name)
            item = metadata.item if metadata and metadata.item is not None else name
        return item

    def find_created(self, name: str) -> int | None:
        """Return when a row was first written, in nanoseconds; for Node's rows, when they were last written."""
        metadata = self._read_metadata(name)
        if metadata is not None:
            return metadata.created
        try:
            return os.stat(self._file(name)).st_mtime_ns
        except OSError:
            return None

    def find_order(self, name: str) -> tuple[int, int] | None:
        """Return the sort key of a row among the newest: its own time of creation, and when it was first written.

        Both are in nanoseconds. The engine rewrites its files in any order, so the row's own time comes first.
        """
        created = self.find_created(name)
        if created is None:
            return None
        payload = None
        with suppress(StoreError, disk.UnfitError):
            row = self.read(name)
            payload = None if row is None else row.payload
        made = to_time(payload.get("createdAt")) if isinstance(payload, dict) else None
        if made is None or not _EARLIEST <= made * 1_000_000 <= _LATEST:
            return created, created
        return made * 1_000_000, created

    def find_damaged_metadata(self, name: str) -> str | None:
        """Return the path of a row's metadata sidecar if it can't be read. Such a sidecar counts as missing."""
        path = self._metadata_file(name)
        return path if os.path.lexists(path) and self._read_metadata(name) is None else None

    def read_key(self, name: str) -> Key | None:
        """Return the key in a row's metadata sidecar, if it has one."""
        metadata = self._read_metadata(name)
        return None if metadata is None or metadata.key is None else tuple(metadata.key)

    def list_files(self, name: str) -> tuple[str, str]:
        """Return the paths of a row's file and of its metadata sidecar, which need not exist."""
        return self._file(name), self._metadata_file(name)

    def has_metadata(self, name: str) -> bool:
        """Return whether a row has a metadata sidecar, so that this library has named its file."""
        return os.path.exists(self._metadata_file(name))

    def write(self, rows: Iterable[RowToWrite], durable: bool = True) -> None:
        """Replace rows, in their order. With ``durable`` they are durable on return. The caller holds the lock."""
        targets: list[str] = []
        contents: list[bytes] = []
        payloads: list[tuple[str, bytes]] = []
        for row in rows:
            content = to_text(row.payload, get_engine_fields(self._spec))
            if row.needs_key or self._needs_metadata(row.name, row.payload):
                targets.append(self._metadata_file(row.name))
                contents.append(self._encode_metadata(row, content))
            payloads.append((self._file(row.name), content))
        targets += [path for path, _ in payloads]
        contents += [content for _, content in payloads]
        staged = disk.stage(self.path, contents, durable)
        try:
            for temporary, target in zip(staged, targets, strict=True):
                os.replace(temporary, target)
        except BaseException:
            disk.drop(staged)
            raise
        if durable:
            disk.sync(self.path)

    def delete(self, name: str) -> None:
        """Delete a row, whose payload goes first: what is left of it then is no row. The caller holds the lock."""
        os.unlink(self._file(name))
        disk.drop([self._metadata_file(name)])

    def sweep(self) -> None:
        """Remove what killed writers have left behind. The caller holds the lock, so no writer is active."""
        disk.drop(os.path.join(self.path, name) for name in os.listdir(self.path) if name.startswith(disk.TEMPORARY))

    def _needs_metadata(self, name: str, payload: Any) -> bool:
        spec = self._spec
        if spec.when or spec.newest is not None or decode_name(name) is None:
            return True
        return spec.soft_delete and not isinstance(payload, Mapping)

    def _encode_metadata(self, row: RowToWrite, content: bytes) -> bytes:
        """Encode the metadata of a payload, and of the payload that it replaces, which is there until the rename."""
        present = None
        with suppress(disk.UnfitError):  # the new file replaces it
            present = disk.read_with_time(self._file(row.name))
        metadata = self._read_metadata(row.name)
        if metadata is None:
            created = row.created or _next_created() if present is None else present[1]
            metadata = _Metadata(created=max(_EARLIEST, min(created, _LATEST)))
        replaced = None if present is None else digest(present[0])
        metadata.payloads = {name: known for name, known in metadata.payloads.items() if name == replaced}
        metadata.payloads[digest(content)] = (row.when, row.removed)
        metadata.item = str(row.key[-1]) if decode_name(row.name) is None else None
        metadata.key = list(row.key) if row.needs_key else None
        return metadata.model_dump_json().encode()

    def _read_metadata(self, name: str) -> _Metadata | None:
        try:
            content = disk.read(self._metadata_file(name))
            return None if content is None else _Metadata.model_validate_json(content)
        except (ValidationError, disk.UnfitError):
            return None  # as if Node had written the row

    def _decode(self, name: str, content: bytes) -> Any:
        try:
            return from_text(content, get_engine_fields(self._spec))
        except (ValueError, RecursionError):
            raise StoreError(
                f"reading failed: {self._file(name)} holds no JSON",
                slot=self._spec.name,
                hint="repair or remove the file",
            ) from None

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name + SUFFIX)

    def _metadata_file(self, name: str) -> str:
        return os.path.join(self.path, f".{name}.facts")


def list_names(directory: str) -> Iterator[str]:
    """Yield the names of the entities in a directory, as Node's readers find them, without ``.json``."""
    try:
        entries = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.endswith(SUFFIX) and not entry.startswith(".tmp-") and is_text(entry):
            yield entry.removesuffix(SUFFIX)


def list_nested(directory: str, levels: int = MAX_SLASHES) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the entities in the directories below a directory: Node's, for names with slashes."""
    try:
        with os.scandir(directory) as entries:
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in sorted(name for name in below if is_text(name) and may_be_node_name(name)):
        path = os.path.join(directory, name)
        yield from ((name, entity) for entity in list_names(path) if may_be_node_name(entity))
        if levels > 1:
            yield from ((name, *parts) for parts in list_nested(path, levels - 1))


def is_text(name: str) -> bool:
    """Return whether a name from the disk is valid Unicode, as all keys are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def digest(content: bytes) -> str:
    """Return a digest by which a payload's content is recognised."""
    return blake2b(content, digest_size=16).hexdigest()


def _next_created() -> int:
    global _last_created
    _last_created = max(time.time_ns(), _last_created + 1)
    return _last_created

"""Files of market data: finding them in directories and archives, and opening them."""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from backtest_mongo.errors import InputError

__all__ = ["FoundSources", "OpenSource", "Source", "find_sources", "open_source"]

_TEXTS: Final = (".csv", ".tsv", ".txt")
_TABLES: Final = (".parquet", ".pq", ".feather", ".arrow", ".ipc")
_DATA: Final = (*_TEXTS, *_TABLES, *(ending + ".gz" for ending in (*_TEXTS, *_TABLES)))
#: Files with another ending are skipped in directories and archives.
_ENDINGS: Final = (*_DATA, ".zip")
#: How Binance names its files of candles: BTCUSDT-1m-2024-01.zip. A directory of several series would be imported as
#: one.
_SERIES: Final = re.compile(r"([A-Z0-9]+)-(\d+[smhdwM]o?)-\d{4}-\d{2}(-\d{2})?\.(csv|csv\.gz|zip)")
_ZIP: Final = b"PK\x03\x04"
_GZIP: Final = b"\x1f\x8b"
#: The formats of tables, by their first bytes.
_KINDS: Final = {b"PAR1": "Parquet", b"ARROW1": "Feather", b"FEA1": "Feather"}
#: What the readers of archives raise; NotImplementedError for an unknown compression.
_BROKEN: Final = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError)
_ENCRYPTED: Final = 0x1
#: How deep archives may be nested.
_DEPTH: Final = 3
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Source:
    """One file, or one member of an archive.

    Attributes:
        path: the file.
        size: how many bytes it takes on disk.
        members: the path from the archive to the member: more than one name if archives are nested.
    """

    path: Path
    size: int
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "/".join((str(self.path), *self.members))


@dataclass(frozen=True)
class FoundSources:
    """The sources to read, in their order, and the names of ignored files."""

    sources: list[Source] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(source.size for source in self.sources)


@dataclass(frozen=True)
class OpenSource:
    """A source that is being read.

    Attributes:
        stream: its unpacked bytes.
        position: returns how many bytes on disk are read so far.
        table: ``Parquet`` or ``Feather``; ``None`` for text.
    """

    stream: BinaryIO
    position: Callable[[], int]
    table: str | None


def find_sources(paths: Iterable[Path], what: str = "candle") -> FoundSources:
    """Return the sources at ``paths``: files in the given order, a directory's files sorted by name.

    In a directory, subdirectories are ignored, and so are files without the ending of such a file. A broken archive is
    a source, which can't be read.

    Args:
        paths: files, archives and directories.
        what: what the files hold, as the errors call it.

    Raises:
        InputError: a file does not exist, a directory has no such files, or has candle files of several series.
    """
    found = FoundSources()
    for path in paths:
        if path.is_dir():
            _add_directory(path, found, what)
        else:
            _add_file(path, found)
    return found


def _add_directory(directory: Path, found: FoundSources, what: str) -> None:
    paths = sorted(directory.iterdir())
    files = [path for path in paths if path.is_file() and path.name.lower().endswith(_ENDINGS)]
    series = sorted({" ".join(match.groups()[:2]) for path in files if (match := _SERIES.fullmatch(path.name))})
    if len(series) > 1:
        raise InputError(
            f"{directory}: has files of {len(series)} series: {', '.join(series[:10])}",
            hint="name the files of one, for example with a shell's *",
        )
    if not files:
        raise InputError(f"{directory}: has no {what} files", hint=f"they end in {', '.join(_ENDINGS)}")
    found.ignored.extend(str(path) for path in paths if path not in files)
    for path in files:
        _add_file(path, found)


def _add_file(path: Path, found: FoundSources) -> None:
    try:
        with path.open("rb") as file:
            listed = _list_archive(file, (), path) if _starts_with(file, _ZIP) else None
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist") from error
    except (*_BROKEN, RuntimeError):
        listed, size = None, path.stat().st_size  # opening it will raise
    if listed is None:
        found.sources.append(Source(path, size))
        return
    for source, usable in listed:
        if usable:
            found.sources.append(source)
        else:
            found.ignored.append(source.name)


def _list_archive(file: IO[bytes], members: tuple[str, ...], path: Path) -> list[tuple[Source, bool]]:
    """Return the members of an archive, sorted by name, and whether each can hold data."""
    listed: list[tuple[Source, bool]] = []
    with zipfile.ZipFile(file) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if info.is_dir():
                continue
            inner = Source(path, info.compress_size, (*members, info.filename))
            name = info.filename.lower()
            usable = name.endswith(_DATA) and not info.filename.startswith("__MACOSX/")
            if name.endswith(".zip") and len(members) < _DEPTH - 1 and not info.flag_bits & _ENCRYPTED:
                try:
                    with archive.open(info) as packed, _copy_to_disk(packed) as copy:
                        listed += _list_archive(copy, inner.members, path)
                except (*_BROKEN, RuntimeError):
                    listed.append((inner, True))
            else:
                listed.append((inner, usable or name.endswith(".zip")))
    return listed


@contextmanager
def open_source(source: Source) -> Iterator[OpenSource]:
    """Open a source for reading; its first bytes decide the format. A packed source is unpacked once to check it.

    Raises:
        InputError: it can't be opened, or is broken.
    """
    with _translate_broken(source.name), ExitStack() as stack:
        file = stack.enter_context(source.path.open("rb"))
        stream: IO[bytes] = file
        first = 0
        for depth, member in enumerate(source.members):
            if depth:
                stream = stack.enter_context(_copy_to_disk(stream))
            archive = stack.enter_context(zipfile.ZipFile(stream))
            info = archive.getinfo(member)
            if info.flag_bits & _ENCRYPTED:
                raise InputError(f"{source.name}: is encrypted")
            first = first if depth else info.header_offset
            stream = stack.enter_context(archive.open(info))
        if _starts_with(stream, _GZIP):
            stream = cast("IO[bytes]", stack.enter_context(gzip.open(stream)))
        elif _starts_with(stream, _ZIP):
            with zipfile.ZipFile(stream):  # raises if it is broken
                raise InputError(f"{source.name}: is an archive in more than {_DEPTH} archives")
        if stream is not file:
            # The checksum comes last, and no part of a broken file may be imported.
            while stream.read(_BLOCK):
                pass
            stream.seek(0)
        table = next((kind for start, kind in _KINDS.items() if _starts_with(stream, start)), None)
        if table and stream is not file:
            # Tables are read from their end, by seeking, which is slow in packed streams.
            stream = stack.enter_context(_copy_to_disk(stream))
        yield OpenSource(cast("BinaryIO", stream), lambda: min(max(file.tell() - first, 0), source.size), table)


@contextmanager
def _copy_to_disk(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """Copy a packed stream to a temporary file, in which seeking is fast."""
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy, _BLOCK)
        copy.seek(0)
        yield copy


def _starts_with(stream: IO[bytes], magic: bytes) -> bool:
    start = stream.read(len(magic))
    stream.seek(0)
    return start == magic


@contextmanager
def _translate_broken(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{name}: does not exist") from error
    except _BROKEN as error:
        raise InputError(
            f"{name}: can't be read: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
        ) from error

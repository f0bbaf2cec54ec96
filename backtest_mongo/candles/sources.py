"""Where candles lie: files, directories of files, and members of zip archives."""

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

__all__ = ["Found", "Opened", "Source", "find_sources", "opened"]

_TEXTS: Final = (".csv", ".tsv", ".txt")
_TABLES: Final = (".parquet", ".pq")
#: In a directory, what has another ending is passed over.
_ENDINGS: Final = (*_TEXTS, *_TABLES, *(ending + ".gz" for ending in _TEXTS), ".zip")
#: How Binance names its files: BTCUSDT-1m-2024-01.zip. A directory of several series would end up as one.
_SERIES: Final = re.compile(r"([A-Z0-9]+)-(\d+[smhdwM]o?)-\d{4}-\d{2}(-\d{2})?\.(csv|csv\.gz|zip)")
_ZIP: Final = b"PK\x03\x04"
_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
#: What the readers of archives raise; NotImplementedError for a way of packing that they don't know.
_BROKEN: Final = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError)
_ENCRYPTED: Final = 0x1


@dataclass(frozen=True)
class Source:
    """One file, or one member of an archive; ``size`` is how many bytes of the disk it takes."""

    path: Path
    size: int
    member: str | None = None

    @property
    def name(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"


@dataclass(frozen=True)
class Found:
    """What there is to read, in its order, and the names of what was passed over."""

    sources: list[Source] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(source.size for source in self.sources)


@dataclass(frozen=True)
class Opened:
    """A source being read: its bytes, unpacked, and how many bytes of the disk were read so far."""

    stream: BinaryIO
    position: Callable[[], int]
    parquet: bool


def find_sources(paths: Iterable[Path]) -> Found:
    """Return what there is to read at ``paths``: files as they are named, directories sorted by name.

    A directory's own directories, and files with another ending than those of candle files, are passed over.

    Raises:
        InputError: there is nothing, an archive is broken, or a directory holds files of several series.
    """
    found = Found()
    for path in paths:
        if path.is_dir():
            _add_directory(path, found)
        else:
            _add_file(path, found)
    return found


def _add_directory(directory: Path, found: Found) -> None:
    paths = sorted(directory.iterdir())
    files = [path for path in paths if path.is_file() and path.name.lower().endswith(_ENDINGS)]
    series = sorted({" ".join(match.groups()[:2]) for path in files if (match := _SERIES.fullmatch(path.name))})
    if len(series) > 1:
        raise InputError(
            f"{directory}: has files of {len(series)} series: {', '.join(series[:10])}",
            hint="name the files of one, for example with a shell's *",
        )
    if not files:
        raise InputError(f"{directory}: has no candle files", hint=f"they end in {', '.join(_ENDINGS)}")
    found.ignored.extend(str(path) for path in paths if path not in files)
    for path in files:
        _add_file(path, found)


def _add_file(path: Path, found: Found) -> None:
    with _broken_told(str(path)):
        with path.open("rb") as file:
            archived = _begins(file, _ZIP)
        if not archived:
            found.sources.append(Source(path, path.stat().st_size))
            return
        with zipfile.ZipFile(path) as archive:
            members = sorted((member for member in archive.infolist() if not member.is_dir()), key=lambda m: m.filename)
    for member in members:
        source = Source(path, member.compress_size, member.filename)
        if member.flag_bits & _ENCRYPTED:
            raise InputError(f"{source.name}: is encrypted")
        usable = member.filename.lower().endswith((*_TEXTS, *_TABLES)) and not member.filename.startswith("__MACOSX/")
        if usable:
            found.sources.append(source)
        else:
            found.ignored.append(source.name)


@contextmanager
def opened(source: Source) -> Iterator[Opened]:
    """Open a source for reading; what it is, its first bytes say.

    Raises:
        InputError: it can't be opened, or turns out to be broken while it is read.
    """
    with _broken_told(source.name), ExitStack() as stack:
        file = stack.enter_context(source.path.open("rb"))
        packed: IO[bytes] | gzip.GzipFile | None = None
        first = 0
        if source.member is not None:
            archive = stack.enter_context(zipfile.ZipFile(file))
            first = archive.getinfo(source.member).header_offset
            packed = stack.enter_context(archive.open(source.member))
        elif _begins(file, _GZIP):
            packed = stack.enter_context(gzip.open(file))
        stream = cast("BinaryIO", packed or file)
        parquet = _begins(stream, _PARQUET)
        if parquet and packed:
            # Parquet is read from its end and in leaps, which what is packed can't do well.
            copy = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(packed, copy)
            copy.seek(0)
            stream = cast("BinaryIO", copy)
        yield Opened(stream, lambda: min(max(file.tell() - first, 0), source.size), parquet)


def _begins(stream: BinaryIO, magic: bytes) -> bool:
    start = stream.read(len(magic))
    stream.seek(0)
    return start == magic


@contextmanager
def _broken_told(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{name}: is not there") from error
    except _BROKEN as error:
        raise InputError(
            f"{name}: can't be read: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
        ) from error

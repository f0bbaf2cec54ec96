"""Reading a dump: which files there are, and the row of each: parsed, identified and built. Reading blocks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, NamedTuple

import bson
from bson.errors import BSONError

from backtest_mongo.core.payload import CODEC, MAX_DOCUMENT_BYTES, check_payload
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.dumps.bson_sidecar import DIRECTORY, SidecarRecord, describe_record, load_sidecar
from backtest_mongo.dumps.build import DocumentBuilder
from backtest_mongo.dumps.identify import KeyFinder, KnownNames
from backtest_mongo.dumps.parse import FileParser, FileRefusedError, ParsedFile, describe_path, explain, is_inside
from backtest_mongo.dumps.reports import DumpProblem
from backtest_mongo.dumps.walk import Walk
from backtest_mongo.errors import BacktestMongoError, InputError
from backtest_mongo.files import disk
from backtest_mongo.files.directory import SUFFIX, Directory
from backtest_mongo.files.layout import get_engine_fields
from backtest_mongo.files.paths import RowPath, compile_paths
from backtest_mongo.files.text import from_text
from backtest_mongo.types import Document

__all__ = ["ID_BYTES", "DumpRow", "SlotReader", "find_root", "list_others"]

#: The size of an ``_id``, for documents that have none yet.
ID_BYTES: Final = 17
#: How many files are read at a time, and how many bytes their documents may have.
_PAGE: Final = 500
_PAGE_BYTES: Final = 32 * 1024 * 1024
_REPAIR: Final = "repair or remove the file"
_EXPORT_AGAIN: Final = "its file is imported as if it had not been exported; export it again"


class DumpRow(NamedTuple):
    """The row of a file.

    Attributes:
        path: where the file is, for people.
        key: the row's key.
        document: the document to be stored.
        is_exact: whether the document is the one that was exported.
        size: its size in bytes.
    """

    path: str
    key: Key
    document: Document
    is_exact: bool
    size: int


def find_root(directory: str, specs: Sequence[SlotSpec]) -> str:
    """Return the dump: a directory, or the directory ``dump`` in it.

    Raises:
        InputError: neither is a dump.
    """
    tops = [os.path.join(*compile_paths(spec).top) for spec in specs]
    for root in (directory, os.path.join(directory, "dump")):
        if any(os.path.isdir(os.path.join(root, slot)) for slot in tops):
            return root
    if not os.path.isdir(directory):
        raise InputError(f"no dump is in {directory}: it is not a directory")
    some = ", ".join(tops[:3])
    raise InputError(f"no dump is in {directory}: neither it nor its dump has a slot's directory, such as {some}")


def list_others(root: str, specs: Sequence[SlotSpec]) -> Iterator[str]:
    """Yield the files and directories in a dump that belong to no slot, without the content of such directories."""
    tops = {compile_paths(spec).top for spec in specs}
    above = {path[:length] for path in tops for length in range(len(path))}

    def list_below(path: RowPath) -> Iterator[str]:
        for name in _list_names(os.path.join(root, *path)):
            part = (*path, name)
            if part in above and os.path.isdir(os.path.join(root, *part)):
                yield from list_below(part)
            elif part not in tops and part != (DIRECTORY,) and not name.startswith("."):
                yield describe_path(part)

    yield from list_below(())


class SlotReader:
    """Reads the files of one slot in a dump."""

    #: Whether no two rows have one key. Both Node and this library may have written one.
    has_distinct_keys: Final = False

    def __init__(self, root: str, spec: SlotSpec, known: KnownNames) -> None:
        self._root = root
        self._spec = spec
        self._paths = compile_paths(spec)
        self._walk = Walk(root, spec)
        self._parser = FileParser(root, spec)
        self._keys = KeyFinder(root, spec, known)
        self._builder = DocumentBuilder(root, spec, self._note_damage)
        #: What is wrong besides the rows' files; complete once all of them have been read.
        self.problems: list[DumpProblem] = self._walk.problems
        #: Files that are not rows.
        self.others: list[str] = self._walk.others

    def paths(self) -> Iterator[RowPath]:
        """Yield the path of each file: candles by time, and in a list of the newest rows the oldest first."""
        if self._spec.newest is None:
            return self._walk.paths()
        return iter(sorted(self._walk.paths(), key=self._find_order))

    async def read_pages(self) -> AsyncIterator[list[DumpRow | DumpProblem]]:
        """Yield the rows of all files, or why they can't be imported, a page at a time."""
        paths = self.paths()
        while page := await asyncio.to_thread(self._read_page, paths):
            yield page

    def _read_page(self, paths: Iterator[RowPath]) -> list[DumpRow | DumpProblem]:
        page: list[DumpRow | DumpProblem] = []
        size = 0
        while len(page) < _PAGE and size < _PAGE_BYTES and (path := next(paths, None)) is not None:
            row = self.read(path)
            size += row.size if isinstance(row, DumpRow) else 0
            page.append(row)
        return page

    def naming_payloads(self) -> Iterator[Any]:
        """Yield what may have names: all payloads, and the keys of paths that belong to one key alone."""
        real_root, fields = os.path.realpath(self._root), get_engine_fields(self._spec)
        for path in self._walk.paths():
            file = os.path.join(self._root, *path) + SUFFIX
            with suppress(OSError, ValueError, RecursionError):
                if is_inside(real_root, os.path.realpath(file)):
                    content = disk.read(file)
                    if content is not None:
                        yield from_text(content, fields)
                if self._paths.is_unambiguous(path):
                    yield dict(zip(self._spec.key, self._paths.read(path).all[0], strict=True))

    def read(self, path: RowPath) -> DumpRow | DumpProblem:
        """Return the row of a file, or why it can't be imported."""
        shown = describe_path(path) + SUFFIX
        try:
            file = self._parser.parse(path)
            key, document, is_exact = self._make_row(file)
            size = len(bson.encode(document, codec_options=CODEC)) + ID_BYTES * ("_id" not in document)
            if size > MAX_DOCUMENT_BYTES:
                problem = f"the document would be {size:,} bytes, and MongoDB holds {MAX_DOCUMENT_BYTES:,} at most"
                return self._problem(shown, problem, "split or remove the file")
        except FileRefusedError as error:
            return self._problem(shown, error.problem, error.hint)
        except OSError as error:
            return self._problem(shown, *explain(error))
        except BacktestMongoError as error:
            return self._problem(shown, error.message, error.hint or _REPAIR)
        except (BSONError, OverflowError, TypeError, KeyError) as error:
            return self._problem(shown, f"it can't be stored: {error}", _REPAIR)
        except (ValueError, RecursionError):
            return self._problem(shown, "it holds no JSON", _REPAIR)
        return DumpRow(shown, key, document, is_exact, size)

    def _make_row(self, file: ParsedFile) -> tuple[Key, Document, bool]:
        """Return the key and the document of a file, and whether the document is the one that was exported."""
        recorded = self._find_recorded(file)
        if recorded is None:
            key = self._keys.find(file.path, file.payload)
            return key, self._builder.build(key, file), False
        key, document, is_exact = recorded
        if not is_exact:
            built = self._builder.build(key, file)
            return key, built | {name: document[name] for name in ("_id", "createDate") if name in document}, False
        if not self._spec.is_candles:
            check_payload(document[self._spec.field], self._spec.field, self._spec.name)
        return key, document, True

    def _find_recorded(self, file: ParsedFile) -> tuple[Key, Document, bool] | None:
        """Return what the BSON sidecar has of a file: key, document, and whether the file is as it was exported."""
        record = self._records.get(file.path)
        if record is None:
            return None
        try:
            return record.key, *record.decode(self._spec, file.content, file.payload)
        except ValueError as error:
            self.problems.append(self._problem(describe_record(self._spec, record.number), str(error), _EXPORT_AGAIN))
            return None

    @cached_property
    def _records(self) -> dict[RowPath, SidecarRecord]:
        sidecar = load_sidecar(self._root, self._spec)
        self.problems += [self._problem(where, problem, _EXPORT_AGAIN) for where, problem in sidecar.problems]
        return sidecar.records

    def _note_damage(self, file: str) -> None:
        shown = describe_path((os.path.relpath(file, self._root),))
        hint = "its row is imported with the time of its file; repair or remove it"
        self.problems.append(self._problem(shown, "it holds no metadata of a row", hint))

    def _find_order(self, path: RowPath) -> tuple[int, int]:
        directory = Directory(self._spec, os.path.join(self._root, *path[:-1]))
        return directory.find_order(path[-1]) or (0, 0)

    def _problem(self, path: str, problem: str, hint: str) -> DumpProblem:
        return DumpProblem(path, self._spec.name, problem, hint)


def _list_names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []  # the slot whose directory it is reports it

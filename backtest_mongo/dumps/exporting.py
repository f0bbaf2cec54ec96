"""Writing what MongoDB holds as a dump."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from typing import Any, Final, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument

from backtest_mongo.dumps.importing import Progress, chosen_slots
from backtest_mongo.dumps.originals import Recorder, recorder
from backtest_mongo.dumps.reports import DumpProblem, ExportReport, SlotExport
from backtest_mongo.dumps.rows import id_bytes
from backtest_mongo.errors import StoreError
from backtest_mongo.files import disk
from backtest_mongo.files.layout import holds_signals
from backtest_mongo.files.names import places
from backtest_mongo.files.readings import is_plain, top
from backtest_mongo.files.rows import SUFFIX, Directory, Written
from backtest_mongo.files.series import NAME
from backtest_mongo.files.text import to_text
from backtest_mongo.hub import Hub, current_hub
from backtest_mongo.limits import Limit
from backtest_mongo.mongo_rows import PAGE, MongoRows
from backtest_mongo.payload import CODEC
from backtest_mongo.specs import FLAG, Key, SlotSpec
from backtest_mongo.types import PRICES, Document, to_millis

__all__ = ["export_dump"]

_NANOSECONDS: Final = 1_000_000


async def export_dump(
    directory: str | os.PathLike[str], *, slots: Iterable[str] | None = None, progress: Progress | None = None
) -> ExportReport:
    """Write what MongoDB holds to files in the layout of the Node package's default storage, a file a row.

    The Node package and ``persist.use_files(directory)`` read them. Beside them, hidden, is what a file can't say: ids,
    dates, types. :func:`import_dump` of it into an empty database gives the same documents, to the bit. Candles are a
    file each too, so choose ``slots`` where there are millions.

    Files that are there already are replaced where they differ, each as a whole; those of other rows are left alone.
    A row that others write meanwhile is exported as it was before or after. What was written is durable in the end.

    Args:
        directory: the dump; it is made if it is missing.
        slots: names of the slots to write; all of them by default, those that were registered included.
        progress: is called now and then with a slot's name and how many of its rows have been written.

    Raises:
        InputError: there is no such slot.
        StoreUnavailableError, StoreError: MongoDB can't be read, or the directory not be written.
    """
    specs = chosen_slots(slots)
    hub = current_hub()
    counted, problems = [], []
    try:
        root, folding = await asyncio.to_thread(_make_root, os.fspath(directory))
        for spec in specs:
            one = _Export(hub, spec, root, folding)
            async for rows in one.run():
                if progress is not None:
                    progress(spec.name, rows)
            if one.written or one.same:
                counted.append(SlotExport(spec.name, one.written, one.same))
            problems += one.problems
        await asyncio.to_thread(disk.sync_all)
    except OSError as error:
        raise StoreError(
            f"exporting failed: {error.strerror or type(error).__name__}: {error.filename}",
            hint="check the directory, its permissions, and the space on its disk",
        ) from error
    return ExportReport(root, tuple(counted), tuple(problems))


def _make_root(directory: str) -> tuple[str, bool]:
    """Make the directory of a dump; return its path, and whether the file system takes upper and lower case for one."""
    root = os.path.abspath(directory)
    os.makedirs(os.path.join(root, "data"), exist_ok=True)
    return root, disk.folds_case(root, "data")


class _Row(NamedTuple):
    key: Key
    path: tuple[str, ...]
    document: Document
    raw: bytes


class _Export(MongoRows):
    """One slot's rows on their way."""

    def __init__(self, hub: Hub, spec: SlotSpec, root: str, folding: bool) -> None:
        super().__init__(hub, spec)
        self._encoded = self._collection.with_options(codec_options=CODEC.with_options(document_class=RawBSONDocument))
        self._root = root
        self._folding = folding
        self._signals = holds_signals(spec)
        #: Rows of each millisecond.
        self._in_millis: Counter[int] = Counter()
        self.written = self.same = 0
        self.problems: list[DumpProblem] = []

    async def run(self) -> AsyncIterator[int]:
        """Write all rows; yield how many were, after each page."""
        record: Recorder | None = None
        with ExitStack() as stack:
            async for page in self._pages():
                if record is None:
                    record = stack.enter_context(recorder(self._root, self._spec, self._signals))
                await asyncio.to_thread(self._write, [bytes(row.raw) for row in page], record)
                yield self.written + self.same

    async def _pages(self) -> AsyncIterator[list[RawBSONDocument]]:
        last: Any = None
        while True:
            with Limit(self._limit):
                page = await self._retried("reading", partial(self._page, last))
            # As encoded, in which a NaN equals itself.
            if last is not None and page and id_bytes(_id_of(page[0])) == id_bytes(last):
                page = page[1:]
            if not page:
                return
            yield page
            last = _id_of(page[-1])

    async def _page(self, last: Any) -> list[Any]:
        cursor = self._encoded.find({}).sort("_id", 1).hint([("_id", 1)]).limit(PAGE + 1)
        if last is not None:
            # A bound of the index and no condition: this goes on through ids of every type.
            cursor = cursor.min([("_id", last)])
        return await cursor.to_list(PAGE + 1)

    # What blocks

    def _write(self, page: list[bytes], record: Recorder) -> None:
        rows = [row for raw in page if (row := self._row(raw)) is not None]
        rows.sort(key=lambda row: row.path[:-1])  # stable: within a directory they stay in their order
        for parts, some in groupby(rows, lambda row: row.path[:-1]):
            directory = Directory(self._spec, os.path.join(self._root, *parts))
            os.makedirs(directory.path, exist_ok=True)
            with disk.turn(directory.path):
                if self._spec.shape == "series":
                    self._write_candles(directory, list(some), record)
                else:
                    self._write_rows(directory, list(some), record)

    def _row(self, raw: bytes) -> _Row | None:
        document = bson.decode(raw, CODEC)
        try:
            key = tuple(self._checked(name, document[name]) for name in self._spec.key)
            missing = [name for name in self._fields if name not in document]
        except (KeyError, TypeError, ValueError):
            missing = [name for name in self._spec.key if name not in document] or ["a key of its slot"]
        if missing:
            shown = f"{self._spec.collection}: {document['_id']}"
            problem = f"the document lacks {', '.join(missing)}"
            self.problems.append(DumpProblem(shown, self._spec.name, problem, "`backtest-mongo migrate`, or mend it"))
            return None
        return _Row(key, places(self._spec, key, self._folding)[0].path, document, raw)

    @property
    def _fields(self) -> tuple[str, ...]:
        return PRICES if self._spec.shape == "series" else (self._spec.field,)

    def _checked(self, name: str, value: Any) -> Any:
        if name == FLAG:
            return self._spec.check_flag(name, value)
        if self._spec.shape == "series" and name == self._spec.key[-1]:
            return int(value)
        return self._spec.check_key(name, value)

    def _write_rows(self, directory: Directory, rows: list[_Row], record: Recorder) -> None:
        spec = self._spec
        changed = []
        for row in rows:
            document, name = row.document, row.path[-1]
            payload, removed = document[spec.field], document.get("removed") is True
            when = None if document.get("when") is None else int(document["when"])
            content = to_text(payload, self._signals)
            record.record(row.path, content, row.raw)
            created = self._order(document.get("createDate"))  # of each row, so that the next run counts the same
            present = disk.read(os.path.join(directory.path, name + SUFFIX))
            if present == content and self._says(directory, name, when, removed):
                self.same += 1
                continue
            marked = not is_plain(spec, row.path)
            item = str(row.key[-1])
            changed.append(Written(name, item, payload, when, removed, created, marked))
        directory.write(changed, durable=False)
        self.written += len(changed)

    def _says(self, directory: Directory, name: str, when: int | None, removed: bool) -> bool:
        try:
            row = directory.read(name)
        except StoreError:
            return False
        return row is not None and (not self._spec.when or row.when == when) and row.removed == removed

    def _order(self, created: Any) -> int | None:
        """Return a time for a row's facts, which tells rows of one millisecond apart in the order of their ids."""
        if self._spec.newest is None:
            return None
        try:
            millis = to_millis(created)
        except (TypeError, ValueError):
            return None
        self._in_millis[millis] += 1
        return millis * _NANOSECONDS + self._in_millis[millis]

    def _write_candles(self, directory: Directory, rows: list[_Row], record: Recorder) -> None:
        self._name_directories(rows[0])
        fresh: list[tuple[bytes, str]] = []
        for row in rows:
            time = row.key[-1]
            content = to_text({"timestamp": time, **{name: row.document[name] for name in PRICES}}, False)
            record.record(row.path, content, row.raw)
            path = os.path.join(directory.path, f"{time}{SUFFIX}")
            if disk.read(path) == content:
                self.same += 1
            else:
                fresh.append((content, path))
        staged = disk.stage(directory.path, (content for content, _ in fresh), durable=False)
        try:
            for temporary, (_, path) in zip(staged, fresh, strict=True):
                os.replace(temporary, path)
        except BaseException:
            disk.drop(staged)
            raise
        self.written += len(fresh)

    def _name_directories(self, row: _Row) -> None:
        """Write the names of a series' directories into those that don't say them by their own."""
        at = len(top(self._spec))
        for part, item in enumerate(row.key[:-1], at):
            name = os.path.join(self._root, *row.path[: part + 1], NAME)
            if row.path[part] != item and not os.path.exists(name):
                with open(name, "w", encoding="utf-8") as file:
                    file.write(item)


def _id_of(document: RawBSONDocument) -> Any:
    return bson.decode(document.raw, CODEC)["_id"]

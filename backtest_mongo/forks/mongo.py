"""Forks in MongoDB: another database on the same servers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar, cast

from bson import ObjectId
from pymongo.errors import BulkWriteError

from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.connection.driver_errors import DUPLICATE_KEY
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import Attempts
from backtest_mongo.core.cancellation import shield
from backtest_mongo.core.candle_rules import END, START
from backtest_mongo.core.config import MaskedDict
from backtest_mongo.core.fork_marks import ForkMark
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.past_rows import LostRow, PastRow
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.dumps.documents import IncompleteDocumentError, WholeDocuments
from backtest_mongo.errors import BacktestMongoError, InputError, StoreError, StoreUnavailableError
from backtest_mongo.forks.backend import Copied, Writer
from backtest_mongo.forks.mongo_rows import MongoRowReader, make_version
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.fork_marker import begin_fork, finish_fork, read_fork
from backtest_mongo.mongo.format import MARKERS, OWN_COLLECTIONS
from backtest_mongo.mongo.versions import get_versions
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.types import Document, now_ms

__all__ = ["MongoBackend"]

_SYSTEM: Final = "system."
_OF_SLOTS: Final = re.compile(r".+-items")
_BLOCKS: Final = re.compile(r".+-(?:blocks|data|history|series)")
#: How many collections an error names.
_NAMED: Final = 5

T = TypeVar("T")


class MongoBackend:
    """The database of the configuration, and another one of its servers.

    Args:
        hub: the connections to the source.
        name: the database that is created; its name must be valid.

    Raises:
        InputError: it is the source, or the one that has its candles.
    """

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub = hub
        self.source: str = hub.database.name
        self.candles: str = hub.candle_database.name
        self.target: str = name
        self.path: str | None = None
        for known, what in ((self.source, "the database itself"), (self.candles, "the database of its candles")):
            if name.lower() == known.lower():  # the server takes no two names that differ only in case
                raise InputError(f"fork: {name!r} is {what}", hint="name another database")
        self._uri = hub.config.CC_MONGO_CONNECTION_STRING.with_database(name)
        changes = {"CC_MONGO_CONNECTION_STRING": self._uri, "CC_CANDLE_DATABASE": ""}
        self._target = Hub(hub.config.model_copy(update=changes), hub.loop)
        # It is not finished, and nobody else may write to it.
        self._target.is_format_checked = True
        self._names: set[str] = set()

    async def close(self) -> None:
        await shield(self._target.close())

    def make_config(self, candles: str) -> dict[str, Any]:
        return MaskedDict({"CC_MONGO_CONNECTION_STRING": self._uri, "CC_CANDLE_DATABASE": candles})

    # Reading

    async def open_reader(self, spec: SlotSpec) -> MongoRowReader:
        return MongoRowReader(self._hub, spec, spec.versions in await self._list_names())

    def open_columns(self, spec: SlotSpec) -> ColumnStore:
        return cast("ColumnStore", MongoColumns(self._hub, spec))

    async def _list_names(self) -> set[str]:
        if not self._names:
            self._names = {*await _ask(self._hub, "listing", self._hub.database.list_collection_names)}
        return self._names

    async def list_others(self, specs: Sequence[SlotSpec]) -> list[tuple[str, int]]:
        known = {spec.collection for spec in specs}
        found = []
        for name in sorted(await self._list_names() - known):
            if _OF_SLOTS.fullmatch(name):
                count = await _ask(self._hub, "counting", self._hub.database[name].estimated_document_count)
                found.append((name, int(count)))
        return [one for one in found if one[1]]

    # The database that is created

    async def check(self, mark: ForkMark) -> None:
        await self._check(mark)

    async def _check(self, mark: ForkMark) -> list[str]:
        """Return the collections that a fork with the same arguments has left unfinished; else it must be empty.

        Raises:
            InputError: it is not.
        """
        database = self._target.database
        names = await _ask(self._target, "listing", database.list_collection_names)
        filled = [name for name in sorted(names) if not name.startswith(_SYSTEM) and await self._has_content(name)]
        if not filled:
            return []
        begun = await _ask(self._target, "reading", partial(read_fork, database))
        if begun is None or begun.finished is not None:
            shown = ", ".join(filled[:_NAMED]) + (", ..." if len(filled) > _NAMED else "")
            what = "is not empty" if begun is None else "is a fork already"
            raise InputError(
                f"fork: the database {self.target} {what}: it holds {shown}", hint="name another one, or drop it first"
            )
        if not begun.is_like(mark):
            raise InputError(
                f"fork: the database {self.target} is a fork with other arguments that was not finished: of "
                f"{begun.source} as of {begun.at}"
                + ("" if begun.strategy_name is None else f", of the strategy {begun.strategy_name!r}"),
                hint="fork again with those, name another database, or drop it first",
            )
        foreign = [name for name in filled if not _is_own(name)]
        if foreign:
            raise InputError(
                f"fork: the database {self.target} is an unfinished fork, and holds what it has not written: "
                f"{', '.join(foreign[:_NAMED])}",
                hint="name another one, or drop it first",
            )
        return [name for name in names if name != MARKERS and not name.startswith(_SYSTEM)]

    async def _has_content(self, name: str) -> bool:
        find = partial(self._target.database[name].find_one, {}, {"_id": 1})
        return await _ask(self._target, "reading", find) is not None

    @asynccontextmanager
    async def open_writer(self, mark: ForkMark) -> AsyncIterator[Writer]:
        left = await self._check(mark)
        database, owner = self._target.database, ObjectId()
        if not await _ask(self._target, "writing", partial(begin_fork, database, mark, owner)):
            raise InputError(
                f"fork: another process has begun to fork into {self.target}", hint="name another database"
            )
        for name in left:
            await _ask(self._target, "dropping a collection", partial(database.drop_collection, name))
        yield _MongoWriter(self._hub, self._target, mark)
        finished = replace(mark, finished=now_ms())
        if not await _ask(self._target, "writing", partial(finish_fork, database, finished, owner)):
            raise StoreUnavailableError(
                f"forking failed: another process has started the fork {self.target} over",
                hint="wait until that one is done",
            )


class _MongoWriter:
    def __init__(self, source: Hub, target: Hub, mark: ForkMark) -> None:
        self._source = source
        self._target = target
        self._as_backtest = mark.as_backtest

    async def write(self, spec: SlotSpec, rows: Sequence[PastRow]) -> None:
        documents = [self._change(spec, row.stored) for row in rows]
        await _insert(SlotCollection(self._target, spec), documents)
        versions = [
            make_version(spec, document, row.time)
            for row, document in zip(rows, documents, strict=True)
            if row.time is not None and "updatedDate" in document
        ]
        if versions:
            await _insert(get_versions(self._target, spec).slot, versions)

    def _change(self, spec: SlotSpec, document: Document) -> Document:
        return {**document, FLAG: True} if self._as_backtest and FLAG in spec.key else document

    def copy_series(
        self, spec: SlotSpec, context: Key, copied: Key, end: int
    ) -> AsyncIterator[tuple[int, StoreError | None]]:
        return MongoColumns(self._source, spec).copy_rows(context, end, MongoColumns(self._target, spec), copied)

    async def copy_candles(self, spec: SlotSpec) -> AsyncIterator[Copied]:
        source, target = WholeDocuments(self._source, spec), WholeDocuments(self._target, spec)
        for context in await source.list_contexts():
            problem = _explain_context(spec, context)
            if problem is not None:
                yield Copied(lost=(_lose_series(spec, context, problem),))
                continue
            interval = GRIDS[context[spec.key.index("interval")]]
            await target.keep_as(source, context)
            try:
                async for candles in source.read_candles(context, START, END):
                    yield Copied(await target.insert_candles(context, interval, candles))
            except IncompleteDocumentError as error:
                yield Copied(lost=(_lose_series(spec, context, f"what follows can't be read: {error}"),))


async def _insert(slot: SlotCollection, documents: Sequence[Document]) -> None:
    if documents:
        await slot.write("forking", partial(_send, slot, documents))


async def _send(slot: SlotCollection, documents: Sequence[Document], _: Attempts) -> None:
    try:
        await slot.documents.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        details: Any = error.details
        refused = details.get("writeErrors", [])
        # What an attempt inserted whose answer was lost is there already.
        if details.get("writeConcernErrors") or any(row["code"] != DUPLICATE_KEY for row in refused):
            raise


async def _ask(hub: Hub, doing: str, work: Callable[[], Awaitable[T]]) -> T:
    """Carry out a request that belongs to no slot, and retry it if the connection is lost.

    Raises:
        BacktestMongoError: what the driver raises, translated.
    """
    try:
        return await SlotCollection(hub, SLOTS[-1]).read(doing, work)
    except BacktestMongoError as error:
        error.slot = error.collection = None
        raise


def _is_own(name: str) -> bool:
    """Return whether a fork writes to a collection."""
    return name in OWN_COLLECTIONS or bool(_OF_SLOTS.fullmatch(name) or _BLOCKS.fullmatch(name))


def _explain_context(spec: SlotSpec, context: Key) -> str | None:
    """Return why the candles of a series can't be copied, ``None`` if they can."""
    if not all(isinstance(value, str) for value in context):
        return "a part of its key is not a string"
    return None if context[spec.key.index("interval")] in GRIDS else "its interval is unknown"


def _lose_series(spec: SlotSpec, context: Key, problem: str) -> LostRow:
    return LostRow(dict(zip(spec.key, context, strict=False)), problem)

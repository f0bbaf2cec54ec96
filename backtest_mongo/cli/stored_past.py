"""Rows as they were at a simulation time, by whatever versions are stored, even if no setting asks for them any longer.

It works on the database that the registry points at: MongoDB or an SQLite file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from backtest_mongo.cli.databases import get_adapter
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.history import VersionStore, find_history, find_row_time
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError, StoreUnavailableError
from backtest_mongo.history.revisions import list_revisions
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.stored_keys import find_keys
from backtest_mongo.mongo.versions import get_versions
from backtest_mongo.sqlite.stored_keys import StoredKeys
from backtest_mongo.sqlite.versions import SQLiteVersions
from backtest_mongo.types import PRICES, Candle, Document, Interval, to_millis

if TYPE_CHECKING:
    from backtest_mongo.adapters.past import Past
    from backtest_mongo.sqlite.database import Database

__all__ = ["PastRow", "StoredPast", "find_database", "list_keys", "read_last_candles", "read_written"]

_UNAUTHORIZED: Final = 13


@dataclass(frozen=True)
class PastRow:
    """A row as it was at a time.

    Attributes:
        spec: its slot.
        key: its natural key.
        document: what it was; ``None`` if there was nothing, or if that is unknown.
        since: the simulation time since when it was so, in milliseconds since the epoch; ``None`` if unknown.
        is_known: whether it is known what there was.
        is_older: whether that is unknown because the versions that are kept begin later.
        problem: why the row can't be read, if it can't.
    """

    spec: SlotSpec
    key: Key
    document: Document | None = None
    since: int | None = None
    is_known: bool = True
    is_older: bool = False
    problem: str = ""

    @property
    def is_removed(self) -> bool:
        return self.document is not None and self.document.get("removed") is True

    @property
    def value(self) -> Any:
        """The payload; ``None`` for a row that was removed or cleared, or was not there."""
        return None if self.document is None or self.is_removed else self.document.get(self.spec.field)

    @property
    def written(self) -> int | None:
        """When it was written, in milliseconds since the epoch."""
        return None if self.document is None else read_written(self.document)


def read_written(document: Document) -> int | None:
    """Return when a row or a version was written, in milliseconds since the epoch; ``None`` if that is not known."""
    written = document.get("written", document.get("updatedDate"))
    if isinstance(written, datetime):
        return to_millis(written)
    return written if isinstance(written, int) else None


class StoredPast:
    """The versions that a database has.

    Args:
        versioned: the names of the collections, or tables, that hold versions.
    """

    def __init__(self, versioned: frozenset[str]) -> None:
        self._versioned = versioned
        self._versions: dict[str, VersionStore] = {}

    @classmethod
    async def open(cls, spec: SlotSpec) -> StoredPast:
        """Find out which slots have versions.

        Args:
            spec: the slot that errors name.

        Raises:
            StoreUnavailableError: the database can't be reached.
            StoreError: it answered with an error.
        """
        database = find_database(spec)
        if database is not None:
            return cls(await StoredKeys(database, spec).list_versioned())
        slot = SlotCollection(current_hub(), spec)
        try:
            return cls(frozenset(await slot.read("reading", slot.hub.database.list_collection_names)))
        except StoreError as error:
            if error.code != _UNAUTHORIZED:
                raise
            # A user who may not list them: those that the settings name.
            from backtest_mongo.core.slots import SLOTS

            return cls(frozenset(one.versions for one in SLOTS if find_history(one) is not None))

    def has_versions(self, spec: SlotSpec) -> bool:
        """Return whether any version of the slot's rows is stored."""
        return spec.versions in self._versioned

    def get_versions(self, spec: SlotSpec) -> VersionStore:
        """Return the versions of a slot that has some."""
        known = self._versions.get(spec.name)
        if known is None:
            database = find_database(spec)
            if database is None:
                versions = get_versions(current_hub(), spec)
                # The index was made with the first version; a user who may only read could not make it.
                versions.slot.is_indexed = True
                known = versions
            else:
                known = SQLiteVersions(database, spec)
            self._versions[spec.name] = known
        return known

    async def find(self, spec: SlotSpec, keys: Sequence[Key], until: int) -> list[PastRow]:
        """Return each row as it was at a time.

        Raises:
            StoreUnavailableError: the database can't be reached.
        """
        if not keys:
            return []
        try:
            return await self._find(spec, keys, until)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            if len(keys) == 1:
                return [PastRow(spec, keys[0], is_known=False, problem=error.message)]
            return [row for key in keys for row in await self.find(spec, (key,), until)]

    async def _find(self, spec: SlotSpec, keys: Sequence[Key], until: int) -> list[PastRow]:
        if self.has_versions(spec) or find_database(spec) is not None:
            found = await self.get_versions(spec).find_at(keys, until)
        else:
            found = [None] * len(keys)
        # Without versions, a row that was written since says nothing about its past.
        current: Sequence[Document | None] = [None] * len(keys)
        older: set[Key] = set()
        if not self.has_versions(spec):
            current = await get_adapter(spec)._base_store().find_many(keys)
        elif missing := [key for key, then in zip(keys, found, strict=True) if then is None]:
            complete = await self.get_versions(spec).are_complete(missing)
            older = {key for key, is_complete in zip(missing, complete, strict=True) if not is_complete}
        rows = []
        for key, then, now in zip(keys, found, current, strict=True):
            if key in older:
                rows.append(PastRow(spec, key, is_known=False, is_older=True))
                continue
            document = then
            if then is None and now is not None:
                time = _find_time(spec, now)
                document = now if time is not None and time <= until else None
            is_known = document is not None or now is None
            if document is not None and "written" not in document and "updatedDate" not in document:
                document |= await self._find_times(spec, key)
            since = None if document is None else _find_time(spec, document)
            rows.append(PastRow(spec, key, document, since, is_known))
        return rows

    async def _find_times(self, spec: SlotSpec, key: Key) -> Document:
        """Return the times of a row in SQLite: since when it is what it is, and when it was written."""
        versions = self.get_versions(spec)
        row = await versions.find_unversioned(key)
        if row is None:
            (row,) = await versions.list_versions(key, None, None, 1, newest_first=True)
        return {"when": row["when"], "written": row["written"]}

    def list_versions(
        self, spec: SlotSpec, key: Key, since: int | None, until: int | None, *, newest_first: bool
    ) -> AsyncIterator[Document]:
        """Yield the versions of a row in a slot that has some, with ``when`` and ``written``."""
        return list_revisions(self.get_versions(spec), key, since, until, newest_first=newest_first)


def _find_time(spec: SlotSpec, document: Document) -> int | None:
    # Versions have it in every slot, rows in those whose slot has times.
    return int(document["when"]) if "written" in document else find_row_time(spec, document)


def find_database(spec: SlotSpec) -> Database | None:
    """Return the SQLite database in which the registry stores a slot; ``None`` where that is MongoDB."""
    return getattr(get_adapter(spec), "_database", None)


async def list_keys(spec: SlotSpec, where: Mapping[str, Any], after: Key | None, limit: int) -> list[Key]:
    """Return the keys of the stored rows of a slot in their order, removed ones included.

    Args:
        spec: the slot, which is no series.
        where: values of fields of the key.
        after: the key after which to begin, ``None`` for the first.
        limit: how many keys to return at most.
    """
    database = find_database(spec)
    if database is not None:
        return await StoredKeys(database, spec).list_keys(where, after, limit)
    slot = SlotCollection(current_hub(), spec)
    return await slot.read("listing", partial(find_keys, slot.documents, spec, where, after, limit))


async def read_last_candles(past: Past, symbol: str, interval: str, exchange: str, count: int) -> list[Candle]:
    """Return the last candles of a series that had closed, oldest first.

    Args:
        past: the view of the time.
        symbol: the symbol of the series.
        interval: its interval.
        exchange: its exchange.
        count: how many candles to return at most.
    """
    series: Any = past.candle(symbol, cast("Interval", interval), exchange)
    bounds = await series._rows().find_bounds(series._context)
    if bounds is None:
        return []
    grid, steps = GRIDS[interval], count
    while True:
        first = grid.shift(past.when, -steps)
        frame = await series.read_frame(max(first, bounds[0]), past.when + 1, "numpy")
        times = [int(time) for time in frame["timestamp"].astype("int64")]
        # A series need not keep to the grid of its interval.
        closed = [place for place, time in enumerate(times) if grid.closes_at(time) <= past.when]
        if len(closed) >= count or first <= bounds[0]:
            break
        steps *= 8  # there are gaps
    columns = [frame[name].tolist() for name in PRICES]
    return [
        {"timestamp": times[place], **{name: column[place] for name, column in zip(PRICES, columns, strict=True)}}  # type: ignore[typeddict-item]  # the names are those of a candle
        for place in (closed[-count:] if count else [])
    ]

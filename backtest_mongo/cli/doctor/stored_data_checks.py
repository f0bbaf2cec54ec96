"""Checks of data in MongoDB: indexes, rows that no read finds, a sample of the blocks of candles, and sizes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from pymongo.errors import OperationFailure

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.cli.doctor.findings import UNAUTHORIZED, Deployment, Finding, Size, list_series
from backtest_mongo.cli.formatting import format_iso_time
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.mongo.collection import aggregate
from backtest_mongo.mongo.format import OWN_COLLECTIONS
from backtest_mongo.mongo.indexes import Fields, indexes, optional_indexes
from backtest_mongo.mongo.migrations import migrate
from backtest_mongo.series.columns.blocks import name_blocks
from backtest_mongo.series.columns.heads import name_heads
from backtest_mongo.series.sealing import NO_SERIES
from backtest_mongo.series.store import MongoSeriesStore

__all__ = [
    "check_blocks",
    "check_indexes",
    "check_outdated_rows",
    "list_collections",
    "measure_size",
    "measure_sizes",
]
#: Blocks that are compared with their candles.
_BLOCKS: Final = 8


async def list_collections(deployment: Deployment) -> set[str]:
    """Return the collections that exist, those of series in their own database; all, if the user may not list them."""
    hub = deployment.hub
    found = await _list_names(hub.database)
    if hub.candle_database is not hub.database:
        series = {*_list_series_collections()}
        found = (found - series) | (await _list_names(hub.candle_database) & series)
    return found


async def _list_names(database: Any) -> set[str]:
    try:
        return {*await database.list_collection_names()}
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return {*_list_known_collections()}


def _list_known_collections() -> list[str]:
    series = _list_series_collections()
    versions = [spec.versions for spec in SLOTS if not spec.immutable]
    columns = [name for spec in list_series() for name in (spec.collection, name_blocks(spec), name_heads(spec))]
    return [*dict.fromkeys((*(spec.collection for spec in SLOTS), *series, *columns, *versions))]


def _list_series_collections() -> list[str]:
    series = [spec for spec in SLOTS if spec.is_candles]
    own = [f"{spec.name.replace('_', '-')}-{kind}" for spec in series for kind in ("blocks", "data", "series")]
    return [*(spec.collection for spec in series), *own]


async def check_outdated_rows(deployment: Deployment) -> AsyncIterator[Finding]:
    """Look for rows of older versions of the Node package."""
    for one in (await migrate()).found:
        if one.rows:
            yield Finding(
                "rows",
                "problem",
                f"{one.collection}: rows that lack a part of their key, so no read finds them: {one.rows:,}",
                "`backtest-mongo migrate` shows what to do, and with --apply does it",
            )


async def check_blocks(deployment: Deployment) -> AsyncIterator[Finding]:
    """Compare a sample of the sealed blocks with their candles."""
    for name, adapter in ADAPTERS.items():
        if not adapter.spec.is_candles:
            continue
        store = adapter._open(deployment.hub)
        assert isinstance(store, MongoSeriesStore)  # for the type checker: the shape says so
        checked, damaged = 0, []
        async for block, problem in store.verify_sample(_BLOCKS):
            checked += 1
            if problem is not None:
                damaged.append((block, problem))
        for block, problem in damaged:
            series = " ".join(str(block[field]) for field in adapter.spec.key[:-1])
            start = "no time" if block["start"] is None else format_iso_time(block["start"])
            text = f"a block of {series} from {start} is damaged: {problem}"
            hint = f"`backtest-mongo {name}s verify --repair` seals it again"
            if block.get("is_truth"):
                hint = "it is the only copy of its candles: restore them from a backup, or delete and write them again"
            if problem == NO_SERIES:
                hint = f"no series reads it: delete the document with _id {block['_id']} from {name}-blocks"
            yield Finding("blocks", "problem", text, hint)
        for context in sorted(await store.list_in_blocks()):
            interval = context[adapter.spec.key.index("interval")]
            for lost in await store.find_lost(context, GRIDS[interval]) if interval in GRIDS else ():
                text = f"a block of {' '.join(context)} from {format_iso_time(lost)} is lost"
                hint = "it was the only copy of its candles: restore them from a backup, or delete and write them again"
                yield Finding("blocks", "problem", text, hint)
        if checked and not damaged:
            yield Finding("blocks", "ok", f"random sealed blocks: {checked} of {checked} match their candles")


async def measure_sizes(deployment: Deployment) -> AsyncIterator[Finding]:
    """Count and measure the collections."""
    there = await list_collections(deployment)
    for name in _list_known_collections():
        if name in there:
            size = await measure_size(deployment, name)
            if size.rows or size.disk_bytes:
                deployment.diagnosis.sizes.append(size)
    known = {*_list_known_collections(), *OWN_COLLECTIONS}
    others = sorted(name for name in there - known if not name.startswith("system."))
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        text = f"other collections in the database: {len(others)} ({shown})"
        yield Finding("collections", "note", text, "is this the database that CC_MONGO_CONNECTION_STRING should name?")
    if not deployment.diagnosis.sizes:
        database = deployment.hub.database.name
        yield Finding(
            "collections",
            "note",
            f"nothing is stored in the database {database}",
            "is it the one that CC_MONGO_CONNECTION_STRING should name?",
        )


async def measure_size(deployment: Deployment, name: str) -> Size:
    """Count and measure a collection that exists."""
    hub = deployment.hub
    collection = (hub.candle_database if name in _list_series_collections() else hub.database)[name]
    try:
        answers = await aggregate(collection, [{"$collStats": {"storageStats": {}}}])
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return Size(name, await collection.estimated_document_count())
    stats = [answer["storageStats"] for answer in answers]  # of each shard, if there are shards

    def total(field: str) -> int:
        return int(sum(one.get(field, 0) for one in stats))

    return Size(name, total("count"), total("size"), total("storageSize"), total("totalIndexSize"))


_MIGRATE: Final = "`backtest-mongo migrate` shows what to do, and with --apply does it"
#: An index with one of these options is not ours, whatever its fields.
_SPECIAL: Final = ("sparse", "partialFilterExpression", "collation", "expireAfterSeconds")


async def check_indexes(deployment: Deployment) -> AsyncIterator[Finding]:
    """Compare each collection's indexes with those that the slot needs."""
    there = await list_collections(deployment)
    sound, of_node = 0, 0
    for spec in SLOTS:
        if spec.collection not in there:
            continue
        found = dict(await deployment.hub.get_database(spec)[spec.collection].index_information())
        found.pop("_id_", None)
        of_node += sum(_is_of_node(spec, index) for index in found.values())
        findings = list(_compare_indexes(spec, found))
        sound += not findings
        for finding in findings:
            yield finding
    if sound:
        have = "has the indexes that its slot needs" if sound == 1 else "have the indexes that their slots need"
        yield Finding("indexes", "ok", f"{format_count(sound, 'collection')} {have}")
    if of_node:
        yield Finding(
            "indexes",
            "note",
            f"single-field indexes of the Node package: {of_node}; no query uses them, and they cost space and time",
            "keep them while Node uses this database, as it would create them again; otherwise they can be dropped",
        )


def _compare_indexes(spec: SlotSpec, found: dict[str, Any]) -> Iterator[Finding]:
    wanted = indexes(spec)
    present = {_read_fields(index): index for index in found.values() if not _is_special(index)}
    for fields, unique in wanted.items():
        names = ", ".join(name for name, _ in fields)
        index = present.get(fields)
        if index is None and unique:
            if not any(_read_fields(other) == fields for other in found.values()):
                text = f"{spec.collection}: the unique index on {names} is missing"
                yield Finding("indexes", "warning", text, "the next use of the slot creates it")
        elif index is None:
            text = f"{spec.collection}: the index on {names} is missing, so lists of the newest rows are slow"
            yield Finding("indexes", "note", text, "the next use of the slot creates it")
    for name, index in found.items():
        yield from _judge_index(spec, name, index, wanted)


def _judge_index(spec: SlotSpec, name: str, index: Any, wanted: dict[Fields, bool]) -> Iterator[Finding]:
    fields = _read_fields(index)
    names = {field for field, _ in fields}
    where = f"{spec.collection}: the index {name}"
    if "expireAfterSeconds" in index:
        yield Finding("indexes", "problem", f"{where} makes MongoDB delete rows by their age", "drop it")
    elif fields in wanted and wanted[fields] and (not index.get("unique") or _is_special(index)):
        how = "is not unique" if not index.get("unique") else "covers only some of the rows, or has another collation"
        advice = "drop it; the next use of the slot creates ours"
        yield Finding("indexes", "problem", f"{where} conflicts with ours: it {how}", advice)
    elif index.get("unique") and fields not in wanted:
        if spec.former and names == {*spec.former}:
            text = f"{where}, of an older version of the Node package, rejects further sessions of a strategy"
            yield Finding("indexes", "problem", text, _MIGRATE)
        elif names >= {*spec.key}:
            yield Finding("indexes", "note", f"{where} is not ours; it rejects nothing", "drop it if nobody needs it")
        else:
            text = f"{where} on {', '.join(sorted(names))} is not ours, and rejects rows that differ in other fields"
            yield Finding("indexes", "problem", text, "drop it")
    elif fields not in wanted and fields not in optional_indexes(spec) and not _is_of_node(spec, index):
        yield Finding("indexes", "note", f"{where} is not ours: no query uses it", "drop it if nobody needs it")


def _read_fields(index: Any) -> Fields:
    # Text and geo indexes have words instead of an order.
    return tuple((name, int(order) if isinstance(order, int | float) else 0) for name, order in index["key"])


def _is_special(index: Any) -> bool:
    return any(name in index for name in _SPECIAL)


def _is_of_node(spec: SlotSpec, index: Any) -> bool:
    fields = _read_fields(index)
    own = {*spec.key, "when"}
    is_plain = not index.get("unique") and not _is_special(index)
    return len(fields) == 1 and fields not in indexes(spec) and fields[0][0] in own and is_plain

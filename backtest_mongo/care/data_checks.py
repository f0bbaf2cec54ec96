"""What is stored: rows that nobody finds, a sample of the sealed blocks, and sizes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from pymongo.errors import OperationFailure

from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.care.findings import Finding, Size
from backtest_mongo.care.patient import UNAUTHORIZED, Patient
from backtest_mongo.care.texts import iso
from backtest_mongo.migrations import migrate
from backtest_mongo.mongo_rows import aggregated
from backtest_mongo.series_store import SeriesStore
from backtest_mongo.slots import SLOTS

__all__ = ["blocks", "collection_names", "outdated_rows", "sizes"]

#: Blocks that are compared with their candles.
_BLOCKS: Final = 8


async def collection_names(patient: Patient) -> set[str]:
    """Return the names of the collections that there are; of all that there may be where the user may not list them."""
    try:
        return {*await patient.hub.database.list_collection_names()}
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return {*_known()}


def _known() -> list[str]:
    blocks = [f"{spec.name.replace('_', '-')}-blocks" for spec in SLOTS if spec.shape == "series"]
    return [*(spec.collection for spec in SLOTS), *blocks]


async def outdated_rows(patient: Patient) -> AsyncIterator[Finding]:
    """Look for rows of older versions of the Node package."""
    for one in (await migrate()).found:
        if one.rows:
            yield Finding(
                "rows",
                "problem",
                f"{one.collection}: rows that lack a part of their key, so that no read finds them: {one.rows:,}",
                "`backtest-mongo migrate` shows what is to be done, and with --apply does it",
            )


async def blocks(patient: Patient) -> AsyncIterator[Finding]:
    """Compare a sample of the sealed blocks with their candles."""
    for name, adapter in ADAPTERS.items():
        if adapter.spec.shape != "series":
            continue
        store = adapter._open(patient.hub)
        assert isinstance(store, SeriesStore)  # for the type checker: the shape says so
        checked, damaged = 0, []
        async for block, problem in store.verify_sample(_BLOCKS):
            checked += 1
            if problem is not None:
                damaged.append((block, problem))
        for block, problem in damaged:
            series = " ".join(str(block[field]) for field in adapter.spec.key[:-1])
            text = f"a block of {series} from {iso(int(block['start']))} is damaged: {problem}"
            yield Finding("blocks", "problem", text, f"`backtest-mongo {name}s verify --repair` seals it again")
        if checked and not damaged:
            yield Finding("blocks", "ok", f"sealed blocks taken at random: {checked} of {checked} equal their candles")


async def sizes(patient: Patient) -> AsyncIterator[Finding]:
    """Count and measure the collections."""
    there = await collection_names(patient)
    for name in _known():
        if name in there:
            size = await _size(patient, name)
            if size.rows or size.disk_bytes:
                patient.diagnosis.sizes.append(size)
    others = sorted(name for name in there - {*_known()} if not name.startswith("system."))
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        text = f"other collections in the database: {len(others)} ({shown})"
        yield Finding("collections", "note", text, "is it the database that CC_MONGO_CONNECTION_STRING should name?")
    if not patient.diagnosis.sizes:
        database = patient.hub.database.name
        yield Finding(
            "collections",
            "note",
            f"nothing is stored in the database {database}",
            "is it the one that CC_MONGO_CONNECTION_STRING should name?",
        )


async def _size(patient: Patient, name: str) -> Size:
    collection = patient.hub.database[name]
    try:
        answers = await aggregated(collection, [{"$collStats": {"storageStats": {}}}])
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return Size(name, await collection.estimated_document_count())
    stats = [answer["storageStats"] for answer in answers]  # of each shard, where there are shards

    def total(field: str) -> int:
        return int(sum(one.get(field, 0) for one in stats))

    return Size(name, total("count"), total("size"), total("storageSize"), total("totalIndexSize"))

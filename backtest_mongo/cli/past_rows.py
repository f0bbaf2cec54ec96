"""The rows of a slot as of a simulation time, or as they are now, in MongoDB and SQLite files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from backtest_mongo.adapters.past import as_of
from backtest_mongo.cli.databases import get_adapter
from backtest_mongo.cli.stored_past import PastRow, StoredPast, find_database, list_keys, read_last_candles
from backtest_mongo.cli.stored_rows import FoundRows, RowFilter, find_rows
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.series_times import find_known_end
from backtest_mongo.core.specs import Key, SlotSpec, camel
from backtest_mongo.sqlite.stored_keys import StoredKeys
from backtest_mongo.types import Document, now_ms

__all__ = ["find_rows_at", "find_rows_here"]

#: How many rows are looked up at a time.
_PAGE = 200


async def find_rows_here(wanted: RowFilter, limit: int, at: int | None) -> FoundRows:
    """Return the first ``limit`` matching documents of the database that the registry points at; of candles the last.

    Args:
        wanted: which rows.
        limit: how many to return at most.
        at: the simulation time as of which they are, of series with columns in the slot's unit, of others in
            milliseconds; ``None`` for what is stored now.
    """
    if wanted.spec.columns:
        return await _find_columns(wanted, limit, at)
    database = find_database(wanted.spec)
    if at is not None:
        return await find_rows_at(wanted, limit, at)
    if database is None and not await _has_blocks(wanted):
        return await find_rows(wanted, limit)
    if wanted.spec.is_candles:
        return await _find_candles(wanted, limit, now_ms())
    assert database is not None  # MongoDB has blocks in series alone
    return FoundRows(*await StoredKeys(database, wanted.spec).list_rows(wanted.parts, limit))


async def _has_blocks(wanted: RowFilter) -> bool:
    """Return whether candles are stored that are not in rows."""
    if not wanted.spec.is_candles:
        return False
    store: Any = get_adapter(wanted.spec)._open(current_hub())
    return bool(await store.list_in_blocks())


async def find_rows_at(wanted: RowFilter, limit: int, at: int) -> FoundRows:
    """Return the first ``limit`` matching documents as they were; of candles the last ones that had closed."""
    spec = wanted.spec
    if spec.is_candles:
        return await _find_candles(wanted, limit, at)
    past = await StoredPast.open(spec)
    documents: list[Document] = []
    problems: list[str] = []
    unknown = older = 0
    after: Key | None = None
    while keys := await list_keys(spec, wanted.parts, after, _PAGE):
        for row in await past.find(spec, keys, at):
            if row.document is not None:
                if len(documents) == limit:
                    return FoundRows(documents, None, unknown, older, tuple(problems))
                documents.append(_make_document(row))
            elif row.problem:
                problems.append(f"{' '.join(map(str, row.key))}: {row.problem}")
            older += row.is_older
            unknown += not row.is_known and not row.is_older and not row.problem
        after = keys[-1]
    return FoundRows(documents, len(documents), unknown, older, tuple(problems))


def _make_document(row: PastRow) -> Document:
    """Return a row as it was, with the fields of a stored one."""
    document: Document = dict(zip(row.spec.key, row.key, strict=True))
    document[row.spec.field] = row.value
    if row.since is not None:
        document["when"] = row.since
    if row.spec.soft_delete:
        document["removed"] = row.is_removed
    if row.written is not None:
        document["updatedDate"] = datetime.fromtimestamp(row.written / 1000, UTC)
    return document


async def _find_candles(wanted: RowFilter, limit: int, at: int) -> FoundRows:
    spec, parts = wanted.spec, dict(wanted.parts)
    time = parts.pop(str(spec.item), None)
    documents: list[Document] = []
    adapter: Any = get_adapter(spec)
    series = [one async for one in adapter.list_series()]
    async with as_of(at) as past:
        # As MongoDB's documents are, whose keys are sorted from the last to the first.
        for one in reversed(series):
            context = {camel(name): value for name, value in one.context.items()}
            if any(context[name] != value for name, value in parts.items()):
                continue
            names = {name: context[camel(name)] for name in spec.context}
            if time is None:
                left = limit - len(documents)
                candles: list[Any] = await read_last_candles(past, **_name_series(names), count=left + 1)
            else:
                found = await past.candle(**names).read_candles_data(1, time)
                candles = found or []
            documents += [{**context, **candle} for candle in reversed(candles)]
            if len(documents) > limit:
                return FoundRows(documents[:limit], None)
    return FoundRows(documents, len(documents))


async def _find_columns(wanted: RowFilter, limit: int, at: int | None) -> FoundRows:
    """Return the last rows of series with columns, or those at one time, newest first."""
    spec, parts = wanted.spec, dict(wanted.parts)
    time = parts.pop(str(spec.item), None)
    adapter: Any = get_adapter(spec)
    contexts = [one async for one in adapter._base_store().list_contexts(parts)]
    documents: list[Document] = []
    for context in reversed(contexts):
        left = limit - len(documents) + 1
        end = 2**63 - 1 if at is None else _find_end(spec, context, at)
        if time is None:
            rows = await adapter._base_store().read_last(context, left, end)
        else:
            rows = await adapter._base_store().read_rows(context, time, min(time + 1, end))
        fields = dict(zip(spec.key, context, strict=False))
        documents += [{**fields, **row} for row in reversed(rows.rows(spec))]
        if len(documents) > limit:
            return FoundRows(documents[:limit], None)
    return FoundRows(documents, len(documents))


def _find_end(spec: SlotSpec, context: Key, at: int) -> int:
    """Return the time before which rows are known at a time in the slot's unit."""
    return find_known_end(spec, context, at) if spec.grid else at + 1  # on a grid the unit is milliseconds


def _name_series(names: dict[str, Any]) -> dict[str, str]:
    return {"symbol": names["symbol"], "interval": names["interval"], "exchange": names["exchange_name"]}

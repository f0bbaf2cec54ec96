"""Deleting versions of a whole slot, key by key, on MongoDB, by both drivers, and on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SlotSpec
from backtest_mongo.core.retention import FOREVER, Retention
from backtest_mongo.history.pruning import prune_versions
from backtest_mongo.sqlite.layout import make_version_table
from tests.conftest import Deployment
from tests.history.test_history import list_history, write_at
from tests.support import uniform
from tests.support.uniform import WHEN, entry

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")


async def write_rows(spec: SlotSpec, unique: str, versions: int = 3) -> list[Any]:
    """Write versions of two rows, in contexts of their own where the slot has contexts."""
    adapters = []
    for name in ("a", "b"):
        changes = {part: f"{name}-{unique}" for part in spec.context if part not in ("backtest", "interval")}
        adapter = uniform.adapter(spec, unique, **changes)
        key = f"{entry(spec, unique)}-{name}"
        for number in range(versions):
            await write_at(adapter, number, key, WHEN + number)
        adapters.append((adapter, key))
    return adapters


@ROWS
async def test_keys_with_versions_are_listed_once_and_in_order(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapters = await write_rows(spec, unique)
    versions = adapters[0][0]._base_store().versions
    keys = await versions.list_keys(None, 10)
    assert keys == sorted(adapter._make_key(key) if spec.item else adapter._context for adapter, key in adapters)
    assert await versions.list_keys(None, 1) == keys[:1]
    assert await versions.list_keys(keys[0], 10) == keys[1:]
    assert await versions.list_keys(keys[-1], 10) == []


async def test_slot_without_versions_has_no_keys(kept: Deployment, unique: str) -> None:
    versions = uniform.ADAPTERS["state"](unique, "s")._base_store().versions
    assert await versions.list_keys(None, 10) == []
    assert await versions.count_prunable(Retention(rows=1)) == (0, 0)


@ROWS
async def test_last_versions_of_each_row_are_kept(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapters = await write_rows(spec, unique)
    versions = adapters[0][0]._base_store().versions
    assert await versions.count_prunable(FOREVER) == (6, 0)
    assert await versions.count_prunable(Retention(rows=2)) == (6, 2)
    assert await prune_versions(spec, versions) == 0  # all are kept
    await kept.configure(CC_HISTORY=f"{spec.name}=2")
    versions = adapters[0][0]._base_store().versions
    assert await prune_versions(spec, versions) == 2
    assert await versions.count_prunable(Retention(rows=2)) == (4, 0)
    for adapter, key in adapters:
        assert [when for when, _ in await list_history(adapter, key)] == [WHEN + 1, WHEN + 2]


async def test_old_versions_go_but_for_the_last_of_them(kept: Deployment, unique: str) -> None:
    spec = uniform.ADAPTERS["state"].spec
    adapters = await write_rows(spec, unique, versions=4)
    old = datetime.now(UTC) - timedelta(days=4)
    if kept.config:
        documents = (await backtest_mongo.get_mongo())[kept.name][spec.versions]
        await documents.update_many({"when": {"$lt": WHEN + 3}}, {"$set": {"written": old}})
    else:
        database = adapters[0][0]._database
        table = make_version_table(spec).name
        statement = f'UPDATE "{table}" SET written={int(old.timestamp() * 1000)} WHERE "when"<{WHEN + 3}'
        await database.write(lambda: lambda connection: connection.execute(statement))
    await kept.configure(CC_HISTORY="state=3d")
    versions = adapters[0][0]._base_store().versions
    assert await versions.count_prunable(Retention(days=3)) == (8, 4)
    assert await prune_versions(spec, versions) == 4
    assert await versions.count_prunable(Retention(days=3)) == (4, 0)
    for adapter, key in adapters:
        assert [when for when, _ in await list_history(adapter, key)] == [WHEN + 2, WHEN + 3]

"""Rows of lists that need not be kept are deleted beside writes: with both drivers, and in SQLite."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SlotSpec, StoreError, lease, persist, set_config, transaction
from backtest_mongo.adapters.pruning import prune_all
from backtest_mongo.core.background import finish_background
from backtest_mongo.core.log import set_logger
from backtest_mongo.core.retention import Retention
from tests.conftest import Deployment, SQLiteDeployment
from tests.support import uniform

pytestmark = [pytest.mark.usefixtures("deployment"), pytest.mark.one_python, pytest.mark.either_driver]

COLLECTIONS = pytest.mark.shapes("collection")
OLD = datetime.now(UTC) - timedelta(days=31)


def get_adapter(spec: SlotSpec, unique: str) -> Any:
    return getattr(persist, spec.name)(*uniform.context(spec, unique).values())


def make_rows(unique: str, numbers: range, status: str | None = "closed") -> list[dict[str, Any]]:
    state = {} if status is None else {"status": status}
    return [{"id": f"{unique}-{number:04}", "number": number, **state} for number in numbers]


async def write(adapter: Any, rows: list[dict[str, Any]]) -> None:
    """Write rows, and wait for what that has started."""
    await getattr(adapter, f"write_{adapter.spec.noun}_data")(rows)
    await finish_background()


async def list_numbers(adapter: Any) -> list[int]:
    limit = {"limit": 10_000} if adapter.spec.newest else {}
    return sorted(row["number"] for row in await getattr(adapter, f"read_{adapter.spec.noun}_data")(**limit))


async def age(deployment: Deployment, adapter: Any, numbers: range, unique: str) -> None:
    """Let rows be written long ago."""
    spec, ids = adapter.spec, [f"{unique}-{number:04}" for number in numbers]
    if isinstance(deployment, SQLiteDeployment):
        written = int(OLD.timestamp() * 1000)
        with contextlib.closing(sqlite3.connect(deployment.path)) as connection, connection:
            statement = f'UPDATE "{spec.collection}" SET written=? WHERE "{spec.key[-1]}"=?'
            connection.executemany(statement, [(written, one) for one in ids])
        return
    collection = await deployment.collection(spec)
    await collection.update_many({spec.key[-1]: {"$in": ids}}, {"$set": {"updatedDate": OLD}})


@COLLECTIONS
async def test_rows_that_were_written_long_ago_are_deleted_after_a_write(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter = get_adapter(spec, unique)
    await write(adapter, make_rows(unique, range(10)))
    await age(deployment, adapter, range(6), unique)
    set_config(CC_KEEP=f"{spec.name}=30d")
    await write(adapter, make_rows(unique, range(10, 11)))
    assert await list_numbers(adapter) == [6, 7, 8, 9, 10]


@COLLECTIONS
async def test_of_a_number_of_rows_those_that_were_written_last_are_kept(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    await write(adapter, make_rows(unique, range(20)))  # most of them within the same millisecond
    await write(adapter, make_rows(unique, range(3)))
    set_config(CC_KEEP=f"{spec.name}=5")
    await write(adapter, make_rows(unique, range(20, 21)))
    assert await list_numbers(adapter) == [0, 1, 2, 19, 20]


@COLLECTIONS
async def test_fewer_rows_than_are_kept_stay(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    set_config(CC_KEEP=f"{spec.name}=5")
    await write(adapter, make_rows(unique, range(5)))
    assert await list_numbers(adapter) == [0, 1, 2, 3, 4]
    await finish_background()
    assert await list_numbers(adapter) == [0, 1, 2, 3, 4]


@COLLECTIONS
async def test_two_hundred_rows_are_deleted_after_every_hundred(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    await write(adapter, make_rows(unique, range(500)))
    set_config(CC_KEEP=f"{spec.name}=10")
    await write(adapter, make_rows(unique, range(500, 501)))  # the first write of a process
    assert await list_numbers(adapter) == [*range(200, 501)]
    await write(adapter, make_rows(unique, range(501, 600)))
    assert len(await list_numbers(adapter)) == 400
    await write(adapter, make_rows(unique, range(600, 601)))
    assert await list_numbers(adapter) == [*range(400, 601)]


@COLLECTIONS
async def test_nothing_is_deleted_that_no_setting_names(spec: SlotSpec, unique: str, deployment: Deployment) -> None:
    adapter = get_adapter(spec, unique)
    others = [name for name in ("storage", "notification", "log") if name != spec.name]
    set_config(CC_KEEP=",".join(f"{name}=1" for name in others))
    await write(adapter, make_rows(unique, range(300)))
    await age(deployment, adapter, range(300), unique)
    await write(adapter, make_rows(unique, range(300, 301)))
    assert await list_numbers(adapter) == [*range(301)]


@COLLECTIONS
async def test_backtest_and_live_rows_are_counted_apart(spec: SlotSpec, unique: str) -> None:
    if "backtest" not in spec.context:
        return
    factory = getattr(persist, spec.name)
    await write(factory(True), make_rows(unique, range(10)))
    await write(factory(False), make_rows(unique, range(10)))
    set_config(CC_KEEP=f"{spec.name}=2")
    await write(factory(True), make_rows(unique, range(10, 11)))
    assert await list_numbers(factory(True)) == [9, 10]
    assert await list_numbers(factory(False)) == [*range(10)]


async def test_signals_that_have_not_ended_are_kept(unique: str, deployment: Deployment) -> None:
    storage = persist.storage(False)
    states = ["opened", "scheduled", "closed", "cancelled", "unheard of", "", None, "Closed"]
    for number, status in enumerate(states):
        await write(storage, make_rows(unique, range(number, number + 1), status))
    odd: list[Any] = [["closed"], {"closed": 1}, 0]
    await write(storage, [{"id": f"{unique}-{90 + n:04}", "number": 90 + n, "status": odd[n]} for n in range(3)])
    await age(deployment, storage, range(len(states)), unique)
    await age(deployment, storage, range(90, 93), unique)
    kept = [number for number, status in enumerate(states) if status not in ("closed", "cancelled")]
    set_config(CC_KEEP="storage=30d")
    await write(storage, make_rows(unique, range(50, 51), "opened"))
    assert await list_numbers(storage) == [*kept, 50, 90, 91, 92]
    await age(deployment, storage, range(50, 51), unique)
    # One that ends is written again, and counts from then on.
    await write(storage, make_rows(unique, range(50, 51), "closed"))
    assert await list_numbers(storage) == [*kept, 50, 90, 91, 92]
    set_config(CC_KEEP="storage=1")
    await prune_all(type(storage)._base_store(), storage.spec, (False,), Retention(rows=1))
    assert await list_numbers(storage) == [*kept, 50, 90, 91, 92]


async def test_open_signals_beyond_the_kept_ones_keep_no_others(unique: str) -> None:
    storage = persist.storage(True)
    await write(storage, make_rows(unique, range(300), "opened"))
    await write(storage, make_rows(unique, range(300, 320), "closed"))
    set_config(CC_KEEP="storage=5")
    await write(storage, make_rows(unique, range(320, 321), "closed"))
    assert await list_numbers(storage) == [*range(300), *range(316, 321)]


@pytest.mark.mongodb("other storages have no ids")
@COLLECTIONS
async def test_ids_of_deleted_rows_are_in_no_cache(spec: SlotSpec, unique: str, deployment: Deployment) -> None:
    adapter = get_adapter(spec, unique)
    await write(adapter, make_rows(unique, range(10)))
    set_config(CC_KEEP=f"{spec.name}=3")
    await write(adapter, make_rows(unique, range(10, 11)))
    known = [await deployment.cached(uniform.redis_key(adapter, f"{unique}-{n:04}")) for n in range(11)]
    assert [one is not None for one in known] == [False] * 8 + [True] * 3
    await write(adapter, make_rows(unique, range(3)))  # a deleted row can be written again
    assert await list_numbers(adapter) == [0, 1, 2, 8, 9, 10]


@COLLECTIONS
async def test_failure_is_a_warning_and_no_failed_write(
    spec: SlotSpec, unique: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = get_adapter(spec, unique)
    pruner = type(adapter)._base_store().pruner

    async def fail(*arguments: Any) -> Any:
        raise StoreError("the disk is on fire")

    set_logger(logging.getLogger("backtest_mongo"))
    set_config(CC_KEEP=f"{spec.name}=2")
    pruner = type(adapter)._base_store().pruner
    with monkeypatch.context() as patch:
        patch.setattr(pruner, "prune", fail)
        await write(adapter, make_rows(unique, range(10)))
    assert "old rows could not be deleted; a later write tries again" in caplog.text
    assert await list_numbers(adapter) == [*range(10)]
    await write(adapter, make_rows(unique, range(10, 110)))
    assert await list_numbers(adapter) == [108, 109]


@COLLECTIONS
async def test_closing_waits_for_rows_that_are_being_deleted(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    await write(adapter, make_rows(unique, range(100)))
    set_config(CC_KEEP=f"{spec.name}=3")
    await getattr(adapter, f"write_{spec.noun}_data")(make_rows(unique, range(100, 101)))
    await backtest_mongo.close()
    assert await list_numbers(adapter) == [98, 99, 100]


@COLLECTIONS
async def test_rows_of_a_transaction_count_too(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    await write(adapter, make_rows(unique, range(10)))
    set_config(CC_KEEP=f"{spec.name}=3")
    async with transaction():
        await getattr(adapter, f"write_{spec.noun}_data")(make_rows(unique, range(10, 12)))
        await finish_background()
    assert await list_numbers(adapter) == [7, 8, 9, 10, 11]
    await write(adapter, make_rows(unique, range(12, 112)))
    assert await list_numbers(adapter) == [109, 110, 111]


@COLLECTIONS
async def test_owner_of_a_context_deletes_rows_and_keeps_its_lease(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    set_config(CC_KEEP=f"{spec.name}=3")
    async with lease(adapter):
        await write(adapter, make_rows(unique, range(60)))
        assert await list_numbers(adapter) == [57, 58, 59]
        await write(adapter, make_rows(unique, range(5)))  # of which it knew the state
        assert await list_numbers(adapter) == [0, 1, 2, 3, 4, 57, 58, 59]
    async with lease(adapter, commit_every=50):
        async with transaction():
            await getattr(adapter, f"write_{spec.noun}_data")(make_rows(unique, range(200, 400)))
        await finish_background()
    assert await prune_all(type(adapter)._base_store(), spec, adapter._context, Retention(rows=3))
    assert await list_numbers(adapter) == [397, 398, 399]


@COLLECTIONS
async def test_context_that_somebody_else_has_leased_is_left_alone(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    await write(adapter, make_rows(unique, range(10)))
    set_config(CC_KEEP=f"{spec.name}=3")
    store = type(adapter)._base_store()
    held = lease(adapter)
    async with held:
        await held.flush()
        # As another process does that has no lease.
        assert await prune_all(store, spec, adapter._context, Retention(rows=3)) is None
        assert len(await list_numbers(adapter)) == 10
    assert await prune_all(store, spec, adapter._context, Retention(rows=3)) == 7


@pytest.mark.parametrize("keep", ["30d", "3"])
async def test_slot_of_one_s_own_says_what_is_kept_of_it(unique: str, deployment: Deployment, keep: str) -> None:
    name = f"audit_{unique}"
    adapter: Any = persist.register(
        SlotSpec(
            name=name,
            shape="collection",
            context=("symbol", "backtest"),
            key=("symbol", "backtest", "entryId"),
            redis=("symbol", "backtest", "entryId"),
            keep=keep,
        )
    )
    mine, other = getattr(persist, name)("BTC", True), getattr(persist, name)("ETH", True)
    assert isinstance(mine, adapter)
    for one in (mine, other):
        await write(one, make_rows(unique, range(10)))
    assert len(await list_numbers(mine)) == (10 if keep == "30d" else 3)
    await age(deployment, mine, range(7, 10), unique)
    await write(mine, make_rows(unique, range(10, 110)))
    assert await list_numbers(mine) == ([*range(7), *range(10, 110)] if keep == "30d" else [107, 108, 109])
    assert len(await list_numbers(other)) == (10 if keep == "30d" else 3)


@pytest.mark.mongodb("asks the server for its indexes")
async def test_index_by_time_is_made_only_where_something_is_deleted(unique: str, deployment: Deployment) -> None:
    log = persist.log()
    await write(log, make_rows(unique, range(3)))
    collection = await deployment.collection(log.spec)
    before = set(await collection.index_information())
    set_config(CC_KEEP="log=2")
    await write(log, make_rows(unique, range(3, 4)))
    collection = await deployment.collection(log.spec)
    assert set(await collection.index_information()) - before == {"updatedDate_1__id_1"}


@COLLECTIONS
async def test_what_need_not_be_kept_is_counted_and_left(spec: SlotSpec, unique: str) -> None:
    adapter = get_adapter(spec, unique)
    pruner = type(adapter)._base_store().pruner
    assert await pruner.survey(Retention(rows=1)) in ([], ())
    await write(adapter, make_rows(unique, range(10)))
    (found,) = await pruner.survey(Retention(rows=4))
    assert (found.stored, found.rows) == (10, 6)
    assert found.context == ({"backtest": True} if "backtest" in spec.context else {})
    (found,) = await pruner.survey(Retention(days=1))
    assert (found.stored, found.rows) == (10, 0)
    assert await list_numbers(adapter) == [*range(10)]

"""What the savers store: keys, large channels, metadata, writes; and what is deleted, copied and swept."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pymongo
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from backtest_mongo import InputError, StoreError, persist, transaction
from backtest_mongo.integrations.langgraph import AsyncBacktestMongoSaver, BacktestMongoSaver, saver
from backtest_mongo.integrations.langgraph.slots import BLOBS, CHECKPOINTS, RUNS, WRITES
from tests.engines.langgraph.support import STORAGES

SLOTS = (CHECKPOINTS, WRITES, BLOBS, RUNS)
MONGODB = pytest.mark.parametrize("driver", ["pymongo"], indirect=True)
LARGE = "x" * 100_000


def name_thread(thread: str = "t", namespace: str = "", **more: str) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, **more}}


def make_checkpoint(step: int = 0, **values: Any) -> Any:
    checkpoint = empty_checkpoint()
    checkpoint["id"] = str(uuid6(clock_seq=step))
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = dict.fromkeys(values, step + 1)
    return checkpoint


async def put(to: AsyncBacktestMongoSaver, config: Any, step: int = 0, run: str | None = None, **values: Any) -> Any:
    metadata: Any = {"source": "loop", "step": step, "parents": {}, **({} if run is None else {"run_id": run})}
    return await to.aput(config, make_checkpoint(step, **values), metadata, {})


async def count_rows() -> list[int]:
    """Return how many rows the slots have, removed ones included."""
    measured = [
        await getattr(persist, spec.name)(*spec.context)._store().measure({}, by_context=False) for spec in SLOTS
    ]
    return [sum(one.rows for one in found) for found in measured]


async def list_steps(to: AsyncBacktestMongoSaver, config: Any, **options: Any) -> list[Any]:
    return [found.metadata["step"] async for found in to.alist(config, **options)]


@STORAGES
async def test_large_channel_that_stays_is_stored_once(storage: str) -> None:
    one, config = AsyncBacktestMongoSaver(), name_thread()
    for step in range(5):
        checkpoint = make_checkpoint(step, docs=[LARGE], note=f"{step}")
        checkpoint["channel_versions"]["docs"] = 1
        config = await one.aput(config, checkpoint, {"step": step}, {})
    assert await count_rows() == [5, 0, 1, 0]
    for fresh in (one, AsyncBacktestMongoSaver()):
        found = [found async for found in fresh.alist(name_thread())]
        assert [found.checkpoint["channel_values"] for found in found] == [
            {"docs": [LARGE], "note": f"{step}"} for step in (4, 3, 2, 1, 0)
        ]
    # Another process goes on, with the same value under another version.
    other = AsyncBacktestMongoSaver()
    await put(other, config, 9, docs=[LARGE])
    assert await count_rows() == [6, 0, 1, 0]
    await put(other, config, 10, docs=[LARGE, "changed"])
    assert await count_rows() == [7, 0, 2, 0]
    await other.aprune(["t"])
    assert await count_rows() == [1, 0, 1, 0]
    latest = await AsyncBacktestMongoSaver().aget_tuple(name_thread())
    assert latest is not None
    assert latest.checkpoint["channel_values"] == {"docs": [LARGE, "changed"]}


@STORAGES
async def test_large_value_that_is_missing_is_an_error(storage: str) -> None:
    await put(AsyncBacktestMongoSaver(), name_thread(), docs=[LARGE])
    await saver._delete(BLOBS, "t")
    with pytest.raises(StoreError, match="the values of docs are missing from thread 't'"):
        await AsyncBacktestMongoSaver().aget_tuple(name_thread())


@STORAGES
async def test_idle_thread_that_another_has_deleted_is_stored_whole(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = AsyncBacktestMongoSaver()
    config = await put(one, name_thread(), docs=[LARGE])
    await AsyncBacktestMongoSaver().adelete_thread("t")
    monkeypatch.setattr(saver, "_TRUSTED_SECONDS", -1.0)  # as if it had been idle for longer
    await put(one, config, 1, docs=[LARGE])
    found = await AsyncBacktestMongoSaver().aget_tuple(name_thread())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"docs": [LARGE]}


async def test_text_is_no_list_of_threads_or_runs() -> None:
    one = AsyncBacktestMongoSaver()
    with pytest.raises(InputError, match="thread_ids must be a list"):
        await one.aprune("abc")
    with pytest.raises(InputError, match="run_ids must be a list"):
        await one.adelete_for_runs("abc")


@STORAGES
async def test_metadata_comes_back_as_it_was_and_is_filtered(storage: str) -> None:
    one = AsyncBacktestMongoSaver()
    for step in range(100):
        checkpoint = make_checkpoint(step)
        metadata: Any = {"step": step, "even": step % 2 == 0, "who": {"a.b": [1, None, 2.5]}, "$odd": {step}}
        await one.aput(name_thread(), checkpoint, metadata, {})
    assert await list_steps(one, name_thread(), filter={"even": True}, limit=3) == [98, 96, 94]
    assert await list_steps(one, name_thread(), filter={"who": {"a.b": [1, None, 2.5]}, "step": 7}) == [7]
    assert await list_steps(one, name_thread(), filter={"$odd": {5}}) == [5]
    assert await list_steps(one, name_thread(), filter={"nothing": None}) == []
    assert await list_steps(one, name_thread(), limit=0) == []
    assert await list_steps(one, name_thread()) == [*range(99, -1, -1)]
    (found,) = [found async for found in one.alist(name_thread(), limit=1)]
    assert found.metadata == {"step": 99, "even": False, "who": {"a.b": [1, None, 2.5]}, "$odd": {99}}
    chosen = [found async for found in one.alist(found.config)]
    assert [one.config for one in chosen] == [found.config]


@STORAGES
async def test_lists_merge_namespaces_and_threads_newest_first(storage: str) -> None:
    one = AsyncBacktestMongoSaver()
    for step in range(40):
        await put(one, name_thread(f"t{step % 2}", "child" if step % 3 else ""), step)
    assert await list_steps(one, None) == [*range(39, -1, -1)]
    assert await list_steps(one, {"configurable": {"thread_id": "t1"}}) == [*range(39, 0, -2)]
    assert await list_steps(one, {"configurable": {"thread_id": "t1"}}, limit=2) == [39, 37]
    assert await list_steps(one, name_thread("t0")) == [36, 30, 24, 18, 12, 6, 0]


@STORAGES
async def test_first_ordinary_write_and_last_special_one_stay(storage: str) -> None:
    one = AsyncBacktestMongoSaver()
    config = await put(one, name_thread())
    await one.aput_writes(config, [("a", 1)], "task", "~path, 2")
    await one.aput_writes(config, [("a", 2), ("b", 3)], "task", "~path, 2")
    await one.aput_writes(config, [(INTERRUPT, "first")], "task", "~path, 2")
    await one.aput_writes(config, [(INTERRUPT, "second"), (ERROR, "late")], "task", "~path, 2")
    await one.aput_writes(config, [("c", 4)], "other", "~path, 1")
    found = await one.aget_tuple(config)
    assert found is not None
    assert found.pending_writes == [
        ("other", "c", 4),
        ("task", INTERRUPT, "second"),
        ("task", ERROR, "late"),
        ("task", "a", 1),
        ("task", "b", 3),
    ]
    async with transaction():
        await one.aput_writes(config, [("a", 9), ("b", 9), ("d", 5)], "task", "~path, 2")
    found = await one.aget_tuple(config)
    assert found is not None
    assert [write[1:] for write in found.pending_writes or () if write[0] == "task"][2:] == [
        ("a", 1),
        ("b", 3),
        ("d", 5),
    ]


@STORAGES
async def test_racing_writers_of_a_task_lose_no_place(storage: str) -> None:
    one = AsyncBacktestMongoSaver()
    config = await put(one, name_thread())
    await asyncio.gather(*(one.aput_writes(config, [("a", n)] * (n + 1), "task") for n in range(8)))
    found = await one.aget_tuple(config)
    assert found is not None
    assert len(found.pending_writes or ()) == 8


@STORAGES
async def test_deleted_thread_leaves_nothing_and_others_stay(storage: str) -> None:
    one = AsyncBacktestMongoSaver()
    for thread in ("a", "b"):
        for namespace in ("", "child"):
            config = await put(one, name_thread(thread, namespace), run="r", docs=[LARGE])
            await one.aput_writes(config, [("x", 1)], "task")
    assert await count_rows() == [4, 4, 4, 4]
    await one.adelete_thread("a")
    assert await count_rows() == [2, 2, 2, 2]
    assert await one.aget_tuple(name_thread("a")) is None
    await put(one, name_thread("a"), docs=[LARGE])  # whatever the saver remembers
    found = await AsyncBacktestMongoSaver().aget_tuple(name_thread("a"))
    assert found is not None
    await one.adelete_for_runs(["r"])
    assert await count_rows() == [1, 0, 1, 0]


@STORAGES
async def test_copied_thread_has_all_and_is_independent(storage: str) -> None:
    one, config = AsyncBacktestMongoSaver(), name_thread("a")
    for step in range(3):
        config = await put(one, config, step, run="r", docs=[LARGE])
        await one.aput_writes(config, [("x", step)], "task")
    await one.acopy_thread("a", "b")
    before = [found async for found in one.alist(name_thread("a"))]
    await one.adelete_thread("a")
    after = [found async for found in AsyncBacktestMongoSaver().alist(name_thread("b"))]
    assert [found.checkpoint for found in after] == [found.checkpoint for found in before]
    assert [found.pending_writes for found in after] == [found.pending_writes for found in before]
    parents = [found.parent_config["configurable"]["thread_id"] for found in after if found.parent_config]
    assert parents == ["b", "b"]
    await one.adelete_for_runs(["r"])
    assert await count_rows() == [0, 0, 0, 0]


@STORAGES
async def test_sweep_deletes_threads_whose_latest_checkpoint_is_old(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, now = AsyncBacktestMongoSaver(), saver._now()
    days = {"old": (40, 35), "revived": (40, 2), "new": (1, 0)}
    for thread, ages in days.items():
        for namespace, age in zip(("", "child"), ages, strict=True):
            monkeypatch.setattr(saver, "_now", lambda age=age: now - age * 86_400_000)
            await put(one, name_thread(thread, namespace))
    monkeypatch.setattr(saver, "_now", lambda: now)
    assert await one.asweep(timedelta(days=36)) == 0
    assert await one.asweep(timedelta(days=30)) == 1
    assert sorted({one.config["configurable"]["thread_id"] async for one in one.alist(None)}) == ["new", "revived"]
    with pytest.raises(InputError, match="must not be negative"):
        await one.asweep(timedelta(days=-1))


@STORAGES
async def test_deletions_are_refused_in_a_transaction(storage: str) -> None:
    one = AsyncBacktestMongoSaver()
    calls: list[Any] = [
        lambda: one.adelete_thread("t"),
        lambda: one.adelete_for_runs(["r"]),
        lambda: one.aprune(["t"]),
        lambda: one.asweep(timedelta(days=1)),
    ]
    async with transaction():
        for call in calls:
            with pytest.raises(InputError, match="can't be part of a transaction"):
                await call()
    with pytest.raises(InputError, match="strategy must be"):
        await one.aprune(["t"], strategy="keep_some")


@STORAGES
async def test_dropped_transaction_leaves_nothing_and_is_forgotten(storage: str) -> None:
    one = AsyncBacktestMongoSaver()
    config = await put(one, name_thread(), 0, docs=["small"])
    with contextlib.suppress(LookupError):
        async with transaction():
            inside = await put(one, config, 1, run="r", docs=[LARGE])
            await one.aput_writes(inside, [("x", 1)], "task")
            found = await one.aget_tuple(name_thread())
            assert found is not None
            assert found.checkpoint["channel_values"] == {"docs": [LARGE]}
            assert found.pending_writes == [("task", "x", 1)]
            raise LookupError
    assert await count_rows() == [1, 0, 0, 0]
    await put(one, config, 1, run="r", docs=[LARGE])
    found = await AsyncBacktestMongoSaver().aget_tuple(name_thread())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"docs": [LARGE]}
    assert await count_rows() == [2, 0, 1, 1]


@STORAGES
def test_many_threads_write_at_the_same_time(sync_storage: str) -> None:
    one = BacktestMongoSaver()

    def work(number: int) -> list[Any]:
        config = name_thread(f"t{number % 5}", f"ns{number}")
        for step in range(4):
            config = one.put(config, make_checkpoint(step, docs=[LARGE, number]), {"step": step}, {})
            one.put_writes(config, [("x", number), ("y", step)], f"task-{number}")
        return [found.pending_writes for found in one.list(name_thread(f"t{number % 5}", f"ns{number}"))]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(work, range(20)))
    assert found == [
        [[(f"task-{number}", "x", number), (f"task-{number}", "y", step)] for step in (3, 2, 1, 0)]
        for number in range(20)
    ]
    assert len(list(one.list(None))) == 80


@STORAGES
async def test_saver_without_await_refuses_to_hold_up_an_event_loop(storage: str) -> None:
    one = BacktestMongoSaver()
    with pytest.raises(InputError, match="get_tuple"):
        one.get_tuple(name_thread())
    assert await one.aget_tuple(name_thread()) is None


@MONGODB
async def test_reads_examine_no_more_rows_than_they_need(storage: str, config: dict[str, Any], unique: str) -> None:
    one, thread = AsyncBacktestMongoSaver(), name_thread()
    configs = [await put(one, thread, step) for step in range(200)]
    for at in (50, 199):
        await one.aput_writes(configs[at], [("x", 1), ("y", 2)], "task")
    calls: dict[str, tuple[Any, int]] = {
        "latest": (lambda: AsyncBacktestMongoSaver().aget_tuple(thread), 2),
        "by id": (lambda: AsyncBacktestMongoSaver().aget_tuple(configs[50]), 2),
        "before": (lambda: list_steps(one, thread, before=configs[50], limit=5), 5),
    }
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"]) as client:
        database = client[unique]
        for name, (call, most) in calls.items():
            database.command("profile", 2)
            found = await call()
            database.command("profile", 0)
            examined = [row.get("docsExamined", 0) for row in database["system.profile"].find({"op": "query"})]
            assert found, name
            assert 0 < sum(examined) <= most, name
            database.drop_collection("system.profile")


@MONGODB
async def test_metadata_can_be_queried_by_other_programs(storage: str, config: dict[str, Any], unique: str) -> None:
    await put(AsyncBacktestMongoSaver(), name_thread("BTCUSDT"), 3)
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"]) as client:
        (row,) = client[unique]["langgraph-checkpoint-items"].find({"payload.metadata.step": 3})
    assert row["threadId"] == "BTCUSDT"
    assert isinstance(row["payload"]["checkpoint"], bytes)

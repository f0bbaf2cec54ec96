"""``reset()``: what it deletes of a run and what it leaves, on MongoDB by both drivers and on SQLite."""

from __future__ import annotations

import asyncio
import os
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import (
    SLOTS,
    InputError,
    InputTypeError,
    LeaseHeldError,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StoreError,
    lease,
    persist,
    reset,
    set_config,
    transaction,
)
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.specs import FLAG
from backtest_mongo.types import ResetReport
from tests.conftest import Deployment, SQLiteDeployment
from tests.sqlite.support import change, list_names, query
from tests.support import uniform
from tests.support.changes import take_changes
from tests.support.runs import list_runs
from tests.support.uniform import WHEN, candles, entry, payload, redis_key, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

ROWS = [spec for spec in SLOTS if spec.shape != "series"]
#: The slots whose rows belong to a signal, by the signal's id in their key.
TIED = ("partial", "breakeven", "memory", "state", "dictionary")


async def fill(unique: str, run: str | None, *, signal: str = "", **changes: Any) -> None:
    """Write a row of each slot, those of a signal with the id of the row in storage."""
    signal = signal or f"{unique}-signal"
    set_config(CC_RUN=run)
    for spec in ROWS:
        key = signal if spec.key[-1] == "signalId" else entry(spec, unique)
        some = {name: value for name, value in changes.items() if name in spec.context}
        if "signal_id" in spec.context:
            some["signal_id"] = signal
        await write(uniform.adapter(spec, unique, **some), payload(spec), key)
    set_config(CC_RUN=None)


async def count_rows(deployment: Deployment) -> dict[str, int]:
    """Return how many rows each slot has that has any."""
    counts = {spec.name: len(await deployment.rows(spec)) for spec in ROWS}
    return {name: count for name, count in counts.items() if count}


def of_all(count: int) -> dict[str, int]:
    return {spec.name: count for spec in ROWS}


async def test_rows_of_a_run_are_deleted_and_no_others(deployment: Deployment, unique: str) -> None:
    await fill(f"{unique}-a", "a")
    await fill(f"{unique}-b", "b")
    await fill(f"{unique}-c", None)
    report = await reset("a")
    assert report == ResetReport(
        run="a",
        is_dry_run=False,
        deleted=of_all(1),
        versions={},
        signal_ids=(f"{unique}-a-signal",),
        live={},
        live_signal_ids=(),
        left=of_all(1),
        other_runs={},
        skipped=(),
    )
    assert await count_rows(deployment) == of_all(2)
    for spec in ROWS:
        assert sorted(await list_runs(deployment, spec), key=str) == [None, "b"]


async def test_dry_run_says_what_would_be_done(deployment: Deployment, unique: str) -> None:
    await fill(f"{unique}-a", "a")
    await fill(f"{unique}-c", None)
    await persist.state(f"{unique}-a-signal", "tied").write_state_data({}, WHEN)
    planned = await reset("a", dry_run=True)
    assert await count_rows(deployment) == of_all(2) | {"state": 3}
    done = await reset("a")
    assert (planned.is_dry_run, done.is_dry_run) == (True, False)
    assert (planned.deleted, planned.left, planned.signal_ids) == (done.deleted, done.left, done.signal_ids)
    assert done.deleted == of_all(1) | {"state": 2}
    assert str(planned) == f"run 'a': {len(ROWS) + 1} rows would be deleted"
    assert str(done) == f"run 'a': {len(ROWS) + 1} rows deleted"


async def test_second_reset_finds_nothing(deployment: Deployment, unique: str) -> None:
    await fill(unique, "a")
    await reset("a")
    report = await reset("a")
    assert report.is_empty
    assert (report.deleted, report.left, report.signal_ids) == ({}, {}, ())
    assert str(report) == "no row belongs to the run 'a'"


async def test_reset_of_an_empty_database_makes_nothing(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    assert (await reset("a")).is_empty
    if isinstance(deployment, SQLiteDeployment):
        assert list_names(tmp_path) == []
    else:
        assert await current_hub().database.list_collection_names() == []


async def test_repeated_run_begins_from_nothing(deployment: Deployment, unique: str) -> None:
    for _ in range(2):
        assert await count_rows(deployment) == {}
        await fill(unique, "a")
        assert await persist.state(f"{unique}-signal", f"bucket_name-{unique}").read_state_data() == payload(
            StateAdapter.spec
        )
        await reset("a")
        assert await persist.state(f"{unique}-signal", f"bucket_name-{unique}").read_state_data() is None


# What is tied to a run by a signal


async def test_rows_of_the_signals_go_too(deployment: Deployment, unique: str) -> None:
    await fill(unique, None)
    await fill(f"{unique}-other", None)
    async with transaction(run="a"):
        await persist.storage(True).write_storage_data([{"id": f"{unique}-signal"}])
    report = await reset("a")
    assert report.deleted == dict.fromkeys(TIED, 1) | {"storage": 1}
    assert report.signal_ids == (f"{unique}-signal",)
    left = of_all(1) | {spec.name: 2 for spec in ROWS if spec.name not in (*TIED, "storage")}
    assert report.left == left
    assert await count_rows(deployment) == left


async def test_rows_of_the_signals_stay_that_carry_another_name(deployment: Deployment, unique: str) -> None:
    await fill(unique, "b")
    async with transaction(run="a"):
        await persist.storage(True).write_storage_data([{"id": f"{unique}-signal"}])
    report = await reset("a", dry_run=True)
    assert (report.deleted, report.other_runs) == ({"storage": 1}, dict.fromkeys(TIED, 1))
    assert await reset("a") == ResetReport(
        run="a",
        is_dry_run=False,
        deleted={"storage": 1},
        versions={},
        signal_ids=(f"{unique}-signal",),
        live={},
        live_signal_ids=(),
        left={},
        other_runs=dict.fromkeys(TIED, 1),
        skipped=(),
    )
    assert await count_rows(deployment) == {spec.name: 1 for spec in ROWS if spec.name != "storage"}


@pytest.mark.parametrize("step", [1, 3, 1_000])
async def test_many_rows_go_in_steps(
    deployment: Deployment, unique: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("mongo.run_rows", "sqlite.run_rows", "adapters.resets"):
        monkeypatch.setattr(f"backtest_mongo.{module}.STEP", step)
    names = [f"{unique}-{n:02}" for n in range(10)]
    async with transaction(when=WHEN, run="a"):
        await persist.storage(True).write_storage_data([{"id": name} for name in names])
        for name in names[:5]:
            await persist.state(name, "named").write_state_data({})
    for name in names:
        await persist.state(name, "tied").write_state_data({}, WHEN)
        await persist.partial("s", "t", "e").write_partial_data({}, name, WHEN)
    report = await reset("a")
    assert report.deleted == {"partial": 10, "storage": 10, "state": 15}
    assert report.signal_ids == tuple(names)
    assert await count_rows(deployment) == {}


# What is live


@pytest.mark.parametrize("slot", [spec.name for spec in ROWS if FLAG in spec.context])
async def test_live_rows_of_the_run_stop_it(deployment: Deployment, unique: str, slot: str) -> None:
    await fill(unique, "a")
    async with transaction(run="a"):
        await write(uniform.adapter(next(s for s in ROWS if s.name == slot), unique, backtest=False), {}, unique)
    before = await count_rows(deployment)
    assert (await reset("a", dry_run=True)).live == {slot: 1}
    with pytest.raises(InputError, match=rf"^the run 'a' is not only .* live rows of it in {slot} \(1\)") as caught:
        await reset("a")
    assert "live=True" in str(caught.value)
    assert await count_rows(deployment) == before
    report = await reset("a", live=True)
    assert (report.live, report.deleted[slot]) == ({slot: 1}, 2)
    assert await count_rows(deployment) == {}


async def test_live_rows_of_its_signals_stop_it(deployment: Deployment, unique: str) -> None:
    names = [f"{unique}-{n}" for n in range(7)]
    await persist.storage(False).write_storage_data([{"id": name} for name in (*names, f"{unique}-x")])
    async with transaction(run="a"):
        await persist.storage(True).write_storage_data([{"id": name} for name in (*names, f"{unique}-y")])
    await persist.state(names[0], "s").write_state_data({}, WHEN)
    before = await count_rows(deployment)
    report = await reset("a", dry_run=True)
    assert (report.live, report.live_signal_ids, report.is_live) == ({}, tuple(names), True)
    with pytest.raises(InputError, match=f"live rows of its signals {', '.join(names[:5])} and 2 more in storage"):
        await reset("a")
    assert await count_rows(deployment) == before
    report = await reset("a", live=True)
    assert report.deleted == {"storage": 8, "state": 1}
    assert await count_rows(deployment) == {"storage": 8}


async def test_rows_that_are_known_to_be_live_are_not_listed_as_left(deployment: Deployment, unique: str) -> None:
    await fill(unique, None, backtest=False)
    report = await reset("a", dry_run=True)
    assert report.left == {spec.name: 1 for spec in ROWS if FLAG not in spec.context}


# Leases and blocks


async def test_leased_row_stops_it(deployment: Deployment, unique: str) -> None:
    await fill(unique, "a")
    tied = persist.state(f"{unique}-signal", "tied")
    await tied.write_state_data({}, WHEN)
    before = await count_rows(deployment)
    for adapter in (tied, persist.storage(True), uniform.adapter(SignalAdapter.spec, unique)):
        async with lease(adapter):
            with pytest.raises(
                LeaseHeldError, match=f"the lease of {adapter.spec.name}.* is held by process"
            ) as caught:
                await reset_outside("a")
            assert caught.value.process == os.getpid()
            assert 0 < caught.value.since < caught.value.until
            assert await count_rows(deployment) == before
    async with lease(persist.state("another", "s"), persist.storage(False)):
        assert (await reset_outside("a")).deleted == before
    assert await count_rows(deployment) == {}


async def test_lease_that_is_taken_meanwhile_keeps_its_rows(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def see_none(*_: Any) -> None:
        """Do what the check does if the lease is taken after it."""

    await fill(unique, "a")
    monkeypatch.setattr("backtest_mongo.adapters.resets._check_leases", see_none)
    async with lease(persist.storage(True)):
        with pytest.raises(LeaseHeldError, match="the lease of storage"):
            await reset_outside("a")
    assert await count_rows(deployment) == {"storage": 1}
    assert (await reset("a")).deleted == {"storage": 1}


async def reset_outside(run: str) -> ResetReport:
    """Reset a run in a task without the leases of the caller."""
    return await asyncio.get_running_loop().create_task(reset(run), context=Context())


async def test_reset_within_a_block_is_refused(deployment: Deployment, unique: str) -> None:
    async with transaction():
        with pytest.raises(InputError, match="can't be part of a transaction"):
            await reset("a")
    async with lease(persist.state(unique, "s")):
        with pytest.raises(InputError, match="can't be part of a lease"):
            await reset("a")


# Other programs


@pytest.mark.mongodb("another program writes there")
@pytest.mark.parametrize("how", ["update", "replace"])
async def test_row_that_another_program_has_written_over_stays(deployment: Deployment, unique: str, how: str) -> None:
    await fill(unique, "a")
    session = next(spec for spec in ROWS if spec.name == "session")
    collection = await deployment.collection(session)
    (row,) = await deployment.rows(session)
    later = row["updatedDate"].replace(year=row["updatedDate"].year + 1)
    if how == "update":  # as mongoose does
        await collection.update_one({}, {"$set": {"payload": {"n": 2}, "updatedDate": later}})
    else:
        await collection.replace_one({}, {**row, "payload": {"n": 2}, "updatedDate": later})
    report = await reset("a")
    assert report.deleted == {spec.name: 1 for spec in ROWS if spec is not session}
    assert report.left == {"session": 1}
    assert [row["payload"] for row in await deployment.rows(session)] == [{"n": 2}]


@pytest.mark.mongodb("another program writes there")
async def test_row_of_another_program_is_deleted_with_its_signal(deployment: Deployment, unique: str) -> None:
    async with transaction(run="a"):
        await persist.storage(True).write_storage_data([{"id": unique}])
    state = await deployment.collection(StateAdapter.spec)
    await state.insert_one({"signalId": unique, "bucketName": "b", "payload": {}, "when": 1.0})
    await state.insert_one({"signalId": unique, "bucketName": 5, "payload": {}, "origin": "nowhere"})
    await state.insert_one({"signalId": 5, "bucketName": "b", "payload": {}, "origin": {"run": "a"}})
    assert (await reset("a")).deleted == {"storage": 1, "state": 2}
    assert [row["signalId"] for row in await deployment.rows(StateAdapter.spec)] == [5]


@pytest.mark.mongodb("it is about the id cache")
async def test_ids_are_dropped_from_the_cache(deployment: Deployment, unique: str) -> None:
    await fill(unique, "a")
    adapter = persist.state(f"{unique}-signal", f"bucket_name-{unique}")
    assert await adapter.read_state_data() is not None
    assert await deployment.cached(redis_key(adapter)) is not None
    await reset("a")
    assert await deployment.cached(redis_key(adapter)) is None
    assert current_hub().id_cache.local.get("state", adapter._context) is None


async def test_versions_go_with_their_rows(deployment: Deployment, unique: str) -> None:
    await fill(unique, "a")
    state = uniform.adapter(StateAdapter.spec, unique, signal_id=f"{unique}-signal")
    await persist.state("other", "b").write_state_data({}, WHEN)
    await _keep_versions(deployment, StateAdapter.spec, [state._context] * 3 + [("other", "b")] * 2)
    report = await reset("a")
    assert report.versions == {"state": 3}
    assert str(report) == f"run 'a': {len(ROWS)} rows and 3 versions of them deleted"
    assert await _list_versions(deployment, StateAdapter.spec) == [("other", "b")] * 2


async def test_history_of_a_run_goes_with_it(deployment: Deployment, unique: str) -> None:
    names = ",".join(spec.name for spec in ROWS)
    set_config(CC_HISTORY=names)
    await fill(unique, "a")
    await fill(unique, "a")
    await fill(f"{unique}-b", "b")
    async with transaction(when=WHEN + 1):
        await persist.state(f"{unique}-signal", "tied").write_state_data({})
    tables = {spec.name: len(await _list_versions(deployment, spec)) for spec in ROWS}
    report = await reset("a")
    assert report.deleted == of_all(1) | {"state": 2}
    left = {spec.name: len(await _list_versions(deployment, spec)) for spec in ROWS}
    assert left == of_all(1)
    assert report.versions == {name: count - 1 for name, count in tables.items()}
    state: Any = uniform.adapter(StateAdapter.spec, unique, signal_id=f"{unique}-signal")
    assert [version async for version in state.history()] == []
    assert (await reset("a")).is_empty


async def _keep_versions(deployment: Deployment, spec: SlotSpec, keys: list[Any]) -> None:
    if isinstance(deployment, SQLiteDeployment):
        columns = ", ".join(spec.key)
        change(
            deployment.path,
            f'CREATE TABLE IF NOT EXISTS "{spec.versions}" ({columns}, [when])',
            *(f"INSERT INTO \"{spec.versions}\" VALUES ('{key[0]}', '{key[1]}', {n})" for n, key in enumerate(keys)),
        )
        return
    rows = [{**dict(zip(spec.key, key, strict=True)), "when": n} for n, key in enumerate(keys)]
    await current_hub().database[spec.versions].insert_many(rows)


async def _list_versions(deployment: Deployment, spec: SlotSpec) -> list[tuple[str, ...]]:
    if isinstance(deployment, SQLiteDeployment):
        return query(deployment.path, f'SELECT {", ".join(spec.key)} FROM "{spec.versions}"')
    rows = await current_hub().database[spec.versions].find().to_list(None)
    return [tuple(row[name] for name in spec.key) for row in rows]


async def test_watch_is_told_of_the_rows(deployment: Deployment, unique: str) -> None:
    async with transaction(when=WHEN, run="a"):
        await persist.state(unique, "s").write_state_data({"n": 1})
    async with persist.state(unique, "s").watch() as changes:
        await reset("a")
        (gone,) = await take_changes(changes, 1)
    assert (gone.kind, gone.context) == ("deleted", {"signal_id": unique, "bucket_name": "s"})


# Storages


async def test_candles_stay(deployment: Deployment, unique: str) -> None:
    set_config(CC_RUN="a")
    candle = persist.candle(unique, "1m", "e")
    await candle.write_candles_data(candles(3))
    await persist.state(unique, "s").write_state_data({}, WHEN)
    assert (await reset("a")).deleted == {"state": 1}
    assert await candle.read_candles_data(3, 0) == candles(3)


async def test_slots_without_runs_are_skipped(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    persist.use_files(tmp_path / "dump", slots=("log",))
    persist.use_dummy(slots=("measure",))
    own: Any = Own
    persist.use(state=lambda *_: own())
    set_config(CC_RUN="a")
    await persist.log().write_log_data([{"id": unique}])
    await persist.memory(unique, "b").write_memory_data({}, "k", WHEN)
    report = await reset("a")
    assert (report.deleted, report.skipped) == ({"memory": 1}, ("log", "state"))
    assert await persist.log().read_log_data() == [{"id": unique}]


class Own:
    """A storage of one's own."""


async def test_slots_of_two_databases_are_reset_together(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    persist.use_sqlite(tmp_path / "second.db", slots=("state", "signal"))
    async with transaction(run="a"):
        await persist.storage(True).write_storage_data([{"id": unique}])
    await persist.state(unique, "tied").write_state_data({}, WHEN)
    await persist.state("other", "tied").write_state_data({}, WHEN)
    async with transaction(run="a"):
        await persist.signal("s", "t", "e").write_signal_data({})
    report = await reset("a")
    assert (report.deleted, report.left) == ({"storage": 1, "state": 1, "signal": 1}, {"state": 1})


async def test_slot_of_ones_own_is_reset(deployment: Deployment, unique: str) -> None:
    name = f"trail_{unique}"
    persist.register(
        SlotSpec(
            name=name,
            shape="bucket",
            context=("run", "signal_id"),
            key=("run", "signalId", "step"),
            redis=("run", "signalId", "step"),
            soft_delete=True,
        )
    )
    make = getattr(persist, name)
    await getattr(make("r", unique), f"write_{name}_data")({}, "1")
    async with transaction(run="a"):
        await persist.storage(True).write_storage_data([{"id": unique}])
        await getattr(make("r", "other"), f"write_{name}_data")({}, "2")
    await getattr(make("r", "third"), f"write_{name}_data")({}, "3")
    report = await reset("a")
    assert (report.deleted, report.left) == ({"storage": 1, name: 2}, {name: 1})


# What is wrong with a call


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (("",), InputError, "reset: run must not be empty"),
        (("n" * 201,), InputError, "reset: run must have at most 200"),
        ((None,), InputTypeError, "reset: run must be a str, not NoneType"),
    ],
)
async def test_bad_name_is_refused(arguments: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=f"^{text}"):
        await reset(*arguments)


@pytest.mark.parametrize("name", ["live", "dry_run"])
async def test_bad_flag_is_refused(name: str) -> None:
    flags: dict[str, Any] = {name: 1}
    with pytest.raises(InputTypeError, match=f"^reset: {name} must be a bool, not int"):
        await reset("a", **flags)


async def test_files_have_no_runs(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    set_config(CC_RUN="a")
    await persist.state("s", "b").write_state_data({"n": 1}, WHEN)
    await persist.memory("s", "b").write_memory_data({"n": 1}, "k", WHEN)
    await persist.memory("s", "b").remove_memory_data("k")
    assert await persist.state("s", "b").read_state_data() == {"n": 1}
    with pytest.raises(StoreError, match=r"^resetting failed: no slot is stored in MongoDB"):
        await reset("a")


async def test_dummy_has_nothing_to_reset() -> None:
    persist.use_dummy()
    set_config(CC_RUN="a")
    await persist.state("s", "b").write_state_data({"n": 1}, WHEN)
    await persist.memory("s", "b").remove_memory_data("k")
    assert (await reset("a")).is_empty


async def test_series_of_a_strategy_are_counted_and_stay(deployment: Deployment, unique: str) -> None:
    set_config(CC_RUN="a")
    for backtest in (True, False):
        await persist.equity(unique, "binance", "1h", "BTCUSDT", backtest).append(
            [{"timestamp": at, "equity": 1.0} for at in range(3)]
        )
    await persist.equity(unique, "binance", "1h", "BTCUSDT", True).seal()
    await persist.trade(unique, "binance").append(
        [{"timestamp": 1, "trade_id": 1, "price": 1.0, "amount": 1.0, "side": None}]
    )
    set_config(CC_RUN=None)
    report = await reset("a")
    assert (report.deleted, report.left) == ({}, {"equity": 3})
    assert (await persist.equity(unique, "binance", "1h", "BTCUSDT", True).coverage()).rows == 3

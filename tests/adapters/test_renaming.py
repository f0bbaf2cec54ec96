"""A strategy gets another name, over all slots: on MongoDB by both drivers, and on SQLite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    ConflictError,
    InputError,
    InputTypeError,
    LeaseHeldError,
    SlotSpec,
    StoreError,
    import_dump,
    lease,
    persist,
    rename_strategy,
    setup,
    transaction,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.strategy_names import MENTIONS, has_strategy
from backtest_mongo.mongo import contexts as mongo_contexts
from backtest_mongo.mongo import renaming as mongo_renaming
from backtest_mongo.sqlite import renaming as sqlite_renaming
from backtest_mongo.types import RenamedSlot, RenameReport
from tests.conftest import Deployment, SQLiteDeployment
from tests.support import uniform
from tests.support.leases import take_leases
from tests.support.scopes import outside
from tests.support.uniform import WHEN, read, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

GOLDEN = Path(__file__).parent.parent / "golden" / "engine-19.5.0"
RUNS = ("activated", "backtest", "live", "rejected")

OWNED = [spec for spec in SLOTS if has_strategy(spec)]


@pytest.fixture
def old(unique: str) -> str:
    return f"{unique}_trend"


@pytest.fixture
def new(unique: str) -> str:
    return f"{unique}_drift"


def adapter(spec: SlotSpec, strategy: str, symbol: str = "BTCUSDT") -> Any:
    fixed = {"strategy_name": strategy, "symbol": symbol, "backtest": True}
    return uniform.ADAPTERS[spec.name](**{name: fixed.get(name, "x") for name in spec.context})


async def write_all(strategy: str, symbol: str = "BTCUSDT") -> None:
    """Write a row, or two, of each slot that has a strategy or names one."""
    for spec in OWNED:
        for key in ("1", "2") if spec.item else ("1",):
            await write(adapter(spec, strategy, symbol), {"id": key, "strategyName": strategy}, key)
    rows = [{"id": f"{strategy}-{symbol}-{number}", "strategyName": strategy} for number in range(3)]
    await uniform.ADAPTERS["storage"](True).write_storage_data(rows)  # type: ignore[attr-defined]
    await uniform.ADAPTERS["notification"](False).write_notification_data(rows[:2])  # type: ignore[attr-defined]
    entries = [{"id": row["id"], "methodContext": {"strategyName": strategy}} for row in rows]
    await uniform.ADAPTERS["log"]().write_log_data(entries)  # type: ignore[attr-defined]
    risk: Any = uniform.ADAPTERS["risk"]("r", "x")
    before = await risk.read_position_data()
    position = {"strategyName": strategy, "symbol": symbol, "size": 2.0}
    await risk.write_position_data([*before, [f"{strategy}_x_{symbol}", position]], WHEN)


async def read_all(deployment: Deployment) -> dict[str, list[Any]]:
    """Return all rows as they are stored, by slot, with ids and dates."""
    found = {}
    for spec in SLOTS:
        if spec.shape != "series":
            rows = await deployment.rows(spec)
            found[spec.name] = sorted(rows, key=lambda row: [str(row[name]) for name in spec.key])
    return found


def renamed(value: Any, old: str, new: str) -> Any:
    """Return stored rows with the other name, wherever a text is it or is made of it."""
    if isinstance(value, dict):
        return {name: renamed(part, old, new) for name, part in value.items()}
    if isinstance(value, list):
        return [renamed(part, old, new) for part in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old}_x_")):
        return value.replace(old, new, 1)
    return value


async def contexts(spec: SlotSpec, strategy: str) -> list[Any]:
    return [one async for one in uniform.ADAPTERS[spec.name].list_contexts(strategy_name=strategy)]


async def test_everything_is_renamed_and_nothing_else(deployment: Deployment, old: str, new: str) -> None:
    for strategy in (old, f"{old}_2", old[:-1]):
        await write_all(strategy)
    await write_all(old, "ETHUSDT")
    state = uniform.ADAPTERS["state"](old, old)
    await write(state, {"strategyName": old})
    before = await read_all(deployment)
    planned = await rename_strategy(old, new, dry_run=True)
    assert await read_all(deployment) == before
    report = await rename_strategy(old, new)
    rows = {spec.name: 4 if spec.item else 2 for spec in OWNED}
    mentions = {"risk": 1, "storage": 6, "notification": 4, "log": 6}
    expected = tuple(
        RenamedSlot(spec.name, 2, rows[spec.name], 0)
        if spec in OWNED
        else RenamedSlot(spec.name, 0, mentions[spec.name], 0)
        for spec in SLOTS
        if spec in OWNED or spec.name in MENTIONS
    )
    assert planned == RenameReport(old, new, False, expected)
    assert report == RenameReport(old, new, True, expected)
    after = await read_all(deployment)
    for spec in SLOTS:
        if spec.shape == "series":
            continue
        wanted = before[spec.name]
        if spec in OWNED or spec.name in MENTIONS:
            wanted = [renamed(row, old, new) for row in wanted]
        assert sorted(after[spec.name], key=repr) == sorted(wanted, key=repr), spec.name
    for spec in OWNED:
        assert await contexts(spec, old) == []
        assert len(await contexts(spec, new)) == 2
        assert await read(adapter(spec, new), "1") == {"id": "1", "strategyName": new}
        assert await read(adapter(spec, old), "1") == uniform.nothing(spec)
    assert await rename_strategy(old, new) == RenameReport(old, new, True, ())


async def test_new_name_may_be_that_of_other_contexts(deployment: Deployment, old: str, new: str) -> None:
    await write_all(old)
    await write_all(new, "ETHUSDT")
    await rename_strategy(old, new)
    for spec in OWNED:
        assert [one["symbol"] for one in await contexts(spec, new)] == ["BTCUSDT", "ETHUSDT"]


async def test_contexts_are_never_merged(deployment: Deployment, old: str, new: str) -> None:
    await write_all(old)
    await write_all(old, "ETHUSDT")
    await write(adapter(ADAPTERS["recent"].spec, new, "ETHUSDT"), {"n": 1})
    memory_row = adapter(ADAPTERS["partial"].spec, new)
    await write(memory_row, {"n": 1}, "other")
    before = await read_all(deployment)
    for dry_run in (True, False):
        with pytest.raises(ConflictError) as caught:
            await rename_strategy(old, new, dry_run=dry_run)
        text = str(caught.value)
        assert "2 contexts would be merged with those stored already" in text
        assert f"partial('BTCUSDT', '{new}', 'x')" in text
        assert f"recent('ETHUSDT', '{new}', 'x', 'x', True)" in text
        assert "nothing was changed" in text
    assert await read_all(deployment) == before


async def test_rows_keep_their_place_among_the_newest(deployment: Deployment, old: str, new: str) -> None:
    log: Any = uniform.ADAPTERS["log"]()
    entries = [
        {"id": str(9 - number), "methodContext": {"strategyName": (old, "z")[number % 2]}} for number in range(9)
    ]
    for entry in entries:
        await log.write_log_data([entry])
    await rename_strategy(old, new)
    assert await log.read_log_data() == renamed(entries, old, new)


# Bad input


@pytest.mark.parametrize(
    ("names", "kind", "problem"),
    [
        (("", "a"), InputError, "old must not be empty"),
        (("a", ""), InputError, "new must not be empty"),
        (("a", "a"), InputError, "both names are the same"),
        ((None, "a"), InputTypeError, "old must be a str, not NoneType"),
        (("a", 5), InputTypeError, "new must be a str, not int"),
        (("a", "b\0"), InputError, "must not hold a NUL"),
        (("a", "\ud800"), InputError, "lone surrogate"),
    ],
)
async def test_bad_name_is_refused(
    deployment: Deployment, names: tuple[Any, Any], kind: type[InputError], problem: str
) -> None:
    with pytest.raises(kind, match=problem):
        await rename_strategy(*names)


@pytest.mark.parametrize("slots", ["signal", 5])
async def test_slots_must_be_names(deployment: Deployment, slots: Any) -> None:
    with pytest.raises(InputTypeError, match="slots must be slot names"):
        await rename_strategy("a", "b", slots=slots)


async def test_unknown_slot_is_refused_with_a_suggestion(deployment: Deployment) -> None:
    with pytest.raises(InputError, match=r"no slot 'signals' that names a strategy .did you mean signal"):
        await rename_strategy("a", "b", slots=["signals"])
    with pytest.raises(InputError, match="no slot 'memory' that names a strategy"):
        await rename_strategy("a", "b", slots=["memory"])


async def test_rename_within_a_block_is_refused(deployment: Deployment, old: str, new: str) -> None:
    await write_all(old)
    async with transaction():
        with pytest.raises(InputError, match="can't be part of a transaction or a lease"):
            await rename_strategy(old, new)
    async with lease(adapter(OWNED[0], old)):
        with pytest.raises(InputError, match="can't be part of a transaction or a lease"):
            await rename_strategy(old, new)
    assert len(await contexts(OWNED[0], old)) == 1


async def test_files_and_other_storages_have_to_be_left_out(
    deployment: Deployment, old: str, new: str, tmp_path: Path
) -> None:
    persist.use_files(tmp_path / "dump", slots=["log"])
    log = persist.log()
    await log.write_log_data([{"id": "1", "methodContext": {"strategyName": old}}])
    signal = persist.signal("BTC", old, "x")
    await signal.write_signal_data({"n": 1})
    with pytest.raises(StoreError, match=r"can't be renamed safely in JSON files, where log is stored .*import-dump"):
        await rename_strategy(old, new)

    class Own:
        def __getattr__(self, name: str) -> Any:
            return None

    def make(*context: Any) -> Any:
        return Own()

    persist.use(log=make)
    with pytest.raises(StoreError, match=r"log is stored by an implementation of your own .*slots="):
        await rename_strategy(old, new)
    assert await signal.read_signal_data() == {"n": 1}
    report = await rename_strategy(old, new, slots=["signal", "storage"])
    assert report.slots == (RenamedSlot("signal", 1, 1, 0),)
    assert await signal.read_signal_data() is None


async def test_slot_of_one_s_own_is_renamed_too(deployment: Deployment, old: str, new: str) -> None:
    spec = SlotSpec(
        name="order_ledger",
        shape="bucket",
        context=("exchange_name", "strategy_name"),
        key=("strategyName", "exchangeName", "orderId"),
        redis=("strategyName", "exchangeName", "orderId"),
        soft_delete=True,
    )
    persist.register(spec)
    ledger: Any = getattr(persist, spec.name)
    await ledger("x", old).write_order_ledger_data({"n": 1}, "o-1")
    await ledger("x", old).write_order_ledger_data({"n": 2, "strategyName": old}, "o-2")
    await ledger("x", old).remove_order_ledger_data("o-1")
    report = await rename_strategy(old, new)
    assert report.slots == (RenamedSlot("order_ledger", 1, 2, 0),)
    assert [key async for key in ledger("x", new).list_order_ledger_data()] == ["o-2"]
    assert await ledger("x", new).read_order_ledger_data("o-2") == {"n": 2, "strategyName": new}


@pytest.mark.parametrize("name", ["a.b", "$where", "it's", 'say "x"', "*", "a/b", "..", "%", "ünï", "x" * 400, "\\"])
async def test_hostile_names_are_renamed_and_back(deployment: Deployment, old: str, name: str) -> None:
    await write_all(old)
    await write_all(f"{name}2")
    before = await read_all(deployment)
    await rename_strategy(old, name)
    assert len(await contexts(OWNED[0], name)) == 1
    assert await read(adapter(OWNED[0], name)) == {"id": "1", "strategyName": name}
    await rename_strategy(name, old)
    assert await read_all(deployment) == before


# Leases


async def test_lease_of_somebody_else_refuses_it(deployment: Deployment, old: str, new: str) -> None:
    await write_all(old)
    before = await read_all(deployment)
    for held in (
        adapter(ADAPTERS["session"].spec, old),
        adapter(ADAPTERS["session"].spec, new),
        uniform.ADAPTERS["storage"](True),
    ):
        claim = await outside(take_leases(held))
        for dry_run in (True, False):
            with pytest.raises(LeaseHeldError, match="is held by process"):
                await rename_strategy(old, new, dry_run=dry_run)
        assert await read_all(deployment) == before
        await held._base_store().committer.release(claim)
    await take_leases(uniform.ADAPTERS["storage"](False), adapter(ADAPTERS["session"].spec, old, "ETHUSDT"))
    assert len((await rename_strategy(old, new)).slots) == 11


async def test_lease_that_is_taken_meanwhile_refuses_its_context(
    deployment: Deployment, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_all(old)
    session = adapter(ADAPTERS["session"].spec, old)
    renamer = type(session._base_store().renamer)
    move = renamer.move

    async def take_and_move(self: Any, *arguments: Any) -> Any:
        if self._spec.name == "session":
            await take_leases(session)
        return await move(self, *arguments)

    monkeypatch.setattr(renamer, "move", take_and_move)
    with pytest.raises(LeaseHeldError):
        await rename_strategy(old, new)
    assert await read(session) == {"id": "1", "strategyName": old}
    assert await contexts(ADAPTERS["signal"].spec, old) == []


# Changes and versions


async def watched(changes: AsyncIterator[Any], count: int) -> list[Any]:
    return [await anext(changes) for _ in range(count)]


async def test_watch_sees_rows_deleted_and_written(deployment: Deployment, old: str, new: str) -> None:
    partial: Any = uniform.ADAPTERS["partial"]
    storage: Any = uniform.ADAPTERS["storage"](True)
    await write(partial("BTC", old, "x"), {"n": 1}, "s-1")
    await storage.write_storage_data([{"id": "1", "strategyName": old}])
    async with (
        partial.watch_all() as everything,
        partial("BTC", old, "x").watch() as before,
        partial("BTC", new, "x").watch() as after,
        storage.watch() as stored,
    ):
        # MongoDB knows deleted rows by those that the watch has seen.
        await write(partial("BTC", old, "x"), {"n": 2}, "s-1")
        for changes in (everything, before):
            assert (await anext(changes)).kind == "written"
        at = await deployment.read_clock()
        await rename_strategy(old, new)
        deleted, written = await watched(everything, 2)
        assert [deleted.kind, written.kind] == ["deleted", "written"]
        assert (deleted.context["strategy_name"], deleted.key) == (old, "s-1")
        assert (written.context["strategy_name"], written.key, written.payload) == (new, "s-1", {"n": 2})
        assert written.time >= at - 1_000
        assert (await anext(before)).kind == "deleted"
        change = await anext(after)
        assert (change.kind, change.payload, change.when) == ("written", {"n": 2}, WHEN)
        change = await anext(stored)
        assert (change.kind, change.payload) == ("written", {"id": "1", "strategyName": new})


async def read_history(adapter: Any, *key: str) -> list[Any]:
    return [(one.when, one.value, one.written) async for one in adapter.history(*key)]


async def test_versions_are_renamed_with_their_rows(deployment: Deployment, old: str, new: str) -> None:
    config = {**deployment.config, "CC_HISTORY": "signal,partial,risk,session"}
    await use(deployment, config)
    signal, partial, risk = (uniform.ADAPTERS[name] for name in ("signal", "partial", "risk"))
    one, other = signal("BTC", old, "x"), signal("BTC", f"{old}2", "x")
    for number in range(3):
        for each in (one, other):
            async with transaction(when=WHEN + number):
                await write(each, {"n": number, "strategyName": each.context["strategy_name"]})
    await write(partial("BTC", old, "x"), {"n": 1}, "s-1")
    await write(risk("r", "x"), [[f"{old}_x_BTC", {"strategyName": old}]])
    await write(risk("r", "x"), [], when=WHEN + 1)
    before = [await read_history(each) for each in (one, other, risk("r", "x"))]
    assert [len(each) for each in before] == [3, 3, 2]
    report = await rename_strategy(old, new)
    assert report.slots == (RenamedSlot("signal", 1, 1, 3), RenamedSlot("partial", 1, 1, 1))
    assert await read_history(signal("BTC", new, "x")) == [tuple(renamed([*one], old, new)) for one in before[0]]
    assert await read_history(one) == []
    assert await read_history(other) == before[1]
    assert await read_history(partial("BTC", new, "x"), "s-1") == [(WHEN, {"n": 1}, pytest.approx(WHEN, rel=1))]
    assert await read_history(risk("r", "x")) == before[2]  # no row of it names the strategy now
    moved: Any = signal("BTC", new, "x")
    assert await moved.delete() == 1
    assert await read_history(moved) == []


async def use(deployment: Deployment, config: dict[str, Any]) -> None:
    """Use the same database with another configuration."""
    if isinstance(deployment, SQLiteDeployment):
        backtest_mongo.set_config(config)
        deployment.use()
    else:
        await setup(config)


# Large contexts, and what a killed process has left


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a transaction."""
    for module in (mongo_contexts, mongo_renaming, sqlite_renaming):
        monkeypatch.setattr(module, "MAX_STEP_ROWS", 3)


@pytest.mark.usefixtures("small_steps")
async def test_large_context_is_moved_in_steps(deployment: Deployment, old: str, new: str) -> None:
    partial: Any = uniform.ADAPTERS["partial"]
    for number in range(10):
        await write(partial("BTC", old, "x"), {"n": number, "strategyName": old}, f"s-{number}")
    rows = [{"id": f"{number:02}", "strategyName": old} for number in range(10)]
    await uniform.ADAPTERS["storage"](True).write_storage_data(rows)  # type: ignore[attr-defined]
    before = await read_all(deployment)
    report = await rename_strategy(old, new)
    assert report.slots == (RenamedSlot("partial", 1, 10, 0), RenamedSlot("storage", 0, 10, 0))
    after = await read_all(deployment)
    for slot in ("partial", "storage"):
        assert sorted(after[slot], key=repr) == sorted((renamed(row, old, new) for row in before[slot]), key=repr)
    # What was on its way is not noted any more: a context of the old name that is written now is another one.
    await write(partial("BTC", old, "x"), {"n": 1}, "s-1")
    with pytest.raises(ConflictError, match="1 context would be merged with one stored already"):
        await rename_strategy(old, new)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 5])
async def test_rename_that_failed_between_two_steps_goes_on(
    deployment: Deployment, old: str, new: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context is on its way, or the next one has not begun: a second call finishes it."""
    partial: Any = uniform.ADAPTERS["partial"]
    for symbol, count in (("BTC", 7), ("ETH", 2)):
        for number in range(count):
            await write(partial(symbol, old, "x"), {"n": number}, f"s-{number}")
    await write(uniform.ADAPTERS["signal"]("BTC", old, "x"), {"strategyName": old})
    before = await read_all(deployment)
    left = step

    async def fail(work: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        if not left:
            raise StoreError("killed")
        left -= 1
        return await work(*arguments, **options)

    with monkeypatch.context() as patch:
        if isinstance(deployment, SQLiteDeployment):
            move = sqlite_renaming.SQLiteRenamer.move
            patch.setattr(sqlite_renaming.SQLiteRenamer, "move", lambda *arguments: fail(move, *arguments))
        else:
            committer: Any = type(partial("BTC", old, "x")._base_store().committer)
            run = committer.run_free
            patch.setattr(committer, "run_free", lambda *arguments: fail(run, *arguments))
        if step < (3 if isinstance(deployment, SQLiteDeployment) else 5):
            with pytest.raises(StoreError, match="killed"):
                await rename_strategy(old, new)
        else:
            await rename_strategy(old, new)
    whole = {name: [renamed(row, old, new) for row in rows] for name, rows in before.items()}
    found = await read_all(deployment)
    assert sum(map(len, found.values())) == 10
    await rename_strategy(old, new)
    after = await read_all(deployment)
    for slot in ("partial", "signal"):
        assert sorted(after[slot], key=repr) == sorted(whole[slot], key=repr)
    assert await rename_strategy(old, new) == RenameReport(old, new, True, ())


# MongoDB


@pytest.mark.mongodb
async def test_types_that_node_has_written_stay(deployment: Deployment, old: str, new: str) -> None:
    from bson import Decimal128, Int64
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    payload = {
        "strategyName": old,
        "timestamp": 1_704_153_600_000.0,
        "small": 5,
        "long": Int64(5),
        "decimal": Decimal128("1.50"),
        "$dollar.dot": {"a.b": None},
        "list": [1.0, Int64(7), {"strategyName": old}],
    }
    untouched = {"n": Int64(1), "x": 1.0}
    collection = await deployment.collection(ADAPTERS["partial"].spec)
    for key, value in (("1", payload), ("2", untouched)):
        named = {"symbol": "BTC", "strategyName": old, "exchangeName": "x", "signalId": key}
        await collection.insert_one({**named, "payload": value, "when": 5.0, "__v": 0})
    raw = collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
    before = {row["signalId"]: bytes(row.raw) for row in await raw.find().to_list(None)}
    await rename_strategy(old, new)
    after = {row["signalId"]: bytes(row.raw) for row in await raw.find().to_list(None)}
    assert {key: row.replace(new.encode(), old.encode()) for key, row in after.items()} == before


@pytest.mark.mongodb
async def test_ids_of_the_old_name_are_dropped_from_redis(deployment: Deployment, old: str, new: str) -> None:
    await write_all(old)
    keys = [uniform.redis_key(adapter(spec, old), "1") for spec in OWNED]
    for key in keys:
        assert await deployment.cached(key) is not None
    await rename_strategy(old, new)
    for key in keys:
        assert await deployment.cached(key) is None


@pytest.mark.mongodb
async def test_process_with_a_cached_id_of_the_old_name_finds_nothing_by_it(
    deployment: Deployment, old: str, new: str
) -> None:
    signal: Any = uniform.ADAPTERS["signal"]("BTC", old, "x")
    await signal.write_signal_data({"n": 1})
    key = tuple(uniform.natural_key(signal).values())
    oid = current_hub().id_cache.local.get("signal", key)
    assert oid is not None
    await rename_strategy(old, new)
    current_hub().id_cache.local.put("signal", key, oid, published=True)  # as another process still has it
    assert await signal.read_signal_data() is None


@pytest.mark.mongodb
async def test_run_of_a_row_is_that_of_the_renamed_one(deployment: Deployment, old: str, new: str) -> None:
    async with transaction(run="r-1"):
        await write(uniform.ADAPTERS["signal"]("BTC", old, "x"), {"n": 1})
    (before,) = await deployment.rows(ADAPTERS["signal"].spec)
    await rename_strategy(old, new)
    (after,) = await deployment.rows(ADAPTERS["signal"].spec)
    assert after == {**before, "strategyName": new}
    assert after["origin"]["written"] == after["updatedDate"]


@pytest.mark.mongodb
@pytest.mark.parametrize("run", RUNS)
async def test_rows_of_the_engine_are_renamed_and_back(deployment: Deployment, run: str) -> None:
    await import_dump(GOLDEN / run, apply=True)
    before = await read_all(deployment)
    report = await rename_strategy("my_strategy", "drift")
    names = {slot.slot for slot in report.slots}
    after = await read_all(deployment)
    left = {slot: json.dumps(rows, default=str) for slot, rows in after.items()}
    assert {slot for slot, text in left.items() if "my_strategy" in text} == set()
    for slot, rows in before.items():
        assert (json.dumps(rows, default=str) != left[slot]) == (slot in names), slot
    assert names <= {*MENTIONS, *(spec.name for spec in OWNED)}
    await rename_strategy("drift", "my_strategy")
    assert await read_all(deployment) == before

"""The name of a run in the rows that it writes, on MongoDB by both drivers and on SQLite."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from backtest_mongo import (
    ConfigError,
    InputError,
    InputTypeError,
    SlotError,
    SlotSpec,
    StateAdapter,
    get_config,
    lease,
    persist,
    set_config,
    setup,
    transaction,
)
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.runs import LONGEST_RUN
from tests.conftest import Deployment, SQLiteDeployment
from tests.support import uniform
from tests.support.runs import list_runs
from tests.support.uniform import WHEN, entry, payload, read, read_version, write

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

#: All but candles, which have no place for it.
ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")
POINTS = pytest.mark.shapes("document", "entry", "bucket")
#: Names that a pipeline, an index or SQL could take for something else.
NAMES = ("$NOW", "$$NOW", "a.b", "it's", " ", "NULL", "n" * LONGEST_RUN, "\U0001f680" * LONGEST_RUN)


@ROWS
async def test_row_carries_the_innermost_name(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)

    async def write_one(number: int) -> str | None:
        await write(adapter, payload(spec, number), key)
        (run,) = await list_runs(deployment, spec)
        assert await read(adapter, key) == uniform.stored(spec, payload(spec, number))
        return run

    assert await write_one(0) is None
    set_config(CC_RUN="configured")
    assert await write_one(1) == "configured"
    async with lease(adapter, run="leased"):
        assert await write_one(2) == "leased"
        async with lease(persist.state(unique, "other")):
            assert await write_one(3) == "leased"
    async with lease(adapter):
        assert await write_one(4) == "configured"
    async with transaction(run="whole"):
        await write(adapter, payload(spec, 5), key)
    assert await list_runs(deployment, spec) == ["whole"]
    async with lease(adapter, run="leased"), transaction(run="whole"), transaction():
        await write(adapter, payload(spec, 6), key)
    assert await list_runs(deployment, spec) == ["whole"]
    async with transaction(run="outer"), transaction(run="inner"):
        await write(adapter, payload(spec, 7), key)
    assert await list_runs(deployment, spec) == ["inner"]
    async with transaction():
        await write(adapter, payload(spec, 8), key)
    assert await list_runs(deployment, spec) == ["configured"]
    set_config(CC_RUN=None)
    assert await write_one(9) is None
    async with lease(adapter):
        assert await write_one(10) is None


@pytest.mark.shapes("collection")
async def test_all_rows_of_a_list_carry_the_name(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    items = [{"id": f"{unique}-{n:04}", "n": n} for n in range(1_500)]
    set_config(CC_RUN="list")
    await getattr(adapter, f"write_{spec.noun}_data")(items)
    assert await list_runs(deployment, spec) == ["list"] * len(items)
    read = getattr(adapter, f"read_{spec.noun}_data")
    assert await (read(limit=len(items)) if spec.newest else read()) == items


@pytest.mark.shapes("document")
async def test_each_row_of_many_carries_the_name(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter: Any = uniform.ADAPTERS[spec.name]
    contexts = [{**uniform.context(spec, unique), spec.context[0]: f"{unique}-{n:03}"} for n in range(100)]
    times = {"when": WHEN} if spec.when else {}
    for run, count in (("few", 3), ("many", 100)):
        set_config(CC_RUN=run)
        await adapter.write_many([(context, payload(spec, 1)) for context in contexts[:count]], **times)
        runs = await list_runs(deployment, spec)
        assert runs.count(run) == count
    assert len(runs) == 100
    assert await adapter.read_many(contexts) == [payload(spec, 1)] * 100


@pytest.mark.shapes("bucket")
async def test_removal_carries_the_name(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    remove = getattr(adapter, f"remove_{spec.noun}_data")
    for number, run in enumerate(("a", "b", "c", None)):
        await write(adapter, payload(spec, number), str(number))
        set_config(CC_RUN=run)
        await remove(str(number))
        set_config(CC_RUN=None)
    assert await list_runs(deployment, spec) == ["a", "b", "c", None]
    async with transaction(run="d"):
        for number in range(4):
            await write(adapter, payload(spec, number), str(number))
    async with lease(adapter, run="e"):
        await remove("0")
        async with transaction(run="f"):
            await remove("1")
    async with transaction():
        await remove("2")
    await remove("3")
    assert await list_runs(deployment, spec) == ["e", "f", None, None]
    assert await uniform.listed(adapter) == []


@POINTS
async def test_compare_and_set_carries_the_name(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number, run in enumerate(("a", None, "b", "c")):
        set_config(CC_RUN=run)
        condition = {"if_absent": True} if not number else {"expect": (await read_version(adapter, key)).version}
        await write(adapter, payload(spec, number), key, **condition)
        assert await list_runs(deployment, spec) == [run]
    version = (await read_version(adapter, key)).version
    async with transaction(run="d"):
        await write(adapter, payload(spec, 9), key, expect=version)
    assert await list_runs(deployment, spec) == ["d"]
    assert await read(adapter, key) == uniform.stored(spec, payload(spec, 9))


@pytest.mark.parametrize("every", [1, 3, 100])
async def test_transactions_of_a_lease_each_carry_their_name(deployment: Deployment, unique: str, every: int) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    async with lease(one, other, commit_every=every, run="leased"):
        for n in range(7):
            async with transaction(when=WHEN, run=f"bar {n}"):
                await one.write_state_data({"n": n})
            async with transaction(when=WHEN):
                await other.write_state_data({"n": n})
    assert sorted(await list_runs(deployment, StateAdapter.spec), key=str) == ["bar 6", "leased"]
    # A row that the lease knows, and one that it knows to be absent.
    async with lease(one, persist.state(unique, "third")):
        assert await one.read_state_data() == {"n": 6}
        assert await persist.state(unique, "third").read_state_data() is None
        async with transaction(when=WHEN, run="known"):
            await one.write_state_data({"n": 8})
            await persist.state(unique, "third").write_state_data({"n": 8})
    assert sorted(await list_runs(deployment, StateAdapter.spec), key=str) == ["known", "known", "leased"]


@pytest.mark.parametrize("name", NAMES)
async def test_name_is_stored_as_it_is(deployment: Deployment, unique: str, name: str) -> None:
    state, value = persist.state(unique, "s"), {"$set": "$$NOW", "a.b": "$x", "$literal": [math.inf]}
    async with transaction(run=name):
        await state.write_state_data(value, WHEN)
    set_config(CC_RUN=name)
    await persist.state(unique, "t").write_state_data(value, WHEN)
    assert await list_runs(deployment, StateAdapter.spec) == [name, name]
    for adapter in (state, persist.state(unique, "t")):
        assert await adapter.read_state_data() == value


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "run must not be empty"),
        ("a\0b", "run must not hold a NUL character"),
        ("n" * (LONGEST_RUN + 1), "run must have at most 200 characters, not 201"),
        ("\ud800", "run holds a lone surrogate"),
    ],
)
async def test_bad_name_is_refused(deployment: Deployment, unique: str, name: str, problem: str) -> None:
    with pytest.raises(InputError, match=f"^transaction: {problem}"):
        transaction(run=name)
    with pytest.raises(InputError, match=f"^lease: {problem}"):
        lease(persist.state(unique, "s"), run=name)
    with pytest.raises(InputError, match=f"^setup: {problem}"):
        setup(run=name)
    if name:  # an empty setting means none
        with pytest.raises(ConfigError, match=f"CC_RUN .*{problem.removeprefix('run ')}"):
            set_config(CC_RUN=name)
    assert get_config().CC_RUN == ""


@pytest.mark.parametrize("name", [1, b"run", ["run"], True])
async def test_name_of_another_type_is_refused(deployment: Deployment, unique: str, name: Any) -> None:
    kind = type(name).__name__
    with pytest.raises(InputTypeError, match=f"^transaction: run must be a str, not {kind}"):
        transaction(run=name)
    with pytest.raises(InputTypeError, match=f"^lease: run must be a str, not {kind}"):
        lease(persist.state(unique, "s"), run=name)
    with pytest.raises(InputTypeError, match=f"^setup: run must be a str, not {kind}"):
        setup(run=name)


async def test_setup_sets_the_name_and_leaves_it_where_none_is_given(deployment: Deployment, unique: str) -> None:
    await setup(deployment.config, run="first")
    assert get_config().CC_RUN == "first"
    await setup(deployment.config)
    assert get_config().CC_RUN == "first"
    await setup({**deployment.config, "CC_RUN": "by name"}, run="second")
    assert get_config().CC_RUN == "second"


@pytest.mark.mongodb("it is about its connections")
async def test_other_name_needs_no_other_connection(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with lease(state):
        hub = current_hub()
        for run in ("a", "b", None):
            set_config(CC_RUN=run)
            async with transaction(when=WHEN):
                await state.write_state_data({"run": run})
            assert await list_runs(deployment, StateAdapter.spec) == [run]
            assert current_hub() is hub
    await setup(deployment.config, run="c")
    assert current_hub() is hub
    set_config(CC_MONGO_TIMEOUT_MS=14_000)
    assert current_hub() is not hub


@ROWS
@pytest.mark.mongodb("it is about its indexes")
async def test_index_exists_once_a_row_has_a_name(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 0), key)
    async with transaction():
        await write(adapter, payload(spec, 1), key)
    collection = await deployment.collection(spec)
    before = await collection.index_information()
    assert "origin.run_1" not in before
    async with transaction(run="r"):
        await write(adapter, payload(spec, 2), key)
    after = await collection.index_information()
    assert after.keys() - before.keys() == {"origin.run_1"}
    assert after["origin.run_1"]["sparse"] is True


@ROWS
@pytest.mark.mongodb("it is about its documents")
async def test_row_without_a_name_is_the_document_that_it_always_was(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 0), key)
    (document,) = await deployment.rows(spec)
    fields = {*spec.key, spec.field, *(("when",) if spec.when else ()), *(("removed",) if spec.soft_delete else ())}
    assert document.keys() == {"_id", "__v", "createDate", "updatedDate", *fields}
    set_config(CC_RUN="r")
    await write(adapter, payload(spec, 0), key)
    (named,) = await deployment.rows(spec)
    assert named == document | {
        "origin": {"run": "r", "written": named["updatedDate"]},
        "updatedDate": named["updatedDate"],
    }
    await write(uniform.adapter(spec, f"{unique}-2"), payload(spec, 0), f"{key}-2")
    (fresh,) = (row for row in await deployment.rows(spec) if row["_id"] != document["_id"])
    assert fresh.keys() == named.keys()
    assert abs(fresh["createDate"] - fresh["updatedDate"]) < timedelta(minutes=5)
    assert (fresh["__v"], type(fresh["__v"])) == (0, int)


@pytest.mark.mongodb("another program writes there")
async def test_name_is_void_once_another_program_has_written(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    set_config(CC_RUN="r")
    await state.write_state_data({"n": 1}, WHEN)
    collection = await deployment.collection(StateAdapter.spec)
    update = {"$set": {"payload": {"n": 2}}, "$currentDate": {"updatedDate": True}}
    before = (await collection.find_one())["updatedDate"]
    while (await collection.find_one())["updatedDate"] == before:  # until the server's clock has gone on
        await collection.update_one({}, update)
    assert await list_runs(deployment, StateAdapter.spec) == [None]
    assert await state.read_state_data() == {"n": 2}
    await state.write_state_data({"n": 3}, WHEN)
    assert await list_runs(deployment, StateAdapter.spec) == ["r"]


async def test_largest_payload_fits_with_the_longest_name(deployment: Deployment, unique: str) -> None:
    size = 1 << 20 if isinstance(deployment, SQLiteDeployment) else 16 * 1024 * 1024 - 256
    state, name = persist.state(unique, "s"), "\U0001f680" * LONGEST_RUN
    overhead = 4 * LONGEST_RUN + 200
    value = {"x": "x" * (size - overhead - len(unique))}
    async with transaction(run=name):
        await state.write_state_data(value, WHEN)
    set_config(CC_RUN=name)
    await state.write_state_data(value, WHEN)
    assert await list_runs(deployment, StateAdapter.spec) == [name]
    assert await state.read_state_data() == value
    if not isinstance(deployment, SQLiteDeployment):
        with pytest.raises(InputError, match="the document would be"):
            await state.write_state_data({"x": "x" * (size - 4 * LONGEST_RUN)}, WHEN)


def test_slot_can_not_have_a_field_of_that_meaning() -> None:
    def make(**columns: Any) -> SlotSpec:
        return SlotSpec(name="trip", shape="document", **columns)

    with pytest.raises(SlotError, match="gives one field two meanings"):
        make(context=("origin",), key=("origin",), redis=("origin",))
    with pytest.raises(SlotError, match="can't keep its payload in a field named 'run'"):
        make(context=("a",), key=("a",), redis=("a",), field="run")

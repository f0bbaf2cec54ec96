"""Databases of older versions of the Node package: found, reported and migrated while others read and write."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError

from backtest_mongo import (
    IndexConflictError,
    SessionAdapter,
    SlotError,
    SlotSpec,
    StoreError,
    StoreUnavailableError,
    migrate,
)
from backtest_mongo.mongo.indexes import indexes
from backtest_mongo.mongo.migrations import MigrationReport
from tests.conftest import Deployment
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN

pytestmark = pytest.mark.either_driver

SPEC = SessionAdapter.spec
OLD = "strategyName_1_exchangeName_1_frameName_1"


async def make_old(deployment: Deployment, unique: str, rows: int = 3) -> Any:
    """Make what version 0.4.0 leaves: its unique index, single ones, and rows without two fields."""
    collection = await deployment.collection(SPEC)
    await collection.create_index([(name, 1) for name in SPEC.former], unique=True, name=OLD)
    await collection.create_index("strategyName")
    if rows:
        await collection.insert_many([old_row(unique, number) for number in range(rows)])
    return collection


def old_row(unique: str, number: int, **extra: Any) -> dict[str, Any]:
    key = {"strategyName": f"{unique}-{number}", "exchangeName": "e", "frameName": ""}
    return {**key, "payload": {"n": number}, "when": float(WHEN), "__v": 0, **extra}


async def names(collection: Any) -> set[str]:
    return {name for name in await collection.index_information() if name != "_id_"}


def session(unique: str, number: int = 0, symbol: str = "", backtest: bool = False) -> SessionAdapter:
    return SessionAdapter(f"{unique}-{number}", "e", "", symbol, backtest)


async def test_nothing_is_found_in_a_current_or_an_empty_database(deployment: Deployment, unique: str) -> None:
    assert await migrate() == MigrationReport(False, ())
    assert (await migrate(apply=True)).is_clean
    await session(unique).write_session_data({"n": 1}, WHEN)
    report = await migrate()
    assert (report.found, report.is_clean) == ((), True)


async def test_search_for_outdated_rows_changes_nothing(deployment: Deployment, unique: str) -> None:
    collection = await make_old(deployment, unique)
    before = await collection.find().to_list(None), await names(collection)
    report = await migrate()
    (found,) = report.found
    assert (found.slot, found.collection, found.indexes, found.rows, found.left) == (
        "session",
        "session-items",
        (OLD,),
        3,
        3,
    )
    assert not report.is_clean
    assert (await collection.find().to_list(None), await names(collection)) == before


async def test_migration_makes_the_rows_readable_and_replaces_the_index(deployment: Deployment, unique: str) -> None:
    collection = await make_old(deployment, unique, rows=1_500)
    assert await session(unique, 1).read_session_data() is None
    report = await migrate(apply=True)
    (found,) = report.found
    assert (found.mended, found.left, found.conflicts, report.is_clean) == (1_500, 0, (), True)
    assert (found.slot, found.collection, found.indexes, found.rows) == ("session", "session-items", (OLD,), 1_500)
    assert await session(unique, 1).read_session_data(when=WHEN) == {"n": 1}
    row = await collection.find_one({"strategyName": f"{unique}-7"}, {"_id": 0})
    assert row == old_row(unique, 7, symbol="", backtest=False)
    (unique_index,) = indexes(SPEC)
    assert await names(collection) == {"_".join(f"{name}_1" for name, _ in unique_index), "strategyName_1"}
    await session(unique, 1, "BTCUSDT").write_session_data({"n": 9}, WHEN)
    assert await migrate(apply=True) == MigrationReport(True, ())


async def test_row_with_half_a_key_or_a_null_is_completed(deployment: Deployment, unique: str) -> None:
    collection = await make_old(deployment, unique, rows=0)
    await collection.insert_many([old_row(unique, 0, symbol="ETHUSDT"), old_row(unique, 1, symbol=None, backtest=True)])
    assert (await migrate(apply=True)).is_clean
    assert await session(unique, 0, "ETHUSDT").read_session_data() == {"n": 0}
    assert await session(unique, 1, backtest=True).read_session_data() == {"n": 1}


@pytest.mark.parametrize("many", [False, True])
async def test_write_that_the_old_index_refuses_says_what_to_do(
    deployment: Deployment, unique: str, many: bool
) -> None:
    await make_old(deployment, unique)
    rows = [((f"{unique}-{n}", "e", ""), {"n": n}) for n in range(3 if many else 1)]
    with pytest.raises(IndexConflictError, match="backtest-mongo migrate") as caught:
        await SessionAdapter.write_many(rows, WHEN)
    text = "session: writing failed: a unique index on strategyName, exchangeName, frameName, which this library"
    assert str(caught.value).startswith(text)
    assert (caught.value.code, caught.value.collection) == (11000, "session-items")
    assert caught.value.key is not None
    await migrate(apply=True)
    await session(unique, 1).write_session_data({"n": 9}, WHEN)
    assert await session(unique, 1).read_session_data() == {"n": 9}


async def test_concurrent_readers_and_writers_lose_nothing(deployment: Deployment, unique: str) -> None:
    collection = await make_old(deployment, unique, rows=400)
    done = asyncio.Event()
    written: dict[int, int] = {}

    async def work(number: int) -> None:
        adapter, turn = session(unique, number), 0
        while not done.is_set() or turn < 5:
            turn += 1
            try:
                await adapter.write_session_data({"n": number, "turn": turn}, WHEN)
            except IndexConflictError:  # the row is not migrated yet
                assert not written.get(number)
                await asyncio.sleep(0)
                continue
            written[number] = turn
            assert await adapter.read_session_data() == {"n": number, "turn": turn}

    workers = [asyncio.ensure_future(work(number)) for number in range(0, 400, 20)]
    # By several at once.
    reports = await asyncio.gather(*(migrate(apply=True) for _ in range(3)))
    done.set()
    await asyncio.gather(*workers)
    assert all(report.is_clean for report in reports)
    rows = await collection.find().to_list(None)
    assert sorted(row["strategyName"] for row in rows) == sorted(f"{unique}-{number}" for number in range(400))
    assert OLD not in await names(collection)
    for row in rows:
        number = row["payload"]["n"]
        assert row["payload"].get("turn") == written.get(number), row


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", range(5))
async def test_interrupted_migration_is_resumed(deployment: Deployment, unique: str, step: int) -> None:
    """Whatever was carried out last, a second row of a key is refused, and the next run ends the work."""
    collection = await make_old(deployment, unique, rows=5)
    commands = 0

    def counted(call: Any) -> Any:
        def command(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal commands
            commands += 1
            if commands > step:
                raise Killed
            return call(self, *args, **kwargs)

        return command

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtest_mongo.mongo.migrations.PAGE", 2)
        for name in ("create_indexes", "bulk_write", "drop_index"):
            patch.setattr(type(collection), name, counted(getattr(type(collection), name)))
        with pytest.raises(Killed):
            await migrate(apply=True)
    assert commands == step + 1
    for row in await collection.find({}, {"_id": 0}).to_list(None):
        with pytest.raises(DuplicateKeyError):
            await collection.insert_one(row)
    assert (await migrate(apply=True)).is_clean
    assert await collection.count_documents({"symbol": "", "backtest": False}) == 5
    assert OLD not in await names(collection)


async def test_row_whose_key_is_taken_is_left_and_reported(deployment: Deployment, unique: str) -> None:
    collection = await make_old(deployment, unique, rows=2)
    await collection.drop_index(OLD)
    await session(unique, 1).write_session_data({"n": "ours"}, WHEN)
    report = await migrate(apply=True)
    (found,) = report.found
    key = {"strategyName": f"{unique}-1", "exchangeName": "e", "frameName": "", "symbol": "", "backtest": False}
    assert (found.mended, found.left, found.conflicts) == (1, 1, (key,))
    assert not report.is_clean
    assert await session(unique, 1).read_session_data() == {"n": "ours"}
    assert await collection.count_documents({}) == 3


@pytest.fixture
async def old_on_failing(on_failing: FailingServer, unique: str) -> FailingServer:
    """A failing server with what an older version left."""
    collection = on_failing.client[unique]["session-items"]
    collection.create_index([(name, 1) for name in SPEC.former], unique=True, name=OLD)
    collection.insert_many([old_row(unique, number) for number in range(3)])
    return on_failing


@pytest.mark.parametrize(
    ("command", "doing"),
    [
        ("listIndexes", "listing the indexes"),
        ("aggregate", "counting"),
        ("createIndexes", "preparing the indexes"),
        ("find", "listing"),
        ("update", "writing what rows lack"),
        ("dropIndexes", "dropping an index"),
    ],
)
async def test_step_that_the_server_refuses_is_named_and_the_next_run_ends_the_work(
    old_on_failing: FailingServer, command: str, doing: str
) -> None:
    await migrate()  # the first operation of a hub also reads the format marker
    old_on_failing.fail(command, errorCode=20)
    with pytest.raises(StoreError, match=f"^session: {doing} failed: MongoDB answered with error 20"):
        await migrate(apply=True)
    old_on_failing.end()
    report = await migrate(apply=True)
    assert report.is_clean
    (found,) = report.found
    assert found.rows == (0 if command == "dropIndexes" else 3)


async def test_rows_that_may_not_be_durable_are_not_reported_as_mended(old_on_failing: FailingServer) -> None:
    old_on_failing.fail("update", writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"})
    with pytest.raises(StoreUnavailableError, match=r"^session: writing what rows lack failed") as caught:
        await migrate(apply=True)
    assert caught.value.may_be_applied
    old_on_failing.end()
    assert (await migrate(apply=True)).is_clean


def test_former_key_that_leaves_out_other_than_optional_arguments_is_refused() -> None:
    with pytest.raises(SlotError, match="former key"):
        SlotSpec(name="x", shape="document", context=("a", "b"), key=("a", "b"), redis=("a", "b"), former=("a",))

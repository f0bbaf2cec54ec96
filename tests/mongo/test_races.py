"""Processes that go for the same rows at once: one document a key, and no duplicate-key error for anybody."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from backtest_mongo import SLOTS, SlotSpec, StateAdapter, StorageAdapter, StoreError, close, embedded, get_mongo, setup
from backtest_mongo.embedded.server_process import HOST, Mongod
from tests.conftest import Deployment, drop_database, drop_with
from tests.support import uniform
from tests.support.deadlines import PROCESS_SECONDS, SECONDS
from tests.support.race_worker import ROWS, TASKS, value_of
from tests.support.uniform import WHEN

pytestmark = pytest.mark.heavy

PROCESSES = 8
KEYS = [str(number) for number in range(4)]
#: Slots that stand for their shapes where one of each is enough.
OF_EACH_SHAPE = ("candle", "signal", "partial", "storage", "memory")


class Pool:
    """Processes that wait for jobs."""

    def __init__(self, processes: int) -> None:
        command = [sys.executable, "-W", "error", "-m", "tests.support.race_worker"]
        self._workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]

    def run(
        self, kind: str, config: dict[str, Any] | list[dict[str, Any]], spec: SlotSpec, unique: str, **more: Any
    ) -> list[dict[str, Any]]:
        """Let every process do the job, beginning at one moment, and return what each of them reports.

        The configuration is that of all processes, or a list with one for each.
        """
        job = {"kind": kind, "slot": spec.name, "unique": unique, "keys": KEYS, **more}
        configs = config if isinstance(config, list) else [config] * len(self._workers)
        for number, worker in enumerate(self._workers):
            _send(worker, json.dumps({**job, "config": configs[number], "process": number}))
        for worker in self._workers:
            assert _receive(worker) == "ready\n"
        start = time.time() + 0.05  # all have read it by then
        for worker in self._workers:
            _send(worker, str(start))
        return [json.loads(_receive(worker)) for worker in self._workers]

    def stop(self) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.close()  # with which they end
        for worker in self._workers:
            worker.wait(PROCESS_SECONDS)
            assert worker.stdout is not None
            worker.stdout.close()
        assert {worker.returncode for worker in self._workers} == {0}


def _send(worker: subprocess.Popen[str], line: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()


def _receive(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline()


class FailingMongod(Mongod):
    """A standalone ``mongod`` that takes ``configureFailPoint``."""

    def _command(self) -> list[Any]:
        return [
            embedded.find_mongod(),
            *("--port", self.port, "--bind_ip", HOST, "--nounixsocket", "--dbpath", self._data),
            *("--wiredTigerCacheSizeGB", 0.25, "--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "enableTestCommands=1"),
        ]

    def _answers(self) -> bool:
        with self._client() as client:
            try:
                return bool(client.admin.command("ping"))
            except PyMongoError:
                return False


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(PROCESSES)
    yield pool
    pool.stop()


@pytest.fixture(scope="module")
def failing_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingMongod]:
    mongod = start_failing_mongod(tmp_path_factory.mktemp("standalone"))
    yield mongod
    mongod.stop(kill=True)


def start_failing_mongod(directory: Path) -> FailingMongod:
    from backtest_mongo.embedded.servers import _free_port

    mongod = FailingMongod(directory, _free_port(), keep=False)
    mongod.start()
    return mongod


def on_standalone(mongod: FailingMongod, config: dict[str, Any], unique: str) -> dict[str, Any]:
    return {**config, "CC_MONGO_CONNECTION_STRING": f"mongodb://{HOST}:{mongod.port}/{unique}"}


@pytest.fixture
async def standalone(
    failing_mongod: FailingMongod, config: dict[str, Any], unique: str
) -> AsyncIterator[dict[str, Any]]:
    """The configuration of a fresh database on a standalone, which the library is set up on."""
    alone = on_standalone(failing_mongod, config, unique)
    await setup(alone)
    yield alone
    await fail("off")
    await drop_database(unique)
    await close()


async def fail(mode: Any, **data: Any) -> int:
    """Configure which commands of ours the server fails, or delays; return how often it had done so before."""
    client = await get_mongo()
    data = {"data": {"appName": "backtest-mongo", **data}} if data else {}
    answer = await client.admin.command({"configureFailPoint": "failCommand", "mode": mode, **data})
    return int(answer["count"])


LOST_RACE = {"errorCode": 11000, "errorExtraInfo": {"keyPattern": {"x": 1}, "keyValue": {"x": 1}}}


@pytest.fixture
def database(config: dict[str, Any], unique: str) -> Iterator[Any]:
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"]) as client:
        yield client[unique]
        drop_with(client, unique)


def race_for_fresh_keys(
    pool: Pool, config: dict[str, Any], collection: Any, spec: SlotSpec, unique: str
) -> Counter[str]:
    """Check both write paths of a slot, and return how many lost races the server reported on each."""
    lost: Counter[str] = Counter()
    keys = len(KEYS)
    for kind in ("one_at_a_time", "all_at_once"):
        reports = pool.run(kind, config, spec, f"{unique}-{kind}")
        assert [problem for report in reports for problem in report["problems"]] == []
        rows = collection.find({"$or": [{name: {"$regex": f"{unique}-{kind}"}} for name in spec.key]}).to_list(None)
        count = Counter(tuple(row[name] for name in spec.key) for row in rows)
        assert (len(count), set(count.values())) == (keys * ROWS if spec.shape == "series" else keys, {1})
        if spec.shape == "series":
            assert sum(report["inserted"] for report in reports) == keys * ROWS
            # Each row is one writer's, whole: its prices belong together.
            assert all(row["high"] == row["open"] + 1 and row["low"] == row["open"] - 1 for row in rows)
        for row in rows if spec.shape != "series" else ():
            value = row[spec.field]
            value = value[0][1] if spec.payload == "list" else {name: value[name] for name in ("number", "again")}
            assert value == value_of(value["number"])
            assert value["number"] in range(PROCESSES * TASKS)
        commands: Counter[str] = sum((Counter(report["commands"]) for report in reports), Counter())
        alone = "findAndModify" if spec.shape not in ("collection", "series") else None
        together = {"series": "insert", "collection": "update"}.get(spec.shape, "update")
        if kind == "one_at_a_time" and alone:
            assert commands[alone] >= PROCESSES * TASKS * keys
        else:
            assert commands[together] >= PROCESSES if spec.shape != "series" else commands[together] >= 1
        lost[kind] = commands["lost races"]
    return lost


def test_64_tasks_in_8_processes_make_one_document_per_key(
    pool: Pool, config: dict[str, Any], database: Any, unique: str, spec: SlotSpec
) -> None:
    race_for_fresh_keys(pool, config, database[spec.collection], spec, unique)


@pytest.mark.parametrize("name", OF_EACH_SHAPE)
def test_concurrent_tasks_make_one_document_per_key_on_a_standalone(
    pool: Pool, failing_mongod: FailingMongod, config: dict[str, Any], unique: str, name: str
) -> None:
    (spec,) = (spec for spec in SLOTS if spec.name == name)
    alone = on_standalone(failing_mongod, config, unique)
    with pymongo.MongoClient[dict[str, Any]](alone["CC_MONGO_CONNECTION_STRING"]) as client:
        race_for_fresh_keys(pool, alone, client[unique][spec.collection], spec, unique)
        drop_with(client, unique)


@pytest.mark.parametrize("name", ["signal", "partial", "memory", "storage"])
def test_races_that_the_server_leaves_to_its_clients_are_retried(
    pool: Pool, config: dict[str, Any], database: Any, unique: str, name: str
) -> None:
    (spec,) = (spec for spec in SLOTS if spec.name == name)
    # The server repeats a lost race itself only where the index that was violated has the fields of the filter and no
    # others. This one has one more, and comes first: so the clients get the errors that older servers give them.
    collection = database[spec.collection]
    collection.create_index([*((name, 1) for name in spec.key), ("__v", 1)], unique=True)
    lost: Counter[str] = Counter()
    deadline = time.monotonic() + SECONDS
    attempt = 0
    while not lost.total():
        assert time.monotonic() < deadline, "no race was lost"
        attempt += 1
        lost += race_for_fresh_keys(pool, config, collection, spec, f"{unique}-{attempt}-")


@pytest.mark.slots("soft_delete")
def test_remove_against_write_leaves_the_row_written_or_removed(
    pool: Pool, config: dict[str, Any], database: Any, unique: str, spec: SlotSpec
) -> None:
    reports = pool.run("write_against_remove", config, spec, unique)
    assert [problem for report in reports for problem in report["problems"]] == []
    rows = database[spec.collection].find().to_list(None)
    assert sorted(row[spec.item] for row in rows) == KEYS
    for row in rows:
        value = dict(row["payload"])
        assert value.pop("removed", False) is row["removed"]
        assert value == value_of(value["number"])


@pytest.mark.slots("soft_delete")
def test_read_and_list_against_remove_never_give_a_removed_row(
    pool: Pool, config: dict[str, Any], database: Any, unique: str, spec: SlotSpec
) -> None:
    kept = [f"kept-{number}" for number in range(10)]

    async def write() -> None:
        async with setup(config):
            adapter = uniform.adapter(spec, unique)
            await asyncio.gather(*(uniform.write(adapter, value_of(number), key) for number, key in enumerate(kept)))

    asyncio.run(write())
    reports = pool.run("read_against_remove", config, spec, unique, kept=kept, seconds=1.0)
    assert [problem for report in reports for problem in report["problems"]] == []
    seen: Counter[str] = sum((Counter(report["seen"]) for report in reports), Counter())
    assert min(seen["present"], seen["absent"], seen["listed"], seen["written"]) > 10


@pytest.mark.parametrize("name", ["signal", "risk", "partial", "memory"])
def test_of_64_tasks_in_8_processes_one_claims_each_key(
    pool: Pool, config: dict[str, Any], database: Any, unique: str, name: str
) -> None:
    (spec,) = (spec for spec in SLOTS if spec.name == name)
    reports = pool.run("claim", config, spec, unique)
    assert [problem for report in reports for problem in report["problems"]] == []
    winners: Counter[str] = sum((Counter(report["seen"]) for report in reports), Counter())
    assert sorted(winner.split()[0] for winner in winners) == KEYS
    rows = database[spec.collection].find().to_list(None)
    payloads = [row[spec.field][0][1] if spec.payload == "list" else row[spec.field] for row in rows]
    assert sorted(payload["number"] for payload in payloads) == sorted(int(winner.split()[1]) for winner in winners)


@pytest.mark.parametrize("name", ["signal", "risk", "partial", "memory"])
def test_64_tasks_in_8_processes_that_count_with_versions_lose_no_count(
    pool: Pool, config: dict[str, Any], database: Any, unique: str, name: str
) -> None:
    (spec,) = (spec for spec in SLOTS if spec.name == name)
    reports = pool.run("count", config, spec, unique)
    assert [problem for report in reports for problem in report["problems"]] == []
    rows = database[spec.collection].find().to_list(None)
    payloads = [row[spec.field][0][1] if spec.payload == "list" else row[spec.field] for row in rows]
    assert [payload["number"] for payload in payloads] == [PROCESSES * TASKS] * len(KEYS)


async def test_last_of_many_tasks_on_one_fresh_key_is_the_last_that_was_called(
    deployment: Deployment, unique: str
) -> None:
    state = StateAdapter(unique, "counter")
    await asyncio.gather(*(state.write_state_data({"n": number}, WHEN) for number in range(64)))
    assert len(await deployment.rows(StateAdapter.spec)) == 1
    assert await state.read_state_data() == {"n": 63}


# A lost race made for certain


@pytest.mark.parametrize("times", [1, 2])
async def test_lost_race_of_a_single_write_is_retried(standalone: dict[str, Any], unique: str, times: int) -> None:
    state = StateAdapter(unique, "counter")
    await state.wait_for_init()
    before = await fail({"times": times}, failCommands=["findAndModify"], **LOST_RACE)
    await state.write_state_data({"n": 1}, WHEN)
    assert await fail("off") - before == times
    assert await state.read_state_data() == {"n": 1}


async def test_race_that_is_always_lost_is_an_error_after_a_bounded_number_of_attempts(
    standalone: dict[str, Any], unique: str
) -> None:
    state = StateAdapter(unique, "counter")
    await state.wait_for_init()
    before = await fail("alwaysOn", failCommands=["findAndModify"], **LOST_RACE)
    with pytest.raises(StoreError, match="a unique index on x, which this library did not create") as caught:
        await state.write_state_data({"n": 1}, WHEN)
    assert caught.value.code == 11000
    assert 2 <= await fail("off") - before <= 10


@pytest.mark.parametrize("path", ["batch", "list"])
async def test_lost_race_of_one_row_of_a_batch_is_retried_alone(
    standalone: dict[str, Any], unique: str, path: str
) -> None:
    # A row of somebody else's holds a value that may be there once. It makes way while the server holds the second try.
    spec = StateAdapter.spec if path == "batch" else StorageAdapter.spec
    await uniform.adapter(spec, unique).wait_for_init()
    collection = (await get_mongo())[unique][spec.collection]
    only = {"payload.only": True}
    await collection.create_index([("payload.only", 1)], unique=True, partialFilterExpression=only)
    await collection.insert_one({"payload": {"only": True}})
    second, mode = ("findAndModify", {"times": 1}) if path == "batch" else ("update", {"skip": 1})
    before = await fail(mode, failCommands=[second], blockConnection=True, blockTimeMS=1_000)
    values = [{"id": f"{unique}-{number}", "only": number == 2} for number in range(5)]
    if path == "batch":
        writing = asyncio.ensure_future(
            StateAdapter.write_many([((unique, value["id"]), value) for value in values], WHEN)
        )
    else:
        writing = asyncio.ensure_future(StorageAdapter(True).write_storage_data(values))
    wait = {"waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 20_000}
    await (await get_mongo()).admin.command(wait)
    await collection.delete_one({"payload": {"only": True}})
    await writing
    rows = await collection.find().sort("payload.id", 1).to_list(None)
    assert [row["payload"] for row in rows] == values
    assert len({row["_id"] for row in rows}) == 5
    if path == "batch":
        found: list[Any] = await StateAdapter.read_many([(unique, value["id"]) for value in values])
    else:
        found = await StorageAdapter(True).read_storage_data()
    assert found == values

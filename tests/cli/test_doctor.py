"""The doctor: what it finds on sound, wrong and dead servers, and how it says so."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId, Regex
from rich.console import Console

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    Column,
    EquityAdapter,
    LogAdapter,
    MemoryAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    persist,
    transaction,
)
from backtest_mongo.cli.doctor import diagnose as doctor
from backtest_mongo.cli.doctor import history_checks, latency, mongo_checks, series_checks
from backtest_mongo.cli.doctor.diagnose import diagnose
from backtest_mongo.cli.doctor.findings import SEVERITIES, Diagnosis, Finding
from backtest_mongo.cli.doctor.latency import PROBE
from backtest_mongo.cli.doctor.output import print_diagnosis
from backtest_mongo.core.background import finish_background
from faults.topology import Mongod, RedisNode, temporary_directory
from tests.cli.test_cli import run
from tests.conftest import Deployment, tiny_blocks
from tests.support.built_in_series import equity, shrink_blocks
from tests.support.leases import take_leases
from tests.support.typed_rows import StructRow, make
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


@pytest.fixture
def short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor waits for a server that is down for half a second only."""
    monkeypatch.setattr(doctor, "_ANSWER_SECONDS", 0.5)


@pytest.fixture
def any_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of a busy machine is slow."""
    monkeypatch.setattr(latency, "_SLOW_MS", float("inf"))
    monkeypatch.setattr(latency, "_SLOW_REDIS_MS", float("inf"))


def found(diagnosis: Diagnosis, area: str, text: str) -> Finding:
    """Return the one finding of an area whose text has these words."""
    (one,) = [finding for finding in diagnosis.findings if finding.area == area and text in finding.text]
    return one


def texts(diagnosis: Diagnosis, *severities: str) -> list[str]:
    return [finding.text for finding in diagnosis.findings if finding.severity in severities]


async def fill(unique: str) -> None:
    for name in ("BTCUSDT", "ETHUSDT"):
        await SignalAdapter(name, unique, "x").write_signal_data({"id": "s"})
    await StateAdapter(unique, "b").write_state_data({"n": 1}, WHEN)
    await LogAdapter().write_log_data([{"id": unique}])


@pytest.mark.usefixtures("any_latency")
async def test_rows_of_a_run_are_no_finding(deployment: Deployment, unique: str) -> None:
    async with transaction(run="r"):
        await fill(unique)
    diagnosis = await diagnose()
    assert texts(diagnosis, "problem", "warning") == []
    assert [finding.text for finding in diagnosis.findings if "origin" in finding.text] == []
    assert [finding.severity for finding in diagnosis.findings if finding.area == "indexes"] == ["ok"]


@pytest.mark.usefixtures("any_latency")
async def test_sound_deployment_has_no_problem(deployment: Deployment, unique: str) -> None:
    await fill(unique)
    diagnosis = await diagnose()
    assert texts(diagnosis, "problem", "warning") == []
    assert diagnosis.is_sound
    assert found(diagnosis, "topology", "replica set").severity == "note"
    assert found(diagnosis, "durability", "w: majority").severity == "ok"
    assert found(diagnosis, "clock", "this machine's").severity == "ok"
    assert found(diagnosis, "indexes", "3 collections have the indexes").severity == "ok"
    assert (
        found(diagnosis, "cache", "ids of random rows: 4 of 4 are in Redis, and 4 of those are right").severity == "ok"
    )
    assert abs(diagnosis.facts["clock_skew_ms"]) < 1_000
    assert {step.name for step in diagnosis.steps} == {
        "MongoDB: ping",
        "MongoDB: read by cached id",
        "MongoDB: read by key",
        "MongoDB: write",
        "Redis: get an id",
        "Redis: cache an id",
    }
    assert {size.collection: size.rows for size in diagnosis.sizes} == {
        "signal-items": 2,
        "state-items": 1,
        "log-items": 1,
    }
    assert PROBE not in await (await backtest_mongo.get_mongo())[deployment.name].list_collection_names()
    assert json.loads(json.dumps(diagnosis.to_json()))["ok"] is True


async def test_read_only_writes_nothing(deployment: Deployment, unique: str) -> None:
    await fill(unique)
    database = (await backtest_mongo.get_mongo())[deployment.name]
    async with SignalAdapter.watch_all(), StateAdapter.watch_all():
        before = await database.command("dbStats")
        diagnosis = await diagnose(read_only=True)
        after = await database.command("dbStats")
    assert {name: after[name] for name in ("collections", "objects", "indexes")} == {
        name: before[name] for name in ("collections", "objects", "indexes")
    }
    assert [step.name for step in diagnosis.steps if "write" in step.name or "cache an" in step.name] == []


async def test_empty_database_is_no_problem(deployment: Deployment) -> None:
    diagnosis = await diagnose()
    assert diagnosis.is_sound
    assert (
        "is it the one that CC_MONGO_CONNECTION_STRING should name?"
        in found(diagnosis, "collections", "nothing is stored").advice
    )


async def test_leases_are_listed_and_expired_ones_are_warned_of(deployment: Deployment, unique: str) -> None:
    await fill(unique)
    await take_leases(StateAdapter(unique, "b"), *(StateAdapter(unique, f"b-{number}") for number in range(6)))
    await take_leases(SignalAdapter("BTCUSDT", unique, "x"))
    database = (await backtest_mongo.get_mongo())[deployment.name]
    await database["leases"].update_one({"slot": "signal"}, {"$set": {"until": datetime(2023, 11, 14, tzinfo=UTC)}})
    async with transaction():
        await SignalAdapter("ETHUSDT", unique, "x").write_signal_data({"id": "t"})
    diagnosis = await diagnose()
    held = found(diagnosis, "leases", "7 leases held: ")
    assert held.severity == "ok"
    assert f"state {unique} b by process {os.getpid()} on {socket.gethostname()} since " in held.text
    assert held.text.endswith("; and 2 more")
    expired = found(diagnosis, "leases", "1 lease expired and not given back: ")
    assert expired.severity == "warning"
    assert f"signal BTCUSDT {unique} x by process " in expired.text
    assert "expired 2023-11-14T00:00:00Z" in expired.text
    assert "`backtest-mongo leases release`" in expired.advice
    assert [one["expired"] for one in diagnosis.facts["leases"]] == [True, *7 * [False]]
    # The library's own collections are no foreign ones.
    assert [finding.text for finding in diagnosis.findings if "other collections" in finding.text] == []
    assert found(diagnosis, "transactions", "can be used").severity == "ok"
    assert found(diagnosis, "format", "the database needs leases, which this version knows").severity == "ok"
    assert json.loads(json.dumps(diagnosis.to_json()))["facts"]["transactions"] is True


async def test_database_of_a_newer_version_is_a_problem(deployment: Deployment, unique: str) -> None:
    database = (await backtest_mongo.get_mongo())[deployment.name]
    await database["backtest_mongo"].insert_one({"_id": "format", "needs": ["leases", "forks"]})
    diagnosis = await diagnose()
    finding = found(diagnosis, "format", "does not know: forks")
    assert (finding.severity, diagnosis.is_sound) == ("problem", False)
    assert finding.advice.startswith("upgrade backtest-mongo")
    assert diagnosis.facts["needs"] == ["leases", "forks"]


@pytest.mark.parametrize(
    ("index", "severity", "text"),
    [
        ({"keys": [("signalId", 1), ("bucketName", 1)]}, "problem", "conflicts with ours: it is not unique"),
        (
            {"keys": [("signalId", 1), ("bucketName", 1)], "unique": True, "partialFilterExpression": {"when": 1}},
            "problem",
            "conflicts with ours: it covers only some of the rows",
        ),
        ({"keys": [("bucketName", 1)], "unique": True}, "problem", "rejects rows that differ in other fields"),
        ({"keys": [("createDate", 1)], "expireAfterSeconds": 60}, "problem", "delete rows by their age"),
        (
            {"keys": [("bucketName", 1), ("signalId", 1), ("when", 1)], "unique": True},
            "note",
            "is not ours; it rejects nothing",
        ),
        ({"keys": [("payload.n", 1)]}, "note", "is not ours: no query uses it"),
        ({"keys": [("payload.n", "text")]}, "note", "is not ours: no query uses it"),
        ({"keys": [("signalId", 1)]}, "note", "single-field indexes of the Node package: 1"),
    ],
)
async def test_index_is_judged(
    deployment: Deployment, unique: str, index: dict[str, Any], severity: str, text: str
) -> None:
    collection = await deployment.collection(StateAdapter.spec)
    await collection.insert_one({"signalId": unique, "bucketName": "b"})
    await collection.create_index(index["keys"], **{name: value for name, value in index.items() if name != "keys"})
    finding = found(await diagnose(read_only=True), "indexes", text)
    assert finding.severity == severity
    assert finding.advice


async def test_indexes_of_filters_and_of_what_is_kept_are_ours(deployment: Deployment, unique: str) -> None:
    backtest_mongo.set_config(CC_KEEP="log=5")
    log = backtest_mongo.LogAdapter()
    await log.write_log_data([{"id": unique}])
    await log.read_log_data(strategy_name="s", symbol="m", since=0)
    await finish_background()
    assert len(await (await deployment.collection(LogAdapter.spec)).index_information()) == 3 + 4
    findings = [one for one in (await diagnose(read_only=True)).findings if one.area == "indexes"]
    assert [one.severity for one in findings] == ["ok"]


async def test_missing_indexes_are_reported(deployment: Deployment, unique: str) -> None:
    await (await deployment.collection(LogAdapter.spec)).insert_one({"entryId": unique})
    diagnosis = await diagnose(read_only=True)
    assert found(diagnosis, "indexes", "the unique index on entryId is missing").severity == "warning"
    assert found(diagnosis, "indexes", "the index on createDate, _id is missing").severity == "note"


async def test_database_of_an_older_node_package_is_reported_with_its_remedy(
    deployment: Deployment, unique: str
) -> None:
    collection = await deployment.collection(SessionAdapter.spec)
    await collection.create_index([(name, 1) for name in SessionAdapter.spec.former], unique=True)
    await collection.insert_one({"strategyName": unique, "exchangeName": "e", "frameName": "f"})
    diagnosis = await diagnose(read_only=True)
    for area, text in (("indexes", "of an older version of the Node package"), ("rows", "no read finds them: 1")):
        finding = found(diagnosis, area, text)
        assert finding.severity == "problem"
        assert "backtest-mongo migrate" in finding.advice
    await backtest_mongo.migrate(apply=True)
    assert (await diagnose(read_only=True)).is_sound


async def test_ids_without_a_document_are_reported(deployment: Deployment, unique: str) -> None:
    states = [StateAdapter(unique, f"b{number}") for number in range(20)]
    for state in states:
        await state.write_state_data({}, WHEN)
    redis = await backtest_mongo.get_redis()
    spec = StateAdapter.spec
    await redis.set(spec.redis_key((unique, "b0")), str(ObjectId()))
    await redis.set(spec.redis_key((unique, "b1")), "nonsense")
    other = await (await deployment.collection(spec)).find_one({"bucketName": "b3"})
    await redis.set(spec.redis_key((unique, "b2")), str(other["_id"]))
    finding = found(await diagnose(read_only=True), "cache", "are in Redis, and 17 of those are right")
    assert finding.severity == "note"
    assert "of another row with the same Redis key: 1" in finding.text
    assert "without a document: 2" in finding.text
    for number in range(4, 12):
        await redis.set(spec.redis_key((unique, f"b{number}")), str(ObjectId()))
    finding = found(await diagnose(read_only=True), "cache", "as if Redis belonged to another database")
    assert finding.severity == "warning"


async def test_sealed_blocks_are_compared_with_their_candles(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    series = CandleAdapter("BTCUSDT", "1m", unique)
    await series.write_candles_data(candles(40))
    diagnosis = await diagnose(read_only=True)
    assert "match their candles" in found(diagnosis, "blocks", "sealed blocks").text
    rows = await deployment.collection(series.spec)
    await rows.update_many({}, {"$set": {"close": 7.0}})
    diagnosis = await diagnose(read_only=True)
    damaged = [finding for finding in diagnosis.findings if finding.area == "blocks"]
    assert damaged
    for finding in damaged:
        assert finding.severity == "problem"
        assert "its prices differ" in finding.text
        assert "backtest-mongo candles verify --repair" in finding.advice


@pytest.mark.parametrize(
    ("options", "severity", "text"),
    [
        ("w=1", "warning", "w: 1: an acknowledged write is not on the majority yet"),
        ("w=1&journal=false", "warning", "no write waits for the disk"),
    ],
)
async def test_weaker_write_concern_is_reported(
    config: dict[str, Any], unique: str, options: str, severity: str, text: str
) -> None:
    uri = f"{config['CC_MONGO_CONNECTION_STRING']}&{options}"
    async with backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri}):
        assert found(await diagnose(read_only=True), "durability", text).severity == severity


async def test_connection_string_that_names_no_replica_set_is_reported(config: dict[str, Any], unique: str) -> None:
    uri = config["CC_MONGO_CONNECTION_STRING"].partition("?")[0]
    async with backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri}):
        finding = found(await diagnose(read_only=True), "topology", "names one server")
    assert "add replicaSet=" in finding.advice


async def test_clocks_that_differ_are_reported(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for seconds, severity, words in ((-5, "warning", "5000 ms ahead of"), (3600, "problem", "3,600 s behind")):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: real() + seconds)
        finding = found(await diagnose(read_only=True), "clock", "this machine's")
        assert finding.severity == severity
        assert words.split()[-1] in finding.text
        assert "NTP" in finding.advice


# Servers that are down, alone, or full.


@pytest.fixture(scope="module")
def own_servers() -> Iterator[tuple[Mongod, RedisNode]]:
    with temporary_directory() as directory:
        mongod, redis = Mongod(directory / "standalone"), RedisNode(directory / "redis")
        mongod.start()
        redis.start()
        yield mongod, redis
        mongod.stop(kill=True)
        redis.stop(kill=True)


@pytest.fixture
async def alone(own_servers: tuple[Mongod, RedisNode], driver: str, unique: str) -> AsyncIterator[RedisNode]:
    """The library on a standalone, and a Redis whose settings may be changed."""
    mongod, redis = own_servers
    values = {"CC_MONGO_CONNECTION_STRING": mongod.uri(unique), "CC_MONGO_DRIVER": driver}
    async with backtest_mongo.setup({**values, "CC_REDIS_PORT": redis.port}):
        yield redis
    redis.reset()


async def test_standalone_is_reported_with_what_it_means(alone: RedisNode, unique: str) -> None:
    await fill(unique)
    diagnosis = await diagnose()
    assert diagnosis.is_sound
    assert "--replSet" in found(diagnosis, "topology", "a standalone").advice
    assert found(diagnosis, "transactions", "a standalone has no transactions").severity == "note"
    assert diagnosis.facts["transactions"] is False
    assert found(diagnosis, "durability", "in the journal").severity == "ok"


@pytest.mark.parametrize(
    ("settings", "severity", "text"),
    [
        ({}, "note", "no limit"),
        ({"maxmemory": "100mb"}, "warning", "policy noeviction"),
        ({"maxmemory": "100mb", "maxmemory-policy": "volatile-lru"}, "warning", "new ids are not cached"),
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "ok", "policy allkeys-lru"),
    ],
)
async def test_memory_policy_of_redis_is_judged(
    alone: RedisNode, settings: dict[str, str], severity: str, text: str
) -> None:
    for name, value in settings.items():
        alone.command("CONFIG", "SET", name, value)
    assert found(await diagnose(read_only=True), "redis", text).severity == severity


async def test_redis_that_is_a_replica_is_reported(alone: RedisNode) -> None:
    alone.command("REPLICAOF", "127.0.0.1", 1)
    assert found(await diagnose(read_only=True), "redis", "is a replica").severity == "warning"


async def test_redis_that_denies_info_is_a_note(alone: RedisNode) -> None:
    alone.command("ACL", "SETUSER", "default", "-info")
    diagnosis = await diagnose()
    assert found(diagnosis, "redis", "memory: could not be checked: Redis refuses it to this user").severity == "note"
    assert [step.name for step in diagnosis.steps if step.name.startswith("Redis")] != []


@pytest.mark.usefixtures("short_probe", "closing")
@pytest.mark.parametrize("required", [True, False])
async def test_redis_that_is_down_hides_nothing_of_mongodb(config: dict[str, Any], unique: str, required: bool) -> None:
    down = {**config, "CC_REDIS_PORT": 1, "CC_REDIS_REQUIRED": required}
    async with backtest_mongo.setup(down):
        await fill(unique)
        diagnosis = await diagnose()
    finding = found(diagnosis, "redis", "did not answer")
    assert finding.severity == ("problem" if required else "warning")
    assert diagnosis.is_sound is not required
    assert found(diagnosis, "indexes", "3 collections").severity == "ok"
    assert len(diagnosis.sizes) == 3


@pytest.mark.usefixtures("any_latency", "short_probe", "closing")
async def test_mongodb_that_is_down_hides_nothing_of_redis(config: dict[str, Any]) -> None:
    async with backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": "mongodb://127.0.0.1:1/x"}):
        diagnosis = await diagnose()
    assert found(diagnosis, "mongodb", "did not answer").severity == "problem"
    assert found(diagnosis, "redis", "answers").severity == "ok"
    assert {step.name for step in diagnosis.steps} == {"Redis: get an id", "Redis: cache an id"}
    assert texts(diagnosis, "warning") == []


async def test_steps_over_their_latency_are_named(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(unique)
    monkeypatch.setattr(latency, "_SLOW_MS", 0.0)
    monkeypatch.setattr(latency, "_SLOW_REDIS_MS", 0.0)
    diagnosis = await diagnose()
    slow = [finding for finding in diagnosis.findings if finding.area == "latency"]
    assert [finding.severity for finding in slow] == ["warning", "warning"]
    named = ", ".join(finding.text for finding in slow)
    assert [step.name for step in diagnosis.steps if f"{step.name} takes" not in named] == []
    assert diagnosis.is_sound


def test_servers_elsewhere_without_tls_are_reported() -> None:
    assert mongo_checks._are_local(["localhost:27017", "127.0.0.1", "[::1]:5"])
    assert not mongo_checks._are_local(["localhost", "db.example:27017"])


def test_each_finding_is_printed_with_advice_and_findings_are_counted() -> None:
    diagnosis = Diagnosis([Finding("area", severity, f"text {severity}", f"do {severity}") for severity in SEVERITIES])
    output = io.StringIO()
    print_diagnosis(Console(file=output, width=100), diagnosis)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert lines == [
        "area  ok       text ok",
        "               -> do ok",
        "      note     text note",
        "               -> do note",
        "      warning  text warning",
        "               -> do warning",
        "      problem  text problem",
        "               -> do problem",
        "1 problem, 1 warning, 1 note, 1 ok",
    ]


@pytest.mark.parametrize("driver", ["pymongo"])
async def test_command_prints_json_and_its_exit_status_reports_problems(
    deployment: Deployment, unique: str, driver: str
) -> None:
    done = run("doctor", "--json", "--read-only", **deployment.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True
    collection = await deployment.collection(StateAdapter.spec)
    await collection.create_index([("signalId", 1), ("bucketName", 1)])
    done = run("doctor", COLUMNS="100", **deployment.environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem" in done.stdout


async def keep_versions(unique: str) -> None:
    """Let a slot have versions, a row that was written since, by this library and by Node, and one without."""
    await StateAdapter(unique, "before").write_state_data({"n": 0}, WHEN)
    await backtest_mongo.setup(CC_HISTORY="state=100,dictionary")
    for name in ("same", "since", "node"):
        for number in range(3):
            await StateAdapter(unique, name).write_state_data({"n": number}, WHEN + number)
    await backtest_mongo.setup(CC_HISTORY=None)
    await StateAdapter(unique, "since").write_state_data({"n": 9}, WHEN + 9)


async def test_versions_are_counted_and_rows_without_one(deployment: Deployment, unique: str) -> None:
    await keep_versions(unique)
    collection = await deployment.collection(StateAdapter.spec)
    node = {"$set": {"payload": {"n": 7}, "updatedDate": datetime(2030, 1, 1, tzinfo=UTC)}}
    assert (await collection.update_one({"bucketName": "node"}, node)).modified_count == 1
    diagnosis = await diagnose()
    (finding,) = [one for one in diagnosis.findings if one.area == "history"]
    assert finding.severity == "warning"
    kept = diagnosis.facts["history"]["state"]
    assert 9 * 40 < kept["bytes"] < 9 * 1000
    assert {**kept, "bytes": None} == {
        "keep": None, "versions": 9, "bytes": None, "rows": 4, "rows_without_version": 1, "rows_written_since": 2,
        "more_rows": False,
    }  # fmt: skip
    assert finding.text.startswith("state: 9 versions kept, ")
    assert finding.text.endswith(
        "; 1 row without one; 2 rows written since without one; CC_HISTORY does not name it here"
    )
    assert "the Node package keeps no versions" in finding.advice
    assert "state-history" in [size.collection for size in diagnosis.sizes]
    assert not [one for one in diagnosis.findings if "other collections" in one.text]


async def test_slots_whose_rows_all_have_versions_are_sound(deployment: Deployment, unique: str) -> None:
    await backtest_mongo.setup(CC_HISTORY="state=100,memory,dictionary")
    await StateAdapter(unique, "b").write_state_data({"n": 1}, WHEN)
    memory = MemoryAdapter(unique, "b")
    async with transaction():
        for name in ("a", "b"):
            await memory.write_memory_data({"n": 1}, name, WHEN)
    await memory.remove_memory_data("a")
    diagnosis = await diagnose()
    assert [one.severity for one in diagnosis.findings if one.area == "history"] == ["ok", "ok", "ok"]
    assert found(diagnosis, "history", "dictionary").text.startswith("dictionary: 0 versions kept")
    assert diagnosis.facts["history"]["memory"]["versions"] >= 2
    assert diagnosis.facts["history"]["state"]["keep"] == "100"


async def test_comparison_with_versions_is_cut_off_and_says_so(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep_versions(unique)
    monkeypatch.setattr(history_checks, "MAX_ROWS", 2)
    finding = found(await diagnose(), "history", "state")
    assert "1 row without one of the first 2 rows" in finding.text


async def test_versions_on_a_standalone_are_a_problem(alone: RedisNode, unique: str) -> None:
    await backtest_mongo.setup(CC_HISTORY="state,signal")
    diagnosis = await diagnose()
    finding = found(diagnosis, "history", "versions of signal, state should be kept, but a standalone can't")
    assert finding.severity == "problem"
    assert "--replSet" in finding.advice
    assert not diagnosis.is_sound


@pytest.mark.usefixtures("any_latency")
async def test_series_with_columns_are_described_and_damage_is_found(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_blocks(monkeypatch)
    series = EquityAdapter(unique, "binance", "1h", "BTCUSDT", True)
    await series.write_frame(equity(*range(8)))
    await series.append(equity(9))
    await series.retain("90d")
    diagnosis = await diagnose(read_only=True)
    assert texts(diagnosis, "problem", "warning") == []
    text = found(diagnosis, "series", "equity: 1 series").text
    assert "8 rows in 2 blocks" in text
    assert "1 in 1 group of the tail" in text
    assert "the oldest of which" in text
    assert text.endswith("; retention: 90d of 1 series")
    (fact,) = diagnosis.facts["series"]
    assert (fact["slot"], fact["context"], fact["tail_rows"], fact["keep"]) == ("equity", series.context, 1, "90d")
    assert {size.collection for size in diagnosis.sizes} == {"equity-items", "equity-blocks", "equity-series"}
    database = (await backtest_mongo.get_mongo())[deployment.name]
    await database["equity-blocks"].update_one({"start": 4}, {"$set": {"columns": {}}})
    await database["equity-items"].drop_indexes()
    diagnosis = await diagnose(read_only=True)
    assert "a block is damaged" in found(diagnosis, "series", f"equity {unique} binance 1h BTCUSDT backtest: ").text
    assert "the index on strategyName" in found(diagnosis, "indexes", "equity-items: ").text
    await database["equity-blocks"].delete_one({"start": 4})
    diagnosis = await diagnose(read_only=True)
    assert "had the rows from 4 to the last one is missing" in found(diagnosis, "series", f"equity {unique}").text


async def test_series_whose_tail_or_retention_needs_attention_are_named(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, behind, unknown = (EquityAdapter(unique, "binance", "1h", symbol, False) for symbol in ("BTC", "ETH", "XRP"))
    await old.append(equity(1, 2))
    await old.retain("1d")
    await old.append(equity(3 * 86_400_000))  # a write of one row makes no block, and deletes none
    for at in range(4):
        await behind.append(equity(at))
    await unknown.append(equity(1))
    database = (await backtest_mongo.get_mongo())[deployment.name]
    await database["equity-series"].update_one({"symbol": "XRP"}, {"$set": {"retention": 7}})
    monkeypatch.setattr(series_checks, "SEALED_GROUPS", 1)
    diagnosis = await diagnose(read_only=True)
    name = f"equity: {unique} binance 1h"
    finding = found(diagnosis, "series", "2 rows that need not be kept")
    assert (finding.severity, finding.text.endswith(f": {unique} binance 1h BTC live: 2")) == ("note", True)
    assert finding.advice == "`backtest-mongo prune equity` deletes them"
    finding = found(diagnosis, "series", "sealing does not keep up")
    assert f"{unique} binance 1h ETH live: 4 rows in 4 groups, the oldest of which is " in finding.text
    assert (finding.severity, "BTC" in finding.text) == ("warning", False)
    assert "`backtest-mongo series seal equity`" in finding.advice
    finding = found(diagnosis, "series", f"{name} XRP live: its retention must be text, not 7")
    assert (finding.severity, "so nothing of it is deleted" in finding.text) == ("problem", True)
    assert "; retention: 1d of 1 series, 7 of 1 series" in found(diagnosis, "series", "equity: 3 series").text
    assert sorted((one["keep"] or "", one["prunable"]) for one in diagnosis.facts["series"] if one["keep"] != 7) == [
        ("", 0),
        ("1d", 2),
    ]


async def test_standalone_is_the_reason_why_series_are_not_sealed(
    alone: RedisNode, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backtest_mongo.setup()
    monkeypatch.setattr(series_checks, "SEALED_GROUPS", 0)
    await EquityAdapter(unique, "binance", "1h", "BTC", False).append(equity(1))
    finding = found(await diagnose(), "series", "sealing does not keep up")
    assert "a standalone has no transactions, so nothing is sealed" in finding.advice


async def test_series_of_a_registered_slot_are_examined(deployment: Deployment, unique: str) -> None:
    name = f"own_{unique[-8:].lower()}"
    columns = (Column("value", "float64"),)
    own = persist.register(
        SlotSpec(name=name, shape="series", context=("symbol",), key=("symbol", "timestamp"), columns=columns)
    )
    await own("BTC").append([{"timestamp": 1, "value": 1.0}])
    diagnosis = await diagnose(read_only=True)
    assert found(diagnosis, "series", f"{name}: 1 series").severity == "ok"
    assert f"{name.replace('_', '-')}-items" in {size.collection for size in diagnosis.sizes}
    assert not [finding for finding in diagnosis.findings if "other collections" in finding.text]


@pytest.mark.usefixtures("any_latency")
async def test_rows_that_do_not_fit_their_model_are_named(deployment: Deployment, unique: str) -> None:
    name = f"own_{unique}"
    spec = SlotSpec(name=name, shape="document", context=("symbol",), key=("symbol",), model=StructRow)
    persist.register(spec)
    for number in range(3):
        own = getattr(persist, name)(f"S{number}")
        await getattr(own, f"write_{name}_data")(make(StructRow))
    diagnosis = await diagnose(read_only=True)
    finding = found(diagnosis, "payloads", spec.collection)
    assert (finding.severity, finding.text) == (
        "ok",
        f"{spec.collection}: 3 random rows, all of which fit StructRow",
    )
    collection = await deployment.collection(spec)
    await collection.update_one({"symbol": "S1"}, {"$set": {"payload.priceOpen": "dear"}})
    # A row that can't be decoded at all is not a question of the model.
    await collection.insert_one({"symbol": "S9", "payload": {"at": Regex("(")}})
    diagnosis = await diagnose(read_only=True)
    finding = found(diagnosis, "payloads", spec.collection)
    assert finding.severity == "problem"
    assert "S1: priceOpen: expected float, got str" in finding.text
    assert not diagnosis.is_sound

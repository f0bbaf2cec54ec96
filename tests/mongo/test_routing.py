"""What is sent to MongoDB: the natural key or its prefix with each operation, and the read concern that is configured.

A sharded cluster, sharded by the natural key or a prefix of it, asks only the shards that hold the rows.
No router runs here: what is tested is what it would be given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from typing import Any

import pytest
from pymongo import monitoring

import backtest_mongo
from backtest_mongo import CandleAdapter, ConfigError, SlotSpec, StateAdapter
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import WHEN, candles, entry, payload, read, write

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


class Listener(monitoring.CommandListener):
    """Hears the commands of every client that is made after it was registered, which can't be taken back."""

    def __init__(self) -> None:
        self.databases: set[str] = set()
        self.commands: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        # But for the format marker, which is read once.
        if event.database_name in self.databases and event.command.get("find") != "backtest_mongo":
            self.commands.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...
    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


LISTENER = Listener()


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    monitoring.register(LISTENER)


@pytest.fixture
def commands(unique: str) -> Iterator[list[dict[str, Any]]]:
    """The commands that this test's database is sent."""
    LISTENER.databases.add(unique)
    LISTENER.commands.clear()
    yield LISTENER.commands
    LISTENER.databases.discard(unique)


@pytest.fixture
async def sharded(commands: Any, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Deployment]:
    monkeypatch.setattr(Hub, "is_sharded", True)
    yield deployment
    monkeypatch.undo()


async def gathered(work: Iterable[Awaitable[Any]]) -> None:
    await asyncio.gather(*work)


def filters(command: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the operations of a command look for or insert, each alternative of an ``$or`` by itself."""
    if "find" in command:
        query = command["filter"]
        return query["$or"] if set(query) == {"$or"} else [query]
    if "findAndModify" in command:
        return [command["query"]]
    if "update" in command:
        return [operation["q"] for operation in command["updates"]]
    if "insert" in command:
        return list(command["documents"])
    return []


async def everything(spec: SlotSpec, unique: str) -> None:
    """Do all that a slot can do, known keys and unknown ones, one by one and many at once."""
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    if spec.shape == "series":
        await adapter.write_candles_data(candles(10))
        await adapter.write_candles_data([*candles(20), *candles(1, first=60_000 * 10_000)])
        assert len(await adapter.read_candles_data(10, 0)) == 10
        return
    await write(adapter, payload(spec), key)
    await read(adapter, key)
    others = [uniform.adapter(spec, f"{unique}-{number}") for number in range(5)]
    for _ in range(2):
        await gathered(write(other, payload(spec), f"{key}-{n}") for n, other in enumerate(others))
        await gathered(read(other, f"{key}-{n}") for n, other in enumerate(others))
    await backtest_mongo.close()  # only Redis knows the ids now
    await gathered(read(other, f"{key}-{n}") for n, other in enumerate(others))
    await read(adapter, key)
    await read(uniform.adapter(spec, f"{unique}-absent"), "absent")
    if spec.shape == "bucket":
        await getattr(adapter, f"remove_{spec.noun}_data")(key)
        await uniform.listed(adapter)


@pytest.mark.in_rows("the marker of the database is written, too")
async def test_operations_carry_the_natural_key_or_its_prefix(
    sharded: Deployment, unique: str, spec: SlotSpec, commands: list[dict[str, Any]]
) -> None:
    await everything(spec, unique)
    asked = [query for command in commands for query in filters(command)]
    assert asked
    context = [name for name in spec.key if name != spec.item]
    for query in asked:
        # By value: a shard is found by an equality, or by one of several.
        values = [query.get(name) for name in context]
        assert all(isinstance(value, str | bool) for value in values), query
        assert context or spec.key[0] in query or spec.newest, query


@pytest.mark.in_rows("the marker of the database is written, too")
async def test_writes_carry_the_whole_natural_key(
    sharded: Deployment, unique: str, spec: SlotSpec, commands: list[dict[str, Any]]
) -> None:
    await everything(spec, unique)
    written = [command for command in commands if {"findAndModify", "update", "insert"} & set(command)]
    assert written
    for command in written:
        is_block = "candle-blocks" in (command.get("update"), command.get("insert"))
        key = {*spec.key[:-1], "start"} if is_block else {*spec.key}
        assert all(key <= set(query) for query in filters(command)), command


async def test_many_ids_are_one_in_query_without_shards(
    deployment: Deployment, unique: str, commands: list[dict[str, Any]]
) -> None:
    await everything(StateAdapter.spec, unique)
    assert any("$in" in str(command["filter"].get("_id")) for command in commands if "find" in command)


def concerns(commands: list[dict[str, Any]]) -> set[str]:
    # How a series is stored is looked up after a write on the server that carried it out.
    found = [command for command in commands if command.get("find", "candle-series") != "candle-series"]
    return {command.get("readConcern", {}).get("level", "server's") for command in found}


@pytest.mark.parametrize("level", ["local", "majority", "linearizable"])
async def test_reads_have_the_read_concern_that_is_configured(
    config: dict[str, Any], deployment: Deployment, unique: str, commands: list[dict[str, Any]], level: str
) -> None:
    await backtest_mongo.setup({**config, "CC_MONGO_READ_CONCERN": level})
    await everything(StateAdapter.spec, unique)
    assert concerns(commands) == {level}


async def test_read_concern_of_the_connection_string_wins(
    config: dict[str, Any], deployment: Deployment, unique: str, commands: list[dict[str, Any]]
) -> None:
    uri = config["CC_MONGO_CONNECTION_STRING"] + "&readConcernLevel=majority"
    await backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_READ_CONCERN": "linearizable"})
    await everything(StateAdapter.spec, unique)
    assert concerns(commands) == {"majority"}


async def test_candles_are_cached_only_once_they_cannot_be_rolled_back(
    config: dict[str, Any], deployment: Deployment, unique: str, commands: list[dict[str, Any]]
) -> None:
    await everything(CandleAdapter.spec, unique)
    assert concerns(commands) == {"majority"}
    # Writes that wait for no majority are not in what a majority has.
    uri = config["CC_MONGO_CONNECTION_STRING"] + "&w=1"
    await backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri})
    commands.clear()
    assert await CandleAdapter("ETHUSDT", "1m", unique).write_candles_data(candles(10)) == 10
    assert concerns(commands) == {"local"}


async def test_unknown_read_concern_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="CC_MONGO_READ_CONCERN"):
        await backtest_mongo.setup({**config, "CC_MONGO_READ_CONCERN": "snapshot"})


async def test_replica_set_is_never_taken_for_a_sharded_cluster(deployment: Deployment, unique: str) -> None:
    await StateAdapter(unique, "s").write_state_data({"n": 1}, WHEN)
    assert current_hub().is_sharded is False

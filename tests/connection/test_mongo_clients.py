"""Clients of MongoDB: what they are made with, what is refused, and how many requests they carry at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from motor.frameworks import asyncio as motor_threads
from pymongo import ReadPreference

from backtest_mongo import ConfigError
from backtest_mongo.connection.hub_registry import close_hub, current_hub
from backtest_mongo.connection.mongo_clients import (
    count_change_streams,
    count_lanes,
    count_mongo_connections,
    make_mongo_client,
    open_database,
)
from backtest_mongo.core.config import Config
from backtest_mongo.core.payload import CODEC
from tests.conftest import Deployment
from tests.support.secrets import SECRET, assert_no_secret

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


def make_config(driver: str, uri: str = "mongodb://127.0.0.1:1/x", **values: Any) -> Config:
    return Config.model_validate({"CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver, **values})


@pytest.fixture
async def clients() -> AsyncIterator[list[Any]]:
    made: list[Any] = []
    yield made
    for client in made:
        closing = client.close()
        if closing is not None:
            await closing


async def test_client_has_the_library_s_deadlines_and_name(driver: str, clients: list[Any]) -> None:
    client = make_mongo_client(make_config(driver, CC_MONGO_TIMEOUT_MS=7_000))
    clients.append(client)
    options, pool = client.options, client.options.pool_options
    assert (options.timeout, options.server_selection_timeout) == (7, 7)
    assert (pool.connect_timeout, options.heartbeat_frequency) == (3, 3)
    assert (pool.appname, options.retry_writes) == ("backtest-mongo", False)


async def test_options_of_the_uri_win_but_for_the_name(driver: str, clients: list[Any]) -> None:
    given = "timeoutMS=1000&serverSelectionTimeoutMS=2000&connectTimeoutMS=4000&heartbeatFrequencyMS=5000"
    uri = f"mongodb://127.0.0.1:1/x?{given}&retryWrites=true&appname=mine"
    client = make_mongo_client(make_config(driver, uri))
    clients.append(client)
    options, pool = client.options, client.options.pool_options
    assert (options.timeout, options.server_selection_timeout) == (1, 2)
    assert (pool.connect_timeout, options.heartbeat_frequency) == (4, 5)
    assert (pool.appname, options.retry_writes) == ("backtest-mongo", True)


async def test_database_is_read_from_the_primary_with_the_configured_concern(driver: str, clients: list[Any]) -> None:
    for options, concern, level in (
        ("readPreference=secondary", "majority", "majority"),
        ("readConcernLevel=linearizable", "majority", "linearizable"),
        ("", "local", "local"),
    ):
        config = make_config(driver, f"mongodb://127.0.0.1:1/?{options}", CC_MONGO_READ_CONCERN=concern)
        client = make_mongo_client(config)
        clients.append(client)
        database = open_database(client, config)
        assert (database.name, database.read_preference) == ("backtest-kit", ReadPreference.PRIMARY)
        assert (database.read_concern.level, database.codec_options) == (level, CODEC)
        assert database.write_concern.document == {"w": "majority"}


@pytest.mark.parametrize(
    ("options", "concern"),
    [
        ("w=1", {"w": 1}),
        ("w=1&journal=false", {"w": 1, "j": False}),
        ("w=2&wtimeoutMS=5", {"w": 2, "wtimeout": 5}),
        ("journal=true", {"w": "majority", "j": True}),
    ],
)
async def test_write_concern_of_the_uri_is_kept(
    driver: str, clients: list[Any], options: str, concern: dict[str, Any]
) -> None:
    config = make_config(driver, f"mongodb://127.0.0.1:1/x?{options}")
    clients.append(make_mongo_client(config))
    assert open_database(clients[0], config).write_concern.document == concern


BAD = [
    (
        "?w=0",
        "w=0 asks MongoDB to acknowledge no write",
        "leave w out for majority, or set w=1",
    ),
    (
        "?journal=false",
        "journal=false lets MongoDB acknowledge writes that a crash loses",
        "leave it out, or state that writes need not be durable: w=1&journal=false",
    ),
    (
        ".y",
        'a database name must have no dot, no white space, and none of "$/\\',
        "name only the database, as in mongodb://host/backtest-kit",
    ),
    (
        "?tlsInsecure=true&tlsAllowInvalidCertificates=true",
        "the driver refuses it (InvalidURI)",
        "escape user and password by RFC 3986 (urllib.parse.quote_plus), and check host, port, options and files",
    ),
]


@pytest.mark.parametrize(("rest", "problem", "hint"), BAD)
async def test_refusal_gives_the_reason_and_a_hint_and_no_secret(
    driver: str, clients: list[Any], rest: str, problem: str, hint: str
) -> None:
    config = make_config(driver, f"mongodb://user:{SECRET}@127.0.0.1:1/x{rest}")

    def connect() -> None:
        clients.append(make_mongo_client(config))
        open_database(clients[0], config)

    with pytest.raises(ConfigError) as caught:
        connect()
    assert str(caught.value) == f"CC_MONGO_CONNECTION_STRING: {problem} ({hint})"
    assert caught.value.hint == hint
    assert_no_secret(caught.value)


@pytest.mark.parametrize(("pool", "lanes"), [(100, 8), (8, 8), (5, 5), (1, 1), (None, 8), (float("inf"), 8)])
def test_requests_at_a_time_are_eight_or_the_pool(pool: float | None, lanes: int) -> None:
    assert count_lanes(make_config("pymongo"), pool) == lanes


@pytest.mark.parametrize(("threads", "lanes"), [(100, 8), (10, 8), (9, 7), (3, 1), (1, 1)])
def test_requests_leave_two_of_motor_s_threads_free(monkeypatch: pytest.MonkeyPatch, threads: int, lanes: int) -> None:
    monkeypatch.setattr(motor_threads, "max_workers", threads)
    assert count_lanes(make_config("motor"), 100) == lanes
    assert count_lanes(make_config("motor"), 2) == min(lanes, 2)
    assert count_lanes(make_config("pymongo"), 100) == 8


@pytest.mark.parametrize(("pool", "streams"), [(100, 98), (3, 1), (2, 1), (1, 1), (None, 1_000), (5_000, 1_000)])
def test_change_streams_leave_two_connections_free(pool: float | None, streams: int) -> None:
    assert count_change_streams(make_config("pymongo"), pool) == streams


@pytest.mark.parametrize(("threads", "streams"), [(200, 98), (50, 48), (2, 1)])
def test_change_streams_leave_two_of_motor_s_threads_free(
    monkeypatch: pytest.MonkeyPatch, threads: int, streams: int
) -> None:
    monkeypatch.setattr(motor_threads, "max_workers", threads)
    assert count_change_streams(make_config("motor"), 100) == streams
    assert count_change_streams(make_config("motor"), None) == threads - 2 or streams == 1


async def test_connections_are_counted_and_unknown_where_they_are_kept_elsewhere(deployment: Deployment) -> None:
    client = current_hub().mongo
    assert count_mongo_connections(client) == 0
    await client.admin.command("ping")
    assert count_mongo_connections(client) == 1
    await close_hub()

    class Another:
        pass

    another: Any = Another()
    assert count_mongo_connections(another) is None

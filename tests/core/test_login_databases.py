"""Connection strings of another database, as the driver reads them."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote_plus

import pytest
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri

from backtest_mongo.cli.demo.databases import Databases
from backtest_mongo.core.config import MongoURI

PASSWORD: Final = "pa55\u2100/w%rd?@:"
LOGIN: Final = f"mongodb://us%40er:{quote_plus(PASSWORD)}@"
#: The credentials' own database, by what comes after the hosts.
SOURCES: Final = {
    "": "admin",
    "/": "admin",
    "?w=1": "admin",
    "/?w=1": "admin",
    "/trading": "trading",
    "/trading?w=1": "trading",
    "/tra%25ding?w=1;journal=true": "tra%ding",
    "/trading.rows?w=1": "trading",
    "/trading?authSource=users": "users",
    "/trading?AUTHSOURCE=us%26ers&w=1": "us&ers",
    "/?authMechanism=SCRAM-SHA-1": "admin",
    "/trading?authMechanism=SCRAM-SHA-256&appName=a?b": "trading",
    "/trading?authMechanism=PLAIN": "trading",
    "/?authMechanism=PLAIN": "$external",
    "/trading?authMechanism=MONGODB-AWS": "$external",
}


def credentials(uri: str) -> Any:
    with MongoClient[dict[str, Any]](uri, connect=False) as client:
        return client.options.pool_options._credentials


def others(options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.lower() != "authsource"}


@pytest.mark.parametrize("hosts", ["db.example", "a:1,b:2,[::1]:3", "%2Ftmp%2Fmongo.sock"])
@pytest.mark.parametrize("rest", SOURCES)
def test_driver_logs_in_to_the_same_database(hosts: str, rest: str) -> None:
    uri = f"{LOGIN}{hosts}{rest}"
    other = MongoURI(uri).with_database("x-1")
    assert isinstance(other, MongoURI)
    assert PASSWORD not in repr(other)
    before, after = parse_uri(uri), parse_uri(other.get_secret_value())
    assert after["database"] == "x-1"
    for name in ("nodelist", "username", "password"):
        assert after[name] == before[name]
    assert others(after["options"]) == others(before["options"])
    was, now = credentials(uri), credentials(other.get_secret_value())
    assert (now.source, now.username, now.password) == (was.source, was.username, was.password)
    assert now.source == SOURCES[rest]
    again = other.with_database(MongoURI(uri).database).get_secret_value()
    assert credentials(again).source == SOURCES[rest]


@pytest.mark.parametrize("uri", ["mongodb://a/x?w=1", "mongodb://a", "mongodb://a,b:2/?replicaSet=r"])
def test_nothing_is_added_where_nobody_logs_in(uri: str) -> None:
    other = MongoURI(uri).with_database("").get_secret_value()
    assert parse_uri(other)["options"] == parse_uri(uri)["options"]
    assert parse_uri(other)["database"] is None


def test_unreadable_string_is_left_unchanged() -> None:
    uri = "mongodb://user:pa/ss@host/trading"
    assert MongoURI(uri).with_database("x").get_secret_value() == uri


def test_name_is_escaped_and_the_dns_is_left_to_name_a_source() -> None:
    assert MongoURI("mongodb://a/x").with_database("b?c%/d").get_secret_value() == "mongodb://a/b%3Fc%25%2Fd"
    srv = MongoURI("mongodb+srv://u:p@a.example/x?w=1").with_database("y").get_secret_value()
    assert srv == "mongodb+srv://u:p@a.example/y?w=1"


def test_demo_takes_any_password_and_shows_none() -> None:
    uri = f"{LOGIN}db.example/trading"
    databases = Databases({"CC_MONGO_CONNECTION_STRING": uri})
    environment = databases.environment("interrupted")
    assert "pa55" not in repr(environment) + repr(vars(databases))
    made = environment["CC_MONGO_CONNECTION_STRING"]
    assert (credentials(made).source, credentials(made).password) == ("trading", PASSWORD)
    assert str(parse_uri(made)["database"]).startswith("trading-demo-")

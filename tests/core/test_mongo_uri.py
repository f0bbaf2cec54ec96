"""What is read in a connection string of MongoDB: as PyMongo reads it, and without asking the DNS."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pymongo.uri_parser import parse_uri

from backtest_mongo.core.config import MongoURI

LOGIN: Final = "us%40er:p%2Fa%3Fss@"


@pytest.mark.parametrize("login", ["", LOGIN])
@pytest.mark.parametrize("hosts", ["db.example", "db.example:27018", "[::1]:3", "%2Ftmp%2Fmongo.sock", "a,b:2"])
@pytest.mark.parametrize("rest", ["", "/", "/?w=1", "?w=1", "/trading", "/tra%25ding?w=1;journal=true", "/a.rows"])
def test_database_and_servers_are_those_that_the_driver_reads(login: str, hosts: str, rest: str) -> None:
    uri = MongoURI(f"mongodb://{login}{hosts}{rest}")
    read = parse_uri(uri.get_secret_value())
    assert uri.database == (read["database"] or "")
    assert uri.is_one_server is (len(read["nodelist"]) == 1)
    assert uri.hosts == hosts


@pytest.mark.parametrize(
    ("options", "is_one"),
    [("replicaSet=r", False), ("REPLICASET=%72", False), ("loadBalanced=true", False), ("loadBalanced=false", True)],
)
def test_options_may_name_more_than_one_server(options: str, is_one: bool) -> None:
    assert MongoURI(f"mongodb://a/db?{options}").is_one_server is is_one


@pytest.mark.parametrize("options", ["", "?w=1", "?srvServiceName=x&srvMaxHosts=1", "?replicaSet=r"])
def test_name_that_needs_srv_records_is_read_without_asking_for_them(
    monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    resolver = pytest.importorskip("dns.resolver", reason="the driver needs it for mongodb+srv://")
    asked: list[Any] = []
    for name in ("resolve", "query"):
        monkeypatch.setattr(resolver, name, lambda *arguments, **_: asked.append(arguments))
    uri = MongoURI(f"mongodb+srv://{LOGIN}cluster.example/trading{options}")
    assert (uri.database, uri.hosts, uri.is_one_server) == ("trading", "cluster.example", False)
    other = uri.with_database("x")
    assert other.get_secret_value() == f"mongodb+srv://{LOGIN}cluster.example/x{options}"
    assert asked == []


@pytest.mark.parametrize(
    "rest",
    ["user:p@ss@host/trading", "user:a:b@host/trading", "us%er@host/trading", "host:port/trading", "host/tra/ding", ""],
)
def test_string_that_the_driver_refuses_names_no_database_and_is_left_unchanged(rest: str) -> None:
    uri = MongoURI(f"mongodb://{rest}")
    assert uri.database == ""
    assert uri.with_database("x") == uri

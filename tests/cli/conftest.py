"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from backtest_mongo.core.config import MaskedDict
from tests.conftest import on_database
from tests.support.candle_commands import Database
from tests.support.stored import Stored


@pytest.fixture
def database(servers: dict[str, Any], unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], unique)
    given = MaskedDict({**servers, "CC_MONGO_CONNECTION_STRING": uri})
    environment = MaskedDict({name: str(value) for name, value in given.items() if value})
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "100")
    with MongoClient[dict[str, Any]](uri) as client:
        yield Database(unique, environment, client)
        client.drop_database(unique)


@pytest.fixture(params=["mongodb", "sqlite"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """A database that can keep versions, and the options that name it."""
    monkeypatch.setenv("COLUMNS", "100")
    if request.param == "mongodb":
        request.getfixturevalue("database")
        return Stored("mongodb", [], tmp_path)
    return Stored("sqlite", ["--sqlite", str(tmp_path / "back test.db")], tmp_path / "back test.db")


@pytest.fixture(params=["mongodb", "sqlite", "files"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stored:
    """Any storage, and the options that name it."""
    if request.param == "mongodb":
        request.getfixturevalue("database")
        made = Stored("mongodb", [], tmp_path)
    elif request.param == "sqlite":
        made = Stored("sqlite", ["--sqlite", str(tmp_path / "back test.db")], tmp_path / "back test.db")
    else:
        made = Stored("files", ["--files", str(tmp_path / "dump")], tmp_path / "dump")
    monkeypatch.setenv("COLUMNS", "200")
    return made

"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from backtest_mongo.core.config import MaskedDict
from tests.conftest import on_database
from tests.support.candle_commands import Database


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

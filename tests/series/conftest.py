"""Fixtures of the tests of series."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pymongo
import pytest

from backtest_mongo import CandleAdapter
from tests.conftest import Deployment, tiny_blocks


@pytest.fixture
def series(deployment: Deployment, unique: str) -> CandleAdapter:
    return CandleAdapter("BTCUSDT", "1m", unique)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows."""
    tiny_blocks(monkeypatch)


@pytest.fixture
async def profiled(config: dict[str, Any], deployment: Deployment) -> AsyncIterator[Any]:
    """The database, with a record of what the server is asked."""
    with pymongo.MongoClient[dict[str, Any]](config["CC_MONGO_CONNECTION_STRING"], appname="observer") as client:
        yield client[deployment.name]
        client[deployment.name].command("profile", 0)
        client[deployment.name].drop_collection("system.profile")


def commands(database: Any) -> list[str]:
    """Return what the server was asked of candles and of blocks since it was last asked, in its order."""
    database.command("profile", 0)
    rows = list(database["system.profile"].find({"appName": "backtest-mongo"}).sort("$natural", 1))
    database.drop_collection("system.profile")
    names = [(row["ns"].partition(".")[2], next(iter(row["command"]))) for row in rows]
    return [f"{command} {name}" for name, command in names if name in ("candle-items", "candle-blocks")]

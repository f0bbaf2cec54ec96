"""The format marker of a database: what needs an unknown feature is refused by every door."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import ConfigError, lease, persist, transaction
from tests.conftest import Deployment
from tests.support.uniform import WHEN, candles

pytestmark = pytest.mark.either_driver

DOORS: dict[str, Callable[[str], Coroutine[Any, Any, Any]]] = {
    "read": lambda unique: persist.state(unique, "s").read_state_data(),
    "read_many": lambda unique: type(persist.state("a", "b")).read_many([(unique, "s")]),
    "list": lambda unique: persist.log().read_log_data(),
    "write": lambda unique: persist.state(unique, "s").write_state_data({"n": 1}, WHEN),
    "write_many": lambda unique: type(persist.state("a", "b")).write_many([((unique, "s"), {"n": 1})], WHEN),
    "remove": lambda unique: persist.memory(unique, "m").remove_memory_data("a"),
    "candles": lambda unique: persist.candle("BTCUSDT", "1m", unique).write_candles_data(candles(1)),
    "window": lambda unique: persist.candle("BTCUSDT", "1m", unique).read_candles_data(1, 0),
    "transaction": lambda unique: commit(unique),
    "lease": lambda unique: lease(persist.state(unique, "s")).__aenter__(),
}


async def commit(unique: str) -> None:
    async with transaction(when=WHEN):
        await persist.state(unique, "s").write_state_data({"n": 1})


def mark(deployment: Deployment, *needs: str) -> None:
    with pymongo.MongoClient[dict[str, Any]](deployment.config["CC_MONGO_CONNECTION_STRING"]) as client:
        client[deployment.name]["backtest_mongo"].insert_one({"_id": "format", "needs": [*needs]})


@pytest.mark.parametrize("door", DOORS)
async def test_database_that_needs_what_is_not_known_is_refused(deployment: Deployment, unique: str, door: str) -> None:
    mark(deployment, "leases", "time travel")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"does not know: time travel .*upgrade backtest-mongo"):
            await DOORS[door](unique)
    database = (await backtest_mongo.get_mongo())[deployment.name]
    assert await database.list_collection_names() == ["backtest_mongo"]
    assert await database["backtest_mongo"].find().to_list(None) == [
        {"_id": "format", "needs": ["leases", "time travel"]}
    ]


async def test_first_lease_notes_that_leases_are_in_use(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    await commit(unique)
    database = (await backtest_mongo.get_mongo())[deployment.name]
    assert await database["backtest_mongo"].find().to_list(None) == []
    for _ in range(2):
        async with lease(state):
            await state.write_state_data({"n": 2}, WHEN)
        assert await database["backtest_mongo"].find().to_list(None) == [{"_id": "format", "needs": ["leases"]}]
        await backtest_mongo.close()
        await backtest_mongo.setup(deployment.config)
        database = (await backtest_mongo.get_mongo())[deployment.name]
    assert await state.read_state_data() == {"n": 2}

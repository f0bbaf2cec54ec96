"""Taking over from an owner that has died in the middle of a commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from backtest_mongo import SignalAdapter, get_mongo, lease, setup
from backtest_mongo.core.commits import Claim, name_lease
from backtest_mongo.mongo.sessions import begin
from tests.conftest import drop_database
from tests.support.deadlines import SECONDS

pytestmark = [pytest.mark.one_python, pytest.mark.parametrize("driver", ["motor", "pymongo"])]


@pytest.fixture
async def signal(config: dict[str, Any], unique: str) -> AsyncIterator[SignalAdapter]:
    async with setup(config):
        yield SignalAdapter("BTCUSDT", unique, "binance")
        await drop_database(unique)


async def test_successor_ends_the_transaction_that_a_dead_owner_has_left_open(
    signal: SignalAdapter, unique: str
) -> None:
    await signal.write_signal_data({"by": "nobody"})
    committer = signal._base_store().committer
    context = ("BTCUSDT", unique, "binance")
    name = name_lease(signal.spec, context)
    dead = Claim(owner="dead", ttl=2.0, contexts={name: (signal.spec, context)})
    await committer.acquire(dead, [name])
    # What it would have committed keeps the row locked, for longer than a request may take.
    rows = (await get_mongo()).get_database(unique)[signal.spec.collection]
    await begin(dead.handle)
    await rows.update_many({}, {"$set": {"payload.by": "dead"}}, session=dead.handle)
    async with lease(signal, ttl=SECONDS, wait=SECONDS):
        await signal.write_signal_data({"by": "successor"})
        with pytest.raises(OperationFailure):
            await dead.handle.commit_transaction()
    assert await signal.read_signal_data() == {"by": "successor"}
    await dead.handle.end_session()

"""Closing: twice, cancelled, with operations under way, and without a trace."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SignalAdapter, StateAdapter, StoreUnavailableError, close, get_redis, setup, wait_for_init
from backtest_mongo.connection import hub_registry
from tests.conftest import Deployment, drop_database
from tests.support.deadlines import SECONDS

pytestmark = pytest.mark.either_driver

CONTEXT = ("BTCUSDT", "my_strategy")


async def test_close_is_idempotent_and_the_next_operation_connects_again(deployment: Deployment, unique: str) -> None:
    signal = SignalAdapter(*CONTEXT, unique)
    await signal.write_signal_data({"n": 1})
    await close()
    await close()
    assert await signal.read_signal_data() == {"n": 1}


async def test_close_that_is_cancelled_closes_all_the_same(config: dict[str, Any], unique: str) -> None:
    await setup(config)
    await SignalAdapter(*CONTEXT, unique).read_signal_data()
    await get_redis()
    for _ in range(30):
        closing = asyncio.ensure_future(close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
    await close()
    assert hub_registry._retired == []
    assert hub_registry._hubs == {}


async def test_close_with_pending_operations_leaves_nothing_open(config: dict[str, Any], unique: str) -> None:
    for turns in (0, 1, 5, 20, 50, 100):
        await setup(config)
        await wait_for_init()
        states = [StateAdapter(unique, f"b{number}") for number in range(10)]
        writes = [asyncio.ensure_future(state.write_state_data({"n": 1}, 1)) for state in states]
        for _ in range(turns):
            await asyncio.sleep(0)
        await close()
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            assert outcome is None or isinstance(outcome, StoreUnavailableError)
        await close()  # an operation that started late has connected again
    async with setup(config):
        await drop_database(unique)
    async with asyncio.timeout(SECONDS):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # nothing signals it
            await asyncio.sleep(0.01)


async def test_async_with_closes_at_the_end(config: dict[str, Any], unique: str) -> None:
    async with setup(config):
        await SignalAdapter(*CONTEXT, unique).read_signal_data()
        assert hub_registry._hubs
    assert not hub_registry._hubs


async def test_async_with_closes_after_an_error(config: dict[str, Any]) -> None:
    async def fail() -> None:
        async with setup(config):
            await get_redis()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not hub_registry._hubs


async def test_nothing_is_left_open_after_close(config: dict[str, Any], unique: str) -> None:
    before = _sockets()
    for _ in range(3):
        async with setup(config):
            await wait_for_init()
            await asyncio.gather(*(SignalAdapter(*CONTEXT, f"{unique}{n}").read_signal_data() for n in range(20)))
            await (await get_redis()).ping()
    # Motor's monitor threads see the end at their next wake-up, which is half a second away.
    async with asyncio.timeout(SECONDS):
        while _sockets() > before or len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # nothing signals either
            await asyncio.sleep(0.01)


def _sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return count


async def test_changed_configuration_takes_effect_and_the_old_connections_are_closed(
    config: dict[str, Any], unique: str
) -> None:
    signal = SignalAdapter(*CONTEXT, unique)
    await setup(config)
    await signal.write_signal_data({"n": 1})
    other = config["CC_MONGO_CONNECTION_STRING"].replace(f"/{unique}", f"/{unique}-2")
    await setup({**config, "CC_MONGO_CONNECTION_STRING": other})
    assert hub_registry._hubs == {}
    assert hub_registry._retired == []
    assert await signal.read_signal_data() is None
    backtest_mongo.set_config(config)
    assert await signal.read_signal_data() == {"n": 1}
    assert len(hub_registry._retired) == 1  # nobody has awaited its end yet
    await close()
    assert hub_registry._retired == []
    for name in (unique, f"{unique}-2"):
        await drop_database(name)
    await close()

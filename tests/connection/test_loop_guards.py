"""Hubs by event loop: what is closed with its loop, what is counted after it, and what is dropped on all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import backtest_mongo
from backtest_mongo.connection import hub_registry
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import (
    LoopGuards,
    close_hub,
    close_outdated,
    current_hub,
    forget_candles,
    known_hubs,
    release_ended,
    sum_counts,
)
from backtest_mongo.core.config import set_config
from backtest_mongo.core.interval_grid import GRIDS
from tests.support.uniform import candles

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

CONTEXT = ("BTCUSDT", "1m", "binance")


@pytest.fixture(autouse=True)
def _nobody(driver: str) -> None:
    """No server is needed: a hub dials on first use."""
    set_config(CC_MONGO_CONNECTION_STRING="mongodb://127.0.0.1:1/x", CC_REDIS_PORT=1, CC_MONGO_DRIVER=driver)


async def use() -> Hub:
    return current_hub()


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


# Guards


def test_connections_of_a_loop_that_is_guarded_are_closed_before_it_ends() -> None:
    before = hub_registry.on_made
    with LoopGuards():
        for _ in range(2):
            hub = asyncio.run(use())
            assert hub._closing is not None
            assert known_hubs() == {}
    assert hub_registry.on_made is before


def test_connections_of_loops_that_outlive_the_guards_are_closed_with_them(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    idle = asyncio.new_event_loop()
    with LoopGuards():
        hubs = [idle.run_until_complete(use()), asyncio.run_coroutine_threadsafe(use(), elsewhere).result()]
        assert known_hubs() == dict(zip((idle, elsewhere), hubs, strict=True))
    assert known_hubs() == {}
    assert all(hub._closing is not None and hub._closing.done() for hub in hubs)
    idle.close()


def test_guards_within_guards_give_back_what_was_before() -> None:
    with LoopGuards():
        outer = hub_registry.on_made
        with LoopGuards():
            assert hub_registry.on_made != outer
        assert hub_registry.on_made == outer
        asyncio.run(use())
        assert known_hubs() == {}


async def test_running_loop_of_the_guards_own_caller_is_left_to_it() -> None:
    with LoopGuards():
        hub = current_hub()
    assert known_hubs() == {hub.loop: hub}
    await close_hub()


def test_loop_that_ends_unguarded_is_reported() -> None:
    hub = asyncio.run(use())
    with pytest.warns(ResourceWarning, match=r"await backtest_mongo.close\(\) before it ends"):
        release_ended()
    assert hub.loop not in known_hubs()


# Configurations


async def test_hub_of_a_replaced_configuration_is_closed_and_another_one_made() -> None:
    first = current_hub()
    await close_outdated()
    assert current_hub() is first
    set_config(CC_REDIS_PORT=2)
    second = current_hub()
    assert second is not first
    assert known_hubs() == {second.loop: second}
    assert first._closing is None
    await close_outdated()
    assert first._closing is not None
    assert second._closing is None
    set_config(CC_REDIS_PORT=3)
    await close_outdated()  # before another one was made
    assert second._closing is not None
    assert known_hubs() == {}


async def test_writes_over_another_configuration_wait_for_those_before_on_the_same_loop(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    theirs = asyncio.run_coroutine_threadsafe(use(), elsewhere).result()
    first = current_hub()
    with first.writes.hold(), theirs.writes.hold():
        first.writes.answers, theirs.writes.answers = 3, 40
        set_config(CC_REDIS_PORT=2)
        assert current_hub().writes.total_answers == 3
    await close_hub()
    asyncio.run_coroutine_threadsafe(close_hub(), elsewhere).result()


async def test_hubs_of_other_loops_stay_open(elsewhere: asyncio.AbstractEventLoop) -> None:
    def there(work: object) -> Hub:
        return asyncio.run_coroutine_threadsafe(work, elsewhere).result()  # type: ignore[arg-type]

    theirs = there(use())
    ours = current_hub()
    await close_hub()
    assert ours._closing is not None
    assert known_hubs() == {elsewhere: theirs}
    there(close_hub())
    assert known_hubs() == {}


# Counts and candles


async def test_counts_of_closed_connections_stay_in_the_sum(elsewhere: asyncio.AbstractEventLoop, unique: str) -> None:
    def hits() -> int:
        return sum_counts()[unique].hits

    theirs = asyncio.run_coroutine_threadsafe(use(), elsewhere).result()
    theirs.counts[unique].hits += 1
    current_hub().counts[unique].hits += 10
    assert hits() == 11
    set_config(CC_REDIS_PORT=2)
    current_hub().counts[unique].hits += 100
    assert hits() == 111
    await backtest_mongo.close()
    assert hits() == 111
    asyncio.run_coroutine_threadsafe(backtest_mongo.close(), elsewhere).result()
    assert hits() == 111


def test_counts_of_a_loop_that_ended_stay_in_the_sum(unique: str) -> None:
    async def count() -> None:
        current_hub().counts[unique].hits += 1

    for _ in range(2):
        asyncio.run(count())
        with pytest.warns(ResourceWarning):
            release_ended()
    assert sum_counts()[unique].hits == 2


async def test_deleted_candles_are_dropped_on_every_loop(elsewhere: asyncio.AbstractEventLoop) -> None:
    def keep(hub: Hub) -> None:
        hub.candle_cache.series(CONTEXT, GRIDS["1m"]).put(candles(3))

    async def count(hub: Hub) -> int:
        return len(hub.candle_cache.series(CONTEXT, GRIDS["1m"]).get(0, 3)[0])

    theirs = asyncio.run_coroutine_threadsafe(use(), elsewhere).result()
    former = current_hub()
    set_config(CC_REDIS_PORT=2)
    ours = current_hub()
    for hub in (theirs, former, ours):
        keep(hub)
        assert await count(hub) == 3
    forget_candles(ours, CONTEXT)
    assert [await count(ours), await count(former)] == [0, 0]
    assert asyncio.run_coroutine_threadsafe(count(theirs), elsewhere).result() == 0
    asyncio.run_coroutine_threadsafe(close_hub(), elsewhere).result()
    await close_hub()


async def test_loop_that_has_ended_holds_up_no_deletion() -> None:
    hub = current_hub()
    ended = await asyncio.to_thread(asyncio.run, use())
    assert ended.loop in known_hubs()
    forget_candles(hub, CONTEXT)
    with pytest.warns(ResourceWarning):
        release_ended()
    await close_hub()

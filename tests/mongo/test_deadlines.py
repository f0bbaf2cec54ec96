"""What has one deadline as a whole, and what has one for each request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    MeasureAdapter,
    MemoryAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    StoreUnavailableError,
    setup,
)
from tests.support import uniform
from tests.support.failing_servers import READS, WRITES, FailingServer
from tests.support.short_deadlines import LONG_MS, shorten_deadline, until_in_time
from tests.support.uniform import WHEN, candles, payload

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver, pytest.mark.timeout(300)]


async def introduce_sessions(unique: str) -> None:
    """Write at once as often as writes are under way at a time.

    Of a session that it has not seen yet the server asks itself, by a find that is held like any other.
    """
    for _ in range(2):
        await asyncio.gather(
            *(
                uniform.write(uniform.adapter(spec, f"{unique}-session"), payload(spec, 0))
                for spec in SLOTS
                if spec.shape == "document"
            )
        )


async def test_one_operation_has_one_deadline(
    failing: FailingServer, failing_config: dict[str, Any], unique: str
) -> None:
    """Each answer takes 0.8 of the deadline: what needs two of them ends at the deadline, and not later."""
    deadline = 5.0
    await setup({**failing_config, "CC_CANDLE_CACHE_MB": 0, "CC_MONGO_TIMEOUT_MS": LONG_MS})
    series, memory = CandleAdapter("BTCUSDT", "1m", unique), MemoryAdapter(unique, "notes")
    state, signal = StateAdapter(unique, "s"), SignalAdapter(unique, "s", "binance")
    await asyncio.gather(
        state.write_state_data({"n": 0}, WHEN),
        signal.write_signal_data({"n": 0}),
        memory.write_memory_data({"n": 0}, "m", WHEN),
        StorageAdapter(True).write_storage_data([{"id": "1"}]),
        series.write_candles_data(candles(10)),
        CandleAdapter("OTHER", "1m", unique).write_candles_data(candles(1)),
    )
    await shorten_deadline(int(deadline * 1000), state, signal, memory, StorageAdapter(True), series)
    await until_in_time(lambda: introduce_sessions(unique))
    failing.hold(*READS, *WRITES, milliseconds=int(800 * deadline))
    clock = asyncio.get_running_loop().time

    async def timed(call: Awaitable[Any]) -> tuple[float, Any]:
        started = clock()
        outcomes: Any = await asyncio.gather(call, return_exceptions=True)
        return clock() - started, outcomes[0]

    calls: dict[str, Awaitable[Any]] = {
        "read": state.read_state_data(),
        "write": signal.write_signal_data({"n": 1}),
        "removal": memory.remove_memory_data("m"),
        "small list": StorageAdapter(True).write_storage_data([{"id": "1", "n": 2}]),
        "window": series.read_candles_data(10, 0),
        "candle": series.write_candles_data(candles(1, first=10 * 60_000)),
        "late candle": CandleAdapter("OTHER", "1m", unique).write_candles_data(candles(3)),
    }
    outcomes = dict(zip(calls, await asyncio.gather(*map(timed, calls.values())), strict=True))
    failing.end()
    # The slack is for a machine that is busy. Two answers take 1.6 of the deadline.
    late = {name: seconds for name, (seconds, _) in outcomes.items() if seconds > 1.5 * deadline}
    assert late == {}
    for name in ("read", "write", "removal", "small list", "window"):  # they need one answer
        assert not isinstance(outcomes[name][1], Exception), f"{name}: {outcomes[name][1]}"
    for name, (_, outcome) in outcomes.items():
        assert not isinstance(outcome, Exception) or isinstance(outcome, StoreUnavailableError), name
    await failing.until_idle()
    await backtest_mongo.close()


LONG: Final = ("list read", "list written", "large list written", "keys", "candles", "frame written", "frame read",
               "coverage", "gaps", "series", "many")  # fmt: skip


@pytest.mark.parametrize("kind", LONG)
async def test_long_operation_has_a_deadline_for_each_request(
    failing: FailingServer, failing_config: dict[str, Any], unique: str, kind: str
) -> None:
    """Each answer takes more than half of the deadline, and what is asked for needs several of them."""
    deadline_ms = 12_000 if kind == "large list written" else 5_000
    await setup({**failing_config, "CC_CANDLE_CACHE_MB": 0, "CC_MONGO_TIMEOUT_MS": LONG_MS})
    series, measure, storage = CandleAdapter("BTCUSDT", "1m", unique), MeasureAdapter(unique), StorageAdapter(True)
    items = [{"id": f"{number:05}", "n": number} for number in range(5_000)]
    is_long = kind in ("frame read", "coverage", "gaps", "series")
    await series.write_candles_data(candles(9_000 if is_long else 600))  # the blocks have indexes of their own
    if is_long:
        await series.write_candles_data(candles(9_000, first=10_000 * 60_000))
    await storage.write_storage_data(items if "list" in kind else items[:1])
    await measure.write_measure_data({"n": 1}, "k")
    if kind == "keys":
        rows = [{"bucket": unique, "entryKey": f"k{n:05}", "payload": {"n": n}} for n in range(2_500)]
        failing.client[unique]["measure-items"].insert_many([dict(row) for row in rows])
    await shorten_deadline(deadline_ms, storage, measure, series, StateAdapter(unique, "s"))
    await until_in_time(series.seal)
    await until_in_time(lambda: introduce_sessions(unique))
    failing.hold(*READS, *WRITES, "delete", milliseconds=int(0.6 * deadline_ms))
    found: Any = None
    try:
        if kind == "list read":
            found = len(await storage.read_storage_data())
        elif kind == "list written":
            await storage.write_storage_data([{**item, "n": 2} for item in items])
            found = failing.client[unique]["storage-items"].count_documents({"payload.n": 2})
        elif kind == "large list written":
            # Two messages at least: the driver splits what is over 48 MB.
            large = [{**item, "text": "x" * 24_000} for item in items[:2_500]]
            await storage.write_storage_data(large)
            found = failing.client[unique]["storage-items"].count_documents({"payload.text": {"$exists": True}})
        elif kind == "keys":
            found = len([key async for key in measure.list_measure_data()])
        elif kind == "candles":
            other = CandleAdapter("OTHER", "1m", unique)
            found = await other.write_candles_data(candles(9_000))
        elif kind == "frame written":
            columns = {name: [row[name] for row in candles(9_000)] for name in candles(1)[0]}
            found = (await CandleAdapter("OTHER", "1m", unique).write_frame(columns)).new
        elif kind == "frame read":
            found = len((await series.read_frame(as_="numpy"))["close"])
        elif kind == "coverage":
            found = (await series.coverage()).rows
        elif kind == "gaps":
            found = len(await series.gaps(0, 19_000 * 60_000))
        elif kind == "series":
            found = len([name async for name in CandleAdapter.list_series()])
        else:
            await StateAdapter.write_many([((unique, f"b{n}"), {"n": n}) for n in range(5_000)], WHEN)
            found = failing.client[unique]["state-items"].count_documents({"signalId": unique})
    finally:
        failing.end()
        await failing.until_idle()
        await backtest_mongo.close()
    assert found == {"list read": 5_000, "list written": 5_000, "large list written": 2_500, "keys": 2_501,
                     "candles": 9_000, "frame written": 9_000, "frame read": 18_000, "coverage": 18_000, "gaps": 1,
                     "series": 1, "many": 5_000}[kind]  # fmt: skip

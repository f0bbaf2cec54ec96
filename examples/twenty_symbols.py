"""Twenty symbols at once on one event loop: their reads and writes are batched without a line of code for it.

::

    pip install ".[embedded]"
    python examples/twenty_symbols.py

It starts its own MongoDB and Redis and trades a made-up market. Each symbol is a task that knows nothing of the others.
Concurrent calls go to MongoDB as one request.
"""

import asyncio
import math

from backtest_mongo import SignalAdapter, embedded, persist, setup, stats

SYMBOLS = [f"COIN{number:02}USDT" for number in range(1, 21)]
HOURS = 240
HOUR = 3_600_000


def candle(seed, hour):
    price = 100 + 20 * math.sin(hour / (9 + seed)) + 5 * math.sin(hour * seed)
    opened = {"open": price, "high": price + 1, "low": price - 1, "close": price, "volume": 10.0}
    return {"timestamp": hour * HOUR, **opened}


async def trade(symbol, seed):
    """Hold a symbol while it is above the average of its last day; count its trades."""
    candles = persist.candle(symbol, "1h", "example")
    await candles.write_candles_data([candle(seed, hour) for hour in range(HOURS)])
    signal, progress = persist.signal(symbol, "momentum", "example"), persist.state(symbol, "progress")
    trades = 0
    for hour in range(24, HOURS):
        day = await candles.read_candles_data(24, (hour - 23) * HOUR)
        price, average = day[-1]["close"], sum(bar["close"] for bar in day) / 24
        held = await signal.read_signal_data()
        if held is None and price > average:
            await signal.write_signal_data({"id": f"{symbol}-{hour}", "priceOpen": price})
        elif held is not None and price < average:
            trades += 1
            await signal.write_signal_data(None)
        await progress.write_state_data({"hour": hour, "trades": trades}, when=hour * HOUR)
    return trades


async def main():
    with embedded.Servers() as servers:
        async with setup(servers.config):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(trade(symbol, seed)) for seed, symbol in enumerate(SYMBOLS, 1)]
            done = stats()
            # The signals of all symbols in one round trip.
            held = await SignalAdapter.read_many([(symbol, "momentum", "example") for symbol in SYMBOLS])
    for symbol, task, row in zip(SYMBOLS, tasks, held, strict=True):
        print(f"{symbol}  {task.result():3} trades  {'held since ' + row['id'] if row else 'flat'}")
    print(f"\n{'slot':8} {'reads':>7} {'writes':>7} {'rows per batch':>15}")
    for name in ("signal", "state"):
        slot = done.slots[name]
        print(f"{name:8} {slot.reads:7,} {slot.writes:7,} {slot.writes / slot.write_batches:15.1f}")


asyncio.run(main())

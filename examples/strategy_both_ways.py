"""A strategy that resumes where it stopped, stored in SQLite or in MongoDB.

::

    python examples/strategy_both_ways.py 150            # SQLite, in ./backtest.db, no servers
    python examples/strategy_both_ways.py 300            # resumes
    python examples/strategy_both_ways.py 300 --mongodb  # the servers that the CC_* variables name

The strategy itself doesn't name its storage: one ``await setup()`` moves it to MongoDB. ``backtest-mongo serve --dir
./data`` starts both servers and prints the variables.
"""

import argparse
import asyncio
import math

from backtest_mongo import close, persist, setup

HOUR = 3_600_000
CONTEXT = ("BTCUSDT", "my_strategy", "binance")


def candle(number):
    """Return a candle of an oscillating market."""
    price = 50_000 + 5_000 * math.sin(number / 20) + 500 * math.sin(number)
    return {
        "timestamp": number * HOUR,
        "open": price,
        "high": price + 10,
        "low": price - 10,
        "close": price,
        "volume": 1.0,
    }


async def on_bar(number):
    """Hold the symbol while its price is above the average of the last 24 hours."""
    candles, signal = persist.candle("BTCUSDT", "1h", "binance"), persist.signal(*CONTEXT)
    await candles.write_candles_data([candle(number)])
    day = await candles.read_candles_data(24, (number - 23) * HOUR)
    if day is None:
        return
    price = day[-1]["close"]
    is_above = price > sum(bar["close"] for bar in day) / len(day)
    held = await signal.read_signal_data()
    if is_above and held is None:
        # It may stay open for ever.
        await signal.write_signal_data({"id": f"s-{number}", "priceOpen": price, "minuteEstimatedTime": math.inf})
    elif held is not None and not is_above:
        await persist.storage(True).write_storage_data([{**held, "priceClose": price}])
        await signal.write_signal_data(None)


async def run(bars):
    progress = persist.state("my_strategy", "progress")
    known = await progress.read_state_data() or {"next": 0}
    print(f"resumed at bar {known['next']}" if known["next"] else "started")
    for number in range(known["next"], bars):
        await on_bar(number)
        await progress.write_state_data({"next": number + 1}, when=number * HOUR)
    trades = await persist.storage(True).read_storage_data()
    profit = sum(trade["priceClose"] / trade["priceOpen"] - 1 for trade in trades)
    print(f"{bars} bars, {len(trades)} trades, {profit:+.2%}")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bars", type=int)
    parser.add_argument("--mongodb", action="store_true")
    arguments = parser.parse_args()
    if arguments.mongodb:
        await setup()
    await run(arguments.bars)
    await close()


asyncio.run(main())

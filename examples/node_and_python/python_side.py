"""The Python process: write a signal, and read it again after Node has changed it.

::

    python examples/node_and_python/python_side.py write    # then the Node side
    python examples/node_and_python/python_side.py read

The CC_* variables name the servers, for Node too: ``backtest-mongo serve --dir ./data`` starts both and prints them.
"""

import asyncio
import sys

from backtest_mongo import SignalAdapter, setup

OPENED = 1_704_153_780_000
PRICE = 50_000.5
#: A row that the engine resumes from: it names its context and has every field of an open position.
SIGNAL = {
    "id": "s-1",
    "symbol": "BTCUSDT",
    "strategyName": "two-worlds",
    "exchangeName": "binance",
    "frameName": "",  # a live run
    "position": "long",
    "note": "rises",
    "priceOpen": PRICE,
    "priceTakeProfit": 52_500.0,
    "priceStopLoss": 46_500.0,
    "minuteEstimatedTime": 240,  # or float("inf") for a position without a time limit
    "cost": 100,
    "multiplier": 1,
    "isolated": True,
    "scheduledAt": OPENED,
    "pendingAt": OPENED,
    "timestamp": OPENED,
    "_isScheduled": False,
    "_entry": [{"price": PRICE, "cost": 100, "timestamp": OPENED}],
    **{
        name: {
            "price": PRICE,
            "timestamp": OPENED,
            "pnlCost": 0,
            "pnlPercentage": 0,
            "pnlEntries": 100,
            "priceOpen": PRICE,
            "priceClose": PRICE,
        }
        for name in ("_peak", "_fall")
    },
}
SHOWN = ("id", "position", "priceOpen", "priceTakeProfit", "minuteEstimatedTime", "seenBy")


async def main(what):
    async with setup():
        signal = SignalAdapter(SIGNAL["symbol"], SIGNAL["strategyName"], SIGNAL["exchangeName"])
        if what == "write":
            await signal.write_signal_data(SIGNAL)
        row = await signal.read_signal_data()
        print("python reads", {name: row[name] for name in SHOWN if name in row})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

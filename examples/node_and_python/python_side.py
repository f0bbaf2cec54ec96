"""The Python process: writes a signal, lets Node work on it, and reads what Node has made of it.

::

    python examples/node_and_python/python_side.py write    # then the Node side
    python examples/node_and_python/python_side.py read

The CC_* variables name the servers, as they do for Node: ``backtest-mongo serve --dir ./data`` starts both and prints
them.
"""

import asyncio
import sys

from backtest_mongo import SignalAdapter, setup


async def main(what):
    async with setup():
        signal = SignalAdapter("BTCUSDT", "two-worlds", "binance")
        if what == "write":
            await signal.write_signal_data({"id": "s-1", "position": "long", "priceOpen": 50_000.5})
        print("python reads", await signal.read_signal_data())


asyncio.run(main(*sys.argv[1:]))

"""An async strategy that is killed with SIGKILL in the middle of a bar, and resumes where it stopped.

::

    pip install ".[embedded]"
    python examples/resume_after_crash.py

It starts its own MongoDB and Redis. One run is killed three times; another runs undisturbed. Both must end with the
same trades, the same open position and the same checkpoint. One transaction a bar makes that work: whatever a bar
writes is stored together with the checkpoint that counts it, or not at all.
"""

import asyncio
import os
import signal
import subprocess
import sys

from backtest_mongo import embedded, persist, setup, transaction
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles

BARS = 600
CRASHES = (150, 280, 410)


async def on_bar(name, closes, bar, when):
    """Be long while the price is above the average of the last 50 hours."""
    signal_ = persist.signal(SYMBOL, name, EXCHANGE)
    held = await signal_.read_signal_data()
    price, average = closes[bar], sum(closes[bar - 49 : bar + 1]) / 50
    if held is None and price > average:
        await signal_.write_signal_data({"id": f"{name}-{bar}", "priceOpen": price})
    elif held is not None and price < average:
        await persist.storage(True).write_storage_data([{**held, "priceClose": price, "closedAt": when}])
        await signal_.write_signal_data(None)


async def trade(name, crash_at=None):
    """Trade all bars from the checkpoint on; kill this process in the middle of the bar ``crash_at``."""
    market = load_candles(BARS)
    closes = [candle["close"] for candle in market]
    async with setup():  # the CC_* variables name the servers
        await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market)
        checkpoint = persist.state(name, "checkpoint")
        known = await checkpoint.read_state_data() or {"next": 49}
        print(f"  process {os.getpid()} begins at bar {known['next']}", flush=True)
        for bar in range(known["next"], BARS):
            when = market[bar]["timestamp"]
            async with transaction(when=when):
                await on_bar(name, closes, bar, when)
                await checkpoint.write_state_data({"next": bar + 1})
                if bar == crash_at:
                    os.kill(os.getpid(), signal.SIGKILL)


async def end_of(name):
    """Return the final state of a run: its trades, its open position and its checkpoint."""
    rows = await persist.storage(True).read_storage_data()
    trades = [row for row in rows if row["id"].startswith(f"{name}-")]
    held = await persist.signal(SYMBOL, name, EXCHANGE).read_signal_data()
    return (
        sorted((trade["closedAt"], trade["priceOpen"], trade["priceClose"]) for trade in trades),
        held and held["priceOpen"],
        await persist.state(name, "checkpoint").read_state_data(),
    )


async def compare():
    async with setup():
        disturbed, calm = await end_of("disturbed"), await end_of("calm")
    profit = sum(close / opened - 1 for _, opened, close in calm[0])
    print(f"{len(calm[0])} trades undisturbed, {len(disturbed[0])} with {len(CRASHES)} crashes, {profit:+.2%}")
    assert disturbed == calm, "the end states differ"
    print("the same end state")


def main():
    with embedded.Servers() as servers:
        os.environ |= {name: str(value) for name, value in servers.config.items()}
        for name, crashes in (("disturbed", (*CRASHES, None)), ("calm", (None,))):
            print(f"{name}:", flush=True)  # before what its processes print
            for crash in crashes:
                command = [sys.executable, __file__, name, *([] if crash is None else [str(crash)])]
                code = subprocess.run(command, check=False).returncode
                assert code == (0 if crash is None else -signal.SIGKILL), code
        asyncio.run(compare())


if len(sys.argv) > 1:
    asyncio.run(trade(sys.argv[1], *map(int, sys.argv[2:])))
else:
    main()

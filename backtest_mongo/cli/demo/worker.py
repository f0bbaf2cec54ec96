"""The trading process: ``python -m backtest_mongo.cli.demo.worker BARS``, which ``runner`` starts.

It finds its servers in the environment, waits for the lease of the process before it, continues from what is stored,
and reports to its parent on standard output: one JSON object per line. It may be killed at any moment, and exits when
its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from typing import Any, Final

from backtest_mongo import (
    BacktestMongoError,
    LeaseLostError,
    StoreUnavailableError,
    lease,
    persist,
    set_logger,
    setup,
)
from backtest_mongo.cli.demo.consistency import find_torn_slots
from backtest_mongo.cli.demo.engine import Engine
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles
from backtest_mongo.cli.demo.meter import Meter
from backtest_mongo.cli.demo.strategy import make_engine
from backtest_mongo.types import Payload

__all__ = ["main"]

#: How long a successor waits after a kill, at most. A live engine takes the default, which rides out an election.
_TTL: Final = 2
_WAIT: Final = 60
_TRIES: Final = 5

Line = dict[str, Any]


async def trade(bars: int) -> Line:
    """Run the engine from the bar after the last one to the end, and return the last line to report."""
    async with setup():
        meter = Meter(_report_write)
        meter.install()
        # Repeated if an earlier process was killed here: rows that are stored already stay as they are.
        await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(load_candles(bars))
        engine = await _trade_to_the_end(meter)
        torn = await find_torn_slots(engine)
        signals, log, notifications = await asyncio.gather(
            persist.storage(backtest=True).read_storage_data(),
            persist.log().read_log_data(),
            persist.notification(backtest=True).read_notification_data(),
        )
        return _make_line(
            "done",
            engine,
            meter,
            torn=torn,
            trades=sum(signal["status"] == "closed" for signal in signals),
            balance=engine.progress["balance"],
            logged=f"{log[-1]['topic']} of {log[-1]['args'][0]['signalId']}" if log else "nothing",
            notified=_describe(notifications[-1]) if notifications else "nothing",
        )


async def _trade_to_the_end(meter: Meter) -> Engine:
    """Trade under a lease, which is taken again if it is lost, and return the engine as it is after the last bar."""
    tries = 0
    while True:
        engine = make_engine()
        tries += 1
        try:
            # The process before may have been killed: its lease ends soon, and by itself.
            async with lease(*engine.owned, ttl=_TTL, wait=_WAIT):
                await engine.resume()
                torn = await find_torn_slots(engine)
                _report(_make_line("resumed" if tries == 1 else "again", engine, meter, torn=torn))
                async for candle in engine.clock():
                    start = time.perf_counter()
                    await engine.step(candle)
                    seconds = time.perf_counter() - start
                    _report(_make_line("bar", engine, meter, seconds=seconds))
            return engine
        except (LeaseLostError, StoreUnavailableError):
            # Such a short lease may end on a busy machine. What is stored is whole, so go on from there.
            if tries == _TRIES:
                raise


def _make_line(what: str, engine: Engine, meter: Meter, **more: Any) -> Line:
    calls, hits = meter.take()
    return {"what": what, "bar": engine.progress["bars"] - 1, "calls": calls, "hits": hits, **more}


def _describe(notification: Payload) -> str:
    return notification.get("message") or f"{notification['type']} of {notification['signalId']}"


def _report_write(slot: str) -> None:
    # Candles are stored at once, and each bar writes its session and its equity.
    if slot not in ("candle", "session", "equity"):
        _report({"what": "wrote", "slot": slot})


def _report(line: Line) -> None:
    print(json.dumps(line, separators=(",", ":")), flush=True)


def main() -> int:
    set_logger(logging.getLogger("backtest_mongo"))  # to standard error: standard output is for the parent
    finished = threading.Event()

    def watch() -> None:
        os.read(0, 1)  # returns when the parent closes the pipe, or dies
        if not finished.is_set():
            os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        last = asyncio.run(trade(int(sys.argv[1])))
    except BacktestMongoError as error:
        print(error, file=sys.stderr)
        return 1
    finished.set()
    _report(last)
    # A process that is to be killed must not exit before: it waits until its parent releases it.
    watcher.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The trading process: ``python -m backtest_mongo.cli.demo.worker BARS``, which ``runner`` starts.

It finds its servers in the environment, continues from what is stored there, and reports to its parent on standard
output: one JSON object per line. It may be killed at any moment, and exits when its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sys
import threading
from typing import Any

from backtest_mongo import BacktestMongoError, persist, set_logger, setup
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles
from backtest_mongo.cli.demo.meter import Meter
from backtest_mongo.cli.demo.rules import Book
from backtest_mongo.cli.demo.strategy import CrossoverStrategy

__all__ = ["main"]

Line = dict[str, Any]


async def trade(bars: int) -> Line:
    """Run the strategy from its checkpoint to the last bar, and return the last line to report."""
    async with setup():
        meter = Meter(_report_write)
        meter.install()
        market = load_candles(bars)
        strategy = CrossoverStrategy([candle["timestamp"] for candle in market])
        ahead = await strategy.resume()
        if strategy.book.bar < 0:
            # Repeated if an earlier process was killed here: rows that are stored already stay as they are.
            await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market)
        _report(_make_line("resumed", strategy.book, meter, ahead=ahead))
        for bar in range(strategy.book.bar + 1, bars):
            equity = await strategy.on_bar(bar)
            _report(_make_line("bar", strategy.book, meter, equity=equity))
        trades, log, notifications = await asyncio.gather(
            persist.storage(backtest=True).read_storage_data(),
            persist.log().read_log_data(),
            persist.notification(backtest=True).read_notification_data(),
        )
        strategy.dispose()
        profit = sum(trade["profit"] for trade in trades)
        return _make_line(
            "done",
            strategy.book,
            meter,
            trades=sum(trade["status"] == "closed" for trade in trades),
            balance=strategy.book.equity,
            # All processes in turn counted the balance bar by bar; the trades were stored one by one.
            adds_up=math.isclose(Book().equity + profit, strategy.book.equity),
            logged=log[-1]["message"] if log else "nothing",
            notified=notifications[-1]["message"] if notifications else "nothing",
        )


def _make_line(what: str, book: Book, meter: Meter, **more: Any) -> Line:
    calls, hits = meter.take()
    return {"what": what, "bar": book.bar, "calls": calls, "hits": hits, **more}


def _report_write(slot: str) -> None:
    if slot != "state":  # the checkpoint completes the bar
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

"""The trading process: ``python -m backtest_mongo.demo.worker BARS``, started by :mod:`~backtest_mongo.demo.children`.

It finds its servers in the environment, continues from what is stored there, and tells its parent on standard output
what it does: one JSON object a line. It may be killed at any moment, and ends by itself when its standard input closes.
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
from backtest_mongo.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles
from backtest_mongo.demo.meter import Meter
from backtest_mongo.demo.rules import Book
from backtest_mongo.demo.strategy import CrossoverStrategy

__all__ = ["main"]

Line = dict[str, Any]


async def trade(bars: int) -> Line:
    """Run the strategy from its checkpoint to the last bar, and return what to tell then."""
    async with setup():
        meter = Meter(_tell_write)
        meter.install()
        market = load_candles(bars)
        strategy = CrossoverStrategy([candle["timestamp"] for candle in market])
        ahead = await strategy.resume()
        if strategy.book.bar < 0:
            # Again, if a process before was killed here: rows that are stored already stay as they are.
            await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market)
        _tell(_line("resumed", strategy.book, meter, ahead=ahead))
        for bar in range(strategy.book.bar + 1, bars):
            equity = await strategy.on_bar(bar)
            _tell(_line("bar", strategy.book, meter, equity=equity))
        trades, log, notifications = await asyncio.gather(
            persist.storage(backtest=True).read_storage_data(),
            persist.log().read_log_data(),
            persist.notification(backtest=True).read_notification_data(),
        )
        strategy.dispose()
        profit = sum(trade["profit"] for trade in trades)
        return _line(
            "done",
            strategy.book,
            meter,
            trades=sum(trade["status"] == "closed" for trade in trades),
            balance=strategy.book.equity,
            # The balance was counted bar by bar, by all processes in turn; the trades were stored one by one.
            adds_up=math.isclose(Book().equity + profit, strategy.book.equity),
            logged=log[-1]["message"] if log else "nothing",
            notified=notifications[-1]["message"] if notifications else "nothing",
        )


def _line(what: str, book: Book, meter: Meter, **more: Any) -> Line:
    calls, hits = meter.take()
    return {"what": what, "bar": book.bar, "calls": calls, "hits": hits, **more}


def _tell_write(slot: str) -> None:
    if slot != "state":  # with the checkpoint a bar is done
        _tell({"what": "wrote", "slot": slot})


def _tell(line: Line) -> None:
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
    _tell(last)
    # A process that is to be killed must not slip away: it stays until its parent lets it go.
    watcher.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())

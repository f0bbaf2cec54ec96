"""VeighNa's database on MongoDB compared with vnpy_mongodb: ``python -m benchmarks.veighna``, with both installed.

Both save and load the same bars and ticks on one server, in turn, so that what else the machine does slows down both.
"""

from __future__ import annotations

import argparse
import importlib
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from backtest_mongo import embedded, sync
from benchmarks.vnpy_ticks import import_settings

START = datetime(2024, 1, 1, tzinfo=UTC)
EVER = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
PRICES = ("open_price", "high_price", "low_price", "close_price")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000, help="bars and ticks that a call saves or loads")
    parser.add_argument("--streamed", type=int, default=500, help="ticks that are saved one by one")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is measured")
    arguments = parser.parse_args()
    settings = import_settings()
    with embedded.Servers() as servers:
        uri: str = servers.config["CC_MONGO_CONNECTION_STRING"]
        settings |= {"database.host": uri, "database.port": 0}
        sides = {}
        for name, module in (("ours", "vnpy_backtest_mongo"), ("theirs", "vnpy_mongodb")):
            settings["database.database"] = name
            sides[name] = importlib.import_module(module).Database()
        seconds: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for number in range(arguments.rounds):
            order = list(sides) if number % 2 else [*sides][::-1]
            for what, make in list_works(f"s{number}", arguments.rows, arguments.streamed):
                for name in order:
                    seconds[what][name].append(measure(make(sides[name])))
                shown = ", ".join(f"{name} {seconds[what][name][-1]:.2f} s" for name in sides)
                print(f"round {number + 1}, {what}: {shown}", file=sys.stderr, flush=True)
        sync.close()
        sides["theirs"].client.close()
    print(f"{'':24}{'this library':>14}{'vnpy_mongodb':>14}{'ratio':>8}{'  of each round'}")
    for what, found in seconds.items():
        ours, theirs = statistics.median(found["ours"]), statistics.median(found["theirs"])
        ratios = [one / other for one, other in zip(found["ours"], found["theirs"], strict=True)]
        each = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{what:24}{ours:12.2f} s{theirs:12.2f} s{statistics.median(ratios):8.2f}  {each}")


def measure(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def list_works(symbol: str, rows: int, streamed: int) -> Iterator[tuple[str, Callable[[Any], Callable[[], object]]]]:
    """Yield what is measured, each as a function that returns the work of a database."""
    constants: Any = importlib.import_module("vnpy.trader.constant")
    local, minute = constants.Exchange.LOCAL, constants.Interval.MINUTE
    bars, ticks = make_bars(symbol, rows, local, minute), make_ticks(symbol, rows, local)
    live = make_ticks(f"{symbol}-live", streamed, local)
    yield "save bars", lambda database: lambda: database.save_bar_data(bars)
    yield "load bars", lambda database: lambda: check(rows, database.load_bar_data(symbol, local, minute, *EVER))
    yield "save the same bars", lambda database: lambda: database.save_bar_data(bars)
    yield "save ticks", lambda database: lambda: database.save_tick_data(ticks)
    yield "load ticks", lambda database: lambda: check(rows, database.load_tick_data(symbol, local, *EVER))
    few = START, START + timedelta(seconds=rows // 200)
    yield "load 1 % of the ticks", lambda database: lambda: database.load_tick_data(symbol, local, *few)
    yield "save ticks one by one", lambda database: lambda: [database.save_tick_data([t], stream=True) for t in live]


def check(rows: int, loaded: list[Any]) -> None:
    if len(loaded) != rows:
        raise SystemExit(f"{len(loaded):,} rows were loaded, not {rows:,}")


def make_bars(symbol: str, count: int, exchange: Any, interval: Any) -> list[Any]:
    make: Any = importlib.import_module("vnpy.trader.object").BarData
    source, price, bars = random.Random(1), 4_000.0, []
    for number in range(count):
        price = round(price + source.gauss(0, 2), 1)
        bar = make("BENCH", symbol, exchange, START + timedelta(minutes=number), interval)
        for name, shift in zip(PRICES, (0.0, 2.0, -2.0, 1.0), strict=True):
            setattr(bar, name, price + shift)
        bar.volume, bar.turnover, bar.open_interest = float(source.randrange(500)), price * 100, 1e6 + number
        bars.append(bar)
    return bars


def make_ticks(symbol: str, count: int, exchange: Any) -> list[Any]:
    make: Any = importlib.import_module("vnpy.trader.object").TickData
    source, price, volume, ticks = random.Random(1), 4_000.0, 0.0, []
    for number in range(count):
        price, volume = price + source.choice((-1.0, 0.0, 0.0, 1.0)), volume + source.randrange(20)
        tick = make("BENCH", symbol, exchange, START + timedelta(milliseconds=500 * number), "a contract")
        tick.last_price, tick.volume, tick.turnover, tick.open_interest = price, volume, volume * price, 1e6 + number
        tick.open_price = tick.pre_close = 4_000.0
        tick.high_price, tick.low_price, tick.limit_up, tick.limit_down = 4_050.0, 3_950.0, 4_400.0, 3_600.0
        for level in range(1, 6):
            setattr(tick, f"bid_price_{level}", price - level)
            setattr(tick, f"ask_price_{level}", price + level)
            setattr(tick, f"bid_volume_{level}", float(source.randrange(1, 300)))
            setattr(tick, f"ask_volume_{level}", float(source.randrange(1, 300)))
        ticks.append(tick)
    return ticks


if __name__ == "__main__":
    main()

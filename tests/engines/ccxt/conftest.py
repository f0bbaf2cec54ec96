"""An exchange that a local server plays; nothing here is collected where ccxt is not installed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import persist
from tests.conftest import on_database

collect_ignore_glob = [] if find_spec("ccxt") else ["test_*.py"]

MINUTE = 60_000


class PlayedExchange:
    """Binance's candles, of which some don't exist; it pages, throttles, fails and lies.

    Attributes:
        limit: candles of an answer at most, whatever is asked for.
        listed: when the market was listed, in milliseconds: there are no candles before.
        absent: minutes of each hour that have no candle.
        throttled: requests that are refused because there were too many, each once, by their numbers.
        broken: requests that fail on the server, likewise.
        asked: the parameters of each request.
    """

    def __init__(self) -> None:
        self.limit = 1_000
        self.listed = 0
        self.absent: frozenset[int] = frozenset()
        self.throttled: set[int] = set()
        self.broken: set[int] = set()
        self.asked: list[dict[str, int]] = []
        self.answered = 0
        self.under_way = 0
        self.most = 0

    def has(self, minute: int) -> bool:
        return minute * MINUTE >= self.listed and minute % 60 not in self.absent

    def make(self, minute: int) -> list[Any]:
        price = 100 + minute % 17
        prices = [str(price), str(price + 1), str(price - 1), str(price + 0.5)]
        return [minute * MINUTE, *prices, "2.5", minute * MINUTE + MINUTE - 1, "0", 1, "0", "0", "0"]

    async def answer(self, request: Any) -> Any:
        from aiohttp import web

        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            number = len(self.asked)
            self.asked.append({name: int(value) for name, value in request.query.items() if value.isdigit()})
            if number in self.throttled:
                told = {"Retry-After": "1"}
                return web.json_response({"code": -1003, "msg": "Too many requests"}, status=429, headers=told)
            if number in self.broken:
                return web.Response(status=502, text="Bad Gateway")
            start, limit = int(request.query["startTime"]), int(request.query.get("limit", 500))
            end = min(int(request.query.get("endTime", 2**62)), int(time.time() * 1000))
            minute = -(-start // MINUTE)
            rows: list[Any] = []
            while len(rows) < min(limit, self.limit) and minute * MINUTE <= end:
                if self.has(minute):
                    rows.append(self.make(minute))
                minute += 1
            self.answered += len(rows)
            return web.json_response(rows)
        finally:
            self.under_way -= 1


@pytest.fixture
def played() -> PlayedExchange:
    return PlayedExchange()


@contextmanager
def serving(played: PlayedExchange) -> Iterator[str]:
    """Serve it in a thread of its own; yield the address."""
    from aiohttp import web

    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/api/v3/klines", played.answer)
    runner = web.AppRunner(app)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server: Any = site._server
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v3"

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def make_client(address: str) -> Any:
    """Return ccxt's client of the exchange at an address."""
    from backtest_mongo.integrations.ccxt import open_exchange

    client = open_exchange("binance", rateLimit=1)
    client.urls["api"]["public"] = address
    ids = {"id": "BTCUSDT", "baseId": "BTC", "quoteId": "USDT", "base": "BTC", "quote": "USDT"}
    client.set_markets([client.safe_market_structure({**ids, "symbol": "BTC/USDT", "type": "spot", "spot": True})])
    return client


@pytest.fixture
async def exchange(played: PlayedExchange) -> AsyncIterator[Any]:
    """ccxt's client of it."""
    with serving(played) as address:
        client = make_client(address)
        yield client
        await client.close()


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[None]:
    """The registry points at an SQLite file."""
    persist.use_sqlite(tmp_path / "backtest.db")
    yield
    await backtest_mongo.close()


@pytest.fixture(params=["sqlite", "files", "pymongo"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The registry points at a storage of the test's own."""
    if request.param == "sqlite":
        persist.use_sqlite(tmp_path / "backtest.db")
    elif request.param == "files":
        persist.use_files(tmp_path / "dump")
    else:
        servers = request.getfixturevalue("servers")
        uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], request.getfixturevalue("unique"))
        await backtest_mongo.setup({**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": "pymongo"})
    yield request.param
    await backtest_mongo.close()

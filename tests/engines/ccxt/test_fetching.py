"""What a series lacks is fetched by the real ccxt, from an exchange that a local server plays."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import ccxt
import pytest

from backtest_mongo import InputError, InputTypeError, persist
from backtest_mongo.cli.candles import fetching
from backtest_mongo.cli.main import main
from backtest_mongo.integrations.ccxt import (
    FetchProgress,
    _read_retry_after,
    _subtract,
    fetch_missing,
    open_exchange,
)
from tests.engines.ccxt.conftest import MINUTE, PlayedExchange, make_client, serving

#: A minute of 2024.
START = 1_704_067_200_000


async def fetch(exchange: Any, until: int | None = START + 3_000 * MINUTE, **options: Any) -> Any:
    candles = persist.candle("BTCUSDT", "1m", "binance")
    return await fetch_missing(candles, exchange, symbol="BTC/USDT", since=START, until=until, **options)


async def check(played: PlayedExchange, count: int) -> None:
    """Check that the series has all candles of so many minutes that the exchange has."""
    frame = await persist.candle("BTCUSDT", "1m", "binance").read_frame(as_="numpy")
    minutes = [minute for minute in range(START // MINUTE, START // MINUTE + count) if played.has(minute)]
    assert (frame["timestamp"].astype("int64") // MINUTE).tolist() == minutes
    assert frame["close"].tolist() == [float(played.make(minute)[4]) for minute in minutes]


async def test_pages(storage: str, played: PlayedExchange, exchange: Any) -> None:
    seen: list[tuple[int, int, int]] = []

    def note(progress: FetchProgress) -> None:
        seen.append((progress.missing, progress.asked, progress.stored))

    report = await fetch(exchange, progress=note)
    assert (report.missing, report.stored, report.absent, report.refused) == (3_000, 3_000, 0, {})
    assert seen[-1] == (3_000, 3_000, 3_000)
    assert len(played.asked) == 3
    await check(played, 3_000)
    assert (await fetch(exchange)).missing == 0
    assert len(played.asked) == 3


async def test_gaps_alone_are_asked_for(storage: str, played: PlayedExchange, exchange: Any) -> None:
    rows = [played.make(minute)[:6] for minute in range(START // MINUTE, START // MINUTE + 3_000) if minute % 500]
    await persist.candle("BTCUSDT", "1m", "binance").write_frame([[row[0], *map(float, row[1:])] for row in rows])
    report = await fetch(exchange)
    assert report.stored == report.missing == len(played.asked) == played.answered == 6
    await check(played, 3_000)


async def test_what_the_exchange_does_not_have_is_remembered(
    storage: str, played: PlayedExchange, exchange: Any
) -> None:
    played.listed, played.absent = START + 1_200 * MINUTE, frozenset((10, 11, 59))
    report = await fetch(exchange)
    stored = sum(played.has(minute) for minute in range(START // MINUTE, START // MINUTE + 3_000))
    assert (report.missing, report.stored, report.absent) == (3_000, stored, 3_000 - stored)
    await check(played, 3_000)
    asked = len(played.asked)
    again = await fetch(exchange)
    if storage == "files":  # which store no other series than candles
        assert again.absent == report.absent
        return
    assert (again.missing, again.absent, len(played.asked)) == (0, 0, asked)
    played.listed, played.absent = 0, frozenset()
    assert (await fetch(exchange)).missing == 0
    report = await fetch(exchange, retry_absent_after=timedelta(0))
    assert report.stored == report.missing == 3_000 - stored
    await check(played, 3_000)


@pytest.mark.parametrize("limit", [1, 7, 999])
async def test_answers_shorter_than_was_said(limit: int, played: PlayedExchange, exchange: Any, local: None) -> None:
    played.limit, played.absent = limit, frozenset((5,))
    report = await fetch(exchange, until=START + 130 * MINUTE)
    assert (report.missing, report.stored, report.absent) == (130, 127, 3)
    await check(played, 130)


async def test_throttled_and_failing_requests_are_sent_again(
    played: PlayedExchange, exchange: Any, local: None
) -> None:
    played.throttled, played.broken = {1, 2}, {0, 4}
    began = time.monotonic()
    report = await fetch(exchange)
    assert time.monotonic() - began >= 1  # as the exchange has told
    assert (report.stored, report.requests) == (3_000, 1 + 3 + 4)  # and one for the markets
    await check(played, 3_000)


async def test_exchange_that_keeps_failing(played: PlayedExchange, exchange: Any, local: None) -> None:
    played.broken = set(range(1, 100))
    with pytest.raises(ccxt.NetworkError):
        await fetch(exchange, tries=2, concurrency=1)
    await check(played, 1_000)  # what came before is stored
    played.broken = set()
    assert (await fetch(exchange)).stored == 2_000
    await check(played, 3_000)


async def test_interrupted_fetch_goes_on(played: PlayedExchange, exchange: Any, local: None) -> None:
    task: asyncio.Task[Any]
    pages = 0

    def interrupt(_: FetchProgress) -> None:
        nonlocal pages
        pages += 1
        if pages == 2:
            task.cancel()

    task = asyncio.ensure_future(fetch(exchange, progress=interrupt, concurrency=1))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await fetch(exchange)).stored == 1_000
    await check(played, 3_000)


async def test_pages_are_fetched_at_once(played: PlayedExchange, exchange: Any, local: None) -> None:
    await fetch(exchange, until=START + 20_000 * MINUTE, concurrency=3)
    assert played.most <= 3
    await check(played, 20_000)


async def test_open_candle_is_not_stored(played: PlayedExchange, exchange: Any, local: None) -> None:
    candles = persist.candle("BTCUSDT", "1m", "binance")
    report = await fetch_missing(candles, exchange, symbol="BTC/USDT", since=(int(time.time()) // 60 - 100) * MINUTE)
    assert report.refused == {}
    last = (await candles.coverage()).last
    assert last is not None
    assert last + MINUTE <= time.time() * 1000


async def test_bad_input(played: PlayedExchange, exchange: Any, local: None) -> None:
    candles: Any = persist.candle("BTCUSDT", "1m", "binance")
    with pytest.raises(InputError, match=r"the series is empty \(since says where to begin\)"):
        await fetch_missing(candles, exchange, symbol="BTC/USDT")
    with pytest.raises(InputError, match=r"binance has no market 'BTC/USDX' \(did you mean BTC/USDT\?\)"):
        await fetch_missing(candles, exchange, symbol="BTC/USDX", since=START)
    with pytest.raises(InputError, match="binance has no candles of 45m"):
        await fetch_missing(persist.candle("BTCUSDT", "45m", "binance"), exchange, symbol="BTC/USDT", since=START)
    with pytest.raises(InputTypeError, match="takes a series of candles of this library, not int"):
        await fetch_missing(5, exchange)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match=r"takes a client of ccxt\.async_support, not binance"):
        await fetch_missing(candles, ccxt.binance())
    with pytest.raises(InputError, match="concurrency must be 1 or more"):
        await fetch_missing(candles, exchange, concurrency=0)
    with pytest.raises(InputError, match=r"ccxt has no exchange 'binanse' \(did you mean binance\?\)"):
        open_exchange("binanse")


async def test_ccxt_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt.async_support", None)
    with pytest.raises(InputError, match=r'ccxt is not installed \(pip install "backtest-mongo\[ccxt\]"\)'):
        open_exchange("binance")


def test_ranges() -> None:
    assert _subtract([(0, 10), (20, 30)], []) == [(0, 10), (20, 30)]
    assert _subtract([(0, 10), (20, 30)], [(5, 25)]) == [(0, 5), (25, 30)]
    assert _subtract([(0, 10)], [(0, 3), (3, 5), (4, 6), (9, 20)]) == [(6, 9)]
    assert _subtract([(0, 10), (10, 20), (30, 40)], [(2, 4), (8, 12), (35, 60)]) == [(0, 2), (4, 8), (12, 20), (30, 35)]
    assert _subtract([(0, 10)], [(0, 10)]) == []


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    played = PlayedExchange()
    played.absent = frozenset((3,))
    arguments = ["candles", "fetch", "--exchange", "binance", "--symbol", "BTC/USDT", "--interval", "1m"]
    arguments += ["--since", "2024-01-01", "--until", "2024-01-03", "--sqlite", str(tmp_path / "fetched.db")]
    monkeypatch.setattr(sys, "argv", ["backtest-mongo", *arguments])

    def run() -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), capsys.readouterr().out

    with serving(played) as address:
        monkeypatch.setattr(fetching, "open_exchange", lambda _: make_client(address))
        status, text = run()
        assert status == 0
        assert "binance BTCUSDT 1m: 2,832 candles stored of 2,880 that were missing, 48 that the" in text
        status, text = run()
        assert (status, text) == (0, "binance BTCUSDT 1m: nothing is missing that the exchange has\n")
        played.broken = set(range(1_000))
        monkeypatch.setattr(sys, "argv", [*sys.argv, "--again-after", "0"])
        monkeypatch.setattr("backtest_mongo.integrations.ccxt._LONGEST_PAUSE", 0.01)
        status, text = run()
        assert status == 1
        assert "then the exchange refused or did not answer: ExchangeNotAvailable" in text


def answer_with(exchange: Any, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    """Let the exchange answer with the rows that a function makes of the first time and the number asked for."""

    async def fetch_ohlcv(symbol: str, interval: str, since: int, limit: int) -> list[Any]:
        return [*make(since, limit)]

    monkeypatch.setattr(exchange, "fetch_ohlcv", fetch_ohlcv)


async def test_candle_that_is_published_late_is_asked_for_again(
    storage: str, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = START + 10 * MINUTE + 4_955
    monkeypatch.setattr("backtest_mongo.types.now_ms", lambda: now)
    last = START + 8 * MINUTE  # the candle of minute 9 has closed, but is not there yet

    def make(since: int, limit: int) -> Any:
        assert since % MINUTE == 0
        return ([time, 1, 2, 1, 2, None] for time in range(since, last + MINUTE, MINUTE))

    answer_with(exchange, monkeypatch, make)
    report = await fetch(exchange, until=None)
    assert (report.missing, report.stored, report.absent) == (10, 9, 1)
    last += MINUTE
    report = await fetch(exchange, until=None)
    assert (report.missing, report.stored, report.absent) == (1, 1, 0)


async def test_rows_that_are_no_candles_are_refused(
    storage: str, exchange: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [[START + 1, 1, 2, 1, 2, 3], [START, 1, 2], ["x", 1, 2, 1, 2, 3], [START, "1", 2, 1, 2, 3], None, "candle"]
    answer_with(exchange, monkeypatch, lambda since, limit: [*bad, [START + MINUTE, 1, 2, 1, 2, 3]])
    report = await fetch(exchange, until=START + 2 * MINUTE)
    assert (report.stored, report.absent) == (1, 1)
    assert report.refused == {
        "the time is not that of a candle of 1m": 1,
        "a row has no six values": 3,
        "a value is not a number": 2,
    }
    assert (await fetch(exchange, until=START + 2 * MINUTE)).missing == 1  # of which nothing is known


def test_pause_that_the_exchange_asks_for() -> None:
    assert _read_retry_after("120") == 120
    assert _read_retry_after("") == _read_retry_after("soon") == 0
    assert _read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert _read_retry_after("Wed, 21 Oct 2099 07:28:00 GMT") > 2_000_000_000

"""Candles from exchanges, by ccxt: what a series lacks is fetched, and nothing else."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from backtest_mongo import types
from backtest_mongo.adapters import CandleAdapter
from backtest_mongo.adapters.registry import persist
from backtest_mongo.core.columns import Column
from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError, InputTypeError, StoreError
from backtest_mongo.types import SeriesTime

if TYPE_CHECKING:
    from tenacity import AsyncRetrying

__all__ = ["NO_CANDLES", "FetchProgress", "FetchReport", "fetch_missing", "open_exchange"]

#: The ranges in which an exchange has no candles: a series with columns, in the database that has the candles.
NO_CANDLES: Final = SlotSpec(
    name="no_candles",
    about="half-open ranges in which an exchange has no candles",
    shape="series",
    context=("symbol", "interval", "exchange_name"),
    key=("exchangeName", "symbol", "interval", "timestamp"),
    unit="ms",
    # The first time after the range, and when the exchange was asked.
    columns=(Column("end", "int64"), Column("asked", "int64")),
)
#: Candles that are asked for at a time of an exchange that does not say how many it returns.
_LIMIT: Final = 500
#: The longest pause before a request is sent again, in seconds, unless the exchange asks for a longer one.
_LONGEST_PAUSE: Final = 60.0
#: For how long after its close a candle that an exchange lacks may still come, in milliseconds.
_SETTLING_MS: Final = 3_600_000

#: A half-open range of times in milliseconds.
Range: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class FetchProgress:
    """How far a fetch has come.

    Attributes:
        missing: candles that were missing when it began.
        asked: those of them that the exchange was asked for.
        stored: those that were stored.
    """

    missing: int = 0
    asked: int = 0
    stored: int = 0


@dataclass(slots=True)
class FetchReport:
    """What became of the candles that were missing.

    Attributes:
        missing: candles that were missing, but for those that the exchange is known not to have.
        stored: those that were stored.
        absent: those that the exchange does not have.
        refused: rows of the exchange that can't be candles, by reason.
        requests: how often the exchange was asked.
    """

    missing: int = 0
    stored: int = 0
    absent: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    requests: int = 0


def open_exchange(name: str, **options: Any) -> Any:
    """Return ccxt's client of an exchange, under its rate limit.

    Args:
        name: the exchange's id in ccxt, such as ``binance``.
        options: ccxt's options.

    Raises:
        InputError: ccxt is not installed, or knows no such exchange.
    """
    ccxt = _import_ccxt()
    if name not in ccxt.exchanges:
        raise InputError(f"ccxt has no exchange {name!r}", hint=suggest(name, ccxt.exchanges))
    return getattr(ccxt, name)({"enableRateLimit": True, "aiohttp_trust_env": True, **options})


async def fetch_missing(
    candles: CandleAdapter,
    exchange: Any,
    *,
    symbol: str | None = None,
    since: SeriesTime | None = None,
    until: SeriesTime | None = None,
    concurrency: int = 4,
    retry_absent_after: timedelta = timedelta(days=7),
    tries: int = 8,
    progress: Callable[[FetchProgress], None] | None = None,
) -> FetchReport:
    """Fetch the candles that a series lacks, and store them::

        exchange = open_exchange("binance")
        candles = persist.candle("BTCUSDT", "1m", "binance")
        await fetch_missing(candles, exchange, symbol="BTC/USDT", since="2024-01-01")
        await exchange.close()

    What is missing is what ``candles.gaps(since, until)`` says. Each page is stored as it comes, so a fetch that was
    interrupted goes on where it stopped when it is called again. A candle that is still open is not stored. What the
    exchange does not have is remembered beside the candles, in the slot ``no_candles``, and asked for again when it is
    older than ``retry_absent_after``.

    Requests keep ccxt's rate limit. What fails by the network, or because there were too many requests, is sent again
    after a pause that grows, and that is as long as the exchange says.

    Args:
        candles: the series, from ``persist.candle()`` or a ``CandleAdapter``.
        exchange: a client of ``ccxt.async_support``. It stays open.
        symbol: the market as ccxt names it, such as ``BTC/USDT``; ``None`` for the symbol of the series.
        since: the beginning: milliseconds since the epoch, an aware ``datetime`` or ISO 8601 text; ``None`` for the
            first stored candle.
        until: the end, exclusive; ``None`` for now.
        concurrency: pages that are fetched at once; the rate limit holds for all of them together.
        retry_absent_after: how long the exchange is not asked again for what it does not have.
        tries: how often a request is sent.
        progress: is called after each page.

    Returns:
        How many candles were missing, stored and absent.

    Raises:
        InputError: the series is empty and ``since`` is not given, the exchange has no candles of this interval or no
            such market, an argument is out of range, or ccxt is not installed.
        InputTypeError: ``candles`` or ``exchange`` is something else.
        ccxt.BaseError: the exchange refuses, or did not answer in ``tries`` requests. What was stored by then stays.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
    """
    if concurrency < 1 or tries < 1:
        name = "concurrency" if concurrency < 1 else "tries"
        raise InputError(f"fetch_missing: {name} must be 1 or more")
    fetch = _Fetch(candles, exchange, symbol, tries, progress)
    await fetch.find_market()
    wanted = await fetch.find_missing(since, until, retry_absent_after)
    turns = asyncio.Semaphore(concurrency)
    try:
        async with asyncio.TaskGroup() as tasks:
            for page in fetch.split(wanted):
                await turns.acquire()
                tasks.create_task(fetch.fetch_page(page)).add_done_callback(lambda _: turns.release())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return fetch.report


class _Fetch:
    """One fetch."""

    def __init__(
        self,
        candles: CandleAdapter,
        exchange: Any,
        symbol: str | None,
        tries: int,
        progress: Callable[[FetchProgress], None] | None,
    ) -> None:
        if not isinstance(candles, CandleAdapter):
            raise InputTypeError(
                f"fetch_missing takes a series of candles of this library, not {type(candles).__name__}",
                hint='persist.candle("BTCUSDT", "1m", "binance")',
            )
        if not inspect.iscoroutinefunction(getattr(exchange, "fetch_ohlcv", None)):
            raise InputTypeError(
                f"fetch_missing takes a client of ccxt.async_support, not {type(exchange).__name__}",
                hint='open_exchange("binance") makes one',
            )
        self._candles = candles
        self._exchange = exchange
        self._symbol = symbol or str(candles.context["symbol"])
        self._interval = str(candles.context["interval"])
        self._grid: IntervalGrid = GRIDS[self._interval]
        self._tries = tries
        self._report_progress = progress
        self._progress = FetchProgress()
        self._limit = _LIMIT
        self.report: FetchReport = FetchReport()

    async def find_market(self) -> None:
        """Make sure that the exchange has candles of this market and interval, and how many it returns at most."""
        ccxt, exchange = _import_ccxt(), self._exchange
        known = list(exchange.timeframes or ())
        if known and self._interval not in known:
            raise InputError(
                f"{exchange.id} has no candles of {self._interval}", slot="candle", hint=f"it has {', '.join(known)}"
            )
        try:
            await self._ask(exchange.load_markets)
            market = exchange.market(self._symbol)
        except ccxt.BadSymbol:
            near = suggest(self._symbol, list(exchange.markets or ()))
            raise InputError(f"{exchange.id} has no market {self._symbol!r}", slot="candle", hint=near) from None
        features = (getattr(exchange, "features", None) or {}).get(market.get("type") or "spot") or {}
        if market.get("linear") is not None and not features.get("fetchOHLCV"):
            features = features.get("linear" if market["linear"] else "inverse") or {}
        self._limit = int((features.get("fetchOHLCV") or {}).get("limit") or _LIMIT)

    async def find_missing(
        self, since: SeriesTime | None, until: SeriesTime | None, retry_absent_after: timedelta
    ) -> list[Range]:
        """Return the ranges to ask for."""
        if since is None and await self._candles.bounds() is None:
            raise InputError("the series is empty", slot="candle", hint="since says where to begin")
        closed = self._align(self._grid.closed_before(types.now_ms()))
        found = await self._candles.gaps(since, until)
        gaps: list[Range] = [(self._align(gap.start), min(self._align(gap.end), closed)) for gap in found]
        oldest = types.now_ms() - int(retry_absent_after.total_seconds() * 1000)
        wanted = _subtract(gaps, await self._read_absent(oldest))
        self._progress.missing = self.report.missing = sum(self._count(*range_) for range_ in wanted)
        return wanted

    def _count(self, first: int, end: int) -> int:
        return self._grid.steps(first, end - 1) + 1 if first < end else 0

    def _align(self, time: int) -> int:
        """Return the open time of the first candle from a time on."""
        place, offset = self._grid.locate(time)
        return self._grid.time(place + 1) if offset else time

    def split(self, wanted: Sequence[Range]) -> list[Range]:
        """Return the ranges in pages of as many candles as the exchange returns at most."""
        pages = []
        for first, end in wanted:
            position = first
            while position < end:
                following = min(end, self._grid.shift(position, self._limit))
                pages.append((position, following))
                position = following
        return pages

    async def fetch_page(self, page: Range) -> None:
        """Fetch and store the candles of a range, however few the exchange returns at a time."""
        first, end = page
        position, times, is_sound = first, set[int](), True
        while position < end:
            answer = await self._ask(
                self._exchange.fetch_ohlcv, self._symbol, self._interval, position, self._count(position, end)
            )
            rows, are_all = self._read_rows(answer, position, end)
            is_sound = is_sound and are_all
            if not rows:
                break
            await self._store([rows[time] for time in sorted(rows)])
            times |= rows.keys()
            position = self._grid.shift(max(rows), 1)
        await self._note_absent(first, end, sorted(times), is_sound=is_sound)
        self._progress.asked += self._count(first, end)
        if self._report_progress is not None:
            self._report_progress(self._progress)

    def _read_rows(self, answer: Any, first: int, end: int) -> tuple[dict[int, list[Any]], bool]:
        """Return the candles of an answer that are in a range, by time, and whether all of its rows are candles."""
        rows: dict[int, list[Any]] = {}
        are_all = True
        for row in answer or ():
            problem = self._find_problem(row)
            if problem:
                self.report.refused[problem] = self.report.refused.get(problem, 0) + 1
                are_all = False
            elif first <= row[0] < end:
                rows[int(row[0])] = [int(row[0]), *row[1:5], row[5] or 0.0]
        return rows, are_all

    def _find_problem(self, row: Any) -> str:
        """Return why a row can't be a candle, if so."""
        if not isinstance(row, Sequence) or isinstance(row, str) or len(row) < 6:
            return "a row has no six values"
        if not all(_is_number(value) for value in row[:5]) or not (row[5] is None or _is_number(row[5])):
            return "a value is not a number"
        if row[0] != int(row[0]) or self._grid.locate(int(row[0]))[1]:
            return f"the time is not that of a candle of {self._interval}"
        return ""

    async def _store(self, rows: list[list[Any]]) -> None:
        done = await self._candles.write_frame(rows)
        self.report.stored += done.new
        self._progress.stored += done.new
        for reason, places in done.refused.items():
            self.report.refused[reason] = self.report.refused.get(reason, 0) + len(places)

    async def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        async def send() -> Any:
            self.report.requests += 1
            return await function(*arguments)

        return await self._make_retrying()(send)

    def _make_retrying(self) -> AsyncRetrying:
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        pause = wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE)

        def wait(state: Any) -> float:
            headers = {name.lower(): value for name, value in (self._exchange.last_response_headers or {}).items()}
            seconds: float = max(pause(state), _read_retry_after(str(headers.get("retry-after", ""))))
            return seconds

        return AsyncRetrying(
            retry=retry_if_exception_type(_import_ccxt().NetworkError),
            stop=stop_after_attempt(self._tries),
            wait=wait,
            reraise=True,
        )

    # What the exchange does not have

    def _open_absent(self) -> Any:
        """Return the series of absent ranges, where the candles are stored."""
        adapter = persist.register(NO_CANDLES)
        values = self._candles.context.values()
        if type(self._candles) is CandleAdapter:
            return adapter(*values)
        return getattr(persist, NO_CANDLES.name)(*values)

    async def _read_absent(self, oldest: int) -> list[Range]:
        """Return the ranges that the exchange was asked for since some time, in order, and does not have."""
        try:
            found = await self._open_absent().read_frame(as_="numpy")
        except StoreError as error:
            log().debug("what an exchange does not have is not remembered", error=str(error))  # as in JSON files
            return []
        times = found["timestamp"].astype("int64").tolist()
        rows = zip(times, found["end"].tolist(), found["asked"].tolist(), strict=True)
        return [(first, end) for first, end, asked in rows if asked >= oldest]

    async def _note_absent(self, first: int, end: int, times: Sequence[int], *, is_sound: bool) -> None:
        """Remember what is missing between the candles of a range, unless it may still come.

        Exchanges publish a candle some time after it has closed. If an answer has rows that are no candles, nothing is
        known.
        """
        edges = zip([first, *(self._grid.shift(time, 1) for time in times)], [*times, end], strict=True)
        absent = [(start, stop) for start, stop in edges if start < stop]
        self.report.absent += sum(self._count(*range_) for range_ in absent)
        asked = types.now_ms()
        settled = self._align(self._grid.closed_before(asked - _SETTLING_MS))
        rows = [
            {"timestamp": start, "end": min(stop, settled), "asked": asked} for start, stop in absent if start < settled
        ]
        if rows and is_sound:
            try:
                await self._open_absent().append(rows)
            except StoreError as error:
                log().debug("what an exchange does not have is not remembered", error=str(error))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_retry_after(text: str) -> float:
    """Return the seconds that a header asks for, which has these or a date; 0 if it has neither."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _subtract(ranges: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """Return what is left of ranges, both in order of their beginning."""
    left: list[Range] = []
    merged = iter(_merge(others))
    other = next(merged, None)
    for first, end in ranges:
        position = first
        while other is not None and other[0] < end:
            start, stop = other
            if position < start:
                left.append((position, start))
            position = max(position, stop)
            if stop > end:
                break  # it goes on in the next range
            other = next(merged, None)
        if position < end:
            left.append((position, end))
    return left


def _merge(ranges: Iterable[Range]) -> Iterator[Range]:
    """Yield ranges, in order of their beginning, joined where they touch."""
    known: Range | None = None
    for first, end in ranges:
        if known is not None and first <= known[1]:
            known = known[0], max(end, known[1])
        else:
            if known is not None:
                yield known
            known = first, end
    if known is not None:
        yield known


def _import_ccxt() -> Any:
    try:
        import ccxt.async_support
    except ImportError:
        raise InputError("ccxt is not installed", hint='pip install "backtest-mongo[ccxt]"') from None
    return ccxt.async_support

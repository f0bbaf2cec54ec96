"""Find out by its name what each column of a table of candles holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

__all__ = [
    "EXPECTED",
    "ColumnIndexes",
    "WideTable",
    "find_columns",
    "find_symbol",
    "find_time",
    "find_wide",
    "list_names",
    "named_unit",
    "named_zone",
    "plain_name",
    "plain_symbol",
    "read_wide",
]

EXPECTED: Final = "a time (timestamp, time, date, open_time, unix ...), open, high, low, close and volume"

#: Names of times, the most precise first: a table may have a number and a readable date, of which the number is used.
_TIMES: Final = (
    *("open time", "opentime", "open timestamp", "opened at", "timestamp", "time stamp", "ts", "ts event", "unix"),
    *("unix timestamp", "unix time", "epoch", "datetime", "date time", "time", "date", "start time", "starttime"),
    *("start", "begin", "t"),
)
_SHORT: Final = {"open": "o", "high": "h", "low": "l", "close": "c"}
#: Further names of the close, the best first: Nasdaq's, and that of investing.com.
_CLOSES: Final = ("close last", "price")
#: Names of volumes, the best first. MetaTrader's TICKVOL goes before its VOL, which is 0 where there is no exchange.
_VOLUMES: Final = ("volume", "base volume", "volume base", "tickvol", "tick volume", "vol", "volumefrom", "v")
#: Words in the names of volumes that are not counted in the traded asset.
_QUOTES: Final = frozenset(("quote", "currency", "usd", "usdt", "usdc", "busd", "eur", "gbp", "jpy"))
_SYMBOLS: Final = ("symbol", "ticker", "tic", "pair", "instrument", "instrument id", "sym", "name")
#: What pandas writes as the name of an unnamed index, and what it makes of that when it reads it.
_UNNAMED: Final = re.compile(r"|unnamed 0|index level 0")
_UNITS: Final = {"s": "s", "sec": "s", "seconds": "s", "ms": "ms", "millis": "ms", "us": "us", "ns": "ns"}
_UTC: Final = frozenset(("utc", "gmt", "z"))
#: yfinance's levels: one names what the columns are, the other whose they are.
_KINDS: Final = frozenset(("price", "attributes"))
_TICKERS: Final = frozenset(("ticker", "tickers", "symbol", "symbols"))


@dataclass(frozen=True)
class ColumnIndexes:
    """The positions of a row's fields, from 0.

    Attributes:
        time: the time, or only the date where ``clock`` is the time of day.
        prices: open, high, low, close and volume; without the last if no volume is read.
        symbol: says which of several series a row belongs to.
    """

    time: int
    prices: tuple[int, ...]
    clock: int | None = None
    symbol: int | None = None

    @property
    def all(self) -> tuple[int, ...]:
        """All of them: time, time of day, prices, symbol."""
        return (
            self.time,
            *([] if self.clock is None else [self.clock]),
            *self.prices,
            *([] if self.symbol is None else [self.symbol]),
        )


@dataclass(frozen=True)
class WideTable:
    """A table with the columns of several symbols side by side, and the column indexes of each."""

    symbols: dict[str, ColumnIndexes]


def find_columns(names: Sequence[str], where: str, volume: bool = True) -> ColumnIndexes:
    """Return which column is which. ``clock`` is set if there are both ``date`` and ``time``, whatever they hold.

    A first column without a name, such as the index of pandas, is the time if no other column is. Without ``volume``
    none is looked for.

    Raises:
        InputError: a column is missing or occurs twice; the message names the columns that were found.
    """
    plain = [plain_name(name) for name in names]
    wanted = PRICES if volume else PRICES[:-1]
    time, clock = find_time(names)
    found = [_volume(plain) if name == "volume" else _price(plain, name) for name in wanted]
    missing = ["a time"] * (time is None) + [name for name, at in zip(wanted, found, strict=True) if at is None]
    indexes = [index for index in found if index is not None]
    twice = {plain[at] for at in (*indexes, *([] if time is None else [time])) if plain.count(plain[at]) > 1}
    twice |= {name for name in PRICES if plain.count(name) > 1}
    if twice:
        raise InputError(f"{where}: {' and '.join(sorted(twice)) or 'a column'} occurs twice in {list_names(names)}")
    if time is None or len(indexes) < len(wanted):
        only_volume = missing == ["volume"]
        advice = "--no-volume stores 0 for it" if only_volume else "--columns names the columns in their order"
        raise InputError(
            f"{where}: no column for {', '.join(missing)} among {list_names(names)}",
            hint=f"{advice}; expected: {EXPECTED}",
        )
    symbol = find_symbol(names)
    return ColumnIndexes(time, tuple(indexes), clock, None if symbol in (time, clock, *indexes) else symbol)


def find_time(names: Sequence[str]) -> tuple[int | None, int | None]:
    """Return which column is the time, or the date, and then which one is the time of day; ``None`` if there is none.

    A first column without a name is the time if no other is.
    """
    plain = [plain_name(name) for name in names]
    without_zone = [plain_name(re.sub(r"\([^)]*\)\s*$", "", name)) for name in names]
    time = next((without_zone.index(name) for name in _TIMES if name in without_zone), None)
    if time is None:
        return (0, None) if plain and _UNNAMED.fullmatch(plain[0]) else (None, None)
    if without_zone[time] == "time" and plain.count("date") == 1:
        return plain.index("date"), time
    return time, None


def find_symbol(names: Sequence[str]) -> int | None:
    """Return which column says of which series a row is."""
    plain = [plain_name(name) for name in names]
    return next((plain.index(name) for name in _SYMBOLS if name in plain), None)


def read_wide(rows: Sequence[Sequence[str]], where: str, volume: bool = True) -> tuple[WideTable, int] | None:
    """Parse the header lines of names and symbols that yfinance writes; return how many lines they are, too.

    ``None`` if there is no such header.

    Raises:
        InputError: a column is missing for one of the symbols.
    """
    if len(rows) < 2 or not rows[0] or len(rows[0]) != len(rows[1]):
        return None
    first, second = rows[0][0].strip().lower(), rows[1][0].strip().lower()
    if first in _KINDS and second in _TICKERS:
        kinds, tickers = rows[0], rows[1]
    elif first in _TICKERS and second in _KINDS:
        tickers, kinds = rows[0], rows[1]
    else:
        return None
    lines = 2
    if len(rows) > 2 and plain_name(rows[2][0]) in _TIMES and not any(field.strip() for field in rows[2][1:]):
        lines = 3
    return find_wide(kinds, tickers, where, volume), lines


def find_wide(kinds: Sequence[str], tickers: Sequence[str], where: str, volume: bool = True) -> WideTable:
    """Return the column indexes of each symbol in a table whose first column is the time."""
    symbols: dict[str, ColumnIndexes] = {}
    for ticker in dict.fromkeys(name.strip() for name in tickers[1:]):
        names = (kind if of.strip() == ticker else "-" for kind, of in zip(kinds[1:], tickers[1:], strict=True))
        symbols[ticker] = find_columns(["time", *names], f"{where}: {ticker}", volume)
    return WideTable(symbols)


def named_unit(name: str) -> str | None:
    """Return the unit in a column's name, as in ``timestamp_ms`` and ``Time (s)``."""
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    if words[:2] in (["ts", "event"], ["ts", "init"]):  # Nautilus counts in nanoseconds
        return "ns"
    return _UNITS.get(words[-1]) if len(words) > 1 else None


def named_zone(name: str) -> str | None:
    """Return the zone in a column's name: ``UTC``, or the name of another."""
    found = re.search(r"\(([A-Za-z][\w/+-]*)\)|\b(gmt|utc|local)\b", name, re.IGNORECASE)
    zone = (found.group(1) or found.group(2)) if found else ""
    if not zone or zone.lower() in _UNITS:
        return None
    return "UTC" if zone.lower() in _UTC else zone


def plain_symbol(symbol: str) -> str:
    """Return a symbol in the form in which symbols are compared: without case and punctuation."""
    plain = re.sub(r"=[xf]$", "", symbol.strip().casefold())  # Yahoo's EURUSD=X and ES=F
    return "".join(letter for letter in plain if letter.isalnum())


def plain_name(name: str) -> str:
    """Return the name of a column in the form in which names are compared: without case, punctuation, unit and zone."""
    plain = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    # "Date (UTC)", "time_ms"; a column named only "s" keeps its name.
    return re.sub(r" (utc|gmt|ms|us|ns|s|sec|seconds|millis|local)$|^(utc|gmt|local) ", "", plain)


def _price(plain: Sequence[str], name: str) -> int | None:
    for one in (name, f"{name} price", f"price {name}", _SHORT[name], *(_CLOSES if name == "close" else ())):
        if one in plain:
            return plain.index(one)
    return None


def _volume(plain: Sequence[str]) -> int | None:
    for one in _VOLUMES:
        if one in plain:
            return plain.index(one)
    named = [index for index, name in enumerate(plain) if name.startswith(("volume ", "vol "))]
    # CryptoDataDownload has both "Volume BTC" and "Volume USDT", in either order.
    return min(named, key=lambda index: plain[index].split()[-1] in _QUOTES, default=None)


def list_names(names: Sequence[str]) -> str:
    """Return the names of columns as a list for an error."""
    shown = ", ".join(name.strip()[:30] or "(no name)" for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown

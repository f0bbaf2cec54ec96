"""Which column of a file is which, by the names in its header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

__all__ = ["EXPECTED", "Places", "find_places"]

EXPECTED: Final = "a time (timestamp, time, date, open_time, unix ...), open, high, low, close and volume"

#: Names of times, the most telling first: where there are a number and a date for people, the number is taken.
_TIMES: Final = (
    *("open time", "opentime", "open timestamp", "opened at", "timestamp", "time stamp", "ts", "unix"),
    *("unix timestamp", "unix time", "epoch", "datetime", "date time", "time", "date", "t"),
)
_SHORT: Final = {"open": "o", "high": "h", "low": "l", "close": "c"}
#: Names of volumes, the best first. MetaTrader's TICKVOL goes before its VOL, which is 0 where there is no exchange.
_VOLUMES: Final = ("volume", "base volume", "volume base", "tickvol", "tick volume", "vol", "v")
#: What a volume that is not counted in the traded asset is named after.
_QUOTES: Final = frozenset(("quote", "currency", "usd", "usdt", "usdc", "busd", "eur", "gbp", "jpy"))
_SYMBOLS: Final = ("symbol", "ticker", "tic", "pair", "instrument")


@dataclass(frozen=True)
class Places:
    """Where in a row its parts are, from 0.

    ``clock`` is the time of day where ``time`` is only the date; ``symbol`` tells rows of several series apart.
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


def find_places(names: Sequence[str], where: str) -> Places:
    """Return which column is which. ``clock`` is set where there are both ``date`` and ``time``: look at a row.

    Raises:
        InputError: something is missing or stands there twice; the message names the columns that were found.
    """
    plain = [_plain(name) for name in names]
    twice = [name for name in PRICES if plain.count(name) > 1]
    if twice:
        raise InputError(f"{where}: {' and '.join(twice)} stand{'s' * (len(twice) == 1)} there twice in {_list(names)}")
    time = next((plain.index(name) for name in _TIMES if name in plain), None)
    prices = [_price(plain, name) for name in ("open", "high", "low", "close")] + [_volume(plain)]
    missing = ["a time"] * (time is None) + [name for name, place in zip(PRICES, prices, strict=True) if place is None]
    found = [place for place in prices if place is not None]
    if time is None or len(found) < len(prices):
        raise InputError(
            f"{where}: no column for {', '.join(missing)} among {_list(names)}", hint=f"expected are {EXPECTED}"
        )
    places = Places(time, tuple(found), symbol=next((plain.index(name) for name in _SYMBOLS if name in plain), None))
    if plain[time] == "time" and "date" in plain:
        return replace(places, time=plain.index("date"), clock=time)
    return places


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    # "Date (UTC)", "time_ms"; but a column that is only named "s" keeps its name.
    return re.sub(r" (utc|gmt|ms|us|ns|s|sec|millis|local)$|^(utc|gmt) ", "", plain)


def _price(plain: Sequence[str], name: str) -> int | None:
    for one in (name, f"{name} price", f"price {name}", _SHORT[name]):
        if one in plain:
            return plain.index(one)
    return None


def _volume(plain: Sequence[str]) -> int | None:
    for one in _VOLUMES:
        if one in plain:
            return plain.index(one)
    named = [place for place, name in enumerate(plain) if name.startswith(("volume ", "vol "))]
    # CryptoDataDownload has "Volume BTC" beside "Volume USDT", in either order.
    return min(named, key=lambda place: plain[place].split()[-1] in _QUOTES, default=None)


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(name.strip()[:30] or "(no name)" for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown

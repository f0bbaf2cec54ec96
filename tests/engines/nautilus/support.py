"""An engine, its data, and a strategy that notices whether it has lost or repeated an event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pytest
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

from backtest_mongo.integrations.nautilus import CheckpointMixin
from backtest_mongo.sync import persist

__all__ = [
    "BARS",
    "INSTRUMENT",
    "MINUTE",
    "QUIET",
    "START",
    "STORAGES",
    "Framed",
    "Witness",
    "make_bars",
    "make_engine",
    "make_quotes",
    "make_stream",
    "make_trades",
    "run_engine",
]

#: SQLite, and MongoDB by each driver.
STORAGES: Final = pytest.mark.parametrize("driver", ["sqlite", "motor", "pymongo"], indirect=True)
#: Nautilus calls what pandas 3 wants to be called otherwise.
QUIET: Final = pytest.mark.filterwarnings("ignore:Timestamp.utcnow")

INSTRUMENT: Final = TestInstrumentProvider.btcusdt_binance()
BARS: Final = BarType.from_str(f"{INSTRUMENT.id}-1-MINUTE-LAST-EXTERNAL")
#: In nanoseconds.
MINUTE: Final = 60_000_000_000
#: 2024-01-01, in nanoseconds.
START: Final = 1_704_067_200_000_000_000

_PRECISIONS: Final = (INSTRUMENT.price_precision, INSTRUMENT.size_precision)


def _make_prices(count: int, seed: int) -> tuple[Any, Any]:
    source = np.random.default_rng(seed)
    return source.integers(1_000_000, 9_000_000, count) / 100.0, source.integers(1, 10_000_000, count) / 1e6


def make_bars(count: int, start: int = START, *, step: int = MINUTE, bar_type: Any = BARS, seed: int = 0) -> list[Any]:
    """Return bars, the first of which opens at ``start``."""
    prices, sizes = _make_prices(count, seed)
    closes = (start + step * np.arange(1, count + 1)).astype(np.uint64)
    return Bar.from_raw_arrays_to_list(  # type: ignore[no-any-return]  # which it is
        bar_type, *_PRECISIONS, prices, prices + 1.01, prices - 0.99, prices + 0.5, sizes, closes, closes
    )


def make_trades(count: int, times: Any, *, delay: int = 0, ids: Iterable[str] | None = None) -> list[Any]:
    prices, sizes = _make_prices(count, 1)
    times = np.asarray(times).astype(np.uint64)
    sides = (np.arange(count) % 3).astype(np.uint8)
    names = list(ids) if ids is not None else [str(number) for number in range(1, count + 1)]
    return TradeTick.from_raw_arrays_to_list(  # type: ignore[no-any-return]  # which it is
        INSTRUMENT.id, *_PRECISIONS, prices, sizes, sides, names, times, times + np.uint64(delay)
    )


def make_quotes(count: int, times: Any, *, delay: int = 0, seed: int = 2) -> list[Any]:
    prices, sizes = _make_prices(count, seed)
    times = np.asarray(times).astype(np.uint64)
    return QuoteTick.from_raw_arrays_to_list(  # type: ignore[no-any-return]  # which it is
        INSTRUMENT.id, *_PRECISIONS, prices, prices + 0.01, sizes, sizes, times, times + np.uint64(delay)
    )


def make_stream(minutes: int) -> list[Any]:
    """Return bars, trades and quotes, of which several have the same time."""
    closes = START + MINUTE * np.arange(1, minutes + 1)
    return [*make_bars(minutes), *make_trades(minutes, closes), *make_quotes(minutes, closes - closes % (2 * MINUTE))]


def make_engine(data: Sequence[Any], *actors: Any) -> Any:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    money = [Money(10_000_000, USDT)]
    engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, money, base_currency=None)
    engine.add_instrument(INSTRUMENT)
    for kind in dict.fromkeys(map(type, data)):
        engine.add_data([one for one in data if type(one) is kind])
    for actor in actors:
        if isinstance(actor, Strategy):
            engine.add_strategy(actor)
        else:
            engine.add_actor(actor)
    return engine


def run_engine(data: Sequence[Any], *actors: Any, start: Any = None) -> None:
    """Run a backtest; the actors are stopped also if it fails."""
    engine = make_engine(data, *actors)
    try:
        try:
            engine.run(start=start)
        except BaseException:
            engine.end()
            raise
    finally:
        engine.dispose()


class Framed(CheckpointMixin):
    """Tells runs apart.

    Attributes:
        frame: the run; empty for the trader's.
    """

    frame = ""

    def checkpoint_context(self) -> Mapping[str, Any]:
        context = super().checkpoint_context()
        return {**context, "frame_name": self.frame} if self.frame else context


class Witness(Framed, Strategy):
    """Has a digest of all events in their order, and stores a note of each in the transaction of its checkpoint."""

    checkpoint_every_event = True

    def __init__(self, frame: str = "") -> None:
        super().__init__()
        self.frame = frame
        self.count = 0
        self.digest = ""
        self.seen: list[str] = []
        self.loaded = 0

    def on_start(self) -> None:
        self.subscribe_bars(BARS)
        self.subscribe_trade_ticks(INSTRUMENT.id)
        self.subscribe_quote_ticks(INSTRUMENT.id)
        self.clock.set_timer("tea", timedelta(minutes=7))

    def on_bar(self, bar: Any) -> None:
        self.take(f"{bar}")

    def on_trade_tick(self, tick: Any) -> None:
        self.take(f"{tick}")

    def on_quote_tick(self, tick: Any) -> None:
        self.take(f"{tick}")

    def on_event(self, event: Any) -> None:
        self.take(f"{event.name} {event.ts_event}")

    def take(self, event: str) -> None:
        self.count += 1
        self.digest = hashlib.sha256(f"{self.digest} {event}".encode()).hexdigest()
        self.seen.append(event)
        self.note()

    def note(self) -> None:
        notes = persist.memory("witness", "notes")
        notes.write_memory_data({"count": self.count, "digest": self.digest}, f"{self.count:06}")

    def on_save(self) -> dict[str, bytes]:
        return {"count": str(self.count).encode(), "digest": self.digest.encode()}

    def on_load(self, state: dict[str, bytes]) -> None:
        self.loaded += 1
        self.count, self.digest = int(state["count"]), state["digest"].decode()

    def report(self) -> str:
        """Return what is stored, which every run with the same events has."""
        notes = persist.memory("witness", "notes").list_memory_data()
        stored = persist.session(**self.checkpoint_context()).read_session_data()
        assert stored is not None
        return json.dumps(
            {
                "position": stored["position"],
                "state": {name: value.decode() for name, value in sorted(stored["state"].items())},
                "notes": [[key, note["count"], note["digest"]] for key, note in notes],
            }
        )

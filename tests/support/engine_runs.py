"""Markets, strategies and end states for the tests of the reference engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

from backtest_mongo import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.cli.demo.engine import Bar, Decision, Engine, Order, Strategy
from backtest_mongo.types import Candle, Payload

__all__ = [
    *("EXCHANGE", "FRAME", "HOUR", "MARKET", "SCRIPT", "START", "Scripted"),
    *("buy", "call_after_writes", "make_engine", "make_market", "read_state", "sell", "store"),
]

HOUR: Final = 3_600_000
START: Final = 1_600_000_000_000 // HOUR * HOUR
EXCHANGE: Final = "test-exchange"
FRAME: Final = "2020"

#: Open, high, low and close.
Prices = tuple[float, float, float, float]


def make_market(*prices: Prices | None) -> list[Candle]:
    """Return hourly candles from :data:`START` on; ``None`` is one that is missing."""
    return [
        Candle(timestamp=START + number * HOUR, open=row[0], high=row[1], low=row[2], close=row[3], volume=1.0)
        for number, row in enumerate(prices)
        if row is not None
    ]


class Scripted(Strategy):
    """Decides as it is told, by the number of the hour, and remembers what it was given.

    What it writes itself, a number that it counts on, shows whether a bar is traded once.
    """

    window = 3

    def __init__(self, name: str, script: Mapping[int, Decision]) -> None:
        self.name = name
        self.script = script
        self.seen: list[Bar] = []
        self.closed: list[Payload] = []
        self.notes = persist.memory(name, "notes")

    async def decide(self, bar: Bar) -> Decision:
        self.seen.append(bar)
        known = await self.notes.read_memory_data("bars") or {"bars": 0}
        await self.notes.write_memory_data({"bars": known["bars"] + 1}, "bars")
        return self.script.get((bar.now - START) // HOUR - 1)

    async def on_closed(self, closed: Payload, now: int) -> None:
        self.closed.append(closed)
        await self.notes.write_memory_data({"reason": closed["closeReason"], "time": now}, closed["id"])


def buy(stop: float, target: float, **more: Any) -> Order:
    return cast("Order", {"position": "long", "priceStopLoss": stop, "priceTakeProfit": target, **more})


def sell(stop: float, target: float, **more: Any) -> Order:
    return cast("Order", {"position": "short", "priceStopLoss": stop, "priceTakeProfit": target, **more})


def make_engine(strategy: Strategy, symbol: str = "BTCUSDT", **rules: Any) -> Engine:
    """Return an engine without costs, so that prices can be compared with profits."""
    return Engine(strategy, symbol, "1h", EXCHANGE, FRAME, **{"costs": 0.0, **rules})


async def store(candles: Sequence[Candle], symbol: str = "BTCUSDT") -> None:
    await persist.candle(symbol, "1h", EXCHANGE).write_candles_data(candles)


def call_after_writes(engine: Engine, call: Callable[[], None]) -> None:
    """Call something whenever a write to one of the slots of an engine or its strategy has returned."""

    def wrap(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def write(*args: Any, **kwargs: Any) -> Any:
            result = await method(*args, **kwargs)
            call()
            return result

        return write

    owners = (engine, engine.broker, engine.strategy)
    for adapter in (value for owner in owners for value in vars(owner).values() if isinstance(value, Adapter)):
        for name in dir(type(adapter)):
            if name.startswith(("write_", "append", "remove_")):
                # From the class: the registry gives the same object to the next engine.
                setattr(adapter, name, wrap(getattr(type(adapter), name).__get__(adapter)))


async def read_state(engine: Engine) -> dict[str, Any]:
    """Return all that is stored of a run, by slot, with another name in the place of the strategy's."""
    broker, name = engine.broker, engine.strategy.name
    signals = [row for row in await broker.signals.read_storage_data() if row["strategyName"] == name]
    notices = await broker.notifications.read_notification_data()
    entries = [row for row in await broker.log.read_log_data() if row["methodContext"]["strategyName"] == name]
    found = {
        "session": await engine.session.read_session_data(),
        "signal": await broker.signal.read_signal_data(),
        "schedule": await broker.schedule.read_schedule_data(),
        "strategy": await broker.control.read_strategy_data(),
        "risk": await broker.risk.read_position_data(),
        "recent": await broker.recent.read_recent_data(),
        "partial": [await broker.partial.read_partial_data(row["id"]) for row in signals],
        "breakeven": [await broker.breakeven.read_breakeven_data(row["id"]) for row in signals],
        "storage": signals,
        "notification": sorted((row for row in notices if row["strategyName"] == name), key=lambda row: row["id"]),
        "log": sorted(
            (row for row in entries if row["methodContext"]["strategyName"] == name), key=lambda row: row["id"]
        ),
        "memory": [note async for note in persist.memory(name, "notes").list_memory_data()],
        "equity": await engine.equity.read_last(10_000),
    }
    return {slot: _rename(rows, name) for slot, rows in found.items()}


def _rename(value: Any, name: str) -> Any:
    match value:
        case dict():
            return {_rename(key, name): _rename(one, name) for key, one in value.items()}
        case list() | tuple():
            return [_rename(one, name) for one in value]
        case str():
            return value.replace(name, "NAME")
        case _:
            return value


#: A market in which everything happens, and what a strategy does in it: a market order that is stopped out, a limit
#: order that is filled, goes halfway, and ends at its target; one that is not filled in time; a gap; a short position
#: that the next order replaces; and one that is still open at the end, beside none that waits.
MARKET: Final = make_market(
    (100, 101, 99, 100),
    (100, 102, 97, 98),
    (98, 99, 94, 95),  # the stop at 95
    (95, 97, 93, 96),
    (96, 98, 95, 97),  # the limit at 95
    (97, 103, 96, 102),  # halfway to 107
    (102, 108, 101, 107),  # the target
    (107, 108, 106, 107),
    (107, 108, 106, 107),
    (107, 108, 106, 107),  # the limit at 90 has waited for two hours
    None,
    None,
    (110, 111, 108, 109),
    (109, 110, 105, 106),
    (106, 107, 104, 105),
    (105, 106, 104, 105),
)
SCRIPT: Final[Mapping[int, Decision]] = {
    0: buy(95, 110),
    3: buy(85, 107, priceOpen=95),
    7: buy(80, 120, priceOpen=90),
    12: sell(115, 95),
    14: buy(100, 120, priceOpen=104.5),
}

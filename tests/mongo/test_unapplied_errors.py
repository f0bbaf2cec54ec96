"""Calls whose server fails from one of their commands on: if ``may_be_applied`` is false, nothing has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final, Protocol

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, CandleAdapter, EquityAdapter, StoreUnavailableError, TradeAdapter
from backtest_mongo.core.outcomes import UNKNOWN
from backtest_mongo.series import blocks
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.series.rows import CandleRows
from tests.support import column_stores, uniform
from tests.support.built_in_series import equity, trades
from tests.support.failing_servers import READS, WRITES, FailingServer
from tests.support.uniform import candles, payload

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

#: All but those of a commit, whose answer the library asks for until its time is up.
COMMANDS: Final = (*READS, *WRITES, "delete")
#: The server's code for a command that took too long, which is not sent again.
TOO_LATE: Final = 50
MINUTE: Final = 60_000
STORED: Final = [1, 3, 4, 5, 7, 8, 9, 10, 11]
#: Some between those that are stored, one that is, and some after them.
LATE: Final = [2, 3, 6, 12, 13, 14]


class Series(Protocol):
    """A series, and what may be done with its rows, each named by a number."""

    adapter: Any

    async def append(self, numbers: Sequence[int], *, again: bool = False) -> object: ...
    async def write_frame(self, numbers: Sequence[int]) -> object: ...
    async def delete(self, first: int, end: int) -> object: ...


class Candles:
    """Candles, a minute from one to the next."""

    def __init__(self, unique: str) -> None:
        self.adapter = CandleAdapter("BTCUSDT", "1m", unique)

    async def append(self, numbers: Sequence[int], *, again: bool = False) -> object:
        return await self.adapter.write_candles_data(make_candles(numbers, 2.0 if again else 1.0))

    async def write_frame(self, numbers: Sequence[int]) -> object:
        return await self.adapter.write_frame(make_columns(make_candles(numbers, 2.0)))

    async def delete(self, first: int, end: int) -> object:
        return await self.adapter.delete(first * MINUTE, end * MINUTE)


class Trades:
    """Rows of which the first one of a key wins."""

    def __init__(self, unique: str) -> None:
        self.adapter = TradeAdapter(unique, "binance")

    async def append(self, numbers: Sequence[int], *, again: bool = False) -> object:
        return await self.adapter.append([{**row, "price": 2.0 if again else 1.0} for row in trades(*numbers)])

    async def write_frame(self, numbers: Sequence[int]) -> object:
        return await self.adapter.write_frame(make_columns(trades(*numbers)))

    async def delete(self, first: int, end: int) -> object:
        return await self.adapter.delete(first * 1_000, end * 1_000)


class Equity:
    """Rows of which the last one of a key wins."""

    def __init__(self, unique: str) -> None:
        self.adapter = EquityAdapter(unique, "binance", "1m", "BTCUSDT", True)

    async def append(self, numbers: Sequence[int], *, again: bool = False) -> object:
        return await self.adapter.append(equity(*(n * MINUTE for n in numbers), value=2.0 if again else 1.0))

    async def write_frame(self, numbers: Sequence[int]) -> object:
        return await self.adapter.write_frame(make_columns(equity(*(n * MINUTE for n in numbers), value=2.0)))

    async def delete(self, first: int, end: int) -> object:
        return await self.adapter.delete(first * MINUTE, end * MINUTE)


def make_candles(numbers: Sequence[int], price: float) -> list[Any]:
    return [row for number in numbers for row in candles(1, first=number * MINUTE, price=price)]


def make_columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


KINDS: Final[dict[str, tuple[Callable[[str], Series], bool]]] = {
    "candles": (Candles, True),
    "candles in blocks": (Candles, False),
    "trades": (Trades, True),
    "equity": (Equity, True),
}
CALLS: Final[dict[str, Callable[[Series], Awaitable[object]]]] = {
    "append one": lambda series: series.append([12]),
    "append a late one": lambda series: series.append([2]),
    "append one again": lambda series: series.append([3], again=True),
    "append some": lambda series: series.append(LATE, again=True),
    "write a frame": lambda series: series.write_frame([*LATE, *range(15, 30)]),
    "delete": lambda series: series.delete(3, 10),
}


@pytest.fixture
async def failing_now(
    failing: FailingServer, failing_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FailingServer]:
    note = MongoColumns._note
    column_stores.shrink(monkeypatch)
    monkeypatch.setattr(MongoColumns, "_note", note)  # which counts the rows, and seals none until they are many
    monkeypatch.setattr(blocks, "ROWS", 4)
    await backtest_mongo.setup(failing_config)
    yield failing
    failing.end()
    await failing.until_idle()
    await backtest_mongo.close()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_said_not_to_be_applied_to_a_series_is_not(
    failing_now: FailingServer, unique: str, monkeypatch: pytest.MonkeyPatch, kind: str, call: str
) -> None:
    make, in_rows = KINDS[kind]
    await backtest_mongo.setup(CC_CANDLE_ROWS=in_rows)
    if call == "write a frame":
        monkeypatch.setattr(CandleRows, "many", 1)
    series: Series

    async def prepare(number: int) -> None:
        nonlocal series
        series = make(f"{unique}{number}")
        await series.append(STORED)
        await series.adapter.seal()
        await series.append([11], again=True)

    async def read() -> list[Any]:
        frame = await series.adapter.read_frame(as_="numpy")
        return [column.tolist() for column in frame.values()]

    await check_outcomes(failing_now, prepare, lambda: CALLS[call](series), read)


async def check_outcomes(
    server: FailingServer,
    prepare: Callable[[int], Awaitable[None]],
    call: Callable[[], Awaitable[object]],
    read: Callable[[], Awaitable[object]],
) -> None:
    """Let a call fail at its first command, then at its second, until it needs no more; and look at what it leaves.

    Args:
        server: it fails.
        prepare: stores what the call is to find, in another place for each number.
        call: is made there.
        read: returns what is stored there.
    """
    unknown = False
    for spared in count():
        await prepare(spared)
        before = await read()
        server.fail(*COMMANDS, mode={"skip": spared}, errorCode=TOO_LATE)
        error = await catch(call())
        server.end()
        if error is None:
            break
        assert error.may_be_applied or await read() == before, f"after {spared} commands: {error!r}"
        assert error.may_be_applied == (UNKNOWN in str(error)), str(error)
        unknown |= error.may_be_applied
    assert unknown


async def catch(call: Awaitable[object]) -> StoreUnavailableError | None:
    try:
        await call
    except StoreUnavailableError as error:
        return error
    return None


SLOT_CALLS: Final[dict[str, Callable[[Any, int], Awaitable[object]]]] = {
    "write": lambda adapter, number: uniform.write(adapter, payload(adapter.spec, number)),
    "remove": lambda adapter, _: getattr(adapter, f"remove_{adapter.spec.noun}_data")(uniform.ENTRY),
    "delete": lambda adapter, _: adapter.delete(),
    "rename": lambda adapter, _: backtest_mongo.rename_strategy(adapter._context[1], f"{adapter._context[1]}-renamed"),
}
#: One slot of each shape, and what it has.
OF_SLOTS: Final = {
    "signal": ["write", "delete", "rename"],
    "state": ["write", "delete"],
    "partial": ["write", "delete", "rename"],
    "storage": ["write", "delete"],
    "memory": ["write", "remove", "delete"],
}


@pytest.mark.parametrize("history", ["", "signal,partial,memory,state"], ids=["plain", "history"])
@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in OF_SLOTS.items() for call in calls])
async def test_what_is_said_not_to_be_applied_to_a_slot_is_not(
    failing_now: FailingServer, unique: str, name: str, call: str, history: str
) -> None:
    (spec,) = (spec for spec in SLOTS if spec.name == name)
    await backtest_mongo.setup(CC_HISTORY=history)
    adapter: Any
    number = 0

    async def prepare(prepared: int) -> None:
        nonlocal adapter, number
        adapter, number = uniform.adapter(spec, f"{unique}{prepared}"), prepared + 1
        await uniform.write(adapter, payload(spec, 0))
        await uniform.write(adapter, payload(spec, 0), "other")

    async def read() -> object:
        found = await asyncio.to_thread(failing_now.client[unique][spec.collection].find({}).to_list, None)
        return sorted(found, key=lambda row: row["_id"])

    await check_outcomes(failing_now, prepare, lambda: SLOT_CALLS[call](adapter, number), read)

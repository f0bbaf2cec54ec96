"""Adapters without ``await``: every slot on every storage, and both APIs on one database."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SERIES, SLOTS, InputError, SlotSpec, persist, sync
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.core.columns import Column
from backtest_mongo.sync.wrapping import Stream, SyncAdapter
from tests.support import uniform
from tests.support.built_in_series import equity, trades
from tests.sync.support import ALL, TRANSACTIONAL, make

OF_DOCUMENTS = [spec for spec in SLOTS if spec.shape != "series"]


@ALL
@pytest.mark.parametrize("slot", OF_DOCUMENTS, ids=lambda slot: slot.name)
def test_every_slot(storage: str, unique: str, slot: SlotSpec) -> None:
    adapter, entry = make(slot, unique), uniform.entry(slot, unique)
    read, write = (getattr(adapter, f"{verb}_{slot.noun}_data") for verb in ("read", "write"))
    value = uniform.payload(slot)
    key = (entry,) if slot.item and slot.shape != "collection" else ()
    if slot.shape == "collection":
        value = [{"id": entry, **value}]
        write(value)
        assert [row for row in read() if row["id"] == entry] == value
    else:
        write(value, *key, *((uniform.WHEN,) if slot.when else ()))
        assert read(*key) == value
    if slot.shape == "bucket":
        assert [row[0] if slot.items else row for row in getattr(adapter, f"list_{slot.noun}_data")()] == [entry]
        assert getattr(adapter, f"newest_{slot.noun}_data")(5) == [(entry, value)]
    if slot.soft_delete:
        getattr(adapter, f"remove_{slot.noun}_data")(entry)
        assert read(entry) is None
    assert adapter.context in list(type(adapter).list_contexts())
    assert adapter.delete() >= 1
    assert read(*key) == uniform.nothing(slot)


@ALL
def test_candles(storage: str, unique: str) -> None:
    candle = sync.persist.candle("BTCUSDT", "1m", unique)
    rows = uniform.candles(2_000)
    assert candle.write_candles_data(rows) == 2_000
    assert candle.read_candles_data(3, 0) == rows[:3]
    assert len(candle.read_frame(as_="numpy")["close"]) == 2_000
    assert candle.gaps(0, 2_001 * 60_000) == [(2_000 * 60_000, 2_001 * 60_000, 1)]
    (listed,) = [one for one in type(candle).list_series() if one.context["exchange_name"] == unique]
    assert listed.bounds() == (0, 1_999 * 60_000)


@TRANSACTIONAL
def test_series_with_columns(storage: str, unique: str) -> None:
    trade = sync.persist.trade(unique, "binance")
    assert trade.append(trades(1, 2, 3)) == 3
    assert trade.read_frame(as_="polars")["trade_id"].to_list() == [1, 2, 3]
    assert trade.coverage().rows == 3
    series = sync.persist.equity(unique, "binance", "1m", "BTCUSDT", True)
    series.append(equity(0))
    assert trade.delete() == 3


@TRANSACTIONAL
def test_adapters_are_arguments(storage: str, unique: str) -> None:
    trade, candle = sync.persist.trade(unique, "binance"), sync.persist.candle(unique, "1m", "binance")
    trade.append([{**row, "timestamp": 60_000_000 * row["trade_id"]} for row in trades(1, 2, 3)])
    report = trade.resample_into(candle)
    assert report.new == candle.coverage().rows == 2


@TRANSACTIONAL
def test_own_slots(storage: str, unique: str) -> None:
    columns = (Column("x", "float64"),)
    spec = SlotSpec(
        name=f"own_{unique}", shape="series", context=("symbol",), key=("symbol", "timestamp"), columns=columns
    )
    own = sync.persist.register(spec)
    assert issubclass(own, SyncAdapter)
    adapter = getattr(sync.persist, spec.name)("BTC")
    assert adapter.append([{"timestamp": 1, "x": 2.0}]) == 1


class Own:
    """An implementation of somebody else's."""

    rows: dict[tuple[Any, ...], Any] = {}  # noqa: RUF012

    def __init__(self, *context: Any) -> None:
        self.context = context

    async def wait_for_init(self, initial: bool = True) -> None: ...

    async def read_signal_data(self) -> Any:
        await asyncio.sleep(0)
        return self.rows.get(self.context)

    async def write_signal_data(self, signal_row: Any) -> None:
        self.rows[self.context] = signal_row


def test_implementations_of_others() -> None:
    sync.persist.use(signal=Own)
    signal: Any = sync.persist.signal("BTC", "trend", "binance")
    signal.write_signal_data({"a": 1})
    assert signal.read_signal_data() == {"a": 1}
    assert sync.persist.signal("BTC", "trend", "binance") is signal


@ALL
def test_both_apis_share_what_is_stored(storage: str, unique: str) -> None:
    sync.persist.signal(unique, "trend", "binance").write_signal_data({"by": "sync"})

    async def read_and_write() -> Any:
        signal = persist.signal(unique, "trend", "binance")
        found = await signal.read_signal_data()
        await signal.write_signal_data({"by": "async"})
        await backtest_mongo.close()
        return found

    assert asyncio.run(read_and_write()) == {"by": "sync"}
    assert sync.persist.signal(unique, "trend", "binance").read_signal_data() == {"by": "async"}


def test_one_object_for_each_context() -> None:
    sync.persist.use_dummy()
    assert sync.persist.signal("a", "b", "c") is sync.persist.signal("a", "b", "c")
    assert sync.persist.signal("a", "b", "c") is not sync.persist.signal("a", "b", "d")
    assert repr(sync.SignalAdapter("a", "b", "c")) == repr(backtest_mongo.SignalAdapter("a", "b", "c"))
    copy = pickle.loads(pickle.dumps(sync.SignalAdapter("a", "b", "c")))
    assert isinstance(copy, sync.SignalAdapter)
    assert copy.context == {"symbol": "a", "strategy_name": "b", "exchange_name": "c"}


@pytest.mark.parametrize("slot", [*SLOTS, *SERIES], ids=lambda slot: slot.name)
def test_every_method_is_there(slot: SlotSpec) -> None:
    original, made = ADAPTERS[slot.name], getattr(sync, ADAPTERS[slot.name].__name__)
    for name in dir(original):
        if name[0] != "_":
            value = getattr(made, name)
            assert not inspect.iscoroutinefunction(value), name
            if callable(value):
                assert (
                    inspect.signature(value).parameters.keys()
                    == inspect.signature(getattr(original, name)).parameters.keys()
                )
                assert "await " not in (value.__doc__ or "").replace("await it", "")
                assert "async " not in (value.__doc__ or "")


def test_errors_are_those_of_the_call() -> None:
    with pytest.raises(InputError, match="symbol"):
        sync.SignalAdapter("", "b", "c")
    sync.persist.use_dummy()
    with pytest.raises(InputError, match="row must be a dict"):
        sync.persist.signal("a", "b", "c").write_signal_data("text")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="nothing"):
        _ = sync.nothing  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="signal"):
        _ = sync.persist.sginal  # type: ignore[attr-defined]


@TRANSACTIONAL
def test_iterators_stream(storage: str, unique: str) -> None:
    memory = sync.persist.memory("s", unique)
    for number in range(600):
        memory.write_memory_data({"n": number}, f"{number:04}", number) if number < 5 else None
    rows = memory.list_memory_data()
    assert isinstance(rows, Stream)
    assert next(rows) == ("0000", {"n": 0})
    rows.close()
    rows.close()
    assert list(rows) == []
    assert [key for key, _ in memory.list_memory_data()] == ["0000", "0001", "0002", "0003", "0004"]


def test_iterators_raise_after_what_they_have_found() -> None:
    async def count(most: int) -> Any:
        for number in range(most):
            yield number
        raise LookupError("no more")

    for most in (0, 1, 2, 3, 700):
        numbers: Any = Stream("count", count(most))
        assert [next(numbers) for _ in range(most)] == [*range(most)]
        with pytest.raises(LookupError, match="no more"):
            next(numbers)
        assert list(numbers) == []


@TRANSACTIONAL
def test_watch(storage: str, unique: str) -> None:
    signal = sync.persist.signal(unique, "trend", "binance")
    with signal.watch() as changes:
        signal.write_signal_data({"n": 1})
        signal.write_signal_data({"n": 2})
        found = []
        for change in changes:
            found.append(change.payload)
            if len(found) == 2:
                break
        token = changes.token
    assert found == [{"n": 1}, {"n": 2}]
    assert list(changes) == []
    signal.write_signal_data({"n": 3})
    later = signal.watch(after=token)
    assert next(later).payload == {"n": 3}
    later.close()

"""The slot table, and slots that users add."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, SlotError, SlotSpec, persist, slots
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.contracts import CONTRACTS
from backtest_mongo.specs import check_table
from tests.conftest import Deployment
from tests.uniform import WHEN

ORDER: dict[str, Any] = {
    "name": "order_book",
    "shape": "entry",
    "context": ("symbol", "exchange_name"),
    "key": ("exchangeName", "symbol", "side"),
    "redis": ("exchangeName", "symbol", "side"),
    "when": True,
}


def test_a_reader_finds_every_slot_in_one_screen() -> None:
    source = Path(slots.__file__).read_text()
    assert len(SLOTS) == 17
    assert len(source.splitlines()) <= 76
    assert max(map(len, source.splitlines())) <= 120


def test_contract_table_is_what_the_slots_say() -> None:
    """The table of the storage contract, line by line: constructor, collection, unique key, Redis key."""
    expected = """
        CandleAdapter(symbol, interval, exchange_name) candle-items exchangeName symbol interval timestamp candle_cache:{exchangeName}:{symbol}:{interval}:{timestamp}
        SignalAdapter(symbol, strategy_name, exchange_name) signal-items symbol strategyName exchangeName signal_cache:{exchangeName}:{strategyName}:{symbol}
        ScheduleAdapter(symbol, strategy_name, exchange_name) schedule-items symbol strategyName exchangeName schedule_cache:{exchangeName}:{strategyName}:{symbol}
        StrategyAdapter(symbol, strategy_name, exchange_name) strategy-items symbol strategyName exchangeName strategy_cache:{exchangeName}:{strategyName}:{symbol}
        RiskAdapter(risk_name, exchange_name) risk-items riskName exchangeName risk_cache:{exchangeName}:{riskName}
        PartialAdapter(symbol, strategy_name, exchange_name) partial-items symbol strategyName exchangeName signalId partial_cache:{exchangeName}:{strategyName}:{symbol}:{signalId}
        BreakevenAdapter(symbol, strategy_name, exchange_name) breakeven-items symbol strategyName exchangeName signalId breakeven_cache:{exchangeName}:{strategyName}:{symbol}:{signalId}
        StorageAdapter(backtest) storage-items backtest signalId storage_cache:{backtest}:{signalId}
        NotificationAdapter(backtest) notification-items backtest notificationId notification_cache:{backtest}:{notificationId}
        LogAdapter() log-items entryId log_cache:{entryId}
        MeasureAdapter(bucket) measure-items bucket entryKey measure_cache:{bucket}:{entryKey}
        IntervalAdapter(bucket) interval-items bucket entryKey interval_cache:{bucket}:{entryKey}
        MemoryAdapter(signal_id, bucket_name) memory-items signalId bucketName memoryId memory_cache:{signalId}:{bucketName}:{memoryId}
        RecentAdapter(symbol, strategy_name, exchange_name, frame_name, backtest) recent-items symbol strategyName exchangeName frameName backtest recent_cache:{backtest}:{exchangeName}:{strategyName}:{frameName}:{symbol}
        StateAdapter(signal_id, bucket_name) state-items signalId bucketName state_cache:{signalId}:{bucketName}
        DictionaryAdapter(signal_id, dictionary_name) dictionary-items signalId dictionaryName dictionary_cache:{signalId}:{dictionaryName}
        SessionAdapter(strategy_name, exchange_name, frame_name, symbol, backtest) session-items strategyName exchangeName frameName symbol backtest session_cache:{exchangeName}:{strategyName}:{frameName}:{symbol}:{backtest}
    """  # noqa: E501  # a table
    found = []
    for spec in SLOTS:
        template = ":".join((spec.prefix, *("{" + name + "}" for name in spec.redis)))
        call = f"{spec.class_name}({', '.join(spec.context)})"
        found.append(" ".join((call, spec.collection, *spec.key, template)))
    assert found == [line.strip() for line in expected.strip().splitlines()]


def test_flag_is_spelled_backtest_or_live_in_redis() -> None:
    spec = ADAPTERS["storage"].spec
    assert spec.redis_key((True, "x")) == "storage_cache:backtest:x"
    assert spec.redis_key((False, "x")) == "storage_cache:live:x"


class TestGeneratedClass:
    @pytest.fixture
    def adapter(self, spec: SlotSpec) -> Any:
        return getattr(backtest_mongo, spec.class_name)

    def test_is_bound_to_its_name_and_documented(self, adapter: Any) -> None:
        assert adapter.__module__ == "backtest_mongo.adapters"
        assert pickle.loads(pickle.dumps(adapter)) is adapter
        assert adapter.__doc__

    def test_methods_have_signatures_names_and_docstrings(self, spec: SlotSpec, adapter: Any) -> None:
        methods = {name: value for name, value in vars(adapter).items() if name[0] != "_" and inspect.isfunction(value)}
        assert {f"read_{spec.noun}_data", f"write_{spec.noun}_data"} <= set(methods)
        for name, method in methods.items():
            assert method.__name__ == method.__code__.co_name == name
            assert method.__qualname__ == method.__code__.co_qualname == f"{spec.class_name}.{name}"
            assert method.__doc__
            assert inspect.iscoroutinefunction(method) != (name == "dispose" or name.startswith("list_"))
            assert set(method.__annotations__) - {"return"} == set(inspect.signature(method).parameters) - {"self"}
            assert inspect.get_annotations(method, eval_str=True)
        assert inspect.iscoroutinefunction(adapter.wait_for_init)

    def test_constructor_takes_its_context_by_position_and_by_name(self, spec: SlotSpec, adapter: Any) -> None:
        values: dict[str, Any] = {name: True if name == "backtest" else "1h" for name in spec.context}
        assert adapter(*values.values()).context == adapter(**values).context == values
        assert list(inspect.signature(adapter).parameters) == list(spec.context)
        assert repr(adapter(**values)).startswith(f"{spec.class_name}(")

    def test_fulfils_its_contract(self, spec: SlotSpec, adapter: Any) -> None:
        values: dict[str, Any] = {name: True if name == "backtest" else "1h" for name in spec.context}
        assert isinstance(adapter(**values), CONTRACTS[spec.name])
        with pytest.raises(TypeError, match="abstract"):
            type("Incomplete", (CONTRACTS[spec.name],), {})()

    def test_adapter_survives_pickling(self, spec: SlotSpec, adapter: Any) -> None:
        values: dict[str, Any] = {name: True if name == "backtest" else "1h" for name in spec.context}
        assert pickle.loads(pickle.dumps(adapter(**values))).context == values


def test_parameters_have_the_contract_s_names() -> None:
    def parameters(name: str, method: str) -> str:
        return ", ".join(inspect.signature(getattr(ADAPTERS[name], method)).parameters)

    assert parameters("candle", "read_candles_data") == "self, limit, since_timestamp, until_timestamp"
    assert parameters("candle", "write_candles_data") == "self, candles"
    assert parameters("signal", "write_signal_data") == "self, row"
    assert parameters("risk", "read_position_data") == "self, when"
    assert parameters("risk", "write_position_data") == "self, positions, when"
    assert parameters("partial", "read_partial_data") == "self, signal_id, when"
    assert parameters("breakeven", "write_breakeven_data") == "self, data, signal_id, when"
    assert parameters("storage", "write_storage_data") == "self, signals"
    assert parameters("notification", "read_notification_data") == "self, limit"
    assert parameters("log", "write_log_data") == "self, entries"
    assert parameters("measure", "write_measure_data") == "self, data, key, when"
    assert parameters("interval", "read_interval_data") == "self, key, when"
    assert parameters("memory", "has_memory_data") == "self, memory_id"
    assert parameters("memory", "list_memory_data") == "self, when"
    assert parameters("recent", "write_recent_data") == "self, row, when"
    assert parameters("state", "write_state_data") == "self, data, when"


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"name": "Order"}, "needs snake case identifiers"),
    ({"name": "class"}, "needs snake case identifiers"),
    ({"key": (), "redis": ()}, "has an empty key"),
    ({"redis": ("exchangeName", "symbol")}, r"has the Redis key \('exchangeName', 'symbol'\) over the unique key"),
    ({"context": ("symbol", "symbol", "exchange_name")}, "names an argument of its context twice"),
    ({"key": ("exchangeName", "symbol"), "redis": ("exchangeName", "symbol")}, "is a entry: its key has 1 field"),
    ({"shape": "document"}, "is a document: its key has 0 field"),
    ({"key": ("side", "exchangeName", "symbol")}, "must put the field beyond the context last"),
    ({"key": ("exchangeName", "side"), "redis": ("exchangeName", "side")}, "leaves a part of its context out"),
    ({"soft_delete": True}, "must delete softly if it is a bucket, and only then"),
    ({"shape": "bucket"}, "must delete softly if it is a bucket"),
    ({"immutable": True}, "must be immutable if it is a series"),
    ({"newest": 200}, "can't limit a list that it doesn't have"),
    ({"items": True}, "can't list pairs without being a bucket"),
    ({"payload": "list"}, "can't hold list as a entry"),
    ({"shape": "collection"}, "can't store `when` as a collection"),
    ({"optional": ("side",)}, "has an optional argument that is not in its context"),
    ({"optional": ("symbol",)}, "must put its optional arguments last"),
    (
        {"key": ("exchangeName", "symbol", "backtest"), "redis": ("exchangeName", "symbol", "backtest")},
        "can't key its entries by 'backtest'",
    ),
    ({"field": "side"}, "gives one field two meanings"),
    ({"field": "removed"}, "gives one field two meanings"),
    ({"field": "when"}, "gives one field two meanings"),
    ({"field": "a.b"}, "can't keep its payload in a field named 'a.b'"),
    ({"argument": "when"}, "gives one parameter two meanings"),
    ({"value": "side"}, "gives one parameter two meanings"),
    ({"shape": "series", "immutable": True, "when": False}, "is a series, so it needs an interval"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ROWS)
def test_row_that_contradicts_itself_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    row = {**ORDER, **changes}
    with pytest.raises(SlotError, match=f"^{row['name']}: the row '{row['name']}' of the slot table {message}"):
        SlotSpec(**row)


def test_two_rows_that_clash_are_both_named() -> None:
    # `order_book` and `order__book` are different names of one class.
    with pytest.raises(SlotError, match=r"the rows 'order_book' and 'order__book' .* class name 'OrderBookAdapter'"):
        check_table([SlotSpec(**ORDER), SlotSpec(**{**ORDER, "name": "order__book"})])
    with pytest.raises(SlotError, match="the rows 'signal' and 'signal'"):
        persist.register(SlotSpec(**{**ORDER, "name": "signal"}))


def test_rows_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SLOTS[0].name = "x"  # type: ignore[misc]  # that is what is tested


# An eighteenth slot. At module level, as a user would have it: pickle finds it there.
OrderBookAdapter = persist.register(SlotSpec(**ORDER))


class TestOwnSlot:
    def test_is_a_class_like_ours_in_the_module_that_asked_for_it(self) -> None:
        assert OrderBookAdapter.__name__ == "OrderBookAdapter"
        assert OrderBookAdapter.__module__ == __name__
        assert pickle.loads(pickle.dumps(OrderBookAdapter)) is OrderBookAdapter
        assert persist.register(SlotSpec(**ORDER)) is persist.register(SlotSpec(**ORDER))

    def test_registry_has_it(self) -> None:
        adapter = persist.register(SlotSpec(**ORDER))
        backtest_mongo.install()
        assert type(persist.order_book("BTCUSDT", "binance")) is adapter  # type: ignore[attr-defined]
        persist.use_dummy()
        assert persist.order_book("BTCUSDT", "binance") is not None  # type: ignore[attr-defined]

    async def test_stores_and_reads_like_ours(self, deployment: Deployment, unique: str) -> None:
        order_book: Any = OrderBookAdapter("BTCUSDT", unique)
        await order_book.write_order_book_data({"best": 1.5}, "bid", WHEN)
        assert await order_book.read_order_book_data("bid") == {"best": 1.5}
        assert await order_book.read_order_book_data("bid", when=WHEN - 1) == {}
        assert await order_book.read_order_book_data(side="ask") == {}
        (row,) = await deployment.rows(OrderBookAdapter.spec)
        assert (row["exchangeName"], row["symbol"], row["side"]) == (unique, "BTCUSDT", "bid")
        assert await deployment.cached(f"order_book_cache:{unique}:BTCUSDT:bid") == str(row["_id"])
        collection = await deployment.collection(OrderBookAdapter.spec)
        assert "exchangeName_1_symbol_1_side_1" in await collection.index_information()

    def test_name_of_the_registry_s_own_is_refused(self) -> None:
        with pytest.raises(SlotError, match="would hide the registry's own 'use'"):
            persist.register(SlotSpec(**{**ORDER, "name": "use"}))

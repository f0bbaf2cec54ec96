"""The slot table, and slots that users add."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backtest_mongo
from backtest_mongo import SERIES, SLOTS, Column, InputError, InputTypeError, SlotError, SlotSpec, persist
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.contracts import CONTRACTS
from backtest_mongo.core import slots
from backtest_mongo.core.specs import check_table
from tests.conftest import Deployment
from tests.support.uniform import WHEN

ORDER: dict[str, Any] = {
    "name": "order_book",
    "shape": "entry",
    "context": ("symbol", "exchange_name"),
    "key": ("exchangeName", "symbol", "side"),
    "redis": ("exchangeName", "symbol", "side"),
    "when": True,
}


def test_slot_table_fits_on_one_screen_and_the_series_on_another() -> None:
    source = Path(slots.__file__).read_text()
    assert (len(SLOTS), len(SERIES)) == (17, 5)
    head, series = source.split("SERIES: Final")
    assert len(head.splitlines()) <= 86
    assert len(series.splitlines()) <= 40
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
            assert inspect.iscoroutinefunction(method) != (name == "dispose" or name.startswith(("list_", "range_")))
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
        found = inspect.signature(getattr(ADAPTERS[name], method)).parameters.values()
        return ", ".join(parameter.name for parameter in found if parameter.kind is not parameter.KEYWORD_ONLY)

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
    ({"name": "Order"}, "needs names in snake case"),
    ({"name": "class"}, "needs names in snake case"),
    ({"key": (), "redis": ()}, "has an empty key"),
    (
        {"redis": ("exchangeName", "symbol")},
        r"has the Redis key \('exchangeName', 'symbol'\), which differs from the unique key",
    ),
    ({"context": ("symbol", "symbol", "exchange_name")}, "names an argument of its context twice"),
    (
        {"key": ("exchangeName", "symbol"), "redis": ("exchangeName", "symbol")},
        "has a key of 0 more than its context, and the shape entry needs 1",
    ),
    ({"shape": "document"}, "has a key of 1 more than its context, and the shape document needs 0"),
    ({"key": ("side", "exchangeName", "symbol")}, "must put the field beyond the context last"),
    ({"key": ("exchangeName", "side"), "redis": ("exchangeName", "side")}, "leaves a part of its context out"),
    ({"soft_delete": True}, "must set soft_delete if it is a bucket, and only then"),
    ({"shape": "bucket"}, "must set soft_delete if it is a bucket"),
    ({"immutable": True}, "must be immutable if it is a series"),
    ({"newest": 200}, "can't limit a list that it doesn't have"),
    ({"items": True}, "can't list pairs without being a bucket"),
    ({"payload": "list"}, "can't hold list without being a document"),
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
    ({"value": "self"}, "gives one parameter two meanings"),
    ({"value": "expect"}, "gives one parameter two meanings"),
    ({"argument": "with_version"}, "gives one parameter two meanings"),
    (
        {"shape": "document", "key": ("exchangeName", "symbol"), "redis": ("exchangeName", "symbol"), "value": "when"},
        "gives one parameter two meanings",
    ),
    ({"shape": "series", "immutable": True, "when": False}, "is a series without columns, so it needs an interval"),
    (
        {"key": ("symbol", "exchangeName", "side", "side"), "redis": ("symbol", "exchangeName", "side", "side")},
        "names a",
    ),
    ({"shape": "collection", "when": False, "newest": 0}, "must list one row at least"),
    ({"blank": ("side",)}, "lets an argument be blank that is not in its context"),
    ({"former": ("symbol",)}, "has a former key that is not its key without the optional arguments"),
]


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"shape": "table"}, "shape 'table' is unknown", "known are document, entry, collection, bucket, series"),
        ({"payload": "text"}, "payload 'text' is unknown", "known are object, object|null, list"),
        *(
            ({name: value}, f"{name} must be a tuple of names, not {type(value).__name__}", None)
            for name in ("context", "key", "redis", "optional", "blank", "former")
            for value in ("symbol", ["symbol"], None)
        ),
    ],
)
def test_column_of_another_type_is_refused(changes: dict[str, Any], message: str, hint: str | None) -> None:
    with pytest.raises(SlotError) as caught:
        SlotSpec(**{**ORDER, **changes})
    assert str(caught.value).startswith(f"order_book: {message}")
    assert (caught.value.slot, caught.value.hint) == ("order_book", hint)


RATES: dict[str, Any] = {
    "name": "rates",
    "shape": "series",
    "context": ("symbol",),
    "key": ("symbol", "timestamp", "trade_id"),
    "sequence": "int64",
    "columns": (Column("price", "float64"), Column("side", "category", nullable=True)),
}
BAD_SERIES: list[tuple[dict[str, Any], str]] = [
    ({"columns": [Column("price", "float64")]}, "columns must be a tuple"),
    ({"columns": ("price",)}, "columns must hold Columns of a known type, not 'price'"),
    ({"columns": (Column("price", "decimal"),)}, "columns must hold Columns of a known type"),  # type: ignore[arg-type]
    (
        {"columns": (Column("lastPrice", "float64"),)},
        "the row of the slot table needs columns with names",
    ),
    ({"columns": (Column("timestamp", "int64"),)}, "the row of the slot table gives one column two meanings"),
    ({"columns": (Column("trade_id", "int64"),)}, "the row of the slot table gives one column two meanings"),
    (
        {"columns": (Column("a", "int8"), Column("a", "bool"))},
        "the row of the slot table gives one column two meanings",
    ),
    ({"shape": "document"}, "the row of the slot table has a key of 2 more than its context"),
    ({"columns": ()}, "the row of the slot table has no columns, so its rows are candles"),
    (
        {"columns": (Column("price", "float64"), Column("symbol", "str"))},
        "the row of the slot table has columns with the names of its context: symbol",
    ),
    (
        {
            "context": ("symbol", "exchange_name"),
            "key": ("symbol", "exchangeName", "timestamp", "exchange_name"),
        },
        "the row of the slot table has columns with the names of its context: exchange_name",
    ),
    ({"unit": "s"}, "unit 's' is unknown"),
    ({"sequence": "float64"}, "the row of the slot table needs a sequence that is int64 or str"),
    (
        {"sequence": None, "key": ("symbol", "timestamp")},
        "the row of the slot table needs a sequence that is int64 or str, or '' for none, unlike None",
    ),
    ({"sequence": ""}, "the row of the slot table has a key of 2 more than its context"),
    ({"key": ("symbol", "trade_id", "timestamp")}, "the row of the slot table is a series, so it needs timestamp"),
    (
        {"key": ("symbol", "timestamp", "tradeId")},
        "the row of the slot table needs a sequence with a name",
    ),
    ({"redis": ("symbol", "timestamp", "trade_id")}, "the row of the slot table has columns, so no ids of its rows"),
    ({"grid": "7m"}, "the row of the slot table has an unknown grid"),
    ({"grid": "interval"}, "the row of the slot table has a grid by interval"),
    ({"grid": "1h"}, "the row of the slot table has a grid, so it needs times in ms and can't have a sequence"),
    ({"history": True}, "the row of the slot table can't keep versions of the rows of a series"),
]


def test_series_with_columns_is_a_row_of_the_table() -> None:
    spec = SlotSpec(**RATES)
    assert (spec.item, spec.context_key, spec.is_candles) == ("timestamp", ("symbol",), False)
    assert (spec.class_name, spec.collection) == ("RatesAdapter", "rates-items")


@pytest.mark.parametrize(("changes", "message"), BAD_SERIES)
def test_series_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SlotError) as caught:
        SlotSpec(**{**RATES, **changes})
    assert str(caught.value).startswith(f"rates: {message}")


@pytest.mark.parametrize(("changes", "message"), BAD_ROWS)
def test_row_that_contradicts_itself_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    row = {**ORDER, **changes}
    with pytest.raises(SlotError, match=f"^{row['name']}: the row of the slot table {message}"):
        SlotSpec(**row)


def test_names_are_derived_from_the_slot_s() -> None:
    names = ("exchangeName", "symbol", "bookSide")
    spec = SlotSpec(**{**ORDER, "key": names, "redis": names})
    assert (spec.class_name, spec.collection, spec.prefix) == (
        "OrderBookAdapter",
        "order-book-items",
        "order_book_cache",
    )
    assert (spec.context_fields, spec.item) == (("symbol", "exchangeName"), "bookSide")
    assert (spec.noun, spec.argument, spec.value) == ("order_book", "book_side", "data")
    assert spec.redis_key(("binance", "BTC", "bid")) == "order_book_cache:binance:BTC:bid"
    own = SlotSpec(**{**ORDER, "noun": "book", "argument": "where"})
    assert (own.noun, own.argument) == ("book", "where")
    assert ADAPTERS["log"].spec.item == "entryId"
    assert ADAPTERS["signal"].spec.item is None
    assert ADAPTERS["signal"].spec.argument == ""


def test_redis_key_has_an_order_of_its_own() -> None:
    assert ADAPTERS["recent"].spec.redis_key(("BTC", "s", "e", "f", True)) == "recent_cache:backtest:e:s:f:BTC"
    assert ADAPTERS["session"].spec.redis_key(("s", "e", "f", "BTC", False)) == "session_cache:e:s:f:BTC:live"
    assert ADAPTERS["candle"].spec.redis_key(("e", "BTC", "1m", 5)) == "candle_cache:e:BTC:1m:5"


def test_redis_key_of_an_own_slot_follows_its_row() -> None:
    key = ("symbol", "backtest")
    own = SlotSpec(name="own", shape="document", context=key, key=key, redis=("backtest", "symbol"))
    assert [own.redis_key(("BTC", flag)) for flag in (True, False)] == ["own_cache:backtest:BTC", "own_cache:live:BTC"]
    plain = SlotSpec(name="own", shape="document", context=("symbol",), key=("symbol",), redis=("symbol",))
    assert plain.redis_key(("BTC",)) == "own_cache:BTC"


class TestBinding:
    signal = ADAPTERS["signal"].spec
    session = ADAPTERS["session"].spec
    call = r"SessionAdapter\(strategy_name, exchange_name, frame_name, symbol, backtest\)"

    def test_context_is_in_its_order_however_it_is_given(self) -> None:
        assert self.signal.bind(("BTC", "s", "e"), {}) == ("BTC", "s", "e")
        assert self.signal.bind(("BTC",), {"exchange_name": "e", "strategy_name": "s"}) == ("BTC", "s", "e")
        assert self.signal.bind((), {"exchange_name": "e", "strategy_name": "s", "symbol": "BTC"}) == ("BTC", "s", "e")

    def test_optional_arguments_have_defaults(self) -> None:
        assert self.session.bind(("s", "e", "f"), {}) == ("s", "e", "f", "", False)
        assert self.session.bind(("s", "e", "f", "BTC"), {}) == ("s", "e", "f", "BTC", False)
        assert self.session.bind(("s", "e", "f"), {"backtest": True}) == ("s", "e", "f", "", True)

    @pytest.mark.parametrize(
        ("args", "kwargs", "problem"),
        [
            (("s", "e", "f", "b", True, 6), {}, "takes 5 arguments, not 6"),
            (("s",), {}, "lacks exchange_name, frame_name"),
            (("s", "e", "f"), {"side": "x"}, "got an unknown argument 'side'"),
            (("s", "e", "f"), {"frame_name": "x"}, "got two values for argument 'frame_name'"),
            (("s", "e", "f", "b", True), {"backtest": True}, "got two values for argument 'backtest'"),
        ],
    )
    def test_wrong_arguments_are_named(self, args: tuple[Any, ...], kwargs: dict[str, Any], problem: str) -> None:
        with pytest.raises(TypeError, match=f"^{self.call} {problem}$"):
            self.session.bind(args, kwargs)

    def test_empty_text_is_refused_where_it_is_no_default_and_not_allowed(self) -> None:
        for args, name in ((("", "s", "e"), "symbol"), (("BTC", "s", ""), "exchange_name")):
            with pytest.raises(InputError, match=rf"^signal: {name} must not be empty \(str\)$") as caught:
                self.signal.bind(args, {})
            assert caught.value.slot == "signal"
        with pytest.raises(InputError, match=r"^session: exchange_name must not be empty"):
            self.session.bind(("s", "", "f"), {})
        blank = SlotSpec(**{**ORDER, "blank": ("symbol",)})
        assert blank.bind(("", "e"), {}) == ("", "e")
        with pytest.raises(InputError, match=r"^order_book: exchange_name must not be empty"):
            blank.bind(("", ""), {})

    def test_key_is_plain_text(self) -> None:
        assert type(self.signal.check_key("symbol", np.str_("BTC"))) is str
        assert self.signal.check_key("symbol", np.str_("BTC")) == "BTC"
        assert self.signal.check_key("symbol", "ключ") == "ключ"
        for value in (None, 5, b"BTC", {"$ne": 1}, ["BTC"]):
            with pytest.raises(
                InputTypeError, match=f"^signal: symbol must be a str, not {type(value).__name__}$"
            ) as of:
                self.signal.check_key("symbol", value)
            assert of.value.slot == "signal"

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ("a\0", "must not hold a NUL character (str)"),
            ("\ud800", "holds a lone surrogate, which is not valid Unicode (str)"),
        ],
    )
    def test_key_is_valid_text(self, value: str, problem: str) -> None:
        for given in (value, np.str_(value)) if "\0" in value else (value,):
            with pytest.raises(InputError) as caught:
                self.signal.check_key("symbol", given)
            assert str(caught.value) == f"signal: symbol {problem}"
            assert (caught.value.slot, type(caught.value)) == ("signal", InputError)

    def test_flag_is_a_bool(self) -> None:
        assert self.session.bind(("s", "e", "f", "b", True), {})[-1] is True
        assert self.session.check_flag("backtest", False) is False
        for value in (0, 1, None, "live", np.bool_(True)):
            for name, hint in (("backtest", "True for a backtest, False for live trading"), ("other", None)):
                problem = f"^session: {name} must be a bool, not {type(value).__name__}"
                with pytest.raises(InputTypeError, match=problem) as caught:
                    self.session.check_flag(name, value)
                assert (caught.value.slot, caught.value.hint) == ("session", hint)


def test_two_rows_that_clash_are_both_named() -> None:
    # `order_book` and `order__book` are different names of one class.
    with pytest.raises(SlotError, match=r"the rows 'order_book' and 'order__book' .* class name 'OrderBookAdapter'"):
        check_table([SlotSpec(**ORDER), SlotSpec(**{**ORDER, "name": "order__book"})])
    for column in ("collection", "prefix"):
        other = SlotSpec(**{**ORDER, "name": "order_list"})
        object.__setattr__(other, column, getattr(SlotSpec(**ORDER), column))
        with pytest.raises(SlotError) as caught:
            check_table(row for row in (SlotSpec(**ORDER), other))
        problem = f"share the {column} {getattr(other, column)!r}"
        assert str(caught.value) == f"the rows 'order_book' and 'order_list' of the slot table {problem}"
    same = SlotSpec(**ORDER)
    check_table([same, same, *SLOTS])
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
        with pytest.raises(SlotError, match=r"would hide persist\.use"):
            persist.register(SlotSpec(**{**ORDER, "name": "use"}))

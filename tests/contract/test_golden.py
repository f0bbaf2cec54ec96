"""The documents and Redis entries that the Node package wrote on a real server, for one fixed script of calls.

``golden/layout.json`` has them with placeholders for ids and dates. The same script through our adapters must leave the
same, field for field; and what Node left must be read by us.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    BreakevenAdapter,
    CandleAdapter,
    DictionaryAdapter,
    IntervalAdapter,
    LogAdapter,
    MeasureAdapter,
    MemoryAdapter,
    NotificationAdapter,
    PartialAdapter,
    RecentAdapter,
    RiskAdapter,
    ScheduleAdapter,
    SessionAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    StrategyAdapter,
)
from backtest_mongo.types import Candle
from tests.conftest import Deployment

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "layout.json").read_text())
WHEN = 1_700_000_000_000
DATE = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
CONTEXT = ("BTCUSDT", "my_strategy", "binance")


def signal(identity: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identity,
        "position": "long",
        "priceOpen": 50000.5,
        "priceTakeProfit": 51000,
        "priceStopLoss": 49000,
        "minuteEstimatedTime": math.inf,
        "timestamp": WHEN,
        "note": None,
        "nested": {"a": [1, 2.5, "x"], "empty": {}},
        **more,
    }


async def run_the_script() -> None:
    """The calls behind the golden file."""
    await BreakevenAdapter(*CONTEXT).write_breakeven_data({"sig-1": {"reached": True}}, "sig-1", WHEN)
    await CandleAdapter("BTCUSDT", "1m", "binance").write_candles_data(
        [
            {
                "timestamp": WHEN - 20_000 + index * 60_000,
                "open": 1 + index,
                "high": 2 + index,
                "low": 0.5,
                "close": 1.5,
                "volume": 10,
            }
            for index in range(3)
        ]
    )
    await DictionaryAdapter("sig-1", "dict").write_dictionary_data({"id": "dict", "data": {"a": 1}, "when": WHEN}, WHEN)
    interval = IntervalAdapter("bucket")
    for number in (1, 2):
        key = f"k{number}"
        await interval.write_interval_data(
            {"id": key, "data": {"v": number}, "when": DATE, "removed": False}, key, WHEN
        )
    await interval.remove_interval_data("k2")
    await LogAdapter().write_log_data(
        [{"id": "l-1", "level": "info", "message": "hello"}, {"id": "l-2", "level": "warn", "message": "x"}]
    )
    measure = MeasureAdapter("bucket")
    for number in (1, 2):
        key = f"k{number}"
        await measure.write_measure_data({"id": key, "data": {"v": number}, "removed": False}, key, WHEN)
    await measure.remove_measure_data("k2")
    memory = MemoryAdapter("sig-1", "notes")
    for number, letter in ((1, "a"), (2, "b")):
        row = {"priority": number, "data": {"t": letter}, "removed": False, "index": letter, "when": WHEN}
        await memory.write_memory_data(row, f"m{number}", WHEN)
    await memory.remove_memory_data("m2")
    await NotificationAdapter(False).write_notification_data(
        [{"id": "n-1", "type": "signal.opened"}, {"id": "n-2", "type": "signal.closed"}]
    )
    await PartialAdapter(*CONTEXT).write_partial_data(
        {"sig-1": {"profitLevels": [10, 20], "lossLevels": []}}, "sig-1", WHEN
    )
    await RecentAdapter(*CONTEXT, "frame-1", True).write_recent_data(signal("sig-1"), WHEN)
    positions = [["my_strategy:BTCUSDT", {"signal": signal("sig-1"), "openTimestamp": 1}]]
    await RiskAdapter("my_risk", "binance").write_position_data(positions, WHEN)
    await ScheduleAdapter(*CONTEXT).write_schedule_data(signal("sched-1"))
    session = SessionAdapter("my_strategy", "binance", "frame-1", "BTCUSDT", True)
    await session.write_session_data({"id": "s", "data": {"x": 1}, "when": WHEN}, WHEN)
    await SignalAdapter(*CONTEXT).write_signal_data(signal("sig-1"))
    other = SignalAdapter("ETHUSDT", "my_strategy", "binance")
    await other.write_signal_data(signal("sig-2"))
    await other.write_signal_data(None)
    await StateAdapter("sig-1", "counter").write_state_data({"id": "counter", "data": {"count": 1}, "when": WHEN}, WHEN)
    await StorageAdapter(True).write_storage_data([signal("st-1", status="opened"), signal("st-2", status="closed")])
    await StorageAdapter(False).write_storage_data([signal("st-1", status="live")])
    await StrategyAdapter(*CONTEXT).write_strategy_data({"pendingSignalId": None, "commitQueue": [], "isPaused": False})


def from_golden(value: Any, now: datetime) -> Any:
    """Return a golden value as the driver gives it: placeholders for dates become ``now``."""
    if isinstance(value, list):
        return [from_golden(item, now) for item in value]
    if isinstance(value, dict):
        if "$oid" in value:
            return ObjectId(value["$oid"])
        if "$date" in value:
            return datetime.fromisoformat(value["$date"])
        if "$numberDouble" in value:
            return float(value["$numberDouble"])
        return {name: from_golden(item, now) for name, item in value.items()}
    return now if value == "<now>" else value


def as_node_stores(value: Any) -> Any:
    """Node keeps numbers over 31 bits as doubles."""
    if isinstance(value, list):
        return [as_node_stores(item) for item in value]
    if isinstance(value, dict):
        return {name: as_node_stores(item) for name, item in value.items()}
    return float(value) if type(value) is int and abs(value) >= 2**31 else value


@pytest.mark.in_rows("a block is no document of the reference")
async def test_our_documents_equal_the_reference_s(deployment: Deployment, spec: backtest_mongo.SlotSpec) -> None:
    await run_the_script()
    from backtest_mongo.connection.hub_registry import current_hub

    ours = await current_hub().database[spec.collection].find().to_list(None)
    now = ours[0]["createDate"]
    for row in ours:
        assert isinstance(row["_id"], ObjectId)
        assert isinstance(row.pop("createDate"), datetime)
        assert isinstance(row.pop("updatedDate"), datetime)
        del row["_id"]
    theirs = from_golden(GOLDEN["documents"][spec.collection], now)
    for row in theirs:
        del row["_id"], row["createDate"], row["updatedDate"]

    def by_key(row: dict[str, Any]) -> str:
        return repr([row[name] for name in spec.key])

    assert sorted(ours, key=by_key) == sorted(theirs, key=by_key)


async def test_golden_file_covers_every_slot() -> None:
    assert set(GOLDEN["documents"]) == {spec.collection for spec in SLOTS}


@pytest.mark.in_rows("candles in blocks have no ids")
async def test_our_redis_entries_equal_the_reference_s(deployment: Deployment) -> None:
    # These keys hold no test's name, and every one of them is written, so what earlier runs left is replaced.
    await run_the_script()
    by_golden_id = {}
    for collection, rows in GOLDEN["documents"].items():
        spec = next(spec for spec in SLOTS if spec.collection == collection)
        for row in rows:
            key = {name: from_golden(row[name], datetime.now(UTC)) for name in spec.key}
            (ours,) = await deployment.rows(spec, **key)
            by_golden_id[row["_id"]["$oid"]] = str(ours["_id"])
    for redis_key, golden_id in GOLDEN["redis"].items():
        assert await deployment.cached(redis_key) == by_golden_id[golden_id], redis_key


READS: dict[str, tuple[Callable[[], Any], Any]] = {
    "signal": (lambda: SignalAdapter(*CONTEXT).read_signal_data(), signal("sig-1")),
    "schedule": (lambda: ScheduleAdapter(*CONTEXT).read_schedule_data(), signal("sched-1")),
    "strategy": (
        lambda: StrategyAdapter(*CONTEXT).read_strategy_data(),
        {"pendingSignalId": None, "commitQueue": [], "isPaused": False},
    ),
    "risk": (
        lambda: RiskAdapter("my_risk", "binance").read_position_data(WHEN),
        [["my_strategy:BTCUSDT", {"signal": signal("sig-1"), "openTimestamp": 1}]],
    ),
    "partial": (
        lambda: PartialAdapter(*CONTEXT).read_partial_data("sig-1", WHEN),
        {"sig-1": {"profitLevels": [10, 20], "lossLevels": []}},
    ),
    "breakeven": (
        lambda: BreakevenAdapter(*CONTEXT).read_breakeven_data("sig-1", WHEN),
        {"sig-1": {"reached": True}},
    ),
    "storage": (
        lambda: StorageAdapter(True).read_storage_data(),
        [signal("st-1", status="opened"), signal("st-2", status="closed")],
    ),
    "notification": (
        lambda: NotificationAdapter(False).read_notification_data(),
        [{"id": "n-1", "type": "signal.opened"}, {"id": "n-2", "type": "signal.closed"}],
    ),
    "log": (
        lambda: LogAdapter().read_log_data(),
        [{"id": "l-1", "level": "info", "message": "hello"}, {"id": "l-2", "level": "warn", "message": "x"}],
    ),
    "measure": (
        lambda: MeasureAdapter("bucket").read_measure_data("k1"),
        {"id": "k1", "data": {"v": 1}, "removed": False},
    ),
    "measure removed": (lambda: MeasureAdapter("bucket").read_measure_data("k2"), None),
    "interval": (
        lambda: IntervalAdapter("bucket").read_interval_data("k1", WHEN),
        {"id": "k1", "data": {"v": 1}, "when": DATE, "removed": False},
    ),
    "interval early": (lambda: IntervalAdapter("bucket").read_interval_data("k1", WHEN - 1), None),
    "memory": (
        lambda: MemoryAdapter("sig-1", "notes").read_memory_data("m1"),
        {"priority": 1, "data": {"t": "a"}, "removed": False, "index": "a", "when": WHEN},
    ),
    "memory removed": (lambda: MemoryAdapter("sig-1", "notes").read_memory_data("m2"), None),
    "recent": (lambda: RecentAdapter(*CONTEXT, "frame-1", True).read_recent_data(), signal("sig-1")),
    "state": (
        lambda: StateAdapter("sig-1", "counter").read_state_data(),
        {"id": "counter", "data": {"count": 1}, "when": WHEN},
    ),
    "dictionary": (
        lambda: DictionaryAdapter("sig-1", "dict").read_dictionary_data(),
        {"id": "dict", "data": {"a": 1}, "when": WHEN},
    ),
    "session": (
        lambda: SessionAdapter("my_strategy", "binance", "frame-1", "BTCUSDT", True).read_session_data(),
        {"id": "s", "data": {"x": 1}, "when": WHEN},
    ),
}


@pytest.fixture
async def node_database(deployment: Deployment) -> Deployment:
    """A database as Node leaves it: its documents, with its doubles."""
    now = datetime.now(UTC)
    for spec in SLOTS:
        rows = [as_node_stores(from_golden(row, now)) for row in GOLDEN["documents"][spec.collection]]
        for row in rows:
            row["_id"] = ObjectId()
        await (await deployment.collection(spec)).insert_many(rows)
    return deployment


@pytest.mark.parametrize("name", READS)
async def test_what_node_wrote_is_read(node_database: Deployment, name: str) -> None:
    call, expected = READS[name]
    assert await call() == expected


async def test_candles_that_node_wrote_are_read_with_integer_times(node_database: Deployment) -> None:
    first = WHEN - 20_000
    rows = await CandleAdapter("BTCUSDT", "1m", "binance").read_candles_data(3, first)
    assert rows is not None
    assert [row["timestamp"] for row in rows] == [first, first + 60_000, first + 120_000]
    assert {type(row["timestamp"]) for row in rows} == {int}
    assert rows[0] == {"timestamp": first, "open": 1, "high": 2, "low": 0.5, "close": 1.5, "volume": 10}


async def test_candle_that_node_wrote_is_not_written_again(node_database: Deployment) -> None:
    candle: Candle = {"timestamp": WHEN - 20_000, "open": 9, "high": 9, "low": 9, "close": 9, "volume": 9}
    assert await CandleAdapter("BTCUSDT", "1m", "binance").write_candles_data([candle]) == 0


async def test_row_that_node_wrote_is_updated_in_place(node_database: Deployment) -> None:
    risk = RiskAdapter("my_risk", "binance")
    await risk.write_position_data([], WHEN + 1)
    assert len(await node_database.rows(risk.spec)) == 1
    assert await risk.read_position_data(WHEN) == []

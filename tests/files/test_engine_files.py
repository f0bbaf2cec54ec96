"""Files in the engine's own form: endless signals, times and names, which are written back byte for byte."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import (
    SLOTS,
    BreakevenAdapter,
    CandleAdapter,
    IntervalAdapter,
    MeasureAdapter,
    NotificationAdapter,
    PartialAdapter,
    RecentAdapter,
    RiskAdapter,
    SessionAdapter,
    SignalAdapter,
    StateAdapter,
    StrategyAdapter,
    export_dump,
    import_dump,
    persist,
)
from backtest_mongo.adapters import ADAPTERS
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.dumps import write_file
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]

#: Values that the engine's JSON lacks, and what is written for each where the engine reads a number or null.
AS_NUMBER: list[tuple[Any, Any]] = [
    (math.inf, None),
    (-math.inf, None),
    (math.nan, None),
    (None, None),
    (240, 240),
    (2.5, 2.5),
    (2**40, 2**40),
    (Decimal("240"), 240),
    (Decimal("2.5"), 2.5),
    (Decimal("Infinity"), None),
]
SIX = (
    "closedSignal",
    "cancelledSignal",
    "activatedSignal",
    "takeProfitSignal",
    "stopLossSignal",
    "retryOpenSignal",
)
#: For each slot with the field: a row that has a value everywhere the engine reads it.
ROWS: dict[str, Any] = {
    **dict.fromkeys(
        ("signal", "schedule", "recent", "storage", "notification"), lambda value: {"minuteEstimatedTime": value}
    ),
    "strategy": lambda value: {name: {"minuteEstimatedTime": value} for name in SIX},
    "risk": lambda value: [["one", {"minuteEstimatedTime": value}], ["other", {"minuteEstimatedTime": value}]],
}


def in_mongo(spec: Any) -> Any:
    return ADAPTERS[spec.name](**uniform.context(spec, "x"))


def in_files(spec: Any) -> Any:
    return getattr(persist, spec.name)(**uniform.context(spec, "x"))


def entity(root: Path) -> Path:
    (path,) = (path for path in root.rglob("*.json") if not path.name.startswith("."))
    return path


def read_entity(root: Path) -> Any:
    found = json.loads(entity(root).read_bytes())
    if isinstance(found, dict):
        found.pop("id", None)
    return found


@pytest.mark.parametrize(("value", "number"), AS_NUMBER, ids=[str(value) for value, _ in AS_NUMBER])
@pytest.mark.parametrize("slot", ROWS)
async def test_endless_field_is_a_number_or_null_in_files_and_null_is_read_as_infinity(
    deployment: Deployment, tmp_path: Path, slot: str, value: Any, number: Any
) -> None:
    spec = next(spec for spec in SLOTS if spec.name == slot)
    await uniform.write(in_mongo(spec), ROWS[slot](value))
    await export_dump(tmp_path / "out")
    assert read_entity(tmp_path / "out") == ROWS[slot](number)
    persist.use_files(tmp_path / "files")
    await uniform.write(in_files(spec), ROWS[slot](value))
    assert read_entity(tmp_path / "files") == ROWS[slot](number)
    back = uniform.stored(spec, ROWS[slot](math.inf if number is None else number))
    assert await uniform.read(in_files(spec)) == back
    (tmp_path / "out/.backtest-mongo" / f"{slot}.rows").unlink()
    await import_dump(tmp_path / "out", apply=True, conflicts="file")
    assert await uniform.read(in_mongo(spec)) == back


@pytest.mark.parametrize("slot", [spec.name for spec in SLOTS if spec.shape != "series"])
async def test_field_of_the_same_name_elsewhere_keeps_its_value(tmp_path: Path, slot: str) -> None:
    spec = next(spec for spec in SLOTS if spec.name == slot)
    persist.use_files(tmp_path)
    inner: dict[str, Any] = {"data": {"minuteEstimatedTime": None}, "list": [{"minuteEstimatedTime": math.inf}]}
    inner |= {"createdSignal": {"minuteEstimatedTime": None}}
    if slot not in ROWS:
        inner |= {"minuteEstimatedTime": None, "closedSignal": {"minuteEstimatedTime": math.inf}}
    value: Any = [["key", inner]] if spec.payload == "list" else inner
    await uniform.write(in_files(spec), value)
    assert await uniform.read(in_files(spec)) == uniform.stored(spec, value)
    text = json.dumps(read_entity(tmp_path))
    assert '{"$numberDouble": "Infinity"}' in text


async def test_date_of_an_interval_is_a_string_in_files_and_a_date_elsewhere(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The engine needs a date in MongoDB, and an ISO string in files."""
    row = {"id": "k", "data": {}, "when": "2024-01-02T00:00:00.000Z", "removed": False}
    date = datetime(2024, 1, 2, tzinfo=UTC)
    write_file(tmp_path, "data/interval/b/k.json", row)
    await import_dump(tmp_path, apply=True)
    persist.use_files(tmp_path)
    for interval in (IntervalAdapter("b"), persist.interval("b")):
        assert await interval.read_interval_data("k") == {**row, "when": date}
        assert await interval.read_interval_data("k", date) is not None
        assert await interval.read_interval_data("k", 1_704_153_599_999) is None
        await interval.write_interval_data({**row, "when": date}, "k", date)
    assert json.loads((tmp_path / "data/interval/b/k.json").read_bytes()) == row
    await export_dump(tmp_path / "out")
    assert json.loads((tmp_path / "out/data/interval/b/k.json").read_bytes()) == row


async def test_date_that_was_imported_from_a_string_is_exported_as_the_same_string(
    deployment: Deployment, tmp_path: Path
) -> None:
    texts = [
        *("2024-01-02T00:00:00.000Z", "2024-01-02T00:00:00Z", "2024-01-02", "2024-01-02T05:00:00.000+05:00", "soon"),
        "2024-13-02T00:00:00.000Z",
    ]
    paths: dict[str, Any] = {
        "data/interval/b/{}.json": lambda text: {"when": text, "data": {"at": text}},
        "data/log/log/{}.json": lambda text: {"createdAt": text, "executionContext": {"when": text}},
        "data/storage/live/{}.json": lambda text: {"when": text, "list": [text]},
        "state/{}/b/b.json": lambda text: {"when": text, "date": {"$date": text}},
    }
    written = {path.format(at): row(text) for at, text in enumerate(texts) for path, row in paths.items()}
    for path, row in written.items():
        write_file(tmp_path, path, row)
    report = await import_dump(tmp_path, apply=True)
    assert report.problems == ()
    await export_dump(tmp_path / "out")
    for path, row in written.items():
        assert json.loads((tmp_path / "out" / path).read_bytes()) == row


# Times


@pytest.mark.parametrize(
    "when", ["2024-01-02T00:00:00.000Z", "2024-01-02T05:30:00+05:30", 1_704_153_600_000, 1.7041536e12]
)
@pytest.mark.parametrize("slot", ["interval", "memory", "state", "session", "dictionary", "recent"])
async def test_simulation_time_is_the_one_in_the_payload_in_any_form(
    deployment: Deployment, tmp_path: Path, slot: str, when: Any
) -> None:
    spec = next(spec for spec in SLOTS if spec.name == slot)
    persist.use_files(tmp_path)
    await uniform.write(in_files(spec), {"n": 1})
    file = entity(tmp_path)
    file.write_text(json.dumps({"n": 1, "timestamp" if slot == "recent" else "when": when}))
    os.utime(file, (1_900_000_000, 1_900_000_000))
    await import_dump(tmp_path, apply=True)
    for adapter in (in_mongo(spec), in_files(spec)):
        assert await uniform.read(adapter, when=1_704_153_600_000) is not None
        assert await uniform.read(adapter, when=1_704_153_599_999) is None


@pytest.mark.parametrize("slot", ["risk", "partial", "breakeven"])
async def test_simulation_time_is_the_file_s_if_the_payload_has_none(
    deployment: Deployment, tmp_path: Path, slot: str
) -> None:
    spec = next(spec for spec in SLOTS if spec.name == slot)
    persist.use_files(tmp_path)
    row: Any = [["k", {"when": 5}]] if slot == "risk" else {"when": 5, "timestamp": 5}
    await uniform.write(in_files(spec), row)
    file = entity(tmp_path)
    file.write_text(json.dumps([*row, *row] if slot == "risk" else {**row, "n": 1}))
    os.utime(file, (1_704_153_600, 1_704_153_600))
    await import_dump(tmp_path, apply=True)
    for adapter in (in_mongo(spec), in_files(spec)):
        assert await uniform.read(adapter, when=1_704_153_600_000) != uniform.nothing(spec)
        assert await uniform.read(adapter, when=1_704_153_599_999) == uniform.nothing(spec)


@pytest.mark.parametrize("when", [datetime(2024, 1, 2, tzinfo=UTC), None, 1.7041536e12])
@pytest.mark.parametrize("slot", ["interval", "memory"])
async def test_row_of_another_program_in_mongodb_is_not_read_before_its_simulation_time(
    deployment: Deployment, slot: str, when: Any
) -> None:
    spec = next(spec for spec in SLOTS if spec.name == slot)
    adapter = in_mongo(spec)
    rows = await deployment.collection(spec)
    row = {"payload": {"when": datetime(2024, 1, 2, tzinfo=UTC)}, "removed": False}
    await rows.insert_one({**uniform.natural_key(adapter), **row, **({} if when is None else {"when": when})})
    for at, seen in ((1_704_153_600_000, True), (1_704_153_599_999, False)):
        assert (await uniform.read(adapter, when=at) is not None) is seen
        assert (len(await uniform.listed(adapter, when=at)) == 1) is seen


@pytest.mark.parametrize("made", [1_704_153_600_000, 1_704_153_600_000.0, "2024-01-02T00:00:00.000Z"])
async def test_newest_rows_are_sorted_by_their_own_time_or_else_by_their_file_s(
    deployment: Deployment, tmp_path: Path, made: Any
) -> None:
    write_file(tmp_path, "data/notification/live/b.json", {"id": "b", "createdAt": made}, 1_900_000_000)
    write_file(tmp_path, "data/notification/live/a.json", {"id": "a"}, 1_704_153_599)
    write_file(tmp_path, "data/notification/live/c.json", {"id": "c", "createdAt": "soon"}, 1_704_153_601)
    write_file(tmp_path, "data/notification/live/d.json", {"id": "d", "createdAt": 10**300}, 1_704_153_602)
    (tmp_path / "data/notification/live/d.json").write_text('{"id":"d","createdAt":1e300}')
    os.utime(tmp_path / "data/notification/live/d.json", (1_704_153_602, 1_704_153_602))
    await import_dump(tmp_path, apply=True)
    persist.use_files(tmp_path)
    for notification in (NotificationAdapter(False), persist.notification(False)):
        rows = await notification.read_notification_data()
        assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
        assert [row["id"] for row in await notification.read_notification_data(limit=2)] == ["c", "d"]


# Names


@pytest.mark.parametrize("backtest", [True, False])
async def test_frame_is_written_as_the_engine_writes_it(deployment: Deployment, tmp_path: Path, backtest: bool) -> None:
    flag = "backtest" if backtest else "live"
    frames = {"jan_2024_frame": "_jan_2024_frame", "": "", "a/b": "_a%2Fb", "..": "_..", "_": "__", "con": "_con"}
    sessions = {
        "jan_2024_frame": "/jan_2024_frame",
        "": "",
        "a/b": "/a%2Fb",
        "..": "/%2E%2E",
        "_": "/_",
        "con": "/%63on",
    }
    persist.use_files(tmp_path / "files")
    for frame in frames:
        for recent in (persist.recent, RecentAdapter):
            await recent("BTC_USDT", "my_s", "okx_1", frame, backtest).write_recent_data({"frame": frame}, WHEN)
        for session in (persist.session, SessionAdapter):
            await session("my_s", "okx_1", frame, "BTC_USDT", backtest).write_session_data({"frame": frame}, WHEN)
    await export_dump(tmp_path / "out")
    for root in (tmp_path / "files", tmp_path / "out"):
        found = {str(path.parent.relative_to(root)) for path in root.rglob("[!.]*.json")}
        assert found == {
            *(f"data/recent/BTC%5FUSDT_my_s_okx%5F1{name}_{flag}" for name in frames.values()),
            *(f"session/my_s/okx_1{name}" for name in sessions.values()),
        }
        persist.use_files(root)
        for frame in frames:
            recent_row = await persist.recent("BTC_USDT", "my_s", "okx_1", frame, backtest).read_recent_data()
            session_row = await persist.session("my_s", "okx_1", frame, "BTC_USDT", backtest).read_session_data()
            assert recent_row == session_row == {"frame": frame}


#: Contexts whose names the engine joins to the same name.
RIVALS = [
    ("BTC", "a_b", "c", "d", True),
    ("BTC", "a", "b", "c_d", True),
    ("BTC", "a_b_c", "d", "", True),
]


@pytest.mark.parametrize("first", range(3))
async def test_contexts_with_the_same_joined_name_keep_their_own_rows(
    deployment: Deployment, tmp_path: Path, first: int
) -> None:
    rivals = RIVALS[first:] + RIVALS[:first]
    persist.use_files(tmp_path / "files")
    for round_ in range(2):
        for number, context in enumerate(rivals):
            for recent in (persist.recent(*context), RecentAdapter(*context)):
                if not round_:
                    assert await recent.read_recent_data() is None
                await recent.write_recent_data({"n": number, "round": round_}, WHEN + round_)
    await export_dump(tmp_path / "out")
    await export_dump(tmp_path / "out")
    for root in (tmp_path / "files", tmp_path / "out"):
        persist.use_files(root)
        for number, context in enumerate(rivals):
            assert await persist.recent(*context).read_recent_data() == {"n": number, "round": 1}
            assert await persist.recent(*context).read_recent_data(WHEN) is None
    # The first has the engine's name, and each row is imported under its own key.
    assert json.loads((tmp_path / "files/data/recent/BTC_a_b_c_d_backtest/BTC.json").read_bytes())["n"] == 0
    for context in rivals:
        await RecentAdapter(*context).write_recent_data({"n": -1}, WHEN)
    report = await import_dump(tmp_path / "files", apply=True, conflicts="file")
    assert report.problems == ()
    for number, context in enumerate(rivals):
        assert await RecentAdapter(*context).read_recent_data() == {"n": number, "round": 1}


async def test_row_of_the_engine_belongs_to_the_context_that_it_names(tmp_path: Path) -> None:
    names = dict(zip(("symbol", "strategyName", "exchangeName", "frameName"), RIVALS[1], strict=False))
    write_file(tmp_path, "data/recent/BTC_a_b_c_d_backtest/BTC.json", names)
    persist.use_files(tmp_path)
    assert [await persist.recent(*context).read_recent_data() for context in RIVALS] == [None, names, None]
    await persist.recent(*RIVALS[0]).write_recent_data({"n": 0}, WHEN)
    assert [await persist.recent(*context).read_recent_data() for context in RIVALS] == [{"n": 0}, names, None]


#: Rows that name their contexts, each in another way, and each alone enough to decide for rows that don't.
NAMING: dict[str, tuple[str, Any]] = {
    "signal": ("data/signal/BTC_my_s_my_x/BTC.json", {}),
    "schedule": ("data/schedule/BTC_my_s_my_x/BTC.json", {}),
    "storage": ("data/storage/live/sig.json", {}),
    "recent": ("data/recent/BTC_my_s_my_x_live/BTC.json", {"frameName": ""}),
    "notification": ("data/notification/live/n.json", {}),
    "closed": ("data/strategy/BTC_my_s_my_x/strategy.json", "closedSignal"),
    "retry": ("data/strategy/BTC_my_s_my_x/strategy.json", "retryOpenSignal"),
    "position": ("data/risk/my_r_my_x/positions.json", []),
    "log": ("data/log/log/x.json", "methodContext"),
    "session": ("session/my_s/my_x/BTC_live.json", {"id": "BTC:my_s:my_x:live"}),
}


@pytest.mark.parametrize("kind", NAMING)
async def test_joined_names_are_divided_by_the_names_in_all_rows_of_a_dump(
    deployment: Deployment, tmp_path: Path, kind: str
) -> None:
    names = {"symbol": "BTC", "strategyName": "my_s", "exchangeName": "my_x"}
    path, form = NAMING[kind]
    row: Any = {form: names} if isinstance(form, str) else [["k", names]] if form == [] else {**names, **form}
    write_file(tmp_path, "data/partial/BTC_my_s_my_x/sig.json", {"sig": {"n": 1}})
    write_file(tmp_path, "data/breakeven/BTC_my_s_my_x/sig.json", {"sig": {"reached": True}})
    write_file(tmp_path, "data/strategy/BTC_my_s_my_x/strategy.json", {"isPaused": False})
    write_file(tmp_path, "data/signal/BTC_my_s_my_x/BTC.json", None)
    write_file(tmp_path, "data/risk/my_r_my_x/positions.json", [])
    write_file(tmp_path, path, row)
    report = await import_dump(tmp_path, apply=True, slots=["partial", "breakeven", "strategy", "signal", "risk"])
    assert report.problems == ()
    assert await PartialAdapter("BTC", "my_s", "my_x").read_partial_data("sig") == {"sig": {"n": 1}}
    assert await BreakevenAdapter("BTC", "my_s", "my_x").read_breakeven_data("sig") == {"sig": {"reached": True}}
    assert await StrategyAdapter("BTC", "my_s", "my_x").read_strategy_data() is not None
    assert len(await deployment.rows(SignalAdapter.spec, symbol="BTC", strategyName="my_s")) == 1
    assert len(await deployment.rows(RiskAdapter.spec, riskName="my_r", exchangeName="my_x")) == 1


async def test_names_that_stay_ambiguous_are_listed(deployment: Deployment, tmp_path: Path) -> None:
    write_file(
        tmp_path,
        "data/storage/live/one.json",
        {"id": "one", "symbol": "BTC", "strategyName": "my_s", "exchangeName": "x"},
    )
    write_file(tmp_path, "data/storage/live/two.json", {"symbol": "BTC", "strategyName": "my", "exchangeName": "s_x"})
    write_file(tmp_path, "data/partial/BTC_my_s_x/one.json", {"one": {}})
    write_file(tmp_path, "data/partial/BTC_my_s_x/else.json", {"else": {}})
    write_file(tmp_path, "data/partial/BTC_other_s_x/else.json", {"else": {}})
    report = await import_dump(tmp_path, apply=True)
    # The row of its signal decides for the first. One of the others has two readings of known names, and one has none.
    assert [problem.path for problem in report.problems] == [
        "data/partial/BTC_my_s_x/else.json",
        "data/partial/BTC_other_s_x/else.json",
    ]
    assert await PartialAdapter("BTC", "my_s", "x").read_partial_data("one") == {"one": {}}
    report = await import_dump(tmp_path, apply=True, strategies=["other"])
    assert [problem.path for problem in report.problems] == ["data/partial/BTC_my_s_x/else.json"]


async def test_rows_after_a_crash_are_found_in_place_by_the_names_in_them(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    names = {"symbol": "BTC_USDT", "strategyName": "my_s", "exchangeName": "my_x"}
    write_file(tmp_path, "data/risk/my_r_my_x/positions.json", [["k", names]])
    write_file(tmp_path, "data/strategy/BTC_USDT_my_s_my_x/strategy.json", {"closedSignal": names})
    assert await persist.risk("my_r", "my_x").read_position_data() == [["k", names]]
    assert await persist.risk("my_r_my", "x").read_position_data() == []
    assert await persist.strategy("BTC_USDT", "my_s", "my_x").read_strategy_data() == {"closedSignal": names}
    assert await persist.strategy("BTC", "USDT_my_s", "my_x").read_strategy_data() is None


async def test_name_with_a_slash_is_one_directory_deeper_in_the_engine_s_files(
    deployment: Deployment, tmp_path: Path
) -> None:
    names = {"symbol": "BTC/USDT", "strategyName": "my_s", "exchangeName": "binance"}
    write_file(tmp_path, "data/candle/binance/BTC/USDT/1m/0.json", candles(1)[0])
    write_file(tmp_path, "data/candle/binance/ETH/1m/0.json", candles(1)[0])
    write_file(tmp_path, "data/signal/BTC/USDT_my_s_binance/BTC/USDT.json", names)
    write_file(tmp_path, "data/recent/BTC/USDT_my_s_binance_f_backtest/BTC/USDT.json", {**names, "frameName": "f"})
    write_file(tmp_path, "data/measure/b/BTC/USDT_1.json", {"n": 1})
    write_file(tmp_path, "session/my_s/binance/BTC/USDT_live.json", {"id": "BTC/USDT:my_s:binance:live"})
    report = await import_dump(tmp_path, apply=True)
    assert [*report.problems, *report.others] == []
    await export_dump(tmp_path / "out")
    assert (tmp_path / "out/data/candle/binance/BTC%2FUSDT/1m/0.json").is_file()
    for place in (None, tmp_path, tmp_path / "out"):
        if place is not None:
            persist.use_files(place)
        else:
            persist.use_mongo()
        series: Any = persist.candle("BTC/USDT", "1m", "binance")
        assert await series.read_candles_data(1, 0) == candles(1)
        listed = [one.context["symbol"] async for one in type(series).list_series()]
        assert listed == ["BTC/USDT", "ETH"]
        assert await persist.signal("BTC/USDT", "my_s", "binance").read_signal_data() == names
        assert await persist.recent("BTC/USDT", "my_s", "binance", "f", True).read_recent_data() is not None
        assert await persist.measure("b").read_measure_data("BTC/USDT_1") == {"n": 1}
        assert [key async for key in persist.measure("b").list_measure_data()] == ["BTC/USDT_1"]
    persist.use_files(tmp_path)
    assert await persist.candle("BTC/USDT", "1m", "binance").write_candles_data(candles(2)) == 1
    assert (tmp_path / "data/candle/binance/BTC%2FUSDT/1m/60000.json").is_file()
    assert await CandleAdapter("BTC/USDT", "1m", "binance").read_candles_data(1, 0) == candles(1)
    assert await MeasureAdapter("b").read_measure_data("BTC/USDT_1") == {"n": 1}
    assert await StateAdapter("x", "y").read_state_data() is None

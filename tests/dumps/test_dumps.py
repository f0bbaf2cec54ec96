"""Exporting and importing dumps: nothing is lost, and what can't be imported is listed with the reason."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Int64, ObjectId

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    IndexConflictError,
    InputError,
    LogAdapter,
    MemoryAdapter,
    NotificationAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
    export_dump,
    import_dump,
    migrate,
    persist,
    setup,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.dumps.reports import SlotImport
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.dumps import find_slot, read_database, write_file
from tests.support.uniform import WHEN, candles, payload, write

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


#: Names that are hard to put into a file name: with _, escapes, devices, dots, and other alphabets.
NAMES = ("BTCUSDT", "my_strategy", "BTC/USDT", "a%2Fb", "con", ".tmp-x", "Ünï", "x.json", "a_b_c")


async def fill(unique: str) -> None:
    """Store rows in every slot, under all kinds of names."""
    for spec in SLOTS:
        for name in NAMES:
            given = {argument: f"{name}{at}" for at, argument in enumerate(spec.context)}
            given |= {"interval": "1m"} if spec.shape == "series" else {}
            for flag in (True, False) if "backtest" in spec.context else (None,):
                adapter = ADAPTERS[spec.name](**{**given, **({} if flag is None else {"backtest": flag})})
                if spec.shape == "series":
                    await adapter.write_candles_data(candles(5))  # type: ignore[attr-defined]
                else:
                    await write(adapter, payload(spec), name)
    await StateAdapter(unique, "values").write_state_data(
        {"at": datetime(2024, 1, 2, tzinfo=UTC), "price": Decimal("1.50"), "raw": b"123", "far": 2**40, "inf": -0.0}
        | {"oid": ObjectId(), "nan": float("nan"), "endless": float("inf"), "$date": "text", "a.b": None},
        WHEN,
    )
    await SignalAdapter(unique, "s", "e").write_signal_data({"minuteEstimatedTime": float("inf")})
    await SignalAdapter(unique, "null", "e").write_signal_data({"minuteEstimatedTime": None})
    await SignalAdapter(unique, "cleared", "e").write_signal_data(None)
    memory = MemoryAdapter(unique, "notes")
    await memory.write_memory_data({"n": 1}, "gone", WHEN)
    await memory.remove_memory_data("gone")


async def test_export_and_import_give_an_identical_database(
    deployment: Deployment, fresh: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    await fill(unique)
    # As Node and other programs write them: doubles, small numbers in 64 bits, and their own fields.
    states = await deployment.collection(StateAdapter.spec)
    row = {"signalId": unique, "bucketName": "node", "payload": {"n": Int64(5), "b": Binary(b"x", 5)}, "when": 1.7e12}
    await states.insert_one({**row, "createDate": datetime.now(UTC), "updatedDate": datetime.now(UTC), "extra": [1]})
    before = await read_database(deployment.name)
    exported = await export_dump(tmp_path)
    assert exported.problems == ()
    assert {one.slot for one in exported.slots} == {spec.name for spec in SLOTS}
    assert sum(one.written for one in exported.slots) == sum(map(len, before.values()))
    async with setup(fresh):
        planned = await import_dump(tmp_path)
        assert not any((await read_database(f"{unique}-other")).values())
        imported = await import_dump(tmp_path, apply=True)
        assert [*imported.problems, *imported.conflicts, *imported.others] == []
        assert imported.slots == planned.slots
        assert await read_database(f"{unique}-other") == before
        again = await import_dump(tmp_path, apply=True)
        assert all(one.same == one.files for one in again.slots)
        assert await read_database(f"{unique}-other") == before
    async with setup(deployment.config):
        exported = await export_dump(tmp_path)
        assert sum(one.written for one in exported.slots) == 0


async def test_file_storage_reads_exported_files(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    await fill(unique)
    logged = [{"id": f"entry-{number}"} for number in (3, 1, 2)]
    await LogAdapter().write_log_data(logged)
    await export_dump(tmp_path)
    persist.use_files(tmp_path)
    for spec in SLOTS:
        for name in NAMES:
            given: dict[str, Any] = {argument: f"{name}{at}" for at, argument in enumerate(spec.context)}
            given |= {"backtest": True} if "backtest" in spec.context else {}
            if spec.shape == "series":
                series = persist.candle(**{**given, "interval": "1m"})
                assert await series.read_candles_data(5, 0) == candles(5)
            else:
                adapter = getattr(persist, spec.name)(**given)
                assert await uniform.read(adapter, name) == uniform.stored(spec, payload(spec))
    assert (await persist.log().read_log_data())[-3:] == logged
    assert await persist.memory(unique, "notes").read_memory_data("gone") is None
    assert await persist.memory(unique, "notes").has_memory_data("gone")
    state = persist.state("my_strategy0", "my_strategy1")
    assert await state.read_state_data(when=WHEN - 1) is None


async def test_files_of_the_file_storage_are_imported(deployment: Deployment, tmp_path: Path) -> None:
    persist.use_files(tmp_path / "dump")
    for spec in SLOTS:
        for name in NAMES:
            given: dict[str, Any] = {argument: f"{name}{at}" for at, argument in enumerate(spec.context)}
            given |= {"backtest": True} if "backtest" in spec.context else {}
            if spec.shape == "series":
                await persist.candle(**{**given, "interval": "1m"}).write_candles_data(candles(3))
            else:
                await write(getattr(persist, spec.name)(**given), payload(spec), name)
    await persist.notification(False).write_notification_data([{"id": str(number)} for number in (5, 4, 6)])
    report = await import_dump(tmp_path, apply=True)
    assert report.problems == ()
    persist.use_mongo()
    for spec in SLOTS:
        for name in NAMES:
            given = {argument: f"{name}{at}" for at, argument in enumerate(spec.context)}
            given |= {"backtest": True} if "backtest" in spec.context else {}
            if spec.shape == "series":
                assert await CandleAdapter(**{**given, "interval": "1m"}).read_candles_data(3, 0) == candles(3)
                continue
            adapter = ADAPTERS[spec.name](**given)
            assert await uniform.read(adapter, name) == uniform.stored(spec, payload(spec))
            if spec.when:
                assert await uniform.read(adapter, name, WHEN - 1) == uniform.nothing(spec)
    assert await NotificationAdapter(False).read_notification_data() == [{"id": "5"}, {"id": "4"}, {"id": "6"}]


async def test_dump_of_node_is_imported(deployment: Deployment, tmp_path: Path) -> None:
    row = {"symbol": "BTC_USDT", "strategyName": "my_strategy", "exchangeName": "binance"}
    write_file(tmp_path, "data/signal/BTC_USDT_my_strategy_binance/BTC_USDT.json", {**row, "minuteEstimatedTime": None})
    write_file(tmp_path, "data/recent/BTC_USDT_my_strategy_binance_f_backtest/BTC_USDT.json", {**row, "when": 5})
    write_file(tmp_path, "data/candle/binance/BTCUSDT/1m/60000.json", candles(1, 60_000)[0])
    write_file(tmp_path, "state/sig/bucket/bucket.json", {"n": 1}, 1_700_000_000)
    write_file(tmp_path, "session/s/e/f/BTC_live.json", {"when": 7.0})
    write_file(tmp_path, "data/risk/r_e/positions.json", [["key", {"minuteEstimatedTime": None}]])
    write_file(tmp_path, "data/storage/live/sig-1.json", {"id": "sig-1"})
    write_file(tmp_path, "data/measure/b/gone.json", {"removed": True})
    write_file(tmp_path, "data/measure/b/.tmp-1-half.json", "{")
    report = await import_dump(tmp_path, apply=True)
    assert report.problems == ()
    signal = await SignalAdapter("BTC_USDT", "my_strategy", "binance").read_signal_data()
    assert signal == {**row, "minuteEstimatedTime": float("inf")}
    recent = backtest_mongo.RecentAdapter("BTC_USDT", "my_strategy", "binance", "f", True)
    assert await recent.read_recent_data(when=4) is None
    assert await recent.read_recent_data(when=5) is not None
    assert await StateAdapter("sig", "bucket").read_state_data(when=1_700_000_000_000) == {"n": 1}
    assert await StateAdapter("sig", "bucket").read_state_data(when=1_699_999_999_999) is None
    assert await backtest_mongo.SessionAdapter("s", "e", "f", "BTC").read_session_data(when=7) == {"when": 7}
    position = (await backtest_mongo.RiskAdapter("r", "e").read_position_data())[0]
    assert position == ["key", {"minuteEstimatedTime": float("inf")}]
    assert await StorageAdapter(False).read_storage_data() == [{"id": "sig-1"}]
    assert await backtest_mongo.MeasureAdapter("b").read_measure_data("gone") is None
    assert await CandleAdapter("BTCUSDT", "1m", "binance").read_candles_data(1, 60_000) == candles(1, 60_000)


async def test_ambiguous_names_are_listed_and_decided_by_the_caller_s_names(
    deployment: Deployment, tmp_path: Path
) -> None:
    path = "data/partial/BTC_my_strategy_binance/sig-1.json"
    write_file(tmp_path, path, {"sig-1": {}})
    report = await import_dump(tmp_path, apply=True)
    assert not report.is_complete
    (problem,) = report.problems
    assert (problem.path, problem.slot) == (path, "partial")
    assert "strategyName 'my', exchangeName 'strategy_binance'" in problem.problem
    assert "strategyName 'my_strategy', exchangeName 'binance'" in problem.problem
    assert "--strategy" in problem.hint
    assert find_slot(report, "partial") == SlotImport("partial", files=1, refused=1)
    report = await import_dump(tmp_path, apply=True, strategies=["my_strategy"])
    assert report.problems == ()
    partial = backtest_mongo.PartialAdapter("BTC", "my_strategy", "binance")
    assert await partial.read_partial_data("sig-1") == {"sig-1": {}}


async def test_files_that_are_not_rows_are_listed_and_the_rest_is_imported(
    deployment: Deployment, tmp_path: Path
) -> None:
    write_file(tmp_path, "data/storage/live/bad.json", "{")
    write_file(tmp_path, "data/storage/live/large.json", '{"n": 99999999999999999999}')
    write_file(tmp_path, "data/storage/other/sig.json", {})
    write_file(tmp_path, "data/storage/live/deep/sig.json", {})
    write_file(tmp_path, "data/risk/r_e/positions.json", {})
    write_file(tmp_path, "data/candle/e/BTC/7m/60000.json", candles(1)[0])
    write_file(tmp_path, "data/candle/e/BTC/1m/60000.json", candles(1)[0])
    write_file(tmp_path, "data/candle/e/BTC/1m/120000.json", {"open": 1})
    write_file(tmp_path, "data/storage/live/good.json", {"id": "good"})
    write_file(tmp_path, "data/unknown/x.json", {})
    write_file(tmp_path, "report/x.md", "text")
    report = await import_dump(tmp_path, apply=True)
    problems = {problem.path: problem.problem for problem in report.problems}
    assert problems == {
        "data/storage/live/bad.json": "it holds no JSON",
        "data/storage/live/large.json": "payload.n does not fit in 64 bits (int)",
        "data/storage/other/sig.json": "it has no name of this slot's files",
        "data/storage/live/deep/sig.json": "it is not where this slot has files",
        "data/risk/r_e/positions.json": "it holds an object, not a list",
        "data/candle/e/BTC/7m/60000.json": "its interval is unknown",
        "data/candle/e/BTC/1m/60000.json": "its name is not the time of its candle",
        "data/candle/e/BTC/1m/120000.json": "it holds no candle",
    }
    assert all(problem.hint for problem in report.problems)
    assert report.others == ("data/unknown", "report")
    assert await StorageAdapter(False).read_storage_data() == [{"id": "good"}]


@pytest.mark.parametrize(
    ("conflicts", "hours", "kept"),
    [("newest", 1, "file"), ("newest", -1, "store"), ("file", -1, "file"), ("store", 1, "store")],
)
async def test_of_two_different_rows_the_chosen_one_stays(
    deployment: Deployment, tmp_path: Path, conflicts: Any, hours: int, kept: str
) -> None:
    state = StateAdapter("sig", "bucket")
    await state.write_state_data({"from": "store"}, WHEN)
    (stored,) = await deployment.rows(state.spec)
    path = "state/sig/bucket/bucket.json"
    write_file(tmp_path, path, {"from": "file", "when": 5}, datetime.now().timestamp() + 3600 * hours)
    for apply in (False, True):
        report = await import_dump(tmp_path, apply=apply, conflicts=conflicts)
        assert [(one.path, one.kept) for one in report.conflicts] == [(path, kept)]
        one = find_slot(report, "state")
        assert (one.replaced, one.kept) == (int(kept == "file"), int(kept == "store"))
        expected = kept if apply else "store"
        found = await StateAdapter("sig", "bucket").read_state_data()
        assert found is not None
        assert found["from"] == expected
    (row,) = await deployment.rows(state.spec)
    assert (row["_id"], row["createDate"]) == (stored["_id"], stored["createDate"])
    assert row["when"] == (5 if kept == "file" else WHEN)


async def test_stored_candles_never_change(deployment: Deployment, tmp_path: Path) -> None:
    series = CandleAdapter("BTC", "1m", "e")
    await series.write_candles_data(candles(2))
    for candle in candles(3, price=7.0):
        write_file(tmp_path, f"data/candle/e/BTC/1m/{candle['timestamp']}.json", candle)
    write_file(tmp_path, "data/candle/e/BTC/1m/99999999999960000.json", candles(1, 99999999999960000)[0])
    report = await import_dump(tmp_path, apply=True, conflicts="file")
    assert find_slot(report, "candle") == SlotImport("candle", files=4, added=1, kept=2, open=1)
    assert len(report.conflicts) == 2
    assert await series.read_candles_data(3, 0) == [*candles(2), *candles(1, 120_000, price=7.0)]


async def test_late_candles_of_a_dump_are_sealed_too(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import tiny_blocks

    tiny_blocks(monkeypatch)
    series = CandleAdapter("BTC", "1m", "e")
    rows = candles(40)
    await series.write_candles_data(rows[:9] + rows[10:])
    assert (await series.read_frame(as_="numpy"))["timestamp"].size == 39
    write_file(tmp_path, "data/candle/e/BTC/1m/540000.json", rows[9])
    await import_dump(tmp_path, apply=True)
    assert (await series.read_frame(as_="numpy"))["timestamp"].size == 40
    assert await series.read_candles_data(40, 0) == rows


async def test_row_that_is_written_during_the_import_stays(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backtest_mongo.dumps.documents import WholeDocuments

    known, new = StateAdapter("sig", "known"), StateAdapter("sig", "new")
    await known.write_state_data({"n": 0}, WHEN)
    for name in ("known", "new"):
        write_file(tmp_path, f"state/sig/{name}/{name}.json", {"n": 1})
    find_by_key = WholeDocuments.find_by_key

    async def find_then_write(self: WholeDocuments, keys: Any) -> Any:
        found = await find_by_key(self, keys)
        if keys:
            await known.write_state_data({"n": 2}, WHEN)
            await new.write_state_data({"n": 2}, WHEN)
        return found

    monkeypatch.setattr(WholeDocuments, "find_by_key", find_then_write)
    report = await import_dump(tmp_path, apply=True, conflicts="file")
    assert find_slot(report, "state") == SlotImport("state", files=2, kept=2)
    assert await known.read_state_data() == await new.read_state_data() == {"n": 2}


async def test_conflicting_index_of_an_older_version_is_an_error(deployment: Deployment, tmp_path: Path) -> None:
    sessions = await deployment.collection(SessionAdapter.spec)
    await sessions.create_index([(name, 1) for name in SessionAdapter.spec.former], unique=True)
    for symbol in ("BTC", "ETH"):
        write_file(tmp_path, f"session/s/e/f/{symbol}_live.json", {"n": 1})
    with pytest.raises(IndexConflictError, match="backtest-mongo migrate"):
        await import_dump(tmp_path, apply=True)
    await migrate(apply=True)
    report = await import_dump(tmp_path, apply=True)
    assert find_slot(report, "session") == SlotImport("session", files=2, added=1, same=1)


async def test_two_imports_at_once_add_each_row_once(deployment: Deployment, tmp_path: Path) -> None:
    for number in range(300):
        write_file(tmp_path, f"data/storage/live/sig-{number}.json", {"id": f"sig-{number}"})
    reports = await asyncio.gather(*(import_dump(tmp_path, apply=True) for _ in range(2)))
    assert sum(find_slot(report, "storage").added for report in reports) == 300
    assert len(await StorageAdapter(False).read_storage_data()) == 300


async def test_id_of_another_row_is_replaced(
    deployment: Deployment, fresh: dict[str, Any], unique: str, tmp_path: Path
) -> None:
    await StateAdapter("sig", "bucket").write_state_data({"n": 1}, WHEN)
    (row,) = await deployment.rows(StateAdapter.spec)
    await export_dump(tmp_path)
    async with setup(fresh):
        states = (await backtest_mongo.get_mongo())[f"{unique}-other"][StateAdapter.spec.collection]
        await states.insert_one({"_id": row["_id"], "signalId": "other", "bucketName": "b", "payload": {}, "when": 1})
        report = await import_dump(tmp_path, apply=True)
        assert find_slot(report, "state").added == 1
        assert await StateAdapter("sig", "bucket").read_state_data() == {"n": 1}


async def test_file_that_was_changed_after_the_export_is_imported_with_its_changes(
    deployment: Deployment, fresh: dict[str, Any], tmp_path: Path
) -> None:
    await StateAdapter("sig", "bucket").write_state_data({"n": 1}, WHEN)
    await export_dump(tmp_path)
    write_file(tmp_path, "state/sig/bucket/bucket.json", {"n": 2, "when": 3})
    async with setup(fresh):
        await import_dump(tmp_path, apply=True)
        assert await StateAdapter("sig", "bucket").read_state_data(when=3) == {"n": 2, "when": 3}


async def test_document_without_its_key_is_listed(deployment: Deployment, tmp_path: Path) -> None:
    states = await deployment.collection(StateAdapter.spec)
    await states.insert_one({"signalId": "sig", "payload": {}})
    report = await export_dump(tmp_path)
    assert report.slots == ()
    (problem,) = report.problems
    assert problem.problem == "the document lacks bucketName"


async def test_slots_are_selected_by_name(deployment: Deployment, tmp_path: Path) -> None:
    await StateAdapter("sig", "bucket").write_state_data({}, WHEN)
    await LogAdapter().write_log_data([{"id": "1"}])
    report = await export_dump(tmp_path / "dump", slots=["log"])
    assert [one.slot for one in report.slots] == ["log"]
    assert not (tmp_path / "dump" / "state").exists()
    with pytest.raises(InputError, match="no slot is named 'logs': there are candle, signal"):
        await export_dump(tmp_path, slots=["logs"])
    with pytest.raises(InputError, match="conflicts must be one of newest, file, store, not 'older'"):
        await import_dump(tmp_path, conflicts="older")  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("empty", "neither it nor its dump has a slot's directory"),
        ("absent", "not a directory"),
    ):
        with pytest.raises(InputError, match=words):
            await import_dump(tmp_path / name)


async def test_dump_next_to_other_data_is_found(deployment: Deployment, tmp_path: Path) -> None:
    write_file(tmp_path, "data/mongod/WiredTiger.json", {})
    write_file(tmp_path, "dump/state/sig/bucket/bucket.json", {"n": 1})
    report = await import_dump(tmp_path)
    assert report.directory == str(tmp_path / "dump")
    assert find_slot(report, "state").added == 1


async def test_registered_slot_is_exported_and_imported_too(
    deployment: Deployment, fresh: dict[str, Any], tmp_path: Path
) -> None:
    spec = SlotSpec(name="order", shape="entry", context=("symbol",), key=("symbol", "side"), redis=("symbol", "side"))
    orders: Any = persist.register(spec)
    await orders("BTC").write_order_data({"price": 1}, "bid")
    report = await export_dump(tmp_path)
    assert [one.slot for one in report.slots] == ["order"]
    assert json.loads((tmp_path / "data/order/BTC/bid.json").read_text()) == {"price": 1}
    async with setup(fresh):
        await import_dump(tmp_path, apply=True)
        assert await orders("BTC").read_order_data("bid") == {"price": 1}


async def test_interrupted_import_is_completed_by_the_next(deployment: Deployment, tmp_path: Path) -> None:
    for number in range(1_200):
        write_file(tmp_path, f"data/storage/live/sig-{number}.json", {"id": f"sig-{number}"})

    def break_off(slot: str, files: int) -> None:
        raise InterruptedError(f"{slot} {files}")

    with pytest.raises(InterruptedError, match="storage 500"):
        await import_dump(tmp_path, apply=True, progress=break_off)
    report = await import_dump(tmp_path, apply=True)
    assert find_slot(report, "storage") == SlotImport("storage", files=1_200, added=700, same=500)


async def test_ids_of_every_type_are_exported(
    deployment: Deployment, fresh: dict[str, Any], monkeypatch: pytest.MonkeyPatch, unique: str, tmp_path: Path
) -> None:
    monkeypatch.setattr("backtest_mongo.dumps.documents.PAGE", 2)
    ids: list[Any] = [1, 2.5, "a", "b", ObjectId(), ObjectId(), datetime(2024, 1, 2, tzinfo=UTC), 3, {"a": 1}]
    for spec in (StateAdapter.spec, LogAdapter.spec):
        rows: Any = await deployment.collection(spec)
        names = list(spec.key)
        await rows.insert_many(
            [{"_id": oid, **dict.fromkeys(names, str(at)), "payload": {}} for at, oid in enumerate(ids)]
        )
    before = await read_database(deployment.name)
    report = await export_dump(tmp_path)
    assert [(one.slot, one.written) for one in report.slots] == [("log", 9), ("state", 9)]
    async with setup(fresh):
        await import_dump(tmp_path, apply=True)
        assert await read_database(f"{unique}-other") == before


async def test_files_that_are_not_rows_or_unreadable_are_reported(deployment: Deployment, tmp_path: Path) -> None:
    write_file(tmp_path, "data/storage/live/.hidden.json", {"id": ".hidden"})
    write_file(tmp_path, "data/storage/live/notes.txt", "text")
    write_file(tmp_path / "elsewhere", "sig.json", {"id": "sig"})
    (tmp_path / "data/storage/backtest").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/storage/live/loop").symlink_to(tmp_path / "data/storage")
    report = await import_dump(tmp_path, apply=True)
    assert report.others == ("data/storage/live/notes.txt", "elsewhere")
    assert report.problems == ()
    assert await StorageAdapter(False).read_storage_data() == [{"id": ".hidden"}]
    assert await StorageAdapter(True).read_storage_data() == [{"id": "sig"}]

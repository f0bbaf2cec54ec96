"""Moving between MongoDB, dumps and SQLite files: rows come back as they were, and what can't be moved is listed."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import DatetimeMS, Int64, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    InputError,
    LogAdapter,
    SlotSpec,
    StateAdapter,
    export_dump,
    import_dump,
    lease,
    persist,
    reset,
    setup,
    transaction,
)
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.extended_json import from_json
from backtest_mongo.core.payload import CODEC
from backtest_mongo.dumps.database_rows import DatabaseDocuments
from backtest_mongo.dumps.reports import SlotExport, SlotImport
from backtest_mongo.types import PRICES
from tests.conftest import Deployment, tiny_blocks
from tests.core.test_payloads import payloads
from tests.dumps.test_dumps import fill
from tests.sqlite.support import change, query
from tests.support.dumps import find_slot, write_file
from tests.support.leases import take_leases
from tests.support.sqlite_moves import as_text, list_log, read_documents, read_tables, write_log
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver, pytest.mark.one_python]

ROWS = [spec for spec in SLOTS if spec.shape != "series"]
DRAWN = settings(
    max_examples=15,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: Beyond what Python's dates hold, too.
times = st.integers(0, 2**41) | st.sampled_from([0, -1, 253_402_300_800_000, 2**62])


# Round trips


async def test_leases_are_moved_nowhere(
    deployment: Deployment, fresh: dict[str, Any], unique: str, path: Path, tmp_path: Path
) -> None:
    """What is moved is rows: whoever held their contexts does not hold them where they go."""
    state = StateAdapter(unique, "b")
    await take_leases(state)
    async with transaction(when=WHEN):
        await StateAdapter(unique, "other").write_state_data({"n": 1})
    exported = await export_dump(sqlite=path)
    assert (exported.slots, exported.problems) == ((SlotExport("state", 1),), ())
    assert query(path, "SELECT * FROM leases") == []
    files = await export_dump(tmp_path / "dump")
    assert (files.slots, files.problems) == ((SlotExport("state", 1),), ())
    assert [*(tmp_path / "dump").rglob("*lease*")] == []
    # The other way round: a file with leases.
    persist.use_sqlite(path)
    await take_leases(persist.state(unique, "b"))
    await backtest_mongo.close()
    async with setup(fresh):
        imported = await import_dump(path, apply=True)
        assert ([one.slot for one in imported.slots], imported.others, imported.problems) == (["state"], (), ())
        database = (await backtest_mongo.get_mongo())[f"{unique}-other"]
        assert await database.list_collection_names() == ["state-items"]
        async with lease(StateAdapter(unique, "b")):
            assert await StateAdapter(unique, "other").read_state_data() == {"n": 1}


@pytest.mark.parametrize("target", ["sqlite", "files"])
async def test_names_of_runs_are_moved_with_their_rows(
    deployment: Deployment, fresh: dict[str, Any], unique: str, path: Path, tmp_path: Path, target: str
) -> None:
    collection = await deployment.collection(StateAdapter.spec)
    for name, run in (("a", "r"), ("b", None), ("c", "r"), ("d", "s")):
        async with transaction(when=WHEN, run=run):
            await StateAdapter(unique, name).write_state_data({"n": name})
    # Another program writes one of them over.
    later = {"updatedDate": datetime(2050, 1, 1, tzinfo=UTC), "payload": {}}
    await collection.update_one({"bucketName": "c"}, {"$set": later})
    if target == "sqlite":
        await export_dump(sqlite=path)
        assert query(path, "SELECT bucketName, run FROM [state-items] ORDER BY 1") == [
            ("a", "r"),
            ("b", None),
            ("c", None),
            ("d", "s"),
        ]
    else:
        await export_dump(tmp_path / "dump")
    async with setup(fresh):
        await import_dump(path if target == "sqlite" else tmp_path / "dump", apply=True)
        assert "origin.run_1" in await current_hub().database[StateAdapter.spec.collection].index_information()
        assert (await reset("r")).deleted == {"state": 1}
        assert await StateAdapter(unique, "a").read_state_data() is None
        assert (await reset("s", dry_run=True)).deleted == {"state": 1}
        # What is imported again takes the place of a row of another run, and the name with it.
        await StateAdapter(unique, "d").write_state_data({"n": "other"}, WHEN)
        assert (await reset("s", dry_run=True)).is_empty
        await import_dump(path if target == "sqlite" else tmp_path / "dump", apply=True, conflicts="file")
        assert (await reset("s")).deleted == {"state": 1}


async def test_everything_comes_back_from_sqlite_as_it_was_in_mongodb(
    deployment: Deployment, fresh: dict[str, Any], unique: str, path: Path
) -> None:
    await fill(unique)
    await LogAdapter().write_log_data([{"id": f"entry-{number}"} for number in (3, 1, 2)])
    newest = await LogAdapter().read_log_data()
    before = await read_documents(deployment.name)
    exported = await export_dump(sqlite=path)
    assert (exported.directory, exported.problems) == (str(path), ())
    assert {one.slot: one.written for one in exported.slots} == {
        spec.name: len(before[spec.collection]) for spec in SLOTS
    }
    assert os.listdir(path.parent) == ["backtest.db"]
    async with setup(fresh):
        planned = await import_dump(path)
        assert not any((await read_documents(f"{unique}-other")).values())
        imported = await import_dump(path, apply=True)
        assert [*imported.problems, *imported.conflicts, *imported.others] == []
        assert imported.slots == planned.slots
        assert as_text(await read_documents(f"{unique}-other")) == as_text(before)
        assert await LogAdapter().read_log_data() == newest
        again = await import_dump(path, apply=True)
        assert all(one.same == one.files for one in again.slots)
        assert as_text(await read_documents(f"{unique}-other")) == as_text(before)


@DRAWN
@given(data=st.data())
async def test_drawn_documents_come_back_from_sqlite_as_they_were(
    deployment: Deployment, fresh: dict[str, Any], unique: str, tmp_path: Path, data: st.DataObject
) -> None:
    file = tmp_path / f"{ObjectId()}.db"
    async with setup(deployment.config):
        await draw_documents(deployment, data)
        before = await read_documents(deployment.name)
        assert (await export_dump(sqlite=file)).problems == ()
    async with setup(fresh):
        for spec in ROWS:
            await (await backtest_mongo.get_mongo())[f"{unique}-other"][spec.collection].delete_many({})
        assert (await import_dump(file, apply=True)).problems == ()
        assert as_text(await read_documents(f"{unique}-other")) == as_text(before)


async def draw_documents(deployment: Deployment, data: st.DataObject) -> None:
    for spec in ROWS:
        rows = []
        for at in range(data.draw(st.integers(0, 2), label=spec.name)):
            payload = data.draw(payloads)
            row: dict[str, Any] = {name: bool(at) if name == "backtest" else f"{name}{at}" for name in spec.key}
            row[spec.field] = [payload] if spec.payload == "list" else payload
            row |= {"when": Int64(data.draw(times))} if spec.when else {}
            row |= {"removed": data.draw(st.booleans())} if spec.soft_delete else {}
            row |= {name: DatetimeMS(data.draw(times)) for name in ("createDate", "updatedDate")}
            rows.append(row)
        collection = (await deployment.collection(spec)).with_options(codec_options=CODEC)
        await collection.delete_many({})
        if rows:
            await collection.insert_many(rows)


@DRAWN
@given(data=st.data())
async def test_drawn_rows_come_back_from_mongodb_as_they_were(
    deployment: Deployment, tmp_path: Path, data: st.DataObject
) -> None:
    for spec in SLOTS:
        await (await deployment.collection(spec)).delete_many({})
    first, second = (tmp_path / f"{ObjectId()}.db" for _ in range(2))
    persist.use_sqlite(first)
    log: list[Any] = data.draw(st.lists(payloads, max_size=5))
    await persist.log().write_log_data([{**row, "id": str(at)} for at, row in enumerate(log)])
    for at, row in enumerate(data.draw(st.lists(payloads, max_size=4))):
        await persist.memory("s", "b").write_memory_data(row, f"{at}", data.draw(times))
    await persist.memory("s", "b").remove_memory_data("1")
    opened = sorted(data.draw(st.sets(st.integers(0, 3_000), min_size=1, max_size=40)))
    rows: list[Any]
    rows = [{**candles(1)[0], "timestamp": time * 60_000 + data.draw(st.sampled_from([0, 1]))} for time in opened]
    for row in rows:
        row["volume"] = data.draw(st.floats(0, allow_infinity=False))
    await persist.candle("BTC", "1m", "x").write_candles_data(rows)
    await backtest_mongo.close()
    # Ascending, as the writes were: their order is that of the newest rows.
    created = st.lists(st.integers(0, 2**41), min_size=len(log), max_size=len(log)).map(sorted)
    for at, time in enumerate(data.draw(created)):
        change(first, f"UPDATE [log-items] SET created={time}, written={time + 5} WHERE entryId='{at}'")
    persist.use_mongo()
    assert (await import_dump(first, apply=True)).problems == ()
    assert (await export_dump(sqlite=second)).problems == ()
    assert read_tables(second) == read_tables(first)


async def test_order_of_newest_rows_is_that_of_creation_whatever_the_ids_are(
    deployment: Deployment, fresh: dict[str, Any], path: Path
) -> None:
    logs = await deployment.collection(LogAdapter.spec)
    ids = [ObjectId() for _ in range(5)]
    for oid, name, second in zip(ids, "debac", (30, 40, 20, 10, 20), strict=True):
        date = datetime(2024, 1, 1, 0, 0, second, tzinfo=UTC)
        await logs.insert_one({"_id": oid, "entryId": name, "payload": {"id": name}, "createDate": date})
    expected = [*"abcde"]
    assert await list_log() == expected
    await export_dump(sqlite=path)
    persist.use_sqlite(path)
    assert await list_log() == expected
    await write_log("f")
    assert await list_log() == [*expected, "f"]
    async with setup(fresh):
        await import_dump(path, apply=True)
        assert await list_log() == [*expected, "f"]


async def test_slots_of_one_s_own_are_moved_and_those_of_others_are_listed(
    deployment: Deployment, fresh: dict[str, Any], unique: str, path: Path
) -> None:
    spec = SlotSpec(
        name=f"book_{unique[-6:]}", shape="entry", context=("owner",), key=("owner", "side"), redis=("side", "owner")
    )
    adapter = persist.register(spec)
    await getattr(adapter("me"), f"write_{spec.noun}_data")({"n": 2**40}, "bid")
    await export_dump(sqlite=path)
    change(path, "CREATE TABLE [other-items] (x)", "CREATE TABLE changes_of_something (x)")
    async with setup(fresh):
        report = await import_dump(path, apply=True)
        assert report.others == ("other-items",)
        assert find_slot(report, spec.name).added == 1
        assert await getattr(adapter("me"), f"read_{spec.noun}_data")("bid") == {"n": 2**40}


async def test_only_chosen_slots_are_moved(deployment: Deployment, fresh: dict[str, Any], path: Path) -> None:
    await StateAdapter("s", "b").write_state_data({"n": 1}, WHEN)
    await write_log("a")
    await export_dump(sqlite=path, slots=["log", "state"])
    assert read_tables(path).keys() == {"log-items", "state-items"}
    async with setup(fresh):
        assert [one.slot for one in (await import_dump(path, apply=True, slots=["log"])).slots] == ["log"]
        assert await StateAdapter("s", "b").read_state_data() is None


# A dump of files into SQLite


async def test_dump_of_files_goes_on_in_sqlite_without_a_server(path: Path, tmp_path: Path) -> None:
    persist.use_files(tmp_path / "dump")
    await write_log("c", "a", "b")
    await persist.state("s", "b").write_state_data({"at": datetime(2024, 1, 2, tzinfo=UTC), "raw": b"1"}, WHEN)
    await persist.memory("s", "b").write_memory_data({"n": 1}, "gone", WHEN)
    await persist.memory("s", "b").remove_memory_data("gone")
    await persist.candle("BTC", "1m", "x").write_candles_data(candles(700))
    planned = await import_dump(tmp_path, sqlite=path)
    assert path.name not in os.listdir(path.parent)
    report = await import_dump(tmp_path, sqlite=path, apply=True)
    assert [*report.problems, *report.conflicts] == []
    assert {one.slot: one.added for one in report.slots} == {"log": 3, "state": 1, "memory": 1, "candle": 700}
    assert planned.slots == report.slots
    persist.use_sqlite(path)
    assert await list_log() == ["c", "a", "b"]
    state = persist.state("s", "b")
    assert await state.read_state_data() == {"at": datetime(2024, 1, 2, tzinfo=UTC), "raw": b"1"}
    assert await state.read_state_data(when=WHEN - 1) is None
    memory = persist.memory("s", "b")
    assert await memory.read_memory_data("gone") is None
    assert await memory.has_memory_data("gone")
    assert await persist.candle("BTC", "1m", "x").read_candles_data(700, 0) == candles(700)
    tables = read_tables(path)
    again = await import_dump(tmp_path, sqlite=path, apply=True)
    assert all(one.same == one.files for one in again.slots)
    assert read_tables(path) == tables
    await backtest_mongo.close()


@pytest.mark.parametrize(
    ("conflicts", "hours", "kept"),
    [("newest", 1, "file"), ("newest", -1, "store"), ("file", -1, "file"), ("store", 1, "store")],
)
async def test_of_two_different_rows_the_chosen_one_stays_in_sqlite(
    path: Path, tmp_path: Path, conflicts: Any, hours: int, kept: str
) -> None:
    persist.use_sqlite(path)
    await persist.state("sig", "bucket").write_state_data({"from": "store"}, WHEN)
    ((created, number),) = query(path, "SELECT created, number FROM [state-items]")
    modified = datetime.now().timestamp() + 3600 * hours
    write_file(tmp_path, "state/sig/bucket/bucket.json", {"from": "file", "when": 5}, modified)
    for apply in (False, True):
        report = await import_dump(tmp_path, sqlite=path, apply=apply, conflicts=conflicts)
        assert [one.kept for one in report.conflicts] == [kept]
        one = find_slot(report, "state")
        assert (one.replaced, one.kept) == (int(kept == "file"), int(kept == "store"))
        found = await persist.state("sig", "bucket").read_state_data()
        assert found is not None
        assert found["from"] == (kept if apply else "store")
    ((when, written, *same),) = query(path, "SELECT [when], written, created, number FROM [state-items]")
    assert same == [created, number]
    if kept == "file":
        assert (when, written) == (5, int(modified * 1000))
    await backtest_mongo.close()


async def test_row_that_is_written_to_sqlite_during_the_import_stays(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    persist.use_sqlite(path)
    known, new = persist.state("sig", "known"), persist.state("sig", "new")
    await known.write_state_data({"n": 0}, WHEN)
    for name in ("known", "new"):
        write_file(tmp_path, f"state/sig/{name}/{name}.json", {"n": 1})
    find_by_key = DatabaseDocuments.find_by_key

    async def find_then_write(self: DatabaseDocuments, keys: Any) -> Any:
        found = await find_by_key(self, keys)
        if keys:
            await known.write_state_data({"n": 2}, WHEN)
            await new.write_state_data({"n": 2}, WHEN)
        return found

    monkeypatch.setattr(DatabaseDocuments, "find_by_key", find_then_write)
    report = await import_dump(tmp_path, sqlite=path, apply=True, conflicts="file")
    assert find_slot(report, "state") == SlotImport("state", files=2, kept=2)
    assert await known.read_state_data() == await new.read_state_data() == {"n": 2}
    await backtest_mongo.close()


async def test_two_imports_at_once_add_each_row_once(path: Path, tmp_path: Path) -> None:
    for number in range(300):
        write_file(tmp_path, f"data/storage/live/sig-{number}.json", {"id": f"sig-{number}"})
    reports = await asyncio.gather(*(import_dump(tmp_path, sqlite=path, apply=True) for _ in range(2)))
    assert sum(find_slot(report, "storage").added for report in reports) == 300
    persist.use_sqlite(path)
    assert len(await persist.storage(False).read_storage_data()) == 300
    await backtest_mongo.close()


async def test_one_sqlite_file_goes_into_another(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    persist.use_sqlite(other)
    await write_log("old")
    persist.use_sqlite(path)
    await write_log("b", "a")
    await persist.candle("BTC", "1m", "x").write_candles_data(candles(600))
    report = await import_dump(path, sqlite=other, apply=True)
    assert {one.slot: one.added for one in report.slots} == {"log": 2, "candle": 600}
    with pytest.raises(InputError, match="would be imported into itself"):
        await import_dump(path, sqlite=path)
    persist.use_sqlite(other)
    assert await list_log() == ["old", "b", "a"]
    assert await persist.candle("BTC", "1m", "x").read_candles_data(600, 0) == candles(600)
    await backtest_mongo.close()


# Candles


async def test_candles_of_sqlite_are_sealed_and_stored_ones_stay(
    deployment: Deployment, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    persist.use_sqlite(path)
    await persist.candle("BTC", "1m", "x").write_candles_data(candles(1_100, price=7.0))
    await backtest_mongo.close()
    persist.use_mongo()
    series = CandleAdapter("BTC", "1m", "x")
    await series.write_candles_data([*candles(2), *candles(1, 120_000, price=7.0)])
    planned = await import_dump(path)
    report = await import_dump(path, apply=True, conflicts="file")
    assert find_slot(report, "candle") == SlotImport("candle", files=1_100, added=1_097, same=1, kept=2)
    assert find_slot(planned, "candle") == find_slot(report, "candle")
    assert [(one.path, one.kept) for one in report.conflicts] == [
        (f"candle-items: x, BTC, 1m, {time}", "store") for time in (0, 60_000)
    ]
    found = await series.read_candles_data(1_100, 0)
    assert found == [*candles(2), *candles(1_100, price=7.0)[2:]]
    if deployment.config.get("CC_CANDLE_BLOCKS", True):
        assert (await series.sealed()).blocks > 200


async def test_candles_that_can_t_be_stored_are_listed_and_the_others_imported(
    deployment: Deployment, path: Path
) -> None:
    persist.use_sqlite(path)
    for symbol in ("good", "short", "mixed", "strange", "high"):
        await persist.candle(symbol, "1m", "x").write_candles_data(candles(3))
    await persist.candle("long", "1m", "x").write_candles_data(candles(513))
    await backtest_mongo.close()

    def edit(symbol: str, at: int, content: bytes) -> str:
        ((data,),) = query(path, "SELECT candles FROM [candle-items] WHERE symbol=? AND start=0", symbol)
        data = data[:at] + content + data[at + len(content) :]
        return f"UPDATE [candle-items] SET candles=x'{data.hex()}' WHERE symbol='{symbol}' AND start=0"

    infinite = b"\0\0\0\0\0\0\xf0\x7f"
    change(
        path,
        "UPDATE [candle-items] SET candles=x'00' WHERE symbol='short'",
        edit("mixed", 8, bytes(8)),
        "UPDATE [candle-items] SET interval='7m' WHERE symbol='strange'",
        edit("high", 32, infinite),
        "UPDATE [candle-items] SET candles=x'00' WHERE symbol='long' AND start=0",
    )
    persist.use_mongo()
    report = await import_dump(path, apply=True)
    assert {problem.path: problem.problem for problem in report.problems} == {
        "candle-items: x, short, 1m, block 0": "it has the length of no number of candles",
        "candle-items: x, mixed, 1m, block 0": "its times are not ascending",
        "candle-items: x, strange, 7m": "its interval is unknown",
        "candle-items: x, high, 1m, 60000": "it can't be a candle: open is not a finite number",
        "candle-items: x, long, 1m, block 0": "it has the length of no number of candles",
    }
    assert find_slot(report, "candle") == SlotImport("candle", files=13, added=6, refused=7)
    assert await CandleAdapter("good", "1m", "x").read_candles_data(3, 0) == candles(3)
    assert await CandleAdapter("long", "1m", "x").read_candles_data(1, 512 * 60_000) == candles(1, 512 * 60_000)
    assert await CandleAdapter("high", "1m", "x").read_candles_data(1, 120_000) == candles(1, 120_000)


def _block(time: int) -> str:
    return "x'" + (time.to_bytes(8, "little") + bytes(40)).hex() + "'"


async def test_candle_that_has_not_closed_is_left_out(deployment: Deployment, path: Path) -> None:
    persist.use_sqlite(path)
    await persist.candle("BTC", "1m", "x").write_candles_data(candles(1))
    await backtest_mongo.close()
    change(path, f"UPDATE [candle-items] SET candles={_block(2**43)}")
    persist.use_mongo()
    report = await import_dump(path, apply=True)
    assert find_slot(report, "candle") == SlotImport("candle", files=1, open=1)


async def test_documents_that_are_no_rows_are_listed_and_the_others_exported(
    deployment: Deployment, path: Path
) -> None:
    await CandleAdapter("BTC", "1m", "x").write_candles_data(candles(3))
    await StateAdapter("s", "b").write_state_data({"n": 1}, WHEN)
    rows = await deployment.collection(CandleAdapter.spec)
    base = {"exchangeName": "x", "symbol": "BTC", "interval": "1m", **dict.fromkeys(PRICES, 1.0)}
    await rows.insert_many(
        [
            {"_id": 1, **base, "timestamp": 180_000.0},
            {"_id": 2, **base, "open": "1", "timestamp": 240_000},
            {"_id": 3, **{name: value for name, value in base.items() if name != "close"}, "timestamp": 300_000},
            {"_id": 4, **base, "timestamp": 2**60},
            {"_id": 5, **base, "timestamp": "now"},
            {"_id": 6, **base, "interval": "7m", "timestamp": 0},
            {"_id": 7, **base, "symbol": 7, "timestamp": 0},
        ]
    )
    states = await deployment.collection(StateAdapter.spec)
    await states.insert_one({"_id": 8, "signalId": "s", "bucketName": "c", "when": 1})
    report = await export_dump(sqlite=path)
    assert {problem.path: problem.problem for problem in report.problems} == {
        "candle-items: x, BTC, 1m, 240000": "one of open, high, low, close, volume is no number",
        "candle-items: 3": "the document lacks close",
        f"candle-items: x, BTC, 1m, {2**60}": "its time is outside of the years 1 to 9999",
        "candle-items: 5": "the document lacks a key of its slot",
        "candle-items: x, BTC, 7m, 0": "its interval is unknown",
        "candle-items: 7": "the document lacks a key of its slot",
        "state-items: 8": "the document lacks payload",
    }
    assert {one.slot: one.written for one in report.slots} == {"candle": 4, "state": 1}
    persist.use_sqlite(path)
    assert (await persist.candle("BTC", "1m", "x").coverage()).rows == 4
    await backtest_mongo.close()


async def test_second_document_of_a_key_is_listed(deployment: Deployment, path: Path) -> None:
    states = await deployment.collection(StateAdapter.spec)
    for oid in (1, 2):
        await states.insert_one({"_id": oid, "signalId": "s", "bucketName": "b", "payload": {"n": oid}, "when": 1})
    report = await export_dump(sqlite=path)
    assert [(problem.path, problem.problem) for problem in report.problems] == [
        ("state-items: s, b", "another document has the same key")
    ]
    ((payload, created, written),) = query(path, "SELECT payload, created, written FROM [state-items]")
    assert (from_json(payload), created, written) == ({"n": 1}, 0, 0)


async def test_row_without_a_time_stays_visible_at_all_times(deployment: Deployment, path: Path) -> None:
    states = await deployment.collection(StateAdapter.spec)
    await states.insert_one({"signalId": "s", "bucketName": "b", "payload": {"n": 1}})
    await export_dump(sqlite=path)
    persist.use_sqlite(path)
    assert await persist.state("s", "b").read_state_data(when=0) == {"n": 1}
    await backtest_mongo.close()

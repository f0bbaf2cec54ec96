"""The database as people see it: its tables, its rows, and who may share it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backtest_mongo
from backtest_mongo import SLOTS, IndexConflictError, SlotSpec, StoreError, persist
from backtest_mongo.sqlite import file_format, store
from backtest_mongo.sqlite.database import Connection, Database
from tests.sqlite.support import change, database_of, list_names, locked, query, start, until, worker
from tests.support import uniform
from tests.support.counting import TASKS
from tests.support.deadlines import PROCESS_SECONDS
from tests.support.uniform import candles

MINUTE = 60_000


async def test_nothing_is_made_before_the_first_write(path: Path) -> None:
    state = persist.state("s", "b")
    assert await state.read_state_data() is None
    assert await persist.log().read_log_data() == []
    assert [key async for key in persist.measure("b").list_measure_data()] == []
    series: Any = persist.candle("BTCUSDT", "1m", "x")
    assert await series.read_candles_data(1, 0) is None
    assert (await series.coverage()).rows == 0
    assert await series.bounds() is None
    assert len(await series.read_frame(as_="polars")) == 0
    assert [tuple(gap) for gap in await series.gaps(0, MINUTE)] == [(0, MINUTE, 1)]
    assert [adapter async for adapter in type(series).list_series()] == []
    assert list_names(path.parent) == []
    await state.wait_for_init(False)
    assert list_names(path.parent) == []
    await state.wait_for_init()
    tables = query(path, "SELECT name FROM sqlite_master WHERE type='table'")
    assert tables == [("changes",), ("leases",), ("state-items",)]


async def test_file_that_is_made_while_it_is_opened_for_reading_is_no_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Database._connect
    tried: list[str] = []

    def connect_late(self: Database, mode: str, seconds: float) -> Connection:
        try:
            return connect(self, mode, seconds)
        finally:
            if not tried:
                tried.append(mode)
                connection = connect(self, "rwc", seconds)  # as a writer does in another thread
                file_format.prepare_file(connection, str(path))
                connection.close()

    monkeypatch.setattr(Database, "_connect", connect_late)
    assert await persist.state("s", "b").read_state_data() is None
    assert tried == ["rw"]


def test_file_that_is_begun_while_its_format_is_read_is_not_another_program_s(path: Path) -> None:
    class Late(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if "user_version" in sql:
                other = sqlite3.connect(path, timeout=0, isolation_level=None)
                with contextlib.closing(other), contextlib.suppress(sqlite3.OperationalError):  # the moment lasts
                    file_format.prepare_file(other, str(path))
            return super().execute(sql, *parameters)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None, factory=Late)) as connection:
        assert file_format.read_format(connection, str(path)) == 0


async def test_read_that_other_tables_overtake_is_repeated(path: Path) -> None:
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    overtaken = sqlite3.OperationalError("no such table: state-items")
    overtaken.sqlite_errorcode = sqlite3.SQLITE_SCHEMA
    outcomes: list[Exception | int] = [overtaken, overtaken, 7]

    def work(connection: Connection) -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert database_of(path).read(work) == 7


async def test_path_is_resolved_when_it_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    persist.use_sqlite()
    monkeypatch.chdir("/")
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    await backtest_mongo.close()
    assert list_names(tmp_path) == ["backtest.db"]


async def test_closed_database_is_one_file_and_opens_again(path: Path) -> None:
    state = persist.state("s", "b")
    for number in range(3):
        await state.write_state_data({"n": number}, 1)
        await backtest_mongo.close()
        assert list_names(path.parent) == [path.name]
        assert await state.read_state_data() == {"n": number}
    await backtest_mongo.close()
    await backtest_mongo.close()


async def test_shell_can_query_payloads_and_columns(path: Path) -> None:
    written = {
        "price": 1.5,
        "big": 2**53 + 1,
        "at": datetime(2024, 1, 2, tzinfo=UTC),
        "sum": Decimal("1.10"),
        "n": None,
    }
    await persist.memory("s", "b").write_memory_data(written, "k", 7)
    await persist.memory("s", "b").write_memory_data({"n": 1}, "gone", 8)
    await persist.memory("s", "b").remove_memory_data("gone")
    found = query(
        path,
        """SELECT signalId, bucketName, memoryId, "when", removed, json_extract(payload, '$.price'),
        json_extract(payload, '$.big'), json_extract(payload, '$.at."$date"'), json_extract(payload, '$.sum'),
        json_extract(payload, '$.removed') FROM "memory-items" ORDER BY number""",
    )
    assert found == [
        ("s", "b", "k", 7, 0, 1.5, 2**53 + 1, "2024-01-02T00:00:00.000Z", '{"$numberDecimal":"1.10"}', None),
        ("s", "b", "gone", 8, 1, None, None, None, None, 1),
    ]
    assert await persist.memory("s", "b").read_memory_data("k") == written
    ((created, at),) = query(path, """SELECT created, written FROM "memory-items" WHERE memoryId='gone'""")
    assert 1_600_000_000_000 < created <= at


async def test_file_is_durable_and_marked(path: Path) -> None:
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    assert query(path, "PRAGMA application_id") == [(file_format.APPLICATION_ID,)]
    assert query(path, "PRAGMA user_version") == [(len(file_format.STEPS),)]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    database = persist.state("s", "b")._store()._database  # type: ignore[attr-defined]  # of SQLite
    assert database._writer.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_second_write_keeps_the_time_of_the_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in (5, 9):
        monkeypatch.setattr(store, "now", lambda at=at: at)
        await persist.state("s", "b").write_state_data({"n": at}, at)
    assert query(path, 'SELECT created, written, "when" FROM "state-items"') == [(5, 9, 9)]


async def test_newest_rows_are_those_written_first_last_whatever_the_clock_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slot, number in ((persist.log(), 5), (persist.notification(True), 3), (persist.notification(False), 4)):
        write, read = (getattr(slot, f"{verb}_{slot.spec.noun}_data") for verb in ("write", "read"))
        for index in range(number):
            monkeypatch.setattr(store, "now", lambda index=index: 1_000 - index)
            await write([{"id": f"{index}"}])
        await write([{"id": "0", "again": True}])
        assert [row["id"] for row in await read(2)] == [f"{number - 2}", f"{number - 1}"]
        assert [row["id"] for row in await read()] == [f"{index}" for index in range(number)]


@pytest.mark.parametrize("name", ["rowid", "oid", "number", "When", "CREATED", "payload_", "Symbol", "ключ"])
async def test_key_of_an_own_slot_may_have_any_name(path: Path, name: str) -> None:
    spec = SlotSpec(
        name=f"sqlite_own_{len(name)}_{ord(name[0])}",
        shape="bucket",
        soft_delete=True,
        when=True,
        context=("symbol", "written", "first"),
        key=("symbol", "written", "first", name),
        redis=("symbol", "written", "first", name),
        argument="item",
        field="start",
    )
    persist.register(spec)
    adapter: Any = getattr(persist, spec.name)("BTC", "a", "b")
    for key in ("", "k", "l"):
        await uniform.write(adapter, {"key": key}, key, 5)
    await getattr(adapter, f"remove_{spec.noun}_data")("l")
    assert await uniform.read(adapter, "k") == {"key": "k"}
    assert await uniform.read(adapter, "k", 4) is None
    assert await uniform.listed(adapter) == ["", "k"]
    assert await uniform.listed(adapter, when=4) == []


async def test_own_series_has_a_table_of_its_own(path: Path) -> None:
    spec = SlotSpec(
        name="sqlite_funding",
        shape="series",
        immutable=True,
        context=("rows", "interval"),
        key=("rows", "interval", "timestamp"),
        redis=("rows", "interval", "timestamp"),
    )
    persist.register(spec)
    series: Any = persist.sqlite_funding("BTC", "1h")  # type: ignore[attr-defined]  # registered above
    await series.write_sqlite_funding_data(candles(600, step=60 * MINUTE))
    assert await series.read_sqlite_funding_data(600, 0) == candles(600, step=60 * MINUTE)
    assert [tuple(adapter.context.values()) async for adapter in type(series).list_series()] == [("BTC", "1h")]


async def test_slot_whose_table_has_other_columns_is_an_error(path: Path) -> None:
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    await backtest_mongo.close()
    change(path, 'ALTER TABLE "state-items" RENAME COLUMN bucketName TO bucket')
    with pytest.raises(IndexConflictError, match=r"^state: .*the table state-items has other columns .*bucket"):
        await persist.state("s", "b").write_state_data({"n": 2}, 1)
    with pytest.raises(StoreError, match=r"^state: reading failed: no such column: bucketName"):
        await persist.state("s", "b").read_state_data()


async def test_row_that_holds_no_json_is_named_and_does_not_hide_others(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = persist.measure("b")
    for key in "abc":
        await measure.write_measure_data({"n": 1}, key)
    change(path, "UPDATE \"measure-items\" SET payload='{' WHERE entryKey='b'")
    with pytest.raises(StoreError, match=r"^measure: reading failed: the row holds no JSON") as caught:
        await measure.read_measure_data("b")
    assert caught.value.key == {"bucket": "b", "entryKey": "b"}
    with pytest.raises(StoreError, match=r"holds no JSON"):
        await measure.remove_measure_data("b")
    for _ in range(2):
        assert [key async for key in measure.list_measure_data()] == ["a", "c"]
    assert capsys.readouterr().err.count("a list lacks a row that can't be decoded") == 1
    await measure.write_measure_data({"n": 2}, "b")
    assert await measure.read_measure_data("b") == {"n": 2}


async def test_row_whose_text_is_not_utf_8_does_not_hide_others(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure = persist.measure("b")
    for key in "abc":
        await measure.write_measure_data({"text": "\u00e9"}, key)
    change(path, """UPDATE "measure-items" SET payload=CAST(x'7b2261223a22ff227d' AS TEXT) WHERE entryKey='b'""")
    with pytest.raises(StoreError, match=r"^measure: reading failed: Could not decode to UTF-8 column 'payload'"):
        await measure.read_measure_data("b")
    for _ in range(2):
        assert [key async for key in measure.list_measure_data()] == ["a", "c"]
    assert capsys.readouterr().err.count("a list lacks a row that can't be decoded") == 1
    assert await measure.read_measure_data("c") == {"text": "\u00e9"}
    await measure.write_measure_data({"n": 2}, "b")
    assert [key async for key in measure.list_measure_data()] == ["a", "b", "c"]


async def test_damaged_block_of_candles_is_named(path: Path) -> None:
    series: Any = persist.candle("BTCUSDT", "1m", "x")
    await series.write_candles_data(candles(3))
    change(path, 'UPDATE "candle-items" SET candles=substr(candles, 2)')
    for call in (series.read_candles_data(3, 0), series.read_frame(), series.write_candles_data(candles(4))):
        with pytest.raises(StoreError, match=r"^candle: reading failed: the block of candles from 0 on is damaged"):
            await call
    assert (await series.delete()).rows == 3
    assert await series.write_candles_data(candles(4)) == 4


async def test_many_contexts_are_read_in_their_order(path: Path) -> None:
    contexts = [(f"signal-{index}", "b") for index in range(100)]
    state: Any = persist.state(*contexts[0])
    await type(state).write_many([(context, {"of": context[0]}) for context in contexts[::2]], when=1)
    found = await type(state).read_many(contexts)
    assert found == [{"of": context[0]} if index % 2 == 0 else None for index, context in enumerate(contexts)]
    assert await type(state).read_many(contexts[:3]) == found[:3]
    assert await type(state).read_many([]) == []


# Candles


async def test_frames_gaps_and_series_are_those_of_the_blocks(path: Path) -> None:
    series: Any = persist.candle("BTCUSDT", "1m", "x")
    rows = candles(1_500, first=-700 * MINUTE)
    await series.write_candles_data(rows[:600] + rows[650:])
    frame = await series.read_frame(as_="numpy")
    assert frame["timestamp"].astype("int64").tolist() == [row["timestamp"] for row in rows[:600] + rows[650:]]
    assert all(column.flags.writeable for column in frame.values())
    assert (await series.write_frame(frame)).present == 1_450
    assert [tuple(gap) for gap in await series.gaps(-700 * MINUTE, 800 * MINUTE)] == [(-100 * MINUTE, -50 * MINUTE, 50)]
    coverage = await series.coverage()
    assert (coverage.first, coverage.last, coverage.rows) == (-700 * MINUTE, 799 * MINUTE, 1_450)
    assert ((await series.seal()).blocks, (await series.verify()).blocks, (await series.sealed()).blocks) == (0, 0, 0)
    found = await series._survey(-110 * MINUTE, 10 * MINUTE)
    assert (found[0].first, found[0].last, found[0].rows) == (-110 * MINUTE, 9 * MINUTE, 70)
    assert (await series._survey(-90 * MINUTE, -60 * MINUTE))[0].rows == 0
    filled = await series.read_frame(-90 * MINUTE, -60 * MINUTE, as_="numpy", fill="forward")
    assert filled["timestamp"].astype("int64").tolist() == list(range(-90 * MINUTE, -60 * MINUTE, MINUTE))
    assert (await series.delete(-110 * MINUTE, 10 * MINUTE)).rows == 70
    assert (await series.delete(-110 * MINUTE, 10 * MINUTE)).rows == 0
    assert (await series.coverage()).rows == 1_380
    assert await series.read_candles_data(10, 10 * MINUTE) == rows[710:720]
    assert await series.bounds() == (-700 * MINUTE, 799 * MINUTE)
    for other in (("ETH_USDT", "1d", "x"), ("x" * 300, "1h", "y" * 300)):
        await persist.candle(*other).write_candles_data(candles(1))
    names = [tuple(adapter.context.values()) async for adapter in type(series).list_series()]
    assert names == [("BTCUSDT", "1m", "x"), ("ETH_USDT", "1d", "x"), ("x" * 300, "1h", "y" * 300)]


async def test_concurrent_writes_of_one_series_keep_the_first(path: Path) -> None:
    series: Any = persist.candle("BTCUSDT", "1m", "x")
    batches = [candles(20, first=index * 10 * MINUTE, price=float(index + 2)) for index in range(60)]
    assert sum(await asyncio.gather(*map(series.write_candles_data, batches))) == 610
    whole = await series.read_candles_data(610, 0)
    assert [row["open"] for row in whole] == [2.0 + max(0, (index - 10) // 10) for index in range(610)]


async def test_frame_is_stored_as_it_was_when_the_call_was_made(path: Path) -> None:
    series: Any = persist.candle("BTCUSDT", "1m", "x")
    await persist.state("s", "b").write_state_data({"n": 0}, 1)
    rows = candles(3)
    frame = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    with locked(path):
        first = await start(path, persist.state("s", "b").write_state_data({"n": 1}, 1))
        writing = asyncio.ensure_future(series.write_frame(frame))
        await until(lambda: database_of(path)._queue)
        for column in frame.values():
            column[:] = 7
    await first
    await writing
    assert await series.read_candles_data(3, 0) == rows


# Who shares it


async def test_two_processes_that_count_with_versions_lose_no_count(path: Path) -> None:
    with worker("count", str(path), "5") as one, worker("count", str(path), "5") as other:
        outputs = [await asyncio.to_thread(process.communicate, timeout=PROCESS_SECONDS) for process in (one, other)]
    assert sorted(int(output) for output, _ in outputs) == [0, 1]  # of all tasks one has stored the row first
    assert await persist.memory("s", "b").read_memory_data("counter") == {"n": 2 * TASKS * 5}


async def test_two_processes_share_a_file(path: Path) -> None:
    with worker("share", str(path), "1") as one, worker("share", str(path), "2") as other:
        outputs = [await asyncio.to_thread(process.communicate, timeout=PROCESS_SECONDS) for process in (one, other)]
    new = [int(output) for output, _ in outputs]
    assert sum(new) == 39 * 10 + 20  # each candle was new to only one of them
    names = [f"{name}-{number:02}" for name in "12" for number in range(40)]
    assert [key async for key, _ in persist.memory("s", "b").list_memory_data()] == names
    logged = [row["id"] for row in await persist.log().read_log_data()]
    assert sorted(logged) == names
    for name in "12":
        assert [row for row in logged if row.startswith(name)] == [row for row in names if row.startswith(name)]
    state: Any = await persist.state("s", "one").read_state_data()
    when = state["n"] * 10 + int(state["by"])
    assert await persist.state("s", "one").read_state_data(when) == state
    assert await persist.state("s", "one").read_state_data(when - 1) is None
    whole = await persist.candle("BTCUSDT", "1m", "x").read_candles_data(410, 0)
    assert whole is not None
    assert {row["open"] for row in whole} <= {2.0, 3.0}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_event_loops_and_threads_share_a_database(tmp_path: Path) -> None:
    persist.use_sqlite(tmp_path / "backtest.db")

    async def write(name: str) -> None:
        memory = persist.memory("s", "b")
        await asyncio.gather(*(memory.write_memory_data({"n": n}, f"{name}{n:02}", n) for n in range(25)))
        assert [await memory.read_memory_data(f"{name}{n:02}") for n in range(25)] == [{"n": n} for n in range(25)]

    threads = [threading.Thread(target=run, args=(write(name),)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def keys() -> list[str]:
        return [key async for key, _ in persist.memory("s", "b").list_memory_data()]

    assert run(keys()) == [f"{name}{n:02}" for name in "abcd" for n in range(25)]
    run(backtest_mongo.close())


def test_every_slot_works_without_a_server_or_a_warning_and_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "backtest.db"
    with worker("everything", str(path), stderr=-1) as process:
        _, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, errors) == (0, "")
    assert list_names(tmp_path) == ["backtest.db"]
    tables = {name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type='table'")}
    assert tables == {*(spec.collection for spec in SLOTS), "changes", "leases"}


# In memory


def test_database_in_memory_lasts_as_long_as_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    persist.use_sqlite(":memory:")

    async def write(number: int) -> None:
        memory = persist.memory("memory", "b")
        await asyncio.gather(*(memory.write_memory_data({"n": n}, f"{number}-{n}", 1) for n in range(50)))
        await persist.candle("BTCUSDT", "1m", "memory").write_candles_data(candles(2_000))
        await backtest_mongo.close()

    async def read() -> None:
        memory = persist.memory("memory", "b")
        listed = memory.list_memory_data()
        assert len([await memory.read_memory_data(key) async for key, _ in listed]) == 200
        assert await persist.candle("BTCUSDT", "1m", "memory").read_candles_data(2_000, 0) == candles(2_000)

    threads = [threading.Thread(target=run, args=(write(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run(read())
    persist.use_sqlite(os.fspath(tmp_path / "other.db"))
    persist.use_sqlite(":memory:")
    run(read())
    assert list_names(tmp_path) == []

"""Series with columns in SQLite: tail and blocks, what happens beside sealing, contexts, watches and renaming."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest_mongo import Change
from backtest_mongo.core.commits import make_claim
from backtest_mongo.core.runs import RunRows, Selection
from backtest_mongo.core.slots import SERIES
from backtest_mongo.core.strategy_names import NewName
from backtest_mongo.errors import ConflictError, IndexConflictError, LeaseHeldError, StoreError
from backtest_mongo.sqlite import column_documents, column_sealing, columns
from backtest_mongo.sqlite.backup import back_up
from backtest_mongo.sqlite.change_feed import ChangeFeed
from backtest_mongo.sqlite.column_parts import PartReader
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.database import close_databases, get_database
from backtest_mongo.sqlite.lease_rows import acquire
from backtest_mongo.sqlite.row_codec import now
from backtest_mongo.sqlite.run_columns import SQLiteRunColumns
from backtest_mongo.sqlite.whole_layout import count_rows, has_rows, list_filled
from backtest_mongo.types import Coverage
from tests.sqlite.support import ROOT, change, list_names, query
from tests.support.column_rows import list_rows, make_spec, make_uniform
from tests.support.column_stores import shrink_bytes
from tests.support.deadlines import PROCESS_SECONDS, SECONDS

EQUITY = next(spec for spec in SERIES if spec.name == "equity")
FIRST, LAST = make_spec("int64", immutable=True), make_spec("int64", immutable=False)
CONTEXT = (True, "trend", "BTCUSDT")
ALL = (-(2**63), 2**63)


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    yield tmp_path / "backtest.db"
    await close_databases()


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 100 rows make a block."""
    monkeypatch.setattr(column_documents, "BLOCK_ROWS", 100)
    monkeypatch.setattr(column_sealing, "BLOCK_ROWS", 100)
    monkeypatch.setattr(column_sealing, "_RUN_ROWS", 400)
    monkeypatch.setattr(column_sealing, "SMALL_ROWS", 20)
    monkeypatch.setattr(columns, "_LARGE", 20)
    monkeypatch.setattr(columns, "_BULK", 50)


def open_store(path: Path, spec: Any = LAST) -> SQLiteColumns:
    return SQLiteColumns(get_database(str(path)), spec)


async def seal(store: SQLiteColumns, context: Any = CONTEXT, **options: Any) -> list[tuple[int, int]]:
    return [counts async for counts in store.seal_rows(context, **options)]


async def read(store: SQLiteColumns, context: Any = CONTEXT) -> list[dict[str, Any]]:
    return list_rows(store._spec, await store.read_rows(context, *ALL))


def expect(spec: Any, first: int, end: int, price: float = 1.0) -> list[dict[str, Any]]:
    return list_rows(spec, make_uniform(spec, first, end, price))


async def fill(store: SQLiteColumns, blocks: int) -> None:
    """Write blocks of 100 rows each."""
    for number in range(blocks):
        await store.insert(CONTEXT, make_uniform(store._spec, number * 100, number * 100 + 100))


# Tail and blocks


async def test_nothing_is_there_before_the_first_write(path: Path) -> None:
    store = open_store(path)
    assert len(await store.read_rows(CONTEXT, *ALL)) == 0
    assert [*(await store.read_last(CONTEXT, 3, 100, ["price"])).values] == ["price"]
    assert await store.cover(CONTEXT, 100) == Coverage(None, None, 0)
    assert (await store.size(CONTEXT)).blocks == 0
    assert await seal(store) == []
    assert await store.delete_some(CONTEXT, ()) == (0, False)
    assert [key async for key in store.list_contexts()] == []
    assert await store.measure({}, by_context=True) == []
    assert list_names(path.parent) == []


async def test_appended_rows_are_in_few_groups(path: Path) -> None:
    store = open_store(path)
    for at in range(200):
        assert await store.insert(CONTEXT, make_uniform(LAST, at, at + 1)) == 1
        assert (await store.size(CONTEXT)).tail_groups < columns._GROUPS + columns._UNSEEN + 1
    assert await read(store) == expect(LAST, 0, 200)


@pytest.mark.usefixtures("few_rows")
async def test_tail_becomes_a_block_once_it_has_the_rows_of_one(path: Path) -> None:
    store = open_store(path)
    for at in range(0, 300, 30):
        await store.insert(CONTEXT, make_uniform(LAST, at, at + 30))
    size = await store.size(CONTEXT)
    assert (size.blocks, size.block_rows, size.tail_rows) == (2, 240, 60)
    assert await read(store) == expect(LAST, 0, 300)
    assert await seal(store, is_all=False) == []
    assert await seal(store) == [(1, 60)]
    assert (await store.size(CONTEXT)).tail_groups == 0


@pytest.mark.usefixtures("few_rows")
async def test_many_rows_behind_all_others_become_blocks_at_once(path: Path) -> None:
    store = open_store(path, FIRST)
    assert await store.insert(CONTEXT, make_uniform(FIRST, 0, 1_000)) == 1_000
    size = await store.size(CONTEXT)
    assert (size.blocks, size.tail_groups) == (10, 0)
    assert await store.insert(CONTEXT, make_uniform(FIRST, 0, 1_100)) == 100
    assert await read(store) == expect(FIRST, 0, 1_100)


@pytest.mark.usefixtures("few_rows")
async def test_rows_of_one_time_stay_in_one_block(path: Path) -> None:
    store, rows = open_store(path), make_uniform(LAST, 0, 300)
    rows = replace(rows, time=np.repeat(np.array([1, 5], np.int64), 150), sequence=np.arange(300))
    await store.insert(CONTEXT, rows)
    assert query(path, "SELECT first, last, rows FROM [own-int64-last-blocks] ORDER BY start") == [
        (1, 1, 150),
        (5, 5, 150),
    ]
    assert len(await store.read_rows(CONTEXT, 5, 6)) == 150


@pytest.mark.usefixtures("few_rows")
async def test_late_row_goes_into_the_block_of_its_time(path: Path) -> None:
    store = open_store(path)
    await store.insert(CONTEXT, make_uniform(LAST, 0, 100))
    await store.insert(CONTEXT, make_uniform(LAST, 200, 300))
    for time in (-5, 150):
        await store.insert(CONTEXT, make_uniform(LAST, time, time + 1))
    assert await seal(store) == [(1, 2)]
    assert query(path, "SELECT start, first, last, rows FROM [own-int64-last-blocks] ORDER BY start") == [
        (-5, -5, 150, 102),
        (200, 200, 299, 100),
    ]


@pytest.mark.usefixtures("few_rows")
async def test_range_of_times_is_read_from_its_blocks_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, fetched = open_store(path), []
    await fill(store, 20)
    fetch = PartReader.fetch

    def note(self: PartReader, connection: Any, part: Any) -> bytes | None:
        fetched.append(part)
        return fetch(self, connection, part)

    monkeypatch.setattr(PartReader, "fetch", note)
    assert len(await store.read_rows(CONTEXT, 1_010, 1_020)) == 10
    assert len(fetched) == 1
    assert (await store.read_last(CONTEXT, 3, 1_000)).time.tolist() == [997, 998, 999]
    assert len(fetched) == 2
    assert await store.cover(CONTEXT, 2_000) == Coverage(0, 1_999, 2_000)
    assert len(fetched) == 2


@pytest.mark.usefixtures("few_rows")
async def test_late_rows_are_looked_for_in_their_own_blocks_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, fetched = open_store(path, FIRST), []
    for number in range(20):
        await store.insert(CONTEXT, make_uniform(FIRST, number * 200, number * 200 + 100))
    fetch = PartReader.fetch

    def note(self: PartReader, connection: Any, part: Any) -> bytes | None:
        fetched.append(part.first)
        return fetch(self, connection, part)

    monkeypatch.setattr(PartReader, "fetch", note)

    async def insert(*times: int) -> tuple[int, list[int]]:
        """Return how many rows were new, and the first times of the blocks and groups that were read."""
        fetched.clear()
        rows = make_uniform(FIRST, 0, 4_000)
        return await store.insert(CONTEXT, rows.take(np.isin(rows.time, times))), [*fetched]

    assert await insert(250, 3_650) == (0, [200, 3_600])
    assert await insert(150, 3_550) == (2, [])
    assert await insert(50, 150, 3_000, 3_551) == (1, [0, 3_000, 150])
    assert await store.cover(CONTEXT, 4_000) == Coverage(0, 3_899, 2_003)


@pytest.mark.usefixtures("few_rows")
async def test_groups_of_many_bytes_are_large_however_few_rows_they_have(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_bytes(monkeypatch, 4_000, 6_000)
    store = open_store(path)
    for at in range(0, 400, 10):
        rows = make_uniform(LAST, at, at + 10)
        rows.values["note"].data[:] = "x" * 250
        await store.insert(CONTEXT, rows)
    sizes = query(path, "SELECT rows, length(document) FROM [own-int64-last-items]")
    assert {rows for rows, _ in sizes} <= {10}
    assert sum(size for _, size in sizes) < 6_000
    blocks = query(path, "SELECT rows FROM [own-int64-last-blocks]")
    assert max(rows for (rows,) in blocks) <= 20
    assert len(await store.read_rows(CONTEXT, *ALL)) == 400


@pytest.mark.usefixtures("few_rows")
async def test_rows_of_one_time_that_are_too_many_for_a_block_stay_in_the_tail(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_bytes(monkeypatch, 4_000, 6_000)
    monkeypatch.setattr(column_documents, "MOST_BYTES", 10_000)
    store, rows = open_store(path), make_uniform(LAST, 0, 300)
    rows = replace(rows, time=np.full(300, 5), sequence=np.arange(300))
    assert await store.insert(CONTEXT, rows) == 300
    with pytest.raises(StoreError, match=r"the \d+ rows of the time 5 \(us\) have too many bytes for a block"):
        await seal(store)
    assert len(await store.read_rows(CONTEXT, *ALL)) == 300
    assert await store.delete_rows(CONTEXT, 5, 6) == 300
    assert await store.insert(CONTEXT, make_uniform(LAST, 0, 10)) == 10
    assert await seal(store) == [(1, 10)]


# Beside sealing


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("disturbance", ["appends", "deletes", "seals"])
async def test_what_is_written_while_blocks_are_merged_is_not_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch, disturbance: str
) -> None:
    store, other = open_store(path), open_store(path)
    await fill(store, 2)
    await store.insert(CONTEXT, make_uniform(LAST, 50, 60, price=2.0))
    expected = expect(LAST, 0, 200)
    expected[50:60] = expect(LAST, 50, 60, price=2.0)
    attempts = 0

    async def disturb() -> None:
        if disturbance == "appends":
            await other.insert(CONTEXT, make_uniform(LAST, 200 + attempts, 201 + attempts))
            expected.extend(expect(LAST, 200 + attempts, 201 + attempts))
        elif disturbance == "deletes":
            await other.delete_rows(CONTEXT, 50 + attempts, 51 + attempts)
            del expected[50]
        elif attempts == 0:
            await seal(other)

    async def read_in_thread(self: Any, doing: str, work: Any, *arguments: Any) -> Any:
        nonlocal attempts
        found = await original(self, doing, work, *arguments)
        if work == store._prepare_step and self is store:
            await disturb()
            attempts += 1
        return found

    original = SQLiteColumns._read_in_thread
    monkeypatch.setattr(SQLiteColumns, "_read_in_thread", read_in_thread)
    async with asyncio.timeout(SECONDS):
        await seal(store)
    assert attempts > 0
    assert await read(store) == expected
    assert [problem async for _, problem in store.verify_rows(CONTEXT) if problem] == []


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("own", [FIRST, LAST], ids=["first wins", "last wins"])
async def test_sealing_that_ends_in_between_leaves_each_row_once(path: Path, own: Any) -> None:
    store, spec = open_store(path, own), own
    await fill(store, 3)
    await store.delete_rows(CONTEXT, 0, 300)
    for number in range(3):  # blocks with a hole each, into which rows come late
        await store.insert(CONTEXT, make_uniform(spec, number * 100, number * 100 + 50))
    await seal(store)
    store._put_off[CONTEXT] = 1_000  # so that the write itself merges nothing
    await store.insert(CONTEXT, make_uniform(spec, 0, 299))
    sealing: Any = store.seal_rows(CONTEXT)
    await anext(sealing)
    await sealing.aclose()
    assert (await store.size(CONTEXT)).tail_groups > 0
    assert await read(store) == expect(spec, 0, 299)
    assert await store.cover(CONTEXT, 300) == Coverage(0, 298, 299)
    assert await store.insert(CONTEXT, make_uniform(spec, 0, 299)) == (0 if spec.immutable else 299)
    await seal(store)
    assert (await store.size(CONTEXT)).tail_groups == 0
    assert await read(store) == expect(spec, 0, 299)


@pytest.mark.usefixtures("few_rows")
async def test_write_succeeds_where_its_tail_can_t_be_merged(path: Path, capsys: Any) -> None:
    store = open_store(path)
    await fill(store, 1)
    change(path, "UPDATE [own-int64-last-blocks] SET document=zeroblob(length(document))")
    for at in range(60, 240, 30):
        assert await store.insert(CONTEXT, make_uniform(LAST, at, at + 30)) == 30
    assert (await store.size(CONTEXT)).tail_rows == 180
    with pytest.raises(StoreError, match=r"100 rows from 0 to 99 \(us\) is damaged, so these rows are lost"):
        await store.read_rows(CONTEXT, 0, 1)
    assert await store.delete_rows(CONTEXT, 0, 100) == 140  # of the block and of the tail, which can't be compared
    await seal(store)
    assert await read(store) == expect(LAST, 100, 240)


def start_worker(path: Path, count: int, step: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.support.column_worker", str(path), str(count), str(step)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)


async def test_processes_that_write_the_same_rows_store_each_once(path: Path) -> None:
    count = 3_000
    processes = [start_worker(path, count, step) for step in (40, 70)]
    outputs = [await asyncio.to_thread(process.communicate, timeout=PROCESS_SECONDS) for process in processes]
    assert sum(int(printed) for printed, _ in outputs) == count
    assert await read(open_store(path, FIRST)) == expect(FIRST, 0, count)


# Contexts


@pytest.mark.usefixtures("few_rows")
async def test_contexts_are_those_of_tail_and_blocks(path: Path) -> None:
    store = open_store(path)
    for name in ("b", "a", "ab"):
        await store.insert((False, name, "x"), make_uniform(LAST, 0, 100 if name == "a" else 3))
    await store.insert((False, "a", "x"), make_uniform(LAST, 100, 103))
    await store.insert((True, "a", "x"), make_uniform(LAST, 0, 1))
    listed = [(False, "a", "x"), (False, "ab", "x"), (False, "b", "x"), (True, "a", "x")]
    assert [key async for key in store.list_contexts()] == listed
    assert [key async for key in store.list_contexts({"strategyName": "a"})] == [listed[0], listed[3]]
    measures = await store.measure({"backtest": False}, by_context=True)
    assert [(one.context, one.rows) for one in measures] == [(listed[0], 103), (listed[1], 3), (listed[2], 3)]
    (total,) = await store.measure({}, by_context=False)
    assert (total.contexts, total.rows) == (4, 110)


@pytest.mark.usefixtures("few_rows")
async def test_series_is_deleted_in_steps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_DELETED", 2)
    store = open_store(path)
    await fill(store, 4)
    await store.insert(CONTEXT, make_uniform(LAST, 500, 503))
    assert [await store.delete_some(CONTEXT, ()) for _ in range(3)] == [(200, True), (200, True), (3, False)]
    assert [key async for key in store.list_contexts()] == []


async def test_series_whose_lease_is_held_is_not_deleted(path: Path) -> None:
    store = open_store(path)
    await store.insert(CONTEXT, make_uniform(LAST, 0, 3))
    claim = make_claim((LAST, CONTEXT))
    held = replace(claim, owner="somebody", ttl=1_000.0)
    await get_database(str(path)).write(
        lambda: lambda connection: acquire(connection, held, list(held.contexts), now())
    )
    with pytest.raises(LeaseHeldError):
        await store.delete_some(CONTEXT, ())
    assert await store.delete_some(CONTEXT, ("somebody",)) == (3, False)


async def test_backup_has_tail_and_blocks(path: Path, tmp_path: Path) -> None:
    store = open_store(path)
    await store.insert(CONTEXT, make_uniform(LAST, 0, 100))
    await seal(store)
    await store.insert(CONTEXT, make_uniform(LAST, 90, 120, price=3.0))
    await asyncio.to_thread(back_up, str(path), str(tmp_path / "copy.db"))
    assert await read(open_store(tmp_path / "copy.db")) == [*expect(LAST, 0, 90), *expect(LAST, 90, 120, price=3.0)]


@pytest.mark.usefixtures("few_rows")
async def test_rows_before_a_time_are_copied_into_another_database(path: Path, tmp_path: Path) -> None:
    store, target, copied = open_store(path), open_store(tmp_path / "fork.db"), (False, "trend", "BTCUSDT")
    await fill(store, 3)
    await store.insert(CONTEXT, make_uniform(LAST, 90, 110, price=3.0))
    steps = [step async for step in store.copy_rows(CONTEXT, 250, target, copied)]
    assert steps == [(100, None), (100, None), (50, None)]
    expected = [*expect(LAST, 0, 90), *expect(LAST, 90, 110, price=3.0), *expect(LAST, 110, 250)]
    assert await read(target, copied) == expected
    change(path, "UPDATE [own-int64-last-blocks] SET document=zeroblob(10) WHERE start=200")
    steps = [step async for step in store.copy_rows(CONTEXT, 250, target, copied)]
    assert [rows for rows, _ in steps] == [100, 100, 0]
    assert "100 rows from 200 to 299" in str(steps[-1][1])


@pytest.mark.usefixtures("few_rows")
async def test_whole_file_has_the_rows_of_tail_and_blocks(path: Path) -> None:
    store = open_store(path)
    await fill(store, 2)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert query(path, "SELECT count(*) FROM [own-int64-last-items]") == [(0,)]
        assert has_rows(connection)
        assert list_filled(connection) == ["own-int64-last-blocks"]
        await store.insert(CONTEXT, make_uniform(LAST, 200, 203))
        assert count_rows(connection, "own-int64-last-items") == 203
        await store.delete_rows(CONTEXT, *ALL)
        assert not has_rows(connection)


async def test_table_with_other_columns_is_refused(path: Path) -> None:
    store = open_store(path)
    await store.ready()
    change(path, "ALTER TABLE [own-int64-last-blocks] ADD COLUMN more INTEGER")
    await close_databases()  # the next connection looks at the tables again
    with pytest.raises(IndexConflictError, match="own-int64-last-blocks has other columns"):
        await store.ready()


async def test_rows_are_counted_and_stay_where_a_run_is_reset(path: Path) -> None:
    rows: RunRows = SQLiteRunColumns(get_database(str(path)), LAST)
    assert await rows.count(Selection(run="r", owner="none")) == 0
    store = open_store(path)
    await store.insert(CONTEXT, make_uniform(LAST, 0, 5))
    await seal(store)
    await store.insert(CONTEXT, make_uniform(LAST, 5, 8))
    await store.insert((False, "trend", "x"), make_uniform(LAST, 0, 1))
    selections = [
        Selection(run="r", owner="run"),
        Selection(run="r", owner="other"),
        Selection(run="r", owner="none"),
        Selection(run="r", owner="all"),
    ]
    assert [await rows.count(selection) for selection in selections] == [0, 0, 9, 9]
    assert await rows.count(Selection(run="r", owner="none", is_live=False)) == 8
    assert await rows.count(Selection(run="r", owner="none", context={"strategyName": "trend", "symbol": "x"})) == 1
    assert await rows.count(Selection(run="r", owner="none", signals=["s"])) == 0
    assert await rows.list_signals(Selection(run="r")) == []
    assert [step async for step in rows.delete(Selection(run="r", owner="all"))] == []
    assert len(await read(store)) == 8


# Watches


async def take(feed: ChangeFeed, count: int) -> list[Change]:
    changes = []
    async with asyncio.timeout(SECONDS):
        for _ in range(count):
            found = await feed.next()
            assert found is not None
            changes.append(found)
    return changes


@pytest.mark.usefixtures("few_rows")
async def test_watch_reports_each_group_of_rows_and_no_move_into_blocks(path: Path) -> None:
    store = open_store(path, FIRST)
    feed, other = (ChangeFeed(get_database(str(path)), FIRST, context, None) for context in (CONTEXT, None))
    for one in (feed, other):
        await one.begin()
    await store.insert(CONTEXT, make_uniform(FIRST, 0, 3))
    await store.insert(CONTEXT, make_uniform(FIRST, 2, 4))
    await seal(store)
    await store.insert((False, "else", "x"), make_uniform(FIRST, 0, 1))
    await store.delete_rows(CONTEXT, 1, 3)
    await store.insert(CONTEXT, make_uniform(FIRST, 100, 200))  # into a block at once
    changes = await take(feed, 4)
    assert [(one.kind, one.key) for one in changes] == [
        ("written", None),
        ("written", None),
        ("deleted", None),
        ("written", None),
    ]
    assert changes[0].payload == make_uniform(FIRST, 0, 3).rows(FIRST)
    assert changes[0].context == {"symbol": "BTCUSDT", "strategy_name": "trend", "backtest": True}
    assert changes[2].payload == {"start": 1, "end": 3, "rows": 2}
    assert len(changes[3].payload) == 100
    assert len(await take(other, 5)) == 5
    again = ChangeFeed(get_database(str(path)), FIRST, CONTEXT, changes[1].token)
    await again.begin()
    assert await take(again, 2) == changes[2:]
    for one in (feed, other, again):
        await one.close()


# Renaming


async def test_series_is_renamed_as_a_whole(path: Path) -> None:
    store, source, target = open_store(path), CONTEXT, (True, "other", "BTCUSDT")
    await store.insert(source, make_uniform(LAST, 0, 100))
    await seal(store)
    await store.insert(source, make_uniform(LAST, 90, 120, price=3.0))
    expected = await read(store)
    feed = ChangeFeed(get_database(str(path)), LAST, None, None)
    await feed.begin()
    renamer, name = store.renamer, NewName("trend", "other")
    assert (await renamer.count(source)).rows == 130
    assert (await renamer.move(source, target, name)).rows == 130
    assert await read(store, source) == []
    assert await read(store, target) == expected
    assert [problem async for _, problem in store.verify_rows(target)] == [None, None]
    changes = await take(feed, 3)
    assert [(one.kind, one.context["strategy_name"]) for one in changes if one.context] == [
        ("deleted", "trend"),
        ("written", "other"),
        ("written", "other"),
    ]
    await feed.close()
    await store.insert(source, make_uniform(LAST, 0, 1))
    with pytest.raises(ConflictError, match="already stored under its new name"):
        await renamer.move(source, target, name)
    assert len(await read(store, source)) == 1


async def test_equity_of_a_blank_frame_is_stored(path: Path) -> None:
    from backtest_mongo.columns.arrays import ColumnArrays, Values

    store = open_store(path, EQUITY)
    context = ("trend", "binance", "", "BTCUSDT", False)
    values = {
        column.name: Values(np.ones(3), None if not column.nullable else np.array([True, False, True]))
        for column in EQUITY.columns
    }
    rows = ColumnArrays(np.arange(3, dtype=np.int64), None, values)
    assert await store.insert(context, rows) == 3
    assert (await store.read_rows(context, 0, 2, ["cash"])).rows(EQUITY) == [
        {"timestamp": 0, "cash": None if values["cash"].valid is None else 1.0},
        {"timestamp": 1, "cash": None},
    ]
    assert [key async for key in store.list_contexts({"strategyName": "trend"})] == [context]

"""Watches of an SQLite file: other processes, tokens, the length of the log, forks, kills, and other programs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, ConfigError, InputError, StoreError, StoreUnavailableError, persist, set_config
from backtest_mongo.core.watch import Watch
from backtest_mongo.sqlite import change_log, watcher
from backtest_mongo.sqlite.file_format import STEPS
from tests.sqlite.support import change, database_of, list_names, locked_for_all, query, until, worker
from tests.support import uniform
from tests.support.changes import list_changes, take_change, take_changes
from tests.support.deadlines import PROCESS_SECONDS, SECONDS
from tests.support.uniform import candles

LOST = r"^state: watching failed: changes were missed, because {path} no longer has them .*\(read what is stored, and"


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that holds some tens of changes."""
    monkeypatch.setattr(change_log, "KEPT_BYTES", 10_000)
    monkeypatch.setattr(change_log, "STEP_BYTES", 1_000)


def write(number: int, name: str = "b", pad: str = "") -> Any:
    return persist.state("s", name).write_state_data({"n": number, "pad": pad} if pad else {"n": number}, 1)


def watch(after: str | None = None, name: str = "b") -> Watch:
    return persist.state("s", name).watch(after)


def has_moved(changes: Watch, token: str | None) -> bool:
    return changes.token != token


async def assert_lost(path: Path, changes: Watch) -> None:
    with pytest.raises(StoreError, match=LOST.format(path=path)) as caught:
        await take_change(changes)
    assert (caught.value.code, type(caught.value)) == (286, StoreError)


# Other processes


async def test_changes_of_other_processes_are_reported_in_their_order(path: Path) -> None:
    memory, log, candle = persist.memory("s", "b"), persist.log(), persist.candle("BTCUSDT", "1m", "x")
    async with memory.watch() as memories, log.watch() as logs, candle.watch() as rows:
        with worker("share", str(path), "0") as one, worker("share", str(path), "1") as other:
            keys = [change.key for change in await take_changes(memories, 80)]
            logged = [change.key for change in await take_changes(logs, 80)]
            new = [int(process.communicate(timeout=PROCESS_SECONDS)[0]) for process in (one, other)]
        times: list[Any] = [change.key for change in await take_changes(rows, sum(new))]
    for found in (keys, logged):
        for name in "01":
            mine = [key for key in found if str(key).startswith(name)]
            assert mine == [f"{name}-{number:02}" for number in range(40)]
    assert sorted(times) == [number * 60_000 for number in range(410)]


def read_line(process: subprocess.Popen[str]) -> list[Any]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())  # type: ignore[no-any-return]


async def test_token_of_a_killed_process_resumes_in_another_one(path: Path) -> None:
    memory = persist.memory("s", "b")
    await memory.write_memory_data({}, "before", 1)
    token, seen = None, []
    for start in range(0, 30, 10):
        with worker("watch", str(path), *([] if token is None else [token])) as process:
            _, token = await asyncio.to_thread(read_line, process)
            for number in range(start, start + 10):
                await memory.write_memory_data({}, f"{number}", 1)
            for _ in range(7):  # the others are for the next process
                key, token = await asyncio.to_thread(read_line, process)
                seen.append(key)
            process.kill()
    async with memory.watch(after=token) as changes:
        seen += [found.key for found in await take_changes(changes, 9)]
    assert seen == [f"{number}" for number in range(30)]


async def test_killed_writer_leaves_a_log_of_all_that_it_has_written(path: Path) -> None:
    state = persist.state("a", "one")
    async with state.watch() as changes:
        with worker("acknowledge", str(path), "a") as process:
            assert process.stdout is not None
            for _ in range(10):
                assert await asyncio.to_thread(process.stdout.readline)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        stored: Any = await state.read_state_data()
        found = await take_changes(changes, stored["n"])
        await state.write_state_data({"n": "end"}, 1)
        assert (await take_change(changes)).payload == {"n": "end"}
    assert [change.payload["n"] for change in found] == [*range(1, stored["n"] + 1)]
    assert found[-1].payload == stored
    assert stored["n"] >= 10


def test_watch_never_crosses_a_fork(tmp_path: Path) -> None:
    """Python 3.12 and later warn of a fork of a process with threads, which is what is tested."""
    path = tmp_path / "backtest.db"
    with worker("fork-watch", str(path), ignored=("-W", "ignore::DeprecationWarning"), stderr=-1) as process:
        output, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, output, errors) == (0, "done\n", "")
    assert list_names(tmp_path) == ["backtest.db"]


async def test_writers_and_checkpoints_do_not_wait_for_a_watch(path: Path) -> None:
    async with watch() as changes:
        waiting = asyncio.ensure_future(take_changes(changes, 2))
        await write(1)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("""UPDATE "state-items" SET payload='{"n":2}'""")
            connection.execute("COMMIT")
            assert [found.payload for found in await waiting] == [{"n": 1}, {"n": 2}]
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


# Tokens


async def test_token_is_the_start_and_then_the_last_returned_change(path: Path) -> None:
    changes = watch()
    assert changes.token is None
    async with changes:
        tokens: list[str | None] = [changes.token]
        for number in range(3):
            await write(number)
        step = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        step.cancel()  # what it would have returned is read all the same
        await until(lambda: changes._source._changes)  # type: ignore[union-attr]  # of SQLite
        tokens.append(changes.token)
        tokens += [found.token for found in await take_changes(changes, 3)]
        assert changes.token == tokens[-1]
    for token, expected in zip(tokens, [0, 0, 1, 2, 3], strict=True):
        async with watch(token) as changes:
            assert changes.token == token
            if expected == 3:
                await write(3)
            assert (await take_change(changes)).payload == {"n": expected}


@pytest.mark.parametrize("after", ["", "sqlite", "sqlite-1", "sqlite-x-1", "8265A1F2C30000", "sqlite-1-²"])
async def test_token_of_mongodb_and_rubbish_are_refused_before_a_file_is_made(path: Path, after: str) -> None:
    with pytest.raises(InputError, match=r"^state: watching failed: after is not a token .*one of MongoDB is no place"):
        await take_change(watch(after))
    assert list_names(path.parent) == []


async def test_token_of_another_file_or_of_one_that_is_gone_means_that_changes_were_missed(path: Path) -> None:
    await write(1)
    async with watch() as changes:
        await write(2)
        token = (await take_change(changes)).token
    await backtest_mongo.close()
    os.unlink(path)
    await assert_lost(path, watch(token))
    assert list_names(path.parent) == []
    await write(3)
    await write(4)
    await assert_lost(path, watch(token))


async def test_token_of_what_a_restored_backup_lacks_means_that_changes_were_missed(path: Path) -> None:
    await write(1)
    async with watch() as changes:
        await write(2)
        kept = (await take_change(changes)).token
        await backtest_mongo.close()
        shutil.copy(path, path.with_name("backup.db"))
    async with watch() as changes:
        await write(3)
        lost = (await take_change(changes)).token
    await backtest_mongo.close()
    os.replace(path.with_name("backup.db"), path)
    await until(lambda: int(time.time() * 1000) > int(lost.split("-")[2]))  # a change of then has another time
    await write(5)
    await assert_lost(path, watch(lost))
    async with watch(kept) as changes:
        assert (await take_change(changes)).payload == {"n": 5}


async def test_token_advances_with_changes_of_other_contexts_and_survives_the_trimming(
    path: Path, short_log: None
) -> None:
    async with watch() as changes:
        waiting = asyncio.ensure_future(take_change(changes))
        for number in range(200):
            began = changes.token
            await write(number, "elsewhere")
            await until(partial(has_moved, changes, began))
        await write(1)
        assert (await waiting).payload == {"n": 1}


# The length of the log


async def test_log_is_trimmed_in_steps_and_what_is_kept_is_reported(path: Path, short_log: None) -> None:
    async with watch() as changes:
        old = changes.token
        spans = []
        for number in range(300):
            await write(number, pad="x" * (number % 50))
            assert (await take_change(changes)).payload["n"] == number
            ((span, count),) = query(path, "SELECT max(number) - min(number), count(*) FROM changes")
            spans.append(span)
            if number == 290:
                token = changes.token
        assert count < 60
    assert 10_000 < max(spans) <= 11_000 + 2 * 400
    assert min(spans[100:]) >= 10_000 - 400
    await assert_lost(path, watch(old))
    async with watch(token) as changes:
        assert [found.payload["n"] for found in await take_changes(changes, 9)] == [*range(291, 300)]


async def test_one_transaction_larger_than_the_log_is_reported_whole(path: Path, short_log: None) -> None:
    await write(0)
    states: Any = type(persist.state("s", "b"))
    async with states.watch_all() as changes:
        rows = [(("s", f"b-{number}"), {"n": number, "pad": "x" * 2_000}) for number in range(100)]
        await states.write_many(rows, when=1)
        assert [found.payload["n"] for found in await take_changes(changes, 100)] == [*range(100)]
        await write(100)
        assert (await take_change(changes)).payload == {"n": 100}


async def test_watch_that_is_slower_than_the_log_is_long_is_told_so(path: Path, short_log: None) -> None:
    async with watch() as changes:
        for number in range(300):
            await write(number)
        await assert_lost(path, changes)
        assert await list_changes(changes) == []


async def test_slow_watch_reads_no_more_ahead_than_a_part(path: Path) -> None:
    async with watch() as changes:
        for number in range(40):
            await write(number, pad="x" * 50_000)
        assert (await take_change(changes)).payload["n"] == 0
        source: Any = changes._source
        assert 0 < len(source._changes) < 10
        assert [found.payload["n"] for found in await take_changes(changes, 39)] == [*range(1, 40)]


async def test_log_that_somebody_empties_begins_again(path: Path) -> None:
    await write(1)
    async with watch() as changes:
        change(path, "DELETE FROM changes")
        await assert_lost(path, changes)
    async with watch() as changes:
        await write(2)
        assert (await take_change(changes)).payload == {"n": 2}
    change(path, "DELETE FROM changes")
    await write(3)
    assert await persist.state("s", "b").read_state_data() == {"n": 3}


# What is at the path


async def test_watch_makes_a_file_that_is_missing(path: Path) -> None:
    async with watch() as changes:
        assert path.name in list_names(path.parent)
        with worker("everything", str(path)) as process:
            async with persist.state("signal_id-x", "bucket_name-x").watch(changes.token) as others:
                assert (await take_change(others)).payload == uniform.payload(persist.state("s", "b").spec)
            assert process.wait(PROCESS_SECONDS) == 0


async def test_path_that_can_have_no_file_is_named(tmp_path: Path) -> None:
    persist.use_sqlite(tmp_path / "missing" / "backtest.db")
    changes = watch()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"^state: watching failed: unable to open .*check that its directory"):
            await take_change(changes)
    (tmp_path / "missing").mkdir()
    waiting = asyncio.ensure_future(take_change(changes))
    await until(lambda: database_of(tmp_path / "missing" / "backtest.db").watcher.watches)
    await write(1)
    assert (await waiting).payload == {"n": 1}
    await backtest_mongo.close()


@pytest.mark.parametrize("how", ["removed", "replaced", "emptied"])
async def test_watch_of_a_file_that_is_gone_says_that_changes_were_missed(path: Path, how: str) -> None:
    await write(1)
    async with watch() as changes:
        waiting = asyncio.ensure_future(assert_lost(path, changes))
        await asyncio.sleep(0)
        other = path.with_name("other.db")
        if how == "replaced":
            persist.use_sqlite(other)
            await write(7)
            persist.use_sqlite(path)
            database_of(other).close()
        elif how == "emptied":
            other.touch()
        # With its write-ahead log emptied: SQLite would read that of the old file beside the new one.
        await asyncio.to_thread(database_of(path).close)
        if how == "removed":
            os.unlink(path)
        else:
            os.replace(other, path)
        await waiting
    for name in ("-wal", "-shm"):  # they were of the file that was there
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{name}")


async def test_watch_goes_on_in_a_copy_with_the_same_log(path: Path) -> None:
    await write(1)
    async with watch() as changes:
        copy = path.with_name("copy.db")
        query(path, f"VACUUM INTO '{copy}'")
        await asyncio.to_thread(database_of(path).close)
        os.replace(copy, path)
        await write(2)
        assert (await take_change(changes)).payload == {"n": 2}


async def test_lock_of_all_readers_is_waited_for_within_the_deadline(path: Path) -> None:
    await write(1)
    await backtest_mongo.close()
    changes = watch()
    set_config(CC_MONGO_TIMEOUT_MS=1)
    with locked_for_all(path):
        with pytest.raises(
            StoreUnavailableError,
            match=r"^state: watching failed: another process holds the lock on .* \(CC_MONGO_TIMEOUT_MS is how",
        ):
            await take_change(changes)
        set_config(CC_MONGO_TIMEOUT_MS=int(SECONDS * 1000))
        waiting = asyncio.ensure_future(take_change(changes))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
    await until(lambda: database_of(path).watcher.watches)
    await write(2)
    assert (await waiting).payload == {"n": 2}


async def test_log_that_can_not_be_read_is_an_error_and_ends_the_watch(path: Path) -> None:
    await write(1)
    async with watch() as changes:
        change(path, "DROP TABLE changes")
        with pytest.raises(StoreError, match=r"^state: watching failed: no such table: changes: "):
            await take_change(changes)
        assert await list_changes(changes) == []


# Other programs


async def test_changes_of_the_shell_are_reported(path: Path) -> None:
    await persist.memory("s", "b").write_memory_data({"n": 1}, "k", 5)
    memory = persist.memory("s", "b")
    async with memory.watch() as changes:
        change(
            path,
            """INSERT INTO "memory-items" VALUES (NULL, 's', 'b', 'l', '{"n":2}', 6, 0, 0, 0, NULL)""",
            """UPDATE "memory-items" SET payload='{"n":3}', "when"=7 WHERE memoryId='k'""",
            """UPDATE "memory-items" SET removed=1 WHERE memoryId='l'""",
            """DELETE FROM "memory-items" WHERE memoryId='k'""",
        )
        found = await take_changes(changes, 4)
    assert [(each.kind, each.key, each.payload, each.when) for each in found] == [
        ("written", "l", {"n": 2}, 6),
        ("written", "k", {"n": 3}, 7),
        ("removed", "l", None, 6),
        ("deleted", "k", None, 7),
    ]
    assert abs(found[-1].time - time.time() * 1000) < 60_000
    assert found[0].context == {"signal_id": "s", "bucket_name": "b"}


async def test_blocks_that_the_shell_deletes_are_reported_candle_by_candle(path: Path) -> None:
    series = persist.candle("BTCUSDT", "1m", "x")
    await series.write_candles_data(candles(600))
    async with series.watch() as changes:
        change(path, 'DELETE FROM "candle-items"')
        found = await take_changes(changes, 600)
    assert [(each.kind, each.key) for each in found] == [("deleted", row["timestamp"]) for row in candles(600)]


@pytest.mark.parametrize("payload", ["'{'", "CAST(x'ff' AS TEXT)", "'[[[['"])
async def test_change_that_can_not_be_decoded_is_skipped_with_one_warning(
    path: Path, payload: str, caplog: pytest.LogCaptureFixture
) -> None:
    await write(1)
    async with watch() as changes:
        for _ in range(2):
            change(path, f'UPDATE "state-items" SET payload={payload}')
        await write(2)
        assert (await take_change(changes)).payload == {"n": 2}
    assert caplog.text.count("a watch skipped a change of a row that can't be decoded") <= 1


# Loops and threads


async def test_close_of_another_loop_ends_none_of_this_one_s_watches(path: Path) -> None:
    def work() -> None:
        async def write_and_close() -> None:
            async with watch() as theirs:
                await write(1)
                assert (await take_change(theirs)).payload == {"n": 1}
                waiting = asyncio.ensure_future(list_changes(theirs))
                await asyncio.sleep(0)
                await backtest_mongo.close()
                assert await waiting == []

        asyncio.run(write_and_close())

    async with watch() as changes:
        waiting = asyncio.ensure_future(take_changes(changes, 2))
        await asyncio.to_thread(work)
        await write(2)
        assert [found.payload for found in await waiting] == [{"n": 1}, {"n": 2}]


def test_watch_of_a_loop_that_was_closed_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)
    kept = []

    async def leave() -> None:
        changes = watch()
        await changes.__aenter__()
        step = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        step.cancel()
        kept.append(changes)

    asyncio.run(leave())

    async def go_on() -> None:
        async with watch() as changes:
            await write(1)
            assert (await take_change(changes)).payload == {"n": 1}
            await until(lambda: len(database_of(path).watcher.watches) == 1)
        await backtest_mongo.close()

    asyncio.run(go_on())
    kept.clear()
    gc.collect()
    assert not database_of(path).watcher.watches


async def test_watch_that_nobody_refers_to_is_closed(path: Path) -> None:
    changes = watch()
    await changes.__aenter__()
    assert len(database_of(path).watcher.watches) == 1
    del changes
    gc.collect()
    assert not database_of(path).watcher.watches


async def test_thread_ends_when_nobody_waits_and_begins_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_IDLE_SECONDS", 0.001)

    def count_threads() -> int:
        return sum(thread.name == "backtest-mongo sqlite watch" for thread in threading.enumerate())

    async with watch() as changes:
        for number in range(5):
            await write(number)
            assert (await take_change(changes)).payload == {"n": number}
            await until(lambda: not count_threads())


def test_process_that_ends_in_a_watch_does_not_hang(tmp_path: Path) -> None:
    with worker("leave-watch", str(tmp_path / "backtest.db"), stderr=-1) as process:
        output, errors = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, output, errors) == (0, "leaving\n", "")


async def test_database_in_memory_reports_its_changes() -> None:
    persist.use_sqlite(":memory:")
    name = "watched in memory"
    async with watch(name=name) as changes:
        token = changes.token
        for number in range(3):
            await write(number, name)
        assert [found.payload["n"] for found in await take_changes(changes, 3)] == [0, 1, 2]
        waiting = asyncio.ensure_future(take_change(changes))
        await asyncio.sleep(0)
        await write(3, name)
        assert (await waiting).payload == {"n": 3}
        ending = asyncio.ensure_future(list_changes(changes))
        await asyncio.sleep(0)
        await backtest_mongo.close()
        assert await ending == []
    async with watch(token, name) as changes:
        assert [found.payload["n"] for found in await take_changes(changes, 4)] == [0, 1, 2, 3]


# The format before the log


@pytest.fixture
def older(path: Path) -> Path:
    """A file of format 1 with a row of every slot, and a removed one."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent.parent / "golden" / "sqlite-format-1.sql").read_text())
    return path


@pytest.mark.parametrize("how", ["read", "write", "watch"])
async def test_file_of_the_first_format_keeps_its_rows_and_reports_its_changes(older: Path, how: str) -> None:
    assert query(older, "PRAGMA user_version") == [(1,)]
    if how == "read":
        assert await persist.state("s", "b").read_state_data() is None
    elif how == "write":
        await write(1)
    async with watch():
        pass
    assert query(older, "PRAGMA user_version") == [(len(STEPS),)]
    for spec in SLOTS:
        slot: Any = getattr(persist, spec.name)(**uniform.context(spec, "x"))
        if spec.shape == "series":
            assert await slot.read_candles_data(3, 0) == candles(3)
        else:
            assert await uniform.read(slot) == uniform.stored(spec, uniform.payload(spec))
        async with slot.watch() as changes:
            change(older, f'DELETE FROM "{spec.collection}"')  # before the library has written into the table
            found = await take_change(changes)
        assert (found.kind, found.context) == ("deleted", uniform.context(spec, "x"))
        assert found.key == (0 if spec.shape == "series" else uniform.ENTRY if spec.item else None)


async def test_upgraded_tables_have_the_triggers_that_new_ones_get(older: Path) -> None:
    def triggers(path: Path) -> list[Any]:
        return sorted(query(path, "SELECT name, tbl_name, sql FROM sqlite_master WHERE type='trigger'"))

    await persist.state("s", "b").read_state_data()
    with worker("everything", str(older.with_name("new.db"))) as process:
        assert process.wait(PROCESS_SECONDS) == 0
    assert triggers(older) == triggers(older.with_name("new.db"))
    assert len(triggers(older)) == 3 * len(SLOTS) - 1

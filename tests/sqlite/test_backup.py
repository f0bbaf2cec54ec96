"""Copies of a database: whole, as it was at one moment, and in place only once they are complete."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    BacktestMongoError,
    ConfigError,
    InputError,
    LeaseHeldError,
    StoreError,
    StoreUnavailableError,
    lease,
    persist,
)
from backtest_mongo.sqlite import backup, replacement
from backtest_mongo.sqlite.backup import back_up
from backtest_mongo.sqlite.replacement import make_database
from tests.files.test_full_disk import largest_file
from tests.sqlite.support import ROOT, change, get, list_names, locked, put, query
from tests.support.deadlines import SECONDS
from tests.support.leases import take_leases
from tests.support.uniform import WHEN, candles


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


async def fill(rows: int = 3) -> None:
    """Store rows and candles, and leave the database open."""
    await persist.log().write_log_data([{"id": str(number), "text": "x" * 500} for number in range(rows)])
    await persist.candle("BTC", "1m", "x").write_candles_data(candles(600))


def count(path: Path) -> int:
    ((rows,),) = query(path, "SELECT count(*) FROM [log-items]")
    return int(rows)


def damage(path: Path) -> None:
    """Overwrite the first page of each slot's table."""
    pages = query(path, "SELECT rootpage FROM sqlite_master WHERE type='table' AND name LIKE '%-items'")
    with path.open("r+b") as file:
        for (page,) in pages:
            file.seek((page - 1) * 4096)
            file.write(b"U" * 4096)


async def test_copy_has_everything_while_the_database_is_open(path: Path, copy: Path) -> None:
    await fill()
    assert get(Path(f"{path}-wal"))  # of which the copy has the content, too
    size = await asyncio.to_thread(back_up, str(path), str(copy))
    assert size == len(get(copy))
    assert list_names(copy.parent) == ["backtest.db", "backtest.db-shm", "backtest.db-wal", "copy.db"]
    await backtest_mongo.close()
    persist.use_sqlite(copy)
    assert len(await persist.log().read_log_data()) == 3
    assert await persist.candle("BTC", "1m", "x").read_candles_data(600, 0) == candles(600)
    await persist.log().write_log_data([{"id": "more"}])
    assert (count(copy), count(path)) == (4, 3)


async def test_restored_backup_keeps_the_leases_of_its_time_until_they_expire(path: Path, copy: Path) -> None:
    """The owners are those of the original: nobody renews them in the copy, and they end there by themselves."""
    persist.use_sqlite(path)
    await take_leases(persist.state("s", "b"), ttl=2.0)
    await take_leases(persist.state("s", "long"))
    await backtest_mongo.close()
    back_up(str(path), str(copy))
    persist.use_sqlite(copy)
    with pytest.raises(LeaseHeldError):
        async with lease(persist.state("s", "long")):
            pass
    async with lease(persist.state("s", "b"), wait=SECONDS):
        await persist.state("s", "b").write_state_data({"n": 1}, WHEN)
    assert await persist.state("s", "long")._base_store().committer.release_by_force('state["s", "long"]')
    async with lease(persist.state("s", "long")):
        pass
    await backtest_mongo.close()


async def test_copy_is_of_one_moment_and_keeps_nobody_from_writing(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(200)
    await backtest_mongo.close()
    monkeypatch.setattr(backup, "_STEP", 5)
    written = []

    def write(done: int, total: int) -> None:
        assert 0 < done <= total
        if done < total:
            # Another connection, as that of another process: at once, or this raises that the database is locked.
            with contextlib.closing(sqlite3.connect(path, timeout=0)) as other, other:
                other.execute("UPDATE [log-items] SET payload='{}'")
            written.append(done)

    back_up(str(path), str(copy), progress=write)
    assert len(written) > 3
    assert written == sorted(set(written))  # it never began again
    assert query(copy, "SELECT count(*) FROM [log-items] WHERE payload='{}'") == [(0,)]
    assert query(path, "SELECT count(*) FROM [log-items] WHERE payload='{}'") == [(200,)]
    assert query(copy, "PRAGMA integrity_check") == [("ok",)]


async def test_backup_waits_for_no_writer(path: Path, copy: Path) -> None:
    await fill()
    with locked(path):
        await asyncio.to_thread(back_up, str(path), str(copy))
    assert count(copy) == 3


async def test_file_that_is_there_is_replaced_by_force_alone(path: Path, copy: Path) -> None:
    await fill()
    await backtest_mongo.close()
    back_up(str(path), str(copy))
    before = get(copy)
    change(path, "DELETE FROM [log-items] WHERE entryId='0'")
    with pytest.raises(InputError, match=r"copy.db exists already \(.*--force"):
        back_up(str(path), str(copy))
    assert get(copy) == before
    back_up(str(path), str(copy), force=True)
    assert count(copy) == 2
    assert list_names(copy.parent) == ["backtest.db", "copy.db"]


@pytest.mark.parametrize("content", [b"", b"no database" * 900])
async def test_force_replaces_a_file_that_is_no_database(path: Path, copy: Path, content: bytes) -> None:
    await fill()
    put(copy, content)
    await asyncio.to_thread(back_up, str(path), str(copy), force=True)
    assert count(copy) == 3


async def test_link_to_a_file_stays_a_link(path: Path, copy: Path, tmp_path: Path) -> None:
    await fill()
    os.mkdir(tmp_path / "other")
    os.symlink("other/real.db", copy)
    await asyncio.to_thread(back_up, str(path), str(copy))
    assert os.readlink(copy) == "other/real.db"
    assert list_names(tmp_path / "other") == ["real.db"]


async def test_backup_is_restored_over_a_damaged_file_with_a_log(path: Path, copy: Path) -> None:
    await fill(100)
    await asyncio.to_thread(back_up, str(path), str(copy))
    await persist.log().write_log_data([{"id": "later"}])
    log = get(Path(f"{path}-wal"))
    await backtest_mongo.close()
    damage(path)
    put(Path(f"{path}-wal"), log)  # as a process that was killed leaves it
    back_up(str(copy), str(path), force=True)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert count(path) == 100
    assert list_names(path.parent) == ["backtest.db", "copy.db"]
    assert len(await persist.log().read_log_data()) == 100


async def test_file_that_is_in_use_is_not_replaced(path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "_LOCK_SECONDS", 0.05)
    await fill()
    await asyncio.to_thread(back_up, str(path), str(copy))
    with contextlib.closing(sqlite3.connect(copy)) as other:
        other.execute("SELECT * FROM [log-items]").fetchall()
        with pytest.raises(StoreUnavailableError, match="is used by another process") as caught:
            await asyncio.to_thread(back_up, str(path), str(copy), force=True)
        assert caught.value.hint
    assert count(copy) == 3


def make_foreign(path: Path) -> None:
    change(path, "CREATE TABLE t (x)")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda path: None, ConfigError, "there is no database at"),
        (lambda path: put(path, b""), ConfigError, "is not a database of backtest-mongo: it is empty"),
        (lambda path: put(path, b"text" * 2_000), ConfigError, "file is not a database"),
        (make_foreign, ConfigError, "is a database of another program"),
        (lambda path: path.mkdir(), ConfigError, "is a directory"),
    ],
)
def test_what_is_no_database_of_ours_is_not_copied(
    path: Path, copy: Path, make: Callable[[Path], Any], kind: type[BacktestMongoError], message: str
) -> None:
    make(path)
    with pytest.raises(kind, match=message) as caught:
        back_up(str(path), str(copy))
    assert caught.value.hint
    assert not copy.exists()


async def test_damaged_database_is_an_error_that_says_what_to_do_and_leaves_the_last_copy(
    path: Path, copy: Path
) -> None:
    await fill(100)
    await backtest_mongo.close()
    back_up(str(path), str(copy))
    damage(path)
    with pytest.raises(StoreError, match=r"restore an earlier backup.*sqlite3 FILE \.recover"):
        back_up(str(path), str(copy), force=True)
    assert count(copy) == 100
    assert query(copy, "PRAGMA journal_mode") == [("wal",)]
    assert list_names(copy.parent) == ["backtest.db", "copy.db"]


async def test_database_is_not_replaced_by_itself(path: Path, copy: Path) -> None:
    await fill()
    os.symlink(path, copy)
    hard = path.with_name("hard.db")
    os.link(path, hard)
    for target in (path, copy, hard):
        with pytest.raises(InputError, match="would replace the database itself"):
            back_up(str(path), str(target), force=True)
    assert count(path) == 3


async def test_copy_that_can_t_be_written_leaves_nothing(path: Path, copy: Path, tmp_path: Path) -> None:
    await fill(300)
    await backtest_mongo.close()
    with pytest.raises(ConfigError, match=rf"there is no directory {tmp_path / 'missing'} \(make it first\)"):
        back_up(str(path), str(tmp_path / "missing" / "copy.db"))
    with pytest.raises(ConfigError, match="is a directory"):
        back_up(str(path), str(tmp_path), force=True)
    with largest_file(65_536), pytest.raises(StoreError) as caught:
        back_up(str(path), str(copy))
    assert caught.value.hint
    assert list_names(tmp_path) == ["backtest.db"]


async def test_interrupted_backup_leaves_what_was_there(path: Path, copy: Path) -> None:
    await fill()
    await backtest_mongo.close()
    put(copy, b"old")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(str(path), str(copy), force=True, progress=stop)
    assert get(copy) == b"old"
    assert list_names(copy.parent) == ["backtest.db", "copy.db"]
    await persist.log().write_log_data([{"id": "more"}])  # no lock is left


KILLED = """
import sys, time
from backtest_mongo.sqlite.backup import back_up

def stop(done, total):
    print("copying", flush=True)
    time.sleep(3600)

back_up(sys.argv[1], sys.argv[2], progress=stop)
"""


async def test_killed_backup_leaves_no_copy_and_is_repeated(path: Path, copy: Path) -> None:
    await fill()
    await backtest_mongo.close()
    command = [sys.executable, "-c", KILLED, str(path), str(copy)]
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert await child.stdout.readline() == b"copying\n"
    with pytest.raises(StoreUnavailableError, match="another process is writing"):
        back_up(str(path), str(copy))
    child.send_signal(signal.SIGKILL)
    await child.wait()
    assert "copy.db" not in list_names(copy.parent)
    assert "copy.db.unfinished" in list_names(copy.parent)
    back_up(str(path), str(copy))
    assert list_names(copy.parent) == ["backtest.db", "copy.db"]
    assert count(copy) == 3


async def test_file_that_is_made_during_the_backup_stays(path: Path, copy: Path) -> None:
    await fill()
    await backtest_mongo.close()
    with pytest.raises(InputError, match="exists already"):
        back_up(str(path), str(copy), progress=lambda done, total: put(copy, b"mine"))
    assert get(copy) == b"mine"
    assert list_names(copy.parent) == ["backtest.db", "copy.db"]


async def test_file_that_is_made_at_the_last_moment_stays(
    path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill()
    await backtest_mongo.close()
    drop = replacement._drop

    def drop_late(name: str, endings: tuple[str, ...]) -> None:
        if name == str(copy):  # which is dropped after it was looked for
            put(copy, b"mine")
        drop(name, endings)

    monkeypatch.setattr(replacement, "_drop", drop_late)
    with pytest.raises(InputError, match="has been made meanwhile"):
        back_up(str(path), str(copy))
    assert get(copy) == b"mine"


def test_place_is_taken_without_links_too(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    with make_database(str(copy), "refuse") as temporary:
        change(Path(temporary), "CREATE TABLE t (x)")
    assert list_names(copy.parent) == ["copy.db"]


async def test_second_name_that_a_killed_process_left_is_removed_and_not_emptied(path: Path, copy: Path) -> None:
    await fill()
    await backtest_mongo.close()
    back_up(str(path), str(copy))
    os.link(copy, f"{copy}.unfinished")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(str(path), str(copy), force=True, progress=stop)
    assert count(copy) == 3
    assert list_names(copy.parent) == ["backtest.db", "copy.db"]


async def test_link_in_the_place_of_the_unfinished_file_is_not_followed(path: Path, copy: Path) -> None:
    await fill()
    await backtest_mongo.close()
    other = path.with_name("other")
    put(other, b"other")
    os.symlink(other, f"{copy}.unfinished")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        back_up(str(path), str(copy))
    assert get(other) == b"other"


async def test_copy_is_not_for_more_eyes_than_the_database(path: Path, copy: Path) -> None:
    await fill()
    await backtest_mongo.close()
    os.chmod(path, 0o600)
    back_up(str(path), str(copy))
    assert os.stat(copy).st_mode & 0o777 == 0o600

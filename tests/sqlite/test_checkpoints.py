"""The write-ahead log is moved into the file with everybody else kept from writing, and never grows without bounds."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import persist, set_logger
from backtest_mongo.sqlite.checkpoints import Checkpoints, count_pages, leave_log, move_log
from tests.sqlite.support import query


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    leave_log(connection)
    return connection


async def write(count: int, size: int = 2_000) -> None:
    """Write so often, each time some pages."""
    states = [persist.state("s", f"{number}") for number in range(50)]
    for number in range(count):
        await states[number % 50].write_state_data({"n": number, "pad": "x" * size}, number)


def test_pages_are_counted_whatever_was_in_the_log_before(tmp_path: Path) -> None:
    chance = random.Random(5)
    path = tmp_path / "a.db"
    assert count_pages(f"{path}-wal") == 0
    with closing(connect(path)) as writer, closing(connect(path)) as other:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)")
        for _ in range(40):
            writer.execute("BEGIN")
            for _ in range(chance.randrange(1, 40)):
                writer.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (chance.randrange(200), b"x" * 3_000))
            writer.execute("COMMIT")
            counted = count_pages(f"{path}-wal")
            if chance.random() < 0.4:  # after which the next transaction begins the log anew
                assert move_log(writer, other) == (counted, counted)
        assert counted > 0


def test_nobody_can_write_while_the_log_is_moved(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(connect(path)) as writer, closing(connect(path)) as third:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t (n)")

        class Other(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    third.execute("BEGIN IMMEDIATE")
                found = super().execute(sql, *parameters)
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    third.execute("BEGIN IMMEDIATE")
                return found

        with closing(sqlite3.connect(path, isolation_level=None, factory=Other)) as other:
            found = move_log(writer, other)
        assert found is not None
        assert found[0] == found[1] > 0
        third.execute("INSERT INTO t VALUES (1)")
        assert writer.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_log_stays_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(connect(path)) as writer, closing(connect(path)) as other, closing(connect(path)) as third:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t (n)")
        third.execute("BEGIN IMMEDIATE")
        before = count_pages(f"{path}-wal")
        assert move_log(writer, other) is None
        third.execute("INSERT INTO t VALUES (1)")
        third.execute("COMMIT")
        assert count_pages(f"{path}-wal") > before
        writer.execute("INSERT INTO t VALUES (2)")
        assert move_log(writer, other) is not None


async def test_no_commit_of_this_library_moves_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "is_due", lambda *_: False)
    await write(700)
    assert count_pages(f"{path}-wal") > 2_000


async def test_log_is_moved_again_and_again(path: Path, tmp_path: Path) -> None:
    longest = 0
    for _ in range(20):
        await write(100)
        longest = max(longest, count_pages(f"{path}-wal"))
    assert 0 < longest < 2_000
    # What is in the file alone, without the log.
    await asyncio.to_thread(shutil.copy, path, tmp_path / "copy.db")
    ((rows, newest),) = query(
        tmp_path / "copy.db", "SELECT count(*), max(json_extract(payload, '$.n')) FROM \"state-items\""
    )
    assert rows == 50
    assert newest >= 40


async def test_log_that_cannot_be_moved_fails_no_write(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    set_logger(logging.getLogger("test"))
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "is_due", lambda *_: True)
        patch.setattr(Checkpoints, "move", fail)
        await write(3)
    await write(60)
    await backtest_mongo.close()
    assert any("can't be moved" in message for message in caplog.messages)
    assert await persist.state("s", "9").read_state_data() == {"n": 59, "pad": "x" * 2_000}

"""SQLite files that can't be imported or replaced, and moves that are interrupted or overlap."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    ConfigError,
    InputError,
    LogAdapter,
    MemoryAdapter,
    StateAdapter,
    StorageAdapter,
    StoreUnavailableError,
    export_dump,
    import_dump,
    persist,
)
from backtest_mongo.dumps.reports import SlotImport
from backtest_mongo.sqlite.file_format import STEPS
from backtest_mongo.sqlite.replacement import make_database
from tests.conftest import Deployment
from tests.sqlite.support import change, get, put, query
from tests.support.dumps import find_slot
from tests.support.sqlite_moves import list_log, write_log
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver, pytest.mark.one_python]


# Rows and files that can't be imported


async def test_rows_that_can_t_be_decoded_are_listed_and_the_others_imported(
    deployment: Deployment, path: Path
) -> None:
    persist.use_sqlite(path)
    for number in range(6):
        await persist.memory("s", "b").write_memory_data({"n": number}, f"m{number}", WHEN)
    await persist.risk("r", "e").write_position_data([["key", {}]], WHEN)
    await persist.storage(True).write_storage_data([{"id": "a"}])
    await backtest_mongo.close()
    change(
        path,
        "UPDATE [memory-items] SET payload='{' WHERE memoryId='m0'",
        "UPDATE [memory-items] SET payload=CAST(x'ff' AS TEXT) WHERE memoryId='m1'",
        "UPDATE [memory-items] SET payload='{\"n\":99999999999999999999}' WHERE memoryId='m2'",
        "UPDATE [memory-items] SET [when]='soon' WHERE memoryId='m3'",
        "UPDATE [memory-items] SET memoryId=CAST(x'6dff' AS TEXT) WHERE memoryId='m4'",
        "UPDATE [risk-items] SET positions='{}'",
        "UPDATE [storage-items] SET backtest=7",
    )
    persist.use_mongo()
    report = await import_dump(path, apply=True)
    assert {problem.path: problem.problem for problem in report.problems} == {
        "memory-items: s, b, m0": "it holds no JSON",
        "memory-items: s, b, m1": "it holds no JSON",
        "memory-items: s, b, m2": "payload.n does not fit in 64 bits (int)",
        "memory-items: s, b, m3": "a time of it is not a whole number",
        "memory-items: s, b, b'm\\xff'": "memoryId must be a str, not bytes",
        "risk-items: r, e": "it holds no list",
        "storage-items: 7, a": "backtest is 7, and must be 0 or 1",
    }
    assert find_slot(report, "memory") == SlotImport("memory", files=6, added=1, refused=5)
    assert await MemoryAdapter("s", "b").read_memory_data("m5") == {"n": 5}


def make_foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")


def make_newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id={int.from_bytes(b'btmo', 'big')}")
        connection.execute(f"PRAGMA user_version={len(STEPS) + 1}")


BAD_FILES: dict[str, tuple[Callable[[Path], None], type[Exception], str]] = {
    "text": (lambda path: put(path, b"no database" * 500), ConfigError, "file is not a database"),
    "empty": (lambda path: put(path, b""), ConfigError, "is not a database of backtest-mongo: it is empty"),
    "foreign": (make_foreign, ConfigError, "is a database of another program"),
    "newer": (make_newer, ConfigError, "upgrade backtest-mongo"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
async def test_file_that_is_no_database_of_ours_is_an_error_and_stays(
    deployment: Deployment, path: Path, tmp_path: Path, kind: str
) -> None:
    make, error, message = BAD_FILES[kind]
    make(path)
    before = get(path)
    with pytest.raises(error, match=message):
        await import_dump(path)
    with pytest.raises(error, match=message):
        await import_dump(path, sqlite=tmp_path / "other.db")
    if kind != "empty":
        with pytest.raises(error, match=message):
            await export_dump(sqlite=path)
    assert get(path) == before
    assert not (tmp_path / "other.db").exists()


async def test_arguments_that_contradict_each_other_are_refused(deployment: Deployment, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes a directory, or sqlite="):
        await export_dump()
    with pytest.raises(InputError, match="takes a directory, or sqlite="):
        await export_dump(tmp_path, sqlite=tmp_path / "a.db")
    with pytest.raises(ConfigError, match="needs a file"):
        await export_dump(sqlite=":memory:")
    with pytest.raises(ConfigError, match="is a directory"):
        await export_dump(sqlite=tmp_path)
    with pytest.raises(ConfigError, match=r"there is no directory .*missing"):
        await export_dump(sqlite=tmp_path / "missing" / "a.db")
    with pytest.raises(InputError, match="no slot is named"):
        await export_dump(sqlite=tmp_path / "a.db", slots=["nothing"])
    with pytest.raises(InputError, match="no dump is in"):
        await import_dump(tmp_path / "missing.db")


# Interruptions, and files that are there


async def test_file_that_holds_rows_is_refused_and_one_without_is_replaced(deployment: Deployment, path: Path) -> None:
    await StateAdapter("s", "b").write_state_data({"n": 1}, WHEN)
    put(path, b"")
    await export_dump(sqlite=path)
    with pytest.raises(InputError, match="holds rows already"):
        await export_dump(sqlite=path)
    persist.use_sqlite(path)
    assert await persist.state("s", "b").read_state_data() == {"n": 1}
    await backtest_mongo.close()
    change(path, "DELETE FROM [state-items]")
    persist.use_mongo()
    await export_dump(sqlite=path)
    assert len(query(path, "SELECT * FROM [state-items]")) == 1


async def test_file_that_another_program_has_open_is_not_replaced(deployment: Deployment, path: Path) -> None:
    await StateAdapter("s", "b").write_state_data({"n": 1}, WHEN)
    persist.use_sqlite(path)
    await persist.state("s", "b").wait_for_init()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM [state-items]").fetchall()
        await backtest_mongo.close()
        persist.use_mongo()
        with pytest.raises(StoreUnavailableError, match="is used by another process"):
            await export_dump(sqlite=path)
    await export_dump(sqlite=path)
    assert len(query(path, "SELECT * FROM [state-items]")) == 1


async def test_log_of_a_file_that_was_removed_is_not_played_back(deployment: Deployment, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE stale (x)")
        other.commit()
        wal = get(Path(f"{path}-wal"))
    os.unlink(path)
    put(Path(f"{path}-wal"), wal)
    await StateAdapter("s", "b").write_state_data({"n": 1}, WHEN)
    await export_dump(sqlite=path)
    assert query(path, "SELECT name FROM sqlite_master WHERE name='stale'") == []
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert len(query(path, "SELECT * FROM [state-items]")) == 1


async def test_second_export_to_one_file_is_refused_and_leaves_the_first_alone(
    deployment: Deployment, path: Path
) -> None:
    await StateAdapter("s", "b").write_state_data({"n": 1}, WHEN)

    def make_slowly() -> Iterator[None]:
        with make_database(str(path), "refuse") as temporary:
            with contextlib.closing(sqlite3.connect(temporary)) as connection, connection:
                connection.execute("CREATE TABLE first (x)")
            yield

    making = make_slowly()
    next(making)
    with pytest.raises(StoreUnavailableError, match="another process is writing"):
        await export_dump(sqlite=path)
    with pytest.raises(StopIteration):
        next(making)
    assert query(path, "SELECT name FROM sqlite_master") == [("first",)]
    assert os.listdir(path.parent) == [path.name]


async def test_cancelled_export_leaves_nothing(deployment: Deployment, path: Path) -> None:
    await write_log(*(str(number) for number in range(1_500)))

    def stop(slot: str, rows: int) -> None:
        task.cancel()

    task = asyncio.ensure_future(export_dump(sqlite=path, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(path.parent) == []
    await export_dump(sqlite=path)
    assert len(query(path, "SELECT * FROM [log-items]")) == 1_500


EXPORT = """
import asyncio, sys, time
from backtest_mongo import export_dump, setup

def stop(slot, rows):
    print("exporting", flush=True)
    time.sleep(3600)

async def main():
    async with setup():
        await export_dump(sqlite=sys.argv[1], progress=stop)

asyncio.run(main())
"""


async def test_killed_export_leaves_no_database_and_is_repeated(
    deployment: Deployment, fresh: dict[str, Any], path: Path
) -> None:
    await write_log(*(str(number) for number in range(1_500)))
    environment = {**os.environ, **deployment.environment}
    command = [sys.executable, "-c", EXPORT, str(path)]
    child = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert await child.stdout.readline() == b"exporting\n"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    assert path.name not in os.listdir(path.parent)
    assert f"{path.name}.unfinished" in os.listdir(path.parent)
    await export_dump(sqlite=path)
    assert os.listdir(path.parent) == [path.name]
    assert len(query(path, "SELECT * FROM [log-items]")) == 1_500


async def test_interrupted_import_is_repeated(deployment: Deployment, path: Path) -> None:
    persist.use_sqlite(path)
    names = [str(number) for number in range(1_200)]
    await write_log(*names)
    await backtest_mongo.close()
    persist.use_mongo()

    def stop(slot: str, rows: int) -> None:
        task.cancel()

    task = asyncio.ensure_future(import_dump(path, apply=True, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    done = len(await deployment.rows(LogAdapter.spec))
    assert 0 < done < 1_200
    report = await import_dump(path, apply=True)
    assert find_slot(report, "log") == SlotImport("log", files=1_200, added=1_200 - done, same=done)
    assert await list_log() == names[-LogAdapter.spec.newest :]  # type: ignore[operator]


async def test_import_reads_while_another_process_writes(deployment: Deployment, path: Path) -> None:
    persist.use_sqlite(path)
    await write_log("a")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute('UPDATE [log-items] SET payload=\'{"id":"changed"}\'')
        persist.use_mongo()
        await import_dump(path, apply=True)
        other.execute("ROLLBACK")
    assert await list_log() == ["a"]
    assert json.loads(query(path, "SELECT payload FROM [log-items]")[0][0]) == {"id": "a"}
    assert await StorageAdapter(False).read_storage_data() == []

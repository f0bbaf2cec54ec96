"""Paths and files that can't be used, and disks that fail: the error says which file, why, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, BacktestMongoError, ConfigError, StoreError, persist
from backtest_mongo.sqlite import file_format
from tests.files.test_full_disk import largest_file
from tests.sqlite.support import change, database_of, get, list_names, put, query, until
from tests.support import uniform
from tests.support.deadlines import SECONDS
from tests.support.uniform import candles


async def both_fail(kind: type[BacktestMongoError], message: str) -> None:
    """Check that reads and writes raise an error with a hint."""
    state = persist.state("s", "b")
    for call in (state.read_state_data, lambda: state.write_state_data({"n": 1}, 1), state.wait_for_init):
        with pytest.raises(kind, match=message) as caught:
            await call()
        assert caught.value.slot == "state"
        assert caught.value.hint


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the path is empty"),
        ("a\0b", "the path has a NUL character"),
        ("file:backtest.db?mode=ro", "takes a path, not a URI"),
        (b"backtest.db", "must be a str or a path, not bytes"),
        (None, "must be a str or a path, not NoneType"),
        (7, "must be a str or a path, not int"),
    ],
)
def test_what_is_no_path_is_refused_and_changes_nothing(path: Any, message: str) -> None:
    chosen = persist.signal("BTCUSDT", "s", "x")
    with pytest.raises(ConfigError, match=message):
        persist.use_sqlite(path)
    assert persist.signal("BTCUSDT", "s", "x") is chosen


def test_directory_is_refused_when_it_is_chosen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path} is a directory \(name a file"):
        persist.use_sqlite(tmp_path)


async def test_directory_that_took_the_place_is_named(path: Path) -> None:
    os.mkdir(path)
    await both_fail(ConfigError, rf"^state: {path} is a directory")


async def test_missing_directory_is_no_empty_database(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "backtest.db"
    persist.use_sqlite(path)
    state = persist.state("s", "b")
    await both_fail(ConfigError, rf"^state: \w+ failed: unable to open .*{path} \(check that its directory exists")
    path.parent.mkdir()
    assert await state.read_state_data() is None
    await state.write_state_data({"n": 1}, 1)
    assert await state.read_state_data() == {"n": 1}
    await backtest_mongo.close()


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE theirs (a)",),
        ("PRAGMA application_id=7", "CREATE TABLE theirs (a)"),
        ("PRAGMA application_id=7",),
        ("PRAGMA user_version=1",),
        ('CREATE TABLE "state-items" (a)',),
    ],
)
async def test_database_of_another_program_is_refused_and_left_alone(path: Path, statements: tuple[str, ...]) -> None:
    change(path, *statements)
    before = get(path)
    await both_fail(ConfigError, rf"^state: {path} is a database of another program")
    assert get(path) == before
    assert list_names(path.parent) == [path.name]


@pytest.mark.parametrize("content", [b"id,price\n1,2\n" * 100, b"xy", os.urandom(5_000)])
async def test_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    put(path, content)
    await both_fail(ConfigError, rf"^state: \w+ failed: file is not a database: {path} \(name another file")
    assert get(path) == content


async def test_empty_file_becomes_a_database(path: Path) -> None:
    put(path, b"")
    assert await persist.state("s", "b").read_state_data() is None
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    assert query(path, "PRAGMA user_version") == [(len(file_format.STEPS),)]


# Formats


async def test_newer_format_is_refused(path: Path) -> None:
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    await backtest_mongo.close()
    change(path, f"PRAGMA user_version={len(file_format.STEPS) + 1}")
    known = len(file_format.STEPS)
    problem = rf"^state: {path} has format {known + 1}, and .* knows formats up to {known} \(upgrade backtest-mongo"
    await both_fail(ConfigError, problem)


@pytest.mark.parametrize("does_read", [True, False])
async def test_older_format_is_upgraded_once(path: Path, monkeypatch: pytest.MonkeyPatch, does_read: bool) -> None:
    state, upgraded = persist.state("s", "b"), []
    await state.write_state_data({"n": 1}, 1)
    await backtest_mongo.close()

    def step(connection: sqlite3.Connection) -> None:
        upgraded.append(connection.execute("PRAGMA user_version").fetchone())
        connection.execute("""UPDATE "state-items" SET payload='{"n":2}'""")

    monkeypatch.setattr(file_format, "STEPS", [*file_format.STEPS, step])
    monkeypatch.setattr("backtest_mongo.sqlite.database.STEPS", file_format.STEPS)
    if does_read:
        assert await state.read_state_data() == {"n": 2}
    else:
        await persist.state("s", "c").write_state_data({"n": 3}, 1)
        assert await state.read_state_data() == {"n": 2}
    await backtest_mongo.close()
    assert await state.read_state_data() == {"n": 2}
    assert upgraded == [(len(file_format.STEPS) - 1,)]
    assert query(path, "PRAGMA user_version") == [(len(file_format.STEPS),)]


async def test_upgrade_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = persist.state("s", "b")
    await state.write_state_data({"n": 1}, 1)
    await backtest_mongo.close()

    def step(connection: sqlite3.Connection) -> None:
        connection.execute('DELETE FROM "state-items"')
        raise sqlite3.OperationalError("no")

    with monkeypatch.context() as patched:
        patched.setattr(file_format, "STEPS", [*file_format.STEPS, step])
        patched.setattr("backtest_mongo.sqlite.database.STEPS", file_format.STEPS)
        await both_fail(StoreError, r"^state: \w+ failed: no: ")
    assert await state.read_state_data() == {"n": 1}


# Rights and disks


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """Work as a user to whom rights apply, which they don't to root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user may enter."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


async def test_file_that_is_read_only_is_named(shared: Path) -> None:
    path = shared / "backtest.db"
    persist.use_sqlite(path)
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    await backtest_mongo.close()
    os.chmod(path, 0o444)
    os.chmod(shared, 0o555)
    with as_somebody():
        await both_fail(ConfigError, rf"^state: \w+ failed: .*: {path} \(.*writ")
        await backtest_mongo.close()
    assert query(path, 'SELECT payload FROM "state-items"') == [('{"n":1}',)]


async def test_directory_without_rights_is_named(shared: Path) -> None:
    path = shared / "backtest.db"
    persist.use_sqlite(path)
    os.chmod(shared, 0o555)
    with as_somebody(), pytest.raises(ConfigError, match=rf"^state: writing failed: .*{path} \(.*this user may write"):
        await persist.state("s", "b").write_state_data({"n": 1}, 1)


async def test_file_that_this_user_cannot_see_is_not_taken_for_a_missing_one(shared: Path) -> None:
    path = shared / "backtest.db"
    persist.use_sqlite(path)
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    await backtest_mongo.close()
    os.chmod(shared, 0o000)
    with as_somebody():
        await both_fail(ConfigError, rf"^state: \w+ failed: .*{path} \(.*directory exists and .* may write")
        await backtest_mongo.close()


@pytest.mark.parametrize("slot", [spec.name for spec in SLOTS])
async def test_full_disk_is_named_and_what_was_stored_stays(path: Path, slot: str) -> None:
    spec = next(spec for spec in SLOTS if spec.name == slot)
    adapter: Any = getattr(persist, slot)(**uniform.context(spec, "x"))
    is_series = spec.shape == "series"
    value = candles(400) if is_series else uniform.payload(spec)
    padded = {"pad": "x" * 100_000}
    large: Any = candles(5_000) if is_series else [["a", padded]] if spec.payload == "list" else padded
    write = adapter.write_candles_data if is_series else partial(uniform.write, adapter)
    await write(value)
    size = path.with_name(f"{path.name}-wal").stat().st_size
    with largest_file(size + 1_000), pytest.raises(StoreError) as caught:
        await write(large)
    assert str(path) in str(caught.value)
    assert str(caught.value).startswith(f"{slot}: writing failed: ")
    assert "what was stored before is whole" in str(caught.value)
    found = await (adapter.read_candles_data(400, 0) if is_series else uniform.read(adapter))
    assert found == (value if is_series else uniform.stored(spec, value))
    assert await write(large) == (4_600 if is_series else None)
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


async def test_database_that_may_not_grow_is_full_by_its_name(path: Path) -> None:
    state = persist.state("s", "b")
    await state.write_state_data({"n": 1}, 1)
    writer = database_of(path)._writer
    assert writer is not None
    writer.execute("PRAGMA max_page_count=1")
    with pytest.raises(StoreError, match=r"^state: writing failed: database or disk is full: .*\(free space") as caught:
        await state.write_state_data({"pad": "x" * 100_000}, 1)
    assert caught.value.code == sqlite3.SQLITE_FULL
    await state.write_state_data({"pad": "x" * 100_000}, 1)  # on another connection


async def test_damaged_file_is_named(path: Path) -> None:
    memory = persist.memory("s", "b")
    for number in range(40):
        await memory.write_memory_data({"pad": "x" * 2_000}, f"{number:02}", 1)
    await backtest_mongo.close()
    content = bytearray(get(path))
    content[4_096:] = b"\xa5" * (len(content) - 4_096)
    put(path, bytes(content))
    with pytest.raises(StoreError, match=rf"^memory: reading failed: .*malformed: {path} \(the file is damaged"):
        await memory.read_memory_data("01")
    with pytest.raises(StoreError, match=r"^memory: listing failed: .*malformed"):
        _ = [row async for row in memory.list_memory_data()]
    with pytest.raises(StoreError, match=r"^memory: writing failed: .*malformed"):
        await memory.write_memory_data({"n": 1}, "01", 1)


async def test_write_into_a_file_that_was_removed_makes_another(path: Path) -> None:
    state = persist.state("s", "b")
    await state.write_state_data({"n": 1}, 1)
    for name in list(path.parent.iterdir()):
        name.unlink()
    await persist.state("s", "c").write_state_data({"n": 2}, 1)
    assert query(path, 'SELECT payload FROM "state-items"') == [('{"n":2}',)]
    assert await state.read_state_data() is None


async def test_replaced_file_is_the_one_that_is_written(path: Path, tmp_path: Path) -> None:
    state = persist.state("s", "b")
    await state.write_state_data({"n": 1}, 1)
    await backtest_mongo.close()
    shutil.copy(path, tmp_path / "backup.db")
    await state.write_state_data({"n": 2}, 1)
    for name in (path, *path.parent.glob("backtest.db-*")):
        name.unlink()
    (tmp_path / "backup.db").rename(path)
    await persist.state("s", "c").write_state_data({"n": 3}, 1)
    assert await state.read_state_data() == {"n": 1}
    await backtest_mongo.close()
    assert query(path, 'SELECT count(*) FROM "state-items"') == [(2,)]


async def test_replaced_file_is_the_one_that_is_read_next(path: Path, tmp_path: Path) -> None:
    state, series = persist.state("s", "b"), persist.candle("BTCUSDT", "1m", "x")
    await state.write_state_data({"n": 1}, 1)
    await series.write_candles_data(candles(2))
    await backtest_mongo.close()
    shutil.copy(path, tmp_path / "backup.db")
    await state.write_state_data({"n": 2}, 1)
    await series.write_candles_data(candles(1, first=2 * 60_000))
    assert await state.read_state_data() == {"n": 2}
    assert await series.read_candles_data(3, 0) is not None
    for name in (path, *path.parent.glob("backtest.db-*")):
        name.unlink()
    (tmp_path / "backup.db").rename(path)
    assert await state.read_state_data() == {"n": 1}
    assert await series.read_candles_data(3, 0) is None
    assert await series.read_candles_data(2, 0) == candles(2)


async def test_reader_of_a_file_that_was_removed_meanwhile_is_used_no_more(path: Path) -> None:
    state = persist.state("s", "b")
    await state.write_state_data({"n": 1}, 1)
    begun, ends = threading.Event(), threading.Event()

    def read(connection: sqlite3.Connection) -> bool:
        begun.set()
        return ends.wait(SECONDS)

    reading = asyncio.ensure_future(database_of(path).read_in_thread(read))
    await until(begun.is_set)
    for name in list(path.parent.iterdir()):
        name.unlink()
    await state.write_state_data({"n": 2}, 1)
    ends.set()
    assert await reading
    assert await state.read_state_data() == {"n": 2}

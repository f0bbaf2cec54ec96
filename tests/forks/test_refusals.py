"""Forks that are refused, before anything is written."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import ConfigError, InputError, InputTypeError, StoreError, fork, lease, persist, transaction
from tests.support.forks import Forks
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


@pytest.fixture
async def filled(forks: Forks, unique: str) -> Forks:
    await persist.state(unique, "s").write_state_data({"n": 1}, WHEN)
    return forks


@pytest.mark.parametrize("at", [None, "2024-01-01", 1.5, datetime(2024, 1, 1), 2**70])
async def test_bad_times(filled: Forks, at: Any) -> None:
    with pytest.raises(InputError, match="fork: at must"):
        await fork(filled.next_name(), at=at)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy_name": ""}, "strategy_name must not be empty"),
        ({"strategy_name": 1}, "strategy_name must be a str, not int"),
        ({"copy_candles": 1}, "copy_candles must be a bool, not int"),
        ({"as_backtest": None}, "as_backtest must be a bool, not NoneType"),
        ({"dry_run": "yes"}, "dry_run must be a bool, not str"),
    ],
)
async def test_bad_options(filled: Forks, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        await fork(filled.next_name(), at=WHEN, **options)


@pytest.mark.parametrize("name", [None, 1, b"what_if"])
async def test_bad_types_of_names(filled: Forks, name: Any) -> None:
    with pytest.raises(InputTypeError, match="fork: name must be a str"):
        await fork(name, at=WHEN)


@pytest.mark.mongodb
@pytest.mark.parametrize(
    "name",
    ["", "a/b", "a\\b", "a.b", 'a"b', "a$b", "a*b", "a<b", "a>b", "a:b", "a|b", "a?b", "a\0b", "a b", "a\nb", "x" * 64],
)
@pytest.mark.parametrize("dry_run", [True, False])
async def test_names_that_can_t_be_a_database_s(filled: Forks, name: str, dry_run: bool) -> None:
    with pytest.raises(InputError, match="fork: name "):
        await fork(name, at=WHEN, dry_run=dry_run)


@pytest.mark.mongodb
@pytest.mark.parametrize("name", ["admin", "config", "local", "Admin"])
async def test_names_of_the_server_s_own_databases(filled: Forks, name: str) -> None:
    with pytest.raises(InputError, match=f"must not be {name}, which is the server's own"):
        await fork(name, at=WHEN)


@pytest.mark.mongodb
async def test_paths_are_no_names(filled: Forks) -> None:
    with pytest.raises(InputTypeError, match="name must be a str for a database in MongoDB, not PosixPath"):
        await fork(Path("what_if"), at=WHEN)


async def test_fork_onto_itself(filled: Forks) -> None:
    names = [filled.source] if filled.is_file else [filled.source, filled.source.upper()]
    for name in names:
        with pytest.raises(InputError, match="is the database itself"):
            await fork(name, at=WHEN)
    assert len(await filled.read()) == 1


async def test_fork_onto_the_candles(filled: Forks, unique: str, tmp_path: Path) -> None:
    where = str(tmp_path / "candles.db") if filled.is_file else f"{unique}-candles"
    await filled.set(CC_CANDLE_DATABASE=where)
    with pytest.raises(InputError, match="of its candles"):
        await fork(where, at=WHEN)


async def test_database_with_content(filled: Forks) -> None:
    report = await filled.make(WHEN)
    for dry_run in (True, False):
        with pytest.raises(InputError, match=r"holds .*state-items"):
            await fork(report.path or report.name, at=WHEN, dry_run=dry_run)
    assert (await filled.read(report.path or report.name)) == await filled.read()


@pytest.mark.mongodb
async def test_database_of_another_program(filled: Forks) -> None:
    name = filled.next_name()
    database = (await backtest_mongo.get_mongo())[name]
    await database.create_collection("empty")
    await database["users"].insert_one({"name": "x"})
    with pytest.raises(InputError, match=f"the database {name} is not empty: it holds users"):
        await fork(name, at=WHEN)
    assert sorted(await database.list_collection_names()) == ["empty", "users"]
    await database["users"].delete_many({})
    assert (await fork(name, at=WHEN)).rows == {"state": 1}


@pytest.mark.mongodb
async def test_database_that_only_needs_leases(filled: Forks, unique: str) -> None:
    name = filled.next_name()
    database = (await backtest_mongo.get_mongo())[name]
    await database["backtest_mongo"].insert_one({"_id": "format", "needs": ["leases"]})
    with pytest.raises(InputError, match="holds backtest_mongo"):
        await fork(name, at=WHEN)


async def test_transactions_and_leases_are_no_place_for_it(filled: Forks, unique: str) -> None:
    async with transaction(when=WHEN):
        with pytest.raises(InputError, match="fork can't be part of a transaction"):
            await fork(filled.next_name(), at=WHEN)
    async with lease(persist.state(unique, "s")):
        with pytest.raises(InputError, match="fork can't be part of a lease"):
            await fork(filled.next_name(), at=WHEN)


async def test_slots_in_other_storages(filled: Forks, tmp_path: Path) -> None:
    persist.use_files(tmp_path / "dump", slots=("log", "notification"))
    persist.use(state=lambda *context: object())  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"notification \(FileNotificationAdapter\), log \(FileLogAdapter\), state"):
        await fork(filled.next_name(), at=WHEN)


async def test_slots_in_two_databases(filled: Forks, tmp_path: Path) -> None:
    persist.use_sqlite(tmp_path / "other.db", slots=("log",))
    with pytest.raises(StoreError, match=r"not in one database: .*log \(.*other\.db\)"):
        await fork(filled.next_name(), at=WHEN)
    if not filled.is_file:
        persist.use_sqlite(tmp_path / "other.db", slots=[name for name in persist._adapters if name != "candle"])
        with pytest.raises(StoreError, match="candles are in another database than the rest"):
            await fork(filled.next_name(), at=WHEN)


# Files


@pytest.mark.parametrize("driver", ["sqlite"], indirect=True)
class TestFiles:
    async def test_bare_names_are_beside_the_source(self, filled: Forks, tmp_path: Path) -> None:
        assert (await fork("what_if", at=WHEN)).path == str(tmp_path / "what_if.db")
        assert (await fork(tmp_path / "other.sqlite", at=WHEN)).path == str(tmp_path / "other.sqlite")

    async def test_missing_directory(self, filled: Forks, tmp_path: Path) -> None:
        for dry_run in (True, False):
            with pytest.raises(ConfigError, match="there is no directory"):
                await fork(tmp_path / "none" / "what_if.db", at=WHEN, dry_run=dry_run)

    async def test_what_is_no_file(self, filled: Forks, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a directory"):
            await fork(tmp_path, at=WHEN)
        with pytest.raises(InputError, match="needs a file, not :memory:"):
            await fork(":memory:", at=WHEN)
        with pytest.raises(ConfigError, match="the path is empty"):
            await fork("", at=WHEN)

    async def test_link_to_the_source(self, filled: Forks, tmp_path: Path) -> None:
        link = tmp_path / "link.db"
        link.symlink_to(filled.source)
        with pytest.raises(InputError, match="is the database itself"):
            await fork(link, at=WHEN)

    async def test_source_that_is_not_there(self, forks: Forks, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="there is no database at"):
            await fork("what_if", at=WHEN)
        assert os.listdir(tmp_path) == []

    async def test_file_of_another_program(self, filled: Forks, tmp_path: Path) -> None:
        path = tmp_path / "users.db"
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE users (name TEXT)")
        with pytest.raises(ConfigError, match="is a database of another program"):
            await fork(path, at=WHEN)
        path.write_text("not a database, but a text of some length" * 100)
        with pytest.raises(backtest_mongo.BacktestMongoError, match="not a database"):
            await fork(path, at=WHEN)
        assert path.read_text().startswith("not a database")

    async def test_file_without_rows_is_replaced(self, filled: Forks, tmp_path: Path) -> None:
        path = tmp_path / "empty.db"
        persist.use_sqlite(path)
        await persist.state("s", "b").wait_for_init()
        await backtest_mongo.close()
        await filled.go_back()
        assert (await fork(path, at=WHEN)).rows == {"state": 1}

    async def test_file_with_leases_alone(self, filled: Forks, tmp_path: Path) -> None:
        path = tmp_path / "leased.db"
        persist.use_sqlite(path)
        async with lease(persist.state("s", "b")):
            await asyncio.sleep(0)
        await backtest_mongo.close()
        await filled.go_back()
        with pytest.raises(InputError, match="it holds leases"):
            await fork(path, at=WHEN)

    async def test_memory_is_forked_into_a_file(self, forks: Forks, unique: str, tmp_path: Path) -> None:
        persist.use_sqlite(":memory:")
        await persist.state(unique, "memory").write_state_data({"n": 1}, WHEN)
        report = await fork(tmp_path / "what_if.db", at=WHEN)
        assert report.source == ":memory:"
        assert report.rows["state"] >= 1
        persist.use_sqlite(tmp_path / "what_if.db")
        assert await persist.state(unique, "memory").read_state_data() == {"n": 1}

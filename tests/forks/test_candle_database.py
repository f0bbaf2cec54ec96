"""Candles in a database of their own: ``CC_CANDLE_DATABASE``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import ConfigError, InputError, SlotSpec, as_of, persist
from tests.conftest import drop_database, tiny_blocks
from tests.support.forks import Forks, query
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


@pytest.fixture
async def where(forks: Forks, unique: str, tmp_path: Path) -> AsyncIterator[str]:
    """A database for candles, which is set."""
    name = str(tmp_path / "candles.db") if forks.is_file else f"{unique}-candles"
    await forks.set(CC_CANDLE_DATABASE=name)
    yield name
    await forks.set(CC_CANDLE_DATABASE=None)
    if not forks.is_file:
        await drop_database(name)


async def list_collections(forks: Forks, name: str) -> set[str]:
    """Return the collections or tables of slots that a database has."""
    if forks.is_file:
        found = {row["name"] for row in query(name, "sqlite_master")} if Path(name).exists() else set()  # noqa: ASYNC240
    else:
        found = {*await (await backtest_mongo.get_mongo())[name].list_collection_names()}
    return {one for one in found if one.endswith(("-items", "-blocks"))}


async def test_everything_about_candles_is_there(
    forks: Forks, unique: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_blocks(monkeypatch)
    series = persist.candle("BTCUSDT", "1m", unique)
    await persist.state(unique, "s").write_state_data({"n": 1}, WHEN)
    assert await series.write_candles_data(candles(10)) == 10
    assert await series.write_candles_data(candles(12)) == 2
    assert await series.read_candles_data(12, 0) == candles(12)
    assert len((await series.read_frame(as_="numpy"))["timestamp"]) == 12
    assert (await series.coverage()).rows == 12
    assert await series.gaps(end=12 * 60_000) == []
    await series.seal()
    assert (await series.verify()).damaged == {}
    assert [one.context async for one in type(series).list_series()] == [series.context]
    async with as_of(5 * 60_000) as past:
        assert (await past.candle("BTCUSDT", "1m", unique).coverage()).rows == 5
    blocks = set() if forks.is_file else {"candle-blocks"}
    assert await list_collections(forks, where) == {"candle-items"} | blocks
    assert await list_collections(forks, forks.source) == {"state-items"}
    assert (await series.delete(end=6 * 60_000)).rows == 6
    await forks.set(CC_CANDLE_DATABASE=None)
    assert (await persist.candle("BTCUSDT", "1m", unique).coverage()).rows == 0
    await forks.set(CC_CANDLE_DATABASE=where)
    assert (await persist.candle("BTCUSDT", "1m", unique).coverage()).rows == 6


async def test_watch_sees_what_is_written_there(forks: Forks, unique: str, where: str) -> None:
    series = persist.candle("BTCUSDT", "1m", unique)
    async with series.watch() as changes:
        await series.write_candles_data(candles(1))
        change = await anext(changes)
    assert (change.kind, change.context) == ("written", series.context)


async def test_series_of_one_s_own_are_there_too(forks: Forks, unique: str, where: str) -> None:
    spec = SlotSpec(
        name=f"funding_{unique}",
        shape="series",
        context=("symbol", "interval"),
        immutable=True,
        key=("symbol", "interval", "timestamp"),
        noun="rates",
        redis=("symbol", "interval", "timestamp"),
    )
    persist.register(spec)
    series: Any = getattr(persist, spec.name)("BTCUSDT", "1h")
    await series.write_rates_data(candles(3, step=3_600_000))
    assert spec.collection in await list_collections(forks, where)
    assert spec.collection not in await list_collections(forks, forks.source)


async def test_fork_of_a_database_whose_candles_are_elsewhere(forks: Forks, unique: str, where: str) -> None:
    await persist.state(unique, "s").write_state_data({"n": 1}, WHEN)
    await persist.candle("BTCUSDT", "1m", unique).write_candles_data(candles(5))
    report = await forks.make(WHEN)
    assert report.config["CC_CANDLE_DATABASE"] == where
    copied = await forks.make(WHEN, copy_candles=True)
    assert (copied.candles, copied.config["CC_CANDLE_DATABASE"]) == (5, "")
    for one in (report, copied):
        await forks.go_on(one)
        assert await persist.candle("BTCUSDT", "1m", unique).read_candles_data(5, 0) == candles(5)
        await forks.go_back()
        await forks.set(CC_CANDLE_DATABASE=where)


@pytest.mark.mongodb
@pytest.mark.parametrize("name", ["a/b.db", "./candles.db", "a b", "a$b", "x" * 64])
async def test_paths_are_no_names(forks: Forks, name: str) -> None:
    await forks.set(CC_CANDLE_DATABASE=name)
    with pytest.raises(ConfigError, match="CC_CANDLE_DATABASE: a database name must have no dot"):
        await persist.candle("BTCUSDT", "1m", "x").coverage()
    await forks.set(CC_CANDLE_DATABASE=None)


@pytest.mark.parametrize("driver", ["sqlite"], indirect=True)
async def test_directories_are_no_files(forks: Forks, tmp_path: Path) -> None:
    await forks.set(CC_CANDLE_DATABASE=str(tmp_path))
    with pytest.raises(ConfigError, match="is a directory"):
        await persist.candle("BTCUSDT", "1m", "x").coverage()
    await forks.set(CC_CANDLE_DATABASE=None)


def test_names_with_nul_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"CC_CANDLE_DATABASE .*NUL"):
        backtest_mongo.set_config(CC_CANDLE_DATABASE="a\0b")


@pytest.mark.mongodb
async def test_database_of_candles_must_be_known_as_well(forks: Forks, unique: str, where: str) -> None:
    database = (await backtest_mongo.get_mongo())[where]
    for marker, message in (
        ({"_id": "format", "needs": ["time machines"]}, f"{where} needs what this version .* time machines"),
        ({"_id": "fork", "finished": None}, f"{where} is an unfinished fork"),
    ):
        await database["backtest_mongo"].delete_many({})
        await database["backtest_mongo"].insert_one(marker)
        await backtest_mongo.close()
        with pytest.raises(ConfigError, match=message):
            await persist.candle("BTCUSDT", "1m", unique).coverage()
        database = (await backtest_mongo.get_mongo())[where]


async def test_same_database_is_no_other_one(forks: Forks, unique: str) -> None:
    await forks.set(CC_CANDLE_DATABASE=forks.source)
    await persist.candle("BTCUSDT", "1m", unique).write_candles_data(candles(2))
    await forks.set(CC_CANDLE_DATABASE=None)
    assert (await persist.candle("BTCUSDT", "1m", unique).coverage()).rows == 2
    with pytest.raises(InputError, match="is the database itself"):
        await backtest_mongo.fork(forks.source, at=WHEN)

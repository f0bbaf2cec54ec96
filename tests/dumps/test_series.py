"""Series with columns in exports and imports: whole in SQLite files, and named where they are left out."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import EquityAdapter, TradeAdapter, export_dump, import_dump, persist, setup
from backtest_mongo.dumps.reports import SlotExport
from tests.conftest import Deployment
from tests.support.built_in_series import equity, shrink_blocks, trades

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch)
    monkeypatch.setattr("backtest_mongo.sqlite.columns._BULK", 4)
    monkeypatch.setattr("backtest_mongo.sqlite.column_documents.BLOCK_ROWS", 4)


def series(strategy: str) -> Any:
    return persist.equity(strategy, "binance", "1h", "BTCUSDT", True)


async def fill(unique: str) -> list[dict[str, Any]]:
    await series(unique).write_frame(equity(*range(10)))
    await series(unique).append(equity(3, value=float("nan")))
    await persist.trade("BTCUSDT", unique).append(trades(1, 2))
    return list(await series(unique).read_last(100))


async def test_sqlite_file_has_all_rows_and_brings_them_back(deployment: Deployment, unique: str, path: Path) -> None:
    rows = await fill(unique)
    report = await export_dump(sqlite=path)
    assert report.slots == (SlotExport("trade", 2), SlotExport("equity", 10))
    assert report.problems == ()
    persist.use_sqlite(path)
    assert repr(await series(unique).read_last(100)) == repr(rows)
    await series(unique).append(equity(5, value=7.0))
    await series(unique).append(equity(20))
    await setup(deployment.config)
    await EquityAdapter(unique, "binance", "1h", "BTCUSDT", True).delete(0, 2)
    planned = await import_dump(path)
    done = await import_dump(path, apply=True)
    assert planned.slots == done.slots
    (of_trades, of_equity) = done.slots
    assert (of_trades.slot, of_trades.files, of_trades.same) == ("trade", 2, 2)
    assert (of_equity.files, of_equity.added, of_equity.same, of_equity.kept) == (11, 3, 7, 1)
    assert [conflict.kept for conflict in done.conflicts] == ["store"]
    assert repr(await series(unique).read_last(100)) == repr([*rows, *equity(20)])
    replaced = await import_dump(path, apply=True, conflicts="file")
    assert (replaced.slots[1].replaced, replaced.slots[1].same) == (1, 10)
    assert (await series(unique).read_asof(5))["equity"] == 7.0


async def test_file_is_imported_into_another_file(deployment: Deployment, unique: str, path: Path) -> None:
    rows = await fill(unique)
    await export_dump(sqlite=path)
    other = path.with_name("other.db")
    report = await import_dump(path, apply=True, sqlite=other)
    assert [(one.slot, one.added) for one in report.slots] == [("trade", 2), ("equity", 10)]
    persist.use_sqlite(other)
    assert repr(await series(unique).read_last(100)) == repr(rows)
    await setup(deployment.config)


async def test_files_name_what_they_have_no_place_for(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    await fill(unique)
    report = await export_dump(tmp_path / "dump")
    assert [(one.slot, one.path) for one in report.problems] == [("trade", "trade-items"), ("equity", "equity-items")]
    assert report.problems[0].problem == "JSON files have no place for series with columns: 2 rows in 1 series"


async def test_damaged_rows_are_left_out_and_named(deployment: Deployment, unique: str, path: Path) -> None:
    await fill(unique)
    await export_dump(sqlite=path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE \"trade-items\" SET document = x'00'")
    report = await import_dump(path)
    assert [(one.slot, one.refused) for one in report.slots] == [("trade", 1), ("equity", 0)]
    (problem,) = report.problems
    assert problem.slot == "trade"
    assert "damaged" in problem.problem


async def test_empty_series_make_no_collections(deployment: Deployment, tmp_path: Path) -> None:
    assert (await export_dump(tmp_path / "dump")).problems == ()
    assert [one async for one in TradeAdapter.list_contexts()] == []
    assert await TradeAdapter._base_store().measure({}, by_context=False) == []
    database = await deployment.collection(TradeAdapter.spec)
    assert [name for name in await database.database.list_collection_names() if name.startswith("trade")] == []

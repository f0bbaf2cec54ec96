"""Rows as they are stored, with their times: the order of creation, and pages of bounded size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import LogAdapter, persist
from backtest_mongo.sqlite import whole_rows
from backtest_mongo.sqlite.whole_layout import find_columns, has_rows
from backtest_mongo.sqlite.whole_rows import DamagedRow, WholeRows
from tests.sqlite.support import change, database_of, list_names, query


async def list_ids() -> list[str]:
    return [row["id"] for row in await persist.log().read_log_data()]


async def test_order_of_creation_becomes_that_of_the_newest_rows_without_a_change_of_a_row(path: Path) -> None:
    created = {"d": 4, "a": 1, "c": 2, "b": 2}
    await persist.log().write_log_data([{"id": name} for name in created])
    await backtest_mongo.close()
    change(
        path,
        *(f"UPDATE [log-items] SET created={at} WHERE entryId='{name}'" for name, at in created.items()),
        "CREATE TABLE seen (x)",
        'CREATE TRIGGER "it is ""seen""" AFTER UPDATE ON [log-items] BEGIN INSERT INTO seen VALUES (1); END',
    )
    rows = WholeRows(database_of(path), LogAdapter.spec)
    await rows.order_by_creation()
    assert await list_ids() == [*"acbd"]
    assert query(path, "SELECT * FROM seen") == []
    await rows.order_by_creation()
    assert await list_ids() == [*"acbd"]
    await persist.log().write_log_data([{"id": "c"}, {"id": "e"}])
    assert await list_ids() == [*"acbde"]
    assert query(path, "SELECT * FROM seen") == [(1,)]


async def test_pages_are_bounded_by_rows_and_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_rows, "_PAGE", 4)
    monkeypatch.setattr(whole_rows, "_PAGE_BYTES", 5_000)
    await persist.log().write_log_data([{"id": str(at), "text": "x" * (3_000 if at == 5 else 10)} for at in range(12)])
    await persist.log().write_log_data([{"id": str(at), "text": "x" * 3_000} for at in range(12, 15)])
    rows, last, sizes = WholeRows(database_of(path), LogAdapter.spec), -1, []
    ids: list[Any] = []
    while (page := await rows.read_page(last)) is not None:
        found, last = page
        sizes.append(len(found))
        for row in found:
            assert not isinstance(row, DamagedRow)
            payload: Any = row[1]
            ids.append(payload["id"])
    assert ids == [str(at) for at in range(15)]
    assert sizes == [4, 4, 4, 2, 1]


async def test_nothing_is_found_where_nothing_was_written(path: Path) -> None:
    rows = WholeRows(database_of(path), LogAdapter.spec)
    assert await rows.read_page(-1) is None
    assert await rows.find_by_key([("a",)]) == {}
    assert await rows.insert_new([]) == []
    assert await rows.replace_unchanged([]) == 0
    assert list_names(path.parent) == []
    await rows.ready()
    database = database_of(path)
    assert await database.read_in_thread(has_rows) is False
    assert await database.read_in_thread(find_columns, "nothing") == ()

"""The column of runs, in files of this format and in those of the one before."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, SlotSpec, lease, persist, reset, set_config, transaction
from backtest_mongo.cli.doctor.diagnose_sqlite import diagnose_file
from backtest_mongo.sqlite.backup import back_up
from backtest_mongo.sqlite.file_format import STEPS
from tests.sqlite.support import query
from tests.support import uniform
from tests.support.changes import take_change, take_changes
from tests.support.uniform import WHEN, candles

ROWS = [spec for spec in SLOTS if spec.shape != "series"]
#: A slot of one's own whose key has a field of the new column's name.
TRAIL = SlotSpec(
    name="trail",
    shape="bucket",
    context=("run", "symbol"),
    key=("run", "symbol", "step"),
    redis=("run", "symbol", "step"),
    soft_delete=True,
)


@pytest.fixture
def older(path: Path) -> Path:
    """A file of format 3 with a row of every slot, a removed one, a lease, and a slot of one's own."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent.parent / "golden" / "sqlite-format-3.sql").read_text())
    return path


def use_trail(path: Path) -> Any:
    persist.register(TRAIL)
    persist.use_sqlite(path)
    make: Any = getattr(persist, "trail")  # noqa: B009  # type checkers don't know it
    return make("r-1", "BTCUSDT")


@pytest.mark.parametrize("how", ["read", "write", "watch"])
async def test_file_of_the_format_before_keeps_its_rows_and_gets_the_column(older: Path, how: str) -> None:
    if how == "read":
        assert await persist.state("s", "leased").read_state_data() == {"n": 1}
    elif how == "write":
        await persist.state("s", "new").write_state_data({"n": 2}, WHEN)
    else:
        async with persist.state("s", "leased").watch():
            pass
    assert query(older, "PRAGMA user_version") == [(len(STEPS),)]
    for spec in SLOTS:
        slot: Any = getattr(persist, spec.name)(**uniform.context(spec, "x"))
        if spec.shape == "series":
            assert await slot.read_candles_data(3, 0) == candles(3)
            continue
        assert await uniform.read(slot) == uniform.stored(spec, uniform.payload(spec))
        assert {*query(older, f'SELECT run FROM "{spec.collection}"')} == {(None,)}
        set_config(CC_RUN="r")
        await uniform.write(slot, uniform.payload(spec, 2))
        set_config(CC_RUN=None)
        assert ("r",) in query(older, f'SELECT run FROM "{spec.collection}"')
    assert (await reset("r")).deleted == {spec.name: 1 for spec in ROWS}


async def test_changes_and_leases_of_the_format_before_stay(older: Path) -> None:
    ((number, time),) = query(older, "SELECT number, time FROM changes ORDER BY number LIMIT 1")
    count = query(older, "SELECT count(*) FROM changes WHERE collection='state-items'")[0][0]
    leases = query(older, "SELECT * FROM leases")
    states: Any = type(persist.state("s", "leased"))
    async with states.watch_all(f"sqlite-{number}-{time}") as changes:
        found = await take_changes(changes, count)
        await persist.state("s", "leased").write_state_data({"n": 2}, WHEN)
        assert (await take_change(changes)).payload == {"n": 2}
    assert [change.kind for change in found] == ["written"] * count
    assert query(older, "SELECT * FROM leases") == leases
    async with lease(persist.state("s", "leased"), run="r"):
        await persist.state("s", "leased").write_state_data({"n": 3}, WHEN)
    assert query(older, "SELECT run FROM [state-items] WHERE bucketName='leased'") == [("r",)]


async def test_upgraded_tables_are_those_of_a_new_file(older: Path, tmp_path: Path) -> None:
    def describe(path: Path) -> Any:
        tables = [name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type='table' ORDER BY 1")]
        # A column that is renamed is quoted in another way.
        others = (
            "SELECT type, name, replace(sql, '\"run_\"', '[run_]') FROM sqlite_master WHERE type<>'table' ORDER BY 1, 2"
        )
        return {name: query(path, f"PRAGMA table_info([{name}])") for name in tables}, query(path, others)

    async def write_all(path: Path) -> None:
        trail = use_trail(path)
        for spec in SLOTS:
            slot: Any = getattr(persist, spec.name)(**uniform.context(spec, "y"))
            if spec.shape == "series":
                await slot.write_candles_data(candles(3))
            else:
                await uniform.write(slot, uniform.payload(spec))
        await trail.write_trail_data({"n": 3}, "two")
        await backtest_mongo.close()

    new = tmp_path / "new.db"
    await write_all(older)
    await write_all(new)
    assert describe(older) == describe(new)


async def test_key_of_the_columns_name_gets_another_one(older: Path) -> None:
    trail = use_trail(older)
    assert await trail.read_trail_data("one") == {"n": 2}
    async with trail.watch() as changes:
        await trail.write_trail_data({"n": 3}, "one")
        change = await take_change(changes)
    assert (change.context, change.key) == ({"run": "r-1", "symbol": "BTCUSDT"}, "one")
    async with transaction(run="r"):
        await trail.write_trail_data({"n": 4}, "two")
    assert query(older, "SELECT run_, step, run FROM [trail-items]") == [("r-1", "one", None), ("r-1", "two", "r")]
    assert [key async for key in trail.list_trail_data()] == ["one", "two"]
    assert (await reset("r")).deleted == {"trail": 1}


async def test_file_that_was_not_upgraded_is_copied_and_checked(older: Path, tmp_path: Path) -> None:
    found = {finding.area: finding for finding in diagnose_file(older).findings}
    assert found["rows"].severity in ("ok", "note")
    assert {finding.severity for finding in found.values()} <= {"ok", "note"}
    back_up(str(older), str(tmp_path / "copy.db"))
    for path in (older, tmp_path / "copy.db"):
        assert query(path, "PRAGMA user_version") == [(3,)]


async def test_rows_of_a_run_are_found_by_an_index_that_has_no_others(path: Path) -> None:
    await persist.state("s", "a").write_state_data({}, WHEN)
    async with transaction(run="r"):
        await persist.state("s", "b").write_state_data({}, WHEN)
    plan = query(path, "EXPLAIN QUERY PLAN SELECT number FROM [state-items] WHERE run=? LIMIT 10", "r")
    assert "USING INDEX state-items run" in plan[0][-1] or "USING COVERING INDEX state-items run" in plan[0][-1]
    ((sql,),) = query(path, "SELECT sql FROM sqlite_master WHERE name='state-items run'")
    assert sql.endswith("WHERE run IS NOT NULL")

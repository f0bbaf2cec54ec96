"""rename_strategy() and series with columns on MongoDB: a tail and blocks, in one step or in many, with kills."""

from __future__ import annotations

from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import Column, ConflictError, EquityAdapter, SlotSpec, StoreError, persist, rename_strategy
from backtest_mongo.mongo.committer import MongoCommitter
from backtest_mongo.series.columns import renaming
from tests.conftest import Deployment
from tests.support.built_in_series import equity, shrink_blocks
from tests.support.changes import take_change

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch)


@pytest.fixture
def old(deployment: Deployment, unique: str) -> str:
    return f"{unique}_trend"


@pytest.fixture
def new(unique: str) -> str:
    return f"{unique}_drift"


def series(strategy: str, symbol: str = "BTCUSDT") -> EquityAdapter:
    return EquityAdapter(strategy, "binance", "1h", symbol, True)


async def fill(strategy: str) -> list[dict[str, Any]]:
    """Store rows in four blocks, and some in the tail, of which one replaces another of a block."""
    rows = equity(*range(1, 15))
    await series(strategy).write_frame(rows)
    await series(strategy).append(equity(15, 16))
    await series(strategy).append(equity(3, value=9.0))
    return sorted([*(row for row in rows if row["timestamp"] != 3), *equity(15, 16), *equity(3, value=9.0)], key=_time)


def _time(row: dict[str, Any]) -> int:
    return int(row["timestamp"])


async def read_all(strategy: str) -> list[dict[str, Any]]:
    return await series(strategy).read_last(100)


@pytest.mark.parametrize("step", [1 << 20, 1], ids=["one step", "many steps"])
async def test_rows_are_found_under_the_new_name_alone(
    old: str, new: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_STEP_BYTES", step)
    rows = await fill(old)
    report = await rename_strategy(old, new)
    assert [(one.slot, one.contexts, one.rows) for one in report.slots] == [("equity", 1, 17)]
    assert await read_all(old) == []
    assert await read_all(new) == rows
    assert [context async for context in EquityAdapter.list_contexts(strategy_name=old)] == []
    assert [context async for context in EquityAdapter.list_contexts(strategy_name=new)] == [series(new).context]
    assert (await series(new).verify()).damaged == {}
    await series(new).append(equity(0, 99))
    await series(new).seal()
    assert await read_all(new) == [*equity(0), *rows, *equity(99)]


async def test_dry_run_changes_nothing(old: str, new: str) -> None:
    rows = await fill(old)
    report = await rename_strategy(old, new, dry_run=True)
    assert [(one.slot, one.rows) for one in report.slots] == [("equity", 17)]
    assert (await read_all(old), await read_all(new)) == (rows, [])


@pytest.mark.parametrize("after", range(5))
async def test_renaming_that_was_killed_continues(
    old: str, new: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_STEP_BYTES", 1)
    rows = await fill(old)
    steps = 0
    carry_out = MongoCommitter.run_plain

    async def die(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > after:
            raise KeyError("killed")
        return await carry_out(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MongoCommitter, "run_plain", die)
        with pytest.raises(KeyError):
            await rename_strategy(old, new)
    found = [*await read_all(old), *await read_all(new)]
    assert sorted({_time(row) for row in found}) == [_time(row) for row in rows]
    # What is written meanwhile stays in the tails.
    await series(old).append(equity(40, 41))
    await series(new).append(equity(5, value=7.0))
    await series(old).seal()
    await series(new).seal()
    if after:
        with pytest.raises(StoreError, match="is being renamed"):
            await series(new).write_frame(equity(50, 51, 52, 53))
        await rename_strategy(old, new)
    else:
        with pytest.raises(ConflictError):
            await rename_strategy(old, new)
        await series(new).delete()
        await rename_strategy(old, new)
    assert await read_all(old) == []
    expected = {_time(row): row for row in [*rows, *equity(40, 41), *(equity(5, value=7.0) if after else ())]}
    assert await read_all(new) == [expected[time] for time in sorted(expected)]
    await series(new).write_frame(equity(50, 51, 52, 53))
    await series(new).seal()
    assert len(await read_all(new)) == len(expected) + 4


async def test_context_that_is_deleted_in_the_midst_frees_the_other_one(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renaming, "_STEP_BYTES", 1)
    await fill(old)
    carry_out = MongoCommitter.run_plain
    steps = 0

    async def die(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 2:
            raise KeyError("killed")
        return await carry_out(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MongoCommitter, "run_plain", die)
        with pytest.raises(KeyError):
            await rename_strategy(old, new)
    moved = await read_all(new)
    assert moved
    await series(old).delete()
    await series(new).write_frame(equity(50, 51, 52, 53))
    await series(new).seal()
    assert await read_all(new) == [*moved, *equity(50, 51, 52, 53)]


async def test_stored_series_is_not_merged_with_another(old: str, new: str) -> None:
    await fill(old)
    await series(new).append(equity(1))
    with pytest.raises(ConflictError):
        await rename_strategy(old, new)
    assert (len(await read_all(old)), len(await read_all(new))) == (16, 1)


async def test_damaged_block_is_not_renamed(old: str, new: str, deployment: Deployment) -> None:
    await fill(old)
    database = (await backtest_mongo.get_mongo())[deployment.name]
    await database["equity-blocks"].update_one({"start": 5}, {"$set": {"rows": 3}})
    with pytest.raises(StoreError, match="renaming a strategy failed: a block is damaged"):
        await rename_strategy(old, new)
    assert await read_all(new) == []
    await series(old).delete(5, 9)
    await rename_strategy(old, new)
    assert [_time(row) for row in await read_all(new)] == [1, 2, 3, 4, *range(9, 17)]


async def test_watch_sees_the_ranges_of_both_names(old: str, new: str) -> None:
    await fill(old)
    async with EquityAdapter.watch_all() as changes:
        await rename_strategy(old, new)
        await series(new).append(equity(99))
        found = [await take_change(changes) for _ in range(3)]
    assert [(change.kind, change.context["strategy_name"]) for change in found if change.context] == [
        ("deleted", old),
        ("written", new),
        ("written", new),
    ]
    assert [change.payload for change in found] == [{"start": 1, "end": 17, "rows": 17}] * 2 + [equity(99)]


async def test_series_whose_first_row_wins_is_renamed(old: str, new: str) -> None:
    spec = SlotSpec(
        name=f"fill_{old.removesuffix('_trend')}"[:40].lower(),
        shape="series",
        context=("strategy_name",),
        key=("strategyName", "timestamp", "fill_id"),
        sequence="int64",
        immutable=True,
        columns=(Column("price", "float64"),),
    )
    adapter: Any = persist.register(spec)
    rows = [{"timestamp": at, "fill_id": at, "price": 1.0} for at in range(9)]
    await adapter(old).write_frame(rows[:6])
    await adapter(old).append(rows[6:])
    await rename_strategy(old, new)
    assert await adapter(new).append([{**rows[2], "price": 2.0}, {**rows[7], "price": 2.0}]) == 0
    assert await adapter(new).read_last(20) == rows

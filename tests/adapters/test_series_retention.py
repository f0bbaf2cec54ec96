"""What is kept of a series with columns, on MongoDB and on SQLite."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import (
    Column,
    InputError,
    InputTypeError,
    SlotSpec,
    StoreError,
    as_of,
    persist,
    rename_strategy,
)
from tests.conftest import Deployment, SQLiteDeployment
from tests.support.built_in_series import equity, shrink_blocks

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

DAY = 86_400_000
COLUMNS = (Column("equity", "float64"),)


@pytest.fixture(autouse=True)
def small(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of four rows go straight into blocks, of four rows each."""
    if isinstance(deployment, SQLiteDeployment):
        monkeypatch.setattr("backtest_mongo.sqlite.columns._BULK", 4)
        monkeypatch.setattr("backtest_mongo.sqlite.column_documents.BLOCK_ROWS", 4)
    else:
        shrink_blocks(monkeypatch)


@pytest.fixture
def series(deployment: Deployment, unique: str) -> Any:
    return series_of(unique)


def series_of(strategy: str) -> Any:
    return persist.equity(strategy, "binance", "1h", "BTCUSDT", True)


async def read_times(series: Any) -> list[int]:
    return [row["timestamp"] for row in await series.read_last(100)]


async def test_days_before_the_last_row_are_kept(series: Any) -> None:
    await series.write_frame(equity(*(day * DAY for day in range(12))))
    await series.append(equity(12 * DAY))
    await series.retain("5d")
    assert await read_times(series) == [day * DAY for day in range(4, 13)]  # the block that has day 7 begins with day 4
    assert (await series.size()).keep == "5d"
    await series.write_frame(equity(*(day * DAY for day in range(13, 17))))
    assert await read_times(series) == [day * DAY for day in (*range(8, 12), *range(12, 17))]


async def test_row_in_the_far_future_makes_no_other_old(series: Any) -> None:
    await series.append(equity(1))
    await series.retain("36500d")
    await series.append(equity(221_845_392_000_000))
    await series.seal()
    assert await series._base_store().prune_rows(series._context) == 0
    assert len(await read_times(series)) == 2


async def test_rows_or_bytes_are_kept(series: Any) -> None:
    await series.write_frame(equity(*range(16)))
    await series.retain("6")
    assert await read_times(series) == list(range(8, 16))
    size = await series.size()
    each = size.block_bytes // size.blocks
    await series.write_frame(equity(*range(16, 24)))
    await series.retain(f"{each // 2}B")
    assert await read_times(series) == list(range(20, 24))


async def test_none_ends_it(series: Any) -> None:
    await series.retain("4")
    await series.retain(None)
    await series.write_frame(equity(*range(16)))
    assert len(await read_times(series)) == 16
    assert (await series.size()).keep is None


async def test_group_whose_rows_replaced_others_stays_with_them(series: Any) -> None:
    await series.write_frame(equity(*range(4)))
    await series.append(equity(1, value=9.0))
    await series.retain("3")
    assert await series.read_last(9) == [*equity(0), *equity(1, value=9.0), *equity(2, 3)]
    await series.write_frame(equity(*range(4, 8)))
    assert await series.read_last(9) == equity(*range(4, 8))


async def test_other_process_s_setting_holds_and_is_renamed(series: Any, unique: str) -> None:
    await series.write_frame(equity(*range(8)))
    await series.retain("4")
    await rename_strategy(unique, f"{unique}_2", slots=["equity"])
    renamed = series_of(f"{unique}_2")
    assert (await renamed.size()).keep == "4"
    assert (await series.size()).keep is None
    await renamed.delete()
    assert (await renamed.size()).keep is None


async def test_slot_gives_each_new_series_what_it_keeps(deployment: Deployment, unique: str) -> None:
    name = f"kept_{unique[-8:].lower()}"
    persist.register(
        SlotSpec(name=name, shape="series", context=("symbol",), key=("symbol", "timestamp"), columns=COLUMNS, keep="4")
    )
    series = getattr(persist, name)("BTC")
    await series.write_frame([{"timestamp": at, "equity": 1.0} for at in range(8)])
    assert (await series.size()).keep == "4"
    assert await read_times(series) == [4, 5, 6, 7]
    await series.retain(None)
    await series.write_frame([{"timestamp": at, "equity": 1.0} for at in range(8, 16)])
    assert len(await read_times(series)) == 12


async def test_the_past_can_t_be_given_another(series: Any) -> None:
    async with as_of(5) as past:
        with pytest.raises(InputError, match="the past can't be written to"):
            await past.equity(**series.context).retain("4")


async def test_wrong_arguments_are_refused(series: Any) -> None:
    with pytest.raises(InputTypeError, match="keep must be a str or None, not int"):
        await series.retain(5)
    for keep in ("", "x", "5 days", "1.5GB"):
        with pytest.raises(InputError, match="keep must be days such as 90d, rows such as 1000000 or bytes"):
            await series.retain(keep)
    for keep in ("0d", "0", "0MB", "36501d"):
        with pytest.raises(InputError, match="keep must"):
            await series.retain(keep)


async def test_limit_that_can_t_be_parsed_stops_no_write_and_deletes_nothing(series: Any) -> None:
    store = series._base_store()
    await store.retain(series._context, "a week")  # as a later version might
    await series.write_frame(equity(*range(8)))
    assert await read_times(series) == list(range(8))
    for call in (store.prune_rows, store.count_prunable):
        with pytest.raises(StoreError, match="the retention of a series must be days such as 90d") as caught:
            await call(series._context)
        assert caught.value.key == dict(zip(series.spec.key, series._context, strict=False))
    await series.retain("4")
    assert await read_times(series) == [4, 5, 6, 7]

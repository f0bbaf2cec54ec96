"""Everything as it was at a simulation time, on MongoDB, by both drivers, and on SQLite."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from backtest_mongo import (
    Column,
    InputError,
    InputTypeError,
    SlotSpec,
    StoreError,
    as_of,
    lease,
    persist,
    transaction,
)
from tests.conftest import Deployment
from tests.history.conftest import NAMES
from tests.history.test_history import value_of, write_at
from tests.support import uniform
from tests.support.uniform import WHEN, candles, entry, payload

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

#: Before anything was written by a test, by the clock, and after.
EARLIER, LATER = WHEN - 1, 2**62
ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")


async def read_all(adapter: Any, key: str) -> list[Any]:
    """Return what a row is in every form of a read."""
    spec = adapter.spec
    if spec.shape == "collection":
        rows = [row for row in await getattr(adapter, f"read_{spec.noun}_data")() if row["id"] == key]
        return rows or [None]
    found = [await uniform.read(adapter, key)]
    if spec.shape == "document":
        found += await type(adapter).read_many([adapter.context])
    if spec.items:
        found.append(dict(await uniform.listed(adapter)).get(key))
        assert found[0] is None or await getattr(adapter, f"has_{spec.noun}_data")(key)
    if spec.shape == "bucket" and not spec.items:
        assert (key in await uniform.listed(adapter)) is (found[0] is not None)
    assert all(value == found[0] for value in found)
    return found


async def list_contexts(adapter: Any) -> list[Any]:
    """Return the contexts that a slot of the past has."""
    return [context async for context in type(adapter).list_contexts()]


@ROWS
async def test_every_form_of_a_read_is_as_of_the_time(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number in range(3):
        await write_at(adapter, number, key, WHEN + 10 * number)
    if spec.soft_delete:
        async with transaction(when=WHEN + 25):
            await getattr(adapter, f"remove_{spec.noun}_data")(key)
    for offset, number in ((0, 0), (9, 0), (10, 1), (20, 2), (24, 2)):
        async with as_of(WHEN + offset) as past:
            then = getattr(past, spec.name)(**adapter.context)
            assert (await read_all(then, key))[0] == value_of(spec, key, number)
    async with as_of(WHEN - 1) as past:
        then = getattr(past, spec.name)(**adapter.context)
        assert (await read_all(then, key))[0] in (None, uniform.nothing(spec))
    if spec.soft_delete:
        async with as_of(WHEN + 25) as past:
            assert (await read_all(getattr(past, spec.name)(**adapter.context), key))[0] is None


@ROWS
async def test_nothing_can_be_written_to_the_past(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    key = entry(spec, unique)
    async with as_of(WHEN) as past:
        then = getattr(past, spec.name)(**uniform.adapter(spec, unique).context)
        with pytest.raises(InputError, match="can't be written"):
            await uniform.write(then, payload(spec, 1), key)
        if spec.soft_delete:
            with pytest.raises(InputError, match="can't be written"):
                await getattr(then, f"remove_{spec.noun}_data")(key)
        if spec.shape == "document":
            with pytest.raises(InputError, match="can't be written"):
                await type(then).write_many([(then.context, payload(spec, 1))], *((WHEN,) if spec.when else ()))
        with pytest.raises(InputError, match="does not change"):
            await anext(then.watch())
        with pytest.raises((InputError, InputTypeError)):
            async with lease(then):
                pass
    assert await kept.rows(spec) == []


@ROWS
async def test_transactions_don_t_change_the_past(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write_at(adapter, 0, key, WHEN)
    async with as_of(WHEN + 5) as past, transaction(when=WHEN + 3):
        await uniform.write(adapter, payload(spec, 1), key, WHEN + 3)
        then = getattr(past, spec.name)(**adapter.context)
        assert (await read_all(then, key))[0] == value_of(spec, key, 0)


async def test_times_within_are_limited_by_the_view_s(kept: Deployment, unique: str) -> None:
    state: Any = uniform.ADAPTERS["state"](unique, "s")
    for number in range(3):
        await state.write_state_data({"n": number}, WHEN + 10 * number)
    async with as_of(datetime.fromtimestamp((WHEN + 15) / 1000, UTC)) as past:
        assert past.when == WHEN + 15
        then = past.state(unique, "s")
        assert await then.read_state_data(when=WHEN + 5) == {"n": 0}
        assert await then.read_state_data(when=WHEN + 100) == {"n": 1}
        assert [one.value["n"] async for one in then.history()] == [0, 1]
        assert [one.value["n"] async for one in then.history(until=WHEN + 100, newest_first=True)] == [1, 0]


async def test_newest_rows_are_those_of_the_time(kept: Deployment, unique: str) -> None:
    log: Any = uniform.ADAPTERS["log"]()
    for number in range(10):
        async with transaction(when=WHEN + number):
            await log.write_log_data([{"id": f"{unique}-{number}", "n": number}])
    async with transaction(when=WHEN + 20):
        await log.write_log_data([{"id": f"{unique}-4", "n": 44}])
    async with as_of(WHEN + 6) as past:
        assert [row["n"] for row in await past.log().read_log_data(3)] == [4, 5, 6]
        assert [row["n"] for row in await past.log().read_log_data()] == [*range(7)]
    async with as_of(WHEN + 20) as past:
        assert [row["n"] for row in await past.log().read_log_data()] == [0, 1, 2, 3, 44, *range(5, 10)]


async def test_candles_are_those_that_had_closed(kept: Deployment, unique: str) -> None:
    series: Any = uniform.ADAPTERS["candle"](unique, "1m", "binance")
    await series.write_candles_data(candles(10))
    async with as_of(5 * 60_000 + 59_999) as past:
        then = past.candle(unique, "1m", "binance")
        assert await then.read_candles_data(5, 0) == candles(5)
        assert await then.read_candles_data(6, 0) is None
        frame = await then.read_frame(as_="numpy")
        assert [int(time) for time in frame["timestamp"].astype("int64")] == [60_000 * n for n in range(5)]
        coverage = await then.coverage()
        assert (coverage.rows, coverage.last) == (5, 4 * 60_000)
        assert await then.bounds() == (0, 4 * 60_000)
        assert await then.gaps(end=20 * 60_000) == []
        assert await list_contexts(then) == [series.context]
    await series.write_candles_data(candles(1, first=20 * 60_000 + 45_000))
    for until, rows in ((21 * 60_000 + 44_999, 10), (21 * 60_000 + 45_000, 11)):  # off the grid
        async with as_of(until) as past:
            then = past.candle(unique, "1m", "binance")
            assert len((await then.read_frame(as_="numpy"))["timestamp"]) == rows
            assert await then.bounds() == (0, 9 * 60_000 if rows == 10 else 20 * 60_000 + 45_000)
    for until in (59_999, -(2**63)):
        async with as_of(until) as past:
            then = past.candle(unique, "1m", "binance")
            assert (await then.coverage()).rows == 0
            assert len((await then.read_frame(as_="numpy"))["timestamp"]) == 0
            assert await then.bounds() is None
            assert await then.gaps(0) == []
            assert await list_contexts(then) == []
            with pytest.raises(InputError, match="can't be written"):
                await then.write_candles_data(candles(1))


@pytest.mark.mongodb("nothing but this library writes to SQLite")
async def test_series_of_an_unknown_interval_is_left_out(kept: Deployment, unique: str) -> None:
    series: Any = uniform.ADAPTERS["candle"](unique, "1m", "binance")
    await series.write_candles_data(candles(1))
    collection = await kept.collection(series.spec)
    await collection.insert_one({"exchangeName": "binance", "symbol": unique, "interval": "7m", "timestamp": 0})
    async with as_of(WHEN) as past:
        assert await list_contexts(past.candle(unique, "1m", "binance")) == [series.context]


async def test_candles_of_the_future_fill_no_gap(kept: Deployment, unique: str) -> None:
    """Of two that are less than 1.5 intervals apart none is missing between; the later one had not closed yet."""
    series: Any = uniform.ADAPTERS["candle"](unique, "1m", "binance")
    await series.write_candles_data([*candles(3), *candles(1, first=3 * 60_000 + 20_000)])
    end = 3 * 60_000 + 10_000
    for until, rows in ((4 * 60_000 + 19_999, 4), (4 * 60_000 + 20_000, 3)):
        async with as_of(until) as past:
            frame = await past.candle(unique, "1m", "binance").read_frame(0, end, as_="numpy", fill="null")
            assert len(frame["timestamp"]) == rows
    async with as_of(3 * 60_000) as past:
        frame = await past.candle(unique, "1m", "binance").read_frame(4 * 60_000, 6 * 60_000, as_="numpy", fill="null")
        # Counted on from the last one that had closed.
        assert frame["timestamp"].astype("int64").tolist() == [4 * 60_000, 5 * 60_000]


def register_bars(grid: str) -> None:
    persist.register(
        SlotSpec(
            name="bars",
            shape="series",
            context=("symbol", "exchange_name"),
            key=("exchangeName", "symbol", "timestamp"),
            grid=grid,
            columns=(Column("value", "float64"),),
        )
    )


def bars_of(source: Any, symbol: str) -> Any:
    return source.bars(symbol, "binance")


async def test_gaps_are_those_of_the_intervals_that_were_over(deployment: Deployment, unique: str) -> None:
    register_bars("1m")
    minute = 60_000
    for number in (0, 1, 2, 4, 5):
        await bars_of(persist, unique).append([{"timestamp": number * minute, "value": 1.0}])
        await persist.candle(unique, "1m", "binance").write_candles_data(candles(1, first=number * minute))
    for until in range(3 * minute, 7 * minute, minute // 2):
        async with as_of(until) as past:
            views: tuple[Any, ...] = (bars_of(past, unique), past.candle(unique, "1m", "binance"))
            for start, end in ((None, None), (0, None), (None, until), (None, 9 * minute), (0, 3 * minute)):
                is_over = until >= 4 * minute and end != 3 * minute
                missing = [(3 * minute, 4 * minute, 1)] if is_over and (end is None or end > 3 * minute) else []
                for view in views:
                    assert await view.gaps(start, end) == missing, (until, start, end)
            missing = [(0, min(until, 9 * minute) // minute * minute, until // minute)]
            for view in (bars_of(past, "none"), past.candle("none", "1m", "binance")):
                assert await view.gaps(0, 9 * minute) == missing
                assert await view.gaps(0) == missing


async def test_months_are_known_when_they_are_over_wherever_they_open(deployment: Deployment, unique: str) -> None:
    register_bars("1M")
    first = datetime(2023, 1, 30, 16, tzinfo=UTC)  # February has no such day
    over, last = datetime(2023, 2, 28, tzinfo=UTC), datetime(2023, 2, 27, 23, 59, 59, 999_000, tzinfo=UTC)
    await bars_of(persist, unique).append([{"timestamp": first, "value": 1.0}])
    series: Any = persist.candle(unique, "1M", "binance")
    await series.write_candles_data([{**candles(1)[0], "timestamp": first}])
    for when, rows in ((last, 0), (over, 1), (-(2**63), 0), (2**63 - 1, 1)):
        async with as_of(when) as past:
            for view in (bars_of(past, unique), past.candle(unique, "1M", "binance")):
                assert (await view.coverage()).rows == rows, when
                assert len(await list_contexts(view)) == rows, when
        assert len(await bars_of(persist, unique).read_last(1, when=when)) == rows, when


async def test_slot_without_versions_answers_for_what_was_not_written_since(
    deployment: Deployment, unique: str
) -> None:
    state: Any = uniform.ADAPTERS["state"](unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    async with as_of(WHEN + 5) as past:
        assert await past.state(unique, "s").read_state_data() == {"n": 0}
        assert await past.state(unique, "other").read_state_data() is None
    async with as_of(WHEN - 5) as past:
        with pytest.raises(StoreError, match="state keeps no versions"):
            await past.state(unique, "s").read_state_data()


@ROWS
async def test_time_before_the_versions_that_are_kept_is_not_known(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for time in (-50, 0):
        await write_at(adapter, 0, key, WHEN + time)
        await asyncio.sleep(0.002)  # two times of writing
    await deployment.configure(CC_HISTORY=NAMES)
    await write_at(adapter, 1, key, WHEN + 10)
    for time in (-1, 9):
        async with as_of(WHEN + time) as past:
            then = getattr(past, spec.name)(**adapter.context)
            if time > 0 and spec.when:  # the row as it was before its first version
                assert (await read_all(then, key))[0] == value_of(spec, key, 0)
                continue
            with pytest.raises(StoreError, match="older than the versions"):
                await read_all(then, key)
    async with as_of(WHEN + 10) as past:
        assert (await read_all(getattr(past, spec.name)(**adapter.context), key))[0] == value_of(spec, key, 1)


@ROWS
async def test_run_that_is_repeated_knows_that_there_was_nothing_before(
    kept: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number in (0, 1, 2):
        await write_at(adapter, number, key, WHEN)
    async with as_of(WHEN - 1) as past:
        then = getattr(past, spec.name)(**adapter.context)
        assert (await read_all(then, key))[0] in (None, uniform.nothing(spec))


@ROWS
async def test_every_slot_without_versions_answers_for_what_was_not_written_since(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    rows = [(uniform.adapter(spec, f"{unique}{number}"), entry(spec, f"{unique}{number}")) for number in range(3)]
    for number, (adapter, key) in enumerate(rows):
        await uniform.write(adapter, payload(spec, number), key, WHEN)
    async with as_of(LATER) as past:
        # Asked for together, as they are read in one batch then.
        found = await asyncio.gather(
            *(read_all(getattr(past, spec.name)(**adapter.context), key) for adapter, key in rows)
        )
        assert [one[0] for one in found] == [value_of(spec, key, number) for number, (_, key) in enumerate(rows)]
    async with as_of(EARLIER) as past:
        for adapter, key in rows:
            with pytest.raises(StoreError, match="keeps no versions"):
                await read_all(getattr(past, spec.name)(**adapter.context), key)


async def test_list_without_versions_is_unknown_once_a_row_of_it_was_removed(
    deployment: Deployment, unique: str
) -> None:
    measure = persist.measure(unique)
    await measure.write_measure_data({"n": 0}, "a", WHEN)
    await measure.write_measure_data({"n": 1}, "b", WHEN)
    await measure.remove_measure_data("b")
    async with as_of(LATER) as past:
        assert [key async for key in past.measure(unique).list_measure_data()] == ["a"]
    async with as_of(EARLIER) as past:
        with pytest.raises(StoreError, match="measure keeps no versions"):
            [key async for key in past.measure(unique).list_measure_data()]


@pytest.mark.shapes("bucket")
async def test_empty_key_is_in_lists_of_the_past(kept: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    keys = ["", " ", "a", "a "]
    for key in keys:
        await write_at(adapter, 1, key, WHEN)
        await write_at(adapter, 2, key, WHEN + 10)
    async with as_of(WHEN + 5) as past:
        found = await uniform.listed(getattr(past, spec.name)(**adapter.context))
        assert (found if not spec.items else [key for key, _ in found]) == keys


async def test_view_is_open_within_its_block_alone(kept: Deployment, unique: str) -> None:
    view = as_of(WHEN)
    with pytest.raises(InputError, match="within its block"):
        await view.state(unique, "s").read_state_data()
    async with view as past:
        then = past.state(unique, "s")
        assert await then.read_state_data() is None
        with pytest.raises(AttributeError, match="no slot 'stat'"):
            getattr(past, "stat")  # noqa: B009
    with pytest.raises(InputError, match="within its block"):
        await then.read_state_data()


@pytest.mark.parametrize("when", [None, "2024-01-01", 1.5, datetime(2024, 1, 1), 2**70])
def test_bad_times_are_refused(when: Any) -> None:
    with pytest.raises(InputError, match="as_of: when"):
        as_of(when)


async def test_storage_of_one_s_own_is_refused(deployment: Deployment) -> None:
    persist.use(state=lambda *context: object())  # type: ignore[arg-type]
    async with as_of(WHEN) as past:
        with pytest.raises(InputError, match="only this library's storages"):
            past.state("s", "b")

"""Changes as they happen, on MongoDB and on SQLite: of every slot, of one context or all, from a token on, and how a
watch ends.
"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import asdict
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import InputError, InputTypeError, SlotSpec, persist, set_config, transaction
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.changes import list_changes, take_change, take_changes, wait_for
from tests.support.deadlines import SECONDS
from tests.support.uniform import WHEN, candles, entry, payload, write

pytestmark = pytest.mark.either_driver


@pytest.mark.in_rows("candles that go straight into blocks are not reported")
async def test_change_of_every_slot_has_the_written_payload(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, other = uniform.adapter(spec, unique), uniform.ADAPTERS[spec.name]
    async with adapter.watch() as changes, other.watch_all() as every:
        if spec.shape == "series":
            await adapter.write_candles_data(candles(1, 60_000))
            expected = candles(1, 60_000)[0]
        else:
            await write(adapter, payload(spec), entry(spec, unique))
            expected = payload(spec)
            if spec.shape == "collection":
                expected = {"id": entry(spec, unique), **expected}
        change = await take_change(changes)
        assert asdict(change) == asdict(await take_change(every))
        clock = await deployment.read_clock()
    assert (change.kind, change.slot, change.context, change.payload) == (
        "written",
        spec.name,
        adapter.context,
        expected,
    )
    assert change.key == (60_000 if spec.shape == "series" else entry(spec, unique) if spec.item else None)
    assert change.when == (WHEN if spec.when else None)
    assert abs(change.time - clock) < 60_000


async def test_each_write_is_reported_with_its_own_payload(deployment: Deployment, unique: str) -> None:
    """The server shows a document as it is by now, which is after all of these writes."""
    memory = persist.memory(unique, "notes")
    await memory.write_memory_data({"n": 0}, "a", WHEN)
    async with memory.watch() as changes:
        for n in range(1, 20):
            await memory.write_memory_data({"n": n}, "a", WHEN + n // 5)
        await memory.remove_memory_data("a")
        await memory.write_memory_data({"n": 20}, "a", WHEN)
        changed = await take_changes(changes, 21)
    assert [change.payload for change in changed] == [*({"n": n} for n in range(1, 20)), None, {"n": 20}]
    assert [change.kind for change in changed] == [*["written"] * 19, "removed", "written"]
    assert [change.when for change in changed] == [*(WHEN + n // 5 for n in range(1, 20)), WHEN + 3, WHEN]


async def test_each_write_of_a_run_is_reported_with_its_own_payload(deployment: Deployment, unique: str) -> None:
    """The same for rows whose changes the server tells by their parts."""
    values: list[dict[str, Any]] = [
        {"n": 0, "filler": "x" * 500, "levels": [*range(100)], "nested": {"a": {"b": 1}, "gone": True}, "a.b": 1},
        {"n": 1, "filler": "x" * 500, "levels": [*range(100)], "nested": {"a": {"b": 1}, "gone": True}, "a.b": 1},
        {"n": 1, "filler": "x" * 500, "levels": [*range(50)], "nested": {"a": {"b": 2}}, "a.b": 2},
        {"n": 1, "filler": "x" * 500, "levels": [*range(50), 7, {"x": [1]}], "nested": {"a": {"b": 2}}, "more": 1},
        {"n": 1, "filler": "x" * 500, "levels": [*range(50), 7, {"x": [1, 2]}], "nested": {"a": {}}, "more": None},
        {"n": 1, "filler": "x" * 500, "levels": [*range(50), 7, {"x": [1, 2]}], "nested": {"a": {}}, "more": None},
    ]
    memory = persist.memory(unique, "notes")
    await memory.write_memory_data({"plain": True}, "plain", WHEN)
    async with transaction(run="r"):
        await memory.write_memory_data(values[0], "stored", WHEN)
    set_config(CC_RUN="r")
    async with memory.watch() as changes:
        for key in ("stored", "fresh"):
            for value in values:
                await memory.write_memory_data(value, key, WHEN)
            await memory.remove_memory_data(key)
            await memory.write_memory_data(values[0], key, WHEN)
            set_config(CC_RUN=None)
            await memory.write_memory_data(values[1], key, WHEN)
            set_config(CC_RUN="other")
            await memory.write_memory_data(values[2], key, WHEN)
        found = await take_changes(changes, 20)
    assert [change.payload for change in found] == [*values, None, *values[:3]] * 2
    assert [change.kind for change in found] == [*["written"] * 6, "removed", *["written"] * 3] * 2


@pytest.mark.shapes("document", "entry", "collection", "bucket")
async def test_each_write_that_keeps_a_version_is_reported_once(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    """The row and its version are written in one transaction, and the version is no change of its own."""
    await deployment.configure(CC_HISTORY=spec.name)
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    async with adapter.watch() as changes:
        for number in range(3):
            await write(adapter, payload(spec, number), key, WHEN + number)
        if spec.soft_delete:
            await getattr(adapter, f"remove_{spec.noun}_data")(key)
        await write(adapter, payload(spec, 3), key, WHEN + 3)
        found = await take_changes(changes, 5 if spec.soft_delete else 4)
    values = [payload(spec, number) for number in range(4)]
    if spec.shape == "collection":
        values = [{"id": key, **value} for value in values]
    written = [change for change in found if change.kind == "written"]
    assert [change.payload for change in written] == values
    assert [change.when for change in written] == ([*range(WHEN, WHEN + 4)] if spec.when else [None] * 4)
    assert [change.kind for change in found] == ["written"] * 3 + ["removed"] * spec.soft_delete + ["written"]
    assert len([one async for one in adapter.history(*((key,) if spec.item else ()))]) >= 1


async def test_watch_of_a_context_reports_no_changes_of_others(deployment: Deployment, unique: str) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    await other.write_state_data({"n": 0}, WHEN)
    async with one.watch() as changes:
        await other.write_state_data({"n": 1}, WHEN)
        await deployment.delete_rows(other.spec)
        await one.write_state_data({"n": 2}, WHEN)
        change = await take_change(changes)
    assert (change.context, change.payload) == (one.context, {"n": 2})


async def test_cleared_row_and_items_of_a_list_are_reported(deployment: Deployment, unique: str) -> None:
    signal, storage = persist.signal("BTCUSDT", unique, "x"), persist.storage(True)
    async with uniform.ADAPTERS["signal"].watch_all() as signals, storage.watch() as rows:
        await signal.write_signal_data({"id": "s"})
        await signal.write_signal_data(None)
        await storage.write_storage_data([{"id": name} for name in "abc"])
        assert [change.payload for change in await take_changes(signals, 2)] == [{"id": "s"}, None]
        assert [change.key for change in await take_changes(rows, 3)] == ["a", "b", "c"]


async def test_deleted_document_is_reported_with_its_key(deployment: Deployment, unique: str) -> None:
    interval = persist.interval(unique)
    await interval.write_interval_data({"n": 1}, "before", WHEN)
    async with interval.watch() as changes:
        await interval.write_interval_data({"n": 1}, "since", WHEN)
        await deployment.delete_rows(interval.spec, entryKey="before")
        await deployment.delete_rows(interval.spec, entryKey="since")
        changed = await take_changes(changes, 3)
    assert [(change.kind, change.key) for change in changed] == [
        ("written", "since"),
        ("deleted", "before"),
        ("deleted", "since"),
    ]
    assert changed[1].context == {"bucket": unique}


async def test_deleted_and_corrected_candles_are_reported_by_time(deployment: Deployment, unique: str) -> None:
    series = persist.candle(unique, "1m", "x")
    await series.write_candles_data(candles(4))
    corrected = candles(2, 60_000, price=2.0)
    async with series.watch() as changes:
        await series.delete(60_000, 180_000)
        await series.write_candles_data(corrected)
        await series.write_candles_data(candles(5))  # all but one are stored, and stay
        found = await take_changes(changes, 5)
        await series.delete()
        gone = await take_changes(changes, 5)
    assert [(change.kind, change.key, change.payload) for change in found] == [
        ("deleted", 60_000, None),
        ("deleted", 120_000, None),
        ("written", 60_000, corrected[0]),
        ("written", 120_000, corrected[1]),
        ("written", 240_000, candles(5)[-1]),
    ]
    assert [(change.kind, change.key, change.payload) for change in gone] == [
        ("deleted", time * 60_000, None) for time in range(5)
    ]
    assert {change.when for change in found} == {None}


async def test_token_of_a_candle_resumes_within_those_written_with_it(deployment: Deployment, unique: str) -> None:
    series, rows = persist.candle(unique, "1m", "x"), candles(700)
    async with series.watch() as changes:
        await series.write_candles_data(rows)
        tokens = [change.token for change in await take_changes(changes, 700)]
    assert len(set(tokens)) == 700
    for number in (0, 5, 510, 511, 512, 698):
        async with series.watch(after=tokens[number]) as changes:
            change = await take_change(changes)
            assert (change.key, change.payload, change.token) == (
                rows[number + 1]["timestamp"],
                rows[number + 1],
                tokens[number + 1],
            )
    async with series.watch(after=tokens[-1]) as changes:
        await series.write_candles_data(candles(701))
        assert (await take_change(changes)).key == 700 * 60_000


async def test_watches_of_one_slot_each_get_every_change_at_their_own_pace(deployment: Deployment, unique: str) -> None:
    state, other = persist.state(unique, "one"), persist.state(unique, "other")
    async with state.watch() as slow, state.watch() as quick, other.watch() as elsewhere:
        for n in range(300):
            await asyncio.gather(state.write_state_data({"n": n}, WHEN), other.write_state_data({"n": -n}, WHEN))
            assert (await take_change(quick)).payload == {"n": n}
        assert [change.payload["n"] for change in await take_changes(slow, 300)] == [*range(300)]
        assert [change.payload["n"] for change in await take_changes(elsewhere, 300)] == [-n for n in range(300)]


async def test_another_watch_resumes_after_a_token(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with state.watch() as changes:
        for n in range(3):
            await state.write_state_data({"n": n}, WHEN)
        first = await take_change(changes)
    await deployment.forget()
    async with state.watch(after=first.token) as changes:
        assert [change.payload for change in await take_changes(changes, 2)] == [{"n": 1}, {"n": 2}]
    for bad in ("", "zz", "82"):
        with pytest.raises(InputError, match="after is not a token"):
            await take_change(state.watch(after=bad))
        with pytest.raises(InputError, match="after is not a token"):
            async with state.watch(after=bad):
                pass
    with pytest.raises(InputTypeError, match="after must be a str, not dict"):
        state.watch(after={"_data": "x"})  # type: ignore[arg-type]  # which is the test


async def test_token_advances_while_nothing_changes(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.mongo.change_stream._WAIT_MS", 20)
    state, elsewhere = persist.state(unique, "s"), persist.signal(unique, "s", "x")
    async with state.watch() as changes:
        began = changes.token
        waiting = asyncio.ensure_future(take_change(changes))
        await elsewhere.write_signal_data({})
        await wait_for(lambda: asyncio.sleep(0, changes.token != began))
        await state.write_state_data({"n": 1}, WHEN)
        assert (await waiting).payload == {"n": 1}


async def test_break_leaves_nothing_open(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")

    async def write_soon() -> None:
        await wait_for(lambda: asyncio.sleep(0, bool(deployment.list_watches())))
        await state.write_state_data({"n": 1}, WHEN)

    writing = asyncio.ensure_future(write_soon())
    async for change in state.watch():
        assert change.payload == {"n": 1}
        break
    await writing
    await wait_for(deployment.has_no_watch)


async def test_cancellation_ends_it_and_a_timeout_loses_nothing(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    changes = state.watch()
    for n in range(3):
        while not deployment.list_watches() or n:  # so often that it begins, and then in the midst of waiting
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), 0.01 + 0.1 * n)
            if n:
                break
        await state.write_state_data({"n": n}, WHEN)
        assert (await take_change(changes)).payload == {"n": n}

    async def follow() -> None:
        async with changes:
            async for _ in changes:
                pass

    following_it = asyncio.ensure_future(follow())
    await asyncio.sleep(0.05)
    following_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following_it
    await wait_for(deployment.has_no_watch)
    with pytest.raises(StopAsyncIteration):
        await anext(changes)


@pytest.mark.parametrize("how", ["aclose", "close"])
async def test_closing_ends_the_iteration(deployment: Deployment, unique: str, how: str) -> None:
    changes = persist.state(unique, "s").watch()
    waiting = asyncio.ensure_future(list_changes(changes))
    await wait_for(lambda: asyncio.sleep(0, bool(deployment.list_watches())))
    await (changes.aclose() if how == "aclose" else backtest_mongo.close())
    async with asyncio.timeout(SECONDS):
        assert await waiting == []
    await wait_for(deployment.has_no_watch)
    await changes.aclose()


async def test_closing_ends_all_watches_at_once(deployment: Deployment, unique: str) -> None:
    watches = [await persist.signal(f"{unique}{n}", "s", "binance").watch().__aenter__() for n in range(6)]
    waiting = [asyncio.ensure_future(anext(watch, None)) for watch in watches]
    sources = deployment.list_watches()
    ends = [source.ended for source in sources]
    closing = asyncio.ensure_future(backtest_mongo.close())
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    # Every one has ended, and none waits for the answer to another.
    assert [end.done() for end in ends] == [True] * len(watches)
    await asyncio.gather(closing, *waiting)


async def test_watch_that_never_began_holds_nothing(deployment: Deployment, unique: str) -> None:
    changes = persist.state(unique, "s").watch()
    await changes.aclose()
    assert await list_changes(changes) == []
    del changes
    gc.collect()
    assert not deployment.list_watches()

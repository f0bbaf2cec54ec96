"""One process is stopped at each of its steps in turn, and others do all of their work in between."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from backtest_mongo.types import Coverage
from tests.series.columns.conftest import CROWDED, STORED
from tests.support.column_stores import FIRST, Process, Steps, each_step, meet, number

pytestmark = [pytest.mark.usefixtures("times"), pytest.mark.either_driver, pytest.mark.heavy]


both = pytest.mark.parametrize(("slot", "times"), [*STORED, (FIRST, CROWDED)], indirect=True)
first = pytest.mark.parametrize("times", ["", CROWDED], indirect=True)

A, B, C = 1_000.0, 2_000.0, 3_000.0


class Reader:
    """Reads, and checks that no value changes that it has read once, and that no row goes."""

    def __init__(self, slot: str, symbol: str) -> None:
        self.process = Process(slot, symbol)
        self.known: dict[int, float] = {}

    async def read(self, *more: Process) -> dict[int, float]:
        found: dict[int, float] = {}
        for process in (self.process, *more, Process(self.process.spec.name, self.process.context[1])):
            found = await process.read()
            assert {time: found.get(time) for time in self.known} == self.known
            self.known = found
        return found


def first_of(*rows: Mapping[int, float]) -> dict[int, float]:
    merged: dict[int, float] = {}
    for some in rows:
        merged = {**some, **merged}
    return merged


@both
async def test_readers_and_writers_in_the_midst_of_sealing(slot: str) -> None:
    async for steps in each_step():
        await _seal(steps, slot)


async def _seal(steps: Steps, slot: str) -> None:
    symbol = f"S{steps.last}"
    before, late, again = number(range(0, 40, 2), A), number((1, 7, 39), B), number((0, 6, 38), B)
    writer, sealer = Process(slot, symbol), Process(slot, symbol, steps)
    await writer.write_each(number(range(0, 20, 2), A))
    await writer.seal()
    await writer.write_each(number(range(20, 40, 2), A))
    await writer.write({5: A, 35: A})
    before |= {5: A, 35: A}

    async def meanwhile() -> None:
        assert await Process(slot, symbol).read() == before
        assert await writer.write_each(late) == [1, 1, 1]
        assert await writer.write_each(again) == [0 if slot == FIRST else 1] * 3
        merged = first_of(before, late) if slot == FIRST else before | late | again
        assert await Process(slot, symbol).read() == merged
        assert await writer.read() == merged

    await meet(steps, sealer.seal(), meanwhile)
    merged = first_of(before, late) if slot == FIRST else before | late | again
    await writer.check(merged if steps.reached.is_set() else before)
    await writer.seal()
    await writer.check(merged if steps.reached.is_set() else before)


@both
async def test_two_sealers(slot: str) -> None:
    async for steps in each_step():
        await _seal_twice(steps, slot)


async def _seal_twice(steps: Steps, slot: str) -> None:
    symbol = f"S{steps.last}"
    writer, sealer = Process(slot, symbol), Process(slot, symbol, steps)
    rows = number(range(10), A)
    await writer.write_each(rows)
    await writer.write({3: B, 30: B})
    rows |= {30: B} if slot == FIRST else {3: B, 30: B}
    await meet(steps, sealer.seal(), Process(slot, symbol).seal)
    await writer.check(rows)
    size = await writer.store.size(writer.context)
    assert (size.tail_rows, size.block_rows) == (0, 11)


@both
async def test_appends_in_the_midst_of_a_bulk_write(slot: str) -> None:
    """What a reader finds stays, whoever has written it, and whoever wins says so."""
    async for steps in each_step():
        await _append_beside_bulk(steps, slot)


async def _append_beside_bulk(steps: Steps, slot: str) -> None:
    symbol = f"S{steps.last}"
    reader, writer = Reader(slot, symbol), Process(slot, symbol)
    bulk = Process(slot, symbol, steps)
    stored = number((0, 8), C)
    await writer.write_each(stored)
    frame, appended = number(range(9), A), number((2, 8, 25), B)
    news: list[int] = []

    async def meanwhile() -> None:
        if slot == FIRST:
            reader.known = await reader.process.read()
        news.extend(await writer.write_each(appended))
        if slot == FIRST:
            await reader.read(writer)

    new = await meet(steps, bulk.write(frame), meanwhile)
    found = await writer.read()
    assert {*found} == {*frame} | ({*appended} if news else set())
    if slot == FIRST:
        await reader.read(writer)
        assert {time: found[time] for time in stored} == stored
        assert sum(news) + new + len(stored) == len(found)
        for time, is_new in zip(appended, news, strict=False):
            assert (found[time] == appended[time]) == bool(is_new)
    await writer.check(found)
    await writer.seal()
    await writer.check(found)


@both
async def test_readers_in_the_midst_of_a_bulk_write(slot: str) -> None:
    """They find what was stored before, and what the write has stored by then; no row goes, or is as before again."""
    async for steps in each_step():
        await _read_beside_bulk(steps, slot)


async def _read_beside_bulk(steps: Steps, slot: str) -> None:
    symbol = f"S{steps.last}"
    writer, reader, bulk = Process(slot, symbol), Process(slot, symbol), Process(slot, symbol, steps)
    stored, frame = number((0, 3, 6, 9, 1, 8, 25), A), number(range(14), B)
    await writer.write_each(number((0, 3, 6, 9), A))
    await writer.seal()
    await writer.write_each(number((1, 8, 25), A))
    expected = first_of(stored, frame) if slot == FIRST else stored | frame
    known: dict[int, float] = {}

    async def read() -> None:
        # One that has read before, one that has written, and one that knows nothing.
        for process in (reader, writer, Process(slot, symbol)):
            found = await process.read()
            assert {*stored} <= {*found} <= {*expected}
            for time, value in found.items():
                assert value in ((expected[time],) if known.get(time) == expected[time] else (expected[time], A + time))
                assert time in stored or value == expected[time]
            assert {*known} <= {*found}
            known.update(found)

    await read()
    new = await meet(steps, bulk.write(frame), read)
    assert new == (len(expected) - len(stored) if slot == FIRST else len(frame))
    await read()
    await writer.check(expected)
    await writer.seal()
    await writer.check(expected)


@first
async def test_bulk_writes_and_readers_in_the_midst_of_an_append() -> None:
    """The row of an append that has not returned yet may be read, and is then the one that stays."""
    async for steps in each_step():
        await _read_beside_append(steps)


async def _read_beside_append(steps: Steps) -> None:
    symbol = f"S{steps.last}"
    reader = Reader(FIRST, symbol)
    writer = Process(FIRST, symbol, steps)
    bulk_steps = Steps(-1)
    other = Process(FIRST, symbol, bulk_steps)
    await Process(FIRST, symbol).write(number(range(0, 20, 2), A))
    appended = number((3, 5, 30), B)

    async def meanwhile() -> None:
        await reader.read()
        await other.write(number(range(7), C))
        await reader.read()

    new = await meet(steps, writer.write(appended), meanwhile)
    found = await reader.read(other)
    assert new == sum(found[time] == value for time, value in appended.items())
    await other.seal()
    assert await reader.read(other) == found
    await other.check(found)


@both
async def test_two_bulk_writes(slot: str) -> None:
    async for steps in each_step():
        await _write_twice(steps, slot)


async def _write_twice(steps: Steps, slot: str) -> None:
    symbol = f"S{steps.last}"
    reader, one, other = Reader(slot, symbol), Process(slot, symbol, steps), Process(slot, symbol)
    late = Process(slot, symbol)
    news: list[int] = []

    async def meanwhile() -> None:
        news.append(await other.write(number(range(5, 12), B)))
        news.extend(await late.write_each(number((3, 30), C)))
        if slot == FIRST:
            await reader.read(late)

    new = await meet(steps, one.write(number(range(0, 14, 2), A)), meanwhile)
    found = await (reader.read() if slot == FIRST else one.read())
    if steps.reached.is_set():
        assert {*found} == {*range(0, 14, 2), *range(5, 12), 3, 30}
    if slot == FIRST:
        assert new + sum(news) == len(found)
    await other.seal()
    await other.check(found)


@both
async def test_sealers_and_writers_in_the_midst_of_deleting(slot: str) -> None:
    async for steps in each_step():
        await _delete(steps, slot)


async def _delete(steps: Steps, slot: str) -> None:
    symbol = f"S{steps.last}"
    writer, deleter = Process(slot, symbol), Process(slot, symbol, steps)
    rows = number(range(30), A)
    await writer.write_each(rows)
    await writer.seal()
    await writer.write({12: B, 14: B, 27: B})
    await writer.write(number(range(30, 35), A))
    rows |= number(range(30, 35), A) | ({} if slot == FIRST else {12: B, 14: B, 27: B})
    rest = {time: value for time, value in rows.items() if not 5 <= time < 20}

    async def meanwhile() -> None:
        found = await Process(slot, symbol).read()
        # What is still there is what was there last, not what it has replaced.
        assert found == {time: rows[time] for time in found}
        assert rest == {time: found[time] for time in rest}
        await Process(slot, symbol).seal()
        assert await writer.write({40: A, 3: C}) == (1 if slot == FIRST else 2)

    await meet(steps, deleter.delete(5, 20), meanwhile)
    if steps.reached.is_set():
        rest |= {40: A} if slot == FIRST else {40: A, 3: C}
    await writer.check(rest)
    await writer.seal()
    await writer.check(rest)
    assert await writer.write(number(range(5, 20), C)) == 15
    await writer.check(rest | number(range(5, 20), C))


@both
async def test_sealing_and_deleting_in_the_midst_of_a_read(slot: str) -> None:
    """A read that began before finds each row once, as it was before or as it is."""
    async for steps in each_step():
        await _read(steps, slot)


async def _read(steps: Steps, slot: str) -> None:
    symbol = f"S{steps.last}"
    writer, reader = Process(slot, symbol), Process(slot, symbol, steps)
    rows = number(range(0, 60, 2), A)
    await writer.write(rows)
    await writer.write_each(number(range(1, 9, 2), A))
    rows |= number(range(1, 9, 2), A)
    late = number(range(9, 60, 2), B)

    async def meanwhile() -> None:
        await writer.seal()
        await writer.write_each(late)
        await writer.seal()
        await writer.delete(20, 40)

    found = await meet(steps, reader.read(), meanwhile)
    assert {**rows, **late, **found} == {**rows, **late}
    kept = {time for time in rows if not 20 <= time < 40}
    assert kept <= {*found}


async def test_coverage_and_last_rows_in_the_midst_of_sealing() -> None:
    async for steps in each_step():
        await _cover(steps)


async def _cover(steps: Steps) -> None:
    symbol = f"S{steps.last}"
    writer, reader = Process(FIRST, symbol), Process(FIRST, symbol, steps)
    await writer.write_each(number(range(12), A))
    await writer.seal()
    await writer.write_each(number(range(12, 20), A))

    async def meanwhile() -> None:
        await writer.seal()
        await writer.delete(17, 19)

    coverage = await meet(steps, reader.store.cover(reader.context, 100), meanwhile)
    assert coverage in (Coverage(0, 19, 20), Coverage(0, 19, 18))
    again = Steps(steps.last)
    other = Process(FIRST, symbol, again)

    async def delete_more() -> None:
        await writer.delete(14, 19)

    last = await meet(again, other.store.read_last(other.context, 4, 100), delete_more)
    assert len(last) == 4
    assert last.time.tolist()[-1] == 19

"""Answers of MongoDB that are lost after it has carried out a command: a call writes once, and counts so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import StoreUnavailableError
from backtest_mongo.connection.operation import Attempts
from faults.proxy import Proxy
from tests.conftest import drop_with
from tests.support.column_stores import FIRST, LAST, STRIDE, Process, number, shrink
from tests.support.short_deadlines import LONG_MS, until_in_time

pytestmark = [pytest.mark.either_driver, pytest.mark.heavy]

both: Final = pytest.mark.parametrize("slot", [FIRST, LAST])

A, B, C = 1_000.0, 2_000.0, 3_000.0
WORDS: Final = (b"insert", b"update", b"delete", b"findAndModify", b"commitTransaction")
SHORT_MS: Final = 1_500


class LosingProxy(Proxy):
    """Loses some answers to commands that write or commit, by their places in the order in which they are sent."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.range = range(0)
        self.count = 0

    def lose(self, first: int, times: int) -> None:
        """Lose so many answers from a place on, which counts from now."""
        self.cuts, self.count, self.range = 0, 0, range(first, first + times)

    def is_hit(self, request: bytes) -> bool:
        if super().is_hit(request):
            return True
        # The name of the command is the first field of its document, behind the header of the message.
        if not request[26:].startswith(tuple(word + b"\0" for word in WORDS)):
            return False
        self.count += 1
        return self.count - 1 in self.range


@pytest.fixture
async def proxy(
    servers: dict[str, Any], driver: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LosingProxy]:
    """The library behind a proxy, on a replica set of one, with blocks of four rows."""
    shrink(monkeypatch)
    with LosingProxy(urlsplit(servers["CC_MONGO_CONNECTION_STRING"]).port or 27017) as proxy:
        uri = f"mongodb://127.0.0.1:{proxy.port}/{unique}?directConnection=true"
        config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
        await backtest_mongo.setup({**config, "CC_MONGO_TIMEOUT_MS": LONG_MS})
        yield proxy
        proxy.lose(0, 0)
        proxy.pass_on()
        await backtest_mongo.close()
        with pymongo.MongoClient[dict[str, Any]](servers["CC_MONGO_CONNECTION_STRING"]) as client:
            drop_with(client, unique)


class Work:
    """A call on a series, what it returns, and what there is before and after it."""

    def __init__(
        self,
        slot: str,
        call: Callable[[Process], Awaitable[int | None]],
        *,
        new: int | None = None,
        rows: Mapping[int, float] | None = None,
        gone: range = range(0),
    ) -> None:
        # Some are in blocks, and some in the tail, of which two are about to go into a block that is there.
        self.before = number(range(0, 12, 2), A) | number((3, 20, 22), B)
        self.slot = slot
        self.call = call
        self.new = new
        merged = {**(rows or {}), **self.before} if slot == FIRST else {**self.before, **(rows or {})}
        self.after = {time: value for time, value in merged.items() if time not in gone}

    async def prepare(self, symbol: str) -> Process:
        process = Process(self.slot, symbol)
        await process.write_each(number(range(0, 12, 2), A))
        await process.seal()
        await process.write_each(number((3, 20, 22), B))
        return process


def list_works(slot: str) -> dict[str, Work]:
    is_first = slot == FIRST
    few, many = number((3, 4, 5, 30), C), number(range(5, 21), C)
    return {
        "append": Work(slot, lambda one: one.write(few), new=2 if is_first else 4, rows=few),
        "late": Work(slot, lambda one: one.write(number((7,), C)), new=1, rows=number((7,), C)),
        "again": Work(slot, lambda one: one.write(number((4,), A)), new=0 if is_first else 1),
        "several": Work(slot, lambda one: write_each(one, few), new=2 if is_first else 4, rows=few),
        "frame": Work(slot, lambda one: one.write(many), new=12 if is_first else 16, rows=many),
        "delete": Work(slot, lambda one: one.delete(3, 21), new=6, gone=range(3, 21)),
        "seal": Work(slot, lambda one: one.seal()),
    }


NAMES: Final = tuple(list_works(FIRST))


async def write_each(process: Process, rows: Mapping[int, float]) -> int:
    return sum(await process.write_each(rows))


@both
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [1, 3])  # the driver sends a command again once
async def test_each_answer_is_lost_in_turn(proxy: LosingProxy, slot: str, name: str, times: int) -> None:
    at, sent = 0, 1
    while at < sent:
        work = list_works(slot)[name]
        process = await work.prepare(f"S{at}")
        proxy.lose(at, times)
        assert await work.call(process) == work.new
        sent = proxy.count
        assert proxy.cuts or at >= sent
        proxy.lose(0, 0)
        await process.check(work.after)
        await Process(slot, f"S{at}").check(work.after)
        await work.call(process)
        await process.seal()
        await process.check(work.after)
        at += 1 if times == 1 else min(STRIDE, 3)


@both
@pytest.mark.parametrize("name", ["append", "frame", "delete", "seal"])
async def test_call_whose_answers_are_all_lost_says_that_it_may_be_applied_and_is_repeated(
    proxy: LosingProxy, slot: str, name: str
) -> None:
    failures: list[StoreUnavailableError] = []
    for word in WORDS:
        symbol = f"S-{word.decode()}"
        work = list_works(slot)[name]
        process = await work.prepare(symbol)
        await shorten(SHORT_MS)
        process = Process(slot, symbol)
        await until_in_time(process.read)
        proxy.cut(word, after=0)
        try:
            assert await work.call(process) == work.new
        except StoreUnavailableError as error:
            failures.append(error)
        proxy.pass_on()
        await shorten(LONG_MS)
        again = Process(slot, symbol)
        found = await again.read()
        assert {time: value for time, value in found.items() if work.after.get(time) != value}.items() <= {
            *work.before.items()
        }
        new = await work.call(again)
        if slot == FIRST and name not in ("delete", "seal"):
            assert new == len(work.after) - len(found)
        await again.check(work.after)
        await again.seal()
        await again.check(work.after)
    assert failures
    # Sealing only moves rows, so it never leaves open whether one is stored.
    assert all(error.may_be_applied for error in failures) or name == "seal"


async def shorten(milliseconds: int) -> None:
    """Set another deadline for what follows."""
    await backtest_mongo.setup(CC_MONGO_TIMEOUT_MS=milliseconds)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Awaitable[None]]], None]:
    """Do something between the first attempt whose answer was lost and the next one."""

    def register(work: Callable[[], Awaitable[None]]) -> None:
        wait_for_next = Attempts.wait_for_next

        async def after_that(self: Attempts, error: Exception) -> bool:
            monkeypatch.setattr(Attempts, "wait_for_next", wait_for_next)
            await work()
            return await wait_for_next(self, error)

        monkeypatch.setattr(Attempts, "wait_for_next", after_that)

    return register


@both
async def test_rows_whose_answer_is_lost_may_be_sealed_before_they_are_sent_again(
    proxy: LosingProxy, slot: str, meanwhile: Callable[[Callable[[], Awaitable[None]]], None]
) -> None:
    rows = number((3, 5, 7), A)
    process = Process(slot, "S")
    await process.write_each(number((0, 8), A))

    async def seal() -> None:
        proxy.pass_on()
        await Process(slot, "S").seal()

    meanwhile(seal)
    proxy.cut(b"insert", after=0)
    assert await process.write(rows) == 3
    await process.check(rows | number((0, 8), A))
    await process.seal()
    await process.check(rows | number((0, 8), A))


@both
async def test_rows_that_were_replaced_since_do_not_come_back(
    proxy: LosingProxy, slot: str, meanwhile: Callable[[Callable[[], Awaitable[None]]], None]
) -> None:
    """Of a call that was applied without an answer, sealed by another process, and overtaken by its newer rows."""
    rows, newer = number((3, 5, 7), A), number((3, 7), B)
    process, other = Process(slot, "S"), Process(slot, "S")
    await process.write_each(number((0, 8), A))

    async def go_on() -> None:
        proxy.pass_on()
        await other.seal()
        await other.write(newer)

    meanwhile(go_on)
    proxy.cut(b"insert", after=0)
    assert await process.write(rows) == 3
    expected = number((0, 8), A) | rows | (newer if slot == LAST else {})
    await process.check(expected)
    await process.seal()
    await process.check(expected)


@both
async def test_rows_that_were_deleted_since_do_not_come_back(
    proxy: LosingProxy, slot: str, meanwhile: Callable[[Callable[[], Awaitable[None]]], None]
) -> None:
    process, other = Process(slot, "S"), Process(slot, "S")
    await process.write_each(number((0, 8), A))

    async def go_on() -> None:
        proxy.pass_on()
        await other.delete(4, 6)

    meanwhile(go_on)
    proxy.cut(b"insert", after=0)
    assert await process.write(number((3, 5, 7), A)) == 3
    await process.check(number((0, 3, 7, 8), A))

"""What processes that are killed in the midst of a transaction keep locked is freed for others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.mongo import abandoned
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.mongo.sessions import begin, open_session
from backtest_mongo.series.columns.heads import SeriesHeads
from tests.support.column_stores import FIRST, LAST, Killed, Process, number

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.either_driver, pytest.mark.heavy]

A = 1_000.0
STORED = number(range(8), A)

Leave = Callable[[Awaitable[Any]], Awaitable[None]]


@pytest.fixture
async def leave(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Leave]:
    """Let a process be killed before it commits its first transaction."""
    monkeypatch.setattr(abandoned, "IDLE_SECONDS", 0.5)
    committer, sessions = get_committer(current_hub()), []

    async def leave_open(doing: str, spec: Any, work: Callable[[Any], Awaitable[Any]]) -> None:
        session = await open_session(current_hub())
        sessions.append(session)
        await committer.check()
        await committer.note_session(session)
        await begin(session)
        await work(session)
        raise Killed

    async def leave_announced(*_: object) -> None:
        """Who is killed withdraws nothing."""

    async def kill(call: Awaitable[Any]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(committer, "run_plain", leave_open)
            patch.setattr(SeriesHeads, "withdraw", leave_announced)
            with pytest.raises(Killed):
                await call

    yield kill
    for session in sessions:
        await session.end_session()


async def read(process: Process) -> None:
    assert await process.read() == STORED


async def write_again(process: Process) -> None:
    assert await process.write(number((2, 3), A)) == (0 if process.spec.name == FIRST else 2)


async def write_late(process: Process) -> None:
    late = number((5, 9), A)
    assert await process.write(late) == (1 if process.spec.name == FIRST else 2)
    assert await process.read() == STORED | late


async def write_many(process: Process) -> None:
    assert await process.write(number(range(12), A)) == (4 if process.spec.name == FIRST else 12)


async def seal(process: Process) -> None:
    await process.seal()
    assert (await process.store.size(process.context)).tail_rows == 0


async def delete(process: Process) -> None:
    assert await process.delete(2, 6) == 4


@pytest.mark.parametrize("slot", [FIRST, LAST])
@pytest.mark.parametrize("following", [read, write_again, write_late, write_many, seal, delete])
@pytest.mark.parametrize("killed", [Process.seal, lambda one: one.write(number(range(12), A))], ids=["seal", "write"])
async def test_what_a_killed_process_has_locked_is_freed_for_whoever_comes_next(
    leave: Leave,
    slot: str,
    killed: Callable[[Process], Awaitable[Any]],
    following: Callable[[Process], Awaitable[None]],
) -> None:
    await Process(slot, "S").write_each(STORED)
    await leave(killed(Process(slot, "S")))
    await following(Process(slot, "S"))
    other, whole = Process(slot, "S"), number(range(12), A)
    found = await other.read()
    assert await other.write(whole) == (len(whole) - len(found) if slot == FIRST else len(whole))
    await other.seal()
    await other.check(whole)

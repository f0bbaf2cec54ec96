"""A process that works on an SQLite database; run by tests/sqlite.

``share``: writes many rows that are its own, and some, such as candles, that another process writes too, and prints how
many candles were new. ``everything``: writes and reads a row of every slot, and ends without closing anything.
``acknowledge``: writes until it is killed, and prints each number once it and all that belongs to it were acknowledged.
``count``: counts a row up with versions. ``leave``: ends while a write waits for a lock. ``fork``, ``fork-memory``:
works in this process and in forks of it. ``watch``: prints key and token of changes until it is killed, of those after
a token if one is given. ``leave-watch``: ends in the midst of waiting for a change. ``fork-watch``: watches in this
process and in a fork of it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from backtest_mongo import SLOTS, StoreUnavailableError, close, persist
from backtest_mongo.core.watch import Watch
from backtest_mongo.sqlite import database
from tests.support import uniform
from tests.support.counting import count

MINUTE = 60_000


async def share(name: str) -> None:
    memory, log, state = persist.memory("s", "b"), persist.log(), persist.state("s", "one")
    new = 0
    for number in range(40):
        await memory.write_memory_data({"by": name}, f"{name}-{number:02}", number)
        await log.write_log_data([{"id": f"{name}-{number:02}"}])
        # The same payload never comes at two times, so that a mix of the two shows.
        await state.write_state_data({"by": name, "n": number}, number * 10 + int(name))
        candles = uniform.candles(20, first=number * 10 * MINUTE, price=float(name) + 1)
        new += await persist.candle("BTCUSDT", "1m", "x").write_candles_data(candles)
    print(new)


async def everything() -> None:
    for spec in SLOTS:
        slot = getattr(persist, spec.name)(**uniform.context(spec, "x"))
        await slot.wait_for_init()
        if spec.shape == "series":
            assert await slot.write_candles_data(uniform.candles(3)) == 3
            assert await slot.read_candles_data(3, 0) == uniform.candles(3)
            continue
        await uniform.write(slot, uniform.payload(spec))
        assert await uniform.read(slot) == uniform.stored(spec, uniform.payload(spec))


async def acknowledge(name: str, start: str = "1") -> None:
    for number in itertools.count(int(start)):
        pad = "x" * (number * 997 % 50_000)
        await asyncio.gather(
            persist.state(name, "one").write_state_data({"n": number, "pad": pad}, number),
            persist.memory("s", "b").write_memory_data({"n": number}, f"{name}-{number}", number),
            persist.storage(True).write_storage_data([{"id": f"{name}-{index}", "n": number} for index in range(5)]),
            persist.candle("BTCUSDT", "1m", name).write_candles_data(
                uniform.candles(3, first=(number - 1) * 3 * MINUTE)
            ),
        )
        print(number, flush=True)


async def leave() -> None:
    asyncio.get_running_loop().create_task(persist.state("s", "b").write_state_data({"n": 1}, 1))
    await asyncio.sleep(0)
    print("leaving", flush=True)


async def watch(after: str | None = None) -> None:
    async with persist.memory("s", "b").watch(after) as changes:
        print(json.dumps([None, changes.token]), flush=True)
        async for change in changes:
            print(json.dumps([change.key, change.token]), flush=True)


async def leave_watch() -> None:
    changes = await persist.state("s", "b").watch().__aenter__()
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    print("leaving", flush=True)
    waiting.cancel()


def fork_watch() -> None:
    asyncio.run(_watch_and_fork())
    print("done")


async def _watch_and_fork() -> None:
    memory = persist.memory("s", "b")
    async with memory.watch() as changes:
        await memory.write_memory_data({"n": 0}, "parent", 1)
        assert (await anext(changes)).key == "parent"
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # In a thread, as this one has the parent's event loop.
                thread = threading.Thread(target=lambda: asyncio.run(_watch_in_child(changes)))
                thread.start()
                thread.join()
                code = 0 if _outcomes == ["done"] else 1
            finally:
                os._exit(code)
        assert (await waiting).key == "child"
        assert (await asyncio.to_thread(os.waitpid, pid, 0))[1] == 0
        await memory.write_memory_data({"n": 2}, "parent again", 1)
        assert (await anext(changes)).key == "parent again"
    await close()


#: What the child's thread has come to.
_outcomes: list[str] = []


async def _watch_in_child(inherited: Watch) -> None:
    memory = persist.memory("s", "b")
    assert await anext(inherited, None) is None
    async with memory.watch() as changes:
        await memory.write_memory_data({"n": 1}, "child", 1)
        assert (await anext(changes)).key == "child"
    await close()
    _outcomes.append("done")


def fork() -> None:
    asyncio.run(_write(0))
    for child in (1, 2):
        _fork(child)
        asyncio.run(_write(0))
    threads_fork()
    fork_while_in_use()
    print("done")


async def _write(process: int) -> None:
    """Write and read, with writes of another process at the same time."""
    memory = persist.memory("s", "b")
    await asyncio.gather(*(memory.write_memory_data({"n": n}, f"{process}-{n}", 1) for n in range(20)))
    assert [await memory.read_memory_data(f"{process}-{n}") for n in range(20)] == [{"n": n} for n in range(20)]
    assert await memory.read_memory_data("0-0") == {"n": 0}
    assert len([key async for key, _ in memory.list_memory_data()]) >= 20


def _fork(child: int, work: Callable[[int], Coroutine[Any, Any, None]] = _write) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(work(child))
            asyncio.run(close())
            code = 0
        finally:
            os._exit(code)
    asyncio.run(_write(0))
    assert os.waitpid(pid, 0)[1] == 0


def threads_fork() -> None:
    """Fork while another thread reads and writes."""
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set():
            asyncio.run(_write(0))

    thread = threading.Thread(target=work)
    thread.start()
    for child in (3, 4, 5):
        _fork(child)
    ends.set()
    thread.join()


def fork_while_in_use() -> None:
    """Fork in the middle of a transaction, of which no end is in sight."""
    begun, ends = threading.Event(), threading.Event()
    known = next(iter(database._databases.values()))

    def hold(connection: Any) -> None:
        begun.set()
        ends.wait()

    thread = threading.Thread(target=lambda: asyncio.run(known.write(lambda: hold)))
    thread.start()
    begun.wait()
    database._FORK_SECONDS = 0.01
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(_refused())
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    ends.set()
    thread.join()
    asyncio.run(_write(0))


def fork_memory() -> None:
    asyncio.run(_write(0))
    _fork(1, _find_nothing)
    asyncio.run(_write(0))
    print("done")


async def _find_nothing(child: int) -> None:
    memory = persist.memory("s", "b")
    assert await memory.read_memory_data("0-0") is None
    await memory.write_memory_data({"n": 1}, "own", 1)
    assert [key async for key, _ in memory.list_memory_data()] == ["own"]


async def _refused() -> None:
    state = persist.state("s", "b")
    for call in (state.read_state_data(), state.write_state_data({"n": 1}, 1)):
        with pytest.raises(StoreUnavailableError, match=r"was in use when this process was forked"):
            await call


if __name__ == "__main__":
    work, path, *arguments = sys.argv[1:]
    if path:  # otherwise it stores by default
        persist.use_sqlite(path)
    if work.startswith("fork"):
        {"fork": fork, "fork-memory": fork_memory, "fork-watch": fork_watch}[work]()
    else:
        works: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
            "share": share,
            "everything": everything,
            "acknowledge": acknowledge,
            "count": count,
            "leave": leave,
            "watch": watch,
            "leave-watch": leave_watch,
        }
        asyncio.run(works[work](*arguments))

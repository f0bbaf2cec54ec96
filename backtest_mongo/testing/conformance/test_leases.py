"""Capability ``leases``: one owner of a context, and one that has lost it can't write."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final

import pytest

from backtest_mongo import LeaseHeldError, LeaseLostError
from backtest_mongo.testing.conformance.instances import SECONDS, Instances, within
from backtest_mongo.testing.conformance.slots import WHEN, needs

pytestmark: list[Any] = [pytest.mark.capability("leases"), pytest.mark.asyncio(loop_scope="function"), needs("state")]

#: The shortest that the suite takes, and a long one.
TTL, LONG_TTL = 2.0, 600.0
on_posix: pytest.MarkDecorator = pytest.mark.skipif(sys.platform == "win32", reason="stops a process by SIGSTOP")
#: The context of `worker.hold`.
CONTEXT: Final = ("signal_id-x", "bucket_name-x")


async def outside(work: Coroutine[Any, Any, Any]) -> Any:
    """Run something as another task would that began before everything else."""
    return await asyncio.create_task(work, context=contextvars.Context())


async def own(store: Any, *names: str, wait: float = 0.0) -> None:
    """Take leases, and give them back."""
    async with store.lease(*(store.state("s", name) for name in names), ttl=LONG_TTL, wait=wait):
        pass


async def test_another_owner_is_refused_until_the_block_ends(store: Any, instances: Instances) -> None:
    other = await instances.open()
    async with store.lease(store.state("s", "a"), ttl=LONG_TTL, wait=0.0):
        for instance in (store, other):
            with pytest.raises(LeaseHeldError):
                await outside(own(instance, "a"))
    await own(other, "a")


async def test_block_that_an_exception_leaves_gives_the_lease_back(store: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.lease(store.state("s", "a"), ttl=LONG_TTL, wait=0.0):
            raise ZeroDivisionError
    await own(store, "a")


async def test_all_contexts_are_taken_or_none(store: Any) -> None:
    async with store.lease(store.state("s", "b"), ttl=LONG_TTL, wait=0.0):
        with pytest.raises(LeaseHeldError):
            await outside(own(store, "a", "b", "c"))
        await outside(own(store, "a"))
        await outside(own(store, "c"))


async def test_who_waits_gets_it_when_the_block_ends(store: Any, instances: Instances) -> None:
    other = await instances.open()
    async with store.lease(store.state("s", "a"), ttl=LONG_TTL, wait=0.0):
        waiting = asyncio.create_task(own(other, "a", wait=SECONDS), context=contextvars.Context())
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
    await within(waiting)


async def test_owner_writes(store: Any, instances: Instances) -> None:
    state = store.state("s", "a")
    async with store.lease(state, ttl=LONG_TTL, wait=0.0):
        await state.write_state_data({"n": 1}, WHEN)
        assert await state.read_state_data() == {"n": 1}
    assert await (await instances.open()).state("s", "a").read_state_data() == {"n": 1}


async def test_of_many_that_ask_at_once_one_has_it_at_a_time(store: Any, instances: Instances) -> None:
    stores = [store, await instances.open()]
    owners = 0

    async def count(instance: Any) -> None:
        nonlocal owners
        state = instance.state("s", "a")
        async with instance.lease(state, ttl=LONG_TTL, wait=SECONDS):
            owners += 1
            assert owners == 1
            found = await state.read_state_data()
            await asyncio.sleep(0)
            await state.write_state_data({"n": (found or {"n": 0})["n"] + 1}, WHEN)
            owners -= 1

    tasks = [asyncio.create_task(count(one), context=contextvars.Context()) for one in stores * 3]
    await within(asyncio.gather(*tasks))
    assert await store.state("s", "a").read_state_data() == {"n": 6}


async def test_lease_of_a_killed_process_ends_by_itself(store: Any, instances: Instances) -> None:
    worker = instances.start("hold", "state", TTL)
    assert await worker.hear() == "held"
    await worker.kill()
    state = store.state(*CONTEXT)
    async with store.lease(state, ttl=LONG_TTL, wait=SECONDS):
        await state.write_state_data({"n": 1}, WHEN)
    assert await state.read_state_data() == {"n": 1}


@on_posix
async def test_process_that_slept_past_its_lease_can_not_write(store: Any, instances: Instances) -> None:
    worker = instances.start("hold", "state", TTL)
    assert await worker.hear() == "held"
    worker.say()
    said = await worker.hear()
    assert said == 1
    worker.process.send_signal(signal.SIGSTOP)
    state = store.state(*CONTEXT)
    async with store.lease(state, ttl=LONG_TTL, wait=SECONDS):
        await state.write_state_data({"n": "the successor's"}, WHEN)
        worker.process.send_signal(signal.SIGCONT)
        worker.say()
        assert await worker.hear() == LeaseLostError.__name__
        assert await state.read_state_data() == {"n": "the successor's"}
    assert await state.read_state_data() == {"n": "the successor's"}


async def test_other_process_is_refused(store: Any, instances: Instances) -> None:
    async with store.lease(store.state(*CONTEXT), ttl=LONG_TTL, wait=0.0):
        assert await instances.start("hold", "state", LONG_TTL).hear() == LeaseHeldError.__name__
    worker = instances.start("hold", "state", LONG_TTL)
    assert await worker.hear() == "held"
    with pytest.raises(LeaseHeldError):
        async with store.lease(store.state(*CONTEXT), ttl=LONG_TTL, wait=0.0):
            pass

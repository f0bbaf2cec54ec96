"""Leases on MongoDB, by both drivers, and on SQLite: every sentence of what ``lease()`` promises."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    InputError,
    InputTypeError,
    LeaseHeldError,
    LeaseLostError,
    SlotSpec,
    StoreError,
    lease,
    persist,
    transaction,
)
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.core.commits import name_lease
from backtest_mongo.core.extended_json import to_json
from tests.conftest import Deployment, SQLiteDeployment
from tests.support import uniform
from tests.support.deadlines import SECONDS
from tests.support.scopes import look, outside
from tests.support.uniform import WHEN, entry, payload, write

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

ROWS = pytest.mark.shapes("document", "entry", "collection", "bucket")


class Stop(Exception):
    """What a block raises to be left."""


@contextlib.contextmanager
def losing(match: str | None = None) -> Iterator[pytest.ExceptionInfo[LeaseLostError]]:
    """Expect that a block loses its lease, and ends so."""
    with pytest.raises(LeaseLostError, match=match) as caught:
        yield caught


def hold_up_the_event_loop() -> None:
    """Compute for longer than the shortest lease lasts."""
    time.sleep(2.1)


def name_of(adapter: Any) -> str:
    return name_lease(adapter.spec, adapter._context)


def committer_of(adapter: Any) -> Any:
    return adapter._base_store().committer


async def list_held(adapter: Any) -> list[str]:
    return [holder.id for holder in await committer_of(adapter).list_leases()]


async def let_expire(deployment: Deployment, *adapters: Any) -> None:
    """Let leases run out in the database, as if their owner had not renewed them."""
    names = [name_of(adapter) for adapter in adapters]
    if isinstance(deployment, SQLiteDeployment):
        run_statement(deployment.path, f"UPDATE leases SET until=1 WHERE id IN ({','.join('?' * len(names))})", *names)
        return
    database = (await backtest_mongo.get_mongo())[deployment.name]
    past = {"$set": {"until": datetime.now(UTC) - timedelta(hours=1)}}
    assert (await database["leases"].update_many({"_id": {"$in": names}}, past)).modified_count == len(names)


def run_statement(path: Path, statement: str, *parameters: Any) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, parameters).rowcount


async def write_as_node(deployment: Deployment, adapter: Any, key: str, **fields: Any) -> None:
    """Change a row as a program does that knows of no leases; what is not named stays, when it was written included."""
    named = uniform.natural_key(adapter, key)
    if isinstance(deployment, SQLiteDeployment):
        values = {name: to_json(value) if name == adapter.spec.field else value for name, value in fields.items()}
        changes = ",".join(f'"{name}"=?' for name in values)
        matches = " AND ".join(f'"{name}"=?' for name in named)
        statement = f'UPDATE "{adapter.spec.collection}" SET {changes} WHERE {matches}'
        run_statement(deployment.path, statement, *values.values(), *named.values())
        return
    collection = await deployment.collection(adapter.spec)
    assert (await collection.update_one(named, {"$set": fields})).modified_count == 1


# Bad input.


async def test_lease_of_nothing_is_refused(deployment: Deployment) -> None:
    with pytest.raises(InputError, match=r"no context is named .*lease\(signal, progress\)"):
        await lease().__aenter__()


async def test_context_that_is_named_twice_is_refused(deployment: Deployment, unique: str) -> None:
    state = type(persist.state("a", "b"))
    with pytest.raises(InputError, match="is named twice"):
        await lease(state(unique, "a"), state(unique, "b"), state(unique, "a")).__aenter__()
    async with lease(state(unique, "a")):
        pass


async def test_two_databases_are_refused_by_the_names_of_both_slots(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    state = persist.state(unique, "s")
    persist.use_sqlite(tmp_path / "other.db", slots=["signal"])
    signal = persist.signal("BTCUSDT", unique, "x")
    with pytest.raises(InputError, match=r"state is in .*, and signal is in .*other\.db"):
        await lease(state, signal).__aenter__()
    async with lease(state) as mine:
        with pytest.raises(InputError, match=r"state is in .*, and signal is in .*other\.db"):
            await mine.add(signal)
    assert await list_held(state) == []


@pytest.mark.parametrize(
    ("option", "value", "kind", "problem"),
    [
        ("ttl", 1.99, InputError, "from 2 to 86,400 seconds"),
        ("ttl", -30, InputError, "from 2 to 86,400 seconds"),
        ("ttl", float("nan"), InputError, "from 2 to 86,400 seconds"),
        ("ttl", float("inf"), InputError, "from 2 to 86,400 seconds"),
        ("ttl", 1e18, InputError, "from 2 to 86,400 seconds"),
        ("ttl", True, InputTypeError, "a number of seconds"),
        ("ttl", "30", InputTypeError, "a number of seconds"),
        ("wait", -1, InputError, "from 0 to 86,400 seconds"),
        ("wait", None, InputTypeError, "a number of seconds"),
        ("commit_every", 0, InputError, "1 or more"),
        ("commit_every", -3, InputError, "1 or more"),
        ("commit_every", 1.5, InputTypeError, "must be an int"),
        ("commit_every", True, InputTypeError, "must be an int"),
        ("max_delay", -0.1, InputError, "from 0 to 86,400 seconds"),
    ],
)
def test_option_out_of_range_is_refused_at_once(option: str, value: Any, kind: type[InputError], problem: str) -> None:
    with pytest.raises(kind, match=f"{option} must be .*{problem.removeprefix('must be ')}"):
        lease(persist.state("a", "b"), **{option: value})


async def test_what_is_no_adapter_is_refused(deployment: Deployment, unique: str) -> None:
    class Mine:
        async def wait_for_init(self, initial: bool = True) -> None: ...

    for wrong, hint in (("state", "name an adapter"), (Mine(), "storage of your own")):
        with pytest.raises(InputTypeError, match=hint):
            await lease(persist.state(unique, "s"), wrong).__aenter__()
    with pytest.raises(InputError, match="candles can't be leased"):
        await lease(persist.candle("BTCUSDT", "1m", "x")).__aenter__()


async def test_lease_within_a_transaction_is_refused(deployment: Deployment, unique: str) -> None:
    async with transaction():
        with pytest.raises(InputError, match="take the lease first"):
            await lease(persist.state(unique, "s")).__aenter__()


async def test_one_object_is_one_block(deployment: Deployment, unique: str) -> None:
    block = lease(persist.state(unique, "s"))
    async with block:
        pass
    with pytest.raises(InputError, match="one block"):
        await block.__aenter__()
    assert current_scope.get() is None


async def test_files_are_refused_by_an_error_that_names_sqlite(tmp_path: Path, unique: str) -> None:
    persist.use_files(tmp_path)
    with pytest.raises(StoreError, match="use_sqlite"):
        await lease(persist.state(unique, "s")).__aenter__()


async def test_dummy_gives_every_lease(unique: str) -> None:
    persist.use_dummy()
    state = persist.state(unique, "s")
    async with lease(state):
        await state.write_state_data({"n": 1}, WHEN)
        assert await state.read_state_data() is None


# Owners.


@ROWS
async def test_context_of_every_slot_has_one_owner(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    adapter = uniform.adapter(spec, unique)
    before = datetime.now(UTC).timestamp() * 1000
    async with lease(adapter) as mine:
        assert mine.contexts == [name_of(adapter)] == await list_held(adapter)
        with pytest.raises(LeaseHeldError, match=f"held by process {os.getpid()} on {socket.gethostname()}") as caught:
            await outside(lease(adapter).__aenter__())
        error = caught.value
        assert (error.host, error.process, error.slot) == (socket.gethostname(), os.getpid(), spec.name)
        assert error.until - error.since == 30_000
        assert abs(error.since - before) < 3_600_000
        (holder,) = await committer_of(adapter).list_leases()
        assert (holder.slot, holder.host, holder.process) == (spec.name, error.host, error.process)
        assert holder.context == dict(zip(spec.key, adapter._context, strict=False))
        assert not holder.is_expired
    assert await list_held(adapter) == []
    async with lease(adapter):
        pass


async def test_all_leases_are_taken_or_none(deployment: Deployment, unique: str) -> None:
    one, other, third = (persist.state(unique, name) for name in ("one", "other", "third"))
    async with lease(other):
        with pytest.raises(LeaseHeldError) as caught:
            await outside(lease(one, other, third).__aenter__())
        assert caught.value.key == {"signalId": unique, "bucketName": "other"}
        assert await list_held(one) == [name_of(other)]
    async with lease(one, other, third) as mine:
        assert sorted(mine.contexts) == await list_held(one) == sorted(map(name_of, (one, other, third)))


async def test_wait_takes_the_lease_once_it_is_given_back(deployment: Deployment, unique: str) -> None:
    state, order = persist.state(unique, "s"), []

    async def wait() -> None:
        async with lease(state, wait=SECONDS):
            order.append("second")

    async with lease(state):
        waiting = asyncio.create_task(outside(wait()))
        await asyncio.sleep(0.3)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


async def test_wait_that_is_over_is_an_error(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with lease(state):
        with pytest.raises(LeaseHeldError):
            await outside(lease(state, wait=0.3).__aenter__())


async def test_many_that_want_a_lease_have_it_one_after_another(deployment: Deployment, unique: str) -> None:
    state, owners = persist.state(unique, "s"), 0
    await state.write_state_data({"n": 0}, WHEN)

    async def add_one() -> None:
        nonlocal owners
        async with lease(state, wait=SECONDS):
            owners += 1
            assert owners == 1
            found: Any = await state.read_state_data()
            await state.write_state_data({"n": found["n"] + 1}, WHEN)
            owners -= 1

    await asyncio.gather(*(outside(add_one()) for _ in range(6)))
    assert await state.read_state_data() == {"n": 6}


async def test_add_takes_more_contexts_until_the_end(deployment: Deployment, unique: str) -> None:
    one, other, third = (persist.state(unique, name) for name in ("one", "other", "third"))
    async with lease(one) as mine:
        await mine.add(other)
        assert sorted(mine.contexts) == await list_held(one) == sorted(map(name_of, (one, other)))
        with pytest.raises(InputError, match="held already"):
            await mine.add(third, other)
        with pytest.raises(InputError, match="no context"):
            await mine.add()
        with pytest.raises(LeaseHeldError):
            await outside(lease(other).__aenter__())
        await outside(take_and_try(third, mine.add))
        assert sorted(mine.contexts) == await list_held(one) == sorted(map(name_of, (one, other)))
        async with transaction(when=WHEN):
            await one.write_state_data({"n": 1})
            await other.write_state_data({"n": 1})
    assert await list_held(one) == []
    with pytest.raises(InputError, match="has ended"):
        await mine.add(third)


async def take_and_try(state: Any, add: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    async with lease(state):
        with pytest.raises(LeaseHeldError):
            await add(state)


async def test_lease_is_given_back_after_an_error_and_after_a_cancellation(deployment: Deployment, unique: str) -> None:
    state, held = persist.state(unique, "s"), asyncio.Event()

    async def fail() -> None:
        async with lease(state):
            raise Stop

    async def wait() -> None:
        async with lease(state):
            held.set()
            await asyncio.Event().wait()

    with pytest.raises(Stop):
        await fail()
    assert await list_held(state) == []
    task = asyncio.create_task(wait())
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await list_held(state) == []


async def test_lease_is_renewed_in_the_background(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with lease(state, ttl=6):
        (first,) = await committer_of(state).list_leases()
        async with asyncio.timeout(SECONDS):
            # Three renewals or so: it lasts longer than its ttl.
            while (await committer_of(state).list_leases())[0].until < first.until + 6_000:  # noqa: ASYNC110  # a server's
                await asyncio.sleep(0.1)
        await state.write_state_data({"n": 1}, WHEN)
        (last,) = await committer_of(state).list_leases()
        assert (last.since, last.is_expired) == (first.since, False)


async def test_commit_renews_the_leases_that_it_touches(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with lease(state, ttl=600):
        (first,) = await committer_of(state).list_leases()
        await asyncio.sleep(0.01)
        await state.write_state_data({"n": 1}, WHEN)
        (last,) = await committer_of(state).list_leases()
        assert last.until > first.until


# Losing a lease.


async def lose_and_try(deployment: Deployment, unique: str, act: Callable[[Any], Coroutine[Any, Any, Any]]) -> str:
    """Let somebody take a lease whose owner then acts: return the message of what it gets."""
    state = persist.state(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)

    async def take() -> None:
        async with lease(state):
            await state.write_state_data({"n": 100}, WHEN)

    with losing() as caught:
        async with lease(state, ttl=600):
            assert await state.read_state_data() == {"n": 0}
            await let_expire(deployment, state)
            await outside(take())
            await act(state)
    assert (await deployment.rows(state.spec))[0][state.spec.field] == {"n": 100}
    assert await state.read_state_data() == {"n": 100}
    assert await list_held(state) == []
    return str(caught.value)


async def test_owner_whose_lease_was_taken_can_not_commit(deployment: Deployment, unique: str) -> None:
    async def commit(state: Any) -> None:
        async with transaction(when=WHEN):
            await state.write_state_data({"n": 1})
            await persist.state(unique, "beside it").write_state_data({"n": 1})

    assert "take the lease again" in await lose_and_try(deployment, unique, commit)
    assert await persist.state(unique, "beside it").read_state_data() is None


async def test_owner_whose_lease_was_taken_can_not_write_without_a_transaction(
    deployment: Deployment, unique: str
) -> None:
    async def write_alone(state: Any) -> None:
        await state.write_state_data({"n": 1}, WHEN)

    assert "take the lease again" in await lose_and_try(deployment, unique, write_alone)


@ROWS
async def test_write_of_every_slot_without_a_transaction_is_fenced(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key)
    before = await look(adapter, key)
    with losing():
        async with lease(adapter):
            assert await committer_of(adapter).release_by_force(name_of(adapter))
            await write(adapter, payload(spec, 2), key)
    if spec.soft_delete:
        with losing():
            async with lease(adapter):
                assert await committer_of(adapter).release_by_force(name_of(adapter))
                await getattr(adapter, f"remove_{spec.noun}_data")(key)
    assert await look(adapter, key) == before


async def test_write_many_without_a_transaction_is_fenced(deployment: Deployment, unique: str) -> None:
    states = [persist.state(unique, name) for name in "abc"]
    contexts = [(unique, name) for name in "abc"]
    with losing():
        async with lease(states[1]):
            assert await committer_of(states[1]).release_by_force(name_of(states[1]))
            await type(states[0]).write_many([(context, {"n": 1}) for context in contexts], WHEN)
    assert await type(states[0]).read_many(contexts) == [None] * 3


async def test_lease_that_was_released_by_force_is_lost(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    committer = committer_of(state)
    assert not await committer.release_by_force(name_of(state))
    with losing("released by force"):
        async with lease(state):
            assert await committer.release_by_force(name_of(state))
            assert not await committer.release_by_force(name_of(state))
            async with transaction(when=WHEN):
                await state.write_state_data({"n": 1})
    assert await state.read_state_data() is None


async def test_lease_that_has_run_out_while_the_event_loop_was_held_up_is_lost(
    deployment: Deployment, unique: str
) -> None:
    state = persist.state(unique, "s")
    with losing("not renewed within its 2 s"):
        async with lease(state, ttl=2):
            hold_up_the_event_loop()
    with losing("not renewed within its 2 s"):
        async with lease(state, ttl=2):
            hold_up_the_event_loop()
            await state.write_state_data({"n": 1}, WHEN)
    assert await state.read_state_data() is None


async def test_block_whose_lease_is_lost_is_cancelled_as_by_a_timeout(deployment: Deployment, unique: str) -> None:
    state, seen = persist.state(unique, "s"), []
    with losing("take the lease again"):
        async with lease(state, ttl=2):
            assert await committer_of(state).release_by_force(name_of(state))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                seen.append(error)
                raise
    assert len(seen) == 1
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)  # nothing is left to be cancelled


async def test_everything_in_a_block_whose_lease_is_lost_is_refused(deployment: Deployment, unique: str) -> None:
    state, errors = persist.state(unique, "s"), []
    with losing():
        async with lease(state) as mine:
            await state.read_state_data()
            assert await committer_of(state).release_by_force(name_of(state))
            with pytest.raises(asyncio.CancelledError):  # as by a timeout
                await state.write_state_data({"n": 1}, WHEN)
            calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
                lambda: state.write_state_data({"n": 2}, WHEN),
                state.read_state_data,
                lambda: mine.add(persist.state(unique, "other")),
                mine.flush,
                transaction().__aenter__,
            ]
            for call in calls:
                with pytest.raises(LeaseLostError) as caught:
                    await call()
                errors.append(str(caught.value))
    assert len(set(errors)) == 1


async def test_own_error_of_a_block_is_not_hidden_by_the_loss_of_its_lease(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")

    async def work() -> None:
        async with lease(state):
            assert await committer_of(state).release_by_force(name_of(state))
            with pytest.raises(asyncio.CancelledError):
                await state.write_state_data({"n": 1}, WHEN)
            raise Stop

    with pytest.raises(Stop):
        await work()


async def test_loss_that_a_block_has_caught_is_raised_at_its_end(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    with losing():
        async with lease(state):
            assert await committer_of(state).release_by_force(name_of(state))
            with pytest.raises(asyncio.CancelledError):
                await state.write_state_data({"n": 1}, WHEN)


async def test_transaction_under_two_leases_is_fenced_by_both(deployment: Deployment, unique: str) -> None:
    one, other = persist.state(unique, "one"), persist.state(unique, "other")

    async def work(lost: Any) -> None:
        async with lease(one), lease(other):
            async with transaction(when=WHEN):
                await one.write_state_data({"n": 1})
                await other.write_state_data({"n": 1})
            assert await committer_of(one).release_by_force(name_of(lost))
            async with transaction(when=WHEN):
                await one.write_state_data({"n": 2})
                await other.write_state_data({"n": 2})

    for lost in (one, other):
        with pytest.raises(LeaseLostError):
            await work(lost)
        assert [await one.read_state_data(), await other.read_state_data()] == [{"n": 1}] * 2
        assert await list_held(one) == []


# Foreign writes.


async def prepare(unique: str) -> Any:
    memory = persist.memory(unique, "m")
    await memory.write_memory_data({"n": 0}, "a", WHEN)
    return memory


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": {"n": 9}},
        {"when": WHEN + 1},
        {"removed": True},
        {"payload": {"n": 0, "m": 0}},
    ],
    ids=str,
)
@pytest.mark.parametrize("is_known_by", ["a read", "a write"])
async def test_foreign_write_in_the_same_millisecond_is_noticed(
    deployment: Deployment, unique: str, fields: dict[str, Any], is_known_by: str
) -> None:
    memory = await prepare(unique)
    with losing("somebody without the lease") as caught:
        async with lease(memory):
            if is_known_by == "a write":
                await memory.write_memory_data({"n": 0}, "a", WHEN)
            assert await memory.read_memory_data("a") == {"n": 0}
            await write_as_node(deployment, memory, "a", **fields)
            assert await memory.read_memory_data("a") == {"n": 0}  # until the commit it is what is known
            async with transaction(when=WHEN):
                await memory.write_memory_data({"n": 1}, "a")
                await memory.write_memory_data({"n": 1}, "b")
    assert caught.value.key == uniform.natural_key(memory, "a")
    (row,) = await deployment.rows(memory.spec)
    assert {**row, **fields} == row
    assert await list_held(memory) == []


async def test_foreign_delete_is_noticed(deployment: Deployment, unique: str) -> None:
    memory = await prepare(unique)
    with losing("somebody without the lease"):
        async with lease(memory):
            assert await memory.read_memory_data("a") == {"n": 0}
            await deployment.delete_rows(memory.spec)
            await memory.write_memory_data({"n": 1}, "a", WHEN)
    assert await deployment.rows(memory.spec) == []


async def test_foreign_insert_of_a_row_that_is_known_to_be_absent_is_noticed(
    deployment: Deployment, unique: str
) -> None:
    memory = await prepare(unique)
    with losing("somebody without the lease"):
        async with lease(memory):
            assert await memory.read_memory_data("b") is None
            await outside(memory.write_memory_data({"n": 9}, "b", WHEN))
            async with transaction(when=WHEN):
                await memory.write_memory_data({"n": 1}, "a")
                await memory.write_memory_data({"n": 1}, "b")
    assert await uniform.listed(memory) == [("a", {"n": 0}), ("b", {"n": 9})]


async def test_foreign_write_of_a_large_payload_is_noticed(deployment: Deployment, unique: str) -> None:
    memory, pad = persist.memory(unique, "m"), "x" * 600_000
    with losing("somebody without the lease"):
        async with lease(memory):
            await memory.write_memory_data({"n": 0, "pad": pad}, "a", WHEN)
            await memory.write_memory_data({"n": 1, "pad": pad}, "a", WHEN)
            await write_as_node(deployment, memory, "a", payload={"n": 2, "pad": pad})
            await memory.write_memory_data({"n": 3, "pad": pad}, "a", WHEN)
    assert await memory.read_memory_data("a") == {"n": 2, "pad": pad}


async def test_foreign_write_of_another_row_is_nobodys_loss(deployment: Deployment, unique: str) -> None:
    memory = await prepare(unique)
    async with lease(memory):
        assert await memory.read_memory_data("a") == {"n": 0}
        await outside(memory.write_memory_data({"n": 9}, "b", WHEN))
        await memory.write_memory_data({"n": 1}, "a", WHEN)
        assert await memory.read_memory_data("b") == {"n": 9}
        await memory.write_memory_data({"n": 10}, "b", WHEN)
    assert await uniform.listed(memory) == [("a", {"n": 1}), ("b", {"n": 10})]


# Memory.


@ROWS
async def test_reads_of_a_leased_context_are_those_of_the_database(
    deployment: Deployment, unique: str, spec: SlotSpec
) -> None:
    adapter, keys = uniform.adapter(spec, unique), [entry(spec, f"{unique}-{name}") for name in "abc"]
    await write(adapter, payload(spec, 0), keys[0])
    async with lease(adapter):
        assert await look(adapter, *keys) == await outside(look(adapter, *keys))
        for number, key in enumerate((*keys, keys[0])):
            await write(adapter, payload(spec, number + 1), key, WHEN + number % 2)
            assert await look(adapter, *keys) == await outside(look(adapter, *keys))
            if spec.soft_delete:
                await getattr(adapter, f"remove_{spec.noun}_data")(key)
                assert await look(adapter, *keys) == await outside(look(adapter, *keys))
        async with transaction():
            await write(adapter, payload(spec, 7), keys[1])
            inside = await look(adapter, *keys)
        assert await look(adapter, *keys) == inside == await outside(look(adapter, *keys))


async def test_what_is_read_from_memory_is_the_callers_own(deployment: Deployment, unique: str) -> None:
    state, memory = persist.state(unique, "s"), await prepare(unique)
    value: dict[str, Any] = {"list": [1, {"n": [2]}], "date": datetime(2024, 1, 1, tzinfo=UTC), "bytes": b"x"}
    async with lease(state, memory):
        await state.write_state_data(value, WHEN)
        for _ in range(2):
            found: Any = await state.read_state_data()
            assert found == value
            found["list"][1]["n"].append("changed by its caller")
            (many,) = await type(state).read_many([(unique, "s")])
            assert many == value
            many.clear()
        for _ in range(2):
            read: Any = await memory.read_memory_data("a")
            assert read == {"n": 0}
            read["n"] = "changed by its caller"
    assert await state.read_state_data() == value


async def test_transaction_that_is_dropped_leaves_what_is_known(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")

    async def fail() -> None:
        async with transaction(when=WHEN):
            await state.write_state_data({"n": 2})
            raise Stop

    async with lease(state):
        await state.write_state_data({"n": 1}, WHEN)
        with pytest.raises(Stop):
            await fail()
        assert await state.read_state_data() == {"n": 1}
        await state.write_state_data({"n": 3}, WHEN)
    assert await state.read_state_data() == {"n": 3}


async def test_documents_of_leased_contexts_look_as_those_of_plain_writes(deployment: Deployment, unique: str) -> None:
    plain, owned = persist.memory(unique, "plain"), persist.memory(unique, "owned")
    for number in range(2):
        await plain.write_memory_data({"n": number}, "a", WHEN)
        async with lease(owned):
            if number == 0:
                assert await owned.read_memory_data("a") is None
            await owned.write_memory_data({"n": number}, "a", WHEN)
        first, second = await deployment.rows(plain.spec)
        assert {name: type(value) for name, value in first.items()} == {
            name: type(value) for name, value in second.items()
        }
        volatile = {"_id", "createDate", "updatedDate", "number", "created", "written", "bucketName"}
        assert {name: value for name, value in first.items() if name not in volatile} == {
            name: value for name, value in second.items() if name not in volatile
        }


# Loops, tasks and forks.


async def test_task_that_outlives_the_block_is_told_so(deployment: Deployment, unique: str) -> None:
    state, over = persist.state(unique, "s"), asyncio.Event()

    async def work() -> None:
        await over.wait()
        await state.write_state_data({"n": 2}, WHEN)

    async with lease(state):
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
    over.set()
    with pytest.raises(InputError, match="the lease has ended"):
        await task
    assert await state.read_state_data() is None


async def test_block_on_another_loop_is_refused(deployment: Deployment, unique: str) -> None:
    state = persist.state(unique, "s")
    async with lease(state):
        with pytest.raises(InputError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, state.write_state_data({"n": 2}, WHEN))
    assert await state.read_state_data() is None


async def test_concurrent_commits_under_one_lease_are_all_stored(deployment: Deployment, unique: str) -> None:
    states = [persist.state(unique, f"{number}") for number in range(8)]

    async def write_bars(number: int) -> None:
        for n in range(5):
            async with transaction(when=WHEN):
                await states[number].write_state_data({"n": n})
                await states[0].write_state_data({"by": number, "n": n})

    async with lease(*states):
        await asyncio.gather(*(write_bars(number) for number in range(1, 8)))
        inside = [await state.read_state_data() for state in states]
        assert inside == [await outside(state.read_state_data()) for state in states]
    assert inside[1:] == [{"n": 4}] * 7

"""Contexts are deleted under leases: the caller's own, somebody else's, and those that were left behind."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import LeaseHeldError, LeaseLostError, lease, transaction
from backtest_mongo.commit.deleting import delete_rows
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.mongo import contexts as mongo_contexts
from backtest_mongo.sqlite import contexts as sqlite_contexts
from tests.commit.test_leases import let_expire, list_held, name_of
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.leases import take_leases
from tests.support.scopes import outside
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


def make(slot: str, *context: Any) -> Any:
    return uniform.ADAPTERS[slot](*context)


async def test_lease_of_somebody_else_refuses_it(deployment: Deployment, unique: str) -> None:
    state = make("state", unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    claim = await outside(take_leases(state))
    with pytest.raises(LeaseHeldError, match="is held by process") as caught:
        await state.delete()
    assert caught.value.slot == "state"
    assert await state.read_state_data() == {"n": 1}
    assert await list_held(state) == [name_of(state)]
    # Under leases of others of the caller's contexts, too.
    async with lease(make("state", unique, "other")):
        with pytest.raises(LeaseHeldError):
            await state.delete()
    assert await make("state", unique, "other").delete() == 0
    await state._base_store().committer.release(claim)
    assert await state.delete() == 1


async def test_deletion_leaves_no_lease(deployment: Deployment, unique: str) -> None:
    state = make("state", unique, "s")
    await state.write_state_data({"n": 1}, WHEN)
    assert await state.delete() == 1
    assert await list_held(state) == []
    async with lease(state):
        await state.write_state_data({"n": 2}, WHEN)
    assert await state.read_state_data() == {"n": 2}


async def test_rows_whose_keys_begin_with_some_values_are_deleted(deployment: Deployment, unique: str) -> None:
    notes, other = make("memory", unique, "notes"), make("memory", unique, "other")
    for memory in (notes, other):
        for key in ("a", "b", "c"):
            await memory.write_memory_data({"n": 0}, key, WHEN)
    store, spec = notes._base_store(), notes.spec
    assert await delete_rows(store, spec, (unique, "notes", "b")) == 1
    assert await delete_rows(store, spec, (unique, "notes", "b")) == 0
    assert [key async for key, _ in notes.list_memory_data()] == ["a", "c"]
    claim = await outside(take_leases(notes))
    with pytest.raises(LeaseHeldError):
        await delete_rows(store, spec, (unique, "notes", "a"))
    await store.committer.release(claim)
    async with lease(notes):
        assert await notes.read_memory_data("a") == {"n": 0}
        assert await delete_rows(store, spec, (unique, "notes", "a")) == 1
        assert await notes.read_memory_data("a") is None
    assert await delete_rows(store, spec, (unique,)) == 4
    assert [context async for context in notes.list_contexts(signal_id=unique)] == []


async def test_lease_that_has_expired_is_taken_from_its_owner(deployment: Deployment, unique: str) -> None:
    state, other = make("state", unique, "s"), make("state", unique, "other")
    await state.write_state_data({"n": 1}, WHEN)
    await take_leases(state, other)
    await let_expire(deployment, state)
    assert await state.delete() == 1
    assert await list_held(state) == []


async def test_own_lease_stays_and_forgets_the_rows(deployment: Deployment, unique: str) -> None:
    memory, state = make("memory", unique, "notes"), make("state", unique, "s")
    await memory.write_memory_data({"n": 0}, "stored", WHEN)
    async with lease(memory, state):
        assert await memory.read_memory_data("stored") == {"n": 0}
        await memory.write_memory_data({"n": 1}, "own", WHEN)
        await state.write_state_data({"n": 1}, WHEN)
        assert await memory.delete() == 2
        assert await memory.read_memory_data("stored") is None
        assert await memory.read_memory_data("own") is None
        assert [row async for row in memory.list_memory_data()] == []
        assert not await memory.has_memory_data("own")
        # What the lease knew of them is not expected to be there.
        await memory.write_memory_data({"n": 2}, "own", WHEN)
        async with transaction(when=WHEN):
            await memory.write_memory_data({"n": 3}, "stored")
            await state.write_state_data({"n": 2})
        assert await memory.read_memory_data("stored") == {"n": 3}
        assert await state.read_state_data() == {"n": 2}
        assert [one async for one in type(memory).list_contexts()] == [memory.context]
    assert [row async for row in memory.list_memory_data()] == [("own", {"n": 2}), ("stored", {"n": 3})]
    assert await outside(list_held(state)) == []


async def test_what_waits_in_a_lease_is_deleted_too(deployment: Deployment, unique: str) -> None:
    memory = make("memory", unique, "notes")
    async with lease(memory, commit_every=64, max_delay=600) as mine:
        for number in range(5):
            async with transaction(when=WHEN):
                await memory.write_memory_data({"n": number}, f"{number}")
        assert [one async for one in type(memory).list_contexts()] == [memory.context]
        assert await memory.delete() == 5
        assert [one async for one in type(memory).list_contexts()] == []
        async with transaction(when=WHEN):
            await memory.write_memory_data({"n": 9}, "9")
        await mine.flush()
    assert [row async for row in memory.list_memory_data()] == [("9", {"n": 9})]


async def test_lost_lease_deletes_nothing(deployment: Deployment, unique: str) -> None:
    state = make("state", unique, "s")
    with pytest.raises(LeaseLostError):
        await _delete_under_a_lost_lease(deployment, state)
    assert await state.read_state_data() == {"n": 1}


async def _delete_under_a_lost_lease(deployment: Deployment, state: Any) -> None:
    async with lease(state):
        await state.write_state_data({"n": 1}, WHEN)
        committer = state._base_store().committer
        await outside(committer.release_by_force(name_of(state)))
        with pytest.raises(LeaseLostError):  # the next commit meets it
            await state.write_state_data({"n": 2}, WHEN)
        await state.delete()


async def test_somebody_who_takes_the_lease_between_two_steps_keeps_the_rest(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (mongo_contexts, sqlite_contexts):
        monkeypatch.setattr(module, "MAX_STEP_ROWS", 3)
    storage = make("storage", True)
    await storage.write_storage_data([{"id": f"{number}"} for number in range(9)])
    store: Any = storage._base_store()
    delete_some, steps = type(store).delete_some, 0

    async def take_and_delete(self: Any, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            await take_leases(storage)
        return await delete_some(self, *arguments)

    monkeypatch.setattr(type(store), "delete_some", take_and_delete)
    with pytest.raises(LeaseHeldError):
        await storage.delete()
    assert len(await storage.read_storage_data()) == 3
    assert current_scope.get() is None

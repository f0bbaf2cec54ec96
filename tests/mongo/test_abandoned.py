"""Transactions that nobody goes on with are ended by whoever meets them; those of others, and live ones, are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from backtest_mongo import LeaseHeldError, StateAdapter, get_mongo, lease, setup, transaction
from backtest_mongo.core.commits import Claim, name_lease
from backtest_mongo.mongo import lease_documents
from backtest_mongo.mongo.abandoned import IDLE_SECONDS
from backtest_mongo.mongo.sessions import begin, open_session
from tests.conftest import drop_database
from tests.support.deadlines import SECONDS
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.parametrize("driver", ["motor", "pymongo"])]


@pytest.fixture
async def state(config: dict[str, Any], unique: str) -> AsyncIterator[StateAdapter]:
    # Long enough for a look after the shortest time that makes a transaction an abandoned one, on a busy machine.
    async with setup(config, CC_MONGO_TIMEOUT_MS=int(SECONDS * 1000)):
        state = StateAdapter(unique, "b")
        await state.write_state_data({"by": "nobody"}, WHEN)
        yield state
        await drop_database(unique)


async def leave_open(state: StateAdapter, unique: str, *, note: bool) -> Any:
    """Leave a transaction open that has written the row, as a process does that is killed then."""
    committer: Any = state._base_store().committer
    session = await open_session(committer._hub)
    if note:
        await committer._leases.sessions.note(session)
    rows = (await get_mongo()).get_database(unique)[state.spec.collection]
    await begin(session)
    await rows.update_many({}, {"$set": {"payload.by": "dead"}}, session=session)
    return session


async def test_next_transaction_ends_one_that_a_killed_process_has_left_open(state: StateAdapter, unique: str) -> None:
    dead = await leave_open(state, unique, note=True)
    async with transaction(when=WHEN):
        await state.write_state_data({"by": "successor"})
    assert await state.read_state_data() == {"by": "successor"}
    with pytest.raises(OperationFailure):
        await dead.commit_transaction()
    await dead.end_session()


async def test_transaction_of_another_program_is_left_alone(state: StateAdapter, unique: str) -> None:
    other = await leave_open(state, unique, note=False)
    await asyncio.sleep(IDLE_SECONDS + 0.5)
    committer: Any = state._base_store().committer
    await committer._leases.sessions.end_abandoned()
    await other.commit_transaction()
    await other.end_session()
    assert await state.read_state_data() == {"by": "dead"}


async def test_lease_is_taken_though_another_one_was_killed_while_it_took_it(
    state: StateAdapter, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer: Any = state._base_store().committer
    name = name_lease(state.spec, state._context)
    dead = Claim(owner="dead", ttl=60.0, contexts={name: (state.spec, state._context)})
    documents = committer._leases
    await documents._make_documents(dead, [name])
    session = await open_session(committer._hub)
    await documents.sessions.note(session)
    await begin(session)
    taken = {"$set": {"owner": "dead", "process": 0, "host": "dead"}}
    await documents._documents.update_one({"_id": name}, taken, session=session)
    async with lease(state, wait=SECONDS):
        await state.write_state_data({"by": "successor"}, WHEN)
    await session.end_session()


async def test_session_is_ended_of_an_owner_whose_lease_runs_out_while_others_try(
    state: StateAdapter, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer: Any = state._base_store().committer
    name = name_lease(state.spec, state._context)
    dead = Claim(owner="dead", ttl=2.0, contexts={name: (state.spec, state._context)})
    await committer.acquire(dead, [name])
    await begin(dead.handle)
    assert await committer._leases.fence(dead, "a commit", dead.handle)
    tries = 0
    take = lease_documents.LeaseDocuments._take

    async def count_tries(*arguments: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:  # between the look for expired owners and the taking it runs out
            await asyncio.sleep(2.1)
        await take(*arguments)

    monkeypatch.setattr(lease_documents.LeaseDocuments, "_take", count_tries)
    async with lease(state, wait=SECONDS):
        assert tries > 1
    await dead.handle.end_session()


async def test_lease_that_is_given_back_during_the_try_is_taken_without_waiting(
    state: StateAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer: Any = state._base_store().committer
    name = name_lease(state.spec, state._context)
    other = Claim(owner="other", ttl=60.0, contexts={name: (state.spec, state._context)})
    await committer.acquire(other, [name])
    with pytest.raises(LeaseHeldError):
        await lease(state).__aenter__()
    look = lease_documents.LeaseDocuments._make_held_error

    async def give_back_first(*arguments: Any) -> Any:
        await committer._leases.release(other)
        return await look(*arguments)

    monkeypatch.setattr(lease_documents.LeaseDocuments, "_make_held_error", give_back_first)
    async with lease(state) as mine:
        assert mine.contexts == [name]

"""Transactions, leases, the past and set-up without ``await``."""

from __future__ import annotations

import contextlib
import inspect
import threading
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import (
    InputError,
    LeaseHeldError,
    LeaseLostError,
    StoreUnavailableError,
    errors,
    market_data,
    sync,
    typed,
)
from backtest_mongo.sync import portal
from backtest_mongo.sync.portal import run
from tests.sync.support import ALL, TRANSACTIONAL, make

STATE = next(spec for spec in backtest_mongo.SLOTS if spec.name == "state")


def fail_after(state: Any, value: dict[str, int], **options: Any) -> None:
    """Leave a transaction by an error after a write."""
    with contextlib.suppress(LookupError), sync.transaction(**options):
        state.write_state_data(value)
        raise LookupError


@TRANSACTIONAL
def test_transactions(storage: str, unique: str) -> None:
    one, other = make(STATE, f"{unique}1"), make(STATE, f"{unique}2")
    with sync.transaction(when=5) as block:
        assert block.when == 5
        one.write_state_data({"n": 1})
        other.write_state_data({"n": 2})
        assert one.read_state_data() == {"n": 1}
        read: list[Any] = []
        thread = threading.Thread(target=lambda: read.append(one.read_state_data()))
        thread.start()
        thread.join()
        assert read == [None]  # of nobody else
        fail_after(other, {"n": 3})
        assert other.read_state_data() == {"n": 2}
    assert [state.read_state_data() for state in (one, other)] == [{"n": 1}, {"n": 2}]
    fail_after(one, {"n": 4}, when=6)
    assert one.read_state_data() == {"n": 1}


@TRANSACTIONAL
def test_leases(storage: str, unique: str) -> None:
    one, other = make(STATE, f"{unique}1"), make(STATE, f"{unique}2")
    with sync.lease(one, commit_every=10) as mine:
        mine.add(other)
        assert len(mine.contexts) == 2
        with sync.transaction(when=1):
            one.write_state_data({"n": 1})
        mine.flush()
        held: list[BaseException] = []

        def take() -> None:
            try:
                with sync.lease(one):
                    pass
            except LeaseHeldError as error:
                held.append(error)

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        assert len(held) == 1
    with sync.lease(one, other):
        assert one.read_state_data() == {"n": 1}


@TRANSACTIONAL
def test_interruption_when_a_block_has_just_begun(storage: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, wait = make(STATE, unique), portal._Call.wait

    def interrupt(call: Any) -> None:
        monkeypatch.undo()
        wait(call)
        raise KeyboardInterrupt

    monkeypatch.setattr(portal._Call, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt), sync.lease(state):
        pytest.fail("it began")
    with sync.lease(state):  # which the other one has given back
        state.write_state_data({"n": 1}, 1)


def test_help() -> None:
    """What ``help()`` shows is that of the asynchronous counterpart, without what is awaited."""
    for name in sync.__all__:
        own = getattr(sync, name)
        counterpart = next(getattr(home, name) for home in (backtest_mongo, market_data, typed) if hasattr(home, name))
        if callable(own) and own is not counterpart:
            assert own.__doc__, name
            assert "await " not in own.__doc__, name
        if inspect.isfunction(own) and name not in ("get_mongo", "get_redis"):
            assert [*inspect.signature(own).parameters] == [*inspect.signature(counterpart).parameters], name
    assert "symbol: the market's symbol" in (sync.persist.signal.__doc__ or "")


@TRANSACTIONAL
def test_lost_lease_is_noticed_by_the_next_call(storage: str, unique: str) -> None:
    state = make(STATE, unique)
    lost = LeaseLostError("somebody has taken it")

    def go_on() -> None:
        with sync.lease(state) as mine:
            state.write_state_data({"n": 1}, 1)
            run("lose", lambda: mine._scope.lose(lost))
            with pytest.raises(LeaseLostError):
                state.read_state_data()
            state.write_state_data({"n": 2}, 2)

    with pytest.raises(LeaseLostError, match="somebody has taken it"):
        go_on()
    with sync.lease(state):
        assert state.read_state_data() == {"n": 1}


def test_unknown_outcome() -> None:
    settled = []

    async def commit_again() -> None:
        settled.append(True)

    async def fail() -> None:
        error = errors.CommitUnknownError("the answer was lost")
        error._again = commit_again
        raise error

    with pytest.raises(sync.CommitUnknownError, match="the answer was lost") as caught:
        run("fail", fail)
    assert isinstance(caught.value, errors.CommitUnknownError | StoreUnavailableError)
    caught.value.commit_again()
    assert settled == [True]


@TRANSACTIONAL
def test_past(storage: str, unique: str) -> None:
    sync.set_config(CC_HISTORY="state") if storage == "sqlite" else sync.setup(CC_HISTORY="state")
    state = make(STATE, unique)
    for time in (1, 2, 3):
        state.write_state_data({"n": time}, time)
    with sync.as_of(2) as past:
        assert past.when == 2
        then = past.state(**state.context)
        assert then.read_state_data() == {"n": 2}
    with pytest.raises(InputError, match="within its block"):
        then.read_state_data()
    assert [row.when for row in state.history()] == [1, 2, 3]
    assert state.read_state_data(when=1) == {"n": 1}


@ALL
def test_versions(storage: str, unique: str) -> None:
    state = make(STATE, unique)
    state.write_state_data({"n": 1}, 1, if_absent=True)
    found, version = state.read_state_data(with_version=True)
    assert found == {"n": 1}
    with pytest.raises(errors.ConflictError):
        state.write_state_data({"n": 2}, 2, if_absent=True)
    state.write_state_data({"n": 2}, 2, expect=version)
    assert state.read_state_data() == {"n": 2}


@pytest.mark.parametrize("driver", ["motor", "pymongo"], indirect=True)
def test_setup_and_raw_access(config: dict[str, Any], unique: str) -> None:
    with sync.setup(config):
        sync.wait_for_init()
        signal = sync.SignalAdapter(unique, "trend", "binance")
        signal.write_signal_data({"n": 1})
        database = sync.get_mongo().get_default_database()
        row = database["signal-items"].find_one({"symbol": unique})
        assert row is not None
        assert row["payload"] == {"n": 1}
        assert sync.get_mongo() is sync.get_mongo()
        assert sync.get_redis().ping()
        assert sync.get_redis() is sync.get_redis()
        assert sync.stats().slots["signal"].writes == 1
    sync.close()

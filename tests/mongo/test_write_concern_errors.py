"""Writes that the server applies and can't confirm: the caller learns that they may be applied, whatever the code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    CandleAdapter,
    InputError,
    StateAdapter,
    StorageAdapter,
    StoreError,
    StoreUnavailableError,
)
from tests.support import uniform
from tests.support.failing_servers import WRITES, FailingServer
from tests.support.short_deadlines import LONG_MS, shorten_deadline, until_in_time
from tests.support.uniform import WHEN, candles, payload

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

DEADLINE_MS: Final = 1_200
#: Going down, interrupted, no longer the primary, a wait that took too long, a number of servers that there isn't, and
#: one that the library does not know.
CODES: Final = (189, 91, 11602, 64, 100, 10107, 79, 6, 50, 4_242)
POINTS: Final = ("document", "entry", "bucket")


@pytest.fixture
async def unsure(failing: FailingServer, failing_config: dict[str, Any]) -> AsyncIterator[FailingServer]:
    """A server that the library is set up on with a short limit, and whose indexes are there."""
    await backtest_mongo.setup({**failing_config, "CC_MONGO_TIMEOUT_MS": LONG_MS})
    slots = [uniform.adapter(spec, "any") for spec in SLOTS]
    await asyncio.gather(*(slot.wait_for_init() for slot in slots))
    await uniform_candles("any").write_candles_data(candles(600))  # the blocks have indexes of their own
    await shorten_deadline(DEADLINE_MS, *slots)
    await until_in_time(uniform_candles("any").seal)
    yield failing
    failing.end()
    await failing.until_idle()
    await backtest_mongo.close()


def uniform_candles(unique: str) -> CandleAdapter:
    return CandleAdapter("BTCUSDT", "1m", unique)


def writes(unique: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return one call of each path by which anything is written."""
    calls: dict[str, Callable[[], Awaitable[Any]]] = {}
    for spec in SLOTS:
        if spec.shape in (*POINTS, "collection"):
            adapter = uniform.adapter(spec, unique)
            entry = uniform.entry(spec, unique)
            calls[f"{spec.name} written"] = partial(uniform.write, adapter, payload(spec, 1), entry)
        if spec.soft_delete:
            # Of a row that is there, and another one that is written meanwhile.
            calls[f"{spec.name} removed"] = partial(getattr(adapter, f"remove_{spec.noun}_data"), f"{unique}-there")
    columns = {name: [row[name] for row in candles(10)] for name in candles(1)[0]}
    calls["few candles"] = partial(uniform_candles(f"{unique}-few").write_candles_data, candles(10))
    calls["many candles"] = partial(uniform_candles(f"{unique}-many").write_candles_data, candles(600))
    calls["frame"] = partial(uniform_candles(f"{unique}-frame").write_frame, columns)
    return calls


@pytest.mark.parametrize("code", CODES)
async def test_unconfirmed_write_may_be_applied(unsure: FailingServer, unique: str, code: int) -> None:
    for spec in SLOTS:
        if spec.soft_delete:
            await uniform.write(uniform.adapter(spec, unique), payload(spec, 0), f"{unique}-there")
    # The server carries the command out, and adds that it is not sure.
    unsure.fail(*WRITES, writeConcernError={"code": code, "errmsg": "not confirmed"})
    outcomes = await outcomes_of(writes(unique))
    unsure.end()
    wrong = {name: outcome for name, outcome in outcomes.items() if not is_unsure(outcome)}
    assert wrong == {}


@pytest.mark.parametrize("code", CODES)
async def test_unconfirmed_batch_may_be_applied(unsure: FailingServer, unique: str, code: int) -> None:
    unsure.fail(*WRITES, writeConcernError={"code": code, "errmsg": "not confirmed"})
    outcomes = await asyncio.gather(
        *(StateAdapter(unique, f"b{number}").write_state_data({"n": number}, WHEN) for number in range(30)),
        StateAdapter.write_many([((f"{unique}-many", f"b{number}"), {"n": number}) for number in range(30)], WHEN),
        StorageAdapter(True).write_storage_data([{"id": f"{unique}-{number}"} for number in range(2_500)]),
        return_exceptions=True,
    )
    assert [outcome for outcome in outcomes if not is_unsure(outcome)] == []


async def outcomes_of(calls: dict[str, Callable[[], Awaitable[Any]]]) -> dict[str, Any]:
    """Return what becomes of the calls, so few of which are made at a time that none is queued for one deadline."""
    outcomes: dict[str, Any] = {}
    names = list(calls)
    for start in range(0, len(names), 4):
        some = names[start : start + 4]
        found = await asyncio.gather(*(outcome_of(calls[name]) for name in some))
        outcomes |= dict(zip(some, found, strict=True))
    return outcomes


async def outcome_of(call: Callable[[], Awaitable[Any]]) -> Any:
    """Return what becomes of a call; if there was no time for what it asks before it writes, it is made again."""
    while True:
        try:
            return await call()
        except StoreUnavailableError as error:
            if not str(error).startswith("candle: looking up"):
                return error
        except BaseException as error:
            return error


def is_unsure(outcome: Any) -> bool:
    return isinstance(outcome, StoreUnavailableError) and outcome.may_be_applied and "applied" in str(outcome)


@pytest.mark.parametrize("code", [64, 91, 4_242])
async def test_write_concern_timeout_may_be_applied(unsure: FailingServer, unique: str, code: int) -> None:
    error = {"code": code, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    unsure.fail(*WRITES, writeConcernError=error)
    for name, outcome in (await outcomes_of(writes(unique))).items():
        if "removed" not in name:  # nothing is there to be removed, and so nothing to be confirmed
            assert is_unsure(outcome), f"{name}: {outcome!r}"


async def test_refused_row_does_not_hide_unconfirmed_rows_of_its_batch(unsure: FailingServer, unique: str) -> None:
    # One row of the batch meets an index of somebody else's; of all others nobody knows whether they last.
    collection = unsure.client[unique]["state-items"]
    collection.create_index([("payload.only", 1)], unique=True, partialFilterExpression={"payload.only": True})
    collection.insert_one({"payload": {"only": True}})
    unsure.fail(*WRITES, writeConcernError={"code": 100, "errmsg": "not confirmed"})
    outcomes = await asyncio.gather(
        *(
            StateAdapter(unique, f"b{number}").write_state_data({"only": number == 3}, WHEN)  # a batch
            for number in range(6)
        ),
        return_exceptions=True,
    )
    refused = outcomes.pop(3)
    assert isinstance(refused, StoreError | StoreUnavailableError)
    assert [outcome for outcome in outcomes if not is_unsure(outcome)] == []


async def test_unconfirmed_list_with_a_refused_row_may_be_applied(unsure: FailingServer, unique: str) -> None:
    collection = unsure.client[unique]["storage-items"]
    collection.create_index([("payload.only", 1)], unique=True, partialFilterExpression={"payload.only": True})
    collection.insert_one({"payload": {"only": True}})
    unsure.fail(*WRITES, writeConcernError={"code": 100, "errmsg": "not confirmed"})
    items = [{"id": f"{unique}-{number}", "only": number == 3} for number in range(6)]
    with pytest.raises((StoreError, StoreUnavailableError)) as caught:
        await StorageAdapter(True).write_storage_data(items)
    # What came first is applied and not confirmed, so this is no refusal of the whole.
    assert is_unsure(caught.value)


@pytest.mark.parametrize("count", [1, 10])
async def test_unconfirmed_candles_may_be_applied_though_others_are_stored_already(
    unsure: FailingServer, unique: str, count: int
) -> None:
    # The server holds the insert while another writer stores one of the rows.
    series = uniform_candles(unique)
    error = {"code": 100, "errmsg": "not confirmed"}
    unsure.fail("insert", blockConnection=True, blockTimeMS=300, writeConcernError=error)
    writing = asyncio.ensure_future(series.write_candles_data(candles(count)))
    await unsure.until_held()
    key = {"exchangeName": unique, "symbol": "BTCUSDT", "interval": "1m"}
    unsure.client[unique]["candle-items"].insert_one({**key, **candles(count)[count // 2]})
    with pytest.raises(StoreUnavailableError) as caught:
        await writing
    assert caught.value.may_be_applied


@pytest.mark.parametrize("code", [64, 91, 100, 189, 11602])
async def test_write_whose_retry_is_confirmed_succeeds_or_may_be_applied(
    unsure: FailingServer, unique: str, code: int
) -> None:
    state = StateAdapter(unique, "s")
    await state.write_state_data({"n": 0}, WHEN)
    error = {"code": code, "errmsg": "not confirmed"}
    unsure.fail("findAndModify", mode={"times": 1}, writeConcernError=error)
    (outcome,) = await asyncio.gather(state.write_state_data({"n": 1}, WHEN), return_exceptions=True)
    assert outcome is None or is_unsure(outcome)
    # The driver may wait for a heartbeat first.
    await backtest_mongo.setup(CC_MONGO_TIMEOUT_MS=LONG_MS)
    assert await state.read_state_data() == {"n": 1}


async def test_refusal_that_is_no_write_concern_error_stays_a_refusal(unsure: FailingServer, unique: str) -> None:
    unsure.fail(*WRITES, errorCode=13)
    calls = writes(unique)
    outcomes = await asyncio.gather(*(call() for call in calls.values()), return_exceptions=True)
    for name, outcome in zip(calls, outcomes, strict=True):
        assert isinstance(outcome, StoreError), f"{name}: {outcome!r}"
        assert not isinstance(outcome, StoreUnavailableError | InputError)

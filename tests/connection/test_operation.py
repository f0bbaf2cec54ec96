"""One operation: its deadline, its wait budget, and the attempts at a request whose connection is lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pymongo
import pytest
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from backtest_mongo.connection import operation
from backtest_mongo.connection.operation import (
    Attempts,
    Deadline,
    WaitBudget,
    attempt,
    caller_seconds_left,
    get_wait_budget,
    seconds_left,
)

pytestmark = pytest.mark.one_python

#: A deadline that no test reaches.
LONG = 3_600.0
WAIT_SECONDS = 0.05


@pytest.fixture(autouse=True)
def _wait_budget_of_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "WAIT_SECONDS", WAIT_SECONDS)


# The wait budget


def test_operation_waits_for_all_failing_commands_together() -> None:
    with WaitBudget():
        budget = get_wait_budget()
        assert budget.seconds_left == WAIT_SECONDS
        budget.spend(0.02)
        assert budget.seconds_left == pytest.approx(0.03)
        with WaitBudget():  # changes nothing
            assert get_wait_budget() is budget
        assert get_wait_budget() is budget
        budget.spend(0.01)
        assert budget.seconds_left == pytest.approx(0.02)
        budget.spend(1)
        assert budget.seconds_left == 0
    assert get_wait_budget().seconds_left == WAIT_SECONDS


def test_what_rounding_leaves_of_a_budget_is_nothing() -> None:
    budget = WaitBudget()
    budget.spend(WAIT_SECONDS - 1e-7)
    assert budget.seconds_left == 0


async def test_tasks_of_an_operation_share_its_budget() -> None:
    async def spend() -> None:
        get_wait_budget().spend(0.01)

    with WaitBudget():
        await asyncio.gather(spend(), spend())
        assert get_wait_budget().seconds_left == pytest.approx(0.03)


# The deadline


def test_without_a_deadline_there_is_no_end() -> None:
    assert seconds_left() == float("inf")
    assert caller_seconds_left() is None


def test_deadline_bounds_the_driver_and_is_not_shortened_by_its_caller() -> None:
    with pymongo.timeout(1):
        with Deadline(LONG):
            own, driver = seconds_left(), caller_seconds_left()
            assert driver is not None
            assert LONG / 2 < own <= LONG
            assert LONG / 2 < driver <= LONG
            with Deadline(2 * LONG):
                assert LONG < seconds_left() <= 2 * LONG
            assert seconds_left() <= LONG
        left = caller_seconds_left()
        assert left is not None
        assert left <= 1
        assert seconds_left() == float("inf")


def test_endless_deadline_bounds_nothing() -> None:
    with pymongo.timeout(1), Deadline(float("inf")):
        assert seconds_left() == float("inf")
        assert caller_seconds_left() is None


def test_spent_deadline_has_nothing_left() -> None:
    with Deadline(-1):
        assert seconds_left() == 0


def test_deadline_has_a_budget_unless_its_operation_has_one() -> None:
    with Deadline(LONG):
        budget = get_wait_budget()
        assert get_wait_budget() is budget
        budget.spend(1)
        with Deadline(LONG):
            assert get_wait_budget() is budget
        assert get_wait_budget() is budget
    assert get_wait_budget().seconds_left == WAIT_SECONDS
    with WaitBudget():
        outer = get_wait_budget()
        with Deadline(LONG):
            assert get_wait_budget() is outer
        assert get_wait_budget() is outer


# Attempts


class Work:
    """Fails with each of some errors, and then returns its arguments."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = [*errors]
        self.tries: list[tuple[bool, Any]] = []

    async def __call__(self, *arguments: Any) -> Any:
        *given, attempts = arguments
        self.tries.append((attempts.is_retry, attempts.progress))
        attempts.progress = len(self.tries)
        if self.errors:
            raise self.errors.pop(0)
        return given


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is waited before each retry, which is not waited for."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(operation, "asyncio", SimpleNamespace(sleep=sleep))
    return waited


async def test_lost_connection_is_retried_after_pauses_that_double_up_to_half_a_second(pauses: list[float]) -> None:
    work = Work(*(AutoReconnect("lost") for _ in range(7)))
    assert await attempt(work, "a", 2) == ["a", 2]
    assert work.tries == [(False, None), *((True, number) for number in range(1, 8))]
    assert pauses == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5])


@pytest.mark.parametrize(
    ("error", "is_answer"), [(OperationFailure("no", 13), True), (ServerSelectionTimeoutError("none"), False)]
)
async def test_what_another_attempt_would_not_change_is_raised_at_once(
    pauses: list[float], error: Exception, is_answer: bool
) -> None:
    counters = [SimpleNamespace(answers=0), SimpleNamespace(answers=5)]
    work = Work(error)
    with Deadline(LONG, counters), pytest.raises(type(error)) as caught:
        await attempt(work)
    assert caught.value is error
    assert (len(work.tries), pauses) == (1, [])
    assert [counter.answers for counter in counters] == [is_answer, 5 + is_answer]


async def test_each_answer_is_counted_and_a_lost_one_is_not(pauses: list[float]) -> None:
    counters = [SimpleNamespace(answers=0), SimpleNamespace(answers=5)]
    with Deadline(LONG, counters):
        assert await attempt(Work(AutoReconnect("lost"))) == []
        assert [counter.answers for counter in counters] == [1, 6]
        assert await attempt(Work(), 1) == [1]
    assert [counter.answers for counter in counters] == [2, 7]
    assert len(pauses) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_without_time_for_a_pause_the_error_is_raised(pauses: list[float], seconds: float) -> None:
    work = Work(AutoReconnect("lost"))
    with Deadline(seconds), pytest.raises(AutoReconnect):
        await attempt(work)
    assert (len(work.tries), pauses) == (1, [])


async def test_error_that_is_not_the_driver_s_is_not_retried(pauses: list[float]) -> None:
    with pytest.raises(ZeroDivisionError):
        await attempt(Work(ZeroDivisionError()))
    assert pauses == []


def test_attempts_know_when_the_first_of_them_began(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 103.5])
    monkeypatch.setattr(operation, "monotonic", lambda: next(times))
    assert Attempts().elapsed_seconds == 3.5

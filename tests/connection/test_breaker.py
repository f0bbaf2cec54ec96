"""The states of the circuit breaker: closed, open, half-open."""

from __future__ import annotations

import pytest
import structlog

from backtest_mongo.connection import breaker
from backtest_mongo.connection.breaker import Breaker

FAILURE = ConnectionError("down")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(breaker, "monotonic", clock)
    return clock


@pytest.fixture
def opened(clock: Clock) -> Breaker:
    opened = Breaker("Redis")
    for _ in range(5):
        opened.record_failure(FAILURE)
    return opened


@pytest.mark.usefixtures("clock")
def test_five_failures_in_a_row_open_it_with_one_warning() -> None:
    redis = Breaker("Redis")
    with structlog.testing.capture_logs() as lines:
        for _ in range(4):
            redis.record_failure(FAILURE)
        redis.record_success()
        for _ in range(4):
            redis.record_failure(FAILURE)
        assert redis.state.name == "CLOSED"
        assert redis.allow_command()
        assert lines == []
        for _ in range(3):
            redis.record_failure(FAILURE)
    assert redis.state.name == "OPEN"
    assert not redis.allow_command()
    assert [(line["log_level"], line["error"]) for line in lines] == [("warning", "ConnectionError")]
    assert "circuit breaker open" in lines[0]["event"]


def test_it_half_opens_for_one_probe_every_five_seconds(opened: Breaker, clock: Clock) -> None:
    clock.seconds += 4.9
    assert not opened.allow_command()
    assert opened.state.name == "OPEN"
    for _ in range(3):
        clock.seconds += 5
        assert opened.allow_command()
        assert opened.state.name == "HALF_OPEN"
        assert not opened.allow_command()  # the probe that was sent decides


def test_probe_that_fails_opens_it_until_the_next_one(opened: Breaker, clock: Clock) -> None:
    clock.seconds += 5
    assert opened.allow_command()
    clock.seconds += 1
    with structlog.testing.capture_logs() as lines:
        opened.record_failure(FAILURE)
    assert opened.state.name == "OPEN"
    assert lines == []  # it was announced when it opened
    clock.seconds += 3.9
    assert not opened.allow_command()
    clock.seconds += 0.1
    assert opened.allow_command()


def test_probe_that_succeeds_closes_it_with_one_line(opened: Breaker, clock: Clock) -> None:
    clock.seconds += 5
    assert opened.allow_command()
    with structlog.testing.capture_logs() as lines:
        opened.record_success()
        opened.record_success()
    assert opened.state.name == "CLOSED"
    assert opened.allow_command()
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("info", "Redis answers again: circuit breaker closed")
    ]
    for _ in range(4):
        opened.record_failure(FAILURE)
    assert opened.state.name == "CLOSED"  # the failures before are not counted any more

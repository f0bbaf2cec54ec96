"""Transactions and leases in ``stats()``, and in OpenTelemetry's metrics and spans."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import trace

from backtest_mongo import CommitUnknownError, LeaseLostError, lease, persist, setup, stats, transaction
from backtest_mongo.core.counters import CommitCounts, get_commit_counts, sum_commit_counts
from backtest_mongo.telemetry.stats import CommitStats, Stats
from tests.conftest import Deployment
from tests.support.deadlines import SECONDS
from tests.support.failing_servers import FailingServer, until
from tests.support.short_deadlines import LONG_MS, shorten_deadline, until_in_time
from tests.telemetry.test_telemetry import Exported
from tests.telemetry.test_telemetry import exported as exported  # a fixture

#: All that have transactions.
everywhere = pytest.mark.parametrize("driver", ["motor", "pymongo", "sqlite"], indirect=True)
on_mongodb = pytest.mark.parametrize("driver", ["motor", "pymongo"], indirect=True)


@pytest.fixture
def since() -> CommitCounts:
    """What other tests of this process have counted."""
    return sum_commit_counts()


def count(exported: Exported, since: CommitCounts, name: str, field: str) -> int:
    """Return what a metric has counted in this test."""
    ((attributes, value),) = exported.points(f"backtest_mongo.{name}")
    assert attributes == {}
    return int(value) - int(getattr(since, field))


def signal(symbol: str = "BTCUSDT") -> Any:
    return persist.signal(symbol, "s", "binance")


def state(name: str = "b") -> Any:
    return persist.state("a", name)


# Counts


@everywhere
@pytest.mark.files
async def test_commits_and_their_rows_are_counted(
    deployment: Deployment, exported: Exported, since: CommitCounts
) -> None:
    assert stats().commits == CommitStats()
    async with transaction(when=0):
        await signal().write_signal_data({"n": 1})
        await state().write_state_data({"n": 1})
    async with transaction(when=0):
        pass  # nothing to commit
    assert stats().commits == CommitStats(commits=1, rows=2)
    async with lease(signal(), state()):
        await signal().write_signal_data({"n": 2})
        assert stats().commits == CommitStats(commits=2, rows=3, held=2)
        assert count(exported, since, "lease.held", "held") == 2
    assert stats().commits == CommitStats(commits=2, rows=3)
    assert count(exported, since, "commit.count", "commits") == 2
    assert count(exported, since, "lease.held", "held") == 0


@everywhere
@pytest.mark.files
async def test_queued_transactions_are_counted_until_they_are_committed(
    deployment: Deployment, exported: Exported, since: CommitCounts
) -> None:
    async with lease(signal(), commit_every=100, max_delay=SECONDS) as mine:
        for number in range(5):
            async with transaction():
                await signal().write_signal_data({"n": number})
        assert stats().commits == CommitStats(held=1, queued=5)
        assert count(exported, since, "commit.queued", "queued") == 5
        await mine.flush()
        assert stats().commits == CommitStats(commits=1, rows=1, held=1)
    assert count(exported, since, "commit.queued", "queued") == 0


@everywhere
@pytest.mark.files
async def test_lost_leases_are_counted(deployment: Deployment, exported: Exported, since: CommitCounts) -> None:
    async def trade() -> None:
        async with lease(signal(), state()):
            await signal()._base_store().committer.release_by_force('signal["BTCUSDT", "s", "binance"]')
            await signal().write_signal_data({})

    with pytest.raises(LeaseLostError):
        await trade()
    assert stats().commits == CommitStats(lost=2)
    assert count(exported, since, "lease.lost", "lost") == 2


@everywhere
@pytest.mark.files
async def test_renewals_are_counted(
    deployment: Deployment, exported: Exported, since: CommitCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.commit.lease._RENEWALS", 1_000)  # twenty a second
    counts = get_commit_counts()
    async with lease(signal(), state(), ttl=50.0):
        await asyncio.to_thread(until, lambda: counts.renewals, "a renewal")
    assert count(exported, since, "lease.renewals", "renewals") >= 1


@on_mongodb
async def test_conflicts_are_counted(on_failing: FailingServer, exported: Exported, since: CommitCounts) -> None:
    await prepare()
    on_failing.fail("commitTransaction", mode={"times": 2}, errorCode=112, errorLabels=["TransientTransactionError"])
    async with transaction():
        await signal().write_signal_data({"n": 1})
    assert stats().commits == CommitStats(commits=1, rows=1, conflicts=2)
    assert count(exported, since, "commit.conflicts", "conflicts") == 2
    assert await signal().read_signal_data() == {"n": 1}


async def prepare() -> None:
    """Make what a first write makes, so that the fault meets the transaction."""
    await signal("other").write_signal_data({})


@on_mongodb
async def test_commit_of_unknown_outcome_is_counted_and_once_it_is_settled_as_a_commit(
    failing: FailingServer, failing_config: dict[str, Any], unique: str, exported: Exported, since: CommitCounts
) -> None:
    async with setup({**failing_config, "CC_MONGO_TIMEOUT_MS": LONG_MS}):
        await prepare()
        await shorten_deadline(2_000, signal())
        await until_in_time(prepare)
        failing.fail("commitTransaction", closeConnection=True)
        with pytest.raises(CommitUnknownError) as caught:
            await write_one()
        assert stats().commits == CommitStats(unknown=1)
        assert count(exported, since, "commit.unknown", "unknown") == 1
        failing.end()
        span = exported.spans()[-1]
        assert span.name == f"commit {unique}"
        assert (span.attributes or {})["error.type"] == "CommitUnknownError"
        await until_committed(caught.value)
        assert stats().commits == CommitStats(commits=1, rows=1, unknown=1)
        assert exported.spans()[-1].status.is_unset
        assert await signal().read_signal_data() == {"n": 1}


async def write_one() -> None:
    async with transaction():
        await signal().write_signal_data({"n": 1})


async def until_committed(error: CommitUnknownError) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await error.commit_again()
            except CommitUnknownError as again:  # on a busy machine, within its 2 s
                error = again


def test_counts_of_an_event_loop_that_is_gone_stay(since: CommitCounts) -> None:
    async def count_one() -> Stats:
        get_commit_counts().commits += 1
        return stats()

    assert asyncio.run(count_one()).commits == CommitStats(commits=1)
    assert sum_commit_counts().commits == since.commits + 1
    assert asyncio.run(count_one()).commits == CommitStats(commits=1)


# Spans


@on_mongodb
async def test_commit_is_a_span_of_its_caller(deployment: Deployment, exported: Exported) -> None:
    with exported.tracers.get_tracer("strategy").start_as_current_span("bar") as bar:
        async with transaction(when=0):
            await signal().write_signal_data({"secret-n": "secret"})
            await state().write_state_data({})
        async with lease(signal()):
            await signal().write_signal_data({"secret-n": "more"})
    commits = [span for span in exported.spans() if span.name == f"commit {deployment.name}"]
    assert len(commits) == 2
    for span in commits:
        assert span.kind is trace.SpanKind.CLIENT
        assert span.status.is_unset
        assert span.parent is not None
        assert span.parent.span_id == bar.get_span_context().span_id
    always = {
        "db.system.name": "mongodb",
        "db.namespace": deployment.name,
        "db.operation.name": "commit",
        "backtest_mongo.redis.breaker": "closed",
    }
    assert [span.attributes for span in commits] == [{**always, "db.operation.batch.size": 2}, always]
    durations = {
        attributes["db.operation.name"]: count
        for attributes, (count, _) in exported.points("db.client.operation.duration")
    }
    assert durations["commit"] == 2
    assert "secret" not in exported.text()


@on_mongodb
async def test_commit_of_queued_transactions_is_a_span_of_nobody(deployment: Deployment, exported: Exported) -> None:
    with exported.tracers.get_tracer("strategy").start_as_current_span("bar"):
        async with lease(signal(), state(), commit_every=100, max_delay=SECONDS) as mine:
            for number in range(3):
                async with transaction(when=number):
                    await signal().write_signal_data({"n": number})
                    await state().write_state_data({"n": number})
            await mine.flush()
    (span,) = [span for span in exported.spans() if span.name.startswith("commit")]
    assert span.parent is None
    assert (span.attributes or {})["db.operation.batch.size"] == 2


@on_mongodb
async def test_commit_that_fails_is_recorded_by_its_type_alone(deployment: Deployment, exported: Exported) -> None:
    async def trade() -> None:
        async with lease(signal()):
            await signal()._base_store().committer.release_by_force('signal["BTCUSDT", "s", "binance"]')
            await signal().write_signal_data({})

    with pytest.raises(LeaseLostError):
        await trade()
    (span,) = [span for span in exported.spans() if span.name.startswith("commit")]
    assert (span.attributes or {})["error.type"] == "LeaseLostError"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert not span.events


@on_mongodb
async def test_slots_that_were_used_before_telemetry_was_set_up_share_a_transaction_with_others(
    deployment: Deployment, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("backtest_mongo.adapters.observed_store.get_telemetry", lambda: None)
        await signal().write_signal_data({"n": 1})
    async with transaction(when=0):
        await signal().write_signal_data({"n": 2})
        await state().write_state_data({"n": 2})
    assert (await signal().read_signal_data(), await state().read_state_data()) == ({"n": 2}, {"n": 2})
    assert next(span.name for span in exported.spans()) == f"commit {deployment.name}"

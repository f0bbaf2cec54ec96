"""Spans and metrics of OpenTelemetry, by its own exporters in memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import backtest_mongo
from backtest_mongo import (
    CandleAdapter,
    ConflictError,
    MemoryAdapter,
    StateAdapter,
    StorageAdapter,
    StoreUnavailableError,
    setup,
)
from backtest_mongo.connection import hub_registry
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.counters import SlotCounts
from backtest_mongo.mongo.store import MongoStore
from backtest_mongo.telemetry import instruments
from tests.conftest import Deployment
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver


class Exported:
    """What an application's exporters have been given."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])

    def spans(self) -> list[ReadableSpan]:
        """Return what has come since the last time."""
        spans = list(self._spans.get_finished_spans())
        self._spans.clear()
        return spans

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Return the attributes of a metric's points, and each count or value."""
        data: Any = self._reader.get_metrics_data()
        found = [
            metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [
            (dict(point.attributes), point.value if hasattr(point, "value") else (point.count, point.sum))
            for metric in found
            for point in metric.data.data_points
        ]

    def by(self, name: str, metric: str) -> dict[Any, Any]:
        """Return a metric's points by one of its attributes."""
        return {attributes[name]: value for attributes, value in self.points(metric)}

    def text(self) -> str:
        spans = [json.loads(span.to_json()) for span in self._spans.get_finished_spans()]
        return json.dumps(spans) + str(self._reader.get_metrics_data())


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    exported = Exported()
    # The API lets providers be set once a process.
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: exported.tracers)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: exported.meters)
    monkeypatch.setattr(instruments, "_current", None)
    monkeypatch.setattr(hub_registry, "_closed_counts", defaultdict(SlotCounts))
    yield exported
    exported.tracers.shutdown()
    exported.meters.shutdown()


def about(
    deployment: Deployment,
    operation: str,
    slot: str = "state",
    *,
    hits: int = 0,
    misses: int = 0,
    rows: Any = None,
    size: Any = None,
) -> Any:
    """Return a span's attributes."""
    always: dict[str, Any] = {
        "db.system.name": "mongodb",
        "db.namespace": deployment.name,
        "db.collection.name": f"{slot}-items",
        "db.operation.name": operation,
        "backtest_mongo.redis.breaker": "closed",
    }
    if hits or misses:
        always |= {"backtest_mongo.cache.hits": hits, "backtest_mongo.cache.misses": misses}
    found = {"db.response.returned_rows": rows, "db.operation.batch.size": size}
    return always | {name: value for name, value in found.items() if value is not None}


async def test_spans_describe_each_operation_and_its_outcome(exported: Exported, deployment: Deployment) -> None:
    state = StateAdapter("signal", "counter")
    with exported.tracers.get_tracer("strategy").start_as_current_span("bar") as bar:
        await state.read_state_data()
        await state.write_state_data({"n": 1}, 0)
        await state.read_state_data()
    miss, write, hit, _ = exported.spans()
    assert [span.name for span in (miss, write, hit)] == ["read state-items", "write state-items", "read state-items"]
    for span in (miss, write, hit):
        assert span.kind is trace.SpanKind.CLIENT
        assert span.status.is_unset
        assert span.parent is not None
        assert span.parent.span_id == bar.get_span_context().span_id
    assert miss.attributes == about(deployment, "read", misses=1, rows=0)
    assert write.attributes == about(deployment, "write")
    assert hit.attributes == about(deployment, "read", hits=1, rows=1)


async def test_reads_with_versions_and_conditional_writes_have_spans(
    exported: Exported, deployment: Deployment
) -> None:
    state = StateAdapter("signal", "counter")
    await state.wait_for_init()
    exported.spans()
    _, version = await state.read_state_data(with_version=True)
    await state.write_state_data({"n": 1}, 0, if_absent=True)
    with pytest.raises(ConflictError):
        await state.write_state_data({"n": 1}, 0, expect=version)
    await state.read_state_data(with_version=True)
    absent, write, conflict, found = exported.spans()
    assert absent.attributes == about(deployment, "read", rows=0)
    assert write.attributes == about(deployment, "write")
    assert conflict.attributes == {**about(deployment, "write"), "error.type": "ConflictError"}
    assert found.attributes == about(deployment, "read", rows=1)


async def test_batch_is_one_span_of_its_caller(exported: Exported, deployment: Deployment) -> None:
    contexts = [("signal", f"bucket-{number}") for number in range(20)]
    await StateAdapter(*contexts[0]).wait_for_init()
    await StateAdapter.write_many([(context, {}) for context in contexts], 0)
    await StateAdapter.read_many([*contexts, ("signal", "absent")])
    await StateAdapter("signal", "bucket-0").read_state_data()
    write, read, alone = [dict(span.attributes or {}) for span in exported.spans()]
    assert write == about(deployment, "write", size=20)
    assert read == about(deployment, "read", hits=20, misses=1, rows=20, size=21)
    assert alone == about(deployment, "read", hits=1, rows=1)
    assert exported.by("db.operation.name", "backtest_mongo.batch.size") == {"write": (1, 20), "read": (1, 21)}
    durations = exported.by("db.operation.name", "db.client.operation.duration")
    assert {name: count for name, (count, _) in durations.items()} == {"write": 1, "read": 2}
    assert exported.by("backtest_mongo.cache.hit", "backtest_mongo.cache.lookups") == {
        True: 21,
        False: 1,
    }
    assert exported.by("db.operation.name", "backtest_mongo.rows") == {"read": 22, "list": 0, "write": 20}


async def test_each_trace_has_a_span_of_a_batch_that_it_shares(exported: Exported, deployment: Deployment) -> None:
    tracer = exported.tracers.get_tracer("strategy")

    async def bar(name: str) -> None:
        with tracer.start_as_current_span(name):
            await asyncio.gather(*(StateAdapter(name, str(number)).read_state_data() for number in range(3)))

    await StateAdapter("signal", "counter").wait_for_init()
    await asyncio.gather(bar("one"), bar("other"))
    spans = exported.spans()
    reads = [span for span in spans if span.name == "read state-items"]
    assert len(reads) == 2
    assert {span.parent.span_id for span in reads if span.parent} == {
        span.context.span_id for span in spans if span.name in ("one", "other")
    }
    assert [span.attributes for span in reads] == 2 * [about(deployment, "read", misses=3, rows=0, size=6)]


async def test_round_trips_are_made_within_the_span(
    exported: Exported, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    current: list[int] = []

    def noting(name: str) -> None:
        method = getattr(MongoStore, name)

        def noted(*arguments: Any) -> Any:
            current.append(trace.get_current_span().get_span_context().span_id)
            return method(*arguments)

        monkeypatch.setattr(MongoStore, name, noted)

    for name in ("_read_batch", "_upsert_row", "_upsert_bulk", "_find_page"):
        noting(name)
    state, other, storage = StateAdapter("a", "b"), StateAdapter("a", "c"), StorageAdapter(True)
    await state.wait_for_init()
    await state.write_state_data({}, 0)
    await state.read_state_data()
    await StateAdapter.write_many([(("a", "b"), {}), (("a", "c"), {})], 0)
    await asyncio.gather(state.read_state_data(), other.read_state_data())
    await storage.read_storage_data()
    assert current == [span.context.span_id for span in exported.spans()]
    assert len(current) == 5
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_cancelled_callers_do_not_fail_the_others(exported: Exported, deployment: Deployment) -> None:
    await StateAdapter("signal", "counter").wait_for_init()
    reads = [asyncio.ensure_future(StateAdapter("signal", str(number)).read_state_data()) for number in range(4)]
    await asyncio.sleep(0)  # all of them have asked
    reads[0].cancel()  # the one that the others wait for, before it is sent
    await asyncio.sleep(0)
    reads[1].cancel()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "CancelledError",
        "CancelledError",
        "NoneType",
        "NoneType",
    ]
    gone, read = exported.spans()
    assert (gone.attributes or {})["error.type"] == "CancelledError"
    assert read.attributes == about(deployment, "read", misses=2, rows=0, size=3)
    assert read.status.is_unset


async def test_metrics_can_be_set_up_alone(
    exported: Exported, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    await StateAdapter("signal", "counter").read_state_data()
    ((_, (count, _)),) = exported.points("db.client.operation.duration")
    assert count == 1
    assert exported.spans() == []


async def test_durations_are_a_histogram_by_operation(exported: Exported, deployment: Deployment) -> None:
    state = StateAdapter("signal", "counter")
    await state.write_state_data({}, 0)
    for _ in range(3):
        await state.read_state_data()
    durations = exported.points("db.client.operation.duration")
    assert {attributes["db.operation.name"]: count for attributes, (count, _) in durations} == {"write": 1, "read": 3}
    assert all(0 < seconds < 60 for _, (_, seconds) in durations)


async def test_lists_are_one_span_with_their_rows(exported: Exported, deployment: Deployment) -> None:
    await StorageAdapter(True).write_storage_data([{"id": str(number)} for number in range(7)])
    assert len(await StorageAdapter(True).read_storage_data()) == 7
    memory = MemoryAdapter("signal", "notes")
    for number in range(3):
        await memory.write_memory_data({}, str(number), 0)
    exported.spans()
    async for _ in memory.list_memory_data():
        pass
    listed = memory.list_memory_data()
    await anext(listed)
    await listed.aclose()  # type: ignore[attr-defined]  # an iterator that is a generator
    assert await memory.has_memory_data("0")  # meanwhile the loop closes what was left of it
    whole, stopped, _ = exported.spans()
    assert whole.attributes == about(deployment, "list", "memory", rows=3)
    assert stopped.attributes == about(deployment, "list", "memory", rows=1)
    assert stopped.status.is_unset


async def test_span_of_candles_says_whether_they_came_from_memory(exported: Exported, deployment: Deployment) -> None:
    series = CandleAdapter("BTCUSDT", "1m", "binance")
    await series.write_candles_data(candles(10))
    for _ in range(2):
        assert await series.read_candles_data(10, 0) is not None
    await series.coverage()
    assert await series.gaps(0, 60_000 * 20)
    write, miss, hit, *others = exported.spans()
    assert write.attributes == about(deployment, "write", "candle", size=10)
    assert miss.attributes == about(deployment, "read", "candle", misses=1, rows=10)
    assert hit.attributes == about(deployment, "read", "candle", hits=1, rows=10)
    assert {span.name for span in others} == {f"{name} candle-items" for name in ("coverage", "bounds", "gaps")}
    assert exported.points("backtest_mongo.candle_cache.size")[0][1] > 0


async def test_failures_are_recorded_by_type_alone(exported: Exported, unique: str) -> None:
    uri = f"mongodb://user:{unique}@127.0.0.1:1/{unique}"
    async with setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_TIMEOUT_MS=200, CC_REDIS_PORT=1):
        for _ in range(6):
            with pytest.raises(StoreUnavailableError):
                await StateAdapter(unique, "counter").read_state_data()
        *_, span = exported.spans()
        assert span.attributes is not None
        assert span.attributes["error.type"] == "StoreUnavailableError"
        assert span.status.status_code is trace.StatusCode.ERROR
        assert not span.events
        ((attributes, (count, _)),) = exported.points("db.client.operation.duration")
        assert (attributes["error.type"], count) == ("StoreUnavailableError", 6)


async def test_breaker_and_connections_are_measured(exported: Exported, config: dict[str, Any], unique: str) -> None:
    gone = {name: value for name, value in config.items() if not name.startswith("CC_REDIS")}
    async with setup({**gone, "CC_REDIS_HOST": "127.0.0.1", "CC_REDIS_PORT": 1}):
        state = StateAdapter("signal", "counter")
        for _ in range(5):
            await state.read_state_data()
        *_, last = exported.spans()
        assert (last.attributes or {})["backtest_mongo.redis.breaker"] == "open"
        assert exported.points("backtest_mongo.redis.breaker.open") == [({}, 1)]
        connections = {
            attributes["db.system.name"]: value
            for attributes, value in exported.points("backtest_mongo.connection.count")
        }
        assert connections["mongodb"] > 0
        assert connections["redis"] == 0
        await (await backtest_mongo.get_mongo()).drop_database(unique)


async def test_spans_and_metrics_contain_no_stored_data(exported: Exported, deployment: Deployment) -> None:
    secrets = [f"secret-{number}" for number in range(5)]
    state = StateAdapter(secrets[0], secrets[1])
    await state.write_state_data({secrets[2]: secrets[3]}, 0)
    await asyncio.gather(*(state.read_state_data() for _ in range(3)))
    memory = MemoryAdapter(secrets[0], secrets[1])
    await memory.write_memory_data({"note": secrets[3]}, secrets[4], 0)
    assert [key async for key, _ in memory.list_memory_data()] == [secrets[4]]
    await memory.remove_memory_data(secrets[4])
    text = exported.text()
    assert "remove memory-items" in text
    assert "secret" not in text


async def test_an_application_that_has_set_up_nothing_is_not_observed(deployment: Deployment) -> None:
    assert instruments.get_telemetry() is None
    await StateAdapter("signal", "counter").read_state_data()
    assert type(current_hub().stores["state"]) is MongoStore


async def test_library_works_without_opentelemetry(deployment: Deployment) -> None:
    code = """
import asyncio, sys
sys.modules["opentelemetry"] = None  # as where it is not installed
import backtest_mongo

async def main():
    async with backtest_mongo.setup():
        state = backtest_mongo.StateAdapter("signal", "counter")
        await state.write_state_data({"n": 1}, 0)
        print(await state.read_state_data(), backtest_mongo.stats().total.reads)

asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry.")])
"""
    environment = {**os.environ, **deployment.environment}
    process = [sys.executable, "-c", code]
    done = await asyncio.to_thread(
        subprocess.run, process, capture_output=True, text=True, env=environment, check=False
    )
    assert (done.stdout, done.stderr) == ("{'n': 1} 1\n[]\n", "")

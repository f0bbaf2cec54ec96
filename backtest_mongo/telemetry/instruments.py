"""OpenTelemetry's metrics of operations, and its tracer for their spans, in applications that have set it up.

Names are those of its semantic conventions for databases where there is one, and begin with ``backtest_mongo``
otherwise. No metric or span contains stored values or keys: only the slot, the duration and the outcome.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from backtest_mongo.core.counters import CommitCounts, SeriesCounts, SlotCounts, sum_commit_counts
from backtest_mongo.core.observation import ObservedLoop, get_observed_loops, get_total_counts

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation
    from opentelemetry.trace import Tracer, TracerProvider

    Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]

__all__ = ["Telemetry", "get_telemetry"]

_SCOPE: Final = "backtest_mongo"
#: The API's own providers before anything is set up, by name: not all of them are public.
_UNSET: Final = ("ProxyTracerProvider", "NoOpTracerProvider", "_ProxyMeterProvider", "NoOpMeterProvider")
#: Bucket boundaries: those that the conventions advise for seconds, and ours for rows.
_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
_ROWS: Final = (2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Telemetry:
    """The instruments of one pair of providers."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider) -> None:
        self.providers: tuple[TracerProvider, MeterProvider] = (tracers, meters)
        #: ``None`` if only metrics have been set up.
        self.tracer: Tracer | None = None if _is_unset(tracers) else tracers.get_tracer(_SCOPE)
        meter = meters.get_meter(_SCOPE)
        self.duration: Histogram = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of operations.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.batch: Histogram = meter.create_histogram(
            "backtest_mongo.batch.size",
            unit="{row}",
            description="Rows of batches of two or more.",
            explicit_bucket_boundaries_advisory=_ROWS,
        )
        # What is counted anyway is read when it is collected, and costs operations nothing.
        meter.create_observable_counter(
            "backtest_mongo.cache.lookups",
            [_observe_counts("backtest_mongo.cache.hit", lambda counts: {True: counts.hits, False: counts.misses})],
            unit="{lookup}",
            description="Reads by whether the cache had them.",
        )
        meter.create_observable_counter(
            "backtest_mongo.rows",
            [_observe_counts("db.operation.name", SlotCounts.count_rows)],
            unit="{row}",
            description="Rows that were read by key, listed, or written.",
        )
        meter.create_observable_counter(
            "backtest_mongo.versions",
            [_observe_counts("db.operation.name", SlotCounts.count_versions)],
            unit="{version}",
            description="Versions of rows that were written, or deleted as they need not be kept.",
        )
        meter.create_observable_counter(
            "backtest_mongo.as_of.reads",
            [_observe_slots(lambda counts: counts.as_of)],
            unit="{read}",
            description="Reads as of a time.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.redis.breaker.open",
            [_observe_sum(lambda loop: loop.is_breaker_open)],
            unit="{event_loop}",
            description="Event loops on which the circuit breaker of Redis is open.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.candle_cache.size",
            [_observe_sum(lambda loop: loop.candle_bytes)],
            unit="By",
            description="Memory of the candle cache.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.connection.count",
            [
                _observe_sum(lambda loop: loop.mongo_connections, **{"db.system.name": "mongodb"}),
                _observe_sum(lambda loop: loop.redis_connections, **{"db.system.name": "redis"}),
            ],
            unit="{connection}",
            description="Open connections.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.series.rows",
            [_observe_series(lambda one: {"blocks": one.block_rows, "tail": one.tail_rows})],
            unit="{row}",
            description="Rows of series with columns, as they were last counted, that this process writes.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.series.size",
            [_observe_series(lambda one: {"blocks": one.block_bytes, "tail": one.tail_bytes})],
            unit="By",
            description="Bytes of these rows.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.series.documents",
            [_observe_series(lambda one: {"blocks": one.blocks, "tail": one.tail_groups})],
            unit="{document}",
            description="Blocks, and groups of rows that are not in blocks yet.",
        )
        meter.create_observable_gauge(
            "backtest_mongo.series.tail.age",
            [_observe_series(_measure_age)],
            unit="s",
            description="Age of the oldest row that is not in a block yet.",
        )
        for name, unit, value, description in (
            ("commit.count", "{commit}", lambda counts: counts.commits, "Commits that were applied."),
            ("commit.conflicts", "{conflict}", lambda counts: counts.conflicts, "Commits that were sent again."),
            ("commit.unknown", "{commit}", lambda counts: counts.unknown, "Commits whose outcome was unknown."),
            ("lease.renewals", "{renewal}", lambda counts: counts.renewals, "Renewals of leases in the background."),
            ("lease.lost", "{lease}", lambda counts: counts.lost, "Leases that were lost."),
        ):
            meter.create_observable_counter(
                f"backtest_mongo.{name}", [_observe_commits(value)], unit=unit, description=description
            )
        meter.create_observable_up_down_counter(
            "backtest_mongo.commit.queued",
            [_observe_commits(lambda counts: counts.queued)],
            unit="{transaction}",
            description="Transactions that are acknowledged and not committed yet.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.lease.held",
            [_observe_commits(lambda counts: counts.held)],
            unit="{lease}",
            description="Leases that are held.",
        )


def _observe_counts(name: str, values: Callable[[SlotCounts], Mapping[Any, int]]) -> Callback:
    """Observe counts by slot, and by the attribute ``name``."""
    from opentelemetry.metrics import Observation

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        for slot, counts in get_total_counts().items():
            for value, number in values(counts).items():
                yield Observation(number, {"backtest_mongo.slot": slot, name: value})

    return observe


def _measure_age(counts: SeriesCounts) -> dict[str, float]:
    """Return the age of the oldest row of the tail in seconds, if it has one."""
    return {} if counts.oldest is None else {"tail": max(0.0, time.time() - counts.oldest / 1000)}


def _observe_series(values: Callable[[SeriesCounts], Mapping[str, float]]) -> Callback:
    """Observe how the series of each slot are stored, by whether they are in blocks or in the tail."""
    from opentelemetry.metrics import Observation

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        for slot, counts in get_total_counts().items():
            if counts.series:
                for state, number in values(counts.sum_series()).items():
                    yield Observation(number, {"backtest_mongo.slot": slot, "backtest_mongo.series.state": state})

    return observe


def _observe_slots(value: Callable[[SlotCounts], int]) -> Callback:
    """Observe one count by slot."""
    from opentelemetry.metrics import Observation

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        for slot, counts in get_total_counts().items():
            yield Observation(value(counts), {"backtest_mongo.slot": slot})

    return observe


def _observe_sum(value: Callable[[ObservedLoop], int | None], **attributes: str) -> Callback:
    """Observe one number per process, not per event loop: loops have no names."""
    from opentelemetry.metrics import Observation

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(sum(value(loop) or 0 for loop in get_observed_loops().values()), attributes)

    return observe


def _observe_commits(value: Callable[[CommitCounts], int]) -> Callback:
    """Observe a count of transactions or leases, one number per process."""
    from opentelemetry.metrics import Observation

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(value(sum_commit_counts()))

    return observe


_lock = threading.Lock()
_current: Telemetry | None = None


def get_telemetry() -> Telemetry | None:
    """Return the instruments of the providers that the application has set up; ``None`` if it has set up none."""
    # An application that has set it up has imported it, so that importing the rest costs little.
    if sys.modules.get("opentelemetry") is None:
        return None
    from opentelemetry import metrics, trace

    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    if all(map(_is_unset, providers)):
        return None
    global _current
    with _lock:  # instruments made twice would be counted twice
        if _current is None or _current.providers != providers:
            _current = Telemetry(*providers)
        return _current


def _is_unset(provider: object) -> bool:
    return type(provider).__name__ in _UNSET

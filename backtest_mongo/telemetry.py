"""OpenTelemetry's spans and metrics of operations, in an application that has set it up.

Names are those of its semantic conventions for databases where they have one, and begin with ``backtest_mongo`` where
not. Neither holds anything that was stored, nor a key: only what slot it was, how long it took and what became of it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from backtest_mongo.connections import mongo_connections, redis_connections
from backtest_mongo.counts import SlotCounts
from backtest_mongo.hub import Hub, known_hubs, total_counts

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation
    from opentelemetry.trace import Tracer, TracerProvider

    Callback: TypeAlias = Callable[[CallbackOptions], Iterable[Observation]]

__all__ = ["Telemetry", "telemetry"]

_SCOPE: Final = "backtest_mongo"
#: What the API gives as long as nothing has been set up, by name: not all of them are public.
_UNSET: Final = ("ProxyTracerProvider", "NoOpTracerProvider", "_ProxyMeterProvider", "NoOpMeterProvider")
#: As the conventions advise, in seconds, and in rows.
_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
_ROWS: Final = (2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Telemetry:
    """The instruments of one pair of providers."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider) -> None:
        self.providers: tuple[TracerProvider, MeterProvider] = (tracers, meters)
        #: ``None`` where metrics alone have been set up.
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
            description="Rows of two or more that travelled together.",
            explicit_bucket_boundaries_advisory=_ROWS,
        )
        # What is known anyway is asked for when it is collected, and costs no operation anything.
        meter.create_observable_counter(
            "backtest_mongo.cache.lookups",
            [_counted("backtest_mongo.cache.hit", lambda counts: {True: counts.hits, False: counts.misses})],
            unit="{lookup}",
            description="Reads by whether the cache knew.",
        )
        meter.create_observable_counter(
            "backtest_mongo.rows",
            [_counted("db.operation.name", SlotCounts.rows)],
            unit="{row}",
            description="Rows that were asked for by their key, listed, and written.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.redis.breaker.open",
            [_summed(lambda hub: hub.cache.is_left_alone)],
            unit="{event_loop}",
            description="Event loops on which Redis kept failing and is left alone.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.candle_cache.size",
            [_summed(lambda hub: hub.candles.bytes)],
            unit="By",
            description="Memory of candles that were read.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.connection.count",
            [
                _summed(lambda hub: mongo_connections(hub.mongo), **{"db.system.name": "mongodb"}),
                _summed(lambda hub: redis_connections(hub.redis_clients), **{"db.system.name": "redis"}),
            ],
            unit="{connection}",
            description="Open connections.",
        )


def _counted(name: str, values: Callable[[SlotCounts], Mapping[Any, int]]) -> Callback:
    """Observe counts by slot, and by the attribute ``name``."""
    from opentelemetry.metrics import Observation

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        for slot, counts in total_counts().items():
            for value, number in values(counts).items():
                yield Observation(number, {"backtest_mongo.slot": slot, name: value})

    return observe


def _summed(value: Callable[[Hub], int | None], **attributes: str) -> Callback:
    """Observe one number a process, and not one a loop: loops have no names."""
    from opentelemetry.metrics import Observation

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(sum(value(hub) or 0 for hub in known_hubs().values()), attributes)

    return observe


_lock = threading.Lock()
_current: Telemetry | None = None


def telemetry() -> Telemetry | None:
    """Return the instruments of the providers that the application has set up, or ``None`` if it has not."""
    # Who has set it up has imported it, and then importing the rest of it costs little.
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

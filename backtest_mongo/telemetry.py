"""OpenTelemetry's spans and metrics of operations, in an application that has set it up.

Names are those of its semantic conventions for databases where they have one, and begin with ``backtest_mongo`` where
not. Neither holds anything that was stored, nor a key: only what slot it was, how long it took and what became of it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.connections import mongo_connections, redis_connections
from backtest_mongo.counts import Seen, seen
from backtest_mongo.hub import Hub, known_hubs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from contextvars import Token

    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["Operation", "Telemetry", "telemetry"]

_SCOPE: Final = "backtest_mongo"
#: What the API gives as long as nothing has been set up, by name: not all of them are public.
_UNSET: Final = ("ProxyTracerProvider", "NoOpTracerProvider", "_ProxyMeterProvider", "NoOpMeterProvider")
#: As the conventions advise, in seconds, and in rows.
_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
_ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Telemetry:
    """The instruments of one pair of providers."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.metrics import Observation

        self.providers: tuple[TracerProvider, MeterProvider] = (tracers, meters)
        self.tracer: Tracer = tracers.get_tracer(_SCOPE)
        self.kind = trace.SpanKind.CLIENT
        self.failed = trace.StatusCode.ERROR
        self.use_span: Callable[..., AbstractContextManager[Span]] = trace.use_span
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
            description="Rows that travelled together.",
            explicit_bucket_boundaries_advisory=_ROWS,
        )
        self.lookups: Counter = meter.create_counter(
            "backtest_mongo.cache.lookups", unit="{lookup}", description="Reads by whether the cache knew."
        )

        def observed(value: Callable[[Hub], int | None], **attributes: str) -> Callable[[CallbackOptions], Any]:
            # One number a process, and not one a loop: loops have no names.
            def observe(options: CallbackOptions) -> Iterable[Observation]:
                yield Observation(sum(value(hub) or 0 for hub in known_hubs().values()), attributes)

            return observe

        meter.create_observable_up_down_counter(
            "backtest_mongo.redis.breaker.open",
            [observed(lambda hub: hub.cache.is_left_alone)],
            unit="{event_loop}",
            description="Event loops on which Redis kept failing and is left alone.",
        )
        meter.create_observable_up_down_counter(
            "backtest_mongo.candle_cache.size",
            [observed(lambda hub: hub.candles.bytes)],
            unit="By",
            description="Memory of candles that were read.",
        )
        systems: dict[str, Callable[[Hub], int | None]] = {
            "mongodb": lambda hub: mongo_connections(hub.mongo),
            "redis": lambda hub: redis_connections(hub.redis_clients),
        }
        meter.create_observable_up_down_counter(
            "backtest_mongo.connection.count",
            [observed(value, **{"db.system.name": system}) for system, value in systems.items()],
            unit="{connection}",
            description="Open connections.",
        )


class Operation:
    """One operation, from when this is made until :meth:`end`. What it does goes into ``with`` blocks of it."""

    __slots__ = ("_attributes", "_hub", "_scope", "_seconds", "_seen", "_since", "_span", "_telemetry", "_token")

    _token: Token[Seen | None]

    def __init__(self, telemetry: Telemetry, hub: Hub, attributes: dict[str, str]) -> None:
        self._telemetry = telemetry
        self._hub = hub
        self._attributes = attributes
        self._seen = Seen()
        self._seconds = 0.0
        name = f"{attributes['db.operation.name']} {attributes['db.collection.name']}"
        self._span = telemetry.tracer.start_span(name, kind=telemetry.kind, attributes=attributes)

    def __enter__(self) -> Seen:
        self._token = seen.set(self._seen)
        # What is raised is not recorded as it stands: its text and its frames are not ours alone.
        self._scope: Any = self._telemetry.use_span(self._span, record_exception=False, set_status_on_exception=False)
        self._scope.__enter__()
        self._since = perf_counter()
        return self._seen

    def __exit__(self, *exception: Any) -> None:
        self._seconds += perf_counter() - self._since
        self._scope.__exit__(*exception)
        seen.reset(self._token)

    def end(self, error: BaseException | None = None, rows: int | None = None) -> None:
        """Tell what became of it: it failed, or returned ``rows``."""
        instruments, noted = self._telemetry, self._seen
        found: dict[str, Any] = {"backtest_mongo.redis.breaker": "open" if self._hub.cache.is_left_alone else "closed"}
        failure: dict[str, str] = {}
        if error is not None:
            failure["error.type"] = type(error).__qualname__
            code = getattr(error, "code", None)
            if code is not None:
                failure["db.response.status_code"] = str(code)
            self._span.set_status(instruments.failed)
        instruments.duration.record(self._seconds, {**self._attributes, **failure})
        slot = {"backtest_mongo.slot": self._attributes["backtest_mongo.slot"]}
        if noted.hit is not None:
            found["backtest_mongo.cache.hit"] = noted.hit
            instruments.lookups.add(1, {**slot, "backtest_mongo.cache.hit": noted.hit})
        if noted.batch and noted.leads:
            instruments.batch.record(noted.batch, {**slot, "db.operation.name": self._attributes["db.operation.name"]})
        if noted.batch > 1:
            found["db.operation.batch.size"] = noted.batch
        if rows is not None:
            found["db.response.returned_rows"] = rows
        self._span.set_attributes({**found, **failure})
        self._span.end()


_lock = threading.Lock()
_current: Telemetry | None = None


def telemetry() -> Telemetry | None:
    """Return the instruments of the providers that the application has set up, or ``None`` if it has not."""
    # Who has set it up has imported it, and then importing the rest of it costs little.
    if sys.modules.get("opentelemetry") is None:
        return None
    from opentelemetry import metrics, trace

    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    if all(type(provider).__name__ in _UNSET for provider in providers):
        return None
    global _current
    with _lock:  # instruments made twice would be counted twice
        if _current is None or _current.providers != providers:
            _current = Telemetry(*providers)
        return _current

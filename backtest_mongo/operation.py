"""One operation as OpenTelemetry sees it: a span, and what is measured of it.

Calls that travel together are one operation of the database's, as OpenTelemetry's conventions have it of batches: those
that were made below the same span, or below none, share a span and a duration. That also keeps recording cheap: the SDK
takes longer over one span than a read among many takes in all.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, cast

from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode, get_current_span, set_span_in_context

from backtest_mongo.counts import Seen
from backtest_mongo.hub import Hub

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from backtest_mongo.telemetry import Telemetry

__all__ = ["Operation", "Trip"]


class Operation(Seen):
    """One call of an adapter's, from when this is made until :meth:`end`."""

    __slots__ = ("attributes", "context", "has_ended", "hub", "since", "telemetry", "trip")

    def __init__(self, telemetry: Telemetry, hub: Hub, attributes: dict[str, str]) -> None:
        self.hit: bool | None = None
        self.telemetry: Telemetry = telemetry
        self.hub: Hub = hub
        self.attributes: dict[str, str] = attributes
        self.context: Context = get_current()
        self.since: float = perf_counter()
        self.trip: Trip | None = None
        self.has_ended: bool = False

    def set_out(self, fellows: Sequence[Seen], rows: int = 0) -> AbstractContextManager[object]:
        """Begin a span for it, and one for those of ``fellows`` that were made below each other span.

        ``rows`` travel together, where that is not the number of ``fellows``.
        """
        if self.trip is not None:  # it has gone already, with rows of its own
            return nullcontext()
        size = rows or len(fellows)
        # As one does whose caller is cancelled before it travels.
        going = [fellow for fellow in cast("Sequence[Operation]", fellows) if not fellow.has_ended]
        trips = [Trip(operations, size) for operations in _by_span(going)]
        if size > 1:
            self.telemetry.batch.record(size, self.attributes)
        return trips[0] if trips else nullcontext()

    def end(self, error: BaseException | None = None, rows: int | None = None, seconds: float | None = None) -> None:
        """Tell what became of it: it failed, or returned ``rows``. It took until now, or ``seconds``."""
        self.has_ended = True
        trip = self.trip or Trip([self], 1)
        trip.end(self.hit, error, rows, perf_counter() - self.since if seconds is None else seconds)


def _by_span(operations: list[Operation]) -> Iterable[list[Operation]]:
    """Group operations by the span below which they were made."""
    if not operations:
        return ()
    context = operations[0].context
    if all(operation.context is context for operation in operations):  # as those of one caller's are
        return (operations,)
    groups: dict[int, list[Operation]] = {}
    for operation in operations:
        groups.setdefault(id(get_current_span(operation.context)), []).append(operation)
    return groups.values()


class Trip:
    """A span, current within ``with`` blocks of this, and a duration: of one operation, or of several together."""

    __slots__ = (
        "_error",
        "_first",
        "_hits",
        "_inside",
        "_left",
        "_misses",
        "_rows",
        "_size",
        "_span",
        "_succeeded",
        "_token",
    )

    _token: Token[Context]

    def __init__(self, operations: Sequence[Operation], size: int) -> None:
        first = self._first = operations[0]
        for operation in operations:
            operation.trip = self
        self._left = len(operations)
        self._size = size
        self._hits = self._misses = 0
        self._rows: int | None = None
        self._error: BaseException | None = None
        self._succeeded = False
        self._span: Span = INVALID_SPAN
        self._inside = first.context
        if first.telemetry.tracer is not None:
            self._span = first.telemetry.tracer.start_span(
                f"{first.attributes['db.operation.name']} {first.attributes['db.collection.name']}",
                first.context,
                SpanKind.CLIENT,
                first.attributes,
                start_time=time_ns() - int((perf_counter() - first.since) * 1e9),
            )
            self._inside = set_span_in_context(self._span, first.context)

    def __enter__(self) -> None:
        self._token = attach(self._inside)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        detach(self._token)

    def end(self, hit: bool | None, error: BaseException | None, rows: int | None, seconds: float) -> None:
        """Take what became of one of the operations; the last one ends the span."""
        if hit is not None:
            self._hits += hit
            self._misses += not hit
        if rows is not None:
            self._rows = rows + (self._rows or 0)
        if error is None:
            self._succeeded = True
        elif self._error is None or isinstance(self._error, CancelledError):
            self._error = error
        self._left -= 1
        if not self._left:
            self._finish(seconds)

    def _finish(self, seconds: float) -> None:
        first, span, error = self._first, self._span, self._error
        failure: dict[str, str] = {}
        # Of several callers one may go away, which is no failure of what they have asked for.
        if error is not None and not (self._succeeded and isinstance(error, CancelledError)):
            # What is raised is not recorded as it stands: its text and its frames are not ours alone.
            failure["error.type"] = type(error).__qualname__
            code = getattr(error, "code", None)
            if code is not None:
                failure["db.response.status_code"] = str(code)
            span.set_status(StatusCode.ERROR)
        first.telemetry.duration.record(seconds, {**first.attributes, **failure} if failure else first.attributes)
        if span.is_recording():
            span.set_attributes({**self._found(), **failure})
        span.end()

    def _found(self) -> dict[str, str | int]:
        breaker = "open" if self._first.hub.cache.is_left_alone else "closed"
        found: dict[str, str | int] = {"backtest_mongo.redis.breaker": breaker}
        if self._hits or self._misses:
            found |= {"backtest_mongo.cache.hits": self._hits, "backtest_mongo.cache.misses": self._misses}
        if self._rows is not None:
            found["db.response.returned_rows"] = self._rows
        if self._size > 1:
            found["db.operation.batch.size"] = self._size
        return found

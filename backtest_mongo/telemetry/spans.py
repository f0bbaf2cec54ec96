"""One operation as OpenTelemetry sees it: a span, and the measurements that go with it.

A batch is one database operation in OpenTelemetry's conventions: of the calls in it, those that were made below the
same span, or below none, share a span and a duration. That also keeps recording cheap: the SDK takes longer over one
span than a batched read takes in all.
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

from backtest_mongo.core.observation import ObservedLoop, ObservedOperation

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from backtest_mongo.telemetry.instruments import Telemetry

__all__ = ["BatchSpan", "OperationSpan"]


class OperationSpan(ObservedOperation):
    """One call of an adapter, from its construction until :meth:`end`."""

    __slots__ = ("attributes", "batch_span", "context", "has_ended", "loop", "since", "telemetry")

    def __init__(self, telemetry: Telemetry, loop: ObservedLoop, attributes: dict[str, str]) -> None:
        self.hit: bool | None = None
        self.telemetry: Telemetry = telemetry
        self.loop: ObservedLoop = loop
        self.attributes: dict[str, str] = attributes
        self.context: Context = get_current()
        self.since: float = perf_counter()
        self.batch_span: BatchSpan | None = None
        self.has_ended: bool = False

    def mark_sent(self, batch: Sequence[ObservedOperation], rows: int = 0) -> AbstractContextManager[object]:
        """Begin one span for all operations of ``batch`` that were made below the same span; return this one's.

        ``rows`` are in the batch, where that is not the number of its operations.
        """
        if self.batch_span is not None:  # already sent, with rows of its own
            return nullcontext()
        size = rows or len(batch)
        # A call whose caller is cancelled before it is sent has ended.
        waiting = [operation for operation in cast("Sequence[OperationSpan]", batch) if not operation.has_ended]
        spans = [BatchSpan(operations, size) for operations in _group_by_span(waiting)]
        if size > 1:
            self.telemetry.batch.record(size, self.attributes)
        return spans[0] if spans else nullcontext()

    def end(self, error: BaseException | None = None, rows: int | None = None, seconds: float | None = None) -> None:
        """Record the outcome: an error, or the number of ``rows``. It took until now, or ``seconds``."""
        self.has_ended = True
        span = self.batch_span or BatchSpan([self], 1)
        span.end(self.hit, error, rows, perf_counter() - self.since if seconds is None else seconds)


def _group_by_span(operations: list[OperationSpan]) -> Iterable[list[OperationSpan]]:
    """Group operations by the span below which they were made."""
    if not operations:
        return ()
    context = operations[0].context
    if all(operation.context is context for operation in operations):  # as those of one caller are
        return (operations,)
    groups: dict[int, list[OperationSpan]] = {}
    for operation in operations:
        groups.setdefault(id(get_current_span(operation.context)), []).append(operation)
    return groups.values()


class BatchSpan:
    """A span, current within ``with`` blocks of this, and a duration: of one operation, or of a batch."""

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

    def __init__(self, operations: Sequence[OperationSpan], size: int) -> None:
        first = self._first = operations[0]
        for operation in operations:
            operation.batch_span = self
        self._left = len(operations)
        self._size = size
        self._hits = self._misses = 0
        self._rows: int | None = None
        self._error: BaseException | None = None
        self._succeeded = False
        self._span: Span = INVALID_SPAN
        self._inside = first.context
        if first.telemetry.tracer is not None:
            # A commit may be of several collections.
            target = first.attributes.get("db.collection.name", first.attributes["db.namespace"])
            self._span = first.telemetry.tracer.start_span(
                f"{first.attributes['db.operation.name']} {target}",
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
        """Take the outcome of one of the operations; the last one ends the span."""
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
        # One caller of several may be cancelled, which is no failure of the batch.
        if error is not None and not (self._succeeded and isinstance(error, CancelledError)):
            # The exception itself is not recorded: its text and its frames are not ours alone.
            failure["error.type"] = type(error).__qualname__
            code = getattr(error, "code", None)
            if code is not None:
                failure["db.response.status_code"] = str(code)
            span.set_status(StatusCode.ERROR)
        first.telemetry.duration.record(seconds, {**first.attributes, **failure} if failure else first.attributes)
        if span.is_recording():
            span.set_attributes({**self._describe(), **failure})
        span.end()

    def _describe(self) -> dict[str, str | int]:
        breaker = "open" if self._first.loop.is_breaker_open else "closed"
        attributes: dict[str, str | int] = {"backtest_mongo.redis.breaker": breaker}
        if self._hits or self._misses:
            attributes |= {
                "backtest_mongo.cache.hits": self._hits,
                "backtest_mongo.cache.misses": self._misses,
            }
        if self._rows is not None:
            attributes["db.response.returned_rows"] = self._rows
        if self._size > 1:
            attributes["db.operation.batch.size"] = self._size
        return attributes

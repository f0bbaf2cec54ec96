"""The state of actors and strategies, stored with how far they have come in the stream of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock
from nautilus_trader.common.events import TimeEvent

from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.scopes import lease, transaction
from backtest_mongo.commit.scope import Scope, current_scope
from backtest_mongo.errors import InputError, InputTypeError, StoreError
from backtest_mongo.sync.portal import block

if TYPE_CHECKING:

    class _Base:
        """What is used of Nautilus' ``Actor``, which has no types."""

        id: Any
        trader_id: Any
        clock: Any
        log: Any
        is_running: bool

        def on_save(self) -> dict[str, bytes]: ...

        def load(self, state: Mapping[str, bytes]) -> None: ...

        def handle_historical_data(self, data: Any) -> None: ...

        def _start(self) -> None: ...

        def _stop(self) -> None: ...

        def _fault(self) -> None: ...

        def _dispose(self) -> None: ...

else:
    _Base = object

__all__ = ["CheckpointMixin"]


@dataclass(slots=True)
class _Position:
    """How far an actor has come: its clock at the last event, and how many events it has had then, and in all."""

    time: int = -1
    count: int = 0
    total: int = 0
    ts_event: int | None = None

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> _Position:
        return cls(payload["ts_init"], payload["count"], payload["events"], payload["ts_event"])

    def to_payload(self) -> dict[str, Any]:
        return {"ts_init": self.time, "count": self.count, "events": self.total, "ts_event": self.ts_event}


class _Checkpoints:
    """What a started actor has of its checkpoints: the row, its lease, and its position.

    Args:
        adapter: the row.
        options: of the lease.
    """

    def __init__(self, adapter: Any, options: Mapping[str, Any]) -> None:
        self._adapter = adapter
        self._lease = lease(adapter, **options)
        self._position = _Position()
        #: Where the events begin that are not handled yet.
        self._stored = _Position()
        self._skipped_then = 0
        self.skipped = 0
        self.is_inside = False
        #: Whether an event was not handled, so that no later one may be counted.
        self.has_failed = False
        #: Whether they are closed once the event is handled, whose callback has stopped the actor.
        self.is_ending = False

    def open(self) -> dict[str, bytes] | None:
        """Take the lease, and return the stored state.

        Raises:
            LeaseHeldError: another process has it.
            StoreError: what is stored is no checkpoint.
        """
        block(self._lease.__aenter__)
        try:
            with self.within():
                payload = block(self._adapter.read_session_data)
            if payload is None:
                return None
            try:
                self._stored = _Position.from_payload(payload["position"])
                self._position = _Position.from_payload(payload["position"])
                return {name: bytes(value) for name, value in payload["state"].items()}
            except (AttributeError, KeyError, TypeError) as error:
                raise StoreError(f"what is stored is no checkpoint: {error!r}", slot=self._adapter.spec.name) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        block(self._lease.__aexit__, None, None, None)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Have calls of this thread made under the lease."""
        scope: Scope | None = current_scope.get()
        if scope is not None and self._lease in scope.walk():
            yield
            return
        token = current_scope.set(self._lease)
        try:
            yield
        finally:
            current_scope.reset(token)

    def take(self, time: int, ts_event: int | None) -> bool:
        """Count an event; return whether it comes after the checkpoint."""
        stored, position = self._stored, self._position
        if time < stored.time or (time == stored.time and self._skipped_then < stored.count):
            self._skipped_then += time == stored.time
            self.skipped += 1
            return False
        if time != position.time:
            position.time, position.count = time, 0
        position.count += 1
        position.total += 1
        position.ts_event = ts_event
        return True

    def is_before(self, time: int) -> bool:
        """Return whether the event that comes next at a time was handled before the checkpoint."""
        stored = self._stored
        return time < stored.time or (time == stored.time and self._skipped_then < stored.count)

    def write(self, state: Mapping[str, bytes], when: int) -> None:
        payload = {"state": dict(state), "position": self._position.to_payload()}
        block(self._adapter.write_session_data, payload, when)


@contextmanager
def _commit(when: int) -> Iterator[None]:
    """Commit what this thread writes in the block together, also where an event loop runs."""
    scope = transaction(when=when)
    block(scope.__aenter__)
    token = current_scope.set(scope)
    try:
        yield
    except BaseException as error:
        current_scope.reset(token)
        block(scope.__aexit__, type(error), error, error.__traceback__)
        raise
    current_scope.reset(token)
    block(scope.__aexit__, None, None, None)


#: Versions of Nautilus before this method have lists of historical data instead.
_HAS_HISTORICAL = hasattr(Actor, "handle_historical_bar")


def _guard(name: str) -> Callable[..., None]:
    """Return the method of that name, which handles an event only if it comes after the checkpoint."""

    def handle(self: CheckpointMixin, data: Any, *historical: bool) -> None:
        if any(historical):
            getattr(super(CheckpointMixin, self), name)(data, *historical)
        else:
            self._guard_event(name, data)

    handle.__name__ = name
    handle.__qualname__ = f"CheckpointMixin.{name}"
    return handle


class CheckpointMixin(_Base):
    """Stores what ``on_save()`` returns, with the position in the stream of events, and goes on from there.

    ::

        class MyStrategy(CheckpointMixin, Strategy):
            checkpoint_every_event = True

            def on_save(self):
                return {"bars": str(self.bars).encode()}

            def on_load(self, state):
                self.bars = int(state["bars"])

    It comes before ``Strategy`` or ``Actor`` among the bases. On start it takes the lease of its checkpoint, so that no
    other process runs the strategy, and calls ``on_load()``, if something is stored, before ``on_start()``. On stop it
    gives the lease back, after ``on_stop()``.

    Events are data, custom data, signals and time events that reach ``on_event()``. Those that were handled before the
    checkpoint, because a backtest begins anew, update registered indicators and are skipped otherwise. Orders,
    positions and accounts are Nautilus' own and not part of the checkpoint. Callbacks that timers have of their own are
    called for all times: see :attr:`is_replaying`.

    When a callback or its commit fails, no further event is handled and no checkpoint stored until the next start: the
    event that failed comes again then.

    Starting raises, besides what ``on_load()`` and ``on_start()`` raise:

    * ``LeaseHeldError``: another process runs the strategy, or was killed less than the lease's ``ttl`` ago;
    * ``StoreError``: what is stored is no checkpoint, or the database answers with an error;
    * ``StoreUnavailableError``: the database can't be reached.

    Handling an event with :attr:`checkpoint_every_event`, and stopping, raise what the end of a transaction and of a
    lease raises.
    """

    #: Whether a checkpoint is stored after each event, in one transaction with what the callback has written by
    #: :mod:`backtest_mongo.sync`.
    checkpoint_every_event: bool = False
    #: Options of :func:`~backtest_mongo.lease`: ``ttl``, ``wait``, ``commit_every``, ``max_delay`` and ``run``.
    checkpoint_lease: Mapping[str, Any] = MappingProxyType({})

    _checkpoints: _Checkpoints | None = None
    _is_warming: bool = False

    def checkpoint_context(self) -> Mapping[str, Any]:
        """Return the context of the row in the slot ``session``, by name.

        It has the strategy's id, the trader's id as the frame, and whether it is a backtest. Override it to tell runs
        apart::

            return {**super().checkpoint_context(), "frame_name": "2024"}
        """
        return {
            "strategy_name": str(self.id),
            "exchange_name": "nautilus",
            "frame_name": str(self.trader_id),
            "symbol": "",
            "backtest": isinstance(self.clock, TestClock),
        }

    def checkpoint(self) -> None:
        """Store what ``on_save()`` returns, and the position, at once and atomically.

        In a callback call it last: the event counts as handled. Within a :func:`~backtest_mongo.sync.transaction` it is
        committed with the rest of it. After a callback has failed, it logs an error and stores nothing.

        Raises:
            InputError: the strategy is not started.
            InputTypeError: ``on_save()`` does not return texts with bytes.
            LeaseLostError: another owner has the lease. Nothing is stored.
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error.
        """
        checkpoints = self._checkpoints
        if checkpoints is None:
            raise InputError(
                f"{self.id} is not started, so it has no checkpoint to store", hint="call checkpoint() in a callback"
            )
        if checkpoints.has_failed:
            self.log.error("No checkpoint is stored, as an event was not handled")
            return
        state = self.on_save()
        if not isinstance(state, Mapping) or not all(
            isinstance(name, str) and isinstance(value, bytes) for name, value in state.items()
        ):
            raise InputTypeError(f"on_save() of {self.id} must return a dict of texts with bytes")
        with checkpoints.within():
            checkpoints.write(state, self._now())

    @property
    def is_replaying(self) -> bool:
        """Whether the clock is where the checkpoint has been already, so that events are skipped."""
        return self._checkpoints is not None and self._checkpoints.is_before(self.clock.timestamp_ns())

    def _now(self) -> int:
        """Return the clock's time in milliseconds."""
        time: int = self.clock.timestamp_ns()
        return time // 1_000_000

    # What Nautilus calls

    def _start(self) -> None:
        checkpoints = _Checkpoints(persist.session(**self.checkpoint_context()), self.checkpoint_lease)
        state = checkpoints.open()
        self._checkpoints = checkpoints
        try:
            with self._enter(checkpoints):
                if state is not None:
                    self.load(state)
                super()._start()
        except BaseException:
            self._close_checkpoints()
            raise

    def _stop(self) -> None:
        self._end(super()._stop)

    def _fault(self) -> None:
        self._end(super()._fault)

    def _dispose(self) -> None:
        self._end(super()._dispose)

    def _end(self, action: Callable[[], None]) -> None:
        checkpoints = self._checkpoints
        if checkpoints is None:
            action()
            return
        if checkpoints.is_inside:
            checkpoints.is_ending = True
            action()
            return
        if checkpoints.skipped:
            self.log.warning(
                f"All {checkpoints.skipped} events were handled before the checkpoint, and were skipped. "
                "To begin anew, delete the checkpoint or give the run another checkpoint_context()"
            )
        try:
            with self._enter(checkpoints):
                action()
        finally:
            self._close_checkpoints()

    def _close_checkpoints(self) -> None:
        checkpoints, self._checkpoints = self._checkpoints, None
        if checkpoints is not None:
            checkpoints.close()

    @contextmanager
    def _enter(self, checkpoints: _Checkpoints) -> Iterator[None]:
        was_inside, checkpoints.is_inside = checkpoints.is_inside, True
        try:
            with checkpoints.within():
                yield
        finally:
            checkpoints.is_inside = was_inside
            if checkpoints.is_ending and not was_inside:
                self._close_checkpoints()

    def _guard_event(self, name: str, data: Any) -> None:
        handle = getattr(super(), name)
        checkpoints = self._checkpoints
        # What an event sets off within its own callback is part of it.
        if checkpoints is None or checkpoints.is_inside or not self.is_running:
            handle(data)
            return
        if checkpoints.has_failed:  # an engine that is stopped after an error still lets time events come
            return
        # Order and position events are answers to what the strategy does, and come again only if it does it again.
        if name != "handle_event" or isinstance(data, TimeEvent):
            first = checkpoints.skipped > 0 and not self.is_replaying
            if not checkpoints.take(self.clock.timestamp_ns(), getattr(data, "ts_event", None)):
                self._skip(name, data)
                return
            if first:
                self.log.info(f"Goes on from the checkpoint, after {checkpoints.skipped} events that were skipped")
                checkpoints.skipped = 0
        try:
            with self._enter(checkpoints):
                if not self.checkpoint_every_event:
                    handle(data)
                    return
                with _commit(self._now()):
                    handle(data)
                    self.checkpoint()
        except BaseException:
            checkpoints.has_failed = True
            self.log.error("No event is handled any more, as one was not; start the strategy again")
            raise

    def _skip(self, name: str, data: Any) -> None:
        """Show an event to registered indicators alone, as historical data is."""
        if name not in ("handle_bar", "handle_quote_tick", "handle_trade_tick"):
            return
        self._is_warming = True
        try:
            if _HAS_HISTORICAL:
                getattr(super(), name)(data, True)
            else:
                getattr(super(), f"{name}s")([data])
        finally:
            self._is_warming = False

    def handle_historical_data(self, data: Any) -> None:
        """Handle historical data: see ``Actor``."""
        if not self._is_warming:
            super().handle_historical_data(data)

    handle_bar: Callable[..., None] = _guard("handle_bar")
    handle_data: Callable[..., None] = _guard("handle_data")
    handle_event: Callable[..., None] = _guard("handle_event")
    handle_funding_rate: Callable[..., None] = _guard("handle_funding_rate")
    handle_index_price: Callable[..., None] = _guard("handle_index_price")
    handle_instrument: Callable[..., None] = _guard("handle_instrument")
    handle_instrument_close: Callable[..., None] = _guard("handle_instrument_close")
    handle_instrument_status: Callable[..., None] = _guard("handle_instrument_status")
    handle_mark_price: Callable[..., None] = _guard("handle_mark_price")
    handle_option_chain: Callable[..., None] = _guard("handle_option_chain")
    handle_option_greeks: Callable[..., None] = _guard("handle_option_greeks")
    handle_order_book: Callable[..., None] = _guard("handle_order_book")
    handle_order_book_deltas: Callable[..., None] = _guard("handle_order_book_deltas")
    handle_order_book_depth: Callable[..., None] = _guard("handle_order_book_depth")
    handle_quote_tick: Callable[..., None] = _guard("handle_quote_tick")
    handle_signal: Callable[..., None] = _guard("handle_signal")
    handle_trade_tick: Callable[..., None] = _guard("handle_trade_tick")

"""``transaction()``, ``lease()`` and ``as_of()`` for ``with``, and ``setup()``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from backtest_mongo.adapters import lifecycle, scopes
from backtest_mongo.adapters.past import Past as AsyncPast
from backtest_mongo.adapters.past import as_of as make_past
from backtest_mongo.commit import lease as leases
from backtest_mongo.commit import transaction as transactions
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.core.config import Settings
from backtest_mongo.sync.clients import close_clients
from backtest_mongo.sync.portal import run
from backtest_mongo.sync.wrapping import describe_as, unwrap, wrap_factory
from backtest_mongo.types import When

__all__ = ["Lease", "Past", "Setup", "Transaction", "as_of", "close", "lease", "setup", "transaction"]


class _Block:
    """A block that begins and ends on the background thread, and is current in the thread that it is in."""

    _name: str

    def __init__(self, scope: Any) -> None:
        self._scope = scope
        self._is_entered = False

    def __enter__(self) -> Self:
        try:
            run(self._name, self._enter)
        except BaseException as error:
            if self._is_entered:  # Ctrl-C came when it had begun
                run(self._name, self._scope.__aexit__, type(error), error, None)
            raise
        current_scope.set(self._scope)
        return self

    async def _enter(self) -> None:
        await self._scope.__aenter__()
        self._is_entered = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        current_scope.set(self._scope.outer)
        run(self._name, self._scope.__aexit__, kind, error, traceback)


class Transaction(_Block):
    """A block whose writes are committed together at its end: see :func:`transaction`."""

    _name = "transaction"

    @property
    def when(self) -> int | None:
        """The time of writes and reads within it that name none, in milliseconds since the epoch."""
        scope: transactions.Transaction = self._scope
        return scope.when


class Lease(_Block):
    """The ownership of contexts, for a block: see :func:`lease`."""

    _name = "lease"

    @property
    def contexts(self) -> list[str]:
        """The ids of the leases, each of which has the slot and the values of the context."""
        scope: leases.Lease = self._scope
        return scope.contexts

    def add(self, *adapters: Any) -> None:
        """Take the leases of more contexts, all or none, until the end of the block.

        Args:
            adapters: one of each context, as for :func:`lease`.

        Raises:
            LeaseHeldError: another owner has one of them. What is held stays.
            LeaseLostError: this lease was lost.
            InputError: there is none, one is held already, or one is in another database.
        """
        run("lease.add", self._scope.add, *map(unwrap, adapters))

    def flush(self) -> None:
        """Commit the transactions that wait for others, and wait until they are stored.

        Raises:
            BacktestMongoError: as the end of a transaction does.
        """
        run("lease.flush", self._scope.flush)


class Past:
    """Everything as it was at a time: a method for each slot, as ``persist`` has.

    Attributes:
        when: the time, in milliseconds since the epoch (UTC).
    """

    def __init__(self, past: AsyncPast) -> None:
        self._past = past
        self.when: int = past.when

    def __enter__(self) -> Self:
        run("as_of", self._past.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run("as_of", self._past.__aexit__, kind, error, traceback)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return wrap_factory(getattr(self._past, name))


@describe_as(scopes.transaction)
def transaction(*, when: When | None = None, run: str | None = None) -> Transaction:
    return Transaction(scopes.transaction(when=when, run=run))


@describe_as(scopes.lease)
def lease(*adapters: Any, **options: Any) -> Lease:
    return Lease(scopes.lease(*map(unwrap, adapters), **options))


@describe_as(make_past)
def as_of(when: When) -> Past:
    return Past(make_past(when))


class Setup:
    """The result of :func:`setup`, which ends with the connections if it is used with ``with``."""

    def __enter__(self) -> None:
        """Return nothing: what there is to set up is set up already."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        close()


@describe_as(lifecycle.setup)
def setup(config: Mapping[str, Any] | None = None, *, run: str | None = None, **overrides: Unpack[Settings]) -> Setup:
    _set_up(config, run, overrides)
    return Setup()


def _set_up(config: Mapping[str, Any] | None, name: str | None, overrides: Settings) -> None:
    close_clients()
    run("setup", lambda: lifecycle.setup(config, run=name, **overrides))


@describe_as(lifecycle.close)
def close() -> None:
    close_clients()
    run("close", lifecycle.close)

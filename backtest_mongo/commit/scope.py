"""What is current in a task: transactions and leases, one around the other."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Protocol

from backtest_mongo.commit.memory import AbsentRow
from backtest_mongo.core.commits import Claim, Committer, RowWrite, State
from backtest_mongo.core.config import get_config
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import InputError, LeaseLostError

__all__ = ["LeaseScope", "Rows", "Scope", "current_scope", "get_run", "make_two_stores_error"]

#: Rows that are yet to be written, by slot and key.
Rows = dict[str, dict[Key, RowWrite]]


class Settling(Protocol):
    """A commit whose outcome is unknown."""

    async def settle(self, doing: str) -> None:
        """Find out what became of it; the caller has the turn of one of the leases, and is ``doing`` something else."""


class Scope(ABC):
    """A transaction or a lease, within which an adapter gets another store than its own.

    Args:
        run: the name of the run that its writes belong to; ``None`` for that of the scope around it.
    """

    #: What messages call it.
    title: str
    #: Whether every write within it is its own, and none the store's.
    takes_all: bool = True

    def __init__(self, run: str | None = None) -> None:
        self.run: str | None = run
        self.outer: Scope | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_over: bool = False
        #: Whether :meth:`check_usable` has something to say.
        self.is_closed: bool = False
        #: The stores of this scope, by the adapter classes that use them.
        self.stores: dict[object, Any] = {}

    def bind(self, outer: Scope | None) -> None:
        """Begin on this event loop, within ``outer``."""
        self.loop = asyncio.get_running_loop()
        self.outer = outer
        if self.run is None and outer is not None:
            self.run = outer.run

    def shut(self, *, is_over: bool = False) -> None:
        """Let nothing more be called: the block is over, or a lease was lost."""
        self.is_over = self.is_over or is_over
        self.is_closed = True

    def check_usable(self) -> None:
        """Refuse what is called after the end of the block, or on another event loop.

        Raises:
            InputError: it is.
            LeaseLostError: a lease was lost.
        """
        if self.is_over:
            raise InputError(
                f"the {self.title} has ended",
                hint=f"a task that was started in its block has outlived it: await the task within the block, or start "
                f"it before `async with {self.title}(...)`",
            )
        if asyncio.get_running_loop() is not self.loop:
            raise InputError(
                f"the {self.title} belongs to another event loop",
                hint=f"open a {self.title} on the event loop that uses it",
            )

    def walk(self) -> Iterator[Scope]:
        """Yield this scope and those around it, from the inside out."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    # Of each row the database counts, too: the same slot may be stored in two.

    @property
    def default_time(self) -> int | None:
        """The time of writes that name none, in milliseconds since the epoch."""
        return None

    @abstractmethod
    def get_finder(self, committer: Committer, slot: str) -> Callable[[Key], RowWrite | AbsentRow | None] | None:
        """Return what finds the rows of a slot that this scope itself is yet to write, or knows."""

    @abstractmethod
    def get_own(self, committer: Committer, slot: str, key: Key) -> RowWrite | None:
        """Return what this scope itself is yet to write of a row."""

    @abstractmethod
    def list_own(self, committer: Committer, slot: str) -> Iterator[Mapping[Key, RowWrite]]:
        """Yield what this scope itself is yet to write of a slot, what was written first first."""

    def take(self, row: RowWrite, committer: Committer) -> bool:
        """Take one row, if that needs no waiting and no question; return whether it is taken."""
        return False

    @abstractmethod
    async def write(self, rows: list[RowWrite], committer: Committer) -> None:
        """Take rows of one slot, with different keys, that an adapter writes to a database."""

    def takes(self, committer: Committer, slot: str, key: Key) -> bool:
        """Return whether a write of a row is this scope's, and not the store's own."""
        return self.takes_all

    def find_write(self, committer: Committer, slot: str, key: Key) -> RowWrite | None:
        """Return what is yet to be written of a row, by this scope or one around it."""
        scope: Scope | None = self
        while scope is not None:
            row = scope.get_own(committer, slot, key)
            if row is not None:
                return row
            scope = scope.outer
        return None

    def list_writes(self, committer: Committer, spec: SlotSpec, context: Key) -> dict[Key, RowWrite]:
        """Return what is yet to be written of a context, in the order in which keys were first written."""
        found: dict[Key, RowWrite] = {}
        length = len(context)
        for scope in reversed(list(self.walk())):
            for rows in scope.list_own(committer, spec.name):
                found.update((key, row) for key, row in rows.items() if key[:length] == context)
        return found

    def find_lease(self, committer: Committer, slot: str, context: Key) -> LeaseScope | None:
        """Return the lease that covers a context, ``None`` where none does."""
        scope: Scope | None = self
        while scope is not None:
            lease = scope.as_lease_of(committer, slot, context)
            if lease is not None:
                return lease
            scope = scope.outer
        return None

    def as_lease_of(self, committer: Committer, slot: str, context: Key) -> LeaseScope | None:
        """Return this scope if it is a lease that covers a context."""
        return None

    def as_queue_of(self, committer: Committer) -> LeaseScope | None:
        """Return this scope if it is a lease that acknowledges transactions before they are in the database."""
        return None


class LeaseScope(Scope):
    """What a transaction needs of the leases that cover its rows."""

    #: Leases of one transaction take their turns in this order.
    number: int
    claim: Claim
    #: Who has it commits, or renews the leases.
    turn: asyncio.Lock
    #: The last commit, if its outcome is unknown.
    doubt: Settling | None

    @abstractmethod
    def check_held(self) -> None:
        """Refuse to go on with a lease that was lost.

        Raises:
            LeaseLostError: it was.
        """

    @abstractmethod
    def lose(self, error: LeaseLostError) -> None:
        """End all of it: nothing is written any more, and the block is cancelled."""

    @abstractmethod
    def get_state(self, slot: str, key: Key) -> State:
        """Return what is known of a row of a leased context as it is stored."""

    @abstractmethod
    async def learn(self, spec: SlotSpec, key: Key) -> RowWrite | AbsentRow:
        """Read a row of a leased context, and remember it."""

    @abstractmethod
    def remember(self, rows: Sequence[RowWrite], states: Sequence[State]) -> None:
        """Take what is stored of the rows that these leases cover."""

    @abstractmethod
    def forget(self, rows: Sequence[RowWrite]) -> None:
        """Forget what is stored of rows."""

    @abstractmethod
    def forget_context(self, slot: str, context: Key) -> None:
        """Forget the rows of a context, which were deleted."""

    @abstractmethod
    async def put(self, rows: list[RowWrite]) -> None:
        """Take a transaction that is committed later, with others."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until every transaction that was acknowledged is committed."""


#: The innermost scope of this task, and of those that it starts.
current_scope: Final[ContextVar[Scope | None]] = ContextVar("current_scope", default=None)


def get_run() -> str | None:
    """Return the run that a write belongs to: that of the innermost scope that names one, or the configured one."""
    scope = current_scope.get()
    if scope is not None and scope.run is not None:
        return scope.run
    return get_config().CC_RUN or None


def make_two_stores_error(title: str, first: str, its_store: str, second: str, other_store: str) -> InputError:
    """Return the error of a block that touches two databases."""
    return InputError(
        f"a {title} has one database: {first} is in {its_store}, and {second} is in {other_store}",
        slot=second,
        hint=f"write {second} outside of the {title}, or keep both slots in one database",
    )

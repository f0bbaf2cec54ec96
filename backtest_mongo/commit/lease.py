"""Leases: one owner for each of some contexts, fenced in the database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from itertools import count
from types import TracebackType
from typing import Any, Final, Protocol, Self
from uuid import uuid4
from weakref import WeakSet

from backtest_mongo.commit.bar_queue import BarQueue
from backtest_mongo.commit.committing import commit_rows, run_in_turn, send
from backtest_mongo.commit.lease_clock import read_clock
from backtest_mongo.commit.memory import AbsentRow, Memory
from backtest_mongo.commit.scope import LeaseScope, Scope, Settling, current_scope, make_two_stores_error
from backtest_mongo.core.cancellation import shield
from backtest_mongo.core.commits import UNKNOWN_ROW, Claim, Committer, RowWrite, State, name_lease
from backtest_mongo.core.counters import CommitCounts, get_commit_counts
from backtest_mongo.core.log import log
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import BacktestMongoError, InputError, LeaseHeldError, LeaseLostError, StoreUnavailableError

__all__ = ["Lease", "Member"]

#: How often a lease is renewed within its ttl, and how soon again after a renewal that failed.
_RENEWALS: Final = 3
_RETRY_SECONDS: Final = 0.5
#: How often a lease that is held by another owner is asked for.
_WAIT_SECONDS: Final = 0.25

_numbers = count()


class Member(Protocol):
    """A context that can be leased, and its database."""

    @property
    def spec(self) -> SlotSpec: ...
    @property
    def context(self) -> Key: ...
    @property
    def committer(self) -> Committer: ...


class Lease(LeaseScope):
    """A block that owns contexts: see :func:`backtest_mongo.lease`."""

    title = "lease"
    takes_all = False

    def __init__(
        self,
        members: Sequence[Member],
        find_members: Callable[[Sequence[Any]], Sequence[Member]],
        *,
        ttl: float,
        wait: float,
        commit_every: int,
        max_delay: float,
        run: str | None = None,
    ) -> None:
        super().__init__(run)
        self.number: int = next(_numbers)
        self.claim: Claim = Claim(owner=uuid4().hex, ttl=ttl, contexts={})
        self.memory: Memory = Memory()
        self.doubt: Settling | None = None
        self._members = members
        self._find_members = find_members
        self._wait = wait
        self._commit_every = commit_every
        self._max_delay = max_delay
        self._committer: Committer | None = None
        self._held: set[tuple[str, Key]] = set()
        #: How many values a key's context has, by slot.
        self._lengths: dict[str, int] = {}
        self._queue: BarQueue | None = None
        self._lost: LeaseLostError | None = None
        self._is_cancelled = False

    # The block

    async def __aenter__(self) -> Self:
        if self.loop is not None:
            raise InputError("a lease is one block", hint="call lease() for each")
        outer = current_scope.get()
        self.bind(outer)
        if outer is not None:
            outer.check_usable()
            if outer.title == "transaction":
                raise InputError(
                    "a lease can't begin within a transaction", hint="take the lease first, then open the transaction"
                )
        self.turn: asyncio.Lock = asyncio.Lock()
        self._counts: CommitCounts = get_commit_counts()
        members = self._members
        self._committer, self._first_slot = members[0].committer, members[0].spec.name
        for member in members:
            if member.committer is not self._committer:
                raise self._make_two_stores_error(member)
        await self._committer.check()
        try:
            await self._acquire(members, self._try_to_acquire)
        except asyncio.CancelledError:
            # They may have been taken all the same. After an error they end by themselves.
            with suppress(BacktestMongoError):
                await shield(self._committer.release(self.claim))
            raise
        if self._commit_every > 1:
            self._queue = BarQueue(self._commit_queued, self.memory, self._commit_every, self._max_delay, self._counts)
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancellations = task.cancelling()
        self._renewal = asyncio.get_running_loop().create_task(self._keep(), context=Context())
        _leases.add(self)
        current_scope.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        current_scope.set(self.outer)
        late: BaseException | None = None
        try:
            await shield(self._end())
        except (BacktestMongoError, asyncio.CancelledError) as failure:
            late = failure
        # As asyncio's timeout does: what it has cancelled itself is not taken for a cancellation by others.
        is_ours = self._is_cancelled and self._task.uncancel() <= self._cancellations
        if is_ours and isinstance(late, asyncio.CancelledError):
            late = None
        if late is not None:
            raise late
        if self._lost is not None and (error is None or (is_ours and kind is asyncio.CancelledError)):
            raise self._copy_lost() from error

    async def _end(self) -> None:
        """Commit what waits, and give the leases back."""
        if self._lost is None and read_clock() >= self._ends:  # unnoticed, as while the event loop was held up
            self.lose(_make_lost_error(f"it was not renewed within its {self.claim.ttl:g} s"))
        try:
            if self._queue is not None and self._lost is None:
                await self._queue.flush()
        finally:
            self.shut(is_over=True)
            if self._queue is not None:
                self._queue.drop()
            _leases.discard(self)
            await self._give_back()

    async def _give_back(self) -> None:
        self._renewal.cancel()
        await asyncio.wait([self._renewal])
        self._counts.held -= len(self.claim.contexts)
        assert self._committer is not None
        async with self.turn:
            try:
                if self.doubt is not None:
                    await self.doubt.settle("giving a lease back")
                # One that was lost, too, as far as it is still this owner's.
                await self._committer.release(self.claim)
            except BacktestMongoError as error:
                log().warning(
                    "a lease could not be given back; it ends by itself",
                    leases=", ".join(self.claim.contexts),
                    seconds=self.claim.ttl,
                    error=type(error).__name__,
                )

    # Contexts

    @property
    def contexts(self) -> list[str]:
        """The ids of the leases, each of which has the slot and the values of the context."""
        return list(self.claim.contexts)

    async def add(self, *adapters: Any) -> None:
        """Take the leases of more contexts, all or none, until the end of the block.

        Args:
            adapters: one of each context, as for :func:`backtest_mongo.lease`.

        Raises:
            LeaseHeldError: another owner has one of them. What is held stays.
            LeaseLostError: this lease was lost.
            InputError: there is none, one is held already, or one is in another database.
        """
        self.check_usable()
        members = self._find_members(adapters)
        for member in members:
            if (member.spec.name, member.context) in self._held:
                raise InputError(f"the lease of {name_lease(member.spec, member.context)} is held already")
            if member.committer is not self._committer:
                raise self._make_two_stores_error(member)
        await self._acquire(members, lambda some: run_in_turn([self], lambda: self._try_to_acquire(some)))

    def _make_two_stores_error(self, member: Member) -> InputError:
        assert self._committer is not None
        second = member.spec.name
        return make_two_stores_error("lease", self._first_slot, self._committer.name, second, member.committer.name)

    async def _acquire(self, members: Sequence[Member], take: Callable[[Sequence[Member]], Awaitable[None]]) -> None:
        """Take leases as soon as they can be had, within the time to wait."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait
        while True:
            try:
                await take(members)
            except (LeaseHeldError, StoreUnavailableError):
                left = end - loop.time()
                if left <= 0:
                    raise
                await asyncio.sleep(min(_WAIT_SECONDS, left))
            else:
                return

    async def _try_to_acquire(self, members: Sequence[Member]) -> None:
        assert self._committer is not None
        claim = self.claim
        wanted = {name_lease(member.spec, member.context): (member.spec, member.context) for member in members}
        held, claim.contexts = claim.contexts, {**claim.contexts, **wanted}
        began = read_clock()
        try:
            await self._committer.acquire(claim, list(wanted))
        except BacktestMongoError:
            claim.contexts = held
            raise
        self._counts.held += len(wanted)
        for spec, context in wanted.values():
            self._held.add((spec.name, context))
            self._lengths[spec.name] = len(context)
        # All of them are renewed together from now on, so the first ones decide.
        if not held:
            self._ends = began + claim.ttl

    # Ownership

    async def _keep(self) -> None:
        """Renew the leases until they end."""
        assert self._committer is not None
        ttl = self.claim.ttl
        pause = ttl / _RENEWALS
        while True:
            await asyncio.sleep(min(pause, max(0.0, self._ends - read_clock())))
            if self._lost is not None:
                return
            if read_clock() >= self._ends:
                self.lose(_make_lost_error(f"it could not be renewed within its {ttl:g} s"))
                return
            pause = _RETRY_SECONDS
            try:
                async with asyncio.timeout(self._ends - read_clock()):
                    await self.turn.acquire()
            except TimeoutError:
                continue
            try:
                if self.doubt is not None:
                    await self.doubt.settle("renewing a lease")
                began = read_clock()
                if not await shield(self._committer.renew(self.claim)):
                    self.lose(_make_lost_error("another owner has taken it, or it was released by force"))
                    return
            except BacktestMongoError as error:
                log().debug("a lease was not renewed yet", error=type(error).__name__)
            else:
                self._counts.renewals += 1
                self._ends = began + ttl
                pause = ttl / _RENEWALS
            finally:
                self.turn.release()

    def lose(self, error: LeaseLostError) -> None:
        """End all of it: nothing is written any more, and the block is cancelled."""
        if self._lost is not None:
            return
        self._lost = error
        self.shut()
        self._counts.lost += len(self.claim.contexts)
        self.memory.drop_all()
        self.doubt = None
        if self._queue is not None:
            self._queue.drop()
        log().warning("a lease was lost", leases=", ".join(self.claim.contexts), reason=error.message)
        # Where check_held meets it in the block's own task, the error itself is raised there.
        if not self.is_over and asyncio.current_task() is not self._task:
            self._is_cancelled = True
            self._task.cancel()

    def check_usable(self) -> None:
        super().check_usable()
        self.check_held()

    def check_held(self) -> None:
        """Refuse to go on with a lease that was lost.

        Raises:
            LeaseLostError: it was.
        """
        if self._lost is None and read_clock() >= self._ends:
            self.lose(_make_lost_error(f"it was not renewed within its {self.claim.ttl:g} s"))
        if self._lost is not None:
            raise self._copy_lost()

    def _copy_lost(self) -> LeaseLostError:
        assert self._lost is not None
        lost = self._lost
        copy = LeaseLostError(lost.message, slot=lost.slot, collection=lost.collection, key=lost.key, hint=lost.hint)
        copy.owner = lost.owner
        return copy

    # Rows

    def as_lease_of(self, committer: Committer, slot: str, context: Key) -> LeaseScope | None:
        return self if committer is self._committer and (slot, context) in self._held else None

    def as_queue_of(self, committer: Committer) -> LeaseScope | None:
        return self if self._queue is not None and committer is self._committer else None

    def get_finder(self, committer: Committer, slot: str) -> Callable[[Key], RowWrite | AbsentRow | None] | None:
        return self.memory.get_finder(slot) if committer is self._committer else None

    def get_own(self, committer: Committer, slot: str, key: Key) -> RowWrite | None:
        if committer is not self._committer:
            return None
        row = self.memory.get(slot, key)
        return row if isinstance(row, RowWrite) and row.is_waiting else None

    def list_own(self, committer: Committer, slot: str) -> Iterator[Mapping[Key, RowWrite]]:
        if self._queue is not None and committer is self._committer:
            yield from self._queue.list_rows(slot)

    def get_state(self, slot: str, key: Key) -> State:
        return self.memory.get_state(slot, key)

    async def learn(self, spec: SlotSpec, key: Key) -> RowWrite | AbsentRow:
        self.check_held()
        assert self._committer is not None
        if self.doubt is not None:
            await run_in_turn([self], self._settle)
        while True:
            changes = self.memory.changes
            document, state = await self._committer.read(spec, key)
            row = self.memory.get(spec.name, key)
            if row is not None:
                return row
            if self.memory.changes == changes:
                return self.memory.take_read(spec, key, document, state)

    async def _settle(self) -> None:
        if self.doubt is not None:
            await self.doubt.settle("reading")

    def remember(self, rows: Sequence[RowWrite], states: Sequence[State]) -> None:
        covered = [self._holds(row.spec.name, row.key) for row in rows]
        known = [state if is_covered else UNKNOWN_ROW for state, is_covered in zip(states, covered, strict=True)]
        self.memory.take_written(rows, known)

    def forget(self, rows: Sequence[RowWrite]) -> None:
        self.memory.forget(rows)

    def forget_context(self, slot: str, context: Key) -> None:
        self.memory.forget_context(slot, context)

    def _holds(self, slot: str, key: Key) -> bool:
        return (slot, key[: self._lengths.get(slot, 0)]) in self._held

    def takes(self, committer: Committer, slot: str, key: Key) -> bool:
        scope: Scope | None = self
        while scope is not None:
            if isinstance(scope, Lease) and scope._takes(committer, slot, key):
                return True
            scope = scope.outer
        return False

    def _takes(self, committer: Committer, slot: str, key: Key) -> bool:
        # What waits to be written may be a row of a context that is not leased: a later value must not come before it.
        return committer is self._committer and (
            self._holds(slot, key) or self.get_own(committer, slot, key) is not None
        )

    async def write(self, rows: list[RowWrite], committer: Committer) -> None:
        """Write rows outside of a transaction: those of leased contexts are a transaction of their own."""
        await commit_rows(committer, rows, self)

    async def put(self, rows: list[RowWrite]) -> None:
        """Take a transaction that is committed later, with others."""
        self.check_usable()
        assert self._queue is not None
        await self._queue.put(rows)

    async def flush(self) -> None:
        """Wait until every transaction that was acknowledged is committed. Without ``commit_every`` all of them are.

        Raises:
            StoreUnavailableError: they could not be committed in time. They stay queued; call it again.
            LeaseLostError: the lease was lost, and they with it.
        """
        self.check_usable()
        if self._queue is not None:
            await self._queue.flush()

    async def _commit_queued(self, rows: list[RowWrite]) -> None:
        assert self._committer is not None
        await send(self._committer, rows, [self])


def _make_lost_error(reason: str) -> LeaseLostError:
    return LeaseLostError(
        f"the lease was lost: {reason}",
        hint="nothing was written after it ended; leave the block, take the lease again, and go on from what is stored",
    )


#: The leases of this process.
_leases: WeakSet[Lease] = WeakSet()


def _lose_in_child() -> None:
    for lease in list(_leases):
        lease.shut()
        lease._lost = _make_lost_error("it belongs to the process that this one was forked from")
    _leases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose_in_child)

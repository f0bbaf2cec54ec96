"""How a transaction is committed: under which leases, in which order, and what is known of its rows afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context

from backtest_mongo.commit.scope import LeaseScope, Scope
from backtest_mongo.core.cancellation import retrieve_exception
from backtest_mongo.core.commits import UNKNOWN_ROW, Commit, Committer, RowWrite
from backtest_mongo.core.counters import get_commit_counts
from backtest_mongo.errors import CommitUnknownError, LeaseLostError, StoreUnavailableError

__all__ = ["Doubt", "commit_rows", "send"]


class Doubt:
    """A commit whose outcome is unknown, and the leases whose rows it may have written."""

    def __init__(self, committer: Committer, commit: Commit, leases: Sequence[LeaseScope]) -> None:
        self._committer = committer
        self._commit = commit
        self._leases = leases
        self._is_settled = False
        self._was_applied = False
        # Two leases may ask at the same time.
        self._turn = asyncio.Lock()

    async def settle(self, doing: str) -> None:
        """Find out what became of it; the caller has the turn of one of the leases, and is ``doing`` something else.

        Raises:
            StoreUnavailableError: it is still unknown, so what the caller does has to wait.
        """
        async with self._turn:
            if self._is_settled:
                return
            try:
                states = await self._committer.settle(self._commit)
            except CommitUnknownError as error:
                raise StoreUnavailableError(
                    f"{doing} failed: whether the transaction before was committed is still unknown",
                    hint="this was not sent; try again later, or await commit_again() of that transaction's error",
                ) from error
            self._close(states)

    def _close(self, states: Sequence[object] | None) -> None:
        self._is_settled = True
        self._was_applied = states is not None
        if self._was_applied:
            counts = get_commit_counts()
            counts.commits += 1
            counts.rows += len(self._commit.rows)
        for lease in self._leases:
            lease.doubt = None
        remember(self._leases, self._commit.rows, states)

    async def commit_again(self) -> None:
        """Find out what became of it, and commit it if it was not applied."""
        self._commit.caller = copy_context()
        await run_in_turn(self._leases, self._commit_again)

    async def _commit_again(self) -> None:
        async with self._turn:
            await self._commit_in_turn()

    async def _commit_in_turn(self) -> None:
        if self._was_applied:
            return
        if self._is_settled:
            raise StoreUnavailableError(
                "the transaction was not committed, and its rows may have been written since",
                hint="nothing of it is stored; read what is, and write again what is missing",
            )
        try:
            states = await self._committer.settle(self._commit)
            if states is None:
                for lease in self._leases:
                    lease.check_held()
                self._commit.seconds = find_seconds(self._committer, self._leases)
                states = await self._committer.commit(self._commit)
        except CommitUnknownError as error:
            error._again = self.commit_again
            raise
        except LeaseLostError as error:
            lose(self._leases, error)
            raise
        self._close(states)


async def commit_rows(committer: Committer, rows: list[RowWrite], scope: Scope | None) -> None:
    """Commit rows as a whole, under the leases of ``scope`` and those around it."""
    if not rows:
        return
    around = [] if scope is None else [outer for outer in scope.walk() if isinstance(outer, LeaseScope)]
    if not around:
        await send(committer, rows, ())
        return
    around[0].check_usable()
    queued = next((lease for lease in around if lease.as_queue_of(committer) is not None), None)
    if queued is not None and len(around) == 1:
        leases: list[LeaseScope] = around
    else:
        found = (around[0].find_lease(committer, row.spec.name, row.key[: len(row.spec.context)]) for row in rows)
        leases = list({lease: None for lease in found if lease is not None})
    if queued is not None:
        if {*leases} <= {queued} and not any(row.is_conditional for row in rows):
            await queued.put(rows)
            return
        await queued.flush()
    await send(committer, rows, leases)


async def send(committer: Committer, rows: list[RowWrite], leases: Sequence[LeaseScope]) -> None:
    """Commit rows at once, when it is the turn of their leases. Once it is sent, it is not cancelled."""
    ordered = sorted(leases, key=lambda lease: lease.number)
    caller = copy_context()
    await run_in_turn(ordered, lambda: _send(committer, rows, ordered, caller))


async def run_in_turn(leases: Sequence[LeaseScope], work: Callable[[], Awaitable[None]]) -> None:
    """Call ``work`` when no other commit or renewal of these leases is under way."""
    taken: list[asyncio.Lock] = []

    async def work_and_release() -> None:
        try:
            await work()
        finally:
            for turn in taken:
                turn.release()

    try:
        for lease in leases:
            await lease.turn.acquire()
            taken.append(lease.turn)
    except BaseException:
        for turn in taken:
            turn.release()
        raise
    # In a context of its own: neither the caller's own timeout nor its scopes hold for a commit.
    await _see_through(asyncio.get_running_loop().create_task(work_and_release(), context=Context()))


async def _see_through(task: asyncio.Task[None]) -> None:
    """Wait until a task is done, however often the caller is cancelled, and then raise the cancellation.

    Otherwise a commit could be applied after a later write that was acknowledged.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        retrieve_exception(task)
        raise cancelled
    task.result()


async def _send(committer: Committer, rows: list[RowWrite], leases: Sequence[LeaseScope], caller: Context) -> None:
    fenced: dict[LeaseScope, None] = {}
    for lease in leases:
        lease.check_held()
        if lease.doubt is not None:
            await lease.doubt.settle("committing")
    for row in rows:
        row.known = UNKNOWN_ROW
        name, context = row.spec.name, row.key[: len(row.spec.context)]
        for lease in leases:
            if lease.as_lease_of(committer, name, context) is not None:
                row.known = lease.get_state(name, row.key)
                fenced[lease] = None
    claims = [lease.claim for lease in fenced]
    commit = Commit(rows, claims, find_seconds(committer, leases))
    commit.caller = caller
    counts = get_commit_counts()
    try:
        states = await committer.commit(commit)
    except CommitUnknownError as error:
        counts.unknown += 1
        doubt = Doubt(committer, commit, leases)
        for lease in leases:
            lease.doubt = doubt
            lease.forget(rows)
        error._again = doubt.commit_again
        raise
    except LeaseLostError as error:
        lose(leases, error)
        raise
    finally:
        counts.conflicts += commit.conflicts
    counts.commits += 1
    counts.rows += len(rows)
    remember(leases, rows, states)


def find_seconds(committer: Committer, leases: Sequence[LeaseScope]) -> float:
    """Return how long a commit may take: never so long that a lease could end meanwhile."""
    return min((committer.seconds, *(lease.claim.ttl / 2 for lease in leases)))


def lose(leases: Sequence[LeaseScope], error: LeaseLostError) -> None:
    """Take the leases as lost that an error is about."""
    for lease in leases:
        if error.owner in ("", lease.claim.owner):
            lease.lose(error)


def remember(leases: Sequence[LeaseScope], rows: Sequence[RowWrite], states: Sequence[object] | None) -> None:
    """Let leases know what is stored, or that it isn't known."""
    for lease in leases:
        if states is None:
            lease.forget(rows)
        else:
            lease.remember(rows, states)

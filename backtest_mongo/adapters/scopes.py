"""``transaction()`` and ``lease()``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.commit.lease import Lease
from backtest_mongo.commit.transaction import Transaction
from backtest_mongo.core.commits import Committer, name_lease
from backtest_mongo.core.runs import check_run
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.telemetry.instruments import get_telemetry
from backtest_mongo.types import When, to_millis

__all__ = ["lease", "transaction"]

#: The shortest ttl of a lease, in seconds.
_LEAST_TTL = 2.0
#: The longest of its times: a day.
_LONGEST = 86_400


def transaction(*, when: When | None = None, run: str | None = None) -> Transaction:
    """Commit many writes as a whole: all of them are stored, or none::

        async with transaction(when=bar_time):
            await signal.write_signal_data(row)
            await storage.write_storage_data([closed])
            await progress.write_state_data({"next": n + 1})

    The writes are checked when they are called, and sent at the end of the block: in one transaction of MongoDB, which
    needs a replica set or a sharded cluster, or of SQLite. Until then reads in the block see them, in every form, and
    nobody else does. An exception drops them all. If others write the same rows meanwhile, the transaction is sent
    again, not the block, until the operation's deadline.

    Atomic is not isolated: two blocks that read a number and write it plus one lose an update, unless they hold the
    same :func:`lease`, or write with ``expect``.

    Blocks within a block join it; an exception that leaves an inner one and is caught outside drops the writes of the
    inner one alone. Candles and other series are not part of a transaction: their rows are stored at once, and ``when``
    does not limit reads of them.

    Args:
        when: the simulation time of writes in the block that name none, and the limit of its reads: milliseconds since
            the epoch (UTC), or an aware ``datetime``.
        run: the name of the run that the writes in the block belong to, of 1 to 200 characters; ``None`` for that of
            the block around it, or of ``setup(run=...)``. :func:`reset` deletes the rows of a run.

    Returns:
        An object for one ``async with``. Its end raises:

        * ``CommitUnknownError``, a ``StoreUnavailableError``: whether it was committed is unknown; ``await
          error.commit_again()`` settles it;
        * other ``StoreUnavailableError``, ``StoreError``: nothing is stored;
        * ``ConflictError``: a write with ``if_absent`` or ``expect`` has found something else; nothing is stored;
        * ``LeaseLostError``: a lease of one of the rows was lost; nothing is stored.

    Raises:
        InputError: ``when`` is not a time, or ``run`` can't be the name of a run.
    """
    get_telemetry()  # SQLite's stores observe nothing, and their commits are counted all the same
    return Transaction(
        None if when is None else _to_millis(when),
        persist._check_transactions,
        None if run is None else check_run(run, "transaction"),
    )


def lease(
    *adapters: Any,
    ttl: float = 30.0,
    wait: float = 0.0,
    commit_every: int = 1,
    max_delay: float = 0.25,
    run: str | None = None,
) -> Lease:
    """Own contexts: while the block lasts, no other process that uses leases writes them::

        async with lease(signal, progress) as mine:
            ...
            await mine.add(state)

    All of them are taken at once, or none. They are renewed in the background and given back at the end. If the process
    dies, others can take them ``ttl`` seconds after the last renewal, by the database's clock.

    Every commit within the block changes the leases of the contexts that it writes, so a process that slept past its
    lease can't write. It meets ``LeaseLostError``, and its block is cancelled as by ``asyncio.timeout``. A write
    outside of :func:`transaction` is a transaction of one.

    What was read or written of the contexts is kept in memory, and reads return copies of it. Whoever writes them
    without a lease, as the Node package does, is noticed at the next commit of the same row, which then raises
    ``LeaseLostError``.

    With ``commit_every`` above 1 transactions are acknowledged in memory and committed in order, many in one: a process
    that is killed loses the last of them, and never a part of one. Of a row that several of them write, the last value
    alone is sent, so ``watch()`` does not see the others. A backtest computes lost bars again; live trading leaves it
    at 1.

    Args:
        adapters: an adapter of each context, all in one database: MongoDB as a replica set or a sharded cluster, or
            SQLite. Series can't be leased.
        ttl: seconds that a lease lasts without being renewed, from 2 to 86,400.
        wait: seconds to wait for leases that others hold.
        commit_every: how many transactions are committed together; with 1 each is committed before its block ends.
        max_delay: seconds after which fewer of them are committed.
        run: the name of the run that the writes in the block belong to, of 1 to 200 characters; ``None`` for that of
            the block around it, or of ``setup(run=...)``. :func:`reset` deletes the rows of a run.

    Returns:
        An object for one ``async with``, with ``add()``, ``flush()`` and ``contexts``. Its beginning raises
        ``LeaseHeldError`` if another owner has one of the leases, and its end ``LeaseLostError`` if they were lost.

    Raises:
        InputError: there is no adapter, one context is named twice, two databases are, a number is out of range, or
            ``run`` can't be the name of a run.
        StoreError: the slots are stored in JSON files, or MongoDB is a standalone.
    """
    _check_number("ttl", ttl, _LEAST_TTL, "a renewal must have time to arrive, and a successor waits that long")
    _check_number("wait", wait, 0.0, "seconds to wait for leases that others hold")
    _check_number("max_delay", max_delay, 0.0, "seconds after which what waits is committed")
    if type(commit_every) is not int:
        raise InputTypeError(f"lease: commit_every must be an int, not {type(commit_every).__name__}")
    if commit_every < 1:
        raise InputError(
            f"lease: commit_every must be 1 or more, not {commit_every}",
            hint="1 commits each transaction before its block ends, 64 is fast for a backtest",
        )
    get_telemetry()  # as for a transaction
    return Lease(
        _find_members(adapters),
        _find_members,
        ttl=float(ttl),
        wait=float(wait),
        commit_every=commit_every,
        max_delay=float(max_delay),
        run=None if run is None else check_run(run, "lease"),
    )


@dataclass(frozen=True, slots=True)
class _Member:
    """A context to be leased, of which an event loop knows the database."""

    adapter: Adapter

    @property
    def spec(self) -> SlotSpec:
        return self.adapter.spec

    @property
    def context(self) -> Key:
        return self.adapter._context

    @property
    def committer(self) -> Committer:
        return self.adapter._base_store().committer


def _find_members(adapters: Sequence[Any]) -> list[_Member]:
    """Return the contexts of adapters.

    Raises:
        InputError: they can't be leased.
    """
    if not adapters:
        raise InputError("lease: no context is named", hint="name an adapter of each: lease(signal, progress)")
    members: dict[str, _Member] = {}
    for adapter in adapters:
        if not isinstance(adapter, Adapter):
            kind = type(adapter).__name__
            raise InputTypeError(
                f"lease takes adapters of this library, not {kind}",
                hint="a storage of your own has to keep other writers out itself"
                if hasattr(adapter, "wait_for_init")
                else "name an adapter of each context: lease(signal, progress)",
            )
        if adapter.spec.shape == "series":
            raise InputError(
                f"lease: {adapter.spec.noun} can't be leased",
                slot=adapter.spec.name,
                hint="their first write wins, whoever it is from"
                if adapter.spec.immutable
                else "rows of series are stored at once, whoever writes them",
            )
        name = name_lease(adapter.spec, adapter._context)
        if name in members:
            raise InputError(f"lease: {name} is named twice", slot=adapter.spec.name)
        members[name] = _Member(adapter)
    return list(members.values())


def _check_number(name: str, value: object, least: float, hint: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputTypeError(f"lease: {name} must be a number of seconds, not {type(value).__name__}")
    if not least <= value <= _LONGEST:
        raise InputError(f"lease: {name} must be from {least:g} to {_LONGEST:,} seconds, not {value:g}", hint=hint)


def _to_millis(when: object) -> int:
    try:
        return to_millis(when)  # type: ignore[arg-type]  # which it checks
    except TypeError as error:
        raise InputTypeError(f"transaction: when {error}") from None
    except ValueError as error:
        raise InputError(f"transaction: when {error}") from None

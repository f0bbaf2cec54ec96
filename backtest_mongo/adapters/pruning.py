"""Deletes rows that need not be kept, in the background: some after every hundred rows written to a context."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from backtest_mongo.commit.committing import run_in_turn
from backtest_mongo.commit.scope import LeaseScope, current_scope
from backtest_mongo.core.background import start_background
from backtest_mongo.core.commits import Committer, RowWrite, name_lease
from backtest_mongo.core.log import log
from backtest_mongo.core.pruning import Pruner
from backtest_mongo.core.retention import Retention
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.errors import StoreError

__all__ = ["is_leased", "prune_all", "prune_behind"]

#: Rows that one write has deleted at most: twice as many as are written in between, so that a backlog shrinks.
_STEP: Final = 200
#: How many rows the command deletes at a time.
_BATCH: Final = 1_000


def prune_behind(store: Store, spec: SlotSpec, context: Key, rows: int, retention: Retention) -> None:
    """Take note of rows that were written to a context and, if it is time to do so, delete old ones in the background.

    A failure is a warning in the log, and a later write tries again.

    Args:
        store: the slot's own store, whatever transactions are current.
        spec: the slot.
        context: the context.
        rows: how many rows were written.
        retention: what is kept of it.
    """
    pruner = store.pruner
    if not pruner.begin(context, rows, retention):
        return
    scope = current_scope.get()
    lease = None if scope is None else scope.find_lease(store.committer, spec.name, context)
    start_background(
        partial(_prune, pruner, store.committer, context, retention, lease),
        "old rows could not be deleted; a later write tries again",
        slot=spec.name,
        keep=str(retention),
    )


async def _prune(
    pruner: Pruner, committer: Committer, context: Key, retention: Retention, lease: LeaseScope | None
) -> None:
    spec = pruner.spec

    async def work() -> None:
        if await is_leased(committer, spec, context, except_owner=None if lease is None else lease.claim.owner):
            log().debug("old rows are kept, because another owner has the lease", slot=spec.name)
            return
        _, keys = await pruner.prune(context, retention, _STEP)
        if lease is not None:
            # Otherwise its next commit would take them for rows that others have written.
            lease.forget(_name_rows(spec, keys))

    try:
        if lease is None:
            await work()
        else:
            await run_in_turn([lease], work)
    finally:
        pruner.end(context)


def _name_rows(spec: SlotSpec, keys: Sequence[Key]) -> list[RowWrite]:
    return [RowWrite(spec, key, {spec.field: None}) for key in keys]


async def is_leased(committer: Committer, spec: SlotSpec, context: Key, *, except_owner: str | None = None) -> bool:
    """Return whether a process owns a context, other than the owner ``except_owner``.

    That owner would take a row that is deleted here for somebody else's write, and lose its lease.
    """
    name = name_lease(spec, context)
    held = await committer.list_leases()
    return any(one.id == name and not one.is_expired and one.owner != except_owner for one in held)


async def prune_all(store: Store, spec: SlotSpec, context: Key, retention: Retention) -> int | None:
    """Delete all rows of a context that need not be kept.

    Returns:
        How many were deleted; ``None`` if none were because another process has leased the context.

    Raises:
        StoreUnavailableError: the database can't be reached. What was deleted until then stays deleted.
    """
    count = 0
    while True:
        if await _may_be_leased(store, spec, context):
            return count or None
        deleted, keys = await store.pruner.prune(context, retention, _BATCH)
        count += deleted
        if not keys:
            return count


async def _may_be_leased(store: Store, spec: SlotSpec, context: Key) -> bool:
    try:
        committer = store.committer
    except StoreError:  # of files, which have no leases
        return False
    return await is_leased(committer, spec, context)

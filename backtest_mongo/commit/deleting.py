"""How a context is deleted: in steps, under the caller's lease of it, or while nobody else holds one."""

from __future__ import annotations

from backtest_mongo.commit.committing import run_in_turn
from backtest_mongo.commit.scope import LeaseScope, current_scope
from backtest_mongo.core.outcomes import after_writing
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.errors import InputError, StoreError

__all__ = ["delete_context", "delete_rows", "refuse_in_transaction"]


def refuse_in_transaction(call: str, slot: str | None) -> None:
    """Refuse a call that can't be part of a transaction.

    Raises:
        InputError: one is current.
    """
    scope = current_scope.get()
    if scope is None:
        return
    scope.check_usable()
    if any(one.title == "transaction" for one in scope.walk()):
        raise InputError(
            f"{call} can't be part of a transaction", slot=slot, hint="call it before or after the transaction"
        )


async def delete_context(store: Store, spec: SlotSpec, context: Key) -> int:
    """Delete all rows of a context, and return how many there were.

    Args:
        store: the slot's own store.
        spec: the slot.
        context: the context.

    Raises:
        InputError: a transaction is current.
        LeaseHeldError: somebody else holds the lease of the context.
    """
    return await delete_rows(store, spec, context)


async def delete_rows(store: Store, spec: SlotSpec, start: Key) -> int:
    """Delete all rows whose keys begin with some values, in MongoDB or SQLite, and return how many there were.

    Args:
        store: the slot's own store.
        spec: the slot.
        start: the first values of the keys: fewer than a context has, a context, or one and the key of an entry.
            With fewer, no lease is asked for.

    Raises:
        InputError: a transaction is current.
        LeaseHeldError: somebody else holds the lease of the context.
    """
    refuse_in_transaction("delete()", spec.name)
    context = start[: len(spec.context)]
    lease = _find_lease(store, spec, context)

    async def delete_some() -> tuple[int, bool]:
        if lease is None:
            return await store.delete_some(start, ())
        return await _delete_under(lease, store, spec, start)

    rows, is_left = await delete_some()
    with after_writing():
        while is_left:
            deleted, is_left = await delete_some()
            rows += deleted
    return rows


def _find_lease(store: Store, spec: SlotSpec, context: Key) -> LeaseScope | None:
    scope = current_scope.get()
    if scope is None:
        return None
    try:
        committer = store.committer
    except StoreError:  # files have no leases
        return None
    return scope.find_lease(committer, spec.name, context)


async def _delete_under(lease: LeaseScope, store: Store, spec: SlotSpec, start: Key) -> tuple[int, bool]:
    """Delete some rows while neither a commit nor a renewal of the lease is under way, and let it forget them."""
    await lease.flush()
    done: list[tuple[int, bool]] = []

    async def delete() -> None:
        lease.check_held()
        if lease.doubt is not None:
            await lease.doubt.settle("deleting")
        try:
            done.append(await store.delete_some(start, (lease.claim.owner,)))
        finally:
            lease.forget_context(spec.name, start[: len(spec.context)])

    await run_in_turn([lease], delete)
    return done[0]

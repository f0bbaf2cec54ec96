"""``rename_strategy()``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.core.commits import Committer, Holder, make_claim
from backtest_mongo.core.lease_errors import make_held_error
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.core.strategy_names import FIELD, MENTIONS, Moved, NewName, Renamer, has_strategy
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import ConflictError, InputError, InputTypeError, StoreError
from backtest_mongo.types import RenamedSlot, RenameReport

__all__ = ["rename_strategy"]

#: How many contexts an error lists.
_LISTED = 10


@dataclass(frozen=True, slots=True)
class _Slot:
    """A slot in which rows are to be renamed, on this event loop."""

    spec: SlotSpec
    store: Store
    renamer: Renamer
    committer: Committer


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be renamed in a slot: contexts and their sizes, or how many rows name the strategy."""

    slot: _Slot
    contexts: dict[Key, Moved]
    mentions: dict[Key, int]

    def report(self) -> RenamedSlot:
        moved = self.contexts.values()
        rows = sum(one.rows for one in moved) + sum(self.mentions.values())
        return RenamedSlot(self.slot.spec.name, len(self.contexts), rows, sum(one.versions for one in moved))


async def rename_strategy(
    old: str, new: str, *, dry_run: bool = False, slots: Iterable[str] | None = None
) -> RenameReport:
    """Rename a strategy in everything that is stored::

        report = await rename_strategy("trend", "trend_2024", dry_run=True)

    It changes the contexts of signal, schedule, strategy, partial, breakeven, recent and session, and of slots of your
    own that have ``strategy_name``, with the versions of their rows. In the payloads of these, and of risk, storage,
    notification and log, it changes every field ``strategyName`` that has the old name, at any depth; the ``id`` of a
    session; and the names of positions in risk. It leaves places where only you have put the name, such as a bucket's
    name.

    Stop the strategy first: what it writes meanwhile is stored under the old name again.

    Each context is renamed in one transaction of MongoDB or SQLite, payloads and versions included. If the process is
    killed or the call fails, each context is under one of the names; call it again to continue. On MongoDB a context
    with more than 1,000 rows and versions, or 12 MB, takes several transactions, and has rows under both names in
    between.
    Then rows of risk, storage, notification and log are changed, up to 1,000 per transaction.

    Rows keep their ids, their dates, ``when`` and their places among the newest. A watch sees each row of a context as
    ``deleted`` under the old name and as ``written``, or ``removed``, under the new one, and each row that only names
    the strategy as ``written``.

    Args:
        old: the strategy's current name.
        new: its new name. Other contexts of this name may already be stored; none is merged with another.
        dry_run: whether to change nothing, and only return what would be changed.
        slots: names of slots; ``None`` is every slot that may name a strategy. Those that are stored in JSON files, or
            by an implementation of your own, have to be left out.

    Returns:
        What was changed, by slot.

    Raises:
        InputError: a name is empty or both are equal, there is no such slot, or a transaction or a lease is current.
        ConflictError: a context is already stored under the new name. Nothing was changed.
        LeaseHeldError: somebody holds the lease of one of the contexts; if it was taken meanwhile, a part may be
            changed.
        StoreUnavailableError: a database can't be reached, or did not answer in time; a part may be changed.
        StoreError: MongoDB is a standalone, or a slot is stored in files or by an implementation of your own, and
            nothing was changed; or a database answered with an error, and a part may be changed.
    """
    name = NewName(_check_name("old", old), _check_name("new", new))
    if old == new:
        raise InputError("rename_strategy: both names are the same")
    if current_scope.get() is not None:
        raise InputError(
            "rename_strategy can't be part of a transaction or a lease", hint="call it before or after the block"
        )
    found = list(_find_slots(slots))
    for renamer in {id(slot.committer): slot.renamer for slot in found}.values():
        await renamer.check()
    plans = [plan for slot in found if (plan := await _make_plan(slot, name)) is not None]
    await _refuse_merges(plans, name)
    await _refuse_held(plans, name)
    if not dry_run:
        plans = [await _carry_out(plan, name) for plan in plans]
    return RenameReport(name.old, name.new, not dry_run, tuple(plan.report() for plan in plans))


def _check_name(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputTypeError(f"rename_strategy: {argument} must be a str, not {type(value).__name__}")
    spec = next(spec for spec in (adapter.spec for adapter in persist._adapters.values()) if has_strategy(spec))
    if not value:
        raise InputError(f"rename_strategy: {argument} must not be empty (str)")
    return spec.check_key(argument, value)


def _find_slots(names: Iterable[str] | None) -> Iterator[_Slot]:
    """Yield the slots that may name a strategy.

    Raises:
        InputError: there is no such slot.
        StoreError: one of them is stored where renaming is not possible.
    """
    renamable = {
        name: one.spec for name, one in persist._adapters.items() if has_strategy(one.spec) or name in MENTIONS
    }
    wanted = renamable if names is None else _check_slots(names, renamable)
    for name in wanted:
        spec = renamable[name]
        implementation: Any = persist._get_implementation(spec)
        if not isinstance(implementation, type) or not issubclass(implementation, Adapter):
            raise StoreError(
                f"renaming a strategy failed: {name} is stored by an implementation of your own",
                slot=name,
                hint="leave the slot out, with slots=, and rename what it stores yourself",
            )
        store = implementation._base_store()
        yield _Slot(spec, store, store.renamer, store.committer)


def _check_slots(names: Iterable[str], known: dict[str, SlotSpec]) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputTypeError(f"rename_strategy: slots must be slot names, not {type(names).__name__}")
    listed = list(names)
    for name in listed:
        if name not in known:
            hint = suggest(str(name), known)
            raise InputError(f"rename_strategy: there is no slot {name!r} that names a strategy", hint=hint)
    return [name for name in known if name in listed]


async def _make_plan(slot: _Slot, name: NewName) -> _Plan | None:
    contexts: dict[Key, Moved] = {}
    mentions: dict[Key, int] = {}
    if has_strategy(slot.spec):
        async for context in slot.store.list_contexts({FIELD: name.old}):
            contexts[context] = await slot.renamer.count(context)
    else:
        mentions = await slot.renamer.count_mentions(name)
    return _Plan(slot, contexts, mentions) if contexts or mentions else None


async def _refuse_merges(plans: list[_Plan], name: NewName) -> None:
    """Refuse a name under which a context is already stored, except what a killed call has left.

    Raises:
        ConflictError: there is such a context.
    """
    taken = []
    for plan in plans:
        spec = plan.slot.spec
        if not plan.contexts:
            continue
        stored = {context async for context in plan.slot.store.list_contexts({FIELD: name.new})}
        for source in plan.contexts:
            target = name.change_key(spec, source)
            if target in stored and not await plan.slot.renamer.is_moving(source, target):
                taken.append(f"{spec.name}({', '.join(map(repr, target))})")
    if taken:
        more = f" and {len(taken) - _LISTED:,} more" if len(taken) > _LISTED else ""
        raise ConflictError(
            f"renaming a strategy failed: {format_count(len(taken), 'context')} would be merged with "
            f"{'one' if len(taken) == 1 else 'those'} stored already: {', '.join(taken[:_LISTED])}{more}",
            hint="nothing was changed; choose another name, or delete what is stored under this one",
        )


async def _refuse_held(plans: list[_Plan], name: NewName) -> None:
    """Refuse to begin while somebody holds the lease of one of the contexts.

    Raises:
        LeaseHeldError: somebody does.
    """
    held: dict[int, list[Holder]] = {}
    for plan in plans:
        slot = plan.slot
        if id(slot.committer) not in held:
            held[id(slot.committer)] = await slot.committer.list_leases()
        touched = [*plan.contexts, *(name.change_key(slot.spec, one) for one in plan.contexts), *plan.mentions]
        claim = make_claim(*((slot.spec, context) for context in touched))
        for holder in held[id(slot.committer)]:
            if holder.id in claim.contexts and not holder.is_expired:
                raise make_held_error(claim, holder.id, holder.host, holder.process, holder.since, holder.until)


async def _carry_out(plan: _Plan, name: NewName) -> _Plan:
    """Rename what is planned for a slot, and return what was done."""
    slot = plan.slot
    done: dict[Key, Moved] = {}
    for source in plan.contexts:
        done[source] = await slot.renamer.move(source, name.change_key(slot.spec, source), name)
    mentions: dict[Key, int] = {}
    if plan.mentions:
        mentions[()] = await slot.renamer.rename_mentions(name)
    return _Plan(slot, done, mentions)

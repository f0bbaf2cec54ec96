"""The errors of leases, which are the same in every database."""

from __future__ import annotations

from datetime import UTC, datetime

from backtest_mongo.core.commits import Claim, Commit, Holder, RowWrite, name_lease
from backtest_mongo.errors import LeaseHeldError, LeaseLostError

__all__ = ["make_fenced_error", "make_foreign_error", "make_held_error", "make_in_use_error"]


def make_held_error(claim: Claim, name: str, host: str, process: int, since: int, until: int) -> LeaseHeldError:
    """Return the error of a lease that another owner has; times are in milliseconds since the epoch."""
    spec, context = claim.contexts[name]
    error = LeaseHeldError(
        f"the lease of {name} is held by process {process} on {host} since {_show(since)}, until {_show(until)} "
        "unless it is renewed",
        slot=spec.name,
        key=dict(zip(spec.key, context, strict=False)),
        hint="stop that process, or pass wait=seconds; once it is dead, its lease ends by itself",
    )
    error.host, error.process, error.since, error.until = host, process, since, until
    return error


def make_in_use_error(holder: Holder) -> LeaseHeldError:
    """Return the error of rows that can't be deleted because somebody holds the lease of their context."""
    error = LeaseHeldError(
        f"the lease of {holder.id} is held by process {holder.process} on {holder.host} since {_show(holder.since)}, "
        f"until {_show(holder.until)} unless it is renewed",
        slot=holder.slot,
        key=dict(holder.context),
        hint="stop that process; once it is dead, its lease ends by itself",
    )
    error.host, error.process, error.since, error.until = holder.host, holder.process, holder.since, holder.until
    return error


def make_fenced_error(claim: Claim) -> LeaseLostError:
    """Return the error of a commit whose leases are not its owner's."""
    error = LeaseLostError(
        "the lease was lost: another owner has taken it, or it was released by force",
        hint="nothing of the transaction is stored; leave the block, and take the lease again",
    )
    error.owner = claim.owner
    return error


def make_foreign_error(commit: Commit, row: RowWrite, known: datetime | None, found: datetime | None) -> LeaseLostError:
    """Return the error of a leased row that somebody else has written.

    Args:
        commit: what was to be committed.
        row: the row.
        known: when the row was written that its owner knows, ``None`` where it knows of none.
        found: when the row was written that is there, ``None`` where none is.
    """
    spec = row.spec
    lost = LeaseLostError(
        f"somebody without the lease has written {name_lease(spec, row.key)}, which it covers: {_tell(known)} was "
        f"known, and {_tell(found)} is there",
        slot=spec.name,
        collection=spec.collection,
        key=dict(zip(spec.key, row.key, strict=True)),
        hint="nothing of the transaction is stored; leave the block, and take the lease again",
    )
    context = row.key[: len(spec.context)]
    for claim in commit.claims:
        if any(spec.name == other.name and context == leased for other, leased in claim.contexts.values()):
            lost.owner = claim.owner
    return lost


def _tell(written: datetime | None) -> str:
    return "no row" if written is None else f"the one of {written:%Y-%m-%d %H:%M:%S.%f}"


def _show(millis: int) -> str:
    return f"{datetime.fromtimestamp(millis / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"

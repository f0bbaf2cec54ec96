"""The table of leases, a row for each context that was ever leased: see :mod:`~backtest_mongo.mongo.lease_documents`.

All times are the machine's, in milliseconds since the epoch: every process that has the file open runs on it.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from backtest_mongo.core.commits import Claim, Holder
from backtest_mongo.core.lease_errors import make_fenced_error, make_held_error

__all__ = ["acquire", "add_leases", "fence", "list_held", "refuse_held", "release", "release_by_force", "renew"]


#: Takes all leases from an owner: its commits change one of them, whichever contexts they touch.
_EVICT: Final = "UPDATE leases SET owner=NULL, seq=seq+1, until=? WHERE owner=?"


def add_leases(connection: sqlite3.Connection) -> None:
    """Make the table: format 3."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS leases (id TEXT PRIMARY KEY, slot TEXT NOT NULL, context TEXT NOT NULL, "
        "owner TEXT, token INTEGER NOT NULL, seq INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, "
        "ttl REAL NOT NULL, host TEXT NOT NULL, process INTEGER NOT NULL, [commit] TEXT)"
    )


def acquire(connection: sqlite3.Connection, claim: Claim, ids: Sequence[str], at: int) -> None:
    """Take leases, all or none.

    Raises:
        LeaseHeldError: another owner has one of them.
    """
    for name in ids:
        spec, context = claim.contexts[name]
        named = dict(zip(spec.key, context, strict=False))
        connection.execute(
            "INSERT OR IGNORE INTO leases VALUES (:id, :slot, :context, NULL, 0, 0, 0, 0, 0, '', 0, NULL)",
            {"id": name, "slot": spec.name, "context": json.dumps(named, ensure_ascii=False)},
        )
        held = connection.execute(
            "SELECT owner, host, process, since, until FROM leases WHERE id=? AND owner<>?", (name, claim.owner)
        ).fetchone()
        if held is not None:
            owner, host, process, since, until = held
            if until > at:
                raise make_held_error(claim, name, host, process, since, until)
            connection.execute(_EVICT, (at, owner))
        connection.execute(
            "UPDATE leases SET owner=:owner, token=token+1, seq=seq+1, since=:at, until=:until, ttl=:ttl, host=:host, "
            "process=:process WHERE id=:id",
            {
                "id": name,
                "owner": claim.owner,
                "at": at,
                "until": at + int(claim.ttl * 1000),
                "ttl": claim.ttl,
                "host": socket.gethostname(),
                "process": os.getpid(),
            },
        )


def refuse_held(connection: sqlite3.Connection, claim: Claim, owners: Collection[str], at: int) -> None:
    """Make sure, within a transaction, that nobody but ``owners`` has the leases of a claim's contexts.

    Leases that have expired are taken from their owners.

    Raises:
        LeaseHeldError: another owner has one of them.
    """
    for name in claim.contexts:
        held = connection.execute(
            "SELECT owner, host, process, since, until FROM leases WHERE id=? AND owner IS NOT NULL", (name,)
        ).fetchone()
        if held is None or held[0] in owners:
            continue
        owner, host, process, since, until = held
        if until > at:
            raise make_held_error(claim, name, host, process, since, until)
        connection.execute(_EVICT, (at, owner))


def fence(connection: sqlite3.Connection, claim: Claim, commit: str, at: int) -> None:
    """Change the head of an owner's leases within the transaction of a commit, which renews it.

    Raises:
        LeaseLostError: it is not the owner's.
    """
    until = at + int(claim.ttl * 1000)
    statement = "UPDATE leases SET seq=seq+1, until=?, [commit]=? WHERE id=? AND owner=?"
    if connection.execute(statement, (until, commit, claim.head, claim.owner)).rowcount != 1:
        raise make_fenced_error(claim)


def renew(connection: sqlite3.Connection, claim: Claim, at: int) -> bool:
    """Renew all leases of an owner, and return whether they are still its own."""
    until = at + int(claim.ttl * 1000)
    changed = connection.executemany(
        "UPDATE leases SET until=? WHERE id=? AND owner=?", [(until, name, claim.owner) for name in claim.contexts]
    ).rowcount
    return changed == len(claim.contexts)


def release(connection: sqlite3.Connection, claim: Claim, at: int) -> None:
    """Give back all leases of an owner."""
    connection.executemany(
        "UPDATE leases SET owner=NULL, seq=seq+1, until=? WHERE id=? AND owner=?",
        [(at, name, claim.owner) for name in claim.contexts],
    )


def release_by_force(connection: sqlite3.Connection, name: str, at: int) -> bool:
    """Take a lease from its owner, with all others that it has, and return whether it was held."""
    held = connection.execute("SELECT owner FROM leases WHERE id=? AND owner IS NOT NULL", (name,)).fetchone()
    if held is not None:
        connection.execute(_EVICT, (at, *held))
    return held is not None


def list_held(connection: sqlite3.Connection, at: int) -> list[Holder]:
    """Return the leases that are held, by id; none in a file of a format that has no leases."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE type='table' AND name='leases'").fetchone() is None:
        return []
    rows = connection.execute(
        "SELECT id, slot, context, host, CAST(process AS INTEGER), CAST(since AS INTEGER), CAST(until AS INTEGER), "
        "owner FROM leases WHERE owner IS NOT NULL ORDER BY id"
    )
    return [
        Holder(
            id=name,
            slot=slot,
            context=_read_context(context),
            host=host,
            process=process,
            since=since,
            until=until,
            is_expired=until <= at,
            owner=owner,
        )
        for name, slot, context, host, process, since, until, owner in rows
    ]


def _read_context(text: str) -> dict[str, Any]:
    try:
        context = json.loads(text)
    except (ValueError, RecursionError):
        return {}  # whatever another program has put there: the lease has its id
    return context if isinstance(context, dict) else {}

"""Checks of what transactions and leases need, and of the leases that are held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from backtest_mongo.cli.doctor.findings import Deployment, Diagnosis, Finding
from backtest_mongo.cli.doctor.sqlite_checks import DatabaseFile
from backtest_mongo.cli.formatting import format_iso_time
from backtest_mongo.cli.lease_text import describe_holder, format_lease, holder_to_json
from backtest_mongo.core.commits import Holder
from backtest_mongo.core.wording import format_count
from backtest_mongo.mongo.committer import get_committer
from backtest_mongo.mongo.format import FEATURES, read_needs
from backtest_mongo.sqlite.lease_rows import list_held
from backtest_mongo.sqlite.row_codec import now

__all__ = ["check_format", "check_leases", "check_leases_of_file", "check_transactions"]

#: Leases that are named.
_NAMED: Final = 5


async def check_transactions(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report whether the server has transactions."""
    hello = await deployment.hello()
    can = "setName" in hello or hello.get("msg") == "isdbgrid"
    deployment.facts["transactions"] = can
    if can:
        yield Finding("transactions", "ok", "transaction() and lease() can be used")
    else:
        yield Finding(
            "transactions",
            "note",
            "a standalone has no transactions, so transaction() and lease() raise StoreError",
            "a replica set of one member has them",
        )


async def check_format(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report whether the database needs what this version does not know."""
    needs = await read_needs(deployment.hub)
    deployment.facts["needs"] = needs
    unknown = sorted(set(needs) - FEATURES)
    if unknown:
        yield Finding(
            "format",
            "problem",
            f"the database needs what this version of backtest-mongo does not know: {', '.join(unknown)}",
            "upgrade backtest-mongo: this version refuses to read and write here",
        )
    elif needs:
        yield Finding("format", "ok", f"the database needs {', '.join(needs)}, which this version knows")


async def check_leases(deployment: Deployment) -> AsyncIterator[Finding]:
    """Report the leases that are held, and those that have expired without being given back."""
    for finding in _judge(await get_committer(deployment.hub).list_leases(), deployment.diagnosis):
        yield finding


def check_leases_of_file(file: DatabaseFile) -> Iterator[Finding]:
    """Report the same of a file."""
    yield from _judge(list_held(file.connection, now()), file.diagnosis)


def _judge(held: Sequence[Holder], diagnosis: Diagnosis) -> Iterator[Finding]:
    diagnosis.facts["leases"] = [holder_to_json(one) for one in held]
    current = [one for one in held if not one.is_expired]
    if current:
        shown = _name(
            [f"{format_lease(one)} by {describe_holder(one)}, until {format_iso_time(one.until)}" for one in current]
        )
        yield Finding("leases", "ok", f"{format_count(len(current), 'lease')} held: {shown}")
    expired = [one for one in held if one.is_expired]
    if expired:
        shown = _name(
            [f"{format_lease(one)} by {describe_holder(one)}, expired {format_iso_time(one.until)}" for one in expired]
        )
        yield Finding(
            "leases",
            "warning",
            f"{format_count(len(expired), 'lease')} expired and not given back: {shown}",
            "its process has died, stands still, or can't reach the database: see what became of it, and start it "
            "again; whoever asks for such a lease takes it at once, and `backtest-mongo leases release` clears it",
        )


def _name(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more

"""The versions of one row, by time."""

from __future__ import annotations

from collections.abc import AsyncIterator

from backtest_mongo.core.history import VersionStore
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.errors import StoreError
from backtest_mongo.types import Document

__all__ = ["list_revisions", "make_no_history_error", "make_older_error"]

#: How many versions are read at a time.
_PAGE = 500


async def list_revisions(
    versions: VersionStore, key: Key, since: int | None, until: int | None, *, newest_first: bool
) -> AsyncIterator[Document]:
    """Yield the versions of a row from ``since`` to ``until``, and the row itself where it is a later one.

    Each page is a query of its own, so nothing stays open while the caller works on a version.
    """
    row = await versions.find_unversioned(key)
    if row is not None and row["when"] is None:
        row = None  # nothing says since when it has been so
    if row is not None:
        when = row["when"]
        # Whoever wrote it without a version said what is true from its time on.
        last = when - 1 if until is None else min(until, when - 1)
        is_within = (since is None or when >= since) and (until is None or when <= until)
    else:
        last, is_within, when = until, False, 0
    if is_within and newest_first and row is not None:
        yield row
    while True:
        page = await versions.list_versions(key, since, last, _PAGE, newest_first=newest_first)
        for document in page:
            yield document
        if len(page) < _PAGE:
            break
        if newest_first:
            last = page[-1]["when"] - 1
        else:
            since = page[-1]["when"] + 1
    if is_within and not newest_first and row is not None:
        yield row


def make_older_error(spec: SlotSpec, key: Key) -> StoreError:
    """Return the error of a read of a row at a time before its first version, if it existed then."""
    return StoreError(
        f"the row's state at that time is unknown: it is older than the versions of {spec.name} that are kept",
        slot=spec.name,
        collection=spec.versions,
        key=dict(zip(spec.key, key, strict=True)),
        hint="versions begin with the first write after CC_HISTORY names the slot, and end with its retention",
    )


def make_no_history_error(spec: SlotSpec) -> StoreError:
    """Return the error of a read of the past of a slot that keeps no versions."""
    return StoreError(
        f"{spec.name} keeps no versions of its rows, so their past is unknown",
        slot=spec.name,
        hint=f"set CC_HISTORY={spec.name} before they are written; rows that were written without it have no past",
    )

"""Deleting the versions of a whole slot that need not be kept, key by key."""

from __future__ import annotations

from typing import Final

from backtest_mongo.core.history import VersionStore, find_history
from backtest_mongo.core.specs import Key, SlotSpec

__all__ = ["prune_versions"]

#: How many keys are read at a time.
_KEYS: Final = 200


async def prune_versions(spec: SlotSpec, versions: VersionStore) -> int:
    """Delete the versions of a slot that need not be kept, and return how many.

    It follows ``CC_HISTORY``, or the slot's row, and deletes a few hundred at a time. It may be interrupted, and called
    again to continue. Writes go on meanwhile.

    Args:
        spec: the slot.
        versions: its versions.

    Raises:
        StoreUnavailableError: the database can't be reached.
        StoreError: it answered with an error.
    """
    retention = find_history(spec)
    if retention is None or not retention.is_limited:
        return 0
    deleted = 0
    after: Key | None = None
    while keys := await versions.list_keys(after, _KEYS):
        for key in keys:
            while some := await versions.prune(key, retention):
                deleted += some
        after = keys[-1]
    return deleted

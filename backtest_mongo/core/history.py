"""Which slots keep the versions of their rows, and what a database must provide for it.

A version is what a row was from a simulation time on. The row itself is the newest one: whoever writes it without a
version, as the Node package does, thereby says what is true from that row's time on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from backtest_mongo.core.retention import Retention
from backtest_mongo.core.simulation_time import time_of
from backtest_mongo.core.slot_settings import SlotSetting
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import Document, to_millis

__all__ = ["VersionStore", "find_history", "find_row_time"]

_setting: Final = SlotSetting("CC_HISTORY")


def find_history(spec: SlotSpec) -> Retention | None:
    """Return how long the versions of a slot are kept; ``None`` if none are kept at all.

    Raises:
        ConfigError: the configuration has a bad value.
    """
    return _setting.find(spec, spec.history)


def find_row_time(spec: SlotSpec, document: Document) -> int | None:
    """Return the simulation time from which on a stored row is true, in milliseconds since the epoch.

    It is the one that was noted when the row was written, as long as nobody has written it since; otherwise the row's
    own ``when``; otherwise, in slots without one, the time of writing.
    """
    origin = document.get("origin")
    written = document.get("updatedDate")
    if isinstance(origin, dict) and isinstance(origin.get("when"), int) and origin.get("written") == written:
        return int(origin["when"])
    time = time_of(spec, document) if spec.when else None
    if time is None and isinstance(written, datetime):
        return to_millis(written)
    return time


class VersionStore(Protocol):
    """The versions of one slot's rows in one database.

    Documents have the key's fields, the payload, ``removed`` in slots that mark rows so, and ``when``: the simulation
    time from which on they are true, in milliseconds since the epoch.

    An SQLite file that can't be opened makes each method raise ``ConfigError``.
    """

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        """Return each row as it was at a time: the row itself if it is not later, else the latest version that isn't.

        ``None`` is one of which there was nothing yet.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error, or what is stored can't be decoded.
        """
        ...

    async def are_complete(self, keys: Sequence[Key]) -> list[bool]:
        """Return whether the versions of each key begin with the row's creation, before which there was nothing.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def list_rows(self, context: Key, after: Any, limit: int, *, newest: bool) -> tuple[list[Document], Any]:
        """Return some of a context's rows, removed ones included, and what to continue after, ``None`` at the end.

        Args:
            context: the context.
            after: what the call before has returned, ``None`` for the first.
            limit: how many rows to return at most.
            newest: from the row that was created last to the first, instead of by key.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error, or what is stored can't be decoded.
        """
        ...

    async def list_versions(
        self, key: Key, since: int | None, until: int | None, limit: int, *, newest_first: bool
    ) -> list[Document]:
        """Return versions of a key from ``since`` to ``until``, both included, with ``written``.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error, or what is stored can't be decoded.
        """
        ...

    async def find_unversioned(self, key: Key) -> Document | None:
        """Return the row itself, with ``written``, if the latest version is not of it: others have written it.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error, or what is stored can't be decoded.
        """
        ...

    async def list_keys(self, after: Key | None, limit: int) -> list[Key]:
        """Return keys that have versions, each once, in their order.

        Args:
            after: the key after which to begin, ``None`` for the first.
            limit: how many keys to return at most.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def count_prunable(self, retention: Retention) -> tuple[int, int]:
        """Return how many versions are stored of all keys, and how many of them need not be kept.

        It looks at all versions, though not at their payloads.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def prune(self, key: Key, retention: Retention) -> int:
        """Delete versions of a key that need not be kept, a few hundred at most, and return how many.

        Of those that were written before the cut the last one stays: it says what was true until the next one.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

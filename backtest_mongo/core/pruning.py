"""Which collections keep only a part of their rows, and what a database must provide to delete the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backtest_mongo.core.retention import Retention
from backtest_mongo.core.slot_settings import SlotSetting
from backtest_mongo.core.specs import Key, SlotSpec

__all__ = ["NoPruner", "Prunable", "Pruner", "find_retention"]

#: Rows of a context that are written between two looks at those that need not be kept. Of a large number of kept rows,
#: whose end takes longer to find, it is a hundredth.
_ROWS: Final = 100

_setting: Final = SlotSetting("CC_KEEP")


def find_retention(spec: SlotSpec) -> Retention | None:
    """Return what is kept of each context of a slot; ``None`` if everything is.

    Raises:
        ConfigError: the configuration has a bad value.
    """
    return _setting.find(spec, spec.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """The rows of a context of which some need not be kept.

    Attributes:
        context: the fields of the natural key that are the context, by name.
        key: the same, in the order of the unique index.
        stored: how many rows there are.
        rows: how many of them need not be kept.
    """

    context: Mapping[str, str | bool]
    key: Key
    stored: int
    rows: int


class Pruner(ABC):
    """Deletes the rows of a collection that need not be kept, in one database.

    Rows count as old by when they were last written. Where ``SlotSpec.ended`` names states, rows in any other state are
    kept however old they are. An SQLite file that can't be opened makes each method raise ``ConfigError``.
    """

    #: Whether writes do it in the background; otherwise only the command does.
    is_automatic: bool = True

    def __init__(self, spec: SlotSpec) -> None:
        self.spec: SlotSpec = spec
        #: Rows that were written since the last look, by context; and the contexts that are being looked at.
        self._written: dict[Key, int] = {}
        self._busy: set[Key] = set()

    def begin(self, context: Key, rows: int, retention: Retention) -> bool:
        """Take note that rows of a context were written, and return whether it is time to prune it.

        It is at the first write of a process, too, so that rows of processes that write little are deleted as well.
        The caller prunes, and then calls :meth:`end`.
        """
        if not self.is_automatic:
            return False
        step = max(_ROWS, (retention.rows or 0) // _ROWS)
        written = self._written.get(context, step) + rows
        is_due = written >= step and context not in self._busy
        self._written[context] = 0 if is_due else written
        if is_due:
            self._busy.add(context)
        return is_due

    def end(self, context: Key) -> None:
        """Take note that a context was pruned, or could not be."""
        self._busy.discard(context)

    @abstractmethod
    async def survey(self, retention: Retention) -> Sequence[Prunable]:
        """Return how many rows of each context need not be kept, in the order of the contexts. Nothing is changed.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """

    @abstractmethod
    async def prune(self, context: Key, retention: Retention, limit: int) -> tuple[int, list[Key]]:
        """Delete rows that need not be kept, the oldest ones first.

        Args:
            context: their context.
            retention: what is kept of it.
            limit: how many rows to delete at most.

        Returns:
            How many were deleted, and the keys that caches must forget.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """


class NoPruner(Pruner):
    """Of a store that has no rows."""

    is_automatic = False

    async def survey(self, retention: Retention) -> Sequence[Prunable]:
        return ()

    async def prune(self, context: Key, retention: Retention, limit: int) -> tuple[int, list[Key]]:
        return 0, []

"""What a store without versions answers about the past."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from backtest_mongo.core.history import VersionStore, find_row_time
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import Document

__all__ = ["NoHistory"]


class NoHistory:
    """The methods of ``Store`` that are about versions, for stores that keep none."""

    _spec: SlotSpec

    @property
    def has_history(self) -> bool:
        """Whether versions of the rows are kept."""
        return False

    @property
    def versions(self) -> VersionStore:
        """Raise, as there are none."""
        raise AttributeError(f"{self._spec.name} keeps no versions")

    @abstractmethod
    async def find_many(self, keys: Sequence[Key]) -> list[Document | None]: ...

    async def find_at(self, keys: Sequence[Key], until: int) -> list[Document | None]:
        """Return the rows that are not later than a time; what those that are later were then is not known."""
        found: list[Document | None] = []
        for document in await self.find_many(keys):
            time = None if document is None else find_row_time(self._spec, document)
            found.append(None if time is not None and time > until else document)
        return found

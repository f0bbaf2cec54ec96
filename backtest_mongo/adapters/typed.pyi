"""The generic class of each slot, whose payloads are objects of a model.

Written by tools/stubs.py from the slot table: change the table, not this file.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, overload

from backtest_mongo.adapters.shapes import (
    TypedAdapter,
    TypedBucketAdapter,
    TypedCollectionAdapter,
    TypedDocumentAdapter,
    TypedEntryAdapter,
)
from backtest_mongo.core.payload_models import PayloadModel
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import (
    Context,
    Version,
    Versioned,
    When,
)

__all__ = [
    "TYPED_ADAPTERS",
    "TypedBreakevenAdapter",
    "TypedDictionaryAdapter",
    "TypedIntervalAdapter",
    "TypedLogAdapter",
    "TypedMeasureAdapter",
    "TypedMemoryAdapter",
    "TypedNotificationAdapter",
    "TypedPartialAdapter",
    "TypedRecentAdapter",
    "TypedRiskAdapter",
    "TypedScheduleAdapter",
    "TypedSessionAdapter",
    "TypedSignalAdapter",
    "TypedStateAdapter",
    "TypedStorageAdapter",
    "TypedStrategyAdapter",
]

_M = TypeVar("_M")

TYPED_ADAPTERS: dict[str, type[TypedAdapter[Any]]]

def bind_to_model(implementation: Any, payloads: PayloadModel, spec: SlotSpec) -> type[TypedAdapter[Any]]: ...

class TypedSignalAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``signal`` slot with a model: a :class:`~backtest_mongo.SignalAdapter` of its objects."""

    @overload
    async def read_signal_data(self, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    async def read_signal_data(self, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    async def read_signal_data(self, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    async def write_signal_data(
        self, row: _M | None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, _M | None]]) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedScheduleAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``schedule`` slot with a model: a :class:`~backtest_mongo.ScheduleAdapter` of its objects."""

    @overload
    async def read_schedule_data(self, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    async def read_schedule_data(self, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    async def read_schedule_data(self, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    async def write_schedule_data(
        self, row: _M | None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, _M | None]]) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedStrategyAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``strategy`` slot with a model: a :class:`~backtest_mongo.StrategyAdapter` of its objects."""

    @overload
    async def read_strategy_data(self, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    async def read_strategy_data(self, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    async def read_strategy_data(self, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    async def write_strategy_data(
        self, row: _M | None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, _M | None]]) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedRiskAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``risk`` slot with a model: a :class:`~backtest_mongo.RiskAdapter` of its objects."""

    @overload
    async def read_position_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> list[_M]:
        """Return what is stored for this context."""
    @overload
    async def read_position_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[list[_M]]:
        """Return what is stored for this context."""
    @overload
    async def read_position_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[list[_M]] | list[_M]:
        """Return what is stored for this context."""
    async def write_position_data(
        self,
        positions: Sequence[_M],
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``positions`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[list[_M]]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Sequence[_M]]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedPartialAdapter(TypedEntryAdapter[_M], Generic[_M]):
    """The ``partial`` slot with a model: a :class:`~backtest_mongo.PartialAdapter` of its objects."""

    @overload
    async def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``signal_id``."""
    @overload
    async def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``signal_id``."""
    @overload
    async def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``signal_id``."""
    async def write_partial_data(
        self,
        data: _M,
        signal_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored."""

class TypedBreakevenAdapter(TypedEntryAdapter[_M], Generic[_M]):
    """The ``breakeven`` slot with a model: a :class:`~backtest_mongo.BreakevenAdapter` of its objects."""

    @overload
    async def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``signal_id``."""
    @overload
    async def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``signal_id``."""
    @overload
    async def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``signal_id``."""
    async def write_breakeven_data(
        self,
        data: _M,
        signal_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored."""

class TypedStorageAdapter(TypedCollectionAdapter[_M], Generic[_M]):
    """The ``storage`` slot with a model: a :class:`~backtest_mongo.StorageAdapter` of its objects."""

    async def read_storage_data(
        self,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[_M]:
        """Return every row, however many there are."""
    async def write_storage_data(self, signals: Sequence[_M]) -> None:
        """Store each of ``signals`` under its own ``id``; rows with other ids stay as they are."""

class TypedNotificationAdapter(TypedCollectionAdapter[_M], Generic[_M]):
    """The ``notification`` slot with a model: a :class:`~backtest_mongo.NotificationAdapter` of its objects."""

    async def read_notification_data(
        self,
        limit: int = 200,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[_M]:
        """Return the newest rows: those whose first write came last."""
    async def write_notification_data(self, notifications: Sequence[_M]) -> None:
        """Store each of ``notifications`` under its own ``id``; rows with other ids stay as they are."""

class TypedLogAdapter(TypedCollectionAdapter[_M], Generic[_M]):
    """The ``log`` slot with a model: a :class:`~backtest_mongo.LogAdapter` of its objects."""

    async def read_log_data(
        self,
        limit: int = 200,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[_M]:
        """Return the newest rows: those whose first write came last."""
    async def write_log_data(self, entries: Sequence[_M]) -> None:
        """Store each of ``entries`` under its own ``id``; rows with other ids stay as they are."""

class TypedMeasureAdapter(TypedBucketAdapter[_M], Generic[_M]):
    """The ``measure`` slot with a model: a :class:`~backtest_mongo.MeasureAdapter` of its objects."""

    @overload
    async def read_measure_data(self, key: str, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for ``key``."""
    @overload
    async def read_measure_data(self, key: str, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for ``key``."""
    @overload
    async def read_measure_data(self, key: str, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``key``."""
    async def write_measure_data(
        self, data: _M, key: str, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back."""
    async def remove_measure_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing."""
    def list_measure_data(self, *, prefix: str = "") -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order."""
    def range_measure_data(
        self, first: str | None = None, last: str | None = None, *, newest_first: bool = False, prefix: str = ""
    ) -> AsyncIterator[tuple[str, _M]]:
        """Iterate over ``(key, payload)`` of the rows from ``first`` to ``last``, in the order of the keys."""
    async def newest_measure_data(self, limit: int, *, prefix: str = "") -> list[tuple[str, _M]]:
        """Return ``(key, payload)`` of the rows with the largest keys, by code points, removed rows left out."""

class TypedIntervalAdapter(TypedBucketAdapter[_M], Generic[_M]):
    """The ``interval`` slot with a model: a :class:`~backtest_mongo.IntervalAdapter` of its objects."""

    @overload
    async def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``key``."""
    @overload
    async def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``key``."""
    @overload
    async def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``key``."""
    async def write_interval_data(
        self, data: _M, key: str, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back."""
    async def remove_interval_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing."""
    def list_interval_data(self, when: When | None = None, *, prefix: str = "") -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order."""
    def range_interval_data(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        newest_first: bool = False,
        prefix: str = "",
        when: When | None = None,
    ) -> AsyncIterator[tuple[str, _M]]:
        """Iterate over ``(key, payload)`` of the rows from ``first`` to ``last``, in the order of the keys."""
    async def newest_interval_data(
        self, limit: int, *, prefix: str = "", when: When | None = None
    ) -> list[tuple[str, _M]]:
        """Return ``(key, payload)`` of the rows with the largest keys, by code points, removed rows left out."""

class TypedMemoryAdapter(TypedBucketAdapter[_M], Generic[_M]):
    """The ``memory`` slot with a model: a :class:`~backtest_mongo.MemoryAdapter` of its objects."""

    @overload
    async def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``memory_id``."""
    @overload
    async def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``memory_id``."""
    @overload
    async def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``memory_id``."""
    async def write_memory_data(
        self,
        data: _M,
        memory_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``memory_id``, in place of what was stored; a removed row comes back."""
    async def remove_memory_data(self, memory_id: str) -> None:
        """Mark the row of ``memory_id`` as removed, and keep its document. Removing an absent row does nothing."""
    def list_memory_data(self, when: When | None = None, *, prefix: str = "") -> AsyncIterator[tuple[str, _M]]:
        """Iterate over ``(memory_id, payload)`` of every row that is not removed, in ascending order of the keys."""
    async def has_memory_data(self, memory_id: str) -> bool:
        """Check whether ``memory_id`` was ever written; a removed row counts."""
    def range_memory_data(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        newest_first: bool = False,
        prefix: str = "",
        when: When | None = None,
    ) -> AsyncIterator[tuple[str, _M]]:
        """Iterate over ``(memory_id, payload)`` of the rows from ``first`` to ``last``, in the order of the keys."""
    async def newest_memory_data(
        self, limit: int, *, prefix: str = "", when: When | None = None
    ) -> list[tuple[str, _M]]:
        """Return ``(memory_id, payload)`` of the rows with the largest keys, by code points, removed rows left out."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class TypedRecentAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``recent`` slot with a model: a :class:`~backtest_mongo.RecentAdapter` of its objects."""

    @overload
    async def read_recent_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    async def read_recent_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    async def read_recent_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    async def write_recent_data(
        self, row: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedStateAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``state`` slot with a model: a :class:`~backtest_mongo.StateAdapter` of its objects."""

    @overload
    async def read_state_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    async def read_state_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    async def read_state_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    async def write_state_data(
        self, data: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class TypedDictionaryAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``dictionary`` slot with a model: a :class:`~backtest_mongo.DictionaryAdapter` of its objects."""

    @overload
    async def read_dictionary_data(
        self, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for this context."""
    @overload
    async def read_dictionary_data(
        self, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    async def read_dictionary_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    async def write_dictionary_data(
        self, data: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class TypedSessionAdapter(TypedDocumentAdapter[_M], Generic[_M]):
    """The ``session`` slot with a model: a :class:`~backtest_mongo.SessionAdapter` of its objects."""

    @overload
    async def read_session_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    async def read_session_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    async def read_session_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    async def write_session_data(
        self, data: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

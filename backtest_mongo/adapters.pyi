"""The adapter classes, as the slot table gives them.

Written by tools/stubs.py from the slot table: change the table, not this file.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from backtest_mongo.shapes import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    DocumentAdapter,
    EntryAdapter,
    SeriesAdapter,
)
from backtest_mongo.types import Candle, Context, Payload, Rows, When

__all__ = [
    "ADAPTERS",
    "BreakevenAdapter",
    "CandleAdapter",
    "DictionaryAdapter",
    "IntervalAdapter",
    "LogAdapter",
    "MeasureAdapter",
    "MemoryAdapter",
    "NotificationAdapter",
    "PartialAdapter",
    "RecentAdapter",
    "RiskAdapter",
    "ScheduleAdapter",
    "SessionAdapter",
    "SignalAdapter",
    "StateAdapter",
    "StorageAdapter",
    "StrategyAdapter",
]

ADAPTERS: dict[str, type[Adapter]]

class CandleAdapter(SeriesAdapter):
    """The ``candle`` slot: candles, the prices of a market by the interval.

    ::

        candle = CandleAdapter(symbol, interval, exchange_name)
        await candle.write_candles_data(candles)
        candles = await candle.read_candles_data(limit, since_timestamp)

    Rows are in the collection ``candle-items``, unique by ``exchangeName``, ``symbol``, ``interval``,
    ``timestamp``. The first write of a row wins for ever.
    """

    def __init__(self, symbol: str, interval: str, exchange_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_candles_data(
        self, limit: int, since_timestamp: When, until_timestamp: When | None = None
    ) -> list[Candle] | None:
        """Return ``limit`` rows from ``since_timestamp`` on, one an interval, or ``None`` if any is missing.

        One indexed range query. Times are open times, in milliseconds since the epoch or as aware datetimes. The end
        follows from ``limit``; where ``until_timestamp`` comes before the last row, the answer is ``None``.
        """
    async def write_candles_data(self, candles: Rows) -> int:
        """Store ``candles`` that are not stored yet, and return how many were new.

        The first write of a row wins for ever: a stored row never changes. Rows whose interval has not ended yet are
        skipped. All are checked before any is sent. ``candles`` may come in any order.
        """

class SignalAdapter(DocumentAdapter):
    """The ``signal`` slot: the signal that a strategy has open on a symbol.

    ::

        signal = SignalAdapter(symbol, strategy_name, exchange_name)
        await signal.write_signal_data(row)
        row = await signal.read_signal_data()

    Rows are in the collection ``signal-items``, unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_signal_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``."""
    async def write_signal_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored. ``None`` clears it.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
        """Store many ``(context, row)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

class ScheduleAdapter(DocumentAdapter):
    """The ``schedule`` slot: the signal that waits for its price.

    ::

        schedule = ScheduleAdapter(symbol, strategy_name, exchange_name)
        await schedule.write_schedule_data(row)
        row = await schedule.read_schedule_data()

    Rows are in the collection ``schedule-items``, unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_schedule_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``."""
    async def write_schedule_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored. ``None`` clears it.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
        """Store many ``(context, row)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

class StrategyAdapter(DocumentAdapter):
    """The ``strategy`` slot: what a strategy keeps of itself on a symbol.

    ::

        strategy = StrategyAdapter(symbol, strategy_name, exchange_name)
        await strategy.write_strategy_data(row)
        row = await strategy.read_strategy_data()

    Rows are in the collection ``strategy-items``, unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_strategy_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``."""
    async def write_strategy_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored. ``None`` clears it.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
        """Store many ``(context, row)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

class RiskAdapter(DocumentAdapter):
    """The ``risk`` slot: the positions that are open under a risk profile.

    ::

        risk = RiskAdapter(risk_name, exchange_name)
        await risk.write_position_data(positions, when)
        positions = await risk.read_position_data()

    Rows are in the collection ``risk-items``, unique by ``riskName``, ``exchangeName``. Writes carry ``when``, the
    simulation time, and reads given one never see a later row.
    """

    def __init__(self, risk_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_position_data(self, when: When | None = None) -> list[Any]:
        """Return what is stored for this context, or an empty list.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_position_data(self, positions: Sequence[Any], when: When) -> None:
        """Store ``positions`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[list[Any]]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Sequence[Any]]], when: When) -> None:
        """Store many ``(context, positions)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

class PartialAdapter(EntryAdapter):
    """The ``partial`` slot: the levels of profit and loss that a signal has reached.

    ::

        partial = PartialAdapter(symbol, strategy_name, exchange_name)
        await partial.write_partial_data(data, signal_id, when)
        data = await partial.read_partial_data(signal_id)

    Rows are in the collection ``partial-items``, unique by ``symbol``, ``strategyName``, ``exchangeName``,
    ``signalId``. Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_partial_data(self, signal_id: str, when: When | None = None) -> dict[str, Any]:
        """Return what is stored for ``signal_id``, or an empty dict.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_partial_data(self, data: Payload, signal_id: str, when: When) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class BreakevenAdapter(EntryAdapter):
    """The ``breakeven`` slot: whether a signal has reached breakeven.

    ::

        breakeven = BreakevenAdapter(symbol, strategy_name, exchange_name)
        await breakeven.write_breakeven_data(data, signal_id, when)
        data = await breakeven.read_breakeven_data(signal_id)

    Rows are in the collection ``breakeven-items``, unique by ``symbol``, ``strategyName``, ``exchangeName``,
    ``signalId``. Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_breakeven_data(self, signal_id: str, when: When | None = None) -> dict[str, Any]:
        """Return what is stored for ``signal_id``, or an empty dict.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_breakeven_data(self, data: Payload, signal_id: str, when: When) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class StorageAdapter(CollectionAdapter):
    """The ``storage`` slot: signals by their ids, closed ones as well.

    ::

        storage = StorageAdapter(backtest)
        await storage.write_storage_data(signals)
        signals = await storage.read_storage_data()

    Rows are in the collection ``storage-items``, unique by ``backtest``, ``signalId``.
    """

    def __init__(self, backtest: bool) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_storage_data(self) -> list[dict[str, Any]]:
        """Return every row, however many there are, in the order of their ids."""
    async def write_storage_data(self, signals: Rows) -> None:
        """Store each of ``signals`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent. Each row is one atomic upsert, and all travel in one batch, in their order.
        """

class NotificationAdapter(CollectionAdapter):
    """The ``notification`` slot: notifications to whoever watches the engine.

    ::

        notification = NotificationAdapter(backtest)
        await notification.write_notification_data(notifications)
        notifications = await notification.read_notification_data()

    Rows are in the collection ``notification-items``, unique by ``backtest``, ``notificationId``.
    """

    def __init__(self, backtest: bool) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_notification_data(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the ``limit`` rows that were first written last, oldest first."""
    async def write_notification_data(self, notifications: Rows) -> None:
        """Store each of ``notifications`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent. Each row is one atomic upsert, and all travel in one batch, in their order.
        """

class LogAdapter(CollectionAdapter):
    """The ``log`` slot: the engine's log.

    ::

        log = LogAdapter()
        await log.write_log_data(entries)
        entries = await log.read_log_data()

    Rows are in the collection ``log-items``, unique by ``entryId``.
    """

    def __init__(self) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_log_data(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the ``limit`` rows that were first written last, oldest first."""
    async def write_log_data(self, entries: Rows) -> None:
        """Store each of ``entries`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent. Each row is one atomic upsert, and all travel in one batch, in their order.
        """

class MeasureAdapter(BucketAdapter):
    """The ``measure`` slot: answers from outside, such as an API's, kept as a cache.

    ::

        measure = MeasureAdapter(bucket)
        await measure.write_measure_data(data, key)
        data = await measure.read_measure_data(key)

    Rows are in the collection ``measure-items``, unique by ``bucket``, ``entryKey``. Removed rows are marked and
    kept.
    """

    def __init__(self, bucket: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_measure_data(self, key: str) -> dict[str, Any] | None:
        """Return what is stored for ``key``, or ``None``."""
    async def write_measure_data(self, data: Payload, key: str, when: When | None = None) -> None:
        """Store ``data`` for ``key``; a removed row comes back. ``when`` is checked and not stored: answers from outside have no simulation time.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    async def remove_measure_data(self, key: str) -> None:
        """Mark ``key`` as removed and keep its document. Removing what is absent does nothing."""
    def list_measure_data(self) -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in the order of the keys."""

class IntervalAdapter(BucketAdapter):
    """The ``interval`` slot: what is done once an interval, by its key.

    ::

        interval = IntervalAdapter(bucket)
        await interval.write_interval_data(data, key, when)
        data = await interval.read_interval_data(key)

    Rows are in the collection ``interval-items``, unique by ``bucket``, ``entryKey``. Writes carry ``when``, the
    simulation time, and reads given one never see a later row. Removed rows are marked and kept.
    """

    def __init__(self, bucket: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_interval_data(self, key: str, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for ``key``, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_interval_data(self, data: Payload, key: str, when: When) -> None:
        """Store ``data`` for ``key``; a removed row comes back.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    async def remove_interval_data(self, key: str) -> None:
        """Mark ``key`` as removed and keep its document. Removing what is absent does nothing."""
    def list_interval_data(self, when: When | None = None) -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in the order of the keys.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """

class MemoryAdapter(BucketAdapter):
    """The ``memory`` slot: notes on a signal, each under an id.

    ::

        memory = MemoryAdapter(signal_id, bucket_name)
        await memory.write_memory_data(data, memory_id, when)
        data = await memory.read_memory_data(memory_id)

    Rows are in the collection ``memory-items``, unique by ``signalId``, ``bucketName``, ``memoryId``. Writes carry
    ``when``, the simulation time, and reads given one never see a later row. Removed rows are marked and kept.
    """

    def __init__(self, signal_id: str, bucket_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_memory_data(self, memory_id: str, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for ``memory_id``, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_memory_data(self, data: Payload, memory_id: str, when: When) -> None:
        """Store ``data`` for ``memory_id``; a removed row comes back.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    async def remove_memory_data(self, memory_id: str) -> None:
        """Mark ``memory_id`` as removed and keep its document. Removing what is absent does nothing."""
    def list_memory_data(self, when: When | None = None) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over the ``(memory_id, payload)`` of every row that is not removed, in the order of the keys.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def has_memory_data(self, memory_id: str) -> bool:
        """Tell whether ``memory_id`` was ever written; a removed row counts."""
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""

class RecentAdapter(DocumentAdapter):
    """The ``recent`` slot: the latest signal of a strategy on a symbol.

    ::

        recent = RecentAdapter(symbol, strategy_name, exchange_name, frame_name, backtest)
        await recent.write_recent_data(row, when)
        row = await recent.read_recent_data()

    Rows are in the collection ``recent-items``, unique by ``symbol``, ``strategyName``, ``exchangeName``,
    ``frameName``, ``backtest``. Writes carry ``when``, the simulation time, and reads given one never see a later
    row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str, frame_name: str, backtest: bool) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_recent_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_recent_data(self, row: Payload, when: When) -> None:
        """Store ``row`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When) -> None:
        """Store many ``(context, row)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

class StateAdapter(DocumentAdapter):
    """The ``state`` slot: a value that belongs to a signal.

    ::

        state = StateAdapter(signal_id, bucket_name)
        await state.write_state_data(data, when)
        data = await state.read_state_data()

    Rows are in the collection ``state-items``, unique by ``signalId``, ``bucketName``. Writes carry ``when``, the
    simulation time, and reads given one never see a later row.
    """

    def __init__(self, signal_id: str, bucket_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_state_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_state_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When) -> None:
        """Store many ``(context, data)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

class DictionaryAdapter(DocumentAdapter):
    """The ``dictionary`` slot: a dictionary that belongs to a signal.

    ::

        dictionary = DictionaryAdapter(signal_id, dictionary_name)
        await dictionary.write_dictionary_data(data, when)
        data = await dictionary.read_dictionary_data()

    Rows are in the collection ``dictionary-items``, unique by ``signalId``, ``dictionaryName``. Writes carry
    ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, signal_id: str, dictionary_name: str) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_dictionary_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_dictionary_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When) -> None:
        """Store many ``(context, data)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

class SessionAdapter(DocumentAdapter):
    """The ``session`` slot: what a run of a strategy keeps from bar to bar.

    ::

        session = SessionAdapter(strategy_name, exchange_name, frame_name, symbol, backtest)
        await session.write_session_data(data, when)
        data = await session.read_session_data()

    Rows are in the collection ``session-items``, unique by ``strategyName``, ``exchangeName``, ``frameName``,
    ``symbol``, ``backtest``. Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(
        self, strategy_name: str, exchange_name: str, frame_name: str, symbol: str = "", backtest: bool = False
    ) -> None:
        """Make an adapter for this context. Opens no connection and needs no event loop."""
    async def read_session_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    async def write_session_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for each of ``contexts``, in their order, in one round trip.

        A context is the constructor's arguments: a sequence in their order, or a mapping by name.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When) -> None:
        """Store many ``(context, data)`` pairs in one round trip.

        All are checked before any is sent. Each is one atomic upsert, and one that the server refuses keeps no other
        from being stored: the first such error is raised at the end.
        """

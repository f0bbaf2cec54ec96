"""What an implementation of each slot must have.

Written by tools/stubs.py from the slot table: change the table, not this file.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

from backtest_mongo.adapters import (
    BreakevenAdapter,
    CandleAdapter,
    DictionaryAdapter,
    EquityAdapter,
    FundingAdapter,
    IntervalAdapter,
    LogAdapter,
    MeasureAdapter,
    MemoryAdapter,
    NotificationAdapter,
    PartialAdapter,
    QuoteAdapter,
    RecentAdapter,
    RiskAdapter,
    ScheduleAdapter,
    SessionAdapter,
    SignalAdapter,
    StateAdapter,
    StorageAdapter,
    StrategyAdapter,
    TickAdapter,
    TradeAdapter,
)
from backtest_mongo.adapters.shapes import (
    Adapter,
)
from backtest_mongo.adapters.typed import (
    TypedBreakevenAdapter,
    TypedDictionaryAdapter,
    TypedIntervalAdapter,
    TypedLogAdapter,
    TypedMeasureAdapter,
    TypedMemoryAdapter,
    TypedNotificationAdapter,
    TypedPartialAdapter,
    TypedRecentAdapter,
    TypedRiskAdapter,
    TypedScheduleAdapter,
    TypedSessionAdapter,
    TypedSignalAdapter,
    TypedStateAdapter,
    TypedStorageAdapter,
    TypedStrategyAdapter,
)
from backtest_mongo.core.payload_models import PayloadModel, Upgrade
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import (
    Candle,
    Interval,
    Payload,
    Rows,
    SeriesTime,
    When,
)

__all__ = [
    "CONTRACTS",
    "BreakevenContract",
    "CandleContract",
    "DictionaryContract",
    "IntervalContract",
    "LogContract",
    "MeasureContract",
    "MemoryContract",
    "NotificationContract",
    "PartialContract",
    "RecentContract",
    "RiskContract",
    "ScheduleContract",
    "SessionContract",
    "SignalContract",
    "StateContract",
    "StorageContract",
    "StrategyContract",
]

_M = TypeVar("_M")

CONTRACTS: dict[str, type]

def list_contract_methods(adapter: type[Adapter]) -> dict[str, Callable[..., Any]]: ...
def make_contract(adapter: type[Adapter]) -> type: ...
def make_factory(spec: SlotSpec) -> Callable[..., Any]: ...
def has_model_arguments(spec: SlotSpec) -> bool: ...

class CandleContract(Protocol):
    """What an implementation of the ``candle`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_candles_data(
        self, limit: int, since_timestamp: SeriesTime, until_timestamp: SeriesTime | None = None
    ) -> list[Candle] | None:
        """Return ``limit`` candles from ``since_timestamp`` on, one per interval.

        Args:
            limit: how many candles, 1 or more.
            since_timestamp: the open time of the first one: milliseconds since the epoch, an aware ``datetime``, or ISO
                8601, which is UTC if it has no offset.
            until_timestamp: likewise; the result is ``None`` if the last candle opens after it.

        Returns:
            The candles in the order of time, or ``None`` if any of them is missing.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or a time is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_candles_data(self, candles: Sequence[Candle]) -> int:
        """Store those of ``candles`` that are not stored yet.

        The first write of a candle wins: a stored one never changes. Candles whose interval has not ended are skipped.
        All are checked before any is sent.

        Args:
            candles: a list of candles in any order. ``timestamp`` is the open time in milliseconds since the epoch.

        Returns:
            How many were new.

        Raises:
            InputError: one of them can't be a candle (its time is outside the years 1 to 9999, ``high`` is below
                ``low``, ``open`` or ``close`` is outside the two, a number is not finite, or the volume is negative),
                or their times are closer together than the interval allows. Nothing was stored.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class SignalContract(Protocol):
    """What an implementation of the ``signal`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_signal_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_signal_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds, or ``None`` to clear what is stored.

        Raises:
            InputError: ``row`` can't be stored.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class ScheduleContract(Protocol):
    """What an implementation of the ``schedule`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_schedule_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_schedule_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds, or ``None`` to clear what is stored.

        Raises:
            InputError: ``row`` can't be stored.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class StrategyContract(Protocol):
    """What an implementation of the ``strategy`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_strategy_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_strategy_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds, or ``None`` to clear what is stored.

        Raises:
            InputError: ``row`` can't be stored.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class RiskContract(Protocol):
    """What an implementation of the ``risk`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_position_data(self, when: When | None = None) -> list[Any]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or an empty list if nothing is stored.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_position_data(self, positions: Sequence[Any], when: When) -> None:
        """Store ``positions`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            positions: a list of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``positions`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class PartialContract(Protocol):
    """What an implementation of the ``partial`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_partial_data(self, signal_id: str, when: When | None = None) -> dict[str, Any]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_partial_data(self, data: Payload, signal_id: str, when: When) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            signal_id: the entry's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``data`` can't be stored, or ``signal_id`` can't be a
                key, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class BreakevenContract(Protocol):
    """What an implementation of the ``breakeven`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_breakeven_data(self, signal_id: str, when: When | None = None) -> dict[str, Any]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_breakeven_data(self, data: Payload, signal_id: str, when: When) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            signal_id: the entry's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``data`` can't be stored, or ``signal_id`` can't be a
                key, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class StorageContract(Protocol):
    """What an implementation of the ``storage`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_storage_data(self) -> list[dict[str, Any]]:
        """Return every row, however many there are.

        Returns:
            The rows in the order of their ids.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_storage_data(self, signals: Rows) -> None:
        """Store each of ``signals`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent, and sent in their order, in one batch. Each row is one atomic upsert; all of
        them are stored together only within a transaction, under a lease of this context, and on SQLite.

        Args:
            signals: a list of dicts of whatever BSON holds, each with an ``id``. Of rows with the same ``id`` the last
                one is stored.

        Raises:
            InputError: one of ``signals`` has no ``id`` or can't be stored. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class NotificationContract(Protocol):
    """What an implementation of the ``notification`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_notification_data(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the newest rows: those whose first write came last.

        Args:
            limit: how many rows, 1 or more.

        Returns:
            ``limit`` rows, or all if there are fewer, oldest first.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_notification_data(self, notifications: Rows) -> None:
        """Store each of ``notifications`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent, and sent in their order, in one batch. Each row is one atomic upsert; all of
        them are stored together only within a transaction, under a lease of this context, and on SQLite.

        Args:
            notifications: a list of dicts of whatever BSON holds, each with an ``id``. Of rows with the same ``id`` the last
                one is stored.

        Raises:
            InputError: one of ``notifications`` has no ``id`` or can't be stored. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class LogContract(Protocol):
    """What an implementation of the ``log`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_log_data(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the newest rows: those whose first write came last.

        Args:
            limit: how many rows, 1 or more.

        Returns:
            ``limit`` rows, or all if there are fewer, oldest first.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_log_data(self, entries: Rows) -> None:
        """Store each of ``entries`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent, and sent in their order, in one batch. Each row is one atomic upsert; all of
        them are stored together only within a transaction, under a lease of this context, and on SQLite.

        Args:
            entries: a list of dicts of whatever BSON holds, each with an ``id``. Of rows with the same ``id`` the last
                one is stored.

        Raises:
            InputError: one of ``entries`` has no ``id`` or can't be stored. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class MeasureContract(Protocol):
    """What an implementation of the ``measure`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_measure_data(self, key: str) -> dict[str, Any] | None:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_measure_data(self, data: Payload, key: str, when: When | None = None) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            key: the row's key.
            when: checked and not stored, as answers from outside have no simulation time.

        Raises:
            InputError: ``data`` can't be stored, ``key`` can't be a key, or
                ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def remove_measure_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing.

        Args:
            key: the row's key.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    def list_measure_data(self) -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order.

        Returns:
            An async iterator of keys. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class IntervalContract(Protocol):
    """What an implementation of the ``interval`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_interval_data(self, key: str, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.

        Raises:
            InputError: ``key`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_interval_data(self, data: Payload, key: str, when: When) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            key: the row's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``data`` can't be stored, ``key`` can't be a key, or
                ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def remove_interval_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing.

        Args:
            key: the row's key.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    def list_interval_data(self, when: When | None = None) -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            An async iterator of keys. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class MemoryContract(Protocol):
    """What an implementation of the ``memory`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_memory_data(self, memory_id: str, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for ``memory_id``.

        Args:
            memory_id: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.

        Raises:
            InputError: ``memory_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_memory_data(self, data: Payload, memory_id: str, when: When) -> None:
        """Store ``data`` for ``memory_id``, in place of what was stored; a removed row comes back.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            memory_id: the row's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``data`` can't be stored, ``memory_id`` can't be a key, or
                ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def remove_memory_data(self, memory_id: str) -> None:
        """Mark the row of ``memory_id`` as removed, and keep its document. Removing an absent row does nothing.

        Args:
            memory_id: the row's key.

        Raises:
            InputError: ``memory_id`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    def list_memory_data(self, when: When | None = None) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``(memory_id, payload)`` of every row that is not removed, in ascending order of the keys.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            An async iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def has_memory_data(self, memory_id: str) -> bool:
        """Check whether ``memory_id`` was ever written; a removed row counts.

        Args:
            memory_id: the row's key.

        Returns:
            ``True`` if there is a document for it.

        Raises:
            InputError: ``memory_id`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class RecentContract(Protocol):
    """What an implementation of the ``recent`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_recent_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_recent_data(self, row: Payload, when: When) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``row`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class StateContract(Protocol):
    """What an implementation of the ``state`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_state_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_state_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``data`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class DictionaryContract(Protocol):
    """What an implementation of the ``dictionary`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_dictionary_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_dictionary_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``data`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class SessionContract(Protocol):
    """What an implementation of the ``session`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    @abstractmethod
    async def read_session_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    async def write_session_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: ``data`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @abstractmethod
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class SlotFactories:
    """The part of the registry that differs by slot: a method of each slot's name, and ``use()``."""

    def use(
        self,
        *,
        candle: Callable[[str, Interval, str], CandleContract] = ...,
        signal: Callable[[str, str, str], SignalContract] = ...,
        schedule: Callable[[str, str, str], ScheduleContract] = ...,
        strategy: Callable[[str, str, str], StrategyContract] = ...,
        risk: Callable[[str, str], RiskContract] = ...,
        partial: Callable[[str, str, str], PartialContract] = ...,
        breakeven: Callable[[str, str, str], BreakevenContract] = ...,
        storage: Callable[[bool], StorageContract] = ...,
        notification: Callable[[bool], NotificationContract] = ...,
        log: Callable[[], LogContract] = ...,
        measure: Callable[[str], MeasureContract] = ...,
        interval: Callable[[str], IntervalContract] = ...,
        memory: Callable[[str, str], MemoryContract] = ...,
        recent: Callable[[str, str, str, str, bool], RecentContract] = ...,
        state: Callable[[str, str], StateContract] = ...,
        dictionary: Callable[[str, str], DictionaryContract] = ...,
        session: Callable[[str, str, str, str, bool], SessionContract] = ...,
        **own: Callable[..., Any],
    ) -> None:
        """Replace the storage of slots by your own: ``persist.use(signal=MySignal)``.

        Objects that were made before are forgotten. Those that an implementation makes are kept, one per context, as
        they may hold state; they need not support weak references.

        Args:
            implementations: by slot, a class or any other callable. It takes the slot's context by position, and
                returns an object with the methods of the slot's contract, such as
                :class:`backtest_mongo.contracts.SignalContract`.

        Raises:
            ConfigError: there is no such slot, or a class lacks a method of the contract. Nothing is changed then.
        """
    def _use(self, implementations: Mapping[str, Callable[..., Any]]) -> None: ...
    def _get_instance(
        self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any], payloads: PayloadModel | None = None
    ) -> Any: ...
    def candle(self, symbol: str, interval: Interval, exchange_name: str) -> CandleAdapter:
        """Return what stores the ``candle`` slot, the candles of a market, by interval: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            interval: the length of a candle, from ``1s`` to ``1M``.
            exchange_name: the name of the exchange.

        Returns:
            A :class:`~backtest_mongo.CandleAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def signal(self, symbol: str, strategy_name: str, exchange_name: str, *, model: None = None) -> SignalAdapter:
        """Return what stores the ``signal`` slot, the signal that a strategy has open on a symbol: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.SignalAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedSignalAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def signal(
        self,
        symbol: str,
        strategy_name: str,
        exchange_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedSignalAdapter[_M]:
        """Return what stores the ``signal`` slot, the signal that a strategy has open on a symbol: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.SignalAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedSignalAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def schedule(self, symbol: str, strategy_name: str, exchange_name: str, *, model: None = None) -> ScheduleAdapter:
        """Return what stores the ``schedule`` slot, the signal that waits for its entry price: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.ScheduleAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedScheduleAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def schedule(
        self,
        symbol: str,
        strategy_name: str,
        exchange_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedScheduleAdapter[_M]:
        """Return what stores the ``schedule`` slot, the signal that waits for its entry price: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.ScheduleAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedScheduleAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def strategy(self, symbol: str, strategy_name: str, exchange_name: str, *, model: None = None) -> StrategyAdapter:
        """Return what stores the ``strategy`` slot, the state of a strategy on a symbol: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.StrategyAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedStrategyAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def strategy(
        self,
        symbol: str,
        strategy_name: str,
        exchange_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedStrategyAdapter[_M]:
        """Return what stores the ``strategy`` slot, the state of a strategy on a symbol: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.StrategyAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedStrategyAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def risk(self, risk_name: str, exchange_name: str, *, model: None = None) -> RiskAdapter:
        """Return what stores the ``risk`` slot, the open positions of a risk profile: one object per context.

        Args:
            risk_name: the name of the risk profile.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.RiskAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedRiskAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def risk(
        self,
        risk_name: str,
        exchange_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedRiskAdapter[_M]:
        """Return what stores the ``risk`` slot, the open positions of a risk profile: one object per context.

        Args:
            risk_name: the name of the risk profile.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.RiskAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedRiskAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def partial(self, symbol: str, strategy_name: str, exchange_name: str, *, model: None = None) -> PartialAdapter:
        """Return what stores the ``partial`` slot, the levels of profit and loss that a signal has reached: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.PartialAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedPartialAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def partial(
        self,
        symbol: str,
        strategy_name: str,
        exchange_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedPartialAdapter[_M]:
        """Return what stores the ``partial`` slot, the levels of profit and loss that a signal has reached: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.PartialAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedPartialAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def breakeven(self, symbol: str, strategy_name: str, exchange_name: str, *, model: None = None) -> BreakevenAdapter:
        """Return what stores the ``breakeven`` slot, whether a signal has reached breakeven: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.BreakevenAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedBreakevenAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def breakeven(
        self,
        symbol: str,
        strategy_name: str,
        exchange_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedBreakevenAdapter[_M]:
        """Return what stores the ``breakeven`` slot, whether a signal has reached breakeven: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.BreakevenAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedBreakevenAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def storage(self, backtest: bool, *, model: None = None) -> StorageAdapter:
        """Return what stores the ``storage`` slot, signals by id, closed ones included: one object per context.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.StorageAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedStorageAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def storage(
        self, backtest: bool, *, model: type[_M], upgrade: Upgrade | None = None, schema_version: int | None = None
    ) -> TypedStorageAdapter[_M]:
        """Return what stores the ``storage`` slot, signals by id, closed ones included: one object per context.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.StorageAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedStorageAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def notification(self, backtest: bool, *, model: None = None) -> NotificationAdapter:
        """Return what stores the ``notification`` slot, notifications for whoever watches the engine: one object per context.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.NotificationAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedNotificationAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def notification(
        self, backtest: bool, *, model: type[_M], upgrade: Upgrade | None = None, schema_version: int | None = None
    ) -> TypedNotificationAdapter[_M]:
        """Return what stores the ``notification`` slot, notifications for whoever watches the engine: one object per context.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.NotificationAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedNotificationAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def log(self, *, model: None = None) -> LogAdapter:
        """Return what stores the ``log`` slot, the engine's log: one object per context.

        Args:
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.LogAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedLogAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def log(
        self, *, model: type[_M], upgrade: Upgrade | None = None, schema_version: int | None = None
    ) -> TypedLogAdapter[_M]:
        """Return what stores the ``log`` slot, the engine's log: one object per context.

        Args:
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.LogAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedLogAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def measure(self, bucket: str, *, model: None = None) -> MeasureAdapter:
        """Return what stores the ``measure`` slot, responses from outside, such as an API's, kept as a cache: one object per context.

        Args:
            bucket: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.MeasureAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedMeasureAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def measure(
        self, bucket: str, *, model: type[_M], upgrade: Upgrade | None = None, schema_version: int | None = None
    ) -> TypedMeasureAdapter[_M]:
        """Return what stores the ``measure`` slot, responses from outside, such as an API's, kept as a cache: one object per context.

        Args:
            bucket: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.MeasureAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedMeasureAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def interval(self, bucket: str, *, model: None = None) -> IntervalAdapter:
        """Return what stores the ``interval`` slot, what is done once per interval, by key: one object per context.

        Args:
            bucket: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.IntervalAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedIntervalAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def interval(
        self, bucket: str, *, model: type[_M], upgrade: Upgrade | None = None, schema_version: int | None = None
    ) -> TypedIntervalAdapter[_M]:
        """Return what stores the ``interval`` slot, what is done once per interval, by key: one object per context.

        Args:
            bucket: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.IntervalAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedIntervalAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def memory(self, signal_id: str, bucket_name: str, *, model: None = None) -> MemoryAdapter:
        """Return what stores the ``memory`` slot, notes on a signal, each under an id: one object per context.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.MemoryAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedMemoryAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def memory(
        self,
        signal_id: str,
        bucket_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedMemoryAdapter[_M]:
        """Return what stores the ``memory`` slot, notes on a signal, each under an id: one object per context.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.MemoryAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedMemoryAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def recent(
        self,
        symbol: str,
        strategy_name: str,
        exchange_name: str,
        frame_name: str,
        backtest: bool,
        *,
        model: None = None,
    ) -> RecentAdapter:
        """Return what stores the ``recent`` slot, the latest signal of a strategy on a symbol: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.RecentAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedRecentAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def recent(
        self,
        symbol: str,
        strategy_name: str,
        exchange_name: str,
        frame_name: str,
        backtest: bool,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedRecentAdapter[_M]:
        """Return what stores the ``recent`` slot, the latest signal of a strategy on a symbol: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.RecentAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedRecentAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def state(self, signal_id: str, bucket_name: str, *, model: None = None) -> StateAdapter:
        """Return what stores the ``state`` slot, a value that belongs to a signal: one object per context.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.StateAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedStateAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def state(
        self,
        signal_id: str,
        bucket_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedStateAdapter[_M]:
        """Return what stores the ``state`` slot, a value that belongs to a signal: one object per context.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.StateAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedStateAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def dictionary(self, signal_id: str, dictionary_name: str, *, model: None = None) -> DictionaryAdapter:
        """Return what stores the ``dictionary`` slot, a dictionary that belongs to a signal: one object per context.

        Args:
            signal_id: the id of the signal.
            dictionary_name: the name of the dictionary.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.DictionaryAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedDictionaryAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def dictionary(
        self,
        signal_id: str,
        dictionary_name: str,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedDictionaryAdapter[_M]:
        """Return what stores the ``dictionary`` slot, a dictionary that belongs to a signal: one object per context.

        Args:
            signal_id: the id of the signal.
            dictionary_name: the name of the dictionary.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.DictionaryAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedDictionaryAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def session(
        self,
        strategy_name: str,
        exchange_name: str,
        frame_name: str,
        symbol: str = "",
        backtest: bool = False,
        *,
        model: None = None,
    ) -> SessionAdapter:
        """Return what stores the ``session`` slot, what a run of a strategy keeps from bar to bar: one object per context.

        Args:
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            symbol: the market's symbol, such as ``BTCUSDT``; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.SessionAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedSessionAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    @overload
    def session(
        self,
        strategy_name: str,
        exchange_name: str,
        frame_name: str,
        symbol: str = "",
        backtest: bool = False,
        *,
        model: type[_M],
        upgrade: Upgrade | None = None,
        schema_version: int | None = None,
    ) -> TypedSessionAdapter[_M]:
        """Return what stores the ``session`` slot, what a run of a strategy keeps from bar to bar: one object per context.

        Args:
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            symbol: the market's symbol, such as ``BTCUSDT``; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.
            model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
                ``msgspec.Struct``; ``None`` for payloads as they are stored.
            upgrade: what makes payloads of the model's version out of older ones: a function of a payload and its
                version, or a mapping from each older version to a function that returns a payload of the next.
            schema_version: the version of the payloads that the model describes; ``None`` is the one after those that
                ``upgrade`` names, 2 if it is one function, and 1 without it.

        Returns:
            A :class:`~backtest_mongo.SessionAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.
            With ``model`` a ``TypedSessionAdapter`` of ``backtest_mongo.typed``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, the model can't be used,
                or the slot has an implementation of your own, which takes no model.
        """
    def trade(self, symbol: str, exchange_name: str) -> TradeAdapter:
        """Return what stores the ``trade`` slot, the trades of a market, each with the exchange's id: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Returns:
            A :class:`~backtest_mongo.TradeAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    def quote(self, symbol: str, exchange_name: str) -> QuoteAdapter:
        """Return what stores the ``quote`` slot, the best bid and ask of a market, each with the exchange's number of the update: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Returns:
            A :class:`~backtest_mongo.QuoteAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    def tick(self, symbol: str, exchange_name: str) -> TickAdapter:
        """Return what stores the ``tick`` slot, snapshots of a market with five levels of depth, as vnpy has them: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Returns:
            A :class:`~backtest_mongo.TickAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    def funding(self, symbol: str, exchange_name: str) -> FundingAdapter:
        """Return what stores the ``funding`` slot, the funding rates of a perpetual: one object per context.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Returns:
            A :class:`~backtest_mongo.FundingAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    def equity(
        self, strategy_name: str, exchange_name: str, frame_name: str, symbol: str = "", backtest: bool = False
    ) -> EquityAdapter:
        """Return what stores the ``equity`` slot, the equity of a strategy from bar to bar: one object per context.

        Args:
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            symbol: the market's symbol, such as ``BTCUSDT``; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Returns:
            A :class:`~backtest_mongo.EquityAdapter`, or an object of the implementation that :meth:`use` was given,
            which has the contract's methods at least.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """

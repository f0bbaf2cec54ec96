"""What an implementation of each slot must have.

Written by tools/stubs.py from the slot table: change the table, not this file.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from backtest_mongo.shapes import (
    Adapter,
)
from backtest_mongo.specs import SlotSpec
from backtest_mongo.types import Candle, Payload, Rows, When

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
    "SlotFactories",
    "StateContract",
    "StorageContract",
    "StrategyContract",
    "contract",
    "contract_methods",
    "factory",
    "factory_doc",
]

CONTRACTS: dict[str, type]

def contract(adapter: type[Adapter]) -> type: ...
def contract_methods(adapter: type[Adapter]) -> dict[str, Callable[..., Any]]: ...
def factory(spec: SlotSpec) -> Callable[..., Any]: ...
def factory_doc(spec: SlotSpec) -> str: ...

class CandleContract(Protocol):
    """What an implementation of the ``candle`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_candles_data(
        self, limit: int, since_timestamp: When, until_timestamp: When | None = None
    ) -> list[Candle] | None:
        """Return ``limit`` rows from ``since_timestamp`` on, one an interval, or ``None`` if any is missing.

        One indexed range query. Times are open times, in milliseconds since the epoch or as aware datetimes. The end
        follows from ``limit``; where ``until_timestamp`` comes before the last row, the answer is ``None``.
        """
    @abstractmethod
    async def write_candles_data(self, candles: Rows) -> int:
        """Store ``candles`` that are not stored yet, and return how many were new.

        The first write of a row wins for ever: a stored row never changes. Rows whose interval has not ended yet are
        skipped. All are checked before any is sent. ``candles`` may come in any order.
        """

class SignalContract(Protocol):
    """What an implementation of the ``signal`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_signal_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``."""
    @abstractmethod
    async def write_signal_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored. ``None`` clears it.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class ScheduleContract(Protocol):
    """What an implementation of the ``schedule`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_schedule_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``."""
    @abstractmethod
    async def write_schedule_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored. ``None`` clears it.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class StrategyContract(Protocol):
    """What an implementation of the ``strategy`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_strategy_data(self) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``."""
    @abstractmethod
    async def write_strategy_data(self, row: Payload | None) -> None:
        """Store ``row`` for this context, in place of what was stored. ``None`` clears it.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class RiskContract(Protocol):
    """What an implementation of the ``risk`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_position_data(self, when: When | None = None) -> list[Any]:
        """Return what is stored for this context, or an empty list.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_position_data(self, positions: Sequence[Any], when: When) -> None:
        """Store ``positions`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class PartialContract(Protocol):
    """What an implementation of the ``partial`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_partial_data(self, signal_id: str, when: When | None = None) -> dict[str, Any]:
        """Return what is stored for ``signal_id``, or an empty dict.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_partial_data(self, data: Payload, signal_id: str, when: When) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class BreakevenContract(Protocol):
    """What an implementation of the ``breakeven`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_breakeven_data(self, signal_id: str, when: When | None = None) -> dict[str, Any]:
        """Return what is stored for ``signal_id``, or an empty dict.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_breakeven_data(self, data: Payload, signal_id: str, when: When) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class StorageContract(Protocol):
    """What an implementation of the ``storage`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_storage_data(self) -> list[dict[str, Any]]:
        """Return every row, however many there are, in the order of their ids."""
    @abstractmethod
    async def write_storage_data(self, signals: Rows) -> None:
        """Store each of ``signals`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent. Each row is one atomic upsert, and all travel in one batch, in their order.
        """

class NotificationContract(Protocol):
    """What an implementation of the ``notification`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_notification_data(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the ``limit`` rows that were first written last, oldest first."""
    @abstractmethod
    async def write_notification_data(self, notifications: Rows) -> None:
        """Store each of ``notifications`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent. Each row is one atomic upsert, and all travel in one batch, in their order.
        """

class LogContract(Protocol):
    """What an implementation of the ``log`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_log_data(self, limit: int = 200) -> list[dict[str, Any]]:
        """Return the ``limit`` rows that were first written last, oldest first."""
    @abstractmethod
    async def write_log_data(self, entries: Rows) -> None:
        """Store each of ``entries`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent. Each row is one atomic upsert, and all travel in one batch, in their order.
        """

class MeasureContract(Protocol):
    """What an implementation of the ``measure`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_measure_data(self, key: str) -> dict[str, Any] | None:
        """Return what is stored for ``key``, or ``None``."""
    @abstractmethod
    async def write_measure_data(self, data: Payload, key: str, when: When | None = None) -> None:
        """Store ``data`` for ``key``; a removed row comes back. ``when`` is checked and not stored: answers from outside have no simulation time.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @abstractmethod
    async def remove_measure_data(self, key: str) -> None:
        """Mark ``key`` as removed and keep its document. Removing what is absent does nothing."""
    @abstractmethod
    def list_measure_data(self) -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in the order of the keys."""

class IntervalContract(Protocol):
    """What an implementation of the ``interval`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_interval_data(self, key: str, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for ``key``, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_interval_data(self, data: Payload, key: str, when: When) -> None:
        """Store ``data`` for ``key``; a removed row comes back.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @abstractmethod
    async def remove_interval_data(self, key: str) -> None:
        """Mark ``key`` as removed and keep its document. Removing what is absent does nothing."""
    @abstractmethod
    def list_interval_data(self, when: When | None = None) -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in the order of the keys.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """

class MemoryContract(Protocol):
    """What an implementation of the ``memory`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_memory_data(self, memory_id: str, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for ``memory_id``, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_memory_data(self, data: Payload, memory_id: str, when: When) -> None:
        """Store ``data`` for ``memory_id``; a removed row comes back.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @abstractmethod
    async def remove_memory_data(self, memory_id: str) -> None:
        """Mark ``memory_id`` as removed and keep its document. Removing what is absent does nothing."""
    @abstractmethod
    def list_memory_data(self, when: When | None = None) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over the ``(memory_id, payload)`` of every row that is not removed, in the order of the keys.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def has_memory_data(self, memory_id: str) -> bool:
        """Tell whether ``memory_id`` was ever written; a removed row counts."""
    @abstractmethod
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""

class RecentContract(Protocol):
    """What an implementation of the ``recent`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_recent_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_recent_data(self, row: Payload, when: When) -> None:
        """Store ``row`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """

class StateContract(Protocol):
    """What an implementation of the ``state`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_state_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_state_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @abstractmethod
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""

class DictionaryContract(Protocol):
    """What an implementation of the ``dictionary`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_dictionary_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_dictionary_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @abstractmethod
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""

class SessionContract(Protocol):
    """What an implementation of the ``session`` slot must have."""

    @abstractmethod
    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
    @abstractmethod
    async def read_session_data(self, when: When | None = None) -> dict[str, Any] | None:
        """Return what is stored for this context, or ``None``.

        With ``when`` (milliseconds since the epoch, or an aware datetime) a row stored for a later simulation time is
        treated as if nothing were stored.
        """
    @abstractmethod
    async def write_session_data(self, data: Payload, when: When) -> None:
        """Store ``data`` for this context, in place of what was stored.

        One atomic upsert; when it returns, every reader in any process sees it, and the id cache knows the document.
        """
    @abstractmethod
    def dispose(self) -> None:
        """Forget the instance that the registry keeps for this context. Nothing stored is touched."""

class SlotFactories:
    """The part of the registry that differs by slot: a method of each slot's name, and ``use()``."""

    def use(
        self,
        *,
        candle: Callable[[str, str, str], CandleContract] = ...,
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

        The name is the slot's. The value is a class, or any callable, that takes the slot's context by position and
        gives an object with the methods of the slot's contract: here those of
        :class:`backtest_mongo.contracts.SignalContract`. Instances that were made before are forgotten.

        Raises:
            ConfigError: there is no such slot, or a class lacks a method of the contract. Nothing is changed then.
        """
    def _use(self, implementations: Mapping[str, Callable[..., Any]]) -> None: ...
    def _get(self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def candle(self, symbol: str, interval: str, exchange_name: str) -> CandleContract:
        """Return what stores the ``candle`` slot, candles, the prices of a market by the interval: one object for each context."""
    def signal(self, symbol: str, strategy_name: str, exchange_name: str) -> SignalContract:
        """Return what stores the ``signal`` slot, the signal that a strategy has open on a symbol: one object for each context."""
    def schedule(self, symbol: str, strategy_name: str, exchange_name: str) -> ScheduleContract:
        """Return what stores the ``schedule`` slot, the signal that waits for its price: one object for each context."""
    def strategy(self, symbol: str, strategy_name: str, exchange_name: str) -> StrategyContract:
        """Return what stores the ``strategy`` slot, what a strategy keeps of itself on a symbol: one object for each context."""
    def risk(self, risk_name: str, exchange_name: str) -> RiskContract:
        """Return what stores the ``risk`` slot, the positions that are open under a risk profile: one object for each context."""
    def partial(self, symbol: str, strategy_name: str, exchange_name: str) -> PartialContract:
        """Return what stores the ``partial`` slot, the levels of profit and loss that a signal has reached: one object for each context."""
    def breakeven(self, symbol: str, strategy_name: str, exchange_name: str) -> BreakevenContract:
        """Return what stores the ``breakeven`` slot, whether a signal has reached breakeven: one object for each context."""
    def storage(self, backtest: bool) -> StorageContract:
        """Return what stores the ``storage`` slot, signals by their ids, closed ones as well: one object for each context."""
    def notification(self, backtest: bool) -> NotificationContract:
        """Return what stores the ``notification`` slot, notifications to whoever watches the engine: one object for each context."""
    def log(self) -> LogContract:
        """Return what stores the ``log`` slot, the engine's log: one object for each context."""
    def measure(self, bucket: str) -> MeasureContract:
        """Return what stores the ``measure`` slot, answers from outside, such as an API's, kept as a cache: one object for each context."""
    def interval(self, bucket: str) -> IntervalContract:
        """Return what stores the ``interval`` slot, what is done once an interval, by its key: one object for each context."""
    def memory(self, signal_id: str, bucket_name: str) -> MemoryContract:
        """Return what stores the ``memory`` slot, notes on a signal, each under an id: one object for each context."""
    def recent(
        self, symbol: str, strategy_name: str, exchange_name: str, frame_name: str, backtest: bool
    ) -> RecentContract:
        """Return what stores the ``recent`` slot, the latest signal of a strategy on a symbol: one object for each context."""
    def state(self, signal_id: str, bucket_name: str) -> StateContract:
        """Return what stores the ``state`` slot, a value that belongs to a signal: one object for each context."""
    def dictionary(self, signal_id: str, dictionary_name: str) -> DictionaryContract:
        """Return what stores the ``dictionary`` slot, a dictionary that belongs to a signal: one object for each context."""
    def session(
        self, strategy_name: str, exchange_name: str, frame_name: str, symbol: str = "", backtest: bool = False
    ) -> SessionContract:
        """Return what stores the ``session`` slot, what a run of a strategy keeps from bar to bar: one object for each context."""

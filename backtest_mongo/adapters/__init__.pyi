"""The adapter classes, expanded from the slot table.

Written by tools/stubs.py from the slot table: change the table, not this file.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Literal, overload

from backtest_mongo.adapters.shapes import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    ColumnSeriesAdapter,
    DocumentAdapter,
    EntryAdapter,
    SeriesAdapter,
)
from backtest_mongo.types import (
    Candle,
    Context,
    Interval,
    Payload,
    Rows,
    SeriesTime,
    Version,
    Versioned,
    When,
)

__all__ = [
    "ADAPTERS",
    "BreakevenAdapter",
    "CandleAdapter",
    "DictionaryAdapter",
    "EquityAdapter",
    "FundingAdapter",
    "IntervalAdapter",
    "LogAdapter",
    "MeasureAdapter",
    "MemoryAdapter",
    "NotificationAdapter",
    "PartialAdapter",
    "QuoteAdapter",
    "RecentAdapter",
    "RiskAdapter",
    "ScheduleAdapter",
    "SessionAdapter",
    "SignalAdapter",
    "StateAdapter",
    "StorageAdapter",
    "StrategyAdapter",
    "TickAdapter",
    "TradeAdapter",
]

ADAPTERS: dict[str, type[Adapter]]

class CandleAdapter(SeriesAdapter):
    """The ``candle`` slot: the candles of a market, by interval.

    ::

        candle = CandleAdapter(symbol, interval, exchange_name)
        await candle.write_candles_data(candles)
        candles = await candle.read_candles_data(limit, since_timestamp)

    Rows are in the collection ``candle-items``,
    unique by ``exchangeName``, ``symbol``, ``interval``, ``timestamp``.
    The first write of a row wins, and a stored row never changes.
    """

    def __init__(self, symbol: str, interval: Interval, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            interval: the length of a candle, from ``1s`` to ``1M``.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, or there is no such interval.
        """
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

class SignalAdapter(DocumentAdapter):
    """The ``signal`` slot: the signal that a strategy has open on a symbol.

    ::

        signal = SignalAdapter(symbol, strategy_name, exchange_name)
        await signal.write_signal_data(row)
        row = await signal.read_signal_data()

    Rows are in the collection ``signal-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_signal_data(self, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_signal_data(self, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_signal_data(self, *, with_version: bool) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_signal_data(
        self, row: Payload | None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds, or ``None`` to clear what is stored.
            if_absent: write only where a read finds nothing: the row was never written, or is cleared.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``row`` can't be stored.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.

        Returns:
            The payload of each context, or ``None`` where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``row``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.

        Raises:
            InputError: a context or a payload can't be stored. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class ScheduleAdapter(DocumentAdapter):
    """The ``schedule`` slot: the signal that waits for its entry price.

    ::

        schedule = ScheduleAdapter(symbol, strategy_name, exchange_name)
        await schedule.write_schedule_data(row)
        row = await schedule.read_schedule_data()

    Rows are in the collection ``schedule-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_schedule_data(self, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_schedule_data(self, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_schedule_data(
        self, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_schedule_data(
        self, row: Payload | None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds, or ``None`` to clear what is stored.
            if_absent: write only where a read finds nothing: the row was never written, or is cleared.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``row`` can't be stored.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.

        Returns:
            The payload of each context, or ``None`` where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``row``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.

        Raises:
            InputError: a context or a payload can't be stored. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class StrategyAdapter(DocumentAdapter):
    """The ``strategy`` slot: the state of a strategy on a symbol.

    ::

        strategy = StrategyAdapter(symbol, strategy_name, exchange_name)
        await strategy.write_strategy_data(row)
        row = await strategy.read_strategy_data()

    Rows are in the collection ``strategy-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_strategy_data(self, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_strategy_data(self, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_strategy_data(
        self, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_strategy_data(
        self, row: Payload | None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds, or ``None`` to clear what is stored.
            if_absent: write only where a read finds nothing: the row was never written, or is cleared.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``row`` can't be stored.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.

        Returns:
            The payload of each context, or ``None`` where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``row``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.

        Raises:
            InputError: a context or a payload can't be stored. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class RiskAdapter(DocumentAdapter):
    """The ``risk`` slot: the open positions of a risk profile.

    ::

        risk = RiskAdapter(risk_name, exchange_name)
        await risk.write_position_data(positions, when)
        positions = await risk.read_position_data()

    Rows are in the collection ``risk-items``,
    unique by ``riskName``, ``exchangeName``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, risk_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            risk_name: the name of the risk profile.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_position_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> list[Any]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty list if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_position_data(
        self, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[list[Any]]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty list if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_position_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[list[Any]] | list[Any]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty list if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_position_data(
        self,
        positions: Sequence[Any],
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``positions`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            positions: a list of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``positions`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[list[Any]]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload of each context, or an empty list where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Sequence[Any]]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``positions``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: a context or a payload can't be stored, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class PartialAdapter(EntryAdapter):
    """The ``partial`` slot: the levels of profit and loss that a signal has reached.

    ::

        partial = PartialAdapter(symbol, strategy_name, exchange_name)
        await partial.write_partial_data(data, signal_id, when)
        data = await partial.read_partial_data(signal_id)

    Rows are in the collection ``partial-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``, ``signalId``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any]]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any]] | dict[str, Any]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_partial_data(
        self,
        data: Payload,
        signal_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            signal_id: the entry's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``data`` can't be stored, or ``signal_id`` can't be a
                key, or ``when`` is not a time. Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class BreakevenAdapter(EntryAdapter):
    """The ``breakeven`` slot: whether a signal has reached breakeven.

    ::

        breakeven = BreakevenAdapter(symbol, strategy_name, exchange_name)
        await breakeven.write_breakeven_data(data, signal_id, when)
        data = await breakeven.read_breakeven_data(signal_id)

    Rows are in the collection ``breakeven-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``, ``signalId``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any]]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any]] | dict[str, Any]:
        """Return what is stored for ``signal_id``.

        Args:
            signal_id: the entry's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or an empty dict if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``signal_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_breakeven_data(
        self,
        data: Payload,
        signal_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            signal_id: the entry's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``data`` can't be stored, or ``signal_id`` can't be a
                key, or ``when`` is not a time. Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class StorageAdapter(CollectionAdapter):
    """The ``storage`` slot: signals by id, closed ones included.

    ::

        storage = StorageAdapter(backtest)
        await storage.write_storage_data(signals)
        signals = await storage.read_storage_data()

    Rows are in the collection ``storage-items``,
    unique by ``backtest``, ``signalId``.
    """

    def __init__(self, backtest: bool) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    async def read_storage_data(
        self,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[dict[str, Any]]:
        """Return every row, however many there are.

        Args:
            strategy_name: only rows whose payload has this string at ``strategyName``; ``None`` for any.
            symbol: only rows whose payload has this string at ``symbol``; ``None`` for any.
            since: only rows whose payload has this time or a later one at ``timestamp``: milliseconds since the epoch
                (UTC), or an aware ``datetime``; ``None`` for no limit.
            until: only rows whose time there is this one or an earlier one; ``None`` for no limit.

        Returns:
            The rows in the order of their ids.

        Raises:
            InputError: an argument is not a text, or not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
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

class NotificationAdapter(CollectionAdapter):
    """The ``notification`` slot: notifications for whoever watches the engine.

    ::

        notification = NotificationAdapter(backtest)
        await notification.write_notification_data(notifications)
        notifications = await notification.read_notification_data()

    Rows are in the collection ``notification-items``,
    unique by ``backtest``, ``notificationId``.
    """

    def __init__(self, backtest: bool) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    async def read_notification_data(
        self,
        limit: int = 200,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest rows: those whose first write came last.

        Args:
            limit: how many rows, 1 or more.
            strategy_name: only rows whose payload has this string at ``strategyName``; ``None`` for any.
            symbol: only rows whose payload has this string at ``symbol``; ``None`` for any.
            since: only rows whose payload has this time or a later one at ``timestamp``: milliseconds since the epoch
                (UTC), or an aware ``datetime``; ``None`` for no limit.
            until: only rows whose time there is this one or an earlier one; ``None`` for no limit.

        Returns:
            ``limit`` rows, or all if there are fewer, oldest first.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or another argument is not a text, or not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
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

class LogAdapter(CollectionAdapter):
    """The ``log`` slot: the engine's log.

    ::

        log = LogAdapter()
        await log.write_log_data(entries)
        entries = await log.read_log_data()

    Rows are in the collection ``log-items``,
    unique by ``entryId``.
    """

    def __init__(self) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    async def read_log_data(
        self,
        limit: int = 200,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest rows: those whose first write came last.

        Args:
            limit: how many rows, 1 or more.
            strategy_name: only rows whose payload has this string at ``methodContext.strategyName``; ``None`` for any.
            symbol: only rows whose payload has this string at ``executionContext.symbol``; ``None`` for any.
            since: only rows whose payload has this time or a later one at ``timestamp``: milliseconds since the epoch
                (UTC), or an aware ``datetime``; ``None`` for no limit.
            until: only rows whose time there is this one or an earlier one; ``None`` for no limit.

        Returns:
            ``limit`` rows, or all if there are fewer, oldest first.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or another argument is not a text, or not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
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

class MeasureAdapter(BucketAdapter):
    """The ``measure`` slot: responses from outside, such as an API's, kept as a cache.

    ::

        measure = MeasureAdapter(bucket)
        await measure.write_measure_data(data, key)
        data = await measure.read_measure_data(key)

    Rows are in the collection ``measure-items``,
    unique by ``bucket``, ``entryKey``.
    Removed rows are marked and kept.
    """

    def __init__(self, bucket: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            bucket: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_measure_data(self, key: str, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_measure_data(self, key: str, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_measure_data(
        self, key: str, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_measure_data(
        self,
        data: Payload,
        key: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            key: the row's key.
            when: checked and not stored, as answers from outside have no simulation time.
            if_absent: write only where a read finds nothing: the row was never written, or is removed.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, ``data`` can't be stored, ``key`` can't be a key, or
                ``when`` is not a time. Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
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
    def list_measure_data(self, *, prefix: str = "") -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order.

        Args:
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An async iterator of keys. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``prefix`` can't be part of a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def range_measure_data(
        self, first: str | None = None, last: str | None = None, *, newest_first: bool = False, prefix: str = ""
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``(key, payload)`` of the rows from ``first`` to ``last``, in the order of the keys.

        Keys are ordered by code points, so numbers in them need the same number of digits. Removed rows are left out.

        Args:
            first: the first key, which is part of the range; ``None`` begins with the first row.
            last: the last key, which is part of the range; ``None`` ends with the last row.
            newest_first: whether to begin at the end; the keys are then in descending order.
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An async iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``first``, ``last`` or ``prefix`` can't be part of a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def newest_measure_data(self, limit: int, *, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
        """Return ``(key, payload)`` of the rows with the largest keys, by code points, removed rows left out.

        Args:
            limit: how many rows, 1 or more.
            prefix: only keys that begin with this string; no character is special.

        Returns:
            ``limit`` pairs, or all if there are fewer, in ascending order of the keys: the newest one is the last.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or ``prefix`` can't be part of a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class IntervalAdapter(BucketAdapter):
    """The ``interval`` slot: what is done once per interval, by key.

    ::

        interval = IntervalAdapter(bucket)
        await interval.write_interval_data(data, key, when)
        data = await interval.read_interval_data(key)

    Rows are in the collection ``interval-items``,
    unique by ``bucket``, ``entryKey``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    Removed rows are marked and kept.
    """

    def __init__(self, bucket: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            bucket: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any] | None:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``key`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``key`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for ``key``.

        Args:
            key: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``key`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_interval_data(
        self,
        data: Payload,
        key: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            key: the row's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written, or is removed.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, ``data`` can't be stored, ``key`` can't be a key, or
                ``when`` is not a time. Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
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
    def list_interval_data(self, when: When | None = None, *, prefix: str = "") -> AsyncIterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An async iterator of keys. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def range_interval_data(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        newest_first: bool = False,
        prefix: str = "",
        when: When | None = None,
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``(key, payload)`` of the rows from ``first`` to ``last``, in the order of the keys.

        Keys are ordered by code points, so numbers in them need the same number of digits. Removed rows are left out.

        Args:
            first: the first key, which is part of the range; ``None`` begins with the first row.
            last: the last key, which is part of the range; ``None`` ends with the last row.
            newest_first: whether to begin at the end; the keys are then in descending order.
            prefix: only keys that begin with this string; no character is special.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            An async iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``first``, ``last`` or ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def newest_interval_data(
        self, limit: int, *, prefix: str = "", when: When | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return ``(key, payload)`` of the rows with the largest keys, by code points, removed rows left out.

        Args:
            limit: how many rows, 1 or more.
            prefix: only keys that begin with this string; no character is special.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            ``limit`` pairs, or all if there are fewer, in ascending order of the keys: the newest one is the last.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class MemoryAdapter(BucketAdapter):
    """The ``memory`` slot: notes on a signal, each under an id.

    ::

        memory = MemoryAdapter(signal_id, bucket_name)
        await memory.write_memory_data(data, memory_id, when)
        data = await memory.read_memory_data(memory_id)

    Rows are in the collection ``memory-items``,
    unique by ``signalId``, ``bucketName``, ``memoryId``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    Removed rows are marked and kept.
    """

    def __init__(self, signal_id: str, bucket_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any] | None:
        """Return what is stored for ``memory_id``.

        Args:
            memory_id: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``memory_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for ``memory_id``.

        Args:
            memory_id: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``memory_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for ``memory_id``.

        Args:
            memory_id: the row's key.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``memory_id`` can't be a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_memory_data(
        self,
        data: Payload,
        memory_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``memory_id``, in place of what was stored; a removed row comes back.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            memory_id: the row's key.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written, or is removed.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, ``data`` can't be stored, ``memory_id`` can't be a key, or
                ``when`` is not a time. Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
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
    def list_memory_data(
        self, when: When | None = None, *, prefix: str = ""
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``(memory_id, payload)`` of every row that is not removed, in ascending order of the keys.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An async iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
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
    def range_memory_data(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        newest_first: bool = False,
        prefix: str = "",
        when: When | None = None,
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``(memory_id, payload)`` of the rows from ``first`` to ``last``, in the order of the keys.

        Keys are ordered by code points, so numbers in them need the same number of digits. Removed rows are left out.

        Args:
            first: the first key, which is part of the range; ``None`` begins with the first row.
            last: the last key, which is part of the range; ``None`` ends with the last row.
            newest_first: whether to begin at the end; the keys are then in descending order.
            prefix: only keys that begin with this string; no character is special.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            An async iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``first``, ``last`` or ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def newest_memory_data(
        self, limit: int, *, prefix: str = "", when: When | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return ``(memory_id, payload)`` of the rows with the largest keys, by code points, removed rows left out.

        Args:
            limit: how many rows, 1 or more.
            prefix: only keys that begin with this string; no character is special.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            ``limit`` pairs, or all if there are fewer, in ascending order of the keys: the newest one is the last.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class RecentAdapter(DocumentAdapter):
    """The ``recent`` slot: the latest signal of a strategy on a symbol.

    ::

        recent = RecentAdapter(symbol, strategy_name, exchange_name, frame_name, backtest)
        await recent.write_recent_data(row, when)
        row = await recent.read_recent_data()

    Rows are in the collection ``recent-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``, ``frameName``, ``backtest``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str, frame_name: str, backtest: bool) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_recent_data(
        self, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_recent_data(
        self, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_recent_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_recent_data(
        self, row: Payload, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            row: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``row`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload of each context, or ``None`` where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``row``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: a context or a payload can't be stored, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """

class StateAdapter(DocumentAdapter):
    """The ``state`` slot: a value that belongs to a signal.

    ::

        state = StateAdapter(signal_id, bucket_name)
        await state.write_state_data(data, when)
        data = await state.read_state_data()

    Rows are in the collection ``state-items``,
    unique by ``signalId``, ``bucketName``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, signal_id: str, bucket_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_state_data(
        self, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_state_data(
        self, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_state_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_state_data(
        self, data: Payload, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``data`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload of each context, or ``None`` where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``data``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: a context or a payload can't be stored, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class DictionaryAdapter(DocumentAdapter):
    """The ``dictionary`` slot: a dictionary that belongs to a signal.

    ::

        dictionary = DictionaryAdapter(signal_id, dictionary_name)
        await dictionary.write_dictionary_data(data, when)
        data = await dictionary.read_dictionary_data()

    Rows are in the collection ``dictionary-items``,
    unique by ``signalId``, ``dictionaryName``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, signal_id: str, dictionary_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            signal_id: the id of the signal.
            dictionary_name: the name of the dictionary.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_dictionary_data(
        self, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_dictionary_data(
        self, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_dictionary_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_dictionary_data(
        self, data: Payload, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``data`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload of each context, or ``None`` where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``data``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: a context or a payload can't be stored, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class SessionAdapter(DocumentAdapter):
    """The ``session`` slot: what a run of a strategy keeps from bar to bar.

    ::

        session = SessionAdapter(strategy_name, exchange_name, frame_name, symbol, backtest)
        await session.write_session_data(data, when)
        data = await session.read_session_data()

    Rows are in the collection ``session-items``,
    unique by ``strategyName``, ``exchangeName``, ``frameName``, ``symbol``, ``backtest``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(
        self, strategy_name: str, exchange_name: str, frame_name: str, symbol: str = "", backtest: bool = False
    ) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            symbol: the market's symbol, such as ``BTCUSDT``; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    async def read_session_data(
        self, when: When | None = None, *, with_version: Literal[False] = False
    ) -> dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_session_data(
        self, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[dict[str, Any] | None]:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @overload
    async def read_session_data(
        self, when: When | None = None, *, with_version: bool
    ) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
        """Return what is stored for this context.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.

        Returns:
            The payload that was written last, or ``None`` if nothing is stored.
            With ``with_version`` a ``Versioned`` of it.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    async def write_session_data(
        self, data: Payload, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            data: a dict of whatever BSON holds.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
            if_absent: write only where a read finds nothing: the row was never written.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.

        Raises:
            InputError: ``expect`` is not a version, or ``data`` can't be stored, or ``when`` is not a time.
                Nothing was sent.
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.

        Returns:
            The payload of each context, or ``None`` where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``data``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.

        Raises:
            InputError: a context or a payload can't be stored, or ``when`` is not a time. Nothing was sent.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class TradeAdapter(ColumnSeriesAdapter):
    """The ``trade`` slot: the trades of a market, each with the exchange's id.

    ::

        trade = TradeAdapter(symbol, exchange_name)
        await trade.append(rows)
        frame = await trade.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``, ``trade_id``. Times count microseconds.
    They have the columns ``price``, ``amount``, ``side``.
    The first write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """

class QuoteAdapter(ColumnSeriesAdapter):
    """The ``quote`` slot: the best bid and ask of a market, each with the exchange's number of the update.

    ::

        quote = QuoteAdapter(symbol, exchange_name)
        await quote.append(rows)
        frame = await quote.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``, ``update_id``. Times count microseconds.
    They have the columns ``bid_price``, ``bid_amount``, ``ask_price``, ``ask_amount``.
    The first write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """

class TickAdapter(ColumnSeriesAdapter):
    """The ``tick`` slot: snapshots of a market with five levels of depth, as vnpy has them.

    ::

        tick = TickAdapter(symbol, exchange_name)
        await tick.append(rows)
        frame = await tick.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``. Times count microseconds.
    They have the columns ``name``, ``volume``, ``turnover``, ``open_interest``, ``last_price``, ``last_volume``, ``limit_up``, ``limit_down``, ``open_price``, ``high_price``, ``low_price``, ``pre_close``, ``bid_price_1``, ``bid_price_2``, ``bid_price_3``, ``bid_price_4``, ``bid_price_5``, ``ask_price_1``, ``ask_price_2``, ``ask_price_3``, ``ask_price_4``, ``ask_price_5``, ``bid_volume_1``, ``bid_volume_2``, ``bid_volume_3``, ``bid_volume_4``, ``bid_volume_5``, ``ask_volume_1``, ``ask_volume_2``, ``ask_volume_3``, ``ask_volume_4``, ``ask_volume_5``, ``localtime``.
    The last write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """

class FundingAdapter(ColumnSeriesAdapter):
    """The ``funding`` slot: the funding rates of a perpetual.

    ::

        funding = FundingAdapter(symbol, exchange_name)
        await funding.append(rows)
        frame = await funding.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``. Times count milliseconds.
    They have the columns ``rate``, ``mark_price``, ``interval_hours``.
    The last write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """

class EquityAdapter(ColumnSeriesAdapter):
    """The ``equity`` slot: the equity of a strategy from bar to bar.

    ::

        equity = EquityAdapter(strategy_name, exchange_name, frame_name, symbol, backtest)
        await equity.append(rows)
        frame = await equity.read_frame(start, end)

    Its rows are unique by ``strategyName``, ``exchangeName``, ``frameName``, ``symbol``, ``backtest``, ``timestamp``. Times count milliseconds.
    They have the columns ``equity``, ``cash``, ``unrealized_pnl``, ``position``.
    The last write of a row wins.
    """

    def __init__(
        self, strategy_name: str, exchange_name: str, frame_name: str, symbol: str = "", backtest: bool = False
    ) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.
            frame_name: the name of the time frame; may be empty.
            symbol: the market's symbol, such as ``BTCUSDT``; may be empty.
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """

"""The whole of ``backtest_mongo`` without ``await``.

Written by tools/stubs.py from the asynchronous API: change that, not this file.
"""

import os
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import tzinfo
from pathlib import Path
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    Self,
    TypeVar,
    Unpack,
    overload,
)

import pandas
import polars
import pyarrow
from numpy.typing import NDArray

from backtest_mongo.adapters.lifecycle import install
from backtest_mongo.core.changes import Change
from backtest_mongo.core.columns import Column
from backtest_mongo.core.config import Settings, get_config, set_config
from backtest_mongo.core.frames import Fill
from backtest_mongo.core.log import set_logger
from backtest_mongo.core.payload_models import Upgrade
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.dumps.importer import Progress
from backtest_mongo.dumps.reports import (
    Conflicts,
    ExportReport,
)
from backtest_mongo.errors import (
    BacktestMongoError,
    ConfigError,
    ConflictError,
    IndexConflictError,
    InitError,
    InputError,
    InputTypeError,
    LeaseError,
    LeaseHeldError,
    LeaseLostError,
    PayloadError,
    ServerError,
    SlotError,
    StoreError,
    StoreUnavailableError,
)
from backtest_mongo.market_data.candle_chunks import ReadOptions
from backtest_mongo.market_data.file_output import ExportProgress
from backtest_mongo.market_data.importer import CandleImportReport
from backtest_mongo.market_data.importing import ImportProgress, ImportReport
from backtest_mongo.market_data.plot import PlotReport
from backtest_mongo.market_data.plot_series import SeriesPlotReport
from backtest_mongo.market_data.series_chunks import SeriesOptions
from backtest_mongo.market_data.series_importer import SeriesImportReport
from backtest_mongo.mongo.migrations import MigrationReport
from backtest_mongo.sync.clients import get_mongo, get_redis
from backtest_mongo.sync.errors import CommitUnknownError
from backtest_mongo.sync.scopes import Lease, Setup, Transaction, close
from backtest_mongo.sync.wrapping import SyncAdapter, Watch
from backtest_mongo.telemetry.stats import Stats
from backtest_mongo.types import (
    Candle,
    Context,
    Coverage,
    DeleteReport,
    ForkReport,
    Gap,
    Interval,
    Payload,
    RenameReport,
    ResetReport,
    Revision,
    Rows,
    Sealed,
    SealReport,
    SeriesSize,
    SeriesTime,
    VerifyReport,
    Version,
    Versioned,
    When,
    WriteReport,
)

__all__ = [
    "SERIES",
    "SLOTS",
    "BacktestMongoError",
    "BreakevenAdapter",
    "CandleAdapter",
    "Change",
    "Column",
    "CommitUnknownError",
    "ConfigError",
    "ConflictError",
    "DictionaryAdapter",
    "EquityAdapter",
    "FundingAdapter",
    "IndexConflictError",
    "InitError",
    "InputError",
    "InputTypeError",
    "IntervalAdapter",
    "LeaseError",
    "LeaseHeldError",
    "LeaseLostError",
    "LogAdapter",
    "MeasureAdapter",
    "MemoryAdapter",
    "NotificationAdapter",
    "PartialAdapter",
    "PayloadError",
    "QuoteAdapter",
    "RecentAdapter",
    "RiskAdapter",
    "ScheduleAdapter",
    "ServerError",
    "SessionAdapter",
    "SignalAdapter",
    "SlotError",
    "SlotSpec",
    "StateAdapter",
    "StorageAdapter",
    "StoreError",
    "StoreUnavailableError",
    "StrategyAdapter",
    "TickAdapter",
    "TradeAdapter",
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
    "as_of",
    "close",
    "export_candles",
    "export_dump",
    "export_series",
    "fork",
    "get_config",
    "get_mongo",
    "get_redis",
    "import_candles",
    "import_dump",
    "import_series",
    "install",
    "lease",
    "migrate",
    "persist",
    "plot_candles",
    "plot_series",
    "rename_strategy",
    "reset",
    "set_config",
    "set_logger",
    "setup",
    "stats",
    "transaction",
    "wait_for_init",
]

_M = TypeVar("_M")

class Adapter(SyncAdapter):
    """A slot in one context. It holds no connection, so it can be made anywhere and used on any event loop."""

    spec: ClassVar[SlotSpec]
    @property
    def context(self) -> dict[str, str | bool]:
        """The constructor's arguments by name."""
    def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
    def watch(self, after: str | None = None) -> Watch:
        """Watch the changes of this context as they happen, whichever process makes them.

        Watching needs a replica set, a sharded cluster or an SQLite file. After a lost connection it resumes, and no
        change is missed or repeated.

        Args:
            after: a change's ``token``, to resume after that change while the storage still remembers it; ``None``
                begins with the next change.

        Returns:
            A :class:`~backtest_mongo.core.watch.Watch`, an iterator of changes, oldest first. Iterating raises
            ``StoreError`` where the servers have no change streams, or the slot stores in files.

        Raises:
            InputTypeError: ``after`` is not a ``str``.
        """
    @classmethod
    def watch_all(cls, after: str | None = None) -> Watch:
        """Watch the changes of the whole slot, in every context, as :meth:`watch` does for one.

        Args:
            after: a change's ``token``, to resume after that change while the storage still remembers it; ``None``
                begins with the next change.

        Returns:
            A :class:`~backtest_mongo.core.watch.Watch`, an iterator of changes, oldest first. Iterating raises
            ``StoreError`` where the servers have no change streams, or the slot stores in files.

        Raises:
            InputTypeError: ``after`` is not a ``str``.
        """
    @classmethod
    def list_contexts(cls, **where: str | bool) -> Iterator[dict[str, str | bool]]:
        """Iterate over the contexts that have stored rows, in the order of the unique index::

            for context in SignalAdapter.list_contexts(strategy_name="trend"):
                signal = SignalAdapter(**context)

        A context with only removed rows is included, because its rows are stored. Within a transaction or a lease,
        contexts with writes that are yet to be committed are included, too. Within ``as_of()`` it lists those that had
        rows then. In JSON files, a row whose path fits several contexts is left out, with a warning, unless its
        metadata sidecar or its payload names the right one.

        It reads page by page, and a context that is written or deleted meanwhile may or may not be in it.

        Args:
            where: the values that arguments of the constructor must have, by name.

        Returns:
            An iterator of the constructor's arguments by name, each context once. Iterating raises
            ``StoreUnavailableError`` if MongoDB can't be reached, and ``StoreError`` if MongoDB, or the disk that holds
            the files, answers with an error.

        Raises:
            InputTypeError: a name is not part of the context, or a value has the wrong type.
            InputError: a value can't be part of a key.
        """

class SeriesAdapter(Adapter):
    """"""

    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        as_: Literal["polars"] = "polars",
        fill: Fill | None = None,
    ) -> polars.DataFrame:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def read_frame(
        self, start: SeriesTime | None, end: SeriesTime | None, as_: Literal["pandas"], fill: Fill | None = None
    ) -> pandas.DataFrame:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["pandas"],
        fill: Fill | None = None,
    ) -> pandas.DataFrame:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def read_frame(
        self, start: SeriesTime | None, end: SeriesTime | None, as_: Literal["arrow"], fill: Fill | None = None
    ) -> pyarrow.Table:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["arrow"],
        fill: Fill | None = None,
    ) -> pyarrow.Table:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def read_frame(
        self, start: SeriesTime | None, end: SeriesTime | None, as_: Literal["numpy"], fill: Fill | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["numpy"],
        fill: Fill | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the candles of the half-open range ``[start, end)`` as a frame, in the order of time.

        The numbers are the same whether they come from sealed blocks or from rows.

        Args:
            start: milliseconds since the epoch, an aware datetime, or ISO 8601 text, which is UTC if it has no offset;
                ``None`` for the first candle.
            end: the same; ``None`` for the end of what is stored.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays with times of ``datetime64[ms]``.
            fill: what takes the place of a missing candle, from ``start`` to ``end``, or from the first candle to the
                last where these are ``None``: ``None`` for no row; ``null`` for a row of nulls (NaN in pandas and
                NumPy); ``forward`` for a flat candle at the close before, without volume. Candles are missing where
                :meth:`gaps` says so, an interval each from the one before; every stored candle stays.

        Returns:
            The columns ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64).

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def write_frame(self, frame: object, tz: str | tzinfo | None = None) -> WriteReport:
        """Store the candles of a frame that are not stored yet, and return what became of each row.

        The first write of a candle wins forever; of concurrent writes in a process, the one that was called first. Rows
        that can't be candles are refused, and the others are stored. A row is refused if its interval has not ended
        yet, if it has no time or one outside of the years 1 to 9999, a number that is masked or not finite, ``high``
        below ``low``, ``open`` or ``close`` outside of them, or a negative volume.

        Blocks that become complete are sealed. The ids of the documents don't go to Redis. If the call is cancelled, a
        part may be stored; call it again with the same frame to store the rest.

        Args:
            frame: what :meth:`read_frame` returns: a polars or pandas ``DataFrame``, a ``pyarrow.Table``, a mapping or
                a structured array of NumPy; also frames with ``Open``, ``High``, ``Low``, ``Close``, ``Volume`` and a
                ``DatetimeIndex``; those of yfinance with two levels of names, of which the columns of this symbol are
                used; and lists of ``[milliseconds, open, high, low, close, volume]`` as ccxt returns them. Times are
                integers (milliseconds since the epoch) or typed times, aware if the library knows zones; fractions of a
                millisecond are cut off. Other columns are ignored. Rows may be in any order; of several with one time
                the first is used.
            tz: the zone of naive times, such as ``UTC`` or ``America/New_York``.

        Returns:
            How many rows were new and how many were stored already, and the positions of the refused ones by reason.

        Raises:
            InputError: a column is missing, occurs twice or holds something else, times are naive and no zone is given,
                the clocks of the zone skip one of them or show it twice, or the median distance of the times is below
                half the interval; nothing was stored.
            StoreUnavailableError: MongoDB can't be reached; a part may be stored.
            StoreError: MongoDB answers with an error; a part may be stored.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["polars"] = "polars",
        when: When | None = None,
    ) -> polars.DataFrame:
        """Return longer candles, made of these::

            hours = candle.resample("1h", "2024-01-01", "2024-02-01")

        They are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none shows what
        came after its own end, after ``end`` or after ``when``. What is missing of an interval is left out of its
        candle; an interval without candles has none.

        Args:
            interval: of the longer candles, a multiple of that of the series; they open on its grid, in UTC.
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the interval of the
                first candle.
            end: the same; ``None`` for all that is over.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame as :meth:`read_frame` returns it.

        Raises:
            InputError: an argument is wrong, a library is not installed, or a candle is off the grid and goes on after
                the end of its interval.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["pandas"],
        when: When | None = None,
    ) -> pandas.DataFrame:
        """Return longer candles, made of these::

            hours = candle.resample("1h", "2024-01-01", "2024-02-01")

        They are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none shows what
        came after its own end, after ``end`` or after ``when``. What is missing of an interval is left out of its
        candle; an interval without candles has none.

        Args:
            interval: of the longer candles, a multiple of that of the series; they open on its grid, in UTC.
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the interval of the
                first candle.
            end: the same; ``None`` for all that is over.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame as :meth:`read_frame` returns it.

        Raises:
            InputError: an argument is wrong, a library is not installed, or a candle is off the grid and goes on after
                the end of its interval.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["arrow"],
        when: When | None = None,
    ) -> pyarrow.Table:
        """Return longer candles, made of these::

            hours = candle.resample("1h", "2024-01-01", "2024-02-01")

        They are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none shows what
        came after its own end, after ``end`` or after ``when``. What is missing of an interval is left out of its
        candle; an interval without candles has none.

        Args:
            interval: of the longer candles, a multiple of that of the series; they open on its grid, in UTC.
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the interval of the
                first candle.
            end: the same; ``None`` for all that is over.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame as :meth:`read_frame` returns it.

        Raises:
            InputError: an argument is wrong, a library is not installed, or a candle is off the grid and goes on after
                the end of its interval.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        as_: Literal["numpy"],
        when: When | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return longer candles, made of these::

            hours = candle.resample("1h", "2024-01-01", "2024-02-01")

        They are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none shows what
        came after its own end, after ``end`` or after ``when``. What is missing of an interval is left out of its
        candle; an interval without candles has none.

        Args:
            interval: of the longer candles, a multiple of that of the series; they open on its grid, in UTC.
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the interval of the
                first candle.
            end: the same; ``None`` for all that is over.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame as :meth:`read_frame` returns it.

        Raises:
            InputError: an argument is wrong, a library is not installed, or a candle is off the grid and goes on after
                the end of its interval.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def resample_into(self, candles: Adapter, *, start: SeriesTime | None = None, delay_ms: int = 0) -> WriteReport:
        """Store longer candles, made of these, in another series, from where the last call stopped::

            persist.candle("BTCUSDT", "1m", "binance").resample_into(persist.candle("BTCUSDT", "1h", "binance"))

        A candle is stored when its interval is over and the last of the shorter ones in it is stored, or a later one.
        What is stored later doesn't change it. Calling it again, also after it was killed, stores what is missing, with
        the same values.

        Args:
            candles: the adapter of the longer candles, or of a series with columns that has a grid and columns of
                float64 named ``open``, ``high``, ``low``, ``close`` and ``volume``. Its interval is theirs.
            start: where to begin; ``None`` for where the last call stopped, which is at the first gap of the last 4,096
                intervals or else after the last candle, whoever has stored it.
            delay_ms: for how many milliseconds after its end candles of an interval may still come.

        Returns:
            How many candles were new, how many were stored already, and the times of those that the other series
            refuses, by reason.

        Raises:
            InputTypeError: ``candles`` is no adapter of candles, or another argument has the wrong type.
            InputError: an argument is wrong, or a candle is off the grid.
            StoreUnavailableError: a database can't be reached; a part may be stored.
            StoreError: a database answers with an error; a part may be stored.
        """
    def coverage(self) -> Coverage:
        """Return the first and the last stored time and the number of candles, from the indexes alone.

        It scans the index of what is not sealed; sealed blocks make it faster.

        Returns:
            Times in milliseconds, UTC; ``None`` if no candle is stored.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def bounds(self) -> tuple[int, int] | None:
        """Return the times of the first and the last candle, from the index alone.

        Returns:
            Milliseconds since the epoch, UTC; ``None`` if no candle is stored.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def gaps(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> list[Gap]:
        """Return what is missing in the half-open range ``[start, end)``, by time: what is still to be fetched.

        Like :meth:`coverage`, it is answered from the indexes alone.

        Candles are missing between two that are 1.5 intervals apart or more: ``round(distance / interval) - 1`` of
        them, an interval each from the one before. So the grid of a series may move, and no stored candle is ever in a
        gap. Before the first candle they are counted back from it, and after the last one on from it. Of a series
        without candles the whole range is missing.

        Args:
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the first candle.
            end: the same; ``None`` for now. A candle that has not closed yet is never missing.

        Returns:
            The gaps, each a half-open range of milliseconds and the number of candles that are missing in it.

        Raises:
            InputError: a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def delete(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> DeleteReport:
        """Delete the candles of the half-open range ``[start, end)``, so that others can be written in their place.

        Their sealed blocks, their ids in Redis and what this process keeps of the series in memory are dropped, too.
        Other processes may still return candles that they have read before, until their ``close()``.

        It works in batches, each with a deadline of ``CC_MONGO_TIMEOUT_MS``. The series may be sealed, written and read
        at the same time; a candle that is written during the call may be deleted or stay. If the process is killed or
        the call fails, a part may be deleted; call it again with the same range to delete the rest. A watch yields each
        candle as ``deleted``.

        Args:
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the first candle.
            end: the same; ``None`` for the end. Without both the whole series is deleted.

        Returns:
            How many candles were deleted, and how many blocks.

        Raises:
            InputError: a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached; a part may be deleted.
            StoreError: MongoDB answers with an error; a part may be deleted.
        """
    def sealed(self) -> Sealed:
        """Return how much of the series is in sealed blocks, within :func:`~backtest_mongo.as_of` too.

        Returns:
            How many blocks there are, the candles in them and their bytes.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def seal(self, progress: Callable[[SealReport], None] | None = None) -> SealReport:
        """Seal what can be sealed and isn't yet: complete blocks, and those with gaps whose time is over.

        Writes seal what they complete, so it is rarely needed. It may be killed at any time, and several may run at
        once. With ``CC_CANDLE_BLOCKS=false`` nothing is sealed. In a series whose truth is in blocks, the rows that
        blocks then hold are deleted.

        Args:
            progress: called after each stretch with what was sealed in it.

        Returns:
            How many blocks were sealed, and the candles in them.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be sealed.
            StoreError: MongoDB answers with an error; a part may be sealed.
        """
    def move_to_blocks(self, progress: Callable[[SealReport], None] | None = None) -> SealReport:
        """Make blocks the truth of the series, and delete the rows that they hold.

        A candle then takes ten bytes instead of two hundred, and no answer changes: the way in which a series is stored
        is kept in the database. Older versions of this library refuse the database from then on, and the Node package
        no longer sees these candles. :meth:`move_to_rows` is the way back.

        Rows that a block can't hold stay: those off the grid of the interval, and the stretch that is not complete yet.
        What is written later is moved as it was sealed before: by writes that complete a stretch, and by :meth:`seal`.
        It may be killed at any time and be called again, several may run at once, and the series may be read, written
        and deleted meanwhile. On SQLite there is nothing to do: candles are in blocks there anyway.

        Args:
            progress: called after each stretch with what was moved in it.

        Returns:
            How many blocks were written, and how many rows were deleted.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be moved.
            StoreError: MongoDB answers with an error, or is a standalone, which has no transactions; JSON files have no
                blocks.
        """
    def move_to_rows(self, progress: Callable[[SealReport], None] | None = None) -> SealReport:
        """Make rows the truth of the series again, as the Node package needs them: write the candles of its blocks.

        The rows are dated when they are written, and may be sealed as ever. It may be killed at any time and be called
        again, and the series may be read, written and deleted meanwhile.

        Args:
            progress: called after each block with what was moved.

        Returns:
            How many blocks are gone, and how many rows were written.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be moved.
            StoreError: a block is damaged or lost, MongoDB answers with an error, or another process makes blocks the
                truth at the same time; JSON files have no blocks.
        """
    def verify(self, repair: bool = False, progress: Callable[[VerifyReport], None] | None = None) -> VerifyReport:
        """Compare every sealed block with its rows.

        A block is damaged if one of its fields is missing, changed or of another type, or if it differs from its rows.
        In a series whose truth is in blocks there are no rows to compare with: each block is compared with its
        checksum, and one that is lost is listed, too. Nothing can repair these. Within :func:`~backtest_mongo.as_of`
        too, all that is stored now is compared.

        Args:
            repair: drop each damaged block, and seal its stretch again.
            progress: called after each block with what was found until then.

        Returns:
            How many blocks and candles were compared, the damaged blocks by their start, and how many were repaired.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or a block that is the truth can't be repaired.
        """
    @classmethod
    def list_series(cls) -> Iterator[Self]:
        """Iterate over every series that is stored, each as an adapter, in the order of the unique index.

        Returns:
            An iterator of adapters.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """

class CandleAdapter(SeriesAdapter):
    """The ``candle`` slot: the candles of a market, by interval.

    ::

        candle = CandleAdapter(symbol, interval, exchange_name)
        candle.write_candles_data(candles)
        candles = candle.read_candles_data(limit, since_timestamp)

    Rows are in the collection ``candle-items``,
    unique by ``exchangeName``, ``symbol``, ``interval``, ``timestamp``.
    The first write of a row wins, and a stored row never changes.
    """

    def __init__(self, symbol: str, interval: Interval, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            interval: the length of a candle, from ``1s`` to ``1M``.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty, or there is no such interval.
        """
    def read_candles_data(
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
    def write_candles_data(self, candles: Sequence[Candle]) -> int:
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

class RowAdapter(Adapter):
    """What the adapters of all shapes but series share."""

    def delete(self) -> int:
        """Delete this context for good: its rows, removed ones included, and their versions.

        It works in steps of at most 1,000 rows, each with a deadline of ``CC_MONGO_TIMEOUT_MS``. If the process is
        killed or the call fails, a part may be deleted; call it again to delete the rest. A row that is written during
        the call may be deleted or stay. A watch yields each row as ``deleted``.

        If the caller holds the lease of the context, it keeps the lease, which forgets the rows. A standalone MongoDB
        and JSON files have no leases, so none is checked there. The rows' ids are dropped from Redis and from this
        process's memory; other processes notice that a row is gone when they read it.

        Returns:
            How many rows were deleted.

        Raises:
            InputError: it is called within :func:`~backtest_mongo.transaction`, which can't include a deletion.
            LeaseHeldError: another owner holds the lease of this context; what was deleted before it was taken is gone.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time; a part may be deleted.
            StoreError: MongoDB, or the disk that holds the files, answered with an error; a part may be deleted.
        """

class DocumentAdapter(RowAdapter):
    """One document per context."""

    def history(
        self, *, since: When | None = None, until: When | None = None, newest_first: bool = False
    ) -> Iterator[Revision]:
        """Iterate over the versions of this context, from one simulation time to another.

        It needs the slot's versions, which ``CC_HISTORY`` or ``SlotSpec(history=)`` keep.

        Args:
            since: the first time, included: milliseconds since the epoch (UTC) or an aware ``datetime``.
            until: the last time, included.
            newest_first: whether to iterate from the latest to the earliest.

        Returns:
            An iterator of :class:`~backtest_mongo.types.Revision`, normally the earliest first. Iterating raises
            ``StoreError`` where no versions are kept, and ``InputError`` for a bad time.
        """

class SignalAdapter(DocumentAdapter):
    """The ``signal`` slot: the signal that a strategy has open on a symbol.

    ::

        signal = SignalAdapter(symbol, strategy_name, exchange_name)
        signal.write_signal_data(row)
        row = signal.read_signal_data()

    Rows are in the collection ``signal-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_signal_data(self, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
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
    def read_signal_data(self, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
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
    def read_signal_data(self, *, with_version: bool) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
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
    def write_signal_data(self, row: Payload | None, *, if_absent: bool = False, expect: Version | None = None) -> None:
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
    def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
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
        schedule.write_schedule_data(row)
        row = schedule.read_schedule_data()

    Rows are in the collection ``schedule-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_schedule_data(self, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
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
    def read_schedule_data(self, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
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
    def read_schedule_data(self, *, with_version: bool) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
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
    def write_schedule_data(
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
    def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
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
        strategy.write_strategy_data(row)
        row = strategy.read_strategy_data()

    Rows are in the collection ``strategy-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_strategy_data(self, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
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
    def read_strategy_data(self, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
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
    def read_strategy_data(self, *, with_version: bool) -> Versioned[dict[str, Any] | None] | dict[str, Any] | None:
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
    def write_strategy_data(
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
    def read_many(cls, contexts: Iterable[Context]) -> list[dict[str, Any] | None]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Payload | None]]) -> None:
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
        risk.write_position_data(positions, when)
        positions = risk.read_position_data()

    Rows are in the collection ``risk-items``,
    unique by ``riskName``, ``exchangeName``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, risk_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            risk_name: the name of the risk profile.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_position_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> list[Any]:
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
    def read_position_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[list[Any]]:
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
    def read_position_data(self, when: When | None = None, *, with_version: bool) -> Versioned[list[Any]] | list[Any]:
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
    def write_position_data(
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
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[list[Any]]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Sequence[Any]]], when: When | None = None) -> None:
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

class ItemAdapter(RowAdapter):
    """Documents of a context that have one more key."""

    def history(
        self, entry: str, *, since: When | None = None, until: When | None = None, newest_first: bool = False
    ) -> Iterator[Revision]:
        """Iterate over the versions of one entry of this context, as ``history()`` of documents does.

        Args:
            entry: its key, the last one of the unique index.
            since: the first time, included: milliseconds since the epoch (UTC) or an aware ``datetime``.
            until: the last time, included.
            newest_first: whether to iterate from the latest to the earliest.

        Returns:
            An iterator of :class:`~backtest_mongo.types.Revision`, normally the earliest first. Iterating raises
            ``StoreError`` where no versions are kept, and ``InputError`` for a bad time.
        """

class EntryAdapter(ItemAdapter):
    """One document per context and one more key, usually a signal's id."""

class PartialAdapter(EntryAdapter):
    """The ``partial`` slot: the levels of profit and loss that a signal has reached.

    ::

        partial = PartialAdapter(symbol, strategy_name, exchange_name)
        partial.write_partial_data(data, signal_id, when)
        data = partial.read_partial_data(signal_id)

    Rows are in the collection ``partial-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``, ``signalId``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_partial_data(
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
    def read_partial_data(
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
    def read_partial_data(
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
    def write_partial_data(
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
        breakeven.write_breakeven_data(data, signal_id, when)
        data = breakeven.read_breakeven_data(signal_id)

    Rows are in the collection ``breakeven-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``, ``signalId``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            symbol: the market's symbol, such as ``BTCUSDT``.
            strategy_name: the name of the strategy.
            exchange_name: the name of the exchange.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_breakeven_data(
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
    def read_breakeven_data(
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
    def read_breakeven_data(
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
    def write_breakeven_data(
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

class CollectionAdapter(ItemAdapter):
    """Many documents, each keyed by its item's own ``id``, read as a list."""

class StorageAdapter(CollectionAdapter):
    """The ``storage`` slot: signals by id, closed ones included.

    ::

        storage = StorageAdapter(backtest)
        storage.write_storage_data(signals)
        signals = storage.read_storage_data()

    Rows are in the collection ``storage-items``,
    unique by ``backtest``, ``signalId``.
    """

    def __init__(self, backtest: bool) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    def read_storage_data(
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
    def write_storage_data(self, signals: Rows) -> None:
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
        notification.write_notification_data(notifications)
        notifications = notification.read_notification_data()

    Rows are in the collection ``notification-items``,
    unique by ``backtest``, ``notificationId``.
    """

    def __init__(self, backtest: bool) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            backtest: ``True`` for a backtest, ``False`` for live trading.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    def read_notification_data(
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
    def write_notification_data(self, notifications: Rows) -> None:
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
        log.write_log_data(entries)
        entries = log.read_log_data()

    Rows are in the collection ``log-items``,
    unique by ``entryId``.
    """

    def __init__(self) -> None:
        """Make an adapter for this context. It opens no connection.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    def read_log_data(
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
    def write_log_data(self, entries: Rows) -> None:
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

class BucketAdapter(ItemAdapter):
    """Keys and values with soft delete, read one at a time or listed."""

class MeasureAdapter(BucketAdapter):
    """The ``measure`` slot: responses from outside, such as an API's, kept as a cache.

    ::

        measure = MeasureAdapter(bucket)
        measure.write_measure_data(data, key)
        data = measure.read_measure_data(key)

    Rows are in the collection ``measure-items``,
    unique by ``bucket``, ``entryKey``.
    Removed rows are marked and kept.
    """

    def __init__(self, bucket: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            bucket: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_measure_data(self, key: str, *, with_version: Literal[False] = False) -> dict[str, Any] | None:
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
    def read_measure_data(self, key: str, *, with_version: Literal[True]) -> Versioned[dict[str, Any] | None]:
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
    def read_measure_data(
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
    def write_measure_data(
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
    def remove_measure_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing.

        Args:
            key: the row's key.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def list_measure_data(self, *, prefix: str = "") -> Iterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order.

        Args:
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An iterator of keys. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``prefix`` can't be part of a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def range_measure_data(
        self, first: str | None = None, last: str | None = None, *, newest_first: bool = False, prefix: str = ""
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``(key, payload)`` of the rows from ``first`` to ``last``, in the order of the keys.

        Keys are ordered by code points, so numbers in them need the same number of digits. Removed rows are left out.

        Args:
            first: the first key, which is part of the range; ``None`` begins with the first row.
            last: the last key, which is part of the range; ``None`` ends with the last row.
            newest_first: whether to begin at the end; the keys are then in descending order.
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``first``, ``last`` or ``prefix`` can't be part of a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def newest_measure_data(self, limit: int, *, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
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
        interval.write_interval_data(data, key, when)
        data = interval.read_interval_data(key)

    Rows are in the collection ``interval-items``,
    unique by ``bucket``, ``entryKey``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    Removed rows are marked and kept.
    """

    def __init__(self, bucket: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            bucket: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_interval_data(
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
    def read_interval_data(
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
    def read_interval_data(
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
    def write_interval_data(
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
    def remove_interval_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing.

        Args:
            key: the row's key.

        Raises:
            InputError: ``key`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def list_interval_data(self, when: When | None = None, *, prefix: str = "") -> Iterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An iterator of keys. It reads page by page, and a row written meanwhile may or may not be in it.

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
    ) -> Iterator[tuple[str, dict[str, Any]]]:
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
            An iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``first``, ``last`` or ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def newest_interval_data(
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
        memory.write_memory_data(data, memory_id, when)
        data = memory.read_memory_data(memory_id)

    Rows are in the collection ``memory-items``,
    unique by ``signalId``, ``bucketName``, ``memoryId``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    Removed rows are marked and kept.
    """

    def __init__(self, signal_id: str, bucket_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_memory_data(
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
    def read_memory_data(
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
    def read_memory_data(
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
    def write_memory_data(
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
    def remove_memory_data(self, memory_id: str) -> None:
        """Mark the row of ``memory_id`` as removed, and keep its document. Removing an absent row does nothing.

        Args:
            memory_id: the row's key.

        Raises:
            InputError: ``memory_id`` can't be a key.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def list_memory_data(self, when: When | None = None, *, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``(memory_id, payload)`` of every row that is not removed, in ascending order of the keys.

        Args:
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
            prefix: only keys that begin with this string; no character is special.

        Returns:
            An iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def has_memory_data(self, memory_id: str) -> bool:
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
    ) -> Iterator[tuple[str, dict[str, Any]]]:
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
            An iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``first``, ``last`` or ``prefix`` can't be part of a key, or ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error.
        """
    def newest_memory_data(
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
        recent.write_recent_data(row, when)
        row = recent.read_recent_data()

    Rows are in the collection ``recent-items``,
    unique by ``symbol``, ``strategyName``, ``exchangeName``, ``frameName``, ``backtest``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, symbol: str, strategy_name: str, exchange_name: str, frame_name: str, backtest: bool) -> None:
        """Make an adapter for this context. It opens no connection.

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
    def read_recent_data(
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
    def read_recent_data(
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
    def read_recent_data(
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
    def write_recent_data(
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
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
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
        state.write_state_data(data, when)
        data = state.read_state_data()

    Rows are in the collection ``state-items``,
    unique by ``signalId``, ``bucketName``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, signal_id: str, bucket_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            signal_id: the id of the signal.
            bucket_name: the name of the bucket.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_state_data(
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
    def read_state_data(
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
    def read_state_data(
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
    def write_state_data(
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
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
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
        dictionary.write_dictionary_data(data, when)
        data = dictionary.read_dictionary_data()

    Rows are in the collection ``dictionary-items``,
    unique by ``signalId``, ``dictionaryName``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(self, signal_id: str, dictionary_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

        Args:
            signal_id: the id of the signal.
            dictionary_name: the name of the dictionary.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty.
        """
    @overload
    def read_dictionary_data(
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
    def read_dictionary_data(
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
    def read_dictionary_data(
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
    def write_dictionary_data(
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
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
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
        session.write_session_data(data, when)
        data = session.read_session_data()

    Rows are in the collection ``session-items``,
    unique by ``strategyName``, ``exchangeName``, ``frameName``, ``symbol``, ``backtest``.
    Writes carry ``when``, the simulation time, and reads given one never see a later row.
    """

    def __init__(
        self, strategy_name: str, exchange_name: str, frame_name: str, symbol: str = "", backtest: bool = False
    ) -> None:
        """Make an adapter for this context. It opens no connection.

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
    def read_session_data(
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
    def read_session_data(
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
    def read_session_data(
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
    def write_session_data(
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
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[dict[str, Any] | None]:
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
    def write_many(cls, rows: Iterable[tuple[Context, Payload]], when: When | None = None) -> None:
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

class ColumnSeriesAdapter(Adapter):
    """A series of rows with columns. Times are integers in the slot's unit since the epoch, UTC."""

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Store rows as they arrive, one or many in a call.

        They are on the disks of a majority of the servers when the call returns, and need not be in order. Where the
        slot is immutable, a row whose key is stored stays as it is, so a call may be repeated; otherwise the later row
        replaces it. If one call has several rows with the same key, the first is stored in an immutable slot, and
        otherwise the last. On a grid, a row whose interval has not ended is skipped. Up to 16,383 rows are stored
        together if they take up to 8 MB, and in SQLite any number; of a larger call that is cancelled or fails, a part
        may be stored. Calls are no part of a :func:`~backtest_mongo.transaction`.

        Args:
            rows: a list of dicts with ``timestamp``, the sequence if the slot has one, and the slot's columns; those
                that are nullable may be ``None`` or left out. ``timestamp`` is an integer in the slot's unit since the
                epoch, an aware ``datetime`` or ISO 8601 text.

        Returns:
            How many rows were new; without ``immutable``, how many keys were written.

        Raises:
            InputError: a row lacks a column or has an unknown one, or a value that its column can't hold without
                losing digits, or takes more than 12 MB, in SQLite 900 MB; the message names its place. Nothing was
                stored.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; append the same rows again to settle it.
            StoreError: MongoDB answers with an error; of 16,384 rows or more, or of more than 8 MB, a part may be
                stored.
        """
    def write_frame(self, frame: object, tz: str | tzinfo | None = None) -> WriteReport:
        """Store the rows of a frame, and return what became of each.

        Large frames go straight into blocks. If the call is cancelled or fails, a part may be stored, but in SQLite all
        rows or none; call it again with the same frame to store the rest.

        Args:
            frame: a polars or pandas ``DataFrame``, a ``pyarrow.Table``, a mapping or a structured array of NumPy, or a
                list of dicts; what :meth:`read_frame` returns can be written back. Its columns are ``timestamp``, the
                sequence if the slot has one, and the slot's columns; those that are nullable may be missing. Times are
                integers in the slot's unit or typed times, aware if the library knows zones. Rows may be in any order.
            tz: the zone of naive times, such as ``UTC`` or ``America/New_York``.

        Returns:
            How many rows were new, how many had a key that was stored already or that another row of the frame has, and
            the positions of the refused ones by reason: those without a time or with one outside of the years 1 to
            9999, without a sequence, with a null in a column that can't hold it, or whose interval has not ended.

        Raises:
            InputError: a column is missing, unknown, or holds what the slot's can't hold without losing digits, a row
                takes more than 12 MB, in SQLite 900 MB, or times are naive and no zone is given; nothing was stored.
            StoreUnavailableError: MongoDB can't be reached; a part may be stored.
            StoreError: MongoDB answers with an error; a part may be stored.
        """
    def delete(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> int:
        """Delete the rows of the half-open range ``[start, end)``.

        It works in steps; a row that is written meanwhile may be deleted or stay. If the call fails, a part may be
        deleted; call it again to delete the rest.

        Args:
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
                first row.
            end: the same; ``None`` for the end. Without both all of the series is deleted.

        Returns:
            How many rows were deleted.

        Raises:
            InputError: a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached; a part may be deleted.
            StoreError: MongoDB answers with an error, or a block that only partly lies in the range is damaged.
        """
    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["polars"] = "polars",
        when: When | None = None,
    ) -> polars.DataFrame:
        """Return the rows of the half-open range ``[start, end)`` as a frame, in the order of time and sequence.

        Args:
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text, which is UTC if it
                has no offset; ``None`` for the first row.
            end: the same; ``None`` for the end of what is stored.
            columns: the columns to read; ``None`` for all. The time and the sequence are always there.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays, masked where a column has nulls.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. Later rows
                count as not stored, and so do those on a grid whose interval was not over. ``None`` is no limit.

        Returns:
            A frame with ``timestamp`` (UTC, in the slot's unit), the sequence if the slot has one, and the columns.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or a block or group is damaged: the message says which rows are
                lost.
        """
    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["pandas"],
        when: When | None = None,
    ) -> pandas.DataFrame:
        """Return the rows of the half-open range ``[start, end)`` as a frame, in the order of time and sequence.

        Args:
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text, which is UTC if it
                has no offset; ``None`` for the first row.
            end: the same; ``None`` for the end of what is stored.
            columns: the columns to read; ``None`` for all. The time and the sequence are always there.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays, masked where a column has nulls.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. Later rows
                count as not stored, and so do those on a grid whose interval was not over. ``None`` is no limit.

        Returns:
            A frame with ``timestamp`` (UTC, in the slot's unit), the sequence if the slot has one, and the columns.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or a block or group is damaged: the message says which rows are
                lost.
        """
    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["arrow"],
        when: When | None = None,
    ) -> pyarrow.Table:
        """Return the rows of the half-open range ``[start, end)`` as a frame, in the order of time and sequence.

        Args:
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text, which is UTC if it
                has no offset; ``None`` for the first row.
            end: the same; ``None`` for the end of what is stored.
            columns: the columns to read; ``None`` for all. The time and the sequence are always there.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays, masked where a column has nulls.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. Later rows
                count as not stored, and so do those on a grid whose interval was not over. ``None`` is no limit.

        Returns:
            A frame with ``timestamp`` (UTC, in the slot's unit), the sequence if the slot has one, and the columns.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or a block or group is damaged: the message says which rows are
                lost.
        """
    @overload
    def read_frame(
        self,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        columns: Iterable[str] | None = None,
        as_: Literal["numpy"],
        when: When | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the rows of the half-open range ``[start, end)`` as a frame, in the order of time and sequence.

        Args:
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text, which is UTC if it
                has no offset; ``None`` for the first row.
            end: the same; ``None`` for the end of what is stored.
            columns: the columns to read; ``None`` for all. The time and the sequence are always there.
            as_: ``polars``, ``pandas`` or ``arrow`` (a ``pyarrow.Table``), which the extra ``frames`` installs, or
                ``numpy``: a dict of arrays, masked where a column has nulls.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. Later rows
                count as not stored, and so do those on a grid whose interval was not over. ``None`` is no limit.

        Returns:
            A frame with ``timestamp`` (UTC, in the slot's unit), the sequence if the slot has one, and the columns.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or a block or group is damaged: the message says which rows are
                lost.
        """
    def read_last(
        self, count: int, *, columns: Iterable[str] | None = None, when: When | None = None
    ) -> list[dict[str, Any]]:
        """Return the last rows, in the order of time and sequence.

        Args:
            count: how many rows, 1 or more.
            columns: the columns to read, besides the time and the sequence; ``None`` for all.
            when: the reader's simulation time, as for :meth:`read_frame`.

        Returns:
            ``count`` rows as dicts, or all if there are fewer; the newest one is the last. ``timestamp`` is an integer
            in the slot's unit, and nulls are ``None``.

        Raises:
            InputError: an argument is wrong.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    def read_asof(
        self, time: SeriesTime, *, columns: Iterable[str] | None = None, when: When | None = None
    ) -> dict[str, Any] | None:
        """Return the latest row at or before a time: the one with the greatest key up to it.

        Args:
            time: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text.
            columns: the columns to read, besides the time and the sequence; ``None`` for all.
            when: the reader's simulation time, as for :meth:`read_frame`.

        Returns:
            The row as a dict, ``None`` if there is none.

        Raises:
            InputError: an argument is wrong.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        price: str | None = None,
        amount: str | None = None,
        as_: Literal["polars"] = "polars",
        when: When | None = None,
    ) -> polars.DataFrame:
        """Return the candles of the series::

            minutes = trade.resample("1m", "2024-01-01", "2024-02-01")

        The candles are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none
        shows what came after its own end, after ``end`` or after ``when``. An interval without rows has no candle.

        Args:
            interval: of the candles, such as ``1m``, ``1h`` or ``1d``; they open on its grid, in UTC.
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
                interval of the first row.
            end: the same; ``None`` for all that is over.
            price: the column of the prices, rows without one are left out; ``None`` for ``price`` or ``last_price``.
            amount: the column of the amounts, whose sum is the volume; ``None`` for ``amount`` or ``last_volume`` if
                ``price`` is not given either, and otherwise for volumes of 0.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame with ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64), in the order of time.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        price: str | None = None,
        amount: str | None = None,
        as_: Literal["pandas"],
        when: When | None = None,
    ) -> pandas.DataFrame:
        """Return the candles of the series::

            minutes = trade.resample("1m", "2024-01-01", "2024-02-01")

        The candles are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none
        shows what came after its own end, after ``end`` or after ``when``. An interval without rows has no candle.

        Args:
            interval: of the candles, such as ``1m``, ``1h`` or ``1d``; they open on its grid, in UTC.
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
                interval of the first row.
            end: the same; ``None`` for all that is over.
            price: the column of the prices, rows without one are left out; ``None`` for ``price`` or ``last_price``.
            amount: the column of the amounts, whose sum is the volume; ``None`` for ``amount`` or ``last_volume`` if
                ``price`` is not given either, and otherwise for volumes of 0.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame with ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64), in the order of time.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        price: str | None = None,
        amount: str | None = None,
        as_: Literal["arrow"],
        when: When | None = None,
    ) -> pyarrow.Table:
        """Return the candles of the series::

            minutes = trade.resample("1m", "2024-01-01", "2024-02-01")

        The candles are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none
        shows what came after its own end, after ``end`` or after ``when``. An interval without rows has no candle.

        Args:
            interval: of the candles, such as ``1m``, ``1h`` or ``1d``; they open on its grid, in UTC.
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
                interval of the first row.
            end: the same; ``None`` for all that is over.
            price: the column of the prices, rows without one are left out; ``None`` for ``price`` or ``last_price``.
            amount: the column of the amounts, whose sum is the volume; ``None`` for ``amount`` or ``last_volume`` if
                ``price`` is not given either, and otherwise for volumes of 0.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame with ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64), in the order of time.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    @overload
    def resample(
        self,
        interval: str,
        start: SeriesTime | None = None,
        end: SeriesTime | None = None,
        *,
        price: str | None = None,
        amount: str | None = None,
        as_: Literal["numpy"],
        when: When | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the candles of the series::

            minutes = trade.resample("1m", "2024-01-01", "2024-02-01")

        The candles are those whose intervals lie within the half-open range ``[start, end)`` and are over, so none
        shows what came after its own end, after ``end`` or after ``when``. An interval without rows has no candle.

        Args:
            interval: of the candles, such as ``1m``, ``1h`` or ``1d``; they open on its grid, in UTC.
            start: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
                interval of the first row.
            end: the same; ``None`` for all that is over.
            price: the column of the prices, rows without one are left out; ``None`` for ``price`` or ``last_price``.
            amount: the column of the amounts, whose sum is the volume; ``None`` for ``amount`` or ``last_volume`` if
                ``price`` is not given either, and otherwise for volumes of 0.
            as_: as for :meth:`read_frame`.
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. An
                interval is over when its end is not later than this. ``None`` is now.

        Returns:
            A frame with ``timestamp`` (UTC, milliseconds) and ``open``, ``high``, ``low``, ``close`` and ``volume``
            (float64), in the order of time.

        Raises:
            InputError: an argument is wrong, or a library is not installed.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    def resample_into(
        self,
        candles: Adapter,
        *,
        start: SeriesTime | None = None,
        price: str | None = None,
        amount: str | None = None,
        delay_ms: int = 0,
    ) -> WriteReport:
        """Store the candles of the series in another one, from where the last call stopped::

            trade.resample_into(persist.candle("BTCUSDT", "1m", "binance"))

        A candle is stored when its interval is over and a row is stored whose time is its end or later, so that no
        more of its rows are expected. Rows that arrive later still don't change a candle, as its first write wins.
        Calling it again, also after it was killed, stores what is missing, with the same values.

        Args:
            candles: the adapter of candles, or of a series with columns that has a grid and columns of float64 named
                ``open``, ``high``, ``low``, ``close`` and ``volume``. Its interval is theirs.
            start: where to begin; ``None`` for where the last call stopped, which is at the first gap of the last 4,096
                intervals or else after the last candle, whoever has stored it.
            price: as for :meth:`resample`.
            amount: as for :meth:`resample`.
            delay_ms: for how many milliseconds after its end the rows of an interval may still come; a row must be
                stored that is later than that.

        Returns:
            How many candles were new, how many were stored already, and the times of those that the other series
            refuses, by reason.

        Raises:
            InputTypeError: ``candles`` is no adapter of candles, or another argument has the wrong type.
            InputError: an argument is wrong.
            StoreUnavailableError: a database can't be reached; a part may be stored.
            StoreError: a database answers with an error, or what is stored is damaged; a part may be stored.
        """
    def coverage(self, *, when: When | None = None) -> Coverage:
        """Return the times of the first and the last row, and the number of rows.

        Args:
            when: the reader's simulation time, as for :meth:`read_frame`.

        Returns:
            Times in the slot's unit, UTC; ``None`` if no row is stored.

        Raises:
            InputError: ``when`` is not a time.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    def gaps(self, start: SeriesTime | None = None, end: SeriesTime | None = None) -> list[Gap]:
        """Return what is missing in the half-open range ``[start, end)`` of a series on a grid, by time.

        Rows are missing between two that are 1.5 intervals apart or more, before the first row and after the last one,
        as for candles. Of a series without rows the whole range is missing.

        Args:
            start: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the first row.
            end: the same; ``None`` for now. A row whose interval is not over is never missing.

        Returns:
            The gaps, each a half-open range of milliseconds and the number of rows that are missing in it.

        Raises:
            InputError: the slot has no grid, a time is wrong, or ``start`` comes after ``end``.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error, or what is stored is damaged.
        """
    def size(self) -> SeriesSize:
        """Return how the series is stored: its blocks, and the tail of rows that are not in blocks yet.

        Within :func:`~backtest_mongo.as_of` too, it is about what is stored now.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def retain(self, keep: str | None) -> None:
        """Keep a part of the series from now on, and delete the rest::

            trade.retain("90d")

        It is stored with the series, whichever process writes it. What need not be kept is deleted now, by writes when
        they have merged the tail into blocks, and by ``backtest-mongo prune``. Blocks and groups of rows are deleted as
        a whole, so that up to a block more is kept: 65,536 rows, or 12 MB of them before compression.

        Args:
            keep: ``"90d"`` keeps the rows of the 90 days before the last row, or before now if that is later than now;
                ``"1000000"`` the last million rows, ``"5GB"`` the last rows that take so many bytes (``KB``, ``MB``,
                ``GB``, ``TB``: powers of 1,000); ``None`` all.

        Raises:
            InputError: ``keep`` is none of these.
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    def seal(self) -> SealReport:
        """Merge all of the tail into blocks.

        Writes do so themselves when the tail has become long. It may be killed at any time, and several may run at
        once. A standalone MongoDB has no transactions, so its rows stay in the tail.

        Returns:
            How many blocks were written, and how many rows of the tail are in them.

        Raises:
            StoreUnavailableError: MongoDB can't be reached; a part may be sealed.
            StoreError: MongoDB answers with an error, or what is stored is damaged; a part may be sealed.
        """
    def verify(self) -> VerifyReport:
        """Read every block and every group of the tail, and compare their checksums.

        Blocks are the only place of their rows, so nothing can repair them. Within :func:`~backtest_mongo.as_of` too,
        all that is stored now is read.

        Returns:
            How many blocks and groups were read, the rows in them, and what is wrong with the damaged ones by the time
            of their first row; ``None`` is the key of those whose first time is not known.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """
    @classmethod
    def list_series(cls) -> Iterator[Self]:
        """Iterate over every series that is stored, each as an adapter, in the order of the unique index.

        Raises:
            StoreUnavailableError: MongoDB can't be reached.
            StoreError: MongoDB answers with an error.
        """

class TradeAdapter(ColumnSeriesAdapter):
    """The ``trade`` slot: the trades of a market, each with the exchange's id.

    ::

        trade = TradeAdapter(symbol, exchange_name)
        trade.append(rows)
        frame = trade.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``, ``trade_id``. Times count microseconds.
    They have the columns ``price``, ``amount``, ``side``.
    The first write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

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
        quote.append(rows)
        frame = quote.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``, ``update_id``. Times count microseconds.
    They have the columns ``bid_price``, ``bid_amount``, ``ask_price``, ``ask_amount``.
    The first write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

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
        tick.append(rows)
        frame = tick.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``. Times count microseconds.
    They have the columns ``name``, ``volume``, ``turnover``, ``open_interest``, ``last_price``, ``last_volume``, ``limit_up``, ``limit_down``, ``open_price``, ``high_price``, ``low_price``, ``pre_close``, ``bid_price_1``, ``bid_price_2``, ``bid_price_3``, ``bid_price_4``, ``bid_price_5``, ``ask_price_1``, ``ask_price_2``, ``ask_price_3``, ``ask_price_4``, ``ask_price_5``, ``bid_volume_1``, ``bid_volume_2``, ``bid_volume_3``, ``bid_volume_4``, ``bid_volume_5``, ``ask_volume_1``, ``ask_volume_2``, ``ask_volume_3``, ``ask_volume_4``, ``ask_volume_5``, ``localtime``.
    The last write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

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
        funding.append(rows)
        frame = funding.read_frame(start, end)

    Its rows are unique by ``exchangeName``, ``symbol``, ``timestamp``. Times count milliseconds.
    They have the columns ``rate``, ``mark_price``, ``interval_hours``.
    The last write of a row wins.
    """

    def __init__(self, symbol: str, exchange_name: str) -> None:
        """Make an adapter for this context. It opens no connection.

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
        equity.append(rows)
        frame = equity.read_frame(start, end)

    Its rows are unique by ``strategyName``, ``exchangeName``, ``frameName``, ``symbol``, ``backtest``, ``timestamp``. Times count milliseconds.
    They have the columns ``equity``, ``cash``, ``unrealized_pnl``, ``position``.
    The last write of a row wins.
    """

    def __init__(
        self, strategy_name: str, exchange_name: str, frame_name: str, symbol: str = "", backtest: bool = False
    ) -> None:
        """Make an adapter for this context. It opens no connection.

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

class TypedSignalAdapter(DocumentAdapter, Generic[_M]):
    """The ``signal`` slot with a model: a :class:`~backtest_mongo.SignalAdapter` of its objects."""

    @overload
    def read_signal_data(self, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    def read_signal_data(self, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    def read_signal_data(self, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    def write_signal_data(self, row: _M | None, *, if_absent: bool = False, expect: Version | None = None) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context]) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, _M | None]]) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedScheduleAdapter(DocumentAdapter, Generic[_M]):
    """The ``schedule`` slot with a model: a :class:`~backtest_mongo.ScheduleAdapter` of its objects."""

    @overload
    def read_schedule_data(self, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    def read_schedule_data(self, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    def read_schedule_data(self, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    def write_schedule_data(self, row: _M | None, *, if_absent: bool = False, expect: Version | None = None) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context]) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, _M | None]]) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedStrategyAdapter(DocumentAdapter, Generic[_M]):
    """The ``strategy`` slot with a model: a :class:`~backtest_mongo.StrategyAdapter` of its objects."""

    @overload
    def read_strategy_data(self, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    def read_strategy_data(self, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    def read_strategy_data(self, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    def write_strategy_data(self, row: _M | None, *, if_absent: bool = False, expect: Version | None = None) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context]) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, _M | None]]) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedRiskAdapter(DocumentAdapter, Generic[_M]):
    """The ``risk`` slot with a model: a :class:`~backtest_mongo.RiskAdapter` of its objects."""

    @overload
    def read_position_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> list[_M]:
        """Return what is stored for this context."""
    @overload
    def read_position_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[list[_M]]:
        """Return what is stored for this context."""
    @overload
    def read_position_data(self, when: When | None = None, *, with_version: bool) -> Versioned[list[_M]] | list[_M]:
        """Return what is stored for this context."""
    def write_position_data(
        self,
        positions: Sequence[_M],
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``positions`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[list[_M]]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, Sequence[_M]]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedPartialAdapter(EntryAdapter, Generic[_M]):
    """The ``partial`` slot with a model: a :class:`~backtest_mongo.PartialAdapter` of its objects."""

    @overload
    def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``signal_id``."""
    @overload
    def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``signal_id``."""
    @overload
    def read_partial_data(
        self, signal_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``signal_id``."""
    def write_partial_data(
        self,
        data: _M,
        signal_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored."""

class TypedBreakevenAdapter(EntryAdapter, Generic[_M]):
    """The ``breakeven`` slot with a model: a :class:`~backtest_mongo.BreakevenAdapter` of its objects."""

    @overload
    def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``signal_id``."""
    @overload
    def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``signal_id``."""
    @overload
    def read_breakeven_data(
        self, signal_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``signal_id``."""
    def write_breakeven_data(
        self,
        data: _M,
        signal_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``signal_id``, in place of what was stored."""

class TypedStorageAdapter(CollectionAdapter, Generic[_M]):
    """The ``storage`` slot with a model: a :class:`~backtest_mongo.StorageAdapter` of its objects."""

    def read_storage_data(
        self,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[_M]:
        """Return every row, however many there are."""
    def write_storage_data(self, signals: Sequence[_M]) -> None:
        """Store each of ``signals`` under its own ``id``; rows with other ids stay as they are."""

class TypedNotificationAdapter(CollectionAdapter, Generic[_M]):
    """The ``notification`` slot with a model: a :class:`~backtest_mongo.NotificationAdapter` of its objects."""

    def read_notification_data(
        self,
        limit: int = 200,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[_M]:
        """Return the newest rows: those whose first write came last."""
    def write_notification_data(self, notifications: Sequence[_M]) -> None:
        """Store each of ``notifications`` under its own ``id``; rows with other ids stay as they are."""

class TypedLogAdapter(CollectionAdapter, Generic[_M]):
    """The ``log`` slot with a model: a :class:`~backtest_mongo.LogAdapter` of its objects."""

    def read_log_data(
        self,
        limit: int = 200,
        *,
        strategy_name: str | None = None,
        symbol: str | None = None,
        since: When | None = None,
        until: When | None = None,
    ) -> list[_M]:
        """Return the newest rows: those whose first write came last."""
    def write_log_data(self, entries: Sequence[_M]) -> None:
        """Store each of ``entries`` under its own ``id``; rows with other ids stay as they are."""

class TypedMeasureAdapter(BucketAdapter, Generic[_M]):
    """The ``measure`` slot with a model: a :class:`~backtest_mongo.MeasureAdapter` of its objects."""

    @overload
    def read_measure_data(self, key: str, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for ``key``."""
    @overload
    def read_measure_data(self, key: str, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for ``key``."""
    @overload
    def read_measure_data(self, key: str, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``key``."""
    def write_measure_data(
        self, data: _M, key: str, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back."""
    def remove_measure_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing."""
    def list_measure_data(self, *, prefix: str = "") -> Iterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order."""
    def range_measure_data(
        self, first: str | None = None, last: str | None = None, *, newest_first: bool = False, prefix: str = ""
    ) -> Iterator[tuple[str, _M]]:
        """Iterate over ``(key, payload)`` of the rows from ``first`` to ``last``, in the order of the keys."""
    def newest_measure_data(self, limit: int, *, prefix: str = "") -> list[tuple[str, _M]]:
        """Return ``(key, payload)`` of the rows with the largest keys, by code points, removed rows left out."""

class TypedIntervalAdapter(BucketAdapter, Generic[_M]):
    """The ``interval`` slot with a model: a :class:`~backtest_mongo.IntervalAdapter` of its objects."""

    @overload
    def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``key``."""
    @overload
    def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``key``."""
    @overload
    def read_interval_data(
        self, key: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``key``."""
    def write_interval_data(
        self, data: _M, key: str, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for ``key``, in place of what was stored; a removed row comes back."""
    def remove_interval_data(self, key: str) -> None:
        """Mark the row of ``key`` as removed, and keep its document. Removing an absent row does nothing."""
    def list_interval_data(self, when: When | None = None, *, prefix: str = "") -> Iterator[str]:
        """Iterate over the ``key`` of every row that is not removed, in ascending order."""
    def range_interval_data(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        newest_first: bool = False,
        prefix: str = "",
        when: When | None = None,
    ) -> Iterator[tuple[str, _M]]:
        """Iterate over ``(key, payload)`` of the rows from ``first`` to ``last``, in the order of the keys."""
    def newest_interval_data(self, limit: int, *, prefix: str = "", when: When | None = None) -> list[tuple[str, _M]]:
        """Return ``(key, payload)`` of the rows with the largest keys, by code points, removed rows left out."""

class TypedMemoryAdapter(BucketAdapter, Generic[_M]):
    """The ``memory`` slot with a model: a :class:`~backtest_mongo.MemoryAdapter` of its objects."""

    @overload
    def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: Literal[False] = False
    ) -> _M | None:
        """Return what is stored for ``memory_id``."""
    @overload
    def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: Literal[True]
    ) -> Versioned[_M | None]:
        """Return what is stored for ``memory_id``."""
    @overload
    def read_memory_data(
        self, memory_id: str, when: When | None = None, *, with_version: bool
    ) -> Versioned[_M | None] | _M | None:
        """Return what is stored for ``memory_id``."""
    def write_memory_data(
        self,
        data: _M,
        memory_id: str,
        when: When | None = None,
        *,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        """Store ``data`` for ``memory_id``, in place of what was stored; a removed row comes back."""
    def remove_memory_data(self, memory_id: str) -> None:
        """Mark the row of ``memory_id`` as removed, and keep its document. Removing an absent row does nothing."""
    def list_memory_data(self, when: When | None = None, *, prefix: str = "") -> Iterator[tuple[str, _M]]:
        """Iterate over ``(memory_id, payload)`` of every row that is not removed, in ascending order of the keys."""
    def has_memory_data(self, memory_id: str) -> bool:
        """Check whether ``memory_id`` was ever written; a removed row counts."""
    def range_memory_data(
        self,
        first: str | None = None,
        last: str | None = None,
        *,
        newest_first: bool = False,
        prefix: str = "",
        when: When | None = None,
    ) -> Iterator[tuple[str, _M]]:
        """Iterate over ``(memory_id, payload)`` of the rows from ``first`` to ``last``, in the order of the keys."""
    def newest_memory_data(self, limit: int, *, prefix: str = "", when: When | None = None) -> list[tuple[str, _M]]:
        """Return ``(memory_id, payload)`` of the rows with the largest keys, by code points, removed rows left out."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class TypedRecentAdapter(DocumentAdapter, Generic[_M]):
    """The ``recent`` slot with a model: a :class:`~backtest_mongo.RecentAdapter` of its objects."""

    @overload
    def read_recent_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    def read_recent_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    def read_recent_data(self, when: When | None = None, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    def write_recent_data(
        self, row: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``row`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""

class TypedStateAdapter(DocumentAdapter, Generic[_M]):
    """The ``state`` slot with a model: a :class:`~backtest_mongo.StateAdapter` of its objects."""

    @overload
    def read_state_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    def read_state_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    def read_state_data(self, when: When | None = None, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    def write_state_data(
        self, data: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class TypedDictionaryAdapter(DocumentAdapter, Generic[_M]):
    """The ``dictionary`` slot with a model: a :class:`~backtest_mongo.DictionaryAdapter` of its objects."""

    @overload
    def read_dictionary_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    def read_dictionary_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    def read_dictionary_data(self, when: When | None = None, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    def write_dictionary_data(
        self, data: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class TypedSessionAdapter(DocumentAdapter, Generic[_M]):
    """The ``session`` slot with a model: a :class:`~backtest_mongo.SessionAdapter` of its objects."""

    @overload
    def read_session_data(self, when: When | None = None, *, with_version: Literal[False] = False) -> _M | None:
        """Return what is stored for this context."""
    @overload
    def read_session_data(self, when: When | None = None, *, with_version: Literal[True]) -> Versioned[_M | None]:
        """Return what is stored for this context."""
    @overload
    def read_session_data(self, when: When | None = None, *, with_version: bool) -> Versioned[_M | None] | _M | None:
        """Return what is stored for this context."""
    def write_session_data(
        self, data: _M, when: When | None = None, *, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        """Store ``data`` for this context, in place of what was stored."""
    @classmethod
    def read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[_M | None]:
        """Return what is stored for many contexts, in one round trip."""
    @classmethod
    def write_many(cls, rows: Iterable[tuple[Context, _M]], when: When | None = None) -> None:
        """Store the payloads of many contexts, in one round trip."""
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""

class Past:
    """Everything as it was at a time: a method for each slot, as ``persist`` has.

    Attributes:
        when: the time, in milliseconds since the epoch (UTC).
    """

    when: int
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None: ...
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

class Registry:
    """Gives engines and strategies their storage, without naming it: ``backtest_mongo.persist``, without ``await``.

    Both are one: what :meth:`use_sqlite`, :meth:`use` and others choose, they choose for both. An implementation of
    your own that :meth:`use` names is asynchronous.
    """
    def use(self, **implementations: Callable[..., Any]) -> None:
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
    def use_mongo(self, *, slots: Iterable[str] | None = None) -> None:
        """Make slots store in MongoDB. ``install()`` does so for all.

        Args:
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot. Nothing is changed then.
        """
    def use_files(self, directory: str | os.PathLike[str] = "dump", *, slots: Iterable[str] | None = None) -> None:
        """Make slots store in JSON files, laid out as the Node package's. No server is needed.

        ``setup()`` points every slot at MongoDB, so call this after it::

            setup()
            persist.use_files("dump", slots=("log", "notification"))

        Nothing is made on disk before the first write.

        Args:
            directory: where the files are. A relative path is resolved now, whatever the working directory is later.
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot. Nothing is changed then.
        """
    def use_sqlite(self, path: str | os.PathLike[str] = "backtest.db", *, slots: Iterable[str] | None = None) -> None:
        """Make slots store in an SQLite database, which is one file. No server is needed.

        Before ``setup()`` every slot stores in ``backtest.db`` in the working directory. ``setup()`` points
        every slot at MongoDB, so call this after it.

        Any number of processes, threads and event loops may share the file. A write is on the disk when its call
        returns; concurrent ones share a transaction. Nothing is made on disk before the first write or
        ``wait_for_init()``. :func:`~backtest_mongo.close` waits for pending writes and closes the file; the next
        operation opens it again.

        Args:
            path: the file, on a local disk. A relative path is resolved now, whatever the working directory is later.
                ``:memory:`` is a database without a file, one for all of the process and lasting as long as it.
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot, or ``path`` is a directory or can't be a path. Nothing is changed then.
                What else is wrong with a file is raised by the first operation: it is another program's, was written by
                a newer version of this library, or can't be opened or written by this user.
        """
    def use_dummy(self, *, slots: Iterable[str] | None = None) -> None:
        """Make slots check their input and store nothing: reads find nothing. No server is needed.

        Args:
            slots: names of slots; ``None`` is every slot. The others keep what they have.

        Raises:
            ConfigError: there is no such slot. Nothing is changed then.
        """
    def register(self, spec: SlotSpec) -> Any:
        """Add a slot of your own, and return its adapter class, made like those of this library.

        From then on ``persist`` has a method of the slot's name. Registering an equal row again returns the same class.

        Type checkers can't read the row, so they accept every call of the class. They check it where a ``Protocol`` of
        yours is given: ``OrderBookAdapter: Callable[[str, str], OrderBook] = persist.register(...)``. They report
        ``persist.order_book`` as an error; write ``getattr(persist, "order_book")``.

        Args:
            spec: the slot's row.

        Returns:
            The adapter class. It belongs to the calling module, so that ``pickle`` finds it there.

        Raises:
            SlotError: the row's name, collection or Redis prefix is taken.
            InputTypeError: ``spec`` is not a :class:`~backtest_mongo.SlotSpec`.
        """
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

persist: Registry

def export_candles(
    symbol: str,
    interval: Interval,
    exchange_name: str,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    fill: Literal["null", "forward"] | None = None,
    progress: ExportProgress | None = None,
) -> int:
    """Write stored candles to a Parquet or CSV file, in the order of their times.

    The ending of ``path`` chooses the format: ``.parquet``, ``.csv`` or ``.csv.gz``. In CSV, times are milliseconds
    since the epoch (UTC); in Parquet, timestamps in UTC. Both formats can be imported again without losing a digit.
    The file appears when it is complete, and replaces one of this name. Candles are read in bounded memory.

    Args:
        symbol: the symbol of the series.
        interval: the interval of the series, such as ``1m``.
        exchange_name: the exchange of the series.
        path: the file to write.
        start: the first open time; ``None`` for the first that is stored.
        end: the time before which the last candle opens; ``None`` for the last that is stored.
        fill: what to write where a candle is missing: ``null`` a row without numbers, ``forward`` a flat candle at the
            previous close, without volume; ``None`` nothing.
        progress: receives the progress of the export.

    Returns:
        How many rows the file has.

    Raises:
        InputError: an argument is wrong, or nothing is stored in the range.
        OSError: the file can't be written.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
    """

def export_dump(
    directory: str | os.PathLike[str] | None = None,
    *,
    sqlite: str | os.PathLike[str] | None = None,
    slots: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Export MongoDB to files in the layout of the Node package's default storage, or to an SQLite file.

    **Files**, one per row: the Node package and ``persist.use_files(directory)`` read them. Hidden files next to them
    hold what a row's file can't: ids, dates and types. With these, :func:`import_dump` into an empty database restores
    the same documents, bit by bit. Series with columns, such as trades, have no such files: the report says what is
    left out. A candle is a file too, so choose ``slots`` if there are millions of candles.
    Existing files are replaced, atomically, if they differ; files of other rows stay.

    **SQLite**: ``persist.use_sqlite(sqlite)`` reads the file. It has each row's payload with its types, its simulation
    time, whether it is removed, when it was created and written, and the order of newest rows; not the document's id,
    nor fields of other programs. Of series with columns it has all rows, but not what is kept of them. The file is made
    beside its place and takes it once it is complete, so an export that was interrupted leaves nothing, and can be run
    again.

    A row that another program writes during the export is exported as it was before or after that write. On return
    everything that was written is durable.

    Args:
        directory: the dump; it is created if it is missing.
        sqlite: the SQLite file, instead of a directory. It must not exist, or hold no rows.
        slots: names of the slots to export; by default all slots, registered ones included.
        progress: is called repeatedly with a slot's name and the number of its rows that have been written.

    Returns:
        How many files or rows of each slot were written or existed already, and which documents were left out, and why.

    Raises:
        InputError: there is no such slot; the SQLite file holds rows; or not exactly one of ``directory`` and
            ``sqlite`` is given.
        ConfigError: ``sqlite`` can't be a database, or is another program's.
        StoreUnavailableError: MongoDB can't be reached or did not answer in time, or another process uses the file.
        StoreError: MongoDB can't be read, or the directory or the file can't be written.
    """

def export_series(
    adapter: ColumnSeriesAdapter,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    progress: ExportProgress | None = None,
) -> int:
    """Write the rows of a series to a Parquet or CSV file, in the order of time and sequence.

    The ending of ``path`` chooses the format: ``.parquet``, ``.csv`` or ``.csv.gz``. In CSV, times are integers in the
    slot's unit since the epoch (UTC), which the name of their column says; in Parquet, timestamps in UTC. An empty
    field is null, and two quotes are text without a character. Both formats can be imported again without losing a bit.
    The file appears when it is complete, and replaces one of this name. Rows are read in bounded memory.

    Args:
        adapter: of the series.
        path: the file to write.
        start: the first time: an integer in the slot's unit, an aware datetime or ISO 8601 text; ``None`` for the first
            that is stored.
        end: the time before which the last row is; ``None`` for the last that is stored.
        progress: receives the progress of the export.

    Returns:
        How many rows the file has.

    Raises:
        InputError: an argument is wrong, nothing is stored in the range, or text has a line break or a NUL, which CSV
            files can't hold here.
        InputTypeError: the adapter is not one of a series with columns.
        OSError: the file can't be written.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error, or what is stored is damaged.
    """

def fork(
    name: str | os.PathLike[str],
    *,
    at: When,
    strategy_name: str | None = None,
    copy_candles: bool = False,
    as_backtest: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ForkReport:
    """Copy every slot, as it was at a simulation time, into another, empty database, to continue from there::

        report = fork("what_if", at=trade_opened)
        setup(**report.config)  # the same servers, another database, and the candles of the first one
        ...  # the strategy continues from that bar

    It copies where ``persist`` stores: from MongoDB into the database ``name`` of the same servers, from an SQLite file
    into another one. A row is copied as it was then, from the versions that ``CC_HISTORY`` or ``SlotSpec(history=)``
    keep. A row without versions is copied as it is if it was not written since; otherwise its past is unknown, and it
    is left out and listed. Rows that did not exist yet or were removed are not copied; cleared ones are. Rows that have
    since been deleted for good are lost.

    In the fork a row has its key, its payload and the time of its version as ``when``, and lists of the newest rows
    keep their order. In slots with history it has that one version. No row belongs to a run, and nobody holds a lease.

    Others may write meanwhile, which does not change the past. Where ``at`` is later than a row's own time, the row is
    copied as it is when it is read; rows that are written while the fork runs may then be from different moments.

    A fork in MongoDB that fails or is killed stays unfinished and can't be used; only a call with the same arguments
    accepts it, and starts over. An SQLite file takes its place once it is complete.

    Of series with columns, such as trades and equity, the rows that were known at the time are copied, also those that
    were stored later, and with the values that they have by now.

    Args:
        name: the database in MongoDB, or the path of the SQLite file; a name without directory and suffix is a file
            beside the source: ``what_if`` means ``what_if.db``. It must be empty or missing.
        at: the time: milliseconds since the epoch (UTC), or an aware ``datetime``.
        strategy_name: copy only the rows of this strategy: those with it in their key, rows of storage, notification
            and log whose payload names it, rows keyed by the ids of its signals, and series of markets, whose contexts
            name no strategy. Rows that can't be attributed to a strategy are left out and counted in the report.
        copy_candles: copy all candles. Otherwise they stay where they are, and are read and written there: ``config``
            of the report has ``CC_CANDLE_DATABASE``.
        as_backtest: turn live rows into backtest rows: ``backtest`` in their keys becomes true. Payloads stay.
        dry_run: write nothing, and report what would be copied.
        progress: is called with a slot's name and how many of its rows, or candles, have been copied so far.

    Returns:
        What was copied, what was left out and why, and the settings to go on with.

    Raises:
        InputError: ``name`` can't be a database's or is the source, the database is not empty, ``at`` is not a time, a
            live row and a backtest's would have one key, or a ``transaction()`` or ``lease()`` is open around the call.
        InputTypeError: an argument has the wrong type.
        ConfigError: ``name`` can't be a file, or is another program's.
        StoreError: a slot is stored in JSON files or in a storage of your own, not all of them are in one database, or
            the database answered with an error.
        StoreUnavailableError: the database did not answer. Call it again.
    """

def import_candles(
    symbol: str | None,
    interval: Interval,
    exchange_name: str,
    paths: Iterable[str | Path],
    *,
    options: ReadOptions | None = None,
    check_spacing: bool = True,
    check_names: bool = True,
    progress: ImportProgress | None = None,
) -> CandleImportReport:
    """Write the candles of files to their series.

    Reads text with commas, semicolons, tabs or bars between columns, Parquet and Feather; plain, gzipped, or in zip
    archives. A directory's candle files are read in the order of their names. How numbers and times are written is
    decided once per file, and a file that can be understood in two ways is refused. A file that can't be read is
    reported, and the others are imported.

    Candles that are stored already stay as they are, so an import that was interrupted continues when it is run again.
    Candles are written and sealed chunk by chunk, in bounded memory.

    Args:
        symbol: the symbol that the candles are stored under. If a file names symbols, only rows of this one are read;
            with ``None`` rows of all symbols are read, and each is stored under its own.
        interval: the interval of the candles, such as ``1m``.
        exchange_name: the exchange that the candles are stored under.
        paths: candle files, zip archives, or directories of both.
        options: how to read what the files leave open. Its ``interval`` and ``symbol`` are ignored.
        check_spacing: refuse files whose candles are not one interval apart.
        check_names: refuse files whose names contain another symbol or interval.
        progress: receives the progress of the import.

    Returns:
        What became of every line; ``report.is_complete`` says whether all of them are candles that are stored or still
        open.

    Raises:
        InputError: an argument is wrong, a path does not exist, or a directory has no candle files. Hints name the
            options of ``backtest-mongo candles import``.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
    """

def import_dump(
    directory: str | os.PathLike[str],
    *,
    apply: bool = False,
    conflicts: Conflicts = "newest",
    slots: Iterable[str] | None = None,
    strategies: Iterable[str] = (),
    exchanges: Iterable[str] = (),
    progress: Progress | None = None,
    sqlite: str | os.PathLike[str] | None = None,
) -> ImportReport:
    """Import a dump or an SQLite file into MongoDB, or with ``sqlite`` into another SQLite file.

    A dump is a directory with the files of the Node package, of ``persist.use_files()`` or of ``export_dump()``; an
    SQLite file is that of ``persist.use_sqlite()`` or of ``export_dump(sqlite=...)``.

    Without ``apply`` nothing is written, and the report says what would change. A row that is stored already changes
    nothing, so an import may be repeated at any time, for example after it was interrupted. Other programs may read and
    write at the same time: a row that they write during the import stays. Stored candles never change, and of series
    with columns only rows of an SQLite file with ``conflicts="file"`` replace what is stored, where the slot lets rows
    be replaced; what is kept of a series is not imported.

    Args:
        directory: the dump, the directory whose ``dump`` it is, or the SQLite file.
        apply: write to the store.
        conflicts: which of two different rows stays: ``file``, ``store``, or ``newest``, the one that was written last.
        slots: names of the slots to import; by default all slots, registered ones included.
        strategies: names of strategies, by which to divide what Node joins by ``_``, as in ``BTC_my_strategy_binance``.
        exchanges: names of exchanges, for the same purpose.
        progress: is called repeatedly with a slot's name and the number of its files, or rows, that have been read.
        sqlite: the SQLite file to import into; no server is needed then. It is made if it is missing. Its newest rows
            are those that were imported last, in the order of the dump.

    Returns:
        What was imported, or would be, by slot; conflicts; and the files or rows that were left out, with the reasons.

    Raises:
        InputError: there is no dump or no such slot, ``conflicts`` is none of the three, or a file would be imported
            into itself.
        ConfigError: a file is not a database of this library, or was written by a newer version of it.
        StoreUnavailableError: MongoDB can't be reached or did not answer in time, or an SQLite file was locked. What
            was written before stays.
        StoreError: the store refuses a write, or the dump can't be read. What was written before stays.
    """

def import_series(
    adapter: type[ColumnSeriesAdapter],
    context: Mapping[str, Any],
    paths: Iterable[str | Path],
    *,
    options: SeriesOptions | None = None,
    progress: ImportProgress | None = None,
) -> SeriesImportReport:
    """Write the rows of files to their series.

    Reads text with commas, semicolons, tabs or bars between columns, Parquet and Feather; plain, gzipped, or in zip
    archives. Columns are found by the slot's names, and in files of tardis and of Binance by theirs; Binance's are read
    without a header, too. How numbers and times are written is decided once per file. A value or a time that the slot
    can't hold without losing digits makes its line a bad one. A file that can't be read is reported, and the others are
    imported.

    Rows are written in bounded memory, and at the end the series are sealed. An import may be repeated, which changes
    nothing that it has stored.

    Args:
        adapter: the adapter's class, such as :class:`~backtest_mongo.TradeAdapter` or one of your own.
        context: arguments of the adapter by name. Those that are missing are taken from the file's columns of that name
            (``exchange`` for ``exchange_name``). With a ``symbol``, only rows of this one are read.
        paths: files, zip archives, or directories of both.
        options: how to read what the files leave open.
        progress: receives the progress of the import.

    Returns:
        What became of every line; ``report.is_complete`` says whether all of them are stored or still open.

    Raises:
        InputError: an argument is wrong, a path does not exist, or a directory has no such files. Hints name the
            options of ``backtest-mongo series import``.
        InputTypeError: the adapter is not one of a series with columns.
        StoreUnavailableError: MongoDB can't be reached; a part may be stored.
        StoreError: MongoDB answers with an error; a part may be stored.
    """

def migrate(apply: bool = False) -> MigrationReport:
    """Find what older versions of the Node package left that conflicts with this one, and with ``apply`` migrate it.

    Versions before 20 of that package created the unique index of session rows on three fields, and rows without
    ``symbol`` and ``backtest``: no read finds such rows, and the index rejects a second session of a strategy. The
    rows get ``""`` and ``False``, and the index is replaced; payloads and times stay as they are.

    Other programs may read and write at the same time. A migration may be interrupted, repeated, and run by several
    processes at once. Stop programs of the older version first: they would create the index again.

    Raises:
        IndexConflictError: several rows have the same key, so the unique index can't be created.
        StoreUnavailableError, StoreError: MongoDB can't be reached, or answers with an error.
    """

def plot_candles(
    symbol: str,
    interval: Interval,
    exchange_name: str,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    strategy_name: str | None = None,
    backtest: bool = True,
    title: str | None = None,
    width: int = 1200,
    height: int = 640,
    max_candles: int = 5000,
) -> PlotReport:
    """Draw candles with their volume as a PNG or an HTML page.

    The page needs no network: it zooms, pans, and shows the numbers under the pointer. Times are UTC. Breaks in trading
    take no space; a dotted line marks each. An existing file is replaced.

    Args:
        symbol: the symbol of the series.
        interval: the interval of the series, such as ``1m``.
        exchange_name: the exchange of the series.
        path: the file to write; its ending, ``.png`` or ``.html``, chooses the format.
        start: the first open time; ``None`` for the first that is stored.
        end: the time before which the last candle opens; ``None`` for the last that is stored.
        strategy_name: draw this strategy's entries, exits, stops and targets too, from the storage slot and from the
            position in the signal slot. Signals without a time or a price are left out, and counted in the subtitle.
        backtest: draw the trades of its backtests; ``False`` for those of live trading.
        title: the title; ``None`` for the name of the series and its range.
        width: the width of the plotting area; a PNG has two pixels per unit.
        height: the height of the plotting area.
        max_candles: merge more candles than this into a coarser interval; the subtitle says so.

    Returns:
        What the plot shows.

    Raises:
        InputError: no candle is stored in the range, an argument is wrong, or the extra is not installed.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error.
        OSError: ``path`` can't be written to.
    """

def plot_series(
    adapter: ColumnSeriesAdapter,
    path: str | Path,
    *,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    title: str | None = None,
    width: int = 1200,
    height: int = 640,
    max_points: int = 4000,
) -> SeriesPlotReport:
    """Draw a series as a PNG or an HTML page: trades if the slot has a ``price``, the equity if it has that.

    Trades are drawn with their prices, and below with their amounts, where ``amount`` is a column; buys and sells
    differ in colour and shape, where ``side`` is one. Equity is drawn with its drawdown, the distance below the
    previous high of the range, below it. More rows than ``max_points`` are merged into steps of time, which the
    subtitle names: for each, the lowest, the highest and the last price or equity are drawn, the sum of the amounts,
    and the deepest drawdown, so nothing is lost but the order within a step.

    The page needs no network: it zooms, pans, and shows the numbers under the pointer. Times are UTC. An existing file
    is replaced.

    Args:
        adapter: of the series.
        path: the file to write; its ending, ``.png`` or ``.html``, chooses the format.
        start: the first time: an integer in the slot's unit, an aware datetime or ISO 8601 text; ``None`` for the first
            that is stored.
        end: the time before which the last row is; ``None`` for the last that is stored.
        title: the title; ``None`` for the name of the series and its range.
        width: the width of the plotting area; a PNG has two pixels per unit.
        height: the height of the plotting area.
        max_points: how many points to draw at most.

    Returns:
        What the plot shows.

    Raises:
        InputError: no row with a number is stored in the range, the slot has neither a price nor an equity, an argument
            is wrong, or the extra is not installed.
        InputTypeError: the adapter is not one of a series with columns.
        StoreUnavailableError: MongoDB can't be reached.
        StoreError: MongoDB answers with an error, or what is stored is damaged.
        OSError: ``path`` can't be written to.
    """

def rename_strategy(old: str, new: str, *, dry_run: bool = False, slots: Iterable[str] | None = None) -> RenameReport:
    """Rename a strategy in everything that is stored::

        report = rename_strategy("trend", "trend_2024", dry_run=True)

    It changes the contexts of signal, schedule, strategy, partial, breakeven, recent and session, and of slots of your
    own that have ``strategy_name``, with the versions of their rows. In the payloads of these, and of risk, storage,
    notification and log, it changes every field ``strategyName`` that has the old name, at any depth; the ``id`` of a
    session; and the names of positions in risk. It leaves places where only you have put the name, such as a bucket's
    name.

    Stop the strategy first: what it writes meanwhile is stored under the old name again.

    Each context is renamed in one transaction of MongoDB or SQLite, payloads and versions included. If the process is
    killed or the call fails, each context is under one of the names; call it again to continue. On MongoDB a context
    with more than 1,000 rows and versions, or 12 MB, takes several transactions, and has rows under both names in
    between.
    Then rows of risk, storage, notification and log are changed, up to 1,000 per transaction.

    Rows keep their ids, their dates, ``when`` and their places among the newest. A watch sees each row of a context as
    ``deleted`` under the old name and as ``written``, or ``removed``, under the new one, and each row that only names
    the strategy as ``written``.

    Args:
        old: the strategy's current name.
        new: its new name. Other contexts of this name may already be stored; none is merged with another.
        dry_run: whether to change nothing, and only return what would be changed.
        slots: names of slots; ``None`` is every slot that may name a strategy. Those that are stored in JSON files, or
            by an implementation of your own, have to be left out.

    Returns:
        What was changed, by slot.

    Raises:
        InputError: a name is empty or both are equal, there is no such slot, or a transaction or a lease is current.
        ConflictError: a context is already stored under the new name. Nothing was changed.
        LeaseHeldError: somebody holds the lease of one of the contexts; if it was taken meanwhile, a part may be
            changed.
        StoreUnavailableError: a database can't be reached, or did not answer in time; a part may be changed.
        StoreError: MongoDB is a standalone, or a slot is stored in files or by an implementation of your own, and
            nothing was changed; or a database answered with an error, and a part may be changed.
    """

def reset(run: str, *, live: bool = False, dry_run: bool = False) -> ResetReport:
    """Delete what a run has stored, so that it can be repeated from scratch::

        setup(run="trend 2024")
        reset("trend 2024")
        ...  # the backtest

    It deletes the rows that carry the run's name, in all slots of the registry: those that were last written within
    ``setup(run=...)``, ``lease(run=...)`` or ``transaction(run=...)`` of that name. It also deletes the rows of the
    signals in the run's rows of storage, in every slot whose key has a signal's id (state, memory, dictionary, partial,
    breakeven), whoever wrote them, unless they carry the name of another run. All versions of these rows go with them,
    even those from before the run, and so do their ids in the cache. Candles and other series of markets stay.

    Rows that carry no name and are not tied to a signal of the run can't be attributed: they are counted in the report,
    and stay. So do all rows of a strategy's series, such as equity; ``delete()`` deletes them. On MongoDB a row loses
    its run's name when another program, such as the Node package, overwrites it.

    Rows are deleted in steps of up to 1,000, and those by which others are found come last, so a reset that failed or
    was killed continues when it is called again. Stop the run first; rows that it writes meanwhile may stay.

    Args:
        run: the name of the run.
        live: delete live rows too, and rows of signals that are live. Otherwise nothing is deleted if there are any.
        dry_run: delete nothing, and report what would be deleted.

    Returns:
        What was deleted, and what stays.

    Raises:
        InputError: ``run`` can't be the name of a run, live rows are affected, or a ``transaction()`` or ``lease()``
            is open around the call.
        InputTypeError: ``run`` is not a ``str``, or ``live`` or ``dry_run`` not a ``bool``.
        LeaseHeldError: somebody holds the lease of a row's context. If it was held from the start, nothing is deleted.
        StoreError: no slot is stored in MongoDB or SQLite.
        StoreUnavailableError: the database did not answer. Call it again.
    """

def stats() -> Stats:
    """Return the counts of synchronous calls. No server is asked.

    Returns:
        What was done since the loop's connections were made; zeros if it has none. ``close()`` and another
        configuration reset everything but ``commits``.
    """

def wait_for_init() -> None:
    """Wait until MongoDB and Redis answer, for at most 15 s. It can be called again after an error.

    Raises:
        InitError: a server denies access or did not answer in time; the message names each, without credentials.
    """

def as_of(when: When) -> Past:
    """Look at everything as it was at a simulation time::

        with as_of(trade_opened) as past:
            row = past.signal("BTCUSDT", "my_strategy", "binance").read_signal_data()
            candles = past.candle("BTCUSDT", "1h", "binance").read_frame(limit=50)

    It has a method for each slot, and reads where ``persist`` stores. Rows are read as they were then, from the
    versions that ``CC_HISTORY`` or ``SlotSpec(history=)`` keep; candles are those that had closed, and rows of other
    series those up to then. Nothing can be written to it. How series are stored, as ``size()``, ``sealed()`` and
    ``verify()`` tell, is about now.

    In slots without versions, rows that were not written since can be read; others raise ``StoreError``, because their
    past is unknown.

    Args:
        when: the time: milliseconds since the epoch (UTC), or an aware ``datetime``.

    Returns:
        An object for ``with``, with a method for each slot, which takes the context and returns an adapter.

    Raises:
        InputError: ``when`` is not a time.
    """

def lease(
    *adapters: Any,
    ttl: float = 30.0,
    wait: float = 0.0,
    commit_every: int = 1,
    max_delay: float = 0.25,
    run: str | None = None,
) -> Lease:
    """Own contexts: while the block lasts, no other process that uses leases writes them::

        with lease(signal, progress) as mine:
            ...
            mine.add(state)

    All of them are taken at once, or none. They are renewed in the background and given back at the end. If the process
    dies, others can take them ``ttl`` seconds after the last renewal, by the database's clock.

    Every commit within the block changes the leases of the contexts that it writes, so a process that slept past its
    lease can't write. Its commit raises ``LeaseLostError``, and so does the next call in the block. A write
    outside of :func:`transaction` is a transaction of one.

    What was read or written of the contexts is kept in memory, and reads return copies of it. Whoever writes them
    without a lease, as the Node package does, is noticed at the next commit of the same row, which then raises
    ``LeaseLostError``.

    With ``commit_every`` above 1 transactions are acknowledged in memory and committed in order, many in one: a process
    that is killed loses the last of them, and never a part of one. Of a row that several of them write, the last value
    alone is sent, so ``watch()`` does not see the others. A backtest computes lost bars again; live trading leaves it
    at 1.

    Args:
        adapters: an adapter of each context, all in one database: MongoDB as a replica set or a sharded cluster, or
            SQLite. Series can't be leased.
        ttl: seconds that a lease lasts without being renewed, from 2 to 86,400.
        wait: seconds to wait for leases that others hold.
        commit_every: how many transactions are committed together; with 1 each is committed before its block ends.
        max_delay: seconds after which fewer of them are committed.
        run: the name of the run that the writes in the block belong to, of 1 to 200 characters; ``None`` for that of
            the block around it, or of ``setup(run=...)``. :func:`reset` deletes the rows of a run.

    Returns:
        An object for one ``with``, with ``add()``, ``flush()`` and ``contexts``. Its beginning raises
        ``LeaseHeldError`` if another owner has one of the leases, and its end ``LeaseLostError`` if they were lost.

    Raises:
        InputError: there is no adapter, one context is named twice, two databases are, a number is out of range, or
            ``run`` can't be the name of a run.
        StoreError: the slots are stored in JSON files, or MongoDB is a standalone.
    """

def transaction(*, when: When | None = None, run: str | None = None) -> Transaction:
    """Commit many writes as a whole: all of them are stored, or none::

        with transaction(when=bar_time):
            signal.write_signal_data(row)
            storage.write_storage_data([closed])
            progress.write_state_data({"next": n + 1})

    The writes are checked when they are called, and sent at the end of the block: in one transaction of MongoDB, which
    needs a replica set or a sharded cluster, or of SQLite. Until then reads in the block see them, in every form, and
    nobody else does. An exception drops them all. If others write the same rows meanwhile, the transaction is sent
    again, not the block, until the operation's deadline.

    Atomic is not isolated: two blocks that read a number and write it plus one lose an update, unless they hold the
    same :func:`lease`, or write with ``expect``.

    Blocks within a block join it; an exception that leaves an inner one and is caught outside drops the writes of the
    inner one alone. Candles and other series are not part of a transaction: their rows are stored at once, and ``when``
    does not limit reads of them.

    Args:
        when: the simulation time of writes in the block that name none, and the limit of its reads: milliseconds since
            the epoch (UTC), or an aware ``datetime``.
        run: the name of the run that the writes in the block belong to, of 1 to 200 characters; ``None`` for that of
            the block around it, or of ``setup(run=...)``. :func:`reset` deletes the rows of a run.

    Returns:
        An object for one ``with``. Its end raises:

        * ``CommitUnknownError``, a ``StoreUnavailableError``: whether it was committed is unknown; ``error.commit_again()`` settles it;
        * other ``StoreUnavailableError``, ``StoreError``: nothing is stored;
        * ``ConflictError``: a write with ``if_absent`` or ``expect`` has found something else; nothing is stored;
        * ``LeaseLostError``: a lease of one of the rows was lost; nothing is stored.

    Raises:
        InputError: ``when`` is not a time, or ``run`` can't be the name of a run.
    """

def setup(config: Mapping[str, Any] | None = None, *, run: str | None = None, **overrides: Unpack[Settings]) -> Setup:
    """Set the configuration and point the registry at MongoDB::

        setup()                          # from environment variables
        setup(CC_REDIS_HOST="redis")     # explicit values win
        setup(run="trend 2024")          # a backtest, whose rows reset("trend 2024") deletes
        with setup(): ...                # closes the connections at the end

    It opens no connection: the first operation does, or :func:`wait_for_init`. Calling it again with another
    configuration closes the connections that this event loop opened for the previous one.

    Args:
        config: fields of :class:`~backtest_mongo.core.config.Config` by name.
        run: the name of the run that all writes belong to, 1 to 200 characters: ``CC_RUN``. ``None`` leaves it as it
            is. JSON files and candles don't store it.
        **overrides: more of them, which win over ``config``.

    Returns:
        An object for ``with``.

    Raises:
        ConfigError: a field is unknown or a value is bad; nothing is changed.
        InputError: ``run`` can't be the name of a run.
        InputTypeError: the same, or ``config`` is not a mapping.
    """

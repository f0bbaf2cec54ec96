"""Times, intervals and the names of the types in public signatures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from numbers import Integral
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypedDict, TypeVar, get_args

__all__ = [
    "EARLIEST",
    "INTERVALS",
    "INTERVAL_MS",
    "LATEST",
    "PRICES",
    "Candle",
    "Context",
    "Coverage",
    "DeleteReport",
    "Document",
    "ForkReport",
    "Gap",
    "Interval",
    "LeftOut",
    "Payload",
    "RenameReport",
    "RenamedSlot",
    "ResetReport",
    "Revision",
    "Rows",
    "SealReport",
    "Sealed",
    "SeriesSize",
    "SeriesTime",
    "UnknownRow",
    "VerifyReport",
    "Version",
    "Versioned",
    "When",
    "WriteReport",
    "now_ms",
    "to_millis",
    "to_series_millis",
]

#: The interval of a series of candles. ``1M`` is a calendar month in UTC.
Interval: TypeAlias = Literal[
    "1s", "1m", "3m", "5m", "15m", "30m", "45m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"
]

#: Every interval, from short to long.
INTERVALS: Final[tuple[Interval, ...]] = get_args(Interval)

_MINUTE = 60_000

#: The length of each interval in milliseconds. ``1M`` is missing, as months differ.
INTERVAL_MS: Final[Mapping[str, int]] = {
    "1s": 1_000,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "45m": 45 * _MINUTE,
    "1h": 60 * _MINUTE,
    "2h": 120 * _MINUTE,
    "4h": 240 * _MINUTE,
    "6h": 360 * _MINUTE,
    "8h": 480 * _MINUTE,
    "12h": 720 * _MINUTE,
    "1d": 1440 * _MINUTE,
    "3d": 3 * 1440 * _MINUTE,
    "1w": 7 * 1440 * _MINUTE,
}

#: A point in time, as whole milliseconds since the epoch or as a timezone-aware datetime.
When: TypeAlias = int | datetime
#: A point in time of a series, which may also be text in ISO 8601; without an offset that is UTC.
SeriesTime: TypeAlias = int | datetime | str
#: The payload of a row, by name; values are whatever BSON holds.
Payload: TypeAlias = Mapping[str, Any]
#: Payloads with an ``id`` each.
Rows: TypeAlias = Sequence[Payload]
Document: TypeAlias = dict[str, Any]
#: The arguments of an adapter's constructor, in its order or by name.
Context: TypeAlias = Sequence[Any] | Mapping[str, Any]
#: A state of a row, as a text without further meaning. It may be stored, and be used in another process.
Version: TypeAlias = str

T = TypeVar("T")


class Versioned(NamedTuple, Generic[T]):
    """What a read with ``with_version=True`` returns."""

    #: What the read returns otherwise.
    value: T
    #: The version of the stored row, also where ``when`` hides the row from the read; a row that was never stored has
    #: one too.
    version: Version


class Revision(NamedTuple):
    """What a row was from a simulation time on."""

    #: The simulation time, in milliseconds since the epoch (UTC).
    when: int
    #: The payload; ``None`` for a row that was cleared or removed.
    value: Any
    #: Whether it was removed.
    is_removed: bool
    #: When it was written, by the database's clock, in milliseconds since the epoch; ``None`` if that is not known.
    written: int | None


class UnknownRow(NamedTuple):
    """A row that a fork leaves out because its past is unknown."""

    #: Its slot.
    slot: str
    #: The fields of its key.
    key: Mapping[str, Any]
    #: Why its past is unknown.
    reason: str


class LeftOut(NamedTuple):
    """Rows of a slot that a fork leaves out because nothing says which strategy they belong to."""

    #: The slot, or a collection or table of a slot that is not registered.
    slot: str
    #: How many there are.
    rows: int
    #: Why they are left out.
    reason: str


@dataclass(frozen=True, slots=True)
class ForkReport:
    """What a fork contains, and what it leaves out.

    Attributes:
        name: the database, on SQLite the path of the file.
        source: the database that it was made from, on SQLite the path of the file.
        at: the simulation time as of which it was made, in milliseconds since the epoch (UTC).
        strategy_name: the strategy whose rows it has; ``None`` if it has all rows.
        as_backtest: whether live rows became backtest rows in it.
        is_dry_run: whether nothing was written, and the rest says what would be.
        rows: how many rows of each slot were copied, candles not included.
        candles: how many candles were copied; ``None`` if they stay where they are, and are read from there.
        unknown: the rows that were left out because their past is unknown.
        left_out: those that were left out because nothing says which strategy they belong to.
        config: the settings to continue with: ``await setup(**report.config)`` after a fork in MongoDB, and
            ``set_config(**report.config)`` with ``persist.use_sqlite(report.path)`` after one in SQLite. It has a
            connection string with its password, which its ``repr`` does not show.
        path: the path of an SQLite file, ``None`` for MongoDB.
    """

    name: str
    source: str
    at: int
    strategy_name: str | None
    as_backtest: bool
    is_dry_run: bool
    rows: dict[str, int]
    candles: int | None
    unknown: tuple[UnknownRow, ...]
    left_out: tuple[LeftOut, ...]
    config: dict[str, Any]
    path: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return not self.unknown and not self.left_out


class Candle(TypedDict):
    """One closed candle. ``timestamp`` is its open time in milliseconds since the epoch, UTC."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Gap(NamedTuple):
    """A half-open range of times, in milliseconds since the epoch, in which candles are missing and none is stored."""

    #: Where it begins.
    start: int
    #: The first time after it.
    end: int
    #: How many candles are missing.
    rows: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is stored of a series.

    Attributes:
        first: the open time of the first candle, in milliseconds since the epoch, or the time of the first row of a
            series with columns, in the slot's unit; ``None`` if there is none.
        last: that of the last one.
        rows: how many there are.
    """

    first: int | None
    last: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of the rows of a frame.

    Attributes:
        new: rows that were stored.
        present: rows whose key was stored already, or that another row of the frame has. What is stored stays as it is,
            unless the slot is a series with columns that is not immutable.
        refused: the positions of the rows that were not stored, from 0, by reason.
    """

    new: int
    present: int
    refused: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Sealed:
    """How much of a series is sealed: the blocks, the candles in them, and the bytes of their documents."""

    blocks: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SeriesSize:
    """How a series with columns is stored.

    Attributes:
        blocks: how many blocks it has.
        block_rows: the rows in them.
        block_bytes: their bytes.
        tail_groups: how many groups of rows are not in blocks yet.
        tail_rows: the rows in these.
        tail_bytes: their bytes.
        oldest: when the oldest of these groups was written, in milliseconds since the epoch, UTC; ``None`` if there is
            none.
        keep: what is kept, as ``retain()`` has set it; ``None`` for all rows.
    """

    blocks: int
    block_rows: int
    block_bytes: int
    tail_groups: int
    tail_rows: int
    tail_bytes: int
    oldest: int | None
    keep: str | None = None


@dataclass(frozen=True, slots=True)
class SealReport:
    """What a call sealed: blocks, and the candles in them."""

    blocks: int
    rows: int


@dataclass(frozen=True, slots=True)
class RenamedSlot:
    """What renaming a strategy changes in one slot.

    Attributes:
        slot: the slot's name.
        contexts: how many contexts get the new name; 0 where only payloads name the strategy.
        rows: how many rows. Of series with columns, those that were replaced count until they are merged.
        versions: how many versions of these contexts.
    """

    slot: str
    contexts: int
    rows: int
    versions: int


@dataclass(frozen=True, slots=True)
class RenameReport:
    """What ``rename_strategy()`` has done or, with ``dry_run``, would do.

    Attributes:
        old: the strategy's old name.
        new: its new name.
        applied: whether it was done.
        slots: what was changed in each slot that had something to change, in the order of the slot table.
    """

    old: str
    new: str
    applied: bool
    slots: tuple[RenamedSlot, ...]


@dataclass(frozen=True, slots=True)
class DeleteReport:
    """What a call deleted: candles, and the sealed blocks that held some of them."""

    rows: int
    blocks: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What the comparison of blocks with their rows found.

    Attributes:
        blocks: blocks that were compared.
        rows: candles in them.
        damaged: what is wrong with each damaged block, by its start in milliseconds, in series with columns by the time
            of its first row in the slot's unit; ``None`` is the key of those of which that is not known.
        repaired: how many of them were dropped, and sealed again where their rows still fill a block.
    """

    blocks: int
    rows: int
    damaged: dict[int | None, str]
    repaired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetReport:
    """What ``reset()`` has deleted, or would delete, of a run, and what it leaves.

    Attributes:
        run: the name of the run.
        is_dry_run: whether nothing was deleted, and ``deleted`` and ``versions`` say what would be.
        deleted: rows by slot: those that carry the run's name, and those of its signals that carry no name.
        versions: the versions that were deleted with them, by slot.
        signal_ids: the signals of the run's rows in storage.
        live: live rows among those of the run, by slot.
        live_signal_ids: signals of the run that live rows of storage have, too.
        left: rows that carry no name and that nothing ties to a run, by slot. Rows that are known to be live, and those
            of candles and other series of markets, are not counted; of a strategy's series, rows that were replaced
            count until they are merged.
        other_runs: rows of the run's signals that carry the name of another run and stay, by slot.
        skipped: slots whose storage does not record runs: JSON files, or an implementation of your own.
    """

    run: str
    is_dry_run: bool
    deleted: dict[str, int]
    versions: dict[str, int]
    signal_ids: tuple[str, ...]
    live: dict[str, int]
    live_signal_ids: tuple[str, ...]
    left: dict[str, int]
    other_runs: dict[str, int]
    skipped: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no row belongs to the run."""
        return not self.deleted

    @property
    def is_live(self) -> bool:
        """Whether live rows are affected, so that ``reset()`` needs ``live=True``."""
        return bool(self.live or self.live_signal_ids)

    def __str__(self) -> str:
        if self.is_empty:
            return f"no row belongs to the run {self.run!r}"
        rows, versions = sum(self.deleted.values()), sum(self.versions.values())
        of_them = f" and {versions:,} versions of them" if versions else ""
        verb = "would be deleted" if self.is_dry_run else "deleted"
        return f"run {self.run!r}: {rows:,} rows{of_them} {verb}"


#: The fields of a candle other than its time.
PRICES: Final = ("open", "high", "low", "close", "volume")


#: Reads look for candles between these times. Beyond them, the start or the end of a block may not fit in 64 bits. This
#: library only writes candles of the years 1 to 9999, but other programs may have stored anything.
EARLIEST: Final = -(2**62)
LATEST: Final = 2**62


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INT64_MAX = 2**63 - 1


def to_millis(value: When) -> int:
    """Return ``value`` as whole milliseconds since the epoch; a fraction of a millisecond is cut off.

    Raises:
        TypeError: it is neither an integer nor a datetime.
        ValueError: it is a naive datetime, or doesn't fit in 64 bits.
    """
    if type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool) and not _is_length(value)):
        millis = int(value)
        if not -_INT64_MAX - 1 <= millis <= _INT64_MAX:
            raise ValueError("must fit in 64 bits (int)")
        return millis
    if isinstance(value, datetime):
        return int(since_epoch(value) // _MILLISECOND)
    raise TypeError(f"must be milliseconds (int) or an aware datetime, not {type(value).__name__}")


def since_epoch(value: datetime, unit: str = "milliseconds") -> timedelta:
    """Return how long after the epoch a datetime is.

    Args:
        value: the datetime.
        unit: what integers would count in its place, for the message.

    Raises:
        ValueError: it is naive, or pandas' NaT.
    """
    try:
        if value.utcoffset() is not None:
            return value - _EPOCH
    except Exception as error:  # the caller's timezone may raise anything, and NaT has none
        kind = type(value).__name__
        if kind == "NaTType":
            raise ValueError(f"must not be missing ({kind})") from None
        raise ValueError(f"must be a point in time, but its timezone raised {type(error).__name__} ({kind})") from None
    raise ValueError(f"must not be a naive datetime: give it a timezone, as in datetime.now(UTC), or give {unit}")


def _is_length(value: object) -> bool:
    # NumPy counts its timedelta64 among the integers.
    return getattr(getattr(value, "dtype", None), "kind", "") == "m"


def to_series_millis(value: SeriesTime) -> int:
    """Return ``value`` as whole milliseconds since the epoch, as :func:`to_millis`; text without an offset is UTC.

    Raises:
        TypeError: it is neither an integer, a datetime nor text.
        ValueError: it is a naive datetime or text that is not ISO 8601, or doesn't fit in 64 bits.
    """
    if isinstance(value, str):
        try:
            # Not ISO's short form, by which milliseconds written as text would be a time in the year 1733.
            time = datetime.fromisoformat(value.strip() if "-" in value[:5] else "")
        except ValueError:
            raise ValueError(f"must be ISO 8601, as in 2024-12-01 or 2024-12-01T09:30Z, not {value[:40]!r}") from None
        value = time if time.tzinfo else time.replace(tzinfo=UTC)
    return to_millis(value)


def now_ms() -> int:
    return time.time_ns() // 1_000_000

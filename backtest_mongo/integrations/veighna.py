"""VeighNa's database on this storage, which vnpy finds as the module ``vnpy_backtest_mongo``.

Bars are stored in the slot ``vnpy_bar``, ticks in the slot ``tick``. Calls block, as those of all of vnpy's databases
do, and any thread may make them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus

from backtest_mongo.adapters import TickAdapter
from backtest_mongo.adapters.lifecycle import install
from backtest_mongo.adapters.registry import persist
from backtest_mongo.core.config import MongoURI, get_config, set_config
from backtest_mongo.core.unit_times import find_time_range
from backtest_mongo.core.wording import suggest_extra
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.integrations.vnpy_bars import BARS
from backtest_mongo.sync.portal import block
from backtest_mongo.types import WriteReport

try:
    import vnpy
except ModuleNotFoundError:
    raise ImportError(f"the database of VeighNa needs vnpy, which is not installed ({suggest_extra('vnpy')})") from None
if not vnpy.__version__.startswith("4."):
    raise ImportError(
        f"the database of VeighNa needs vnpy 4, and {vnpy.__version__} is installed ({suggest_extra('vnpy')})"
    )

from vnpy.trader.constant import Exchange, Interval
from vnpy.trader.database import DB_TZ, BarOverview, BaseDatabase, TickOverview
from vnpy.trader.object import BarData, TickData
from vnpy.trader.setting import SETTINGS
from vnpy.trader.utility import get_file_path

__all__ = ["Database"]

T = TypeVar("T", BarData, TickData)

#: What vnpy's setting ``database.database`` is if nobody has set it: the file of ``vnpy_sqlite``.
_VNPY_FILE: Final = "database.db"
_PORT: Final = 27017
#: Vnpy's name of each column that bars have.
_BAR_FIELDS: Final = {
    column.name: f"{column.name}_price" if column.name in ("open", "high", "low", "close") else column.name
    for column in BARS.columns
}
_TICK_FIELDS: Final = {column.name: column.name for column in TickAdapter.spec.columns}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = find_time_range("us")
#: How many series are asked for their coverage at once.
_AT_ONCE: Final = 64


class Database(BaseDatabase):
    """Bars and ticks of vnpy, in MongoDB or SQLite.

    Of vnpy's settings ``database.host``, ``port``, ``user``, ``password`` and ``database`` name a MongoDB, or without a
    host ``database.database`` an SQLite file. Without both it is what the program has chosen for ``persist``, or else
    the MongoDB of ``CC_MONGO_CONNECTION_STRING``, or else ``backtest.db``. It opens no connection.

    All times are instants: naive ones are in the system's time zone when they are saved, and in that of
    ``database.timezone`` when they limit what is loaded.

    Raises:
        ConfigError: the settings can't name a storage.
    """

    def __init__(self) -> None:
        persist.register(BARS)  # again, where the registry has been reset
        _choose_storage()

    def save_bar_data(self, bars: list[BarData], stream: bool = False) -> bool:
        """Store bars of any symbols, exchanges and intervals; they replace stored ones of the same time.

        Args:
            bars: in any order; of several with the same key the last one is stored. They are not changed.
            stream: makes no difference here, as nothing has to be counted again.

        Raises:
            InputTypeError: a bar has no interval, or a value is no number. Nothing of its series is stored.
            InputError: a value is ``None``; all other rows of its series are stored.
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error.
        """
        for (symbol, exchange, interval), some in _group(bars, "symbol", "exchange", "interval"):
            if interval is None:
                raise InputTypeError(f"the bars of {symbol}.{exchange.value} must have an interval", slot=BARS.name)
            _save(_open_bars(symbol, exchange, interval), some, _BAR_FIELDS)
        return True

    def save_tick_data(self, ticks: list[TickData], stream: bool = False) -> bool:
        """Store ticks of any symbols and exchanges; they replace stored ones of the same time.

        Args:
            ticks: in any order; of several with the same key the last one is stored. They are not changed.
            stream: makes no difference here, as nothing has to be counted again.

        Raises:
            InputTypeError: a value is no number. Nothing of its series is stored.
            InputError: a value is ``None``; all other rows of its series are stored.
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error.
        """
        for (symbol, exchange), some in _group(ticks, "symbol", "exchange"):
            _save(_open_ticks(symbol, exchange), some, _TICK_FIELDS)
        return True

    def load_bar_data(
        self, symbol: str, exchange: Exchange, interval: Interval, start: datetime, end: datetime
    ) -> list[BarData]:
        """Return the bars from ``start`` to ``end``, both included, in the order of time.

        Raises:
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error, or what is stored is damaged.
        """
        frame = _load(_open_bars(symbol, exchange, interval), start, end)
        return _make(BarData, frame, _BAR_FIELDS, symbol=symbol, exchange=exchange, interval=interval)

    def load_tick_data(self, symbol: str, exchange: Exchange, start: datetime, end: datetime) -> list[TickData]:
        """Return the ticks from ``start`` to ``end``, both included, in the order of time.

        ``localtime`` is naive and in the system's time zone, as ``datetime.now()`` is.

        Raises:
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error, or what is stored is damaged.
        """
        frame = _load(_open_ticks(symbol, exchange), start, end)
        return _make(TickData, frame, _TICK_FIELDS, symbol=symbol, exchange=exchange)

    def delete_bar_data(self, symbol: str, exchange: Exchange, interval: Interval) -> int:
        """Delete all bars of a symbol and interval, and return how many there were.

        Raises:
            StoreUnavailableError: the database can't be reached; a part may be deleted.
            StoreError: the database answers with an error; a part may be deleted.
        """
        count: int = block(_open_bars(symbol, exchange, interval).delete)
        return count

    def delete_tick_data(self, symbol: str, exchange: Exchange) -> int:
        """Delete all ticks of a symbol, and return how many there were.

        Raises:
            StoreUnavailableError: the database can't be reached; a part may be deleted.
            StoreError: the database answers with an error; a part may be deleted.
        """
        count: int = block(_open_ticks(symbol, exchange).delete)
        return count

    def get_bar_overview(self) -> list[BarOverview]:
        """Return how many bars there are of each symbol and interval, from when to when.

        Times are naive, in the zone of ``database.timezone``. Series of exchanges or intervals that vnpy doesn't know
        are left out.

        Raises:
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error, or what is stored is damaged.
        """
        return [
            BarOverview(context["symbol"], exchange, interval, *covered)
            for context, covered in _cover_all(_open_bars("-", Exchange.LOCAL, Interval.MINUTE))
            if (exchange := _EXCHANGES.get(context["exchange_name"]))
            and (interval := _INTERVALS.get(context["interval"]))
        ]

    def get_tick_overview(self) -> list[TickOverview]:
        """Return how many ticks there are of each symbol, from when to when, as :meth:`get_bar_overview` does.

        Raises:
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error, or what is stored is damaged.
        """
        return [
            TickOverview(context["symbol"], exchange, *covered)
            for context, covered in _cover_all(_open_ticks("-", Exchange.LOCAL))
            if (exchange := _EXCHANGES.get(context["exchange_name"]))
        ]


_EXCHANGES: Final[Mapping[str, Exchange]] = {exchange.value: exchange for exchange in Exchange}
_INTERVALS: Final[Mapping[str, Interval]] = {interval.value: interval for interval in Interval}


# Which storage


def _choose_storage() -> None:
    name: str = "" if SETTINGS["database.database"] == _VNPY_FILE else SETTINGS["database.database"]
    if SETTINGS["database.host"]:
        set_config(CC_MONGO_CONNECTION_STRING=_make_uri(name).get_secret_value())
        install()
    elif name:
        persist.use_sqlite(get_file_path(name))
    elif not persist._is_chosen and "CC_MONGO_CONNECTION_STRING" in get_config().model_fields_set:
        install()


def _make_uri(database: str) -> MongoURI:
    """Return the connection string, which the host itself may be, as for PyMongo."""
    host: str = SETTINGS["database.host"]
    if "://" not in host:
        user, password = SETTINGS["database.user"], SETTINGS["database.password"]
        login = f"{quote_plus(user)}:{quote_plus(password)}@" if user and password else ""
        host = f"mongodb://{login}{host}:{SETTINGS['database.port'] or _PORT}/"
    return MongoURI(host).with_database(database) if database else MongoURI(host)


def _open_bars(symbol: str, exchange: Exchange, interval: Interval) -> Any:
    return getattr(persist, BARS.name)(symbol, interval.value, exchange.value)


def _open_ticks(symbol: str, exchange: Exchange) -> Any:
    return persist.tick(symbol, exchange.value)


# Writing


def _group(rows: Sequence[T], *names: str) -> Iterable[tuple[tuple[Any, ...], Sequence[T]]]:
    """Return the rows of each series, by what identifies it."""
    get_key: Callable[[Any], tuple[Any, ...]] = attrgetter(*names)
    keys = {*map(get_key, rows)}
    if len(keys) == 1:
        return [(keys.pop(), rows)]
    groups: defaultdict[tuple[Any, ...], list[T]] = defaultdict(list)
    for row in rows:
        groups[get_key(row)].append(row)
    return groups.items()


def _save(series: Any, rows: Sequence[Any], names: Mapping[str, str]) -> None:
    cells = zip(*map(attrgetter("datetime", *names.values()), rows), strict=True)
    frame: dict[str, Any] = {"timestamp": [*map(_to_micros, next(cells))]}
    for column, values in zip(names, cells, strict=True):
        is_time = column == "localtime"
        frame[column] = [value and _to_micros(value) for value in values] if is_time else values
    report: WriteReport = block(series.write_frame, frame)
    for reason, places in report.refused.items():
        raise InputError(f"{len(places)} of {len(rows)} rows are not stored: {reason}", slot=series.spec.name)


def _to_micros(time: datetime) -> int:
    """Return the microseconds since the epoch; naive times are in the system's zone, as in ``convert_tz``."""
    since = (time.astimezone(UTC) if time.tzinfo is None else time) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


# Reading


def _load(series: Any, start: datetime, end: datetime) -> dict[str, Any]:
    first, last = (_to_micros(time if time.tzinfo else time.replace(tzinfo=DB_TZ)) for time in (start, end))
    first, last = max(first, _FIRST), min(last, _LAST) + 1
    frame: dict[str, Any] = block(series.read_frame, min(first, last), last, as_="numpy")
    return frame


def _make(kind: type[T], frame: Mapping[str, Any], names: Mapping[str, str], **given: object) -> list[T]:
    """Return vnpy's objects of the rows of a frame, with some fields that all have in common."""
    values: dict[str, Iterable[Any]] = {name: frame[column].tolist() for column, name in names.items()}
    values["datetime"] = map(_to_zone, frame["timestamp"].tolist())
    values |= {name: repeat(value) for name, value in {**given, "gateway_name": "DB"}.items()}
    if kind is TickData:
        values["name"] = (name or "" for name in values["name"])
        values["localtime"] = (time if time is None else _to_naive(time) for time in values["localtime"])
    # By position, which takes half the time. What another version of vnpy adds has its default.
    arguments: Iterator[Any] = (values.get(field.name, repeat(field.default)) for field in fields(kind) if field.init)
    make: Callable[..., T] = kind
    return [*map(make, *arguments)]


def _to_zone(time: datetime) -> datetime:
    """Return a naive time of UTC in vnpy's time zone."""
    zoned: datetime = DB_TZ.fromutc(time.replace(tzinfo=DB_TZ))
    return zoned


def _to_naive(micros: int, zone: tzinfo | None = None) -> datetime:
    """Return a naive time in a zone, or in the system's."""
    return (_EPOCH + timedelta(microseconds=micros)).astimezone(zone).replace(tzinfo=None)


def _cover_all(series: Any) -> Iterator[tuple[dict[str, Any], tuple[int, datetime, datetime]]]:
    """Return the context of every series of a slot with the number of its rows, and the first and the last time."""
    for context, covered in block(_read_coverages, series):
        if covered.rows:
            yield context, (covered.rows, _to_naive(covered.first, DB_TZ), _to_naive(covered.last, DB_TZ))


async def _read_coverages(series: Any) -> list[tuple[dict[str, Any], Any]]:
    found = [one async for one in series.list_series()]
    coverages: list[Any] = []
    for at in range(0, len(found), _AT_ONCE):
        coverages += await asyncio.gather(*(one.coverage() for one in found[at : at + _AT_ONCE]))
    return [(one.context, covered) for one, covered in zip(found, coverages, strict=True)]

"""Find out by its name what each column of a file holds of a series: the slot's own names, and those of vendors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from backtest_mongo.core.candle_headers import find_symbol, find_time, list_names, plain_name
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError

__all__ = ["Meaning", "SeriesColumns", "find_series_columns", "list_series_names", "name_vendor_columns"]

#: What the values of a column mean, if they aren't the slot's: ``maker`` is true where the buyer was the maker, so that
#: the trade was a sale; ``taker`` is the side of the taker, with ``unknown`` for null; ``arrival`` is the time at which
#: a row arrived, by which the rows of one time are numbered.
Meaning: TypeAlias = Literal["maker", "taker", "arrival"]

_TIME: Final = "timestamp"
#: Stands for the slot's sequence, whatever its name is.
_SEQUENCE: Final = ""
#: Names of columns that hold an argument of the context, besides the argument's own.
_ARGUMENTS: Final = {"exchange_name": ("exchange", "venue")}


@dataclass(frozen=True)
class SeriesColumns:
    """The positions of a row's fields, from 0.

    Attributes:
        time: the time, or only the date where ``clock`` is the time of day.
        clock: the time of day.
        values: of the sequence and the slot's columns, by their names; nullable ones may be missing.
        meanings: of those whose values mean something else.
        context: of the arguments of the context that the file names.
        vendor: whose header it is, if it isn't the slot's.
        unit: what numeric times count, if the vendor says it.
    """

    time: int
    clock: int | None = None
    values: Mapping[str, int] = field(default_factory=dict)
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    context: Mapping[str, int] = field(default_factory=dict)
    vendor: str = ""
    unit: str | None = None

    @property
    def all(self) -> tuple[int, ...]:
        """All of them, each once and ascending."""
        clock = () if self.clock is None else (self.clock,)
        return tuple(sorted({self.time, *clock, *self.values.values(), *self.context.values()}))


@dataclass(frozen=True)
class _Dialect:
    """A vendor's header.

    Attributes:
        vendor: whose it is.
        columns: the file's names by those of the slot's columns.
        mark: names that no other header has together.
        meanings: of the slot's columns.
        unit: what times count, if that is always the same.
    """

    vendor: str
    columns: Mapping[str, str]
    mark: frozenset[str]
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    unit: str | None = None


_QUOTE: Final = {name: name for name in ("bid_price", "bid_amount", "ask_price", "ask_amount")}
_DIALECTS: Final = (
    _Dialect(
        "tardis trades",
        {_TIME: "timestamp", _SEQUENCE: "id", "price": "price", "amount": "amount", "side": "side"},
        frozenset(("timestamp", "local_timestamp", "id", "side", "price", "amount")),
        {"side": "taker"},
        "us",
    ),
    _Dialect(
        "tardis quotes",
        {_TIME: "timestamp", _SEQUENCE: "local_timestamp", **_QUOTE},
        frozenset(("timestamp", "local_timestamp", *_QUOTE)),
        {_SEQUENCE: "arrival"},
        "us",
    ),
    _Dialect(
        "Binance aggTrades",
        {
            _TIME: "transact_time",
            _SEQUENCE: "agg_trade_id",
            "price": "price",
            "amount": "quantity",
            "side": "is_buyer_maker",
        },
        frozenset(("agg_trade_id", "price", "quantity", "transact_time", "is_buyer_maker")),
        {"side": "maker"},
    ),
    _Dialect(
        "Binance trades",
        {_TIME: "time", _SEQUENCE: "id", "price": "price", "amount": "qty", "side": "is_buyer_maker"},
        frozenset(("id", "price", "qty", "quote_qty", "time", "is_buyer_maker")),
        {"side": "maker"},
    ),
    _Dialect(
        "Binance fundingRate",
        {_TIME: "calc_time", "rate": "last_funding_rate", "interval_hours": "funding_interval_hours"},
        frozenset(("calc_time", "last_funding_rate")),
    ),
    _Dialect(
        "Binance bookTicker",
        {
            _TIME: "transaction_time",
            _SEQUENCE: "update_id",
            "bid_price": "best_bid_price",
            "bid_amount": "best_bid_qty",
            "ask_price": "best_ask_price",
            "ask_amount": "best_ask_qty",
        },
        frozenset(("update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty")),
    ),
)
_AGGREGATED: Final = (
    *("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time", "is_buyer_maker"),
)
_SINGLE: Final = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker")
#: The headers that Binance leaves out in some files, by the kinds of a row's fields: integers, numbers and booleans. On
#: the spot market a row ends with whether the trade had the best price.
_HEADERLESS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("inniiibb", (*_AGGREGATED, "-")),
    ("inniiib", _AGGREGATED),
    ("innnibb", (*_SINGLE, "-")),
    ("innnib", _SINGLE),
    (
        "innnnii",
        (
            *("update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "transaction_time"),
            "event_time",
        ),
    ),
    ("iin", ("calc_time", "funding_interval_hours", "last_funding_rate")),
)
_KINDS: Final = {
    "i": re.compile(r"\d+", re.ASCII),
    "n": re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII),
    "b": re.compile(r"true|false", re.IGNORECASE),
}


def list_series_names(spec: SlotSpec) -> tuple[str, ...]:
    """Return the names of a row's values: the time, the sequence if the slot has one, and the columns."""
    return (_TIME, *((spec.key[-1],) if spec.sequence else ()), *(column.name for column in spec.columns))


def name_vendor_columns(spec: SlotSpec, row: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names of a row's columns in a file without a header, ``None`` if no vendor's is known."""
    for kinds, names in _HEADERLESS:
        if len(kinds) == len(row) and all(
            _KINDS[kind].fullmatch(text.strip()) for kind, text in zip(kinds, row, strict=True)
        ):
            dialect = _find_dialect(spec, names)
            if dialect is not None:
                return names
    return None


def _find_dialect(spec: SlotSpec, names: Sequence[str]) -> _Dialect | None:
    """Return the vendor's header that has all that a slot needs."""
    known = {name.strip().lower() for name in names}
    needed = {column.name for column in spec.columns if not column.nullable}
    needed |= {_SEQUENCE} if spec.sequence else set()
    for dialect in _DIALECTS:
        has_all = dialect.mark <= known and needed <= {*dialect.columns, *known}
        numbers_rows = _SEQUENCE in dialect.meanings and spec.sequence != "int64"
        if has_all and needed & {*dialect.columns} and not numbers_rows:
            return dialect
    return None


def find_series_columns(
    spec: SlotSpec, names: Sequence[str], where: str, assigned: Mapping[str, str] | None = None
) -> SeriesColumns:
    """Return which column of a file holds what of a slot.

    A column has the slot's name, in any case and punctuation, or that of a vendor whose header the file has.

    Args:
        spec: of the slot.
        names: of the file's columns.
        where: the file's name.
        assigned: the file's names by the slot's, where they can't be found.

    Raises:
        InputError: a column is missing, or one that is meant occurs twice; the message names those that were found.
    """
    plain = [name.strip().lower() for name in names]
    loose = [plain_name(name) for name in names]
    columns = _Finder(plain, loose, names, where)
    given = {name: columns.get(header) for name, header in (assigned or {}).items()}
    dialect = _find_dialect(spec, plain)
    sought = {} if dialect is None else dialect.columns
    time, clock = given.get(_TIME), None
    if time is None and _TIME in sought:
        time = columns.find(sought[_TIME])
    if time is None:
        time = columns.find(_TIME)
    if time is None:
        time, clock = find_time(names)
    values: dict[str, int] = {}
    meanings: dict[str, Meaning] = {}
    missing = ["timestamp"] * (time is None)
    for name in list_series_names(spec)[1:]:
        role = _SEQUENCE if spec.sequence and name == spec.key[-1] else name
        index = given.get(name)
        if index is None and dialect is not None and role in sought:
            index = columns.find(sought[role])
            if index is not None and role in dialect.meanings:
                meanings[name] = dialect.meanings[role]
        if index is None:
            index = columns.find(name)
        if index is not None:
            values[name] = index
        elif role == _SEQUENCE or not next(column for column in spec.columns if column.name == name).nullable:
            missing.append(name)
    if missing or time is None:
        hint = f"--columns {missing[0]}=NAME says which one it is"
        raise InputError(f"{where}: no column for {', '.join(missing)} among {list_names(names)}", hint=hint)
    used = {time, clock, *values.values()}
    context = {}
    for argument in spec.context:
        index = next(
            (at for one in (argument, *_ARGUMENTS.get(argument, ())) if (at := columns.find(one)) is not None), None
        )
        if index is None and argument == "symbol":
            index = find_symbol(names)
        if index is not None and index not in used:
            context[argument] = index
    vendor, unit = ("", None) if dialect is None else (dialect.vendor, dialect.unit)
    return SeriesColumns(time, clock, values, meanings, context, vendor, unit if _TIME not in given else None)


@dataclass(frozen=True)
class _Finder:
    """Finds a file's columns by name."""

    plain: Sequence[str]
    loose: Sequence[str]
    names: Sequence[str]
    where: str

    def find(self, name: str) -> int | None:
        for names, wanted in ((self.plain, name.lower()), (self.loose, plain_name(name))):
            count = names.count(wanted)
            if count > 1:
                raise InputError(f"{self.where}: {name} occurs twice in {list_names(self.names)}")
            if count:
                return names.index(wanted)
        return None

    def get(self, name: str) -> int:
        index = self.find(name)
        if index is None:
            raise InputError(f"{self.where}: there is no column {name!r}", hint=suggest(name, list(self.names)))
        return index

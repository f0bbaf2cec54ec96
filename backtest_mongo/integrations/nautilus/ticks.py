"""Trades and quotes of Nautilus out of and into series, by columns.

What a series can't keep to the last digit is refused, with its place, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from numpy.typing import NDArray

from backtest_mongo.core.columns import UNITS_PER_MS
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.integrations.nautilus.fixed_point import to_doubles, to_precision
from backtest_mongo.integrations.nautilus.refusals import END_NS, check_delta, check_same, refuse, refuse_late
from backtest_mongo.integrations.nautilus_ticks import QUOTES, TRADES
from backtest_mongo.sync.portal import block
from backtest_mongo.sync.wrapping import unwrap
from backtest_mongo.types import SeriesTime, WriteReport

__all__ = ["read_quotes", "read_trades", "write_quotes", "write_trades"]

_NS_PER_MS: Final = 1_000_000
_LARGEST_ID: Final = 2**63

_SIDES: Final = {AggressorSide.NO_AGGRESSOR: None, AggressorSide.BUYER: "buy", AggressorSide.SELLER: "sell"}
_AGGRESSORS: Final = {side: int(aggressor) for aggressor, side in _SIDES.items()}
_TRADE_COLUMNS: Final = ("price", "amount", "side")
#: Nautilus' name of each column that quotes have.
_QUOTE_FIELDS: Final = {
    "bid_price": "bid_price",
    "bid_amount": "bid_size",
    "ask_price": "ask_price",
    "ask_amount": "ask_size",
}


# Trades


def read_trades(
    series: Any,
    instrument: Any,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    *,
    ts_init_delta: int = 0,
    rounding: bool = False,
) -> list[Any]:
    """Return the trades of a series, in the order of ``ts_init``.

    Args:
        series: ``persist.nautilus_trade(...)``, ``persist.trade(...)``, or a series of your own with the columns
            ``price``, ``amount`` and ``side`` and a sequence ``trade_id``.
        instrument: the instrument, whose id and precision the trades get.
        start: the first ``ts_event``: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601
            text; ``None`` for the first trade.
        end: the same, exclusive; ``None`` for the end.
        ts_init_delta: nanoseconds from ``ts_event`` to ``ts_init``, where the series has no column ``ts_init``.
        rounding: whether numbers with more decimals than the instrument has are rounded, and not refused.

    Raises:
        InputError: an argument is wrong, or a row has numbers, times or a side that a trade can't have; the message
            names its place.
        InputTypeError: ``series`` has not these columns.
        StoreUnavailableError: the database can't be reached.
        StoreError: the database answers with an error, or what is stored is damaged.
    """
    opened = _open_series(series, _TRADE_COLUMNS, "trade_id", TRADES.name)
    slot = opened.spec.name
    frame = block(opened.read_frame, start, end, as_="numpy")
    ts_events, ts_inits = _read_times(opened, frame, ts_init_delta)
    amounts = to_precision(frame["amount"], instrument.size_precision, slot, "amount", rounding=rounding)
    prices = to_precision(frame["price"], instrument.price_precision, slot, "price", rounding=rounding)
    refuse(amounts <= 0, slot, lambda place: f"row {place}: amount {float(frame['amount'][place])!r} is no trade's")
    sides = frame["side"].tolist()
    try:
        aggressors = np.array([_AGGRESSORS[side] for side in sides], np.uint8)
    except KeyError:
        place = next(place for place, side in enumerate(sides) if side not in _AGGRESSORS)
        raise InputError(f"row {place}: side {sides[place]!r} is neither buy, sell nor null", slot=slot) from None
    ids = [*map(str, frame["trade_id"].tolist())]
    if ids and max(map(len, ids)) > 36:
        place = next(place for place, one in enumerate(ids) if len(one) > 36)
        raise InputError(f"row {place}: trade_id {ids[place]!r} has more than Nautilus' 36 characters", slot=slot)
    trades: list[Any] = TradeTick.from_raw_arrays_to_list(
        instrument.id,
        instrument.price_precision,
        instrument.size_precision,
        prices,
        amounts,
        aggressors,
        ids,
        ts_events.astype(np.uint64),
        ts_inits.astype(np.uint64),
    )
    return _put_in_order(trades, ts_inits, ts_events, frame.get("place"))


def write_trades(series: Any, ticks: Sequence[Any], instrument: Any, *, ignore_ts_init: bool = False) -> WriteReport:
    """Store trades. One whose time and id are stored stays as it is, so a call may be repeated.

    ``persist.nautilus_trade(...)`` keeps all of a trade. ``persist.trade(...)`` has microseconds, whole numbers as ids
    and no ``ts_init``: what it can't keep is refused.

    Args:
        series: as for :func:`read_trades`.
        ticks: trades of one instrument, in any order. Those of one time are read in the order of the list, or of their
            ids where the series has no column ``place``.
        instrument: the instrument, whose precision the trades must have.
        ignore_ts_init: whether ``ts_init`` is dropped where the series has no column for it and it is not ``ts_event``.

    Returns:
        How many trades were new, and how many were stored already.

    Raises:
        InputError: a trade has something that the series can't keep; the message names its place. Nothing is stored.
        InputTypeError: ``series`` has not these columns.
        StoreUnavailableError: the database can't be reached; a part may be stored.
        StoreError: the database answers with an error; a part may be stored.
    """
    opened = _open_series(series, _TRADE_COLUMNS, "trade_id", TRADES.name)
    check_same(ticks, opened.spec.name, "ticks", "instrument_id", instrument.id)
    slot = opened.spec.name
    frame = _make_times(opened, ticks, TRADES.name, ignore_ts_init=ignore_ts_init)
    ids = [tick.trade_id.value for tick in ticks]
    frame["trade_id"] = ids if opened.spec.sequence == "str" else [*map(_to_number, ids)]
    if None in frame["trade_id"]:
        place = frame["trade_id"].index(None)
        raise InputError(
            f"ticks[{place}].trade_id {ids[place]!r} is no whole number, as ids in the slot are",
            slot=slot,
            hint=f"persist.{TRADES.name}(...) keeps it",
        )
    frame["price"] = to_doubles([tick.price for tick in ticks], instrument.price_precision, slot, "ticks", "price")
    frame["amount"] = to_doubles([tick.size for tick in ticks], instrument.size_precision, slot, "ticks", "size")
    frame["side"] = [_SIDES[tick.aggressor_side] for tick in ticks]
    if _has_column(opened, "place"):
        frame["place"] = _number_within(frame["timestamp"])
    return _write(opened, frame)


def _to_number(text: str) -> int | None:
    """Return an id as a number from which the same text is made again, ``None`` if there is none."""
    if not text.isdecimal() or not text.isascii() or (text[0] == "0" and text != "0"):
        return None
    number = int(text)
    return number if number < _LARGEST_ID else None


# Quotes


def read_quotes(
    series: Any,
    instrument: Any,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    *,
    ts_init_delta: int = 0,
    rounding: bool = False,
) -> list[Any]:
    """Return the quotes of a series, in the order of ``ts_init``.

    Args:
        series: ``persist.nautilus_quote(...)``, ``persist.quote(...)``, or a series of your own with the same columns
            and a sequence ``update_id``.
        instrument: the instrument, whose id and precision the quotes get.
        start: the first ``ts_event``: an integer in the slot's unit since the epoch, an aware datetime or ISO 8601
            text; ``None`` for the first quote.
        end: the same, exclusive; ``None`` for the end.
        ts_init_delta: nanoseconds from ``ts_event`` to ``ts_init``, where the series has no column ``ts_init``.
        rounding: whether numbers with more decimals than the instrument has are rounded, and not refused.

    Raises:
        InputError: an argument is wrong, or a row has numbers or times that a quote can't have; the message names its
            place.
        InputTypeError: ``series`` has not these columns.
        StoreUnavailableError: the database can't be reached.
        StoreError: the database answers with an error, or what is stored is damaged.
    """
    opened = _open_series(series, tuple(_QUOTE_FIELDS), "update_id", QUOTES.name)
    frame = block(opened.read_frame, start, end, as_="numpy")
    ts_events, ts_inits = _read_times(opened, frame, ts_init_delta)
    numbers = (
        to_precision(frame[name], _get_precision(instrument, name), opened.spec.name, name, rounding=rounding)
        for name in ("bid_price", "ask_price", "bid_amount", "ask_amount")
    )
    quotes: list[Any] = QuoteTick.from_raw_arrays_to_list(
        instrument.id,
        instrument.price_precision,
        instrument.size_precision,
        *numbers,
        ts_events.astype(np.uint64),
        ts_inits.astype(np.uint64),
    )
    return _put_in_order(quotes, ts_inits, ts_events, None)


def write_quotes(series: Any, ticks: Sequence[Any], instrument: Any, *, ignore_ts_init: bool = False) -> WriteReport:
    """Store quotes, which may be repeated.

    Quotes have no ids, so their ``update_id`` is their place among those of one time in the list. A call therefore has
    all quotes of a time, or none.

    ``persist.nautilus_quote(...)`` keeps all of a quote. ``persist.quote(...)`` has microseconds and no ``ts_init``:
    what it can't keep is refused.

    Args:
        series: as for :func:`read_quotes`.
        ticks: quotes of one instrument; those of one time in their order.
        instrument: the instrument, whose precision the quotes must have.
        ignore_ts_init: whether ``ts_init`` is dropped where the series has no column for it and it is not ``ts_event``.

    Returns:
        How many quotes were new, and how many were stored already.

    Raises:
        InputError: a quote has something that the series can't keep, and nothing is stored; or another one is stored at
            its time and place, and all others are. The message names the place.
        InputTypeError: ``series`` has not these columns.
        StoreUnavailableError: the database can't be reached; a part may be stored.
        StoreError: the database answers with an error; a part may be stored.
    """
    opened = _open_series(series, tuple(_QUOTE_FIELDS), "update_id", QUOTES.name)
    check_same(ticks, opened.spec.name, "ticks", "instrument_id", instrument.id)
    frame = _make_times(opened, ticks, QUOTES.name, ignore_ts_init=ignore_ts_init)
    frame["update_id"] = _number_within(frame["timestamp"])
    for column, name in _QUOTE_FIELDS.items():
        values = [*map(attrgetter(name), ticks)]
        frame[column] = to_doubles(values, _get_precision(instrument, column), opened.spec.name, "ticks", name)
    report = _write(opened, frame)
    if report.present:
        _check_present(opened, frame)
    return report


def _check_present(series: Any, frame: dict[str, Any]) -> None:
    """Refuse quotes in whose place others are stored."""
    first, last = int(frame["timestamp"].min()), int(frame["timestamp"].max())
    stored = block(series.read_frame, first, last + 1, as_="numpy")
    stored["timestamp"] = stored["timestamp"].astype(np.int64)
    names = ["timestamp", "update_id", *(column.name for column in series.spec.columns)]
    rows = {*zip(*(stored[name].tolist() for name in names), strict=True)}
    for place, row in enumerate(zip(*(frame[name].tolist() for name in names), strict=True)):
        if row not in rows:
            raise InputError(
                f"ticks[{place}] is not stored: another quote is at its time {row[0]} as number {row[1]}",
                slot=series.spec.name,
                hint="a call has to have all quotes of a time",
            )


def _get_precision(instrument: Any, column: str) -> int:
    precision: int = instrument.price_precision if column.endswith("price") else instrument.size_precision
    return precision


def _open_series(series: Any, columns: Sequence[str], sequence: str, known: str) -> Any:
    opened = unwrap(series)
    spec = getattr(opened, "spec", None)
    has = {column.name for column in getattr(spec, "columns", ())}
    if spec is None or spec.item is None or not has.issuperset(columns) or spec.key[-1] != sequence:
        raise InputTypeError(
            f"a series with a sequence {sequence} and the columns {', '.join(columns)} is needed, not "
            f"{type(opened).__name__}",
            hint=f'persist.{known}("BTCUSDT", "BINANCE")',
        )
    return opened


def _has_column(series: Any, name: str) -> bool:
    return any(column.name == name for column in series.spec.columns)


def _make_times(series: Any, ticks: Sequence[Any], known: str, *, ignore_ts_init: bool) -> dict[str, Any]:
    """Return a frame with the times of ticks."""
    spec = series.spec
    times = np.array([tick.ts_event for tick in ticks], np.uint64)
    inits = np.array([tick.ts_init for tick in ticks], np.uint64)
    refuse_late(times, spec.name, "ticks", "ts_event")
    refuse_late(inits, spec.name, "ticks", "ts_init")
    hint = f"persist.{known}(...) keeps it"
    unit = _get_nanoseconds(series)
    refuse(
        times % unit != 0,
        spec.name,
        lambda place: f"ticks[{place}].ts_event {ticks[place].ts_event} has nanoseconds, and the slot has {spec.unit}",
        hint=hint,
    )
    frame: dict[str, Any] = {"timestamp": times.astype(np.int64) // unit}
    if _has_column(series, "ts_init"):
        frame["ts_init"] = inits.astype(np.int64)
    elif not ignore_ts_init:
        refuse(
            times != inits,
            spec.name,
            lambda place: (
                f"ticks[{place}].ts_init {ticks[place].ts_init} is not ts_event, and the slot has no column for it"
            ),
            hint=f"{hint}; ignore_ts_init=True drops it",
        )
    return frame


def _read_times(series: Any, frame: dict[str, Any], ts_init_delta: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``ts_event`` and ``ts_init`` of the rows of a frame."""
    check_delta(ts_init_delta)
    unit = _get_nanoseconds(series)
    times: NDArray[np.int64] = frame["timestamp"].astype(np.int64)
    refuse(
        (times < 0) | (times > (END_NS - 1 - ts_init_delta) // unit),
        series.spec.name,
        lambda place: f"row {place}: the time {int(times[place])} {series.spec.unit} is not from 1970 to 2262",
    )
    ts_events = times * unit
    if not _has_column(series, "ts_init"):
        return ts_events, ts_events + ts_init_delta
    if ts_init_delta:
        raise InputError("the slot has ts_init, so there is no ts_init_delta", slot=series.spec.name)
    ts_inits: NDArray[np.int64] = frame["ts_init"]
    refuse(ts_inits < 0, series.spec.name, lambda place: f"row {place}: ts_init {int(ts_inits[place])} is before 1970")
    return ts_events, ts_inits


def _get_nanoseconds(series: Any) -> int:
    """Return how many nanoseconds the unit of a series has."""
    return _NS_PER_MS // UNITS_PER_MS[series.spec.unit]


def _number_within(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each row among those of its time."""
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(times) else order
    counts = np.diff(np.concatenate((first, [len(times)])))
    numbers = np.empty(len(times), np.int64)
    numbers[order] = np.arange(len(times)) - np.repeat(first, counts)
    return numbers


def _put_in_order(
    ticks: list[Any], ts_inits: NDArray[np.int64], ts_events: NDArray[np.int64], places: NDArray[np.int64] | None
) -> list[Any]:
    keys = (ts_events, ts_inits) if places is None else (places, ts_events, ts_inits)
    order = np.lexsort(keys)
    if (order[1:] > order[:-1]).all():
        return ticks
    return [ticks[place] for place in order.tolist()]


def _write(series: Any, frame: dict[str, Any]) -> WriteReport:
    if not len(frame["timestamp"]):
        return WriteReport(0, 0, {})
    report: WriteReport = block(series.write_frame, frame)
    for reason, places in report.refused.items():
        raise InputError(f"ticks[{places[0]}] is not stored: {reason}", slot=series.spec.name)
    return report

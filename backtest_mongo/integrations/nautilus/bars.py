"""Bars of Nautilus out of and into candles, by columns.

What a candle can't keep to the last digit is refused, with its place, before anything is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
from nautilus_trader.model.data import Bar
from numpy.typing import NDArray

from backtest_mongo.core.interval_grid import GRIDS, IntervalGrid
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.integrations.nautilus.bar_types import get_interval
from backtest_mongo.integrations.nautilus.fixed_point import to_doubles, to_precision
from backtest_mongo.integrations.nautilus.refusals import END_NS, check_delta, check_same, refuse, refuse_late
from backtest_mongo.sync.portal import block
from backtest_mongo.sync.wrapping import unwrap
from backtest_mongo.types import PRICES, SeriesTime, WriteReport

__all__ = ["read_bars", "write_bars"]

_NS_PER_MS: Final = 1_000_000
_MINUTE: Final = 60_000


def read_bars(
    candles: Any,
    bar_type: Any,
    instrument: Any,
    start: SeriesTime | None = None,
    end: SeriesTime | None = None,
    *,
    timestamp_on_close: bool = True,
    ts_init_delta: int = 0,
    rounding: bool = False,
) -> list[Any]:
    """Return candles as bars, in the order of time.

    A candle's time is when it opens. A bar's ``ts_init`` is when the candle closes, and so is its ``ts_event``: with
    Nautilus' default nobody sees a bar before it is complete.

    Args:
        candles: the series, such as ``persist.candle("BTCUSDT", "1m", "BINANCE")`` of ``backtest_mongo.sync`` or of
            ``backtest_mongo``.
        bar_type: the type of the bars; its interval is that of the series.
        instrument: the instrument, whose precision of price and size the bars get.
        start: the first open time: milliseconds since the epoch, an aware datetime or ISO 8601 text; ``None`` for the
            first candle.
        end: the same, exclusive; ``None`` for the end.
        timestamp_on_close: ``False`` has ``ts_event`` be when the candle opens, as Nautilus'
            ``time_bars_timestamp_on_close=False`` does. ``ts_init`` stays.
        ts_init_delta: nanoseconds from the close to ``ts_init``.
        rounding: whether numbers with more decimals than the instrument has are rounded, and not refused.

    Raises:
        InputError: the interval is another one, an argument is wrong, or a candle has numbers or times that such a bar
            can't have; the message names its place.
        InputTypeError: ``candles`` is no series of candles.
        StoreUnavailableError: the database can't be reached.
        StoreError: the database answers with an error, or what is stored is damaged.
    """
    series, grid = _open_candles(candles, bar_type)
    slot = series.spec.name
    check_delta(ts_init_delta)
    frame = block(series.read_frame, start, end, as_="numpy")
    opens: NDArray[np.int64] = frame["timestamp"].astype(np.int64)
    closes = grid.shift_all(opens, np.ones(len(opens), np.int64))
    refuse(
        (opens < 0) | (closes >= (END_NS - ts_init_delta) // _NS_PER_MS),
        slot,
        lambda place: f"row {place}: the time {int(opens[place])} ms is not from 1970 to 2262",
    )
    prices = (
        to_precision(frame[name], instrument.price_precision, slot, name, rounding=rounding) for name in PRICES[:4]
    )
    volumes = to_precision(frame["volume"], instrument.size_precision, slot, "volume", rounding=rounding)
    ts_inits = closes * _NS_PER_MS + ts_init_delta
    ts_events = (closes if timestamp_on_close else opens) * _NS_PER_MS
    bars: list[Any] = Bar.from_raw_arrays_to_list(
        bar_type,
        instrument.price_precision,
        instrument.size_precision,
        *prices,
        volumes,
        ts_events.astype(np.uint64),
        ts_inits.astype(np.uint64),
    )
    return bars


def write_bars(
    candles: Any,
    bars: Sequence[Any],
    instrument: Any,
    *,
    timestamp_on_close: bool = True,
    ignore_ts_init: bool = False,
) -> WriteReport:
    """Store bars as candles, which open one interval before ``ts_event``.

    The first write of a candle wins forever.

    Args:
        candles: the series; its interval is that of the bars.
        bars: bars of one type, in any order.
        instrument: the instrument, whose precision the bars must have.
        timestamp_on_close: ``False`` says that ``ts_event`` is when the bars open. They must have a ``ts_init`` that is
            not before their close then: a bar that is complete when it opens would look ahead.
        ignore_ts_init: whether a ``ts_init`` after the close is dropped, as of bars that arrived from a venue. It is
            refused otherwise, as candles don't have it.

    Returns:
        How many candles were new and how many were stored already, and the places of those that can't be candles, by
        reason, as of ``write_frame()``.

    Raises:
        InputError: the interval is another one, or a bar has numbers or times that a candle can't have; the message
            names its place. Nothing is stored.
        InputTypeError: ``candles`` is no series of candles.
        StoreUnavailableError: the database can't be reached; a part may be stored.
        StoreError: the database answers with an error; a part may be stored.
    """
    if not bars:
        _check_candles(candles)
        return WriteReport(0, 0, {})
    series, grid = _open_candles(candles, bars[0].bar_type)
    slot = series.spec.name
    check_same(bars, slot, "bars", "bar_type", bars[0].bar_type)
    check_same(bars, slot, "bars", "bar_type.instrument_id", instrument.id)
    times = np.array([bar.ts_event for bar in bars], np.uint64)
    inits = np.array([bar.ts_init for bar in bars], np.uint64)
    refuse_late(times, slot, "bars", "ts_event")
    refuse_late(inits, slot, "bars", "ts_init")
    unit = min(grid.shortest, _MINUTE)
    refuse(
        times.astype(np.int64) % (unit * _NS_PER_MS) != 0,
        slot,
        lambda place: (
            f"bars[{place}].ts_event {bars[place].ts_event} is no whole {'minute' if unit == _MINUTE else 'second'}, "
            f"at which candles of {grid.name} open and close"
        ),
        hint="some venues give the last millisecond of a bar; give it the time of its close",
    )
    given = times.astype(np.int64) // _NS_PER_MS
    one = np.ones(len(bars), np.int64)
    opens, closes = (grid.shift_all(given, -one), given) if timestamp_on_close else (given, grid.shift_all(given, one))
    ends, known = closes * _NS_PER_MS, inits.astype(np.int64)
    refuse(
        known < ends,
        slot,
        lambda place: (
            f"bars[{place}].ts_init {bars[place].ts_init} is before the bar closes, so whoever gets it looks ahead"
        ),
    )
    if not ignore_ts_init:
        refuse(
            known != ends,
            slot,
            lambda place: (
                f"bars[{place}].ts_init {bars[place].ts_init} is not the close, and candles have no column for it"
            ),
            hint="ignore_ts_init=True drops it",
        )
    frame: dict[str, Any] = {"timestamp": opens}
    for name in PRICES:
        precision = instrument.size_precision if name == "volume" else instrument.price_precision
        frame[name] = to_doubles([*map(attrgetter(name), bars)], precision, slot, "bars", name)
    report: WriteReport = block(series.write_frame, frame)
    return report


def _check_candles(candles: Any) -> Any:
    series = unwrap(candles)
    spec = getattr(series, "spec", None)
    if spec is None or not spec.is_candles:
        raise InputTypeError(
            f"bars are stored in a series of candles, not in {type(series).__name__}",
            hint='persist.candle("BTCUSDT", "1m", "BINANCE")',
        )
    return series


def _open_candles(candles: Any, bar_type: Any) -> tuple[Any, IntervalGrid]:
    series = _check_candles(candles)
    interval, own = get_interval(bar_type), str(series.context["interval"])
    if interval != own:
        raise InputError(f"bars of {bar_type} are candles of {interval}, and the series has {own}", slot="candle")
    return series, GRIDS[interval]

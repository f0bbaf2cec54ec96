"""Candles in the form in which the engines of others take them: backtrader, backtesting.py, vectorbt, zipline, jesse.

Each function takes a frame of :meth:`~backtest_mongo.CandleAdapter.read_frame`, whichever kind it is, so they serve
``await candles.read_frame()`` and :mod:`backtest_mongo.sync` alike. An engine is imported when its function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.core.interval_grid import GRIDS, FixedGrid, IntervalGrid
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

    from backtest_mongo.core.arrays import CandleArrays

__all__ = ["make_zipline_ingest", "to_backtesting", "to_backtrader", "to_jesse", "to_vectorbt"]

_SLOT: Final = "candle"
#: How backtrader counts intervals: the name of its time frame by ours, and how many of it one of ours is.
_BACKTRADER_UNITS: Final[Mapping[str, tuple[str, int]]] = {
    "s": ("Seconds", 1),
    "m": ("Minutes", 1),
    "h": ("Minutes", 60),
    "d": ("Days", 1),
    "w": ("Weeks", 1),
    "M": ("Months", 1),
}
#: Zipline stores thousandths of prices and whole volumes, in 32 bits without a sign.
_ZIPLINE_RATIO: Final = 1_000
_ZIPLINE_MOST: Final = 2**32 - 1
#: The calendar of days around the clock.
_ZIPLINE_DAYS: Final = "24/7-1d"


def to_backtrader(frame: object, interval: str, **options: Any) -> Any:
    """Return candles as a feed of backtrader, for ``cerebro.adddata()``.

    A bar's time is a millisecond before it closes, naive and in UTC: backtrader takes the times of bars for their ends,
    and delivers them in that order, so a feed of hours beside one of minutes does not look ahead. Missing candles stay
    missing.

    Args:
        frame: the candles, in the order of time.
        interval: theirs, such as ``1h``.
        options: other parameters of backtrader's ``PandasData``, such as ``name``, ``tz`` and ``sessionend``.

    Returns:
        A ``backtrader.feeds.PandasData`` whose ``timeframe`` and ``compression`` are the interval's.

    Raises:
        InputError: backtrader or pandas is not installed, there is no such interval, or the frame has no candles, has
            one without prices, is not in the order of time, or is of a shorter interval.
        InputTypeError: it is no frame.
    """
    backtrader = _import("backtrader", "backtrader")
    grid = _find_grid(interval)
    candles = _take(frame, interval)
    unit, count = _BACKTRADER_UNITS[interval[-1]]
    bars = _make_pandas(candles, _find_ends(candles, grid) - 1)
    frame_options = {"timeframe": getattr(backtrader.TimeFrame, unit), "compression": int(interval[:-1]) * count}
    return backtrader.feeds.PandasData(dataname=bars, **{**frame_options, **options})


def to_backtesting(frame: object) -> pandas.DataFrame:
    """Return candles as the data of a ``backtesting.Backtest`` of backtesting.py.

    Missing candles stay missing.

    Args:
        frame: the candles, in the order of time.

    Returns:
        The columns ``Open``, ``High``, ``Low``, ``Close`` and ``Volume`` (float64), by open time: naive, in UTC.

    Raises:
        InputError: pandas is not installed, or the frame has no candles, has one without prices, or is not in the order
            of time.
        InputTypeError: it is no frame.
    """
    candles = _take(frame)
    bars: pandas.DataFrame = _make_pandas(candles, candles.timestamp).rename(columns=str.capitalize)
    return bars


def to_vectorbt(frames: Mapping[str, object], interval: str) -> Any:
    """Return the candles of symbols as data of vectorbt, as its own downloads are::

        data = to_vectorbt({"BTCUSDT": bitcoin, "ETHUSDT": ether}, "1h")
        vectorbt.Portfolio.from_signals(data.get("Close"), entries, exits)

    All symbols have one index: every open time that one of them has, in UTC. Before its first candle and after its last
    one a symbol has NaN. A time that no symbol has is left out, as the weekends of stocks are.

    Args:
        frames: the candles of each symbol, in the order of time.
        interval: that of all of them, which becomes vectorbt's ``freq``.

    Returns:
        A ``vectorbt.Data`` with ``Open``, ``High``, ``Low``, ``Close`` and ``Volume`` (float64) of each symbol.

    Raises:
        InputError: vectorbt or pandas is not installed, there is no such interval or it has no fixed length, no symbol
            is given, a symbol lacks a candle among its own that another one has, or a frame has no candles, has one
            without prices, is not in the order of time, or is of a shorter interval.
        InputTypeError: it is no frame.
    """
    vectorbt = _import("vectorbt", "vectorbt")
    pandas = _import("pandas", "pandas")
    import numpy as np

    grid = _find_grid(interval)
    if not isinstance(grid, FixedGrid):
        raise InputError(f"vectorbt takes intervals of one length, not {interval}", slot=_SLOT)
    if not frames:
        raise InputError("to_vectorbt: frames is empty", slot=_SLOT)
    taken = {symbol: _take(frame, interval, f"the frame of {symbol}") for symbol, frame in frames.items()}
    every = np.unique(np.concatenate([candles.timestamp for candles in taken.values()]))
    for symbol, candles in taken.items():
        times = candles.timestamp
        within = every[np.searchsorted(every, times[0]) : np.searchsorted(every, times[-1]) + 1]
        if len(within) > len(times):
            gap = _format(np.setdiff1d(within, times)[0])
            raise InputError(f"{symbol} lacks the candle of {gap}, which another symbol has", slot=_SLOT, hint=_FILL)
    bars = {
        symbol: _make_pandas(candles, candles.timestamp).rename(columns=str.capitalize).tz_localize("UTC")
        for symbol, candles in taken.items()
    }
    length = pandas.Timedelta(grid.step, "ms")
    # These are vectorbt's defaults, but a user's settings may be others.
    given = {"tz_localize": "UTC", "tz_convert": "UTC", "missing_index": "nan", "missing_columns": "raise"}
    return vectorbt.Data.from_data(bars, wrapper_kwargs={"freq": length}, download_kwargs={}, **given)


def make_zipline_ingest(
    read: Callable[[], Iterable[tuple[str, object]]], interval: str, exchange: str = "backtest-mongo"
) -> Callable[..., None]:
    """Return the function that ingests candles into a bundle of zipline-reloaded.

    In zipline's ``extension.py``::

        from zipline.data.bundles import register

        from backtest_mongo.integrations.backtesters import make_zipline_ingest
        from backtest_mongo.sync import persist


        def read():
            for symbol in ("BTCUSDT", "ETHUSDT"):
                yield symbol, persist.candle(symbol, "1d", "binance").read_frame()


        register("crypto", make_zipline_ingest(read, "1d"), calendar_name="24/7-1d", minutes_per_day=1440)

    The calendar is the one that the bundle is registered with. Minutes around the clock take zipline's ``24/7``, and
    days ``24/7-1d``, which this function registers: it closes a minute before midnight. Midnight is the last minute of
    a session of ``24/7``, but zipline also names sessions by it, so it would see each day a day late.

    Candles of before the first session or after the last one are left out. Sessions are made from candles of ``1m``;
    minutes without a candle are minutes without a trade.

    Zipline stores prices rounded to a thousandth and volumes as whole numbers, both in 32 bits. Scale what needs more.

    Args:
        read: is called by each ingestion; yields symbols, each with its candles in the order of time.
        interval: ``1d``, whose candles open at midnight in UTC, or ``1m``.
        exchange: what zipline calls the exchange of the symbols.

    Returns:
        A function to be registered as a bundle. It raises ``InputError`` if days are ingested by the calendar ``24/7``;
        a session has no candle; a candle is outside of the sessions, or has prices or a volume that zipline can't
        store; or a frame has no candles, has one without prices, is not in the order of time, or is of a shorter
        interval.

    Raises:
        InputError: zipline-reloaded is not installed, or it has no bars of this interval.
    """
    _import("zipline", "zipline-reloaded")
    _register_calendar()
    if interval not in ("1d", "1m"):
        raise InputError(f"zipline has bars of 1d and 1m, not of {interval}", slot=_SLOT)

    def ingest(
        environ: Any,
        asset_db_writer: Any,
        minute_bar_writer: Any,
        daily_bar_writer: Any,
        adjustment_writer: Any,
        calendar: Any,
        start_session: Any,
        end_session: Any,
        *rest: Any,
    ) -> None:
        import pandas

        if interval == "1d" and calendar.minute_to_session(end_session) != end_session:
            problem = f"by the calendar {calendar.name} zipline would see each day a day late"
            raise InputError(problem, slot=_SLOT, hint=f'register(..., calendar_name="{_ZIPLINE_DAYS}")')
        assets: list[dict[str, Any]] = []

        def write() -> Iterable[tuple[int, Any]]:
            for sid, (symbol, frame) in enumerate(read()):
                bars = _make_zipline_bars(symbol, _take(frame, interval, f"the frame of {symbol}"), interval)
                bars = _clip(bars, calendar, start_session, end_session, interval, symbol)
                if interval == "1m":
                    minute_bar_writer.write_sid(sid, bars)
                    bars = import_module("zipline.data.resample").minute_frame_to_session_frame(bars, calendar)
                _check_sessions(bars.index, calendar, symbol)
                first, last = bars.index[0], bars.index[-1]
                # Positions are closed once an asset has no bars any more.
                end = {"end_date": last, "auto_close_date": last + pandas.Timedelta(days=1)}
                assets.append({"symbol": symbol, "start_date": first, **end, "exchange": exchange})
                yield sid, bars

        daily_bar_writer.write(write())
        asset_db_writer.write(equities=pandas.DataFrame(assets))
        adjustment_writer.write()

    return ingest


def to_jesse(frame: object, exchange: str, symbol: str) -> dict[str, dict[str, Any]]:
    """Return candles of a minute as jesse's research takes them, for ``candles=`` and ``warmup_candles=``::

        candles = to_jesse(bitcoin, "Binance Spot", "BTC-USDT") | to_jesse(ether, "Binance Spot", "ETH-USDT")
        jesse.research.backtest(config, routes, data_routes, candles)

    Jesse makes longer intervals from them. It need not be installed.

    Args:
        frame: the candles, each a minute after the one before.
        exchange: jesse's name of the exchange.
        symbol: jesse's name of the symbol, such as ``BTC-USDT``.

    Returns:
        One item, whose key is ``{exchange}-{symbol}``, with ``exchange``, ``symbol`` and ``candles``: an array of the
        shape ``(candles, 6)`` with open time (milliseconds since the epoch), open, close, high, low and volume.

    Raises:
        InputError: a candle is missing between others, does not open at a whole minute, or is not of a minute; the
            frame has no candles, has one without prices, or is not in the order of time; or the symbol has no ``-``.
        InputTypeError: it is no frame.
    """
    import numpy as np

    if "-" not in symbol:
        raise InputError(f"jesse's symbols are such as BTC-USDT, not {symbol!r}", slot=_SLOT)
    grid, candles = GRIDS["1m"], _take(frame, "1m")
    times = candles.timestamp
    _, offsets = grid.locate_all(times)
    if offsets.any():
        time = _format(times[offsets != 0][0])
        raise InputError(f"jesse takes candles that open at whole minutes, not at {time}", slot=_SLOT)
    missing = grid.missing_all(times)
    if missing.any():
        gap = _format(grid.shift(int(times[:-1][missing > 0][0]), 1))
        raise InputError(f"jesse takes every minute, and the candle of {gap} is missing", slot=_SLOT, hint=_FILL)
    columns = (times, candles.open, candles.close, candles.high, candles.low, candles.volume)
    rows = np.column_stack([column.astype(np.float64) for column in columns])
    return {f"{exchange}-{symbol}": {"exchange": exchange, "symbol": symbol, "candles": rows}}


_FILL: Final = 'read_frame(fill="forward") repeats the close before'


def _import(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise InputError(f"{package} is not installed", slot=_SLOT, hint=f"pip install {package}") from None


def _find_grid(interval: str) -> IntervalGrid:
    if interval not in GRIDS:
        raise InputError(f"there is no interval {interval!r}", slot=_SLOT, hint=suggest(interval, list(GRIDS)))
    return GRIDS[interval]


def _take(frame: object, interval: str | None = None, name: str = "the frame") -> CandleArrays:
    """Return the candles of a frame, each of which has all prices, in the order of time."""
    import numpy as np

    from backtest_mongo.core.candle_rules import check_spacing
    from backtest_mongo.core.frame_input import read_columns

    candles = read_columns(frame)
    times = candles.timestamp
    if not len(times):
        raise InputError(f"{name} has no candles", slot=_SLOT)
    if (np.diff(times) <= 0).any():
        time = _format(times[1:][np.diff(times) <= 0][0])
        raise InputError(f"{name} must be in the order of time, without doubles: {time} comes late", slot=_SLOT)
    if interval is not None:
        check_spacing(times, interval, name, _SLOT, noun="candles")
    empty = np.isnan(candles.prices).any(axis=0)
    if empty.any():
        hint = "read_frame() without fill leaves missing candles out"
        raise InputError(f"{name} has no prices at {_format(times[empty][0])}", slot=_SLOT, hint=hint)
    return candles


def _find_ends(candles: CandleArrays, grid: IntervalGrid) -> NDArray[np.int64]:
    import numpy as np

    return grid.shift_all(candles.timestamp, np.ones(len(candles), np.int64))


def _make_pandas(candles: CandleArrays, times: NDArray[np.int64]) -> Any:
    """Return the candles by naive times, which are in UTC."""
    from backtest_mongo.types import PRICES

    pandas = _import("pandas", "pandas")
    index = pandas.DatetimeIndex(times.astype("datetime64[ms]"), name="timestamp").as_unit("ns")
    return pandas.DataFrame(dict(zip(PRICES, candles.prices, strict=True)), index=index)


def _format(time: int) -> str:
    import numpy as np

    return f"{np.datetime64(int(time), 'ms').astype('datetime64[s]')}Z"


# Zipline


def _register_calendar() -> None:
    from datetime import time

    dispatcher = import_module("zipline.utils.calendar_utils").global_calendar_dispatcher
    if dispatcher.has_calendar(_ZIPLINE_DAYS):
        return
    base: Any = import_module("exchange_calendars.always_open").AlwaysOpenCalendar
    fields = {"name": _ZIPLINE_DAYS, "close_times": ((None, time(23, 59)),), "close_offset": 0}
    dispatcher.register_calendar_type(_ZIPLINE_DAYS, type("DaysCalendar", (base,), fields))


def _make_zipline_bars(symbol: str, candles: CandleArrays, interval: str) -> Any:
    """Return bars by session, or by the minute's end, as zipline counts minutes."""
    import numpy as np

    prices, volumes = np.stack(candles.prices[:4]), candles.volume
    bad = ((prices * _ZIPLINE_RATIO < 0.5) | (prices * _ZIPLINE_RATIO > _ZIPLINE_MOST)).any(axis=0)
    bad |= volumes > _ZIPLINE_MOST
    if bad.any():
        raise InputError(
            f"zipline can't store the candle of {symbol} at {_format(candles.timestamp[bad][0])}",
            slot=_SLOT,
            hint="prices are from 0.001 to 4,294,967, volumes at most 4,294,967,295: scale them",
        )
    times = candles.timestamp if interval == "1d" else _find_ends(candles, GRIDS[interval])
    return _make_pandas(candles, times)


def _clip(bars: Any, calendar: Any, start_session: Any, end_session: Any, interval: str, symbol: str) -> Any:
    """Return the bars of the sessions that are ingested; each of them is at a time that the calendar has."""
    if interval == "1m":
        first, last = calendar.session_first_minute(start_session), calendar.session_last_minute(end_session)
        bars = bars.tz_localize("UTC")
    else:
        first, last = start_session, end_session
    bars = bars.loc[first:last]
    if bars.empty:
        raise InputError(f"{symbol} has no candles from {start_session:%Y-%m-%d} to {end_session:%Y-%m-%d}", slot=_SLOT)
    known = calendar.sessions if interval == "1d" else calendar.minutes
    outside = bars.index[~bars.index.isin(known)]
    if len(outside):
        where = f"the sessions of {calendar.name}"
        raise InputError(f"the bar of {symbol} at {outside[0].isoformat()} is outside of {where}", slot=_SLOT)
    return bars


def _check_sessions(index: Any, calendar: Any, symbol: str) -> None:
    expected = calendar.sessions_in_range(index[0], index[-1])
    missing = expected.difference(index)
    if len(missing):
        hint = _FILL if calendar.name in ("24/7", _ZIPLINE_DAYS) else None
        raise InputError(f"{symbol} has no candle of the session {missing[0]:%Y-%m-%d}", slot=_SLOT, hint=hint)

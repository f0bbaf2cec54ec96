"""The interval of a bar type, and the other way around."""

from __future__ import annotations

from typing import Any, Final

from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import BarAggregation, bar_aggregation_to_str

from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.errors import InputError

__all__ = ["get_interval", "make_bar_type"]

_LETTERS: Final = {
    BarAggregation.SECOND: "s",
    BarAggregation.MINUTE: "m",
    BarAggregation.HOUR: "h",
    BarAggregation.DAY: "d",
    BarAggregation.WEEK: "w",
    BarAggregation.MONTH: "M",
}
_NAMES: Final = {letter: bar_aggregation_to_str(aggregation) for aggregation, letter in _LETTERS.items()}


def get_interval(bar_type: Any) -> str:
    """Return the interval of the candles that bars of a type are: ``5m`` for ``...-5-MINUTE-LAST-EXTERNAL``.

    Raises:
        InputError: there are no such candles, as bars of ticks, of volume or of ten minutes.
    """
    spec = bar_type.spec
    letter = _LETTERS.get(spec.aggregation)
    interval = f"{spec.step}{letter}"
    if letter is None or interval not in GRIDS:
        raise InputError(
            f"there are no candles for bars of {spec}", slot="candle", hint=f"intervals are {' '.join(GRIDS)}"
        )
    return interval


def make_bar_type(instrument_id: Any, interval: str, *, price_type: str = "LAST", source: str = "EXTERNAL") -> Any:
    """Return the bar type of the candles of an interval.

    Args:
        instrument_id: Nautilus' id of the instrument, or its text.
        interval: the interval of the candles, such as ``5m``.
        price_type: what the prices are: ``LAST``, ``BID``, ``ASK`` or ``MID``.
        source: who has made the bars: ``EXTERNAL`` or ``INTERNAL``.

    Raises:
        InputError: the interval is unknown, or Nautilus has no such bars, as of three days.
    """
    if interval not in GRIDS:
        raise InputError(f"interval {interval!r} is unknown", slot="candle", hint=suggest(interval, list(GRIDS)))
    name = f"{instrument_id}-{interval[:-1]}-{_NAMES[interval[-1]]}-{price_type}-{source}"
    try:
        return BarType.from_str(name)
    except ValueError as error:
        raise InputError(f"Nautilus has no bars {name}: {error}", slot="candle") from None

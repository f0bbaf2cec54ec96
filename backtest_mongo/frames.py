"""Candles as frames of polars, pandas, PyArrow or NumPy, and frames as candles.

A frame has the columns ``timestamp``, ``open``, ``high``, ``low``, ``close`` and ``volume``. What is read is not copied
where the library in question can take the memory as it is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from backtest_mongo.arrays import CandleArrays
from backtest_mongo.errors import InputError
from backtest_mongo.types import PRICES

__all__ = ["Fill", "Kind", "check_arguments", "filled", "to_frame"]

#: The libraries that frames come in.
Kind: TypeAlias = Literal["polars", "pandas", "numpy", "arrow"]
#: What stands where a candle is missing.
Fill: TypeAlias = Literal["null", "forward"]
Mask: TypeAlias = NDArray[np.bool_] | None

_NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    "polars": ("polars",),
    "pandas": ("pandas",),
    "numpy": (),
    "arrow": ("pyarrow",),
}
_MOST_PLACES: Final = 100_000_000


def filled(
    candles: CandleArrays, step: int, first: int | None, end: int | None, how: Fill
) -> tuple[CandleArrays, Mask]:
    """Return a row for each place of the grid, and which of them are null.

    Args:
        first: where the rows begin, if not with the first candle.
        end: where they end, if not with the last one.
        how: ``null`` leaves places without a candle null, ``forward`` puts a flat candle there, at the close before,
            without volume; where there is none before, it is null.
    """
    phase = int(candles.timestamp[0]) % step if len(candles) else 0
    if not len(candles) and (first is None or end is None):
        return candles, None
    start = int(candles.timestamp[0]) if first is None else -((phase - first) // step) * step + phase
    stop = int(candles.timestamp[-1]) + 1 if end is None else end
    places = max(0, -((start - stop) // step))
    if places > _MOST_PLACES:
        raise InputError(
            f"fill={how!r} would make {places:,} rows", slot="candle", hint="give a start and an end that lie closer"
        )
    whole = CandleArrays.empty(places)
    whole.timestamp[:] = start + step * np.arange(places)
    at, beside = np.divmod(candles.timestamp - start, step)
    on_grid = beside == 0
    missing = np.ones(places, bool)
    missing[at[on_grid]] = False
    for column, values in zip(whole.prices, candles.prices, strict=True):
        column[:] = np.nan
        column[at[on_grid]] = values[on_grid]
    if how == "forward" and places:
        missing = _carry_forward(whole, missing)
    return whole, missing if missing.any() else None


def _carry_forward(whole: CandleArrays, missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Put flat candles where some are missing, and return where there is no candle to carry on."""
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(missing))))
    known = missing & (last >= 0)
    for column in (whole.open, whole.high, whole.low, whole.close):
        column[known] = whole.close[last[known]]
    whole.volume[known] = 0.0
    return missing & (last < 0)


def check_arguments(kind: object, fill: object) -> None:
    """Check before anything is read that a frame can be made.

    Raises:
        InputError: there is no such kind, its library is not installed, or there is no such way to fill.
    """
    if kind not in _MAKERS:
        raise InputError(f"as_ must be one of {', '.join(_MAKERS)}, not {kind!r}", slot="candle")
    if fill not in (None, "null", "forward"):
        raise InputError(f"fill must be None, null or forward, not {fill!r}", slot="candle")
    for library in _NEEDED[cast("Kind", kind)]:
        if importlib.util.find_spec(library) is None:
            raise InputError(
                f"as_={kind!r} needs {library}, which is not installed",
                slot="candle",
                hint='pip install "backtest-mongo[frames]", or as_="numpy", which needs nothing more',
            )


def to_frame(candles: CandleArrays, missing: Mask, kind: Kind) -> Any:
    """Return the candles as a frame; rows that are ``missing`` have a time and nothing else."""
    return _MAKERS[kind](candles, missing)


def _columns(candles: CandleArrays) -> Mapping[str, NDArray[np.float64]]:
    return dict(zip(PRICES, candles.prices, strict=True))


def _numpy(candles: CandleArrays, missing: Mask) -> dict[str, NDArray[Any]]:
    return {"timestamp": candles.timestamp.view("datetime64[ms]"), **_columns(candles)}


def _pandas(candles: CandleArrays, missing: Mask) -> Any:
    import pandas

    times = pandas.DatetimeIndex(candles.timestamp.view("datetime64[ms]"), tz="UTC", copy=False)
    return pandas.DataFrame({"timestamp": times, **_columns(candles)}, copy=False)


def _arrow(candles: CandleArrays, missing: Mask) -> Any:
    import pyarrow

    arrow: Any = pyarrow  # its buffers take any array, which its types do not know

    def column(values: NDArray[Any], kind: Any, empty: Mask) -> Any:
        valid = None if empty is None else arrow.py_buffer(np.packbits(~empty, bitorder="little"))
        return arrow.Array.from_buffers(kind, len(values), [valid, arrow.py_buffer(np.ascontiguousarray(values))])

    prices = {name: column(values, arrow.float64(), missing) for name, values in _columns(candles).items()}
    return arrow.table({"timestamp": column(candles.timestamp, arrow.timestamp("ms", tz="UTC"), None), **prices})


def _polars(candles: CandleArrays, missing: Mask) -> Any:
    import polars

    times = polars.Series("timestamp", candles.timestamp).cast(polars.Datetime("ms", "UTC"))
    frame = polars.DataFrame([times, *(polars.Series(name, values) for name, values in _columns(candles).items())])
    if missing is None:
        return frame
    return frame.with_columns(polars.when(polars.Series(~missing)).then(polars.col(PRICES)))


_MAKERS: Final[Mapping[Kind, Callable[[CandleArrays, Mask], Any]]] = {
    "polars": _polars,
    "pandas": _pandas,
    "numpy": _numpy,
    "arrow": _arrow,
}

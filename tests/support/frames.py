"""Frames of candles of every kind, and their columns as lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.types import PRICES

MINUTE = 60_000
GRID = GRIDS["1m"]
KINDS = ("polars", "pandas", "numpy", "arrow")
NAMES = ["timestamp", *PRICES]
#: How far the numbers of a candle lie from its position.
OFFSETS = {"open": 0.0, "high": 0.5, "low": -0.5, "close": 0.3, "volume": 0.4}


def make_arrays(*positions: int, step: int = MINUTE) -> dict[str, Any]:
    times = np.array(positions, np.int64) * step
    return {"timestamp": times, **{name: times / step + offset for name, offset in OFFSETS.items()}}


def make_frame(kind: str, *positions: int) -> Any:
    """A frame of each kind, with one more column than is asked for."""
    data = {**make_arrays(*positions), "trades": np.zeros(len(positions))}
    times = data["timestamp"].view("datetime64[ms]")
    match kind:
        case "polars":
            return pl.DataFrame(data).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
        case "pandas":
            return pd.DataFrame({**data, "timestamp": pd.DatetimeIndex(times, tz="UTC")})
        case "arrow":
            return pa.table({**data, "timestamp": pa.array(times, pa.timestamp("ms", tz="UTC"))})
        case _:
            return {**data, "timestamp": times}


def to_lists(frame_: Any) -> dict[str, list[Any]]:
    """The columns of a frame of any kind, as lists: times as numbers, nulls and NaN as None."""
    if isinstance(frame_, pl.DataFrame):
        frame_ = {name: frame_[name].to_physical().fill_null(float("nan")).to_numpy() for name in frame_.columns}
    elif isinstance(frame_, pa.Table):
        frame_ = {name: frame_[name].to_numpy() for name in frame_.column_names}
    elif isinstance(frame_, pd.DataFrame):
        frame_ = {name: frame_[name].to_numpy() for name in frame_.columns}
        frame_["timestamp"] = np.array([time.value // 10**6 for time in frame_["timestamp"]])
    times = np.asarray(frame_["timestamp"])
    found = {
        "timestamp": times.astype("datetime64[ms]").astype(int).tolist() if times.dtype.kind == "M" else times.tolist()
    }
    return found | {name: [None if x != x else x for x in frame_[name].tolist()] for name in list(frame_)[1:]}

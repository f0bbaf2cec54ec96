"""One series in several stores: this library, the rows of the bare driver, Parquet, and ArcticDB on LMDB."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import polars as pl

from backtest_mongo import CandleAdapter
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.config import MongoURI
from benchmarks.candle_data import COLUMNS, Frame

__all__ = [
    "Read",
    "adapter",
    "bytes_in_mongo",
    "bytes_of",
    "configured",
    "read_rows",
    "readers",
    "series_query",
    "store_elsewhere",
    "to_polars",
]

#: Reads a half-open range of times; ``None`` leaves an end open.
Read: TypeAlias = Callable[[int | None, int | None], Awaitable[Any]]

_SYMBOL: Final = "BTCUSDT"
_FIELDS: Final = {"_id": 0, **dict.fromkeys(COLUMNS, 1)}
_TIME: Final = pl.Datetime("ms", "UTC")


def configured(config: Mapping[str, Any], database: str, driver: str) -> dict[str, Any]:
    """Return a configuration for another database on the same servers, with time for a query of a million rows."""
    uri = MongoURI(config["CC_MONGO_CONNECTION_STRING"]).with_database(database).get_secret_value()
    return {
        **config,
        "CC_MONGO_CONNECTION_STRING": uri,
        "CC_MONGO_DRIVER": driver,
        "CC_MONGO_TIMEOUT_MS": 600_000,
        "CC_CANDLE_BLOCKS": True,  # otherwise an earlier setting would be kept
    }


def adapter(exchange: str) -> CandleAdapter:
    return CandleAdapter(_SYMBOL, "1m", exchange)


def series_query(exchange: str) -> dict[str, Any]:
    return {"exchangeName": exchange, "symbol": _SYMBOL, "interval": "1m"}


def to_polars(frame: Frame) -> pl.DataFrame:
    return pl.DataFrame(frame).with_columns(pl.col("timestamp").cast(_TIME))


def store_elsewhere(frame: Frame, directory: Path) -> None:
    """Write the candles to a Parquet file, compressed by zstd as polars does it, and to an ArcticDB on LMDB."""
    to_polars(frame).write_parquet(directory / "candles.parquet")
    pandas = importlib.import_module("pandas")
    columns = {name: frame[name] for name in COLUMNS[1:]}
    index = pandas.DatetimeIndex(frame["timestamp"].view("datetime64[ms]").astype("datetime64[ns]"), name="timestamp")
    _arctic(directory).write(_SYMBOL, pandas.DataFrame(columns, index=index))


def readers(series: CandleAdapter, directory: Path) -> dict[str, Read]:
    """Return every way to read a range, by name."""
    parquet = directory / "candles.parquet"

    async def read_parquet(start: int | None, end: int | None) -> Any:
        if start is None or end is None:
            return pl.read_parquet(parquet)
        time = pl.col("timestamp")
        first, last = (pl.lit(value).cast(_TIME) for value in (start, end))
        return pl.scan_parquet(parquet).filter(time.is_between(first, last, closed="left")).collect()

    async def read_arctic(start: int | None, end: int | None, output: str) -> Any:
        timestamp = importlib.import_module("pandas").Timestamp
        # ArcticDB's ranges include their ends.
        last = None if end is None else timestamp(end - 1, unit="ms")
        first = None if start is None else timestamp(start, unit="ms")
        return _arctic(directory).read(_SYMBOL, date_range=(first, last), output_format=output).data

    return {
        "polars": series.read_frame,
        "numpy": partial(series.read_frame, as_="numpy"),
        "parquet": read_parquet,
        "arctic": partial(read_arctic, output="PANDAS"),
        "arctic_polars": partial(read_arctic, output="POLARS"),
    }


async def read_rows(exchange: str, start: int, end: int) -> pl.DataFrame:
    """Return what the bare driver finds as a frame."""
    query = {**series_query(exchange), "timestamp": {"$gte": start, "$lt": end}}
    collection = current_hub().database[CandleAdapter.spec.collection]
    rows = await collection.find(query, _FIELDS).sort("timestamp", 1).batch_size(200_000).to_list(None)
    schema = {"timestamp": pl.Int64, **dict.fromkeys(COLUMNS[1:], pl.Float64)}
    return pl.DataFrame(rows, schema=schema).with_columns(pl.col("timestamp").cast(_TIME))


async def bytes_in_mongo(collection: str) -> dict[str, int]:
    """Flush, and return the size of a collection and its indexes on disk, in bytes."""
    database = current_hub().database
    await database.client.admin.command("fsync")
    found = await database.command("collStats", collection)
    return {name: int(found[name]) for name in ("storageSize", "totalIndexSize", "freeStorageSize")}


def bytes_of(directory: Path) -> dict[str, int]:
    """Return the size of the other stores on disk, in bytes."""
    lmdb = [path for path in (directory / "arctic").rglob("*") if path.is_file()]
    return {
        "parquet": (directory / "candles.parquet").stat().st_size,
        # LMDB's map may be larger than what it takes on disk.
        "arctic": sum(path.stat().st_blocks * 512 for path in lmdb),
    }


@cache
def _arctic(directory: Path) -> Any:
    # Imported late, like pandas, so that a process whose memory is measured imports only what it needs.
    store = importlib.import_module("arcticdb").Arctic(f"lmdb://{directory / 'arctic'}?map_size=4GB")
    return store.get_library("candles", create_if_missing=True)

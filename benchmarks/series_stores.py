"""Trades in several stores: this library, Parquet, ArcticDB on LMDB, DuckDB, and documents of a plain client.

The other stores get the rows in the form that they take with the least work, and that is made before any clock starts.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import polars as pl

from backtest_mongo import TradeAdapter
from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.columns.frame_output import to_frame
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.mongo.collection import aggregate
from benchmarks.trade_data import TRADE

__all__ = [
    "PEERS",
    "SYMBOL",
    "Peer",
    "adapter",
    "bytes_by_column",
    "bytes_in_mongo",
    "create_plain_index",
    "make_documents",
    "make_polars",
    "open_peers",
]

SYMBOL: Final = "BTCUSDT"


class Peer(Protocol):
    """Another store, in a directory."""

    def __init__(self, directory: Path) -> None: ...

    @staticmethod
    def prepare(trades: ColumnArrays) -> Any:
        """Return the rows as this store takes them."""

    def write(self, prepared: Any) -> None: ...

    def read(self, start: int | None, end: int | None, columns: Sequence[str] | None) -> pl.DataFrame:
        """Return a half-open range of times, with the times; ``None`` for an open end and for all columns."""

    def count_bytes(self) -> int:
        """Return the size on disk."""

    def close(self) -> None: ...


class Parquet:
    """A file that is compressed by zstd, as polars does it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "trades.parquet"

    @staticmethod
    def prepare(trades: ColumnArrays) -> pl.DataFrame:
        return make_polars(trades)

    def write(self, prepared: pl.DataFrame) -> None:
        prepared.write_parquet(self._path, compression="zstd")

    def read(self, start: int | None, end: int | None, columns: Sequence[str] | None) -> pl.DataFrame:
        chosen = None if columns is None else ["timestamp", *columns]
        if start is None or end is None:
            return pl.read_parquet(self._path, columns=chosen)
        first, last = (pl.lit(value).cast(pl.Datetime("us", "UTC")) for value in (start, end))
        scan = pl.scan_parquet(self._path).filter(pl.col("timestamp").is_between(first, last, closed="left"))
        return (scan if chosen is None else scan.select(chosen)).collect()

    def count_bytes(self) -> int:
        return self._path.stat().st_size

    def count_columns(self) -> dict[str, int]:
        """Return the compressed bytes of each column."""
        metadata = importlib.import_module("pyarrow.parquet").ParquetFile(self._path).metadata
        found: dict[str, int] = {}
        for group in range(metadata.num_row_groups):
            for place in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(place)
                found[chunk.path_in_schema] = found.get(chunk.path_in_schema, 0) + chunk.total_compressed_size
        return found

    def close(self) -> None:
        """Nothing is open."""


class Arctic:
    """ArcticDB on LMDB."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "arctic"
        store = importlib.import_module("arcticdb").Arctic(f"lmdb://{self._directory}?map_size=32GB")
        self._library: Any = store.get_library("trades", create_if_missing=True)

    @staticmethod
    def prepare(trades: ColumnArrays) -> Any:
        pandas = importlib.import_module("pandas")
        side = trades.values["side"]
        columns = {
            "trade_id": trades.sequence,
            "price": trades.values["price"].data,
            "amount": trades.values["amount"].data,
            "side": np.array(side.categories, object)[side.data],
        }
        index = pandas.DatetimeIndex(trades.time.view("M8[us]").astype("M8[ns]"), name="timestamp")
        return pandas.DataFrame(columns, index=index)

    def write(self, prepared: Any) -> None:
        self._library.write(SYMBOL, prepared)

    def read(self, start: int | None, end: int | None, columns: Sequence[str] | None) -> pl.DataFrame:
        make_time = partial(importlib.import_module("pandas").Timestamp, unit="us")
        # ArcticDB's ranges include their ends.
        between = None if start is None or end is None else (make_time(start), make_time(end - 1))
        chosen = None if columns is None else list(columns)
        found = self._library.read(SYMBOL, date_range=between, columns=chosen, output_format="POLARS")
        frame: pl.DataFrame = found.data
        return frame

    def count_bytes(self) -> int:
        # LMDB's map may be larger than what it takes on disk.
        return sum(path.stat().st_blocks * 512 for path in self._directory.rglob("*") if path.is_file())

    def close(self) -> None:
        """LMDB is closed with the last reference."""
        self._library = None


class DuckDB:
    """A table in DuckDB's own file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "trades.duckdb"
        self._connection: Any = importlib.import_module("duckdb").connect(str(self._path))

    @staticmethod
    def prepare(trades: ColumnArrays) -> pl.DataFrame:
        # Times with a zone would be converted to the zone of the process.
        return make_polars(trades).with_columns(pl.col("timestamp").dt.replace_time_zone(None))

    def write(self, prepared: pl.DataFrame) -> None:
        self._connection.register("given", prepared)
        self._connection.sql("CREATE OR REPLACE TABLE trades AS SELECT * FROM given")
        self._connection.sql("CHECKPOINT")

    def read(self, start: int | None, end: int | None, columns: Sequence[str] | None) -> pl.DataFrame:
        query = f"SELECT {'*' if columns is None else ', '.join(('timestamp', *columns))} FROM trades"
        if start is not None and end is not None:
            query += f" WHERE timestamp >= make_timestamp({start}) AND timestamp < make_timestamp({end})"
        frame: pl.DataFrame = self._connection.sql(query).pl()
        return frame

    def count_bytes(self) -> int:
        return self._path.stat().st_size

    def close(self) -> None:
        self._connection.close()


#: By name.
PEERS: Final[Mapping[str, type[Peer]]] = {"parquet": Parquet, "arctic": Arctic, "duckdb": DuckDB}


def open_peers(directory: Path) -> tuple[dict[str, Peer], dict[str, str]]:
    """Return the other stores that are installed, and why the rest is not there, by name."""
    peers: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    for name, kind in PEERS.items():
        try:
            peers[name] = kind(directory)
        except ImportError as error:
            missing[name] = str(error)
    return peers, missing


def adapter(exchange: str) -> TradeAdapter:
    return TradeAdapter(SYMBOL, exchange)


def make_polars(trades: ColumnArrays) -> pl.DataFrame:
    frame: pl.DataFrame = to_frame(TRADE, trades, "polars")
    return frame


def make_documents(trades: ColumnArrays, exchange: str) -> list[dict[str, Any]]:
    """Return a document for each trade, as a plain client would insert it."""
    context = {"exchangeName": exchange, "symbol": SYMBOL}
    return [{**context, **row} for row in trades.rows(TRADE)]


async def create_plain_index(collection: Any) -> None:
    """Give a collection of such documents a unique index on the key that the slot has."""
    await collection.create_index([(name, 1) for name in TRADE.key], unique=True)


async def bytes_in_mongo(collection: str, *, is_compact: bool = False) -> dict[str, int]:
    """Flush, compact if asked, and return the sizes of a collection and its indexes in bytes."""
    database = current_hub().database
    await database.client.admin.command("fsync")
    if is_compact:
        await database.command("compact", collection, force=True)
        await database.client.admin.command("fsync")
    found = await database.command("collStats", collection)
    return {name: int(found[name]) for name in ("size", "storageSize", "totalIndexSize", "freeStorageSize")}


async def bytes_by_column(collection: str, columns: Sequence[str]) -> dict[str, int]:
    """Return the compressed bytes of each column of all blocks."""
    sums = {name: {"$sum": {"$binarySize": f"$columns.{name}"}} for name in columns}
    (found,) = await aggregate(current_hub().database[collection], [{"$group": {"_id": None, **sums}}])
    return {name: int(found[name]) for name in columns}

"""Store candles by ``write_frame`` and by the bare driver's ``insert_many`` in turn, each in an empty database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import polars as pl

from backtest_mongo import CandleAdapter, setup
from backtest_mongo.connection.hub_registry import current_hub
from benchmarks.candle_data import COLUMNS, Frame
from benchmarks.candle_stores import adapter, configured, series_query, to_polars
from benchmarks.timing import in_turn, seconds

__all__ = ["INGEST_GOAL", "drop", "measure_ingest"]

#: In multiples of the bare driver's time.
INGEST_GOAL: Final = 2.0
#: Rows per insert on both sides.
_BATCH: Final = 10_000
_DATABASE: Final = "bench-ingest"
_EXCHANGE: Final = "ingest"


async def measure_ingest(config: Mapping[str, Any], driver: str, frame: Frame, rounds: int) -> dict[str, Any]:
    """Return the medians in microseconds per candle: with sealing, without sealing, and of ``insert_many``."""
    own = configured(config, _DATABASE, driver)
    given = to_polars(frame)
    times = await in_turn(
        {
            "ours": partial(_write_frame, own, given),
            "unsealed": partial(_write_frame, {**own, "CC_CANDLE_BLOCKS": False}, given),
            "bare": partial(_insert_many, own, frame),
        },
        rounds,
    )
    ratio = times["ours"] / times["bare"]
    return {
        "driver": driver,
        "rows": len(given),
        **{f"{name}_us": taken / len(given) * 1e6 for name, taken in times.items()},
        "ratio": ratio,
        "goal": INGEST_GOAL,
        "met": ratio <= INGEST_GOAL,
    }


async def drop(config: Mapping[str, Any]) -> None:
    """Drop the configured database."""
    async with setup(config):
        database = current_hub().database
        await database.client.drop_database(database.name)


async def _write_frame(config: Mapping[str, Any], frame: pl.DataFrame) -> float:
    async with setup(config):
        series = adapter(_EXCHANGE)
        await series.coverage()  # create the indexes on both sides
        taken = await seconds(partial(series.write_frame, frame))
        assert (await series.coverage()).rows == len(frame)
        assert bool((await series.sealed()).blocks) == config["CC_CANDLE_BLOCKS"]
    await drop(config)
    return taken


async def _insert_many(config: Mapping[str, Any], frame: Frame) -> float:
    rows = len(frame["timestamp"])
    async with setup(config):
        await adapter(_EXCHANGE).coverage()
        collection = current_hub().database[CandleAdapter.spec.collection]
        taken = 0.0
        for start in range(0, rows, _BATCH):
            documents = _documents(frame, start)
            taken += await seconds(partial(collection.insert_many, documents, ordered=False))
        assert await collection.estimated_document_count() == rows
    await drop(config)
    return taken


def _documents(frame: Frame, start: int) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    columns = (frame[name][start : start + _BATCH].tolist() for name in COLUMNS)
    stamps = {"createDate": now, "updatedDate": now, "__v": 0}
    series = series_query(_EXCHANGE)
    return [{**series, **dict(zip(COLUMNS, row, strict=True)), **stamps} for row in zip(*columns, strict=True)]

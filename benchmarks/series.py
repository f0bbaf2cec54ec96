"""Compare series with columns with a plain client and other stores: ``nox -s bench -- --series``.

They are trades, and ticks where vnpy_mongodb is compared. A store that is not installed is left out, and the page says
why.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
from rich.console import Console

from backtest_mongo import TickAdapter, TradeAdapter, setup
from backtest_mongo.columns.arrays import ColumnArrays
from backtest_mongo.connection.hub_registry import current_hub
from benchmarks.candle_ingest import drop
from benchmarks.candle_stores import configured
from benchmarks.cases import open_plain
from benchmarks.series_appends import APPENDS, measure_appends
from benchmarks.series_memory import measure_read, measure_write, save
from benchmarks.series_stores import (
    PEERS,
    SYMBOL,
    Parquet,
    Peer,
    adapter,
    bytes_by_column,
    bytes_in_mongo,
    create_plain_index,
    make_documents,
    make_polars,
    open_peers,
)
from benchmarks.timing import Clocked, Make, Times, Work, in_turn, interleave, seconds
from benchmarks.trade_data import TICK_STEP, TRADE, choose_hours, make_ticks, make_trades, shift_trades
from benchmarks.vnpy_ticks import VnpyTicks

__all__ = ["ROWS", "measure_series"]

#: Trades by default.
ROWS: Final = 10_000_000
#: The most that ours may take, in multiples of the other store's time or bytes.
BULK_GOAL: Final = 5.0
WHOLE_GOAL: Final = 1.0
HOUR_GOAL: Final = 1.0
DISK_GOAL: Final = 1.0
#: What one hour may take in a series a hundred times as long: the same, as far as it can be measured.
LARGE_GOAL: Final = 1.1
#: Rows of those who take long for each; their time is extrapolated.
_INSERTED: Final = 100_000
_SAVED: Final = 20_000
_BATCH: Final = 10_000
_TICKS: Final = 10_000
_FEW_TICKS: Final = 21
_TICK_READS: Final = 20
_HOURS: Final = 100
#: Fewest trades that last for longer than an hour.
_LEAST: Final = 100_000
_STORED: Final = "stored"
_BLOCKS: Final = "trade-blocks"

Say: TypeAlias = Callable[[str], None]


def measure_series(
    config: Mapping[str, Any],
    drivers: Sequence[str],
    rows: int,
    rounds: int,
    console: Console,
    *,
    is_large: bool = False,
) -> dict[str, Any]:
    """Return all figures of the section about series with columns."""

    def say(what: str) -> None:
        console.print(f"[dim]series: {what}[/]", highlight=False)

    figures: dict[str, Any] = {"rows": rows, "missing": {}, "appends": [], "ticks": []}
    for driver in drivers:
        for appends in APPENDS:
            say(f"appends of {appends.name}, {driver}")
            figures["appends"].append(asyncio.run(measure_appends(config, driver, appends, rows)))
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as name:
        figures |= _measure_stored(config, drivers, make_trades(rows), rounds, Path(name), say)
    for driver in drivers:
        say(f"ticks, {driver}")
        figures["ticks"].append(asyncio.run(_measure_ticks(config, driver, rounds, figures["missing"])))
    if is_large:
        figures["large"] = []
        for driver in drivers:
            say(f"one hour among {10 * rows:,} rows, {driver}")
            figures["large"].append(asyncio.run(_measure_large(config, driver, rows)))
    return figures


def _measure_stored(
    config: Mapping[str, Any], drivers: Sequence[str], trades: ColumnArrays, rounds: int, directory: Path, say: Say
) -> dict[str, Any]:
    """Store trades in every store, and return sizes and times."""
    by_driver = {driver: configured(config, f"bench-series-{driver}", driver) for driver in drivers}
    first = by_driver[drivers[0]]
    figures: dict[str, Any] = {"bulk": [], "whole": [], "hour": [], "column": []}
    peers, missing = open_peers(directory)
    try:
        for peer in peers.values():
            peer.write(peer.prepare(trades))
        for driver, own in by_driver.items():
            say(f"bulk writing, {driver}")
            bulk = asyncio.run(_measure_bulk(own, config, driver, trades, rounds, missing))
            figures["bulk"].append({"driver": driver, **bulk})
            say(f"reads, {driver}")
            for what, found in asyncio.run(_measure_reads(own, peers, trades, rounds)).items():
                figures[what].append({"driver": driver, **found})
        say("bytes on disk")
        figures["disk"] = asyncio.run(_measure_disk(configured(config, "bench-series-disk", drivers[0]), peers, trades))
    finally:
        for peer in peers.values():
            peer.close()  # DuckDB's file can be open in one process alone
    say("memory")
    save(trades, directory)
    figures["memory"] = [{"driver": drivers[0], **measure_write(first, "memory", directory)}]
    for driver, own in by_driver.items():
        figures["memory"].append({"driver": driver, **measure_read(own, _STORED, directory, "ours")})
    for name in peers:
        figures["memory"].append({"driver": None, **measure_read(first, _STORED, directory, name)})
    for own in by_driver.values():
        asyncio.run(drop(own))
    return {**figures, "missing": missing}


def _judge(ours: float, others: Mapping[str, float], against: str, goal: float) -> dict[str, Any]:
    if against not in others:
        return {}
    ratio = ours / others[against]
    return {"against": against, "ratio": ratio, "goal": goal, "met": ratio <= goal}


async def _measure_bulk(
    own: Mapping[str, Any],
    config: Mapping[str, Any],
    driver: str,
    trades: ColumnArrays,
    rounds: int,
    missing: dict[str, str],
) -> dict[str, Any]:
    """Return the seconds to write all rows, each time into an empty store; the last ones of ours stay."""
    rows, few, saved = len(trades), min(len(trades), _INSERTED), min(len(trades), _SAVED)
    frame, numbers = make_polars(trades), count()
    uri, name = f"{config['CC_MONGO_CONNECTION_STRING']}&w=majority", f"bench-series-{driver}-plain"
    async with setup(own), open_plain(driver, uri, name) as plain:
        with ExitStack() as stack:

            async def write() -> float:
                await adapter(_STORED).delete()
                taken = await seconds(partial(adapter(_STORED).write_frame, frame))
                assert (await adapter(_STORED).coverage()).rows == rows
                return taken

            def write_peer(name: str) -> Clocked:
                prepared = PEERS[name].prepare(trades)

                async def write_once() -> float:
                    with _open_empty(name) as peer:
                        return await seconds(partial(_call, peer.write, prepared))

                return write_once

            async def insert() -> float:
                collection = plain[f"trades-{next(numbers)}"]
                await create_plain_index(collection)
                taken = 0.0
                for start in range(0, few, _BATCH):
                    documents = make_documents(trades.take(slice(start, min(start + _BATCH, few))), _STORED)
                    taken += await seconds(partial(collection.insert_many, documents, ordered=False))
                assert await collection.count_documents({}) == few
                await collection.drop()
                return taken

            await adapter("warm").write_frame(frame.head(_BATCH))
            works: dict[str, Clocked] = {"ours": write}
            works |= {peer: write_peer(peer) for peer in PEERS if peer not in missing}
            works["insert_many"] = insert
            try:
                vnpy = VnpyTicks(config["CC_MONGO_CONNECTION_STRING"], f"{name}-vnpy")
            except ImportError as error:
                missing["vnpy"] = str(error)
            else:
                stack.callback(vnpy.close)
                ticks = make_ticks(saved)

                async def save_ticks() -> float:
                    given = vnpy.make(f"bulk-{next(numbers)}", ticks)
                    return await seconds(partial(_call, vnpy.save, given))

                works["vnpy"] = save_ticks
            found = await in_turn(works, rounds)
        await plain.client.drop_database(plain.name)
        await plain.client.drop_database(f"{name}-vnpy")
    found["insert_many"] *= rows / few
    if "vnpy" in found:
        found["vnpy"] *= rows / saved
    extrapolated = {"insert_many": few, "vnpy": saved}
    return {"seconds": found, "extrapolated": extrapolated, **_judge(found["ours"], found, "arctic", BULK_GOAL)}


@contextmanager
def _open_empty(name: str) -> Iterator[Peer]:
    """Open another store in a directory of its own, which is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as directory:
        peer = PEERS[name](Path(directory))
        try:
            yield peer
        finally:
            peer.close()


async def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


async def _measure_reads(
    own: Mapping[str, Any], peers: Mapping[str, Peer], trades: ColumnArrays, rounds: int
) -> dict[str, dict[str, Any]]:
    """Return the seconds to read the whole series, one random hour, and one column of it, as polars frames."""
    columns = ["price"]
    async with setup(own):
        series = adapter(_STORED)
        for peer in (None, *peers.values()):  # loads files and pages into memory
            frame = await (series.read_frame() if peer is None else _call(peer.read, None, None, None))
            assert np.array_equal(frame["price"].to_numpy(), trades.values["price"].data), peer
        works: dict[str, Clocked] = {"ours": partial(seconds, series.read_frame)}
        works |= {name: partial(seconds, partial(_call, peer.read, None, None, None)) for name, peer in peers.items()}
        whole = await in_turn(works, rounds)
        hours = choose_hours(trades, _HOURS + 1)
        hour = await _measure_hours(series, peers, hours, None)
        column = await _measure_hours(series, peers, hours, columns)
    return {
        "whole": {"seconds": whole, **_judge(whole["ours"], whole, "parquet", WHOLE_GOAL)},
        "hour": {"seconds": hour, **_judge(hour["ours"], hour, "arctic", HOUR_GOAL)},
        "column": {"seconds": column},
    }


async def _measure_hours(
    series: TradeAdapter,
    peers: Mapping[str, Peer],
    hours: Sequence[tuple[int, int]],
    columns: Sequence[str] | None,
) -> dict[str, float]:
    """Return the median seconds to read one hour; the first one does not count."""
    for start, end in hours[:3]:
        frame = await series.read_frame(start, end, columns=columns)
        for name, peer in peers.items():
            assert peer.read(start, end, columns)["price"].equals(frame["price"]), name
    sides: dict[str, Make] = {"ours": _make_reads(partial(series.read_frame, columns=columns), hours)}
    for name, peer in peers.items():
        sides[name] = _make_reads(partial(_read_peer, peer, columns), hours)
    return await _clock_reads(sides, len(hours) - 1)


async def _read_peer(peer: Peer, columns: Sequence[str] | None, start: int, end: int) -> pl.DataFrame:
    return peer.read(start, end, columns)


def _make_reads(read: Callable[..., Awaitable[Any]], ranges: Sequence[tuple[int, int]]) -> Make:
    """Return what makes the read of the next range."""
    following = iter(ranges)

    def make() -> Work:
        return partial(read, *next(following))

    return make


async def _clock_reads(sides: Mapping[str, Make], calls: int) -> dict[str, float]:
    times = {side: Times() for side in sides}
    await interleave(sides, calls, times, is_large=False)
    return {side: statistics.median(taken.wall) for side, taken in times.items()}


async def _measure_disk(config: Mapping[str, Any], peers: Mapping[str, Peer], trades: ColumnArrays) -> dict[str, Any]:
    """Return bytes per row on disk, after compaction and with indexes; ``rest`` is what the empty tail takes.

    The rows are written once into an empty database, as those of the other stores are.
    """
    rows = len(trades)
    async with setup(config):
        series = adapter(_STORED)
        await series.write_frame(make_polars(trades))
        await series.seal()
        size = await series.size()
        assert (size.block_rows, size.tail_rows) == (rows, 0), size
        blocks = await bytes_in_mongo(_BLOCKS, is_compact=True)
        names = ["timestamp", TRADE.key[-1], *(column.name for column in TRADE.columns)]
        columns = {"ours": await bytes_by_column(_BLOCKS, names)}
        others = [await bytes_in_mongo(name, is_compact=True) for name in (TRADE.collection, "trade-series")]
    await drop(config)
    parquet = peers.get("parquet")
    if isinstance(parquet, Parquet):
        columns["parquet"] = parquet.count_columns()
    sizes = {
        "data": blocks["size"],
        "storage": blocks["storageSize"],
        "free": blocks["freeStorageSize"],
        "indexes": blocks["totalIndexSize"],
        "ours": blocks["storageSize"] + blocks["totalIndexSize"],
        "rest": sum(found["storageSize"] + found["totalIndexSize"] for found in others),
    }
    sizes |= {name: peer.count_bytes() for name, peer in peers.items()}
    found = {name: size / rows for name, size in sizes.items()}
    by_column = {name: {column: taken / rows for column, taken in one.items()} for name, one in columns.items()}
    return {
        "bytes": found,
        "columns": by_column,
        "block_rows": size.block_rows / size.blocks,
        **_judge(found["ours"], found, "parquet", DISK_GOAL),
    }


async def _measure_ticks(
    config: Mapping[str, Any], driver: str, rounds: int, missing: Mapping[str, str]
) -> dict[str, Any]:
    """Return the seconds to write ticks, and to read all or few of them, also as ``vnpy_mongodb`` does."""
    ticks, numbers, name = make_ticks(_TICKS), count(), f"bench-ticks-{driver}"
    frame = pl.DataFrame(ticks).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    times = ticks["timestamp"].tolist()
    vnpy = None if "vnpy" in missing else VnpyTicks(config["CC_MONGO_CONNECTION_STRING"], f"{name}-vnpy")
    own = configured(config, name, driver)
    async with setup(own):

        async def write() -> float:
            series = TickAdapter(f"{SYMBOL}-{next(numbers)}", "bench")
            taken = await seconds(partial(series.write_frame, frame))
            assert (await series.coverage()).rows == _TICKS
            return taken

        series = TickAdapter(SYMBOL, "bench")
        await series.write_frame(frame)
        whole = [(times[0], times[-1] + TICK_STEP)] * (_TICK_READS + 1)
        few = [(times[at], times[at + _FEW_TICKS]) for at in range(100, 100 + _TICK_READS + 1)]
        works: dict[str, Clocked] = {"ours": write}
        sides = {what: {"ours": _make_reads(series.read_frame, some)} for what, some in (("all", whole), ("few", few))}
        if vnpy is not None:
            database = vnpy

            async def save_ticks() -> float:
                given = database.make(f"{SYMBOL}-{next(numbers)}", ticks)
                return await seconds(partial(_call, database.save, given))

            async def load(start: int, end: int) -> list[Any]:
                return database.load(SYMBOL, start, end - TICK_STEP)  # its ranges include their ends

            works["vnpy"] = save_ticks
            database.save(database.make(SYMBOL, ticks))
            for what, some in (("all", whole), ("few", few)):
                assert len(await load(*some[0])) == len(await series.read_frame(*some[0]))
                sides[what]["vnpy"] = _make_reads(load, some)
        found = {"write": await in_turn(works, rounds)}
        for what, both in sides.items():
            found[what] = await _clock_reads(both, _TICK_READS)
        if vnpy is not None:
            await current_hub().database.client.drop_database(f"{name}-vnpy")
            vnpy.close()
    await drop(own)
    return {"driver": driver, "rows": _TICKS, "few_rows": _FEW_TICKS, "seconds": found}


async def _measure_large(config: Mapping[str, Any], driver: str, rows: int) -> dict[str, Any]:
    """Return the seconds to read one hour of a series ten times the run's, and of one a tenth of it, in blocks."""
    trades = make_trades(max(rows // 10, _LEAST))
    repeats = 10 * rows // len(trades)
    own = configured(config, f"bench-large-{driver}", driver)
    async with setup(own):
        small, large = adapter("small"), adapter("large")
        await small.write_frame(make_polars(trades))
        start = time.perf_counter()
        for part in shift_trades(trades, repeats):
            await large.write_frame(make_polars(part))
        taken = time.perf_counter() - start
        for series in (small, large):
            await series.seal()
        size = await large.size()
        assert (size.block_rows, size.tail_rows) == (repeats * len(trades), 0), size
        sides = {
            "small": _make_reads(small.read_frame, choose_hours(trades, _HOURS + 1)),
            "large": _make_reads(large.read_frame, choose_hours(trades, _HOURS + 1, repeats=repeats)),
        }
        found = await _clock_reads(sides, _HOURS)
        stored = await bytes_in_mongo(_BLOCKS)
    await drop(own)
    return {
        "driver": driver,
        "small_rows": len(trades),
        "rows": size.block_rows,
        "blocks": size.blocks,
        "written": taken,
        "bytes": stored["storageSize"] + stored["totalIndexSize"],
        "seconds": found,
        **_judge(found["large"], found, "small", LARGE_GOAL),
    }

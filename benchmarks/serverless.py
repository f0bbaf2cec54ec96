"""What storage without servers costs: SQLite beside files, MongoDB, and SQLite as somebody would use it without us.

Everything is on one disk. aiosqlite and ``sqlite3`` are in WAL mode with ``synchronous=FULL``, so a write is on the
disk when it returns, as ours are.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final, TypeAlias

from backtest_mongo import CandleAdapter, SignalAdapter, StorageAdapter, close, setup
from backtest_mongo.adapters.files import bind_to_files
from backtest_mongo.adapters.sqlite import bind_to_sqlite
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.sqlite.database import get_database
from benchmarks.documents import SignalContext, make_candle, make_candles, make_contexts, make_exchange
from benchmarks.documents import make_payload as payload
from benchmarks.others import Table, open_sqlite
from benchmarks.timing import Make, Times, Work, interleave

__all__ = ["MEASURED", "measure_serverless"]

#: How an adapter class becomes one that stores in a backend.
Bind: TypeAlias = Callable[[Any], Any]

_ROWS: Final = 10_000
_CANDLES: Final = 100_000
_WINDOW: Final = 50
_COLUMNS: Final = ("timestamp", "open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Measured:
    """A row of the table.

    Attributes:
        name: what is done.
        bare: what SQLite does without this library.
        calls: calls a round.
        make: makes the sides from backends.
        operations: of one call.
        goals: the most that SQLite may take, in multiples of other sides' time.
    """

    name: str
    bare: str
    calls: int
    make: Callable[[Mapping[str, Bind], Table], Awaitable[dict[str, Make]]]
    operations: int = 1
    goals: Mapping[str, float] = field(default_factory=dict)


async def _make_reads(backends: Mapping[str, Bind], bare: Table) -> dict[str, Make]:
    contexts = make_contexts(100)
    sides: dict[str, Make] = {}
    for name, bind in backends.items():
        adapters = [bind(SignalAdapter)(*context) for context in contexts]
        await asyncio.gather(*(adapter.write_signal_data(payload()) for adapter in adapters))
        turns = cycle(adapters)
        sides[name] = lambda turns=turns: next(turns).read_signal_data  # type: ignore[misc]
    await bare.upsert_all([(context, payload()) for context in contexts])
    keys = cycle(contexts)
    return sides | {"bare": lambda: partial(bare.select, next(keys))}


async def _make_writes(backends: Mapping[str, Bind], bare: Table) -> dict[str, Make]:
    contexts = make_contexts(100)
    sides: dict[str, Make] = {}
    for name, bind in backends.items():
        turns = cycle([bind(SignalAdapter)(*context) for context in contexts])
        sides[name] = lambda turns=turns: partial(next(turns).write_signal_data, payload())  # type: ignore[misc]
    keys = cycle(contexts)
    return sides | {"bare": lambda: partial(bare.upsert_all, [(next(keys), payload())])}


async def _make_many_writes(backends: Mapping[str, Bind], bare: Table) -> dict[str, Make]:
    contexts = make_contexts(500)

    def make(adapters: list[Any]) -> Work:
        payloads = [payload() for _ in adapters]

        async def write() -> None:
            await asyncio.gather(*map(lambda one, value: one.write_signal_data(value), adapters, payloads))

        return write

    sides: dict[str, Make] = {
        name: partial(make, [bind(SignalAdapter)(*context) for context in contexts]) for name, bind in backends.items()
    }
    return sides | {"bare": lambda: partial(bare.upsert_all, [(context, payload()) for context in contexts])}


async def _make_lists(backends: Mapping[str, Bind], bare: Table) -> dict[str, Make]:
    sides: dict[str, Make] = {}
    for name, bind in backends.items():
        adapter = bind(StorageAdapter)(True)
        await adapter.write_storage_data([{**payload(), "id": f"{number}"} for number in range(_ROWS)])
        sides[name] = lambda adapter=adapter: partial(_read_list, adapter)  # type: ignore[misc]
    contexts: list[SignalContext] = [(f"{number}", "list", "list") for number in range(_ROWS)]
    await bare.upsert_all([(context, payload()) for context in contexts])
    return sides | {"bare": lambda: partial(bare.select_all, "list", _ROWS)}


async def _read_list(adapter: Any) -> None:
    assert len(await adapter.read_storage_data()) == _ROWS


async def _make_candle_writes(as_frame: bool, backends: Mapping[str, Bind], bare: Table) -> dict[str, Make]:
    rows = make_candles(_CANDLES)
    frame = _to_columns(rows)
    sides: dict[str, Make] = {}
    for name in ("sqlite", "mongo"):
        bind = backends[name]

        def make(bind: Bind = bind) -> Work:
            series = bind(CandleAdapter)("BTCUSDT", "1m", make_exchange())
            return partial(series.write_frame, frame) if as_frame else partial(series.write_candles_data, rows)

        sides[name] = make
    tuples = [tuple(row[name] for name in _COLUMNS) for row in rows]
    return sides | {"bare": lambda: partial(asyncio.to_thread, bare.insert_candles, make_exchange(), tuples)}


async def _make_frames(backends: Mapping[str, Bind], _: Table) -> dict[str, Make]:
    def make(series: Any) -> Work:
        return partial(series.read_frame, as_="numpy")

    return {name: partial(make, series) for name, series in (await _store(backends)).items()}


async def _make_windows(backends: Mapping[str, Bind], _: Table) -> dict[str, Make]:
    sides: dict[str, Make] = {}
    for name, series in (await _store(backends)).items():
        starts = cycle(range(0, _CANDLES - _WINDOW, 1_237))

        def make(name: str = name, series: Any = series, starts: Any = starts) -> Work:
            first = make_candle(next(starts))["timestamp"]
            if name == "mongo":
                current_hub().candle_cache.clear()
            else:
                get_database(series._store()._database.path).blocks.clear()
            return partial(series.read_candles_data, _WINDOW, first)

        sides[name] = make
    return sides


async def _store(backends: Mapping[str, Bind]) -> dict[str, Any]:
    """Return the same series in SQLite and in MongoDB, where all of it is sealed."""
    exchange, frame = make_exchange(), _to_columns(make_candles(_CANDLES))
    series = {name: backends[name](CandleAdapter)("BTCUSDT", "1m", exchange) for name in ("sqlite", "mongo")}
    for one in series.values():
        await one.write_frame(frame)
        await one.seal()
    return series


def _to_columns(rows: list[Any]) -> dict[str, Any]:
    import numpy as np

    return {name: np.array([row[name] for row in rows]) for name in _COLUMNS}


MEASURED: Final = (
    Measured("a lone read", "aiosqlite, `SELECT`", 300, _make_reads, goals={"files": 0.5}),
    Measured("a lone write", "aiosqlite, upsert and commit", 200, _make_writes, goals={"files": 0.6, "bare": 1.3}),
    Measured("500 writes at once", "aiosqlite, one transaction", 6, _make_many_writes, 500, {"files": 0.05}),
    Measured(f"a list of {_ROWS:,} rows", "aiosqlite, `SELECT`", 4, _make_lists, _ROWS, {"files": 0.1}),
    Measured(
        f"{_CANDLES:,} candles",
        "`sqlite3`, one `executemany`",
        3,
        partial(_make_candle_writes, False),
        _CANDLES,
        {"bare": 1.5},
    ),
    Measured(
        f"{_CANDLES:,} candles of a frame",
        "`sqlite3`, one `executemany`",
        3,
        partial(_make_candle_writes, True),
        _CANDLES,
        {"bare": 1.5},
    ),
    Measured(f"a frame of {_CANDLES:,} candles", "", 20, _make_frames, _CANDLES, {"mongo": 1.0}),
    Measured(f"a window of {_WINDOW} candles, not in memory", "", 200, _make_windows, goals={"mongo": 1.0}),
)


@asynccontextmanager
async def _open_backends(config: Mapping[str, Any]) -> AsyncIterator[tuple[dict[str, Bind], Table]]:
    """Open all sides on fresh data, by name."""
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as name:
        directory = Path(name)
        async with setup(config, CC_MONGO_DRIVER="pymongo"), open_sqlite(directory) as bare:
            backends: dict[str, Bind] = {
                "sqlite": bind_to_sqlite(directory / "backtest.db"),
                "files": bind_to_files(directory / "dump"),
                "mongo": lambda adapter: adapter,
            }
            yield backends, bare
        await close()


async def measure_serverless(
    config: Mapping[str, Any], rounds: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the microseconds of each side per operation, and how SQLite's goals came out."""
    rows = []
    async with _open_backends(config) as (backends, bare):
        for row in MEASURED:
            say(row.name)
            times: dict[str, Times] = {}
            for _ in range(rounds):
                sides = await row.make(backends, bare)
                times = times or {side: Times() for side in sides}
                await interleave(sides, row.calls, times, is_large=row.operations > 1)
            found = {side: taken.summarize(row.operations) for side, taken in times.items()}
            ratios = {side: found["sqlite"]["median_us"] / found[side]["median_us"] for side in found}
            goals = {
                side: {"goal": goal, "reached": ratios[side], "met": ratios[side] <= goal}
                for side, goal in row.goals.items()
            }
            rows.append({"name": row.name, "bare": row.bare, "sides": found, "ratios": ratios, "goals": goals})
    return rows

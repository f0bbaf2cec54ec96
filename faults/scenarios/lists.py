"""Long lists that are read while connections are cut: each must be complete."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import backtest_mongo
from backtest_mongo import StorageAdapter, StoreUnavailableError
from backtest_mongo.core.config import reset_config
from faults.load import DRIVERS, Outcome
from faults.proxy import Proxy
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

__all__ = ["SCENARIOS"]

ROWS: Final = 3_000
#: The first batch has 101 rows of any size, and the rest of a page comes by getMore.
FAT: Final = "x" * 8_000


def _play(stage: Stage) -> Figures:
    outcome = Outcome()
    uri = stage.standalone.uri(stage.database())
    with stage.proxy(stage.standalone.port) as proxy:
        through = uri.replace(str(stage.standalone.port), str(proxy.port))
        reset_config()  # otherwise another scenario's configuration would be kept
        config = {"CC_MONGO_CONNECTION_STRING": uri, "CC_REDIS_PORT": stage.healthy_redis.port}
        asyncio.run(_write(config, outcome))
        for driver in DRIVERS:
            faulty = {**config, "CC_MONGO_CONNECTION_STRING": through, "CC_MONGO_DRIVER": driver}
            asyncio.run(_read(faulty, proxy, stage.times(1, 10), outcome))
        return Figures(outcome=outcome, faults=proxy.cuts)


async def _write(config: dict[str, Any], outcome: Outcome) -> None:
    async with backtest_mongo.setup(config):
        storage = StorageAdapter(True)
        for start in range(0, ROWS, 500):
            await storage.write_storage_data([_row(number) for number in range(start, start + 500)])
    outcome.operations += ROWS
    outcome.acknowledged += ROWS


async def _read(config: dict[str, Any], proxy: Proxy, times: int, outcome: Outcome) -> None:
    async with backtest_mongo.setup(config):
        storage = StorageAdapter(True)
        for _ in range(times):
            # Lose the first batch of a page or the rest of it, as a whole or in part.
            for command, after in ((b"getMore", 0), (b"getMore", 100_000), (b"find", 100_000)):
                proxy.cut(command, after=after, every=2)
                start = time.monotonic()
                try:
                    found = await storage.read_storage_data()
                except StoreUnavailableError as error:
                    outcome.unavailable += 1
                    outcome.example = str(error)
                else:
                    outcome.wrong += found != [_row(number) for number in range(ROWS)]
                outcome.operations += 1
                outcome.longest = max(outcome.longest, time.monotonic() - start)
        proxy.pass_on()


def _row(number: int) -> dict[str, Any]:
    return {"id": f"row-{number:05}", "number": number, "text": FAT}


SCENARIOS: Final = (
    Scenario(
        name="long-lists",
        fault=f"connections cut while lists of {ROWS:,} rows of 8 kB are read",
        how="proxy: every second find or getMore cut, before or in its answer",
        servers="standalone, w=majority",
        play=_play,
    ),
)

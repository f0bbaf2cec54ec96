"""A process that writes versions of rows as fast as it goes, until it is killed; run by the tests of versions.

Prints each number once it is acknowledged: it is the state, the time of its version in seconds, and the note.
"""

from __future__ import annotations

import asyncio
import sys

import backtest_mongo
from backtest_mongo import persist, set_config, transaction


async def main(unique: str, database: str, first: int) -> None:
    if database == "mongodb":
        await backtest_mongo.setup(CC_HISTORY="state,signal,memory")
    else:
        set_config(CC_HISTORY="state,signal,memory")
        persist.use_sqlite(database)
    state, memory = persist.state(unique, "alone"), persist.memory(unique, "notes")
    signal = persist.signal("BTCUSDT", unique, "binance")
    for number in range(first, 10**6):
        when = 1_000 * number
        await state.write_state_data({"n": number}, when)
        async with transaction(when=when):
            await signal.write_signal_data({"n": number})
            await memory.write_memory_data({"n": number}, "note")
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

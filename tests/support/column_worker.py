"""A process that writes rows into a series of an SQLite database, which others write, too; run by tests/sqlite.

It appends the rows of times 0 to N, some at a time, seals now and then, and prints how many of them were new.
"""

from __future__ import annotations

import asyncio
import sys

from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.sqlite.database import close_databases, get_database
from tests.support.column_rows import make_spec, make_uniform

CONTEXT = (True, "trend", "BTCUSDT")
SPEC = make_spec("int64", immutable=True)


async def main(path: str, count: int, step: int) -> None:
    store = SQLiteColumns(get_database(path), SPEC)
    new = 0
    for at in range(0, count, step):
        new += await store.insert(CONTEXT, make_uniform(SPEC, at, min(at + step, count)))
        if at % (7 * step) == 0:
            async for _ in store.seal_rows(CONTEXT):
                pass
    print(new)
    await close_databases()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

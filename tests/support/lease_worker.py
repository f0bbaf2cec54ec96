"""A process that owns contexts, told what to do by its arguments; run by the tests of leases.

Prints a line for each thing that it has done, and is killed, stopped or ended by the test.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import backtest_mongo
from backtest_mongo import BacktestMongoError, LeaseLostError, lease, persist, set_config, transaction
from tests.support.uniform import WHEN


def say(*words: Any) -> None:
    print(json.dumps(words), flush=True)


async def hear() -> str:
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


async def hold(unique: str, ttl: float) -> None:
    """Take the lease, and write a bar for each line, in a transaction of two rows."""
    one, other = persist.state(unique, "one"), persist.state(unique, "other")
    async with lease(one, other, ttl=ttl):
        say("held")
        n = 0
        while await hear():
            n += 1
            async with transaction(when=WHEN):
                await one.write_state_data({"n": n})
                await other.write_state_data({"n": n})
            say("committed", n)
    say("given back")


async def hold_open(unique: str, ttl: float) -> None:
    """Take the lease, write the rows in the database's own transaction, and wait in its midst, as if stopped there."""
    from backtest_mongo.mongo import committer

    async def wait_forever(*_: Any) -> Any:
        say("open")
        await asyncio.Event().wait()

    committer.MongoCommitter._finish = wait_forever  # type: ignore[assignment,method-assign]
    await hold(unique, ttl)


async def count(unique: str, ttl: float, every: int) -> None:
    """Write bars of three rows as fast as it goes, from where the last process has stopped, until it is killed."""
    while True:
        try:
            await count_on(unique, ttl, every)
        except LeaseLostError:  # on a busy machine
            say("lost")


async def count_on(unique: str, ttl: float, every: int) -> None:
    one, other, log = persist.state(unique, "one"), persist.state(unique, "other"), persist.storage(True)
    async with lease(one, other, log, ttl=ttl, wait=60, commit_every=every, max_delay=0.05):
        found = await one.read_state_data()
        n = 0 if found is None else found["n"]
        say("resumed", n, await other.read_state_data(), len(await log.read_storage_data()))
        while True:
            n += 1
            async with transaction(when=WHEN):
                await one.write_state_data({"n": n})
                await log.write_storage_data([{"id": f"{n:08}", "n": n}])
                await other.write_state_data({"n": n})
            say("bar", n)


async def reset_slowly(unique: str, step: int) -> None:
    """Reset a run in steps of so many rows, and say so after each."""
    from backtest_mongo.adapters import resets
    from backtest_mongo.mongo import run_rows as on_server
    from backtest_mongo.sqlite import run_rows as in_file

    for module in (on_server, in_file, resets):
        vars(module)["STEP"] = step
    for rows in (on_server.MongoRunRows, in_file.SQLiteRunRows):
        rows.delete = _report_steps(rows.delete)  # type: ignore[method-assign]
    say("begun")
    await resets.reset(unique)
    say("done")


def _report_steps(delete: Any) -> Any:
    async def delete_and_report(self: Any, selection: Any) -> Any:
        async for deleted in delete(self, selection):
            say("step", self.spec.name)
            yield deleted

    return delete_and_report


async def main(job: dict[str, Any]) -> None:
    if job["sqlite"]:
        set_config(job["config"])
        persist.use_sqlite(job["sqlite"])
    else:
        await backtest_mongo.setup(job["config"])
    kinds = {"hold": hold, "hold_open": hold_open, "count": count, "reset": reset_slowly}
    work = kinds[job["kind"]]
    try:
        await work(job["unique"], *job["arguments"])  # type: ignore[operator]
    except BacktestMongoError as error:
        say(type(error).__name__, str(error))
    await backtest_mongo.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))

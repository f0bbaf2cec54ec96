"""Runs backtests of the witness, each in a process that may kill itself: ``python -m tests.engines.nautilus.worker``.

Each line of standard input is a run, as JSON: ``file`` or ``config`` (the storage), ``minutes`` of data, ``manual`` and
``kill`` (see :class:`Doomed`), and ``release`` (whether to take the lease from the process before, which was killed).
What it prints and how it has ended is a line of standard output. Its process is forked from this one, which has
imported everything and has neither threads nor connections.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from typing import Any

from backtest_mongo import sync
from backtest_mongo.adapters.scopes import lease
from backtest_mongo.sync import persist, transaction
from backtest_mongo.sync.portal import block
from backtest_mongo.sync.wrapping import unwrap
from tests.engines.nautilus.support import Witness, make_stream, run_engine

__all__ = ["Doomed", "release_leases"]

#: Events after the one at which a thread is told to kill, by which it has done so, or is waited for.
_GRACE = 60


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Doomed(Witness):
    """A witness whose process is killed.

    Args:
        kill: ``at``, the number of the event from the first; ``stage``: ``load``, ``event`` (it comes), ``note`` (it is
            handled and not committed) or ``anywhere`` (``delay`` seconds after it, whatever is under way then); or
            ``hold``, which waits to be killed.
        manual: at every how many events the strategy says that a checkpoint is to be stored; 0 is after each one.
    """

    def __init__(self, kill: dict[str, Any] | None, manual: int) -> None:
        super().__init__()
        self.kill = kill or {"at": 0, "stage": ""}
        self.manual = manual
        self.checkpoint_every_event = manual == 0
        # A killed owner's lease is released by force, so it never ends while a process is only slow.
        self.checkpoint_lease = {"ttl": 3_600.0}

    def take(self, event: str) -> None:
        stage = self.kill["stage"] if self.count + 1 == self.kill["at"] else ""
        if stage == "event":
            die()
        elif stage == "anywhere":
            threading.Timer(self.kill["delay"], die).start()
        elif stage == "hold":
            print("holds", flush=True)
            signal.pause()
        elif self.kill["stage"] == "anywhere" and self.count + 1 == self.kill["at"] + _GRACE:
            signal.pause()
        super().take(event)
        if self.manual and self.count % self.manual == 0:
            with transaction(when=self.clock.timestamp_ns() // 1_000_000):
                super().note()
                self.checkpoint()
        if stage == "note":
            die()

    def note(self) -> None:
        if not self.manual:
            super().note()

    def on_load(self, state: dict[str, bytes]) -> None:
        super().on_load(state)
        if self.kill["stage"] == "load":
            die()

    def on_stop(self) -> None:
        if self.manual:
            self.checkpoint()


def release_leases(adapter: Any) -> None:
    """Take the lease of a context from its owner, as ``backtest-mongo leases release --force`` does."""

    async def release() -> None:
        (member,) = lease(unwrap(adapter))._members
        for holder in await member.committer.list_leases():
            await member.committer.release_by_force(holder.id)

    block(release)


def run(told: dict[str, Any]) -> dict[str, Any]:
    """Run a backtest, and return what it has seen and what is stored."""
    if told.get("file"):
        persist.use_sqlite(told["file"])
    else:
        sync.setup(told["config"])
    if told["release"]:
        release_leases(persist.session("Doomed-000", "nautilus", "BACKTESTER-001", "", True))
    run_engine(make_stream(told["minutes"]), witness := Doomed(told["kill"], told["manual"]))
    found = {"seen": len(witness.seen), "report": witness.report()}
    sync.close()
    return found


def run_in_child(told: dict[str, Any]) -> dict[str, Any]:
    """Run a backtest in a process of its own, and return how that has ended: by which signal, or with what."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        answer: dict[str, Any]
        try:
            answer = {"found": run(told)}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        with open(writing, "w") as output:
            json.dump(answer, output)
        os._exit(0)
    os.close(writing)
    print(process, flush=True)
    with open(reading) as given:
        text = given.read()
    _, status = os.waitpid(process, 0)
    return {"signal": os.WTERMSIG(status), **json.loads(text or "{}")}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(run_in_child(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

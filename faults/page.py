"""Write the documentation's page about faults from the results of a run: ``python -m faults.page fault-results``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from faults.scenarios.bars import NAMES
from faults.scenarios.orders import MEASURED
from faults.scenarios.redis import GOALS

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "faults.md"

TEXT: Final = """\
# Faults

What happens to writes and reads while servers are killed, frozen, disconnected or full, while event loops end, and
while processes that share an SQLite file are killed. Each row is one scenario on real servers or a real file; its
command runs it again on its own, and `nox -s faults` runs them all. Processes, of both drivers on MongoDB, concurrently
write and read one value per slot and key, and record when each operation began and ended. A checker then looks for an
order in which all of them could have happened.

{machine}

- **acknowledged writes** returned. **Lost** ones are not found afterwards, on MongoDB by a majority read.
- **wrong reads** returned a value that no order allows: a stale one, one that came back after it had been replaced, or
  one that nobody wrote or whose writer was told that it was not sent. Reads over a direct connection to a server that
  steps down are not judged for one heartbeat (3 s, and 1 s for a busy machine); after that any answer counts as wrong.
- **unavailable** operations raised `StoreUnavailableError`, which is allowed if the fault lasts longer than their
  deadline. **Replaced meanwhile** are writes whose answer was lost and whose row another writer has changed since: the
  caller is told that the outcome is unknown. Any other error, including a plain `StoreError`, fails the run.
- **longest stall** is the longest time that one operation took. The **bound** is its limit: one deadline
  (`CC_MONGO_TIMEOUT_MS`) in a queue that gets no answer and one after it is sent, plus a tenth, and a second for a busy
  machine, or four where several servers and loads share it. Time in which a thread of the load process had no
  processor is not counted, where Linux reports it. A call in a queue that gets answers waits for its turn, so it has no
  bound.
- Figures in italics are measured but not promised: those with `w=1` in the connection string.
- "Killed" means `kill -9` of the process, not a power failure. Not covered: a network partition between the members of
  a replica set, a full disk of a server, wrong clocks, sharded clusters.

## MongoDB

{mongo}

A lost primary is replaced after the election timeout, which is 10 s in the long form and 2 s in the short one
(`--quick`). On a busy machine, finding and electing the next one can take longer than the default deadline of 15 s;
operations are then unavailable.

## Redis

Goals: a failing Redis adds at most 60 ms to an operation before its circuit breaker opens, and 5 % afterwards, as a
ratio of medians in the same run; below 1 it costs nothing. A missed goal is in bold. With rubbish in its entries Redis
does not fail: it answers, and each wrong id costs a round trip.

{redis}

## SQLite

Processes share one file. Afterwards `PRAGMA integrity_check` has to find nothing, and the library reads every row once
more. The lock is that of writers, for which reads don't wait.

{sqlite}

A full disk is in `tests/sqlite/test_full_disk.py`: writes that have no space raise a `StoreError`, what was
acknowledged stays, and writing goes on once there is space.

## Transactions and leases

A bar is one transaction of four rows in four slots, written under leases of three contexts; the processes go for the
same leases, and take over from each other. A bar is **lost** if it was acknowledged and is not stored, or another one
is in its place; **half** if some of its rows are missing; stored **twice** if two owners were told that they have
written it, if it is stored although its writer was told that nothing of it is, or if two owners had a lease at the same
time. The last two rows have no leases: processes write one number to a row of every slot in a transaction, and read
single rows. A wrong read is one that no order of the transactions explains if all of their rows change at one point.

{bars}

Not proof against: a writer without the lease, the Node package among them, which is noticed at the owner's next commit
and not before; on SQLite a machine whose clock is set, and a process that stands still while it has the lock of the
file, for which all others wait; with `commit_every` above 1 the loss of the last bars.

Every step in turn: `tests/sqlite/test_interrupted_commits.py` kills the owner of leases on SQLite at each SQL statement
of a commit, and of its whole life from the making of the file on, and cuts the write-ahead log at each page of a commit
and within it. Before the end of COMMIT nothing of a bar is there, afterwards all of it; `PRAGMA integrity_check` finds
nothing, and the successor goes on. It also cancels commits, bars of one commit, and leases at each of their awaits and
statements, up to three times: a bar is whole or not there, the lease works on, and is free after its block. On MongoDB
a cancellation at each command and answer of a commit is in `tests/commit/test_outcomes.py`, as are lost answers of
commits, and clocks of client and server that are minutes apart. `tests/contract/test_model.py` and
`tests/sqlite/test_sqlite_model.py` draw transactions, dropped and inner ones too, and leases, and compare what is
stored with a model after each; a full disk under transactions is in `tests/sqlite/test_full_disk.py`.

## Orders

[orders_once.py](../examples/orders_once.py) trades on an exchange that is a local process. Two orders in five lose
their connection, before or after the exchange has executed them. The exchange's book is compared with what the strategy
orders if nothing happens to it: an order is **missing** if it is not in the book, and was **executed twice** if the
same bar ordered it again, under whatever id. [Exactly once](exactly-once.md) says how it works, and what is left to the
exchange.

{orders}

{problems}
"""

MONGO_COLUMNS: Final = (
    ("fault", "fault"),
    ("method", "how"),
    ("servers", "servers"),
    ("times", "faults"),
    ("operations", "operations"),
    ("acknowledged writes", "acknowledged"),
    ("lost", "lost"),
    ("wrong reads", "wrong"),
    ("unavailable", "unavailable"),
    ("replaced meanwhile", "replaced"),
    ("longest stall", "longest"),
    ("bound", "bound"),
    ("command", "command"),
)
REDIS_COLUMNS: Final = (
    ("fault", "fault"),
    ("method", "how"),
    ("times", "faults"),
    ("operations", "operations"),
    ("acknowledged writes", "acknowledged"),
    ("lost", "lost"),
    ("wrong reads", "wrong"),
    ("failed", "unavailable"),
    ("longest stall", "longest"),
    *((name, name) for name in GOALS),
    ("command", "command"),
)
SQLITE_COLUMNS: Final = tuple(
    ("file", name) if name == "servers" else (title, name) for title, name in MONGO_COLUMNS if name != "replaced"
)
BAR_COLUMNS: Final = (
    ("fault", "fault"),
    ("method", "how"),
    ("storage", "servers"),
    ("times", "faults"),
    ("operations", "operations"),
    ("acknowledged", "acknowledged"),
    ("lost", "lost"),
    ("half", "half"),
    ("twice", "twice"),
    ("wrong reads", "wrong"),
    ("unavailable", "unavailable"),
    ("command", "command"),
)
ORDER_COLUMNS: Final = (
    ("fault", "fault"),
    ("method", "how"),
    ("storage", "servers"),
    ("kills", "faults"),
    *((name, name) for name in MEASURED),
    ("bars", "operations"),
    ("orders", "acknowledged"),
    ("missing", "lost"),
    ("executed twice", "wrong"),
    ("command", "command"),
)


def table(rows: list[dict[str, Any]], columns: tuple[tuple[str, str], ...]) -> str:
    """Return one line per row, with figures that are not promised in italics and missed goals in bold."""
    lines = [f"| {' | '.join(title for title, _ in columns)} |", "| --- " * len(columns) + "|"]
    lines += [f"| {' | '.join(_cell(row, name) for _, name in columns)} |" for row in rows]
    return "\n".join(lines)


def _cell(row: dict[str, Any], name: str) -> str:
    if name in GOALS:
        value = row["measured"].get(name)
        if value is None:
            return ""
        text = f"{value:.0f}" if GOALS[name] >= 10 else f"{value:.2f}"
        return text if value <= GOALS[name] else f"**{text}**"
    value = int(row["measured"].get(name, 0)) if name in MEASURED else row[name]
    if name == "command":
        return f"`{value}`"
    if name == "bound" and value is None:
        return "none"
    if name in ("longest", "bound"):
        return f"{value:.1f} s"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if row["asserted"] or name not in ("lost", "wrong") else f"*{text}*"


def split_wrong(row: dict[str, Any]) -> dict[str, int]:
    """Return what is wrong with bars, by kind; the rest are wrong reads."""
    half, twice = (int(row["measured"].get(name, 0)) for name in ("half", "twice"))
    return {"half": half, "twice": twice, "wrong": row["wrong"] - half - twice}


def problems(rows: list[dict[str, Any]]) -> str:
    """List every broken promise."""
    found = [f"- {row['name']}: {problem.splitlines()[0]}" for row in rows for problem in row["problems"]]
    return "\n".join(["Broken in this run:", "", *found]) if found else ""


def machine(figures: dict[str, Any]) -> str:
    known = figures["machine"]
    return (
        f"{known['cores']} cores, {known['processor']}, {known['system']}, Python {known['python']}; "
        f"MongoDB {known['mongod']}, Redis {known['redis']}; "
        f"PyMongo {known['pymongo']}, Motor {known['motor']}, redis-py {known['redis-py']}."
    )


def page(figures: dict[str, Any]) -> str:
    of_redis = [row for row in figures["rows"] if row["name"].startswith("redis-")]
    of_sqlite = [row for row in figures["rows"] if row["name"].startswith("sqlite-")]
    of_orders = [row for row in figures["rows"] if row["name"].startswith("orders-")]
    of_bars = [row for row in figures["rows"] if row["name"].startswith(NAMES)]
    elsewhere = [*of_redis, *of_sqlite, *of_orders, *of_bars]
    of_mongo = [row for row in figures["rows"] if row not in elsewhere]
    text = TEXT.format(
        machine=machine(figures),
        mongo=table(of_mongo, MONGO_COLUMNS),
        redis=table(of_redis, REDIS_COLUMNS),
        sqlite=table(of_sqlite, SQLITE_COLUMNS),
        bars=table([row | split_wrong(row) for row in of_bars], BAR_COLUMNS),
        orders=table(of_orders, ORDER_COLUMNS),
        problems=problems(figures["rows"]),
    )
    return text.rstrip() + "\n"


def main(results: Path) -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(json.loads((results / "faults.json").read_text())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

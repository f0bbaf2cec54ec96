"""Write the documentation's pages with figures from a run: ``python -m benchmarks.page benchmark-results``.

They are docs/performance.md with its chart, and docs/fast-code.md.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Final

import bson

from benchmarks import candle_page, series_page
from benchmarks.cases import CASES
from benchmarks.documents import make_payload
from benchmarks.fast_code_page import make_page
from benchmarks.history import CONTEXTS
from benchmarks.transactions import MANY

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_DRIVERS: Final = {"motor": "Motor", "pymongo": "PyMongo"}
_OTHERS: Final = {"beanie": "beanie", "sqlite": "aiosqlite"}

TEXT = """\
# Performance

What each operation costs, compared with a plain client: Motor or PyMongo's asyncio client that was given nothing but a
connection string with `w=majority`, and does the least that has the same effect. Both sides ran in turn, call by call,
on the same servers in the same process, each on rows of its own and with values that no other write had. The figures
are medians over the calls of {rounds} rounds on fresh keys. Machines are noisy: trust the ratios, not a single figure.

`nox -s bench` runs everything and writes `benchmark-results/`; `python -m benchmarks.page benchmark-results` writes
this page and [Fast code with this library](fast-code.md).

{machine}, embedded MongoDB 6.0 (replica set of one) and Redis.

## Compared with a plain client

Wall-clock time and processor time of this library as multiples of the plain client's, on asyncio's event loop and
Python {python}. The last column names the largest part of the difference.

{ratios}

A call adds its deadline, its place in the order of its key, the turn of the event loop in which calls are batched, and
a task that outlives a cancelled caller. [How it works](how-it-works.md) and [Configuration](configuration.md) say what
these are for.

The same in microseconds per operation, with the ratio of the 20th percentiles, which are less sensitive to other load:

{micros}

*Our own collection object* is the ratio to the same calls on this library's configured collection, which already
includes its decoder and deadline.

The ratio to the plain client by driver, event loop and Python:

{foundations}

{replay}

{starts}

## Compared with other libraries

Reading a row by its id and writing it, compared with beanie, an object mapper on PyMongo's asyncio client, and with
aiosqlite on a local file (WAL mode, `synchronous=FULL`). Microseconds per operation on asyncio's loop, and this
library's time on MongoDB as a multiple of the other's.

{others}

## Without servers

SQLite, which stores before `setup()`, beside JSON files, MongoDB (PyMongo's client) and what SQLite does without this
library, in WAL mode with `synchronous=FULL`. Microseconds per operation, row or candle, on asyncio's loop; in brackets
SQLite's time as a multiple of theirs.

{serverless}

A lone read is answered on the event loop, without a thread. Writes that wait share a transaction, and so an `fsync`.
Candles are stored in blocks of up to 512.

{transactions}
{history}
## Cost by size

![Cost of an operation by the rows stored, by the contexts in use and by the tasks at once](scale.png)

On PyMongo's client. *Ratio* is to the plain client at the same size.

{scale}

The cost of reading or writing one row hardly depends on how many are stored: each is one lookup in the unique index.
Concurrent calls share a round trip, so each gets cheaper the more there are, until Python's garbage collector has
thousands of tasks to walk; [Fast code with this library](fast-code.md#thousands-of-tasks) has what to do about that.

A context that a program holds takes {bytes:,.0f} bytes: its adapter, its entry in the registry and the id of its row,
as measured with {contexts:,} of them. Once the program drops the adapters, the registry holds {left} of them. Ids are
kept for 65,536 rows at most.

{candles}{series}## Where the speed comes from

- A warm read is one fetch by `_id`: the id is in this process, and Redis is not asked. A warm write is one
  `findOneAndUpdate`, and nothing is sent to Redis.
- Concurrent calls are batched, at most 1,000 at a time. A lone call is sent alone, after one iteration of the event
  loop in which others may join it.
- Candles are inserted in bulk after one index query for those that are already stored; their ids go to Redis
  concurrently. Small concurrent writes, such as one closed candle of each of 200 symbols, are combined into one insert,
  one query of blocks and one Redis command. A single candle is inserted without looking first whether it is stored.
- Closed stretches of 4,096 candles are sealed: five columns, compressed by Pcodec, in addition to the rows. A frame is
  read from them; each is decompressed into its place while the server sends the next. Rows are read where there are
  none. A bulk write seals its own candles while the server inserts the next, without reading them back.
- Candles that were read are cached as columns in bounded memory (`CC_CANDLE_CACHE_MB`), and a replay reads ahead, up to
  8,192 rows at a time.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _divide(row: Mapping[str, Any], other: str, name: str = "median_us") -> str:
    if other not in row["sides"]:
        return ""
    return f"{row['sides']['ours'][name] / row['sides'][other][name]:.2f}"


def _find(rows: Iterable[Mapping[str, Any]], case: str, driver: str, loop: str) -> Mapping[str, Any]:
    (row,) = [row for row in rows if (row["case"], row["driver"], row["loop"]) == (case, driver, loop)]
    return row


def _ratios(rows: Sequence[Mapping[str, Any]]) -> str:
    drivers = [f"{name}, {what}" for name in _DRIVERS.values() for what in ("wall", "processor")]
    lines = []
    for case in CASES:
        if case.against:
            found = [_find(rows, case.name, driver, "asyncio") for driver in _DRIVERS]
            cells = [_divide(row, "plain", name) for row in found for name in ("median_us", "processor_us")]
            lines.append([case.name, case.against, *(f"**{cell}**" for cell in cells), case.cost])
    return _table(["", "against", *drivers, "largest cost"], lines)


def _micros(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = ("ours / plain", "20th percentile", "our own collection object")
    head = ["", *(f"{name}: {column}" for name in _DRIVERS.values() for column in columns)]
    lines = []
    for case in CASES:
        if case.against:
            cells = []
            for driver in _DRIVERS:
                row = _find(rows, case.name, driver, "asyncio")
                both = [f"{row['sides'][side]['median_us']:,.1f}" for side in ("ours", "plain")]
                cells += [" / ".join(both), _divide(row, "plain", "p20_us"), _divide(row, "own")]
            lines.append([case.name, *cells])
    return _table(head, lines)


def _foundations(runs: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [
        (driver, loop, python)
        for driver in _DRIVERS
        for python, figures in runs.items()
        for loop in dict.fromkeys(row["loop"] for row in figures["rows"])
    ]
    head = ["", *(f"{_DRIVERS[driver]}, {loop}, {python}" for driver, loop, python in columns)]
    lines = [
        [
            case.name,
            *(
                _divide(_find(runs[python]["rows"], case.name, driver, loop), "plain")
                for driver, loop, python in columns
            ),
        ]
        for case in CASES
        if case.against
    ]
    return _table(head, lines)


def _replay(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows that are held against nothing."""
    texts = []
    for case in CASES:
        if not case.against:
            taken = []
            for driver, name in _DRIVERS.items():
                row = _find(rows, case.name, driver, "asyncio")
                taken.append(f"{row['sides']['ours']['median_us'] * row['operations'] / 1e6:.2f} s with {name}")
            text = f"A replay of a month, {case.name} beginning with an empty cache, takes {' and '.join(taken)}."
            texts.append(fill(text, 120))
    return "\n".join(texts)


def _starts(rows: Sequence[Mapping[str, Any]]) -> str:
    imported, command = rows
    both = [[f"{row[name] / 1e3:,.0f} ms" for name in ("ours_us", "other_us")] for row in (imported, command)]
    return (
        f"`from backtest_mongo import *` takes {both[0][0]}, importing its dependencies alone {both[0][1]}.\n"
        f'`backtest-mongo --help` takes {both[1][0]}, and `python -c "import typer"` {both[1][1]}.'
    )


def _others(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for case in CASES[:2]:
        for driver, name in _DRIVERS.items():
            row = _find(rows, case.name, driver, "asyncio")
            cells = [f"{row['sides']['ours']['median_us']:,.0f}"]
            for other in _OTHERS:
                cells += [f"{row['sides'][other]['median_us']:,.0f}", f"**{_divide(row, other)}**"]
            lines.append([f"{case.name}, {name}", *cells])
    return _table(["", "ours", *(cell for name in _OTHERS.values() for cell in (name, "ratio"))], lines)


def _format_micros(side: Mapping[str, float]) -> str:
    return f"{side['median_us']:,.{1 if side['median_us'] >= 1 else 3}f}"


def _serverless(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        cells = [row["name"], _format_micros(row["sides"]["sqlite"])]
        for side in ("files", "mongo", "bare"):
            found = row["sides"].get(side)
            cells.append(f"{_format_micros(found)} (**{row['ratios'][side]:.2f}**)" if found else "")
        lines.append([*cells, row["bare"]])
    return _table(["", "SQLite", "files", "MongoDB", "bare SQLite", "bare SQLite's way"], lines)


_TRANSACTIONS: Final = """\
## Transactions and leases

[Exactly once](exactly-once.md) explains them. A bar is that of a strategy which reads ten values and writes four, of
500 bytes each; the plain client makes the same calls one after another. This library's time as a multiple of the other
side's, call by call in turn, over {rounds} rounds:

{ratios}

Under a lease reads are answered from memory, and a commit sends one command to fence itself, one for each collection,
and one to commit. `commit_every={many}` acknowledges a transaction in memory and sends {many} in one commit, of each
row the last value alone: a process that is killed loses the last of them and never a part of one.

A month of {bars:,} such bars, one a minute. All of them were run for the first column, and a tenth for the others:

{month}

{node}
"""


def _transactions(figures: Mapping[str, Any]) -> str:
    drivers = figures["drivers"]
    names = {
        ("a commit of four writes", "plain"): "four writes committed under a lease, against four upserts in turn",
        ("a commit of four writes", "at once"): "the same against four upserts at once",
        ("a commit of four writes", "no lease"): "the same against a transaction without a lease",
        ("a bar", "plain"): "a bar, each committed alone",
        (f"a bar, {MANY} a commit", "plain"): f"a bar, {MANY} in a commit",
        ("a read from memory", "plain"): "a read from memory, against `copy.deepcopy` of its payload",
    }
    lines = []
    for (name, side), text in names.items():
        cells = []
        for driver in drivers:
            (row,) = [row for row in driver["rows"] if row["name"] == name]
            ratio = row["ratios"][side]
            cells.append(f"**{ratio:.2f}**" if ratio >= 0.1 else f"**{ratio:.3f}**, {1 / ratio:.0f} times as fast")
        lines.append([text, *cells])
    heads = ["", *(_DRIVERS[driver["driver"]] for driver in drivers)]
    months = [(_DRIVERS[driver["driver"]], driver["month"]) for driver in drivers] + [("SQLite", figures["sqlite"])]
    seconds = [
        [name, *(f"{month[part]:,.0f} s" if part in month else "" for part in ("many", "alone", "plain"))]
        for name, month in months
    ]
    return _TRANSACTIONS.format(
        ratios=_table(heads, lines),
        many=MANY,
        rounds=figures["machine"]["rounds"],
        bars=drivers[0]["month"]["bars"],
        node=fill(_tell_node(figures["node"]), 120),
        month=_table(["", f"{MANY} in a commit", "each committed alone", "a plain client"], seconds),
    )


_HISTORY: Final = """\
## Versions

{begin}

{ratios}

{end}
"""

_VERSIONS_BEGIN: Final = (
    "[Time travel](time-travel.md) explains them. {versions:,} versions of {contexts:,} rows, with payloads of "
    "{payload} bytes. This library's time as a multiple of the other side's, call by call in turn, over {rounds} "
    "rounds:"
)
_VERSIONS_END: Final = (
    "A write with its version is one transaction of three round trips: the row, its version, and the commit. A read as "
    "of a time is one aggregation that finds the row and its latest version up to then; concurrent reads share one. A "
    "version takes {bytes:.0f} bytes, which WiredTiger compresses to {stored:.0f} on disk, and {indexes:.0f} more "
    "for its indexes. These figures are from a separate run: {machine}."
)


def _history(figures: Mapping[str, Any]) -> str:
    drivers = figures["drivers"]
    names = {
        ("a write with its version", "without"): "a write to a slot with versions, against one without",
        ("a read as of a time", "lone"): "a read as of a time, against a plain read of the row",
        ("a read as of a time", "plain"): "the same against a plain client's `find_one` of the row",
        ("50 reads as of a time at once", "one"): "50 concurrent reads as of different times, against a single one",
    }
    lines = []
    for (name, side), text in names.items():
        rows = [next(row for row in driver["rows"] if row["name"] == name) for driver in drivers]
        lines.append([text, *(f"**{row['ratios'][side]:.2f}**" for row in rows)])
    sizes = drivers[0]["sizes"]
    begin = _VERSIONS_BEGIN.format(
        versions=figures["versions"],
        contexts=CONTEXTS,
        payload=len(bson.encode(make_payload())),
        rounds=figures["machine"]["rounds"],
    )
    end = _VERSIONS_END.format(machine=_describe(figures["machine"], [figures["machine"]["python"]]), **sizes)
    return _HISTORY.format(
        begin=fill(begin, 120),
        ratios=_table(["", *(_DRIVERS[driver["driver"]] for driver in drivers)], lines),
        end=fill(end, 120),
    )


def _tell_node(seconds: float | None) -> str:
    author = "the author of the Node package says that a month takes 30 minutes with it"
    if seconds is None:
        return f"{author[0].upper()}{author[1:]}."
    return (
        f"The commands of the Node package, sent by Node with the libraries that it uses, take {seconds:,.0f} s; "
        f"{author}, engine included."
    )


def _scale(figures: Mapping[str, Any]) -> str:
    def lines(part: str) -> list[list[str]]:
        rows = []
        for size, row in figures[part].items():
            cells = [f"{row[f'{what}_us']:,.0f} µs, {row[f'{what}_ratio']:.2f}" for what in ("read", "write")]
            rows.append([f"{int(size):,}", *cells])
        return rows

    head = ["a read, ratio", "a write, ratio"]
    series = [
        [f"{int(size):,}", *(f"{row[name]:,.0f} µs" for name in ("window_us", "candle_us"))]
        for size, row in figures["series"].items()
    ]
    tables = [
        _table(["rows in the collection", *head], lines("rows")),
        _table(["contexts in use", *head], lines("contexts")),
        _table(["tasks at once", *head], lines("tasks")),
        _table(["candles in the series", "a window of 1,000, read", "the next candle, written"], series),
    ]
    return "\n\n".join(tables)


def _describe(machine: Mapping[str, Any], pythons: Iterable[str]) -> str:
    kind = f"{machine['cores']} cores, {machine['processor']}, {machine['system']}"
    return f"{kind}, Python {' and '.join(pythons)}"


def _render(path: Path, section: Callable[[dict[str, Any]], str]) -> str:
    """Return a section that has been measured, or nothing."""
    return f"{section(json.loads(path.read_text()))}\n" if path.is_file() else ""


def main(results: Path) -> None:
    found = [json.loads(path.read_text()) for path in sorted(results.glob("operations-*.json"))]
    runs = {figures["machine"]["python"].rpartition(".")[0]: figures for figures in found}
    first = found[0]
    growth = json.loads((results / "growth.json").read_text())
    memory = growth["scale"]["memory"]
    page = TEXT.format(
        rounds=first["machine"]["rounds"],
        python=next(iter(runs)),
        machine=_describe(first["machine"], [figures["machine"]["python"] for figures in found]),
        ratios=_ratios(first["rows"]),
        micros=_micros(first["rows"]),
        foundations=_foundations(runs),
        replay=_replay(first["rows"]),
        starts=_starts(first["starts"]),
        others=_others(first["rows"]),
        serverless=_serverless(json.loads((results / "serverless.json").read_text())["rows"]),
        transactions=_transactions(json.loads((results / "transactions.json").read_text())),
        history=_history(json.loads((results / "history.json").read_text())),
        scale=_scale(growth["scale"]),
        bytes=memory["bytes"],
        contexts=memory["contexts"],
        left=memory["left"] or "none",
        candles=_render(results / "candles.json", candle_page.section),
        series=_render(results / "series.json", series_page.section),
    )
    (DOCS / "performance.md").write_text(page)
    (DOCS / "fast-code.md").write_text(make_page(growth))
    shutil.copy(results / "scale.png", DOCS / "scale.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

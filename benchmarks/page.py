"""Writes the documentation's page of figures from those of a run: ``python -m benchmarks.page benchmark-results``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.candle_page import section

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"

TEXT = """\
# Performance

What an operation costs, beside the bare driver doing the least that gives the same result: a fetch by `_id`, one `$in`
for many, one `findOneAndUpdate`, one `bulk_write`, one `insert_many`, one range query. Both sides ran on the same
servers in the same run, in turn, on fresh keys; the figures are medians of {rounds} rounds, in microseconds an
operation. Machines are noisy: the ratios mean something, a single figure means little.

    nox -s bench

runs all of it and writes `benchmark-results/`; `python -m benchmarks.page benchmark-results` writes this page.

{machine}, embedded MongoDB 6.0 (replica set of one) and Redis, w=majority unless said otherwise.

{table}

Goals are multiples of the bare driver's time; the replay of a month has one in seconds. The column *Node* is what the
Node package was measured at on another day, with one MongoDB and w=1.

{missed}

## Cost against size

![Cost of a window and of a write against the size of the series, and of a read against the crowd](scale.png)

{scale}

A window, a write and a read cost the same in a small and in a large collection, since each is answered by the unique
index. A crowd of readers shares one round trip, so a read gets cheaper the more there are.

{candles}## How it is reached

- A warm read is one fetch by `_id`: the id is in this process, and Redis is not asked. A warm write is one
  `findOneAndUpdate`, and Redis is not told again.
- What waits in the same turn of the event loop travels together, at most 1,000 calls at a time. A call that is alone
  goes alone; finding out that it is costs one turn of the event loop.
- Candles are inserted in bulk after one look into the index at which are stored already; their ids go to Redis
  meanwhile.
- Finished stretches of 4,096 candles are sealed: five columns, compressed by Pcodec, beside the rows. A frame is made
  out of those, each decompressed to its place while the server sends the next ones; rows are read where there are none.
- Candles that were read stay as columns in bounded memory (`CC_CANDLE_CACHE_MB`), and a replay reads ahead, up to 8,192
  rows at a time.
"""

REASON = """\
Ratios moved by a tenth or two between runs on the shared machine of these figures. What a call costs us beside the
driver's is its time limit, the turn of the event loop in which others may join it and, with PyMongo's client, a task
that lets a cancelled caller go while the driver carries on: of a single read some 70 to 120 µs, of each of many at once
about 13. PyMongo's client alone is faster than Motor's, so that the same cost is a larger part of its time."""


def _cost(row: dict[str, Any]) -> str:
    if "seconds" in row:
        return f"{row['seconds']:.2f} s"
    return f"{row['ours_us']:,.0f} / {row['bare_us']:,.0f} = **{row['ratio']:.2f}**"


def _name(row: dict[str, Any]) -> str:
    return f"{row['case']}{', w=1' if row['w'] == '1' else ''}"


def table(figures: dict[str, Any]) -> str:
    """Return one row a case, one column a driver and event loop: ours, the bare driver's, and their ratio."""
    columns = list(dict.fromkeys((row["driver"], row["loop"]) for row in figures["rows"]))
    lines = ["| | Node | goal | " + " | ".join(f"{driver}, {loop}" for driver, loop in columns) + " | |"]
    lines.append("| --- " * (len(columns) + 4) + "|")
    for name in dict.fromkeys(map(_name, figures["rows"])):
        rows = [row for row in figures["rows"] if _name(row) == name]
        cells = {(row["driver"], row["loop"]): _cost(row) for row in rows}
        goal = f"{rows[0]['goal']:g}" + (" s" if "seconds" in rows[0] else "")
        node = f"{rows[0]['reference_us']:,.0f}" if "reference_us" in rows[0] else ""
        met = [row["met"] for row in rows]
        verdict = "met" if all(met) else "missed" if not any(met) else f"met in {sum(met)} of {len(met)}"
        lines.append(
            f"| {name} | {node} | {goal} | {' | '.join(cells.get(column, '') for column in columns)} | {verdict} |"
        )
    imported = figures["import"]
    verdict = "met" if imported["met"] else "missed"
    times = f"{imported['ours_us'] / 1e3:,.0f} / {imported['bare_us'] / 1e3:,.0f} ms = **{imported['ratio']:.2f}**"
    lines.append(f"| import | | {imported['goal']:g} | {times} |{' |' * (len(columns) - 1)} {verdict} |")
    return "\n".join(lines)


def missed(figures: dict[str, Any]) -> str:
    """Name every figure that misses its goal."""
    rows = [row for row in figures["rows"] if not row["met"]]
    if not rows:
        return "Every goal is met."
    names = [f"{_name(row)} ({row['driver']}, {row['loop']}): {_cost(row)}, goal {row['goal']:g}" for row in rows]
    return "Missed in this run:\n\n" + "\n".join(f"- {name}" for name in names) + f"\n\n{REASON}"


def scale(figures: dict[str, Any]) -> str:
    """Return the figures of the chart."""
    lines = ["| candles in the series | window of 1,000, read | a candle, written |", "| --- | --- | --- |"]
    sizes = figures["scale"]
    for size, window in sizes["window_of_1000_us"].items():
        lines.append(f"| {int(size):,} | {window:,.0f} µs | {sizes['candle_written_us'][size]:,.1f} µs |")
    lines += ["", "| concurrent readers | a read |", "| --- | --- |"]
    lines += [f"| {int(crowd):,} | {cost:,.0f} µs |" for crowd, cost in sizes["read_us"].items()]
    return "\n".join(lines)


def candles(path: Path) -> str:
    """Return the section about frames; nothing where they were not measured."""
    if not path.is_file():
        return ""
    return f"{section(json.loads(path.read_text()))}\n"


def main(results: Path) -> None:
    figures = json.loads((results / "benchmark.json").read_text())
    machine = figures["machine"]
    described = f"{machine['cores']} cores, {machine['processor']}, {machine['system']}, Python {machine['python']}"
    page = TEXT.format(
        rounds=machine["rounds"],
        machine=described,
        table=table(figures),
        missed=missed(figures),
        scale=scale(figures),
        candles=candles(results / "candles.json"),
    )
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page)
    shutil.copy(results / "scale.png", PAGE.with_name("scale.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

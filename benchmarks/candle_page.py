"""The section about frames of candles, from the figures of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from backtest_mongo.block_grid import ROWS
from benchmarks.candle_codecs import CHOSEN
from benchmarks.candle_data import DAY, NODE

__all__ = ["section"]

_READERS: Final = {
    "polars": "`read_frame`, polars",
    "numpy": "`read_frame`, NumPy",
    "parquet": "Parquet file (zstd), polars",
    "arctic": "ArcticDB on LMDB, pandas",
    "arctic_polars": "ArcticDB on LMDB, polars",
    "rows": "`find` of the bare driver, polars",
}
_SETS: Final = {"market": "market", "forex": "forex"}
_MISSED: Final = """\
A polars frame takes NumPy's memory as it is, so what its line takes beyond NumPy's is no work of ours: a process waits
for memory that it touches for the first time, and this virtual machine is slow to give it."""
_MEBI: Final = 2**20

TEXT = """\
## Candles as frames

Twenty years of one-minute candles, {rows:,} of them, beside what else keeps such: the same candles in a Parquet file,
in ArcticDB on LMDB, and the rows of the bare driver. They are made from a seed: a random walk, livelier on some days
and at some hours. *Market* never closes, its prices have two decimals and its volumes five; *forex* ({forex_rows:,}
candles) closes at weekends, and has five decimals and whole volumes. All sides ran in turn, files and pages were in
memory before, and the figures are medians of {rounds} rounds, on asyncio's loop.

    nox -s bench -- --candles

runs this part alone, here in {minutes:,.0f} minutes. `--rows` takes fewer candles; goals in seconds are for 20 years
and shrink with them.

### The whole series

{whole}

{note}

### One day, which begins anywhere

Medians of 100 days, in milliseconds.

{day}

### Stored

{ingest}

Beside it, `insert_many` inserts documents that were made before the clock ran, as many at a time, under the same index
and write concern. *Rows only* is `write_frame` with `CC_CANDLE_BLOCKS=false`. {written}

### On disk

Bytes a candle, as the file system has them. Blocks are beside the rows, which stay the truth.

{disk}

### In memory

What a process of its own takes at its peak, in MiB, beyond the frame itself: Python, the driver and the libraries are
in it. *Before* is what it took before the call, everything imported and connected.

{memory}

### A window of {window:,} candles

`read_candles_data` out of blocks and out of rows, in microseconds; the candles are dicts, which is most of it.

{windows}

### Codecs

Five columns of float64, compressed alone, {block:,} rows a block: bytes a candle, and milliseconds of one core to
compress and to decompress a million candles. Blocks are sealed by {chosen}.

{codecs}

By the size of a block, {chosen}:

{sizes}
"""


def section(figures: dict[str, Any]) -> str:
    """Return the section, in Markdown."""
    market = figures["market"]
    return TEXT.format(
        rows=figures["rows"],
        forex_rows=figures["forex"]["rows"],
        rounds=figures["machine"]["rounds"],
        minutes=figures["minutes"],
        whole=_reads(figures, "whole", "s", 1.0),
        note=_note(market),
        day=_reads(figures, "day", "ms", 1e3),
        ingest=_ingest(figures["ingest"]),
        written=_written(market),
        disk=_disk(figures),
        memory=_memory(market["memory"]),
        window=figures["windows"][0]["rows"],
        windows=_windows(figures["windows"]),
        block=ROWS,
        chosen=CHOSEN,
        codecs=_codecs(figures["codecs"], "codec", lambda row: row["block"] == ROWS),
        sizes=_codecs(figures["codecs"], "block", lambda row: row["codec"] == CHOSEN),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    met = [row["met"] for row in rows]
    return "met" if all(met) else "missed" if not any(met) else f"met in {sum(met)} of {len(met)}"


def _reads(figures: dict[str, Any], what: str, unit: str, factor: float) -> str:
    """Return a row for each way to read, and a column for each set of candles and driver."""
    columns = [(name, row) for name in _SETS for row in figures[name][what]]
    head = ["", *(f"{name}, {row['driver']}" for name, row in columns), "goal", ""]

    def lines() -> Iterator[list[str]]:
        for reader, label in _READERS.items():
            cells = [f"{row['seconds'][reader] * factor:,.2f} {unit}" for _, row in columns]
            goal = ["", ""]
            if reader == "polars":
                goals = dict.fromkeys(f"{row['goal'] * factor:.2g} {unit}" for _, row in columns)
                goal = [" / ".join(goals), _verdict([row for _, row in columns])]
            yield [label, *cells, *goal]
        node = [NODE * (DAY if what == "day" else figures[name]["rows"]) * factor for name, _ in columns]
        yield ["Node package, computed", *(f"{cost:,.0f} {unit}" for cost in node), "", ""]

    return _table(head, lines())


def _note(market: dict[str, Any]) -> str:
    read, rows = market["whole"][0]["rows_read"], market["rows"]
    text = f"The Node package's line is computed: {NODE * 1e3:g} ms a candle, as measured on another day."
    if read < rows:
        text = f"The bare driver's `find` read {read:,} candles of *market*, and its time is extrapolated.\n{text}"
    if not all(row["met"] for row in market["whole"]):
        text += f"\n\n{_MISSED}"
    return text


def _ingest(rows: Sequence[dict[str, Any]]) -> str:
    head = ["", *(row["driver"] for row in rows), "goal", ""]
    labels = {"ours_us": "`write_frame`", "unsealed_us": "rows only", "bare_us": "`insert_many`"}
    lines = [[label, *(f"{row[name]:.1f} µs" for row in rows), "", ""] for name, label in labels.items()]
    ratios = [f"**{row['ratio']:.2f}**" for row in rows]
    return _table(
        [f"{rows[0]['rows']:,} candles, each", *head[1:]],
        [*lines, ["`write_frame` / `insert_many`", *ratios, f"{rows[0]['goal']:g}", _verdict(rows)]],
    )


def _written(market: dict[str, Any]) -> str:
    seconds, rows = market["memory"][0]["seconds"], market["rows"]
    return f"All {rows:,} took {seconds:,.0f} s, sealing included: {seconds / rows * 1e6:.1f} µs a candle."


def _disk(figures: dict[str, Any]) -> str:
    found = [figures[name]["disk"] for name in _SETS]
    labels = {"blocks": "sealed blocks, with their index", "rows": "rows", "rows_indexes": "indexes of the rows"}
    labels |= {"parquet": "Parquet file (zstd)", "arctic": "ArcticDB on LMDB"}

    def lines() -> Iterator[list[str]]:
        for name, label in labels.items():
            goal = [f"{found[0]['goal']:g}", _verdict(found)] if name == "blocks" else ["", ""]
            yield [label, *(f"{row[name]:.1f}" for row in found), *goal]

    return _table(["", *_SETS.values(), "goal", ""], lines())


def _memory(rows: Sequence[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> list[str]:
        label = f"{_READERS.get(row['what'], '`write_frame`, NumPy')}{', ' + row['driver'] if row['driver'] else ''}"
        numbers = [f"{row[name] / _MEBI:,.0f}" for name in ("frame", "before", "over")]
        ours = row["driver"] is not None
        return [label, *numbers, *([f"{row['goal'] / _MEBI:.0f}", _verdict([row])] if ours else ["", ""])]

    return _table(["", "the frame", "before", "beyond the frame", "goal", ""], map(line, rows))


def _windows(rows: Sequence[dict[str, Any]]) -> str:
    labels = {"sealed_us": "blocks", "unsealed_us": "rows"}
    lines = [[label, *(f"{row[name]:,.0f} µs" for row in rows)] for name, label in labels.items()]
    return _table(
        ["", *(row["driver"] for row in rows)],
        [*lines, ["blocks / rows", *(f"**{row['ratio']:.2f}**" for row in rows)]],
    )


def _codecs(rows: Sequence[dict[str, Any]], by: str, wanted: Callable[[dict[str, Any]], bool]) -> str:
    chosen = [row for row in rows if wanted(row)]
    sets = list(dict.fromkeys(row["set"] for row in chosen))
    cells = {(row[by], row["set"]): row for row in chosen}

    def line(key: Any) -> list[str]:
        found = [cells[key, name] for name in sets]
        label = f"{key:,}" if isinstance(key, int) else str(key)
        return [label, *(f"{row['bytes']:.1f}, {row['encode_ms']:,.0f}, {row['decode_ms']:,.0f}" for row in found)]

    keys = dict.fromkeys(row[by] for row in chosen)
    return _table(["", *sets], map(line, sorted(keys) if by == "block" else keys))

"""Render the section about frames of candles from the figures of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from backtest_mongo.series.blocks import ROWS
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
_MEBI: Final = 2**20

TEXT = """\
## Candles as frames

Twenty years of one-minute candles, {rows:,} of them, compared with the same candles in a Parquet file, in ArcticDB on
LMDB, and as rows read by the bare driver. They are generated from a seed: a random walk whose volatility varies by day
and hour. *Market* never closes; its prices have two decimals and its volumes five. *Forex* ({forex_rows:,} candles)
closes at weekends and has five decimals and whole volumes. All sides ran in turn, with files and pages already in
memory. The figures are medians of {rounds} rounds, on asyncio's loop.

`nox -s bench -- --candles` runs this part alone, in {minutes:,.0f} minutes here. `--rows` uses fewer candles.

### The whole series

{whole}

{note}

### One day, starting anywhere

Medians of 100 days, in milliseconds.

{day}

### Writing

{ingest}

`insert_many` inserts documents that were made before the clock started, in batches of the same size, under the same
index and write concern. *Rows only* is `write_frame` with `CC_CANDLE_BLOCKS=false`. {written}

### On disk

Bytes per candle, as the file system counts them. Blocks are stored in addition to the rows.

{disk}

### In memory

The peak of a process that does nothing else, in MiB, beyond the frame itself; it includes Python, the driver and the
libraries. *Before* is what it used before the call, with everything imported and connected.

{memory}

### A window of {window:,} candles

`read_candles_data` from blocks and from rows, in microseconds. Making the dicts takes most of that time.

{windows}

### Codecs

Five columns of float64, each compressed alone, {block:,} rows per block: bytes per candle, and milliseconds of one core
to compress and to decompress a million candles. Blocks are sealed with {chosen}.

{codecs}

By block size, {chosen}:

{sizes}
"""


def section(figures: dict[str, Any]) -> str:
    """Return the section in Markdown."""
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


def _reads(figures: dict[str, Any], what: str, unit: str, factor: float) -> str:
    """Return a row per reader, with a column per set of candles and driver."""
    columns = [(name, row) for name in _SETS for row in figures[name][what]]
    head = ["", *(f"{name}, {row['driver']}" for name, row in columns)]

    def lines() -> Iterator[list[str]]:
        for reader, label in _READERS.items():
            cells = [f"{row['seconds'][reader] * factor:,.2f} {unit}" for _, row in columns]
            yield [label, *cells]
        yield ["polars frame / Parquet", *(f"**{row['ratio']:.2f}**" for _, row in columns)]
        node = [NODE * (DAY if what == "day" else figures[name]["rows"]) * factor for name, _ in columns]
        yield ["Node package, computed", *(f"{cost:,.0f} {unit}" for cost in node)]

    return _table(head, lines())


def _note(market: dict[str, Any]) -> str:
    read, rows = market["whole"][0]["rows_read"], market["rows"]
    text = f"The Node package's line is computed: {NODE * 1e3:g} ms per candle, as measured on another day."
    if read < rows:
        text = f"The bare driver's `find` read {read:,} candles of *market*, and its time is extrapolated.\n{text}"
    return text


def _ingest(rows: Sequence[dict[str, Any]]) -> str:
    labels = {"ours_us": "`write_frame`", "unsealed_us": "rows only", "bare_us": "`insert_many`"}
    lines = [[label, *(f"{row[name]:.1f} µs" for row in rows)] for name, label in labels.items()]
    ratios = [f"**{row['ratio']:.2f}**" for row in rows]
    return _table(
        [f"{rows[0]['rows']:,} candles, per candle", *(row["driver"] for row in rows)],
        [*lines, ["`write_frame` / `insert_many`", *ratios]],
    )


def _written(market: dict[str, Any]) -> str:
    seconds, rows = market["memory"][0]["seconds"], market["rows"]
    return f"All {rows:,} took {seconds:,.0f} s, sealing included: {seconds / rows * 1e6:.1f} µs per candle."


def _disk(figures: dict[str, Any]) -> str:
    found = [figures[name]["disk"] for name in _SETS]
    labels = {"blocks": "sealed blocks, with their index", "rows": "rows", "rows_indexes": "indexes of the rows"}
    labels |= {"parquet": "Parquet file (zstd)", "arctic": "ArcticDB on LMDB"}

    lines = [[label, *(f"{row[name]:.1f}" for row in found)] for name, label in labels.items()]
    return _table(["", *_SETS.values()], lines)


def _memory(rows: Sequence[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> list[str]:
        label = f"{_READERS.get(row['what'], '`write_frame`, NumPy')}{', ' + row['driver'] if row['driver'] else ''}"
        numbers = [f"{row[name] / _MEBI:,.0f}" for name in ("frame", "before", "over")]
        return [label, *numbers]

    return _table(["", "the frame", "before", "beyond the frame"], map(line, rows))


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

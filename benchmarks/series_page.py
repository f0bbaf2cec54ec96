"""Render the section about series with columns from the figures of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any, Final

__all__ = ["section"]

_STORES: Final = {
    "ours": "this library",
    "parquet": "Parquet file (zstd), polars",
    "arctic": "ArcticDB on LMDB",
    "duckdb": "DuckDB",
    "insert_many": "`insert_many` of a plain client",
    "vnpy": "vnpy_mongodb, ticks",
}
#: Those that take long for each row, and so get fewer.
_EXTRAPOLATED: Final = {"insert_many": "`insert_many` got {:,} rows", "vnpy": "vnpy_mongodb got {:,} ticks"}
_SIDES: Final = {"ours": "`append`", "plain": "a plain client"}
_MEMORY: Final = {"write": "`write_frame`, a million rows at a time", "ours": "`read_frame`"}
_MEBI: Final = 2**20
_NOT_MEASURED: Final = "not installed"

TEXT = """\
## Series with columns

{begin}

`nox -s bench -- --series` runs this part alone, in {minutes:,.0f} minutes here. `--rows` uses fewer trades, and
`--large` adds a series ten times as long.
{missing}
### Rows as they come

{appends_text}

{appends}

### Writing all of them

{bulk_text}

{bulk}

### Reading

The whole series as a polars frame:

{whole}

One hour, starting anywhere; medians of 100:

{hour}

The prices of one hour. This library's frame has the ids as well, which are a part of the key:

{column}

### Ticks

{ticks_text}

{ticks}

### On disk

{disk_text}

{disk}

{columns}

### In memory

The peak of a process that does nothing else, in MiB, beyond the frame itself, which is the whole series or the million
rows that are written at a time. It includes Python, the driver and the libraries. *Before* is what it used before the
call, with everything imported and connected.

{memory}
{large}"""

_BEGIN: Final = (
    "{rows:,} trades, compared with the same trades in a Parquet file, in ArcticDB on LMDB, in DuckDB, and with the "
    "inserts of a plain client. They are generated from a seed: a random walk on ticks of 0.1, orders filled in "
    "several trades at one time, ids in ascending order, times in microseconds. All sides ran in turn, with files and "
    "pages already in memory. The figures are medians of {rounds} rounds. Ratios are this library's time as a multiple "
    "of the other side's. Writes of this library and of the plain client wait for the disk; "
    "that of a Parquet file does not."
)
_APPENDS: Final = (
    "`append` of one row or of 1,000 rows, beside `insert_one` and `insert_many` of a plain client with `w=majority`, "
    "whose collection has a unique index on the same key. All rows are sealed into blocks in the end, which is in this "
    "library's time. Microseconds per row, over all rows."
)
_BULK: Final = (
    "`write_frame` of a polars frame, and what the other stores take with the least work. {extrapolated}; extrapolated "
    "to all rows."
)
_TICKS: Final = (
    "{rows:,} ticks with five levels of depth, written at once and read at once, and ranges of {few}. `read_frame` "
    "returns a polars frame, and `load_tick_data` of vnpy_mongodb a list of objects. Milliseconds."
)
_DISK: Final = (
    "Bytes per trade. Blocks are the only place of these rows, and have {block_rows:,.0f} each on average. MongoDB's "
    "collections are compacted, and their indexes are included."
)
_LARGE: Final = """
### One hour of a long series

{text}

{table}
"""
_LARGE_TEXT: Final = (
    "{rows:,} trades in {blocks:,} blocks, the same {small:,} over and over, and these {small:,} alone. They were "
    "written in {written} and take {size:,.0f} MiB. Medians of 100 hours, in milliseconds."
)


def section(figures: dict[str, Any]) -> str:
    """Return the section in Markdown."""
    bulk, disk, ticks = figures["bulk"], figures["disk"], figures["ticks"]
    rows = {"rows": figures["rows"], "rounds": figures["machine"]["rounds"]}
    return TEXT.format(
        begin=fill(_BEGIN.format(**rows), 120),
        minutes=figures["minutes"],
        missing=_missing(figures["missing"]),
        appends_text=fill(_APPENDS, 120),
        appends=_appends(figures["appends"]),
        bulk_text=fill(_BULK.format(extrapolated=_tell_extrapolated(bulk[0])), 120),
        bulk=_stores(bulk, "s", 1.0, list(_STORES)),
        whole=_stores(figures["whole"], "s", 1.0),
        hour=_stores(figures["hour"], "ms", 1e3),
        column=_stores(figures["column"], "ms", 1e3),
        ticks_text=fill(_TICKS.format(rows=ticks[0]["rows"], few=ticks[0]["few_rows"]), 120),
        ticks=_ticks(ticks),
        disk_text=fill(_DISK.format(block_rows=disk["block_rows"]), 120),
        disk=_disk(disk["bytes"]),
        columns=_columns(disk["columns"]),
        memory=_memory(figures["memory"]),
        large=_large(figures.get("large", ())),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _missing(missing: Mapping[str, str]) -> str:
    if not missing:
        return ""
    names = ", ".join(f"{_STORES[name]} ({reason})" for name, reason in missing.items())
    return f"\n{fill(f'Not measured, because not installed: {names}.', 120)}\n"


def _appends(rows: Sequence[Mapping[str, Any]]) -> str:
    def line(row: Mapping[str, Any]) -> list[str]:
        micros = [f"{row[f'{side}_us']:,.1f} µs" for side in _SIDES]
        return [f"{row['name']}, {row['driver']}", f"{row['rows']:,}", *micros, f"**{row['ratio']:.2f}**"]

    return _table(["", "rows", *_SIDES.values(), "ratio"], map(line, rows))


def _stores(
    rows: Sequence[Mapping[str, Any]],
    unit: str,
    factor: float,
    names: Sequence[str] = ("ours", "parquet", "arctic", "duckdb"),
) -> str:
    """Return a row per store, with its time and the ratio to it by driver."""

    def lines() -> Iterator[list[str]]:
        for name in names:
            cells = []
            for row in rows:
                found, ours = row["seconds"].get(name), row["seconds"]["ours"]
                if found is None:
                    cells.append(_NOT_MEASURED)
                else:
                    ratio = "" if name == "ours" else f" (**{ours / found:.2f}**)"
                    cells.append(f"{found * factor:,.2f} {unit}{ratio}")
            yield [_STORES[name], *cells]

    return _table(["", *(row["driver"] for row in rows)], lines())


def _tell_extrapolated(bulk: Mapping[str, Any]) -> str:
    found = bulk["extrapolated"]
    return " and ".join(text.format(found[name]) for name, text in _EXTRAPOLATED.items() if name in bulk["seconds"])


def _ticks(rows: Sequence[Mapping[str, Any]]) -> str:
    labels = {
        "write": f"{rows[0]['rows']:,} written",
        "all": f"{rows[0]['rows']:,} read",
        "few": f"{rows[0]['few_rows']} read",
    }

    def lines() -> Iterator[list[str]]:
        for what, label in labels.items():
            cells = []
            for row in rows:
                both = row["seconds"][what]
                theirs = both.get("vnpy")
                cells.append(f"{both['ours'] * 1e3:,.1f} ms")
                cells.append(
                    _NOT_MEASURED if theirs is None else f"{theirs * 1e3:,.1f} ms (**{both['ours'] / theirs:.2f}**)"
                )
            yield [label, *cells]

    return _table(["", *(cell for row in rows for cell in (row["driver"], "vnpy_mongodb"))], lines())


def _disk(found: Mapping[str, float]) -> str:
    labels = {
        "ours": "blocks on disk, with their indexes",
        "data": "blocks as documents (`dataSize`)",
        "rest": "collections of the empty tail and of series",
        **{name: _STORES[name] for name in ("parquet", "arctic", "duckdb")},
    }

    def line(name: str, label: str) -> list[str]:
        if name not in found:
            return [label, _NOT_MEASURED, ""]
        is_other = name not in ("ours", "data", "rest")
        return [label, f"{found[name]:.2f}", f"**{found['ours'] / found[name]:.2f}**" if is_other else ""]

    return _table(["", "bytes per trade", "ratio"], (line(name, label) for name, label in labels.items()))


def _columns(columns: Mapping[str, Mapping[str, float]]) -> str:
    names = list(columns["ours"])
    lines = [
        [_STORES[store], *(f"{found.get(name, 0.0):.2f}" for name in names), f"{sum(found.values()):.2f}"]
        for store, found in columns.items()
    ]
    return _table(["", *(f"`{name}`" for name in names), "all"], lines)


def _memory(rows: Sequence[Mapping[str, Any]]) -> str:
    def line(row: Mapping[str, Any]) -> list[str]:
        label = _MEMORY.get(row["what"]) or _STORES[row["what"]]
        numbers = [f"{row[name] / _MEBI:,.0f}" for name in ("frame", "before", "over")]
        return [f"{label}{', ' + row['driver'] if row['driver'] else ''}", *numbers]

    return _table(["", "the frame", "before", "beyond the frame"], map(line, rows))


def _large(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    first = rows[0]
    written = " and ".join(f"{row['written']:,.0f} s ({row['driver']})" for row in rows)
    text = _LARGE_TEXT.format(
        rows=first["rows"],
        blocks=first["blocks"],
        small=first["small_rows"],
        written=written,
        size=first["bytes"] / _MEBI,
    )
    lines = []
    for row in rows:
        cells = [f"{row['seconds'][name] * 1e3:,.2f} ms" for name in ("large", "small")]
        lines.append([row["driver"], *cells, f"**{row['ratio']:.2f}**"])
    return _LARGE.format(
        text=fill(text, 120), table=_table(["", f"of {first['rows']:,}", f"of {first['small_rows']:,}", "ratio"], lines)
    )

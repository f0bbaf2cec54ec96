"""How an explanation of a trade is printed, for people or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from backtest_mongo.cli.explain.knowledge import Explanation, Knowledge
from backtest_mongo.cli.explain.trade import Trade
from backtest_mongo.cli.formatting import format_compact, format_iso_time
from backtest_mongo.cli.stored_past import PastRow
from backtest_mongo.cli.terminal import escape_text, print_line, print_table
from backtest_mongo.core.specs import Key, camel
from backtest_mongo.types import PRICES

__all__ = ["explanation_to_json", "print_explanation"]

#: The indents of a row's fields, and of a line that continues a field.
_INDENT: Final = 4
_CONTINUED: Final = 6
#: The style of a change since the previous moment.
_CHANGED: Final = "yellow"
#: Fields of a trade that its first lines show, and their labels there.
_FACTS: Final = (
    ("status", "status"),
    ("position", "side"),
    ("priceOpen", "entry"),
    ("priceStopLoss", "stop"),
    ("priceTakeProfit", "target"),
    ("closeReason", "closed by"),
)
#: Fields that are part of a row's key, and so not repeated.
_NAMED: Final = frozenset({"id", "symbol", "strategyName", "exchangeName", "frameName"})


def explanation_to_json(found: Explanation) -> dict[str, Any]:
    """Return all of an explanation, with times in milliseconds."""
    return {
        "trade": {"id": found.trade.id, "backtest": found.trade.backtest, "row": dict(found.trade.row)},
        "moments": [
            {
                "events": list(one.moment.events),
                "when": one.moment.when,
                "rows": [_row_to_json(row) for row in one.rows],
                "candles": {interval: [dict(candle) for candle in some] for interval, some in one.candles.items()},
            }
            for one in found.moments
        ],
        "without_versions": found.without_versions,
        "notes": found.notes,
    }


def _row_to_json(row: PastRow) -> dict[str, Any]:
    spec = row.spec
    by_field = dict(zip(spec.key, row.key, strict=True))
    shown: dict[str, Any] = {
        "slot": spec.name,
        "context": {name: by_field[camel(name)] for name in spec.context},
        "key": row.key[-1] if spec.item else None,
        "known": row.is_known,
        "removed": row.is_removed,
        "since": row.since,
        "value": row.value,
    }
    return shown | ({"problem": row.problem} if row.problem else {})


def print_explanation(console: Console, found: Explanation) -> None:
    """Print what was known at each moment; changes since the previous moment are coloured."""
    _print_trade(console, found.trade)
    before: dict[tuple[str, Key], PastRow] | None = None
    for one in found.moments:
        console.print()
        _print_moment(console, one, before)
        before = {(row.spec.name, row.key): row for row in one.rows}
    notes = list(found.notes)
    if found.without_versions:
        names = ", ".join(found.without_versions)
        notes.append(
            f"What {names} held is unknown where it was written since, because no versions are kept: "
            f"CC_HISTORY={','.join(found.without_versions)} keeps those of later writes."
        )
    if notes:
        console.print()
    for note in notes:
        console.print(escape_text(note, "yellow"), highlight=False)


def _print_trade(console: Console, trade: Trade) -> None:
    heading = escape_text(f"trade {trade.id}", "bold")
    console.print(heading, soft_wrap=True, highlight=False)
    names = [trade.get_text(name) for name in ("symbol", "strategyName", "exchangeName", "frameName")]
    kind = "backtest" if trade.backtest else "live"
    print_line(console, "  " + " ".join([*(name for name in names if name), kind]))
    pairs = [
        (word, _format_scalar(trade.row[name]), False)
        for name, word in _FACTS
        if isinstance(trade.row.get(name), str | int | float)
    ]
    result = trade.row.get("pnl")
    if isinstance(result, Mapping) and isinstance(result.get("pnlPercentage"), int | float):
        pairs.append(("result", f"{result['pnlPercentage']:+.2f} %", False))
    _print_pairs(console, pairs, 2)


def _print_moment(console: Console, one: Knowledge, before: Mapping[tuple[str, Key], PastRow] | None) -> None:
    heading = Text(" and ".join(one.moment.events), "bold cyan")
    heading.append(f"  {format_iso_time(one.moment.when)}", "bold")
    console.print(heading, soft_wrap=True, highlight=False)
    absent: list[str] = []
    for row in one.rows:
        if row.is_known and row.document is None:
            absent.append(_name_row(row))
            continue
        _print_row(console, row, None if before is None else before.get((row.spec.name, row.key)))
    if absent:
        _print_words(console, "nothing yet:", absent)
    for interval, candles in one.candles.items():
        rows: list[tuple[str | Text, ...]] = [
            (format_iso_time(candle["timestamp"]), *(str(candle[price]) for price in PRICES)) for candle in candles
        ]
        print_table(console, (f"{interval} candles (UTC)", *PRICES), rows, names=False)


def _print_row(console: Console, row: PastRow, before: PastRow | None) -> None:
    heading = escape_text(f"  {_name_row(row)}")
    heading.stylize("bold", 2, 2 + len(row.spec.name))
    if row.problem:
        heading.append(f"  can't be read: {row.problem}", "red")
    elif not row.is_known:
        heading.append(f"  not known: {'older than its versions' if row.is_older else 'written since'}", "yellow")
    elif row.is_removed:
        heading.append("  removed", "yellow")
    elif row.value is None:
        heading.append("  empty", "dim")
    since = Text() if row.since is None else Text(f"  since {format_iso_time(row.since)}", "dim")
    if console.is_terminal and cell_len(heading.plain) + cell_len(since.plain) > console.width:
        console.print(heading, soft_wrap=True, highlight=False)
        heading = Text("  ")
    console.print(heading.append_text(since), soft_wrap=True, highlight=False)
    if row.value is None:
        return
    old = before.value if before is not None and before.is_known else None
    pairs = [(name, text, before is not None and is_new) for name, text, is_new in _list_pairs(row.value, old)]
    _print_pairs(console, pairs, _INDENT)


def _name_row(row: PastRow) -> str:
    """Return the slot's name, and the parts of the key that the trade does not share."""
    spec = row.spec
    by_field = dict(zip(spec.key, row.key, strict=True))
    own = {"symbol", "strategyName", "exchangeName", "frameName", "signalId", "backtest"}
    rest = [str(value) for name, value in by_field.items() if name not in own]
    if spec.name == "session" and by_field["symbol"] == "":
        rest.append("of all symbols")
    return " ".join((spec.name, *rest))


def _list_pairs(value: Any, old: Any) -> Iterator[tuple[str, str, bool]]:
    """Yield the fields of a payload, their values as text, and whether they differ from an older payload."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            is_new = (
                not isinstance(old, Mapping) or name not in old or format_compact(old[name]) != format_compact(inner)
            )
            if name not in _NAMED:
                yield str(name), _format_scalar(inner), is_new
    elif isinstance(value, list):
        # The positions of a risk profile are pairs of a name and an object.
        there = {format_compact(one) for one in old} if isinstance(old, list) else set()
        for inner in value:
            is_new = format_compact(inner) not in there
            if isinstance(inner, list) and len(inner) == 2 and isinstance(inner[0], str):
                yield inner[0], _format_scalar(inner[1]), is_new
            else:
                yield "-", _format_scalar(inner), is_new
        if not value:
            yield "", "[]", False
    else:
        yield "", _format_scalar(value), format_compact(old) != format_compact(value)


def _format_scalar(value: Any) -> str:
    return value if isinstance(value, str) and value and value.isprintable() else format_compact(value)


def _print_pairs(console: Console, pairs: Sequence[tuple[str, str, bool]], indent: int) -> None:
    """Print names and values, as many on a line as fit; one that is longer than a line is wrapped."""
    width = max(20, console.width)
    line = Text(" " * indent)
    is_empty = True
    for name, value, is_new in pairs:
        piece = Text()
        if name:
            piece.append_text(escape_text(name, "dim")).append(" ")
        piece.append_text(escape_text(value, _CHANGED if is_new else ""))
        if not is_empty and cell_len(line.plain) + 2 + cell_len(piece.plain) > width:
            console.print(line, soft_wrap=True, highlight=False)
            line, is_empty = Text(" " * indent), True
        if not is_empty:
            line.append("  ")
        line.append_text(piece)
        is_empty = False
        if cell_len(line.plain) > width and console.is_terminal:
            _print_folded(console, piece, indent, width)
            line, is_empty = Text(" " * indent), True
    if not is_empty:
        console.print(line, soft_wrap=True, highlight=False)


def _print_folded(console: Console, piece: Text, indent: int, width: int) -> None:
    """Print a field that is longer than a line on several, broken between words if possible."""
    for part in piece.wrap(console, width - indent - _CONTINUED, overflow="fold"):
        console.print(Text(" " * indent).append_text(part), soft_wrap=True, highlight=False)
        indent = _CONTINUED


def _print_words(console: Console, heading: str, words: Sequence[str]) -> None:
    text = escape_text(f"{heading} {', '.join(words)}", "dim")
    if console.is_terminal:
        _print_folded(console, text, 2, max(20, console.width))
    else:
        console.print(Text("  ").append_text(text), soft_wrap=True, highlight=False)

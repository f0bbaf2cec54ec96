"""How an overview is printed, for people and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from backtest_mongo.cli.command_runner import print_error
from backtest_mongo.cli.formatting import format_iso_time
from backtest_mongo.cli.lease_text import describe_until, holder_to_json
from backtest_mongo.cli.terminal import can_redraw, escape_text, print_json, print_line, print_table
from backtest_mongo.core.wording import format_count

if TYPE_CHECKING:
    from backtest_mongo.core.commits import Holder
    from backtest_mongo.overview.model import Notice, OpenSignal, Overview, Price, Profit, RunStatus, Unrealised

__all__ = ["overview_to_json", "print_overview", "print_overview_json"]

_HEADINGS = ("symbol", "signal", "profit", "price", "last bar (UTC)", "lease")


def print_overview(console: Console, overview: Overview, *, redraws: bool, storage: str = "") -> None:
    """Print all runs, those of one strategy together.

    Args:
        console: where to print.
        overview: what to print.
        redraws: whether to clear a terminal before.
        storage: what it is an overview of, for a terminal that is cleared.
    """
    if redraws and can_redraw(console):
        console.clear()
        print_line(console, storage, "dim")
    elif redraws:
        print_line(console, "---")
    if not overview.runs:
        print_line(console, "No strategy has stored anything.")
    shown = set()
    for _, some in groupby(overview.runs, _group):
        runs = list(some)
        console.print(_make_title(runs[0]), highlight=False, overflow="fold")
        print_table(console, _HEADINGS, [_make_row(run) for run in runs], leading=1)
        notices = [(run.notice, run.key.symbol) for run in runs if run.notice is not None]
        if notices:
            notice, symbol = max(notices, key=lambda pair: -1 if pair[0].time is None else pair[0].time)
            shown.add(notice)
            _print_notice(console, f"last notification, {symbol}", notice)
        print_line(console, "")
    for last, mode in ((overview.live, "live trading"), (overview.backtest, "backtests")):
        if last is not None and last not in shown:
            _print_notice(console, f"last notification of {mode}", last)
    if overview.more:
        print_line(console, f"and {format_count(overview.more, 'run')} more; --limit shows more", "dim")
    for problem in overview.problems:
        print_error(f"backtest-mongo: {problem}")


def _group(run: RunStatus) -> tuple[Any, ...]:
    return run.key.strategy_name, run.key.exchange_name, run.key.backtest, run.key.frame_name


def _make_title(run: RunStatus) -> Text:
    key = run.key
    mode = {False: "live", True: "backtest", None: "live or backtest: unknown"}[key.backtest]
    frame = f" {key.frame_name}" if key.frame_name else ""
    title = escape_text(key.strategy_name, "bold")
    return title.append_text(escape_text(f"  {key.exchange_name}  {mode}{frame}"))


def _make_row(run: RunStatus) -> tuple[str | Text, ...]:
    signals = [
        *([_format_signal(run.signal, "")] if run.signal is not None else ()),
        *([_format_signal(run.waiting, "waits: ")] if run.waiting is not None else ()),
    ]
    seen = run.last_bar
    return (
        escape_text(run.key.symbol or "all symbols"),
        _join(signals or ["none open"]),
        _join([_format_profit(run.realised), *_format_unrealised(run)]),
        _join([_format_price(run.price)]),
        _join(["unknown" if seen is None else format_iso_time(seen.time)]),
        _join([_format_leases(run.leases)]),
    )


def _join(parts: list[str]) -> Text:
    """Return lines of a cell; each part may have several of them, and its text is escaped by who made it."""
    return Text("\n").join(escape_text(line) for part in parts for line in part.split("\n"))


def _format_signal(signal: OpenSignal, before: str) -> str:
    side = signal.side or "side unknown"
    price = "price unknown" if signal.entry is None else f"{signal.entry:.10g}"
    since = "since unknown" if signal.since is None else f"since {format_iso_time(signal.since)}"
    return f"{before}{side} at {price}\n{since}"


def _format_profit(realised: Profit | None) -> str:
    if realised is None:
        return "realised: unknown"
    trades = f"in {format_count(realised.trades, 'trade')}"
    if realised.trades and realised.unknown == realised.trades:
        return f"realised: unknown\n{trades}"
    lines = [f"realised {realised.amount:+,.2f}", trades]
    if realised.unknown:
        lines.append(f"{realised.unknown:,} of them unknown")
    if realised.is_cut:
        lines.append("older ones not read")
    return "\n".join(lines)


def _format_unrealised(run: RunStatus) -> list[str]:
    if run.signal is None:
        return []
    found: Unrealised | None = run.unrealised
    if found is None:
        return ["unrealised: unknown"]
    amount = [] if found.amount is None else [f"unrealised {found.amount:+,.2f}"]
    return [f"unrealised {found.percent:+,.2f} %", *amount]


def _format_price(price: Price | None) -> str:
    if price is None:
        return "no candles"
    return f"{price.close:.10g}\n{price.interval} {format_iso_time(price.time)}"


def _format_leases(leases: tuple[Holder, ...] | None) -> str:
    if leases is None:
        return "no leases here"
    if not leases:
        return "nobody"
    owners = {one.owner: one for one in leases}
    return "\n".join(
        f"{' '.join(one.host.split())} {one.process}\n{'' if one.is_expired else 'until '}{describe_until(one)}"
        for one in owners.values()
    )


def _print_notice(console: Console, name: str, notice: Notice) -> None:
    time = "time unknown" if notice.time is None else format_iso_time(notice.time)
    words = [name, time, *(word for word in (notice.type, notice.text) if word)]
    print_line(console, "  ".join(words), "dim")


def print_overview_json(overview: Overview, *, is_compact: bool) -> None:
    """Print all of an overview as JSON."""
    print_json(json.dumps(overview_to_json(overview), indent=None if is_compact else 2, ensure_ascii=False))


def overview_to_json(overview: Overview) -> dict[str, Any]:
    """Return all of an overview for JSON; times are in milliseconds, and what is unknown is ``None``."""
    runs = []
    for run in overview.runs:
        leases = None if run.leases is None else [holder_to_json(one) for one in run.leases]
        found = asdict(run) | {"leases": leases}
        key = found.pop("key")
        runs.append({**key, **found})
    notices = {
        name: None if one is None else asdict(one)
        for name, one in (("live", overview.live), ("backtest", overview.backtest))
    }
    return {"runs": runs, "more": overview.more, "notifications": notices, "problems": list(overview.problems)}

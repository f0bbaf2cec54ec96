"""Options that the commands of ``backtest-mongo candles`` share."""

from __future__ import annotations

from typing import Annotated

import typer

from backtest_mongo.types import INTERVAL_MS

__all__ = ["AnyExchange", "AnyInterval", "AnySymbol", "Exchange", "Interval", "Symbol", "millis"]


def _known_interval(interval: str | None) -> str | None:
    if interval is not None and interval not in INTERVAL_MS:
        raise typer.BadParameter(f"{interval!r} is not one of {', '.join(INTERVAL_MS)}")
    return interval


Symbol = Annotated[str, typer.Option("--symbol", metavar="NAME", help="The symbol that the series is stored under.")]
Interval = Annotated[
    str,
    typer.Option("--interval", metavar="INTERVAL", callback=_known_interval, help=f"One of {' '.join(INTERVAL_MS)}."),
]
Exchange = Annotated[str, typer.Option("--exchange", metavar="NAME", help="The exchange it is stored under.")]
AnySymbol = Annotated[str | None, typer.Option("--symbol", metavar="NAME", help="Only series of this symbol.")]
AnyInterval = Annotated[
    str | None,
    typer.Option("--interval", metavar="INTERVAL", callback=_known_interval, help=f"Only {' '.join(INTERVAL_MS)}."),
]
AnyExchange = Annotated[str | None, typer.Option("--exchange", metavar="NAME", help="Only series of this exchange.")]


def millis(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Return what ``--start`` and ``--end`` say in milliseconds.

    Raises:
        typer.BadParameter: one of them is no time, or the end does not come after the start.
    """
    first, last = _millis(start, "--start"), _millis(end, "--end")
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter("must come after --start", param_hint="'--end'")
    return first, last


def _millis(text: str | None, option: str) -> int | None:
    from backtest_mongo.candles.times import text_to_millis

    try:
        return None if text is None else text_to_millis(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from None

"""Options of the commands that move rows between files and the database."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Final

import typer

from backtest_mongo.cli.arguments import check_choice, complete_from, parse_time

__all__ = [
    "UNITS",
    "Decimal",
    "End",
    "Start",
    "TimeFormat",
    "TimeZone",
    "check_output",
    "parse_decimal",
    "parse_range",
    "parse_time_zone",
]

UNITS: Final = ("auto", "s", "ms", "us", "ns")
_DECIMALS: Final = {"point": ".", "comma": ","}

TimeFormat = Annotated[
    str | None,
    typer.Option(metavar="FORMAT", help="How times are written, such as %d/%m/%Y %H:%M (as in Python's strptime)."),
]
TimeZone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="The time zone of times that name none, such as Europe/Berlin; default UTC."),
]
Decimal = Annotated[
    str | None,
    typer.Option(
        metavar="MARK",
        help="The decimal mark, point or comma, if the file is ambiguous.",
        autocompletion=complete_from(_DECIMALS),
    ),
]
Start = Annotated[
    str | None,
    typer.Option("--start", metavar="TIME", help="Start of the range, inclusive: ISO 8601, or milliseconds."),
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="End of the range, exclusive.")]


def parse_range(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Return the values of ``--start`` and ``--end`` in milliseconds.

    Raises:
        typer.BadParameter: one of them is not a time, or the end does not come after the start.
    """
    first, last = parse_time(start, "--start"), parse_time(end, "--end")
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter("must come after --start", param_hint="'--end'")
    return first, last


def parse_decimal(name: str | None) -> str | None:
    """Return the decimal mark that ``--decimal`` names.

    Raises:
        typer.BadParameter: it is neither point nor comma.
    """
    check_choice(name, _DECIMALS, "--decimal")
    return None if name is None else _DECIMALS[name]


def parse_time_zone(name: str | None) -> tzinfo | None:
    """Return the zone that ``--time-zone`` names.

    Raises:
        typer.BadParameter: there is none.
    """
    from zoneinfo import ZoneInfo

    try:
        return None if name is None else ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise typer.BadParameter(f"{name!r} is not a time zone", param_hint="'--time-zone'") from None


def check_output(output: Path, has_known_ending: bool, known: str) -> None:
    """Check the value of ``--output``.

    Raises:
        typer.BadParameter: its ending is not one of those known, or its directory does not exist.
    """
    if not has_known_ending:
        raise typer.BadParameter(f"must end in {known}", param_hint="'--output'")
    if not output.parent.is_dir():
        raise typer.BadParameter(f"directory {output.parent} does not exist", param_hint="'--output'")

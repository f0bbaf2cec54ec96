"""Arguments that commands share: their help, the completion of their values, and how mistakes in them are shown."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from backtest_mongo.core.columns import UNITS_PER_MS, Unit
from backtest_mongo.core.control_characters import escape_controls

__all__ = [
    "CONTEXT_HELP",
    "ROW_HELP",
    "AsJson",
    "CommandGroup",
    "Module",
    "add_command",
    "check_choice",
    "complete_from",
    "import_module",
    "parse_moment",
    "parse_time",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Module = Annotated[
    str | None,
    typer.Option(metavar="MODULE", help="Import this Python module first, which registers slots of your own."),
]

#: How a command line names contexts, and rows.
_WORDS: Final = "or NAME=VALUE, such as symbol=BTCUSDT; {} matches anything. The backtest flag is backtest or live."
CONTEXT_HELP: Final = "Values of the context in the order of the adapter's arguments, " + _WORDS.format("-")
ROW_HELP: Final = (
    "Parts of the key: values in the order of the adapter's arguments, then the entry's key, "
    + _WORDS.format("a part that is left out or -")
)

#: The base of all mistakes in arguments; Typer has no public name for it.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]


def add_command(app: typer.Typer, command: Callable[..., None], name: str | None = None) -> None:
    """Add a command whose help is its docstring, wrapped to the terminal's width.

    Typer would keep the docstring's line breaks.
    """
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    text, *rest = [" ".join(paragraph.split()) for paragraph in paragraphs]
    app.command(name, help="\n\n".join((text, *rest)), short_help=text)(command)


def complete_from(choices: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a shell completion that offers the choices."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def check_choice(value: str | None, choices: Iterable[str], option: str) -> None:
    """Check the value of an option that was given.

    Raises:
        typer.BadParameter: it is not one of the choices.
    """
    if value is not None and value not in choices:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(choices)}", param_hint=f"'{option}'")


def import_module(name: str) -> None:
    """Import the module that an option names.

    Raises:
        typer.BadParameter: it can't be imported.
    """
    import importlib
    import sys

    # As `python -m` does.
    sys.path.insert(0, str(Path.cwd()))
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise typer.BadParameter(str(error), param_hint="'--module'") from None


def parse_time(text: str | None, option: str) -> int | None:
    """Return the value of an option that takes a time, in milliseconds since the epoch.

    Raises:
        typer.BadParameter: it is neither ISO 8601 nor a number.
    """
    if text is None:
        return None
    from backtest_mongo.market_data import time_formats

    try:
        return time_formats.parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from None


def parse_moment(text: str | None, option: str, unit: Unit | None = None) -> int | None:
    """Return the value of an option that takes a simulation time, in milliseconds since the epoch.

    Like :func:`parse_time`, but a number that is too small for a time in any unit is taken as milliseconds.

    Args:
        text: the value; ``None`` if there is none.
        option: the option.
        unit: what to return instead of milliseconds, to the last digit.

    Raises:
        typer.BadParameter: it is neither ISO 8601 nor a number, or the unit would lose digits of it.
    """
    try:
        return parse_time(text, option) if text is None or unit is None else _parse_exactly(text, option, unit)
    except typer.BadParameter:
        number = (text or "").strip()
        if number.lstrip("+-").isdecimal() and number.isascii() and len(number) < 12:
            return int(number) * UNITS_PER_MS[unit or "ms"]
        raise


def _parse_exactly(text: str, option: str, unit: Unit) -> int:
    from backtest_mongo.market_data.exact_times import parse_exact_time

    try:
        return parse_exact_time(text, unit)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=f"'{option}'") from None


class CommandGroup(TyperGroup):
    """The commands. Arguments that a message quotes are escaped, because a shell's ``*`` may pass any file's name."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _escape_mistakes():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _escape_mistakes():
            return super().invoke(ctx)


@contextmanager
def _escape_mistakes() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        mistake: Any = error
        if mistake.ctx is None or mistake.message != mistake.ctx.get_help():  # which is shown if nothing was given
            mistake.message = escape_controls(mistake.message)
        raise

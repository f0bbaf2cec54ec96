"""Every command of the command line, found in the application itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer.main
from typer.testing import CliRunner

from backtest_mongo.cli.app import build_app

__all__ = ["Done", "commands", "invoke"]


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """What is on standard error, without its frame and in one line."""
        return " ".join(self.err.replace("│", " ").split())

    def line(self, start: str) -> str:
        """Return the one line of the output that begins with a text, with single spaces."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(start)]
        return " ".join(line.split())


def commands() -> set[str]:
    """Return the words that name each command, such as ``candles seal``."""
    return set(_below(typer.main.get_command(build_app()), ()))


def _below(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    if hasattr(command, "commands"):
        if command.invoke_without_command and path:
            yield " ".join(path)
        for name, part in command.commands.items():
            yield from _below(part, (*path, name))
    else:
        yield " ".join(path)


def invoke(*arguments: object) -> Done:
    """Run a command in this process."""
    result = CliRunner().invoke(build_app(), [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)

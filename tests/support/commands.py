"""Every command of the command line, found in the application itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from backtest_mongo.cli.app import build_app

__all__ = ["Done", "commands", "get_group", "invoke", "split_storage"]


@dataclass
class Done:
    code: int
    out: str
    #: Without the line that says which storage is used.
    err: str
    #: That line.
    storage: str = ""

    @property
    def error(self) -> str:
        """What is on standard error, without its frame and in one line."""
        return " ".join(self.err.replace("│", " ").split())

    def line(self, start: str) -> str:
        """Return the one line of the output that begins with a text, with single spaces."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(start)]
        return " ".join(line.split())


@cache
def get_group() -> Any:
    """Return the application as Click runs it; to build it takes longer than most commands do."""
    return typer.main.get_command(build_app())


def commands() -> set[str]:
    """Return the words that name each command, such as ``candles seal``."""
    return set(_below(get_group(), ()))


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
    with CliRunner().isolation() as (out, err, *_):
        with pytest.raises(SystemExit) as ended:
            get_group().main([*map(str, arguments)], prog_name="root")
        sys.stdout.flush()
        sys.stderr.flush()
        shown = [output.getvalue().decode().replace("\r\n", "\n") for output in (out, err)]
    code = ended.value.code
    assert isinstance(code, int)  # a text would be a message that nothing has formatted
    return Done(code, shown[0], *split_storage(shown[1]))


def split_storage(err: str) -> tuple[str, str]:
    """Return standard error without the line that says which storage is used, and that line."""
    lines = err.splitlines(keepends=True)
    storage = [line for line in lines if line.removeprefix("\x1b[2m").startswith("storage: ")]
    assert len(storage) < 2
    return "".join(line for line in lines if line not in storage), "".join(storage)

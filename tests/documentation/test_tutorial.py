"""The tutorial, followed from its first line to its last: each command prints what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

import backtest_mongo
from tests.conftest import drop_database
from tests.support.deadlines import PROCESS_SECONDS

pytestmark = [pytest.mark.heavy, pytest.mark.parametrize("driver", ["motor"])]

PROJECT: Final = Path(backtest_mongo.__file__).parent.parent
PAGE: Final = (PROJECT / "docs" / "tutorial.md").read_text()
#: Installation, servers that the test already has, and what has its own tests.
NOT_RUN: Final = ("pip ", "backtest-mongo serve", "backtest-mongo demo", "backtest-mongo doctor")
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def blocks() -> list[tuple[str, str, str]]:
    """Return the page's blocks, each with the paragraph before it: paragraph, language, content."""
    return re.findall(r"([^\n]*)\n\n^```(python|console|diff|text)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def shown(output: str) -> list[str]:
    """Return the lines of an output, with times masked and trailing blanks removed."""
    return [TIME.sub("(time)", line.rstrip()) for line in output.strip("\n").splitlines() if line.strip()]


def changed(text: str, difference: str) -> str:
    lines = difference.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    assert text.count(before) == 1, before
    return text.replace(before, "".join(line[1:] for line in lines if line[0] != "-"))


@pytest.fixture
async def environment(config: dict[str, Any], unique: str) -> AsyncIterator[dict[str, str]]:
    given = {name: str(value) for name, value in config.items()}
    yield {**os.environ, "PYTHONPATH": str(PROJECT), "NO_COLOR": "1", "COLUMNS": "80", **given}
    async with backtest_mongo.setup(config):
        await drop_database(unique)


def run(command: str, environment: dict[str, str], directory: Path) -> str:
    words = shlex.split(command)
    programs = {"python": [sys.executable], "backtest-mongo": [sys.executable, "-m", "backtest_mongo"]}
    done = subprocess.run(
        [*programs.get(words[0], words[:1]), *words[1:]],
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert done.returncode == (-9 if "--die" in words else 0), done.stderr
    return done.stdout


def test_every_command_prints_what_the_page_shows(environment: dict[str, str], tmp_path: Path) -> None:
    output = ""
    compared = 0
    for paragraph, language, content in blocks():
        if language == "text":
            assert shown(output) == shown(content), paragraph
            compared += 1
        elif language == "console":
            commands = [line for line in content.splitlines() if not line.startswith(NOT_RUN)]
            output = "".join(run(command, environment, tmp_path) for command in commands)
        elif language == "diff":
            first = tmp_path / "first.py"
            first.write_text(changed(first.read_text(), content))
        else:
            (name,) = re.findall(r"[Ss]ave this as `(\w+\.py)`", paragraph)
            (tmp_path / name).write_text(content)
    assert compared == 7

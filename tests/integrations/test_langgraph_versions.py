"""An unsupported langgraph-checkpoint, or none, is an error of one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Imports the room as if a version were installed; the error is its own, before anything of LangGraph is imported.
IMPORT = """
import importlib.metadata as metadata
found = metadata.version

def version(name):
    if name != "langgraph-checkpoint":
        return found(name)
    if not {version!r}:
        raise metadata.PackageNotFoundError(name)
    return {version!r}

metadata.version = version
try:
    import backtest_mongo.integrations.langgraph
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("", "is not installed"),
        ("3.0.1", "3.0.1 is not supported"),
        ("5.0.0rc1", "5.0.0rc1 is not supported"),
        ("10.2", "10.2 is not supported"),
    ],
)
def test_version_that_is_not_supported_is_an_error_of_one_line(version: str, problem: str) -> None:
    command = [sys.executable, "-c", IMPORT.format(version=version)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"langgraph-checkpoint {problem}: backtest_mongo.integrations.langgraph takes 4.0 to before 5.0; "
        'pip install "backtest-mongo[langgraph]", or ".[langgraph]" in a checkout, installs it\n'
    )

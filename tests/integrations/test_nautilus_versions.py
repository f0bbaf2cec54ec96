"""An unsupported nautilus_trader, or none, is an error of one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Imports the room as if a version were installed; the error is its own, before anything of Nautilus is imported.
IMPORT = """
import importlib.metadata as metadata
found = metadata.version

def version(name):
    if name != "nautilus_trader":
        return found(name)
    if not {version!r}:
        raise metadata.PackageNotFoundError(name)
    return {version!r}

metadata.version = version
try:
    import backtest_mongo.integrations.nautilus
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("", "is not installed"),
        ("1.219.0", "1.219.0 is not supported"),
        ("1.29.0", "1.29.0 is not supported"),
        ("2.0.0rc1", "2.0.0rc1 is not supported"),
        ("10.220", "10.220 is not supported"),
    ],
)
def test_version_that_is_not_supported_is_an_error_of_one_line(version: str, problem: str) -> None:
    command = [sys.executable, "-c", IMPORT.format(version=version)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"nautilus_trader {problem}: backtest_mongo.integrations.nautilus takes 1.220 to before 2.0; "
        'pip install "backtest-mongo[nautilus]", or ".[nautilus]" in a checkout, installs it\n'
    )


def test_slots_of_ticks_need_no_nautilus() -> None:
    code = (
        "import sys; sys.modules['nautilus_trader'] = None; "
        "from backtest_mongo.integrations.nautilus_ticks import QUOTES, TRADES; print(TRADES.name, QUOTES.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "nautilus_trade nautilus_quote\n"

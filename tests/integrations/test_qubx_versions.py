"""An unsupported Qubx, or none, is an error of one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Imports the module as if a version were installed; the error is its own, before anything of Qubx is imported.
IMPORT = """
import importlib.metadata as metadata
found = metadata.version

def version(name):
    if name != "Qubx":
        return found(name)
    if not {version!r}:
        raise metadata.PackageNotFoundError(name)
    return {version!r}

metadata.version = version
try:
    import backtest_mongo.integrations.qubx
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("", "Qubx is not installed"),
        ("4.3.2", "Qubx 4.3.2 is not supported"),
        ("50.0", "Qubx 50.0 is not supported"),
    ],
)
def test_version_that_is_not_supported_is_an_error_of_one_line(version: str, problem: str) -> None:
    command = [sys.executable, "-c", IMPORT.format(version=version)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"{problem}: backtest_mongo.integrations.qubx needs Qubx 5, on Python 3.12 or later "
        '(pip install "Qubx[connectors]>=5,<6")\n'
    )

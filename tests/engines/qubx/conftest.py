"""Where the state of Qubx's strategies is.

The tests are collected where Qubx is installed: by ``nox -s engines-qubx``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import sync
from tests.conftest import on_database

collect_ignore_glob = [] if find_spec("qubx") else ["test_*.py"]


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Import Qubx before a module does: what warns then is Qubx's own, and here no error."""
    if isinstance(collector, pytest.Module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module("qubx.utils.runner.factory")


@pytest.fixture(params=["mongodb", "sqlite"])
def parameters(request: pytest.FixtureRequest, unique: str, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The parameters of the backend in Qubx's configuration."""
    if request.param == "sqlite":
        yield {"sqlite_path": str(tmp_path / "state.db")}
    else:
        uri = request.getfixturevalue("servers")["CC_MONGO_CONNECTION_STRING"]
        yield {"mongo_url": on_database(uri, unique)}
    sync.close()

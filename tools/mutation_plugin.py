"""A plugin of pytest that makes mutation tests fast: each mutant has a run of pytest, forked from one that is warm."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Final

import pytest

#: How long mutmut saw each test take, in the directory that it runs the tests in.
MEASURED: Final = Path("mutmut-stats.json")
#: What a database of its own adds to a test, in seconds: mutmut does not measure fixtures.
DATABASE: Final = 0.2


def pytest_configure() -> None:
    # pytest collects garbage as it ends. Going through all that was imported takes longer than most of these runs.
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put fast tests first: most mutants are killed by one of these."""
    if not MEASURED.exists():
        return
    measured: dict[str, float] = json.loads(MEASURED.read_text())["duration_by_test"]

    def estimate(item: pytest.Item) -> float:
        has_database = "deployment" in getattr(item, "fixturenames", ())
        return measured.get(item.nodeid, 0.0) + DATABASE * has_database

    items.sort(key=estimate)

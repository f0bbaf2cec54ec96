"""All Python in the README and in the documentation runs; the README is short and names what is public."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo.core.config import Config
from tests.conftest import drop_database
from tests.support.deadlines import PROCESS_SECONDS

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]

ROOT = Path(backtest_mongo.__file__).parent.parent
README = (ROOT / "README.md").read_text()
#: Pages about engines that are not installed here; their sessions run what is in them.
ENGINES = {"backtesters", "langgraph", "nautilus", "qubx", "veighna"}
BLOCKS = {
    f"{page.stem}-{number}": block
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if page.stem not in ENGINES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
}


@pytest.fixture
async def environment(config: dict[str, Any], unique: str) -> AsyncIterator[dict[str, str]]:
    yield {**os.environ, **{name: str(value) for name, value in config.items()}}
    async with backtest_mongo.setup(config):
        await drop_database(unique)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_runs(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    tail = ""
    for call in ('on_bar("BTCUSDT", 1)', "example()"):
        if f"async def {call.partition('(')[0]}(" in BLOCKS[name]:
            tail = f"""
import asyncio, backtest_mongo
async def run():
    async with backtest_mongo.setup():
        print(await {call})
asyncio.run(run())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKS[name] + tail],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_readme_has_the_two_commands() -> None:
    assert 'pip install ".[demo]" && backtest-mongo demo' in README
    assert "pip install nox && nox -s tests" in README


def test_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) < 200
    assert [line for line in lines if len(line) > 120] == []


def test_readme_names_everything_public() -> None:
    for name in Config.model_fields:
        assert f"`{name}`" in README, name
    for spec in backtest_mongo.SLOTS:
        adapter = getattr(backtest_mongo, spec.class_name)
        assert f"`{spec.class_name}(" in README
        for method in vars(adapter):
            if method[0] != "_" and method not in ("spec",):
                assert method in README, method
    for name in backtest_mongo.__all__:
        if not name.endswith(("Error", "Adapter")):
            assert name in README, name

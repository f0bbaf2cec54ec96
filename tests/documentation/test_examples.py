"""The examples, run as a user runs them: they print what the documentation shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from pymongo import MongoClient

from tests.conftest import on_database
from tests.support.deadlines import PROCESS_SECONDS
from tests.support.examples import EXAMPLES, ROOT, run_example

PAGE = (ROOT / "docs" / "examples.md").read_text()

# Each starts its own servers; the Python version hardly matters.
pytestmark = pytest.mark.heavy


@pytest.fixture
def environment(servers: dict[str, Any], unique: str) -> Any:
    """The variables of a fresh database."""
    uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], unique)
    yield {name: str(value) for name, value in {**servers, "CC_MONGO_CONNECTION_STRING": uri}.items()}
    with MongoClient[dict[str, Any]](uri) as client:
        client.drop_database(unique)


def shown(heading: str) -> list[str]:
    """Return the lines that the page shows below a heading, without process ids."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    return [line for line in _without_pids(block) if line != "..."]


def _without_pids(text: str) -> list[str]:
    return re.sub(r"process \d+", "process", text).splitlines()


def test_killed_strategy_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    assert _without_pids(run_example("resume_after_crash.py", tmp_path)) == shown("Crash recovery")


@pytest.mark.parametrize("options", [(), ("--mongodb",)], ids=["sqlite", "mongodb"])
def test_orders_of_a_killed_strategy_are_sent_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    figures = _read_figures(run_example("orders_once.py", tmp_path, "--kills", "3", *options))
    assert list(figures) == list(_read_figures("\n".join(shown("Orders sent once"))))
    assert figures["kills"] == 3
    assert figures["orders"] >= 30
    assert figures["requests lost"] + figures["answers lost"] > 0
    assert (figures["orders missing"], figures["orders executed twice"]) == (0, 0)


def _read_figures(text: str) -> dict[str, int]:
    return {name: int(value.replace(",", "")) for name, value in re.findall(r"^(.+): +([\d,]+)$", text, re.MULTILINE)}


def test_strategy_without_servers_prints_what_the_page_shows(tmp_path: Path) -> None:
    assert run_example("strategy_both_ways.py", tmp_path, "150").splitlines() == shown("SQLite or MongoDB")


def test_strategy_does_the_same_in_sqlite_and_in_mongodb(servers: dict[str, Any], unique: str, tmp_path: Path) -> None:
    uri = on_database(servers["CC_MONGO_CONNECTION_STRING"], unique)
    environment = {name: str(value) for name, value in servers.items()} | {"CC_MONGO_CONNECTION_STRING": uri}
    outputs = []
    for arguments, variables in (((), {}), (("--mongodb",), environment)):
        outputs.append(
            [run_example("strategy_both_ways.py", tmp_path, bars, *arguments, **variables) for bars in ("80", "160")]
        )
    with MongoClient[dict[str, Any]](uri) as client:
        client.drop_database(unique)
    assert outputs[0] == outputs[1]
    assert "resumed at bar 80" in outputs[0][1]
    assert [path.name for path in tmp_path.iterdir()] == ["backtest.db"]


def test_calls_of_twenty_symbols_are_batched(tmp_path: Path) -> None:
    lines = run_example("twenty_symbols.py", tmp_path).splitlines()
    assert len([line for line in lines if line.startswith("COIN")]) == 20
    signal, state = (line.split() for line in lines[-2:])
    # The number of batches depends on timing; the number of calls does not.
    assert signal[:3] == ["signal", "4,320", "536"]
    assert state[:3] == ["state", "0", "4,320"]
    assert float(state[3]) > 1
    assert [line.split()[:3] for line in shown("Twenty symbols at once")[1:]] == [signal[:3], state[:3]]


def test_trades_of_backtesting_py_are_stored(tmp_path: Path) -> None:
    lines = run_example("backtesting_py.py", tmp_path).splitlines()
    for line in shown("backtesting.py"):
        assert line in lines


def test_notebook_produces_its_stored_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    stored: Any = nbformat.read(EXAMPLES / "frames.ipynb", 4)  # type: ignore[no-untyped-call]
    fresh: Any = nbformat.read(EXAMPLES / "frames.ipynb", 4)  # type: ignore[no-untyped-call]
    NotebookClient(
        fresh, timeout=int(PROCESS_SECONDS), startup_timeout=int(PROCESS_SECONDS), kernel_name="python3"
    ).execute()
    assert [_texts(cell) for cell in fresh.cells] == [_texts(cell) for cell in stored.cells]


def _texts(cell: Any) -> list[str]:
    """Return the text output of a cell."""
    outputs = cell.get("outputs", [])
    return [output["text"] if "text" in output else output["data"]["text/plain"] for output in outputs]


def test_python_reads_the_signal_that_node_changed(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = EXAMPLES / "node_and_python"
    texts = "\n".join(re.findall(r"```text\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL))
    written = run_example("node_and_python/python_side.py", tmp_path, "write", **environment)
    assert written.strip() in texts
    if shutil.which("node") and (folder / "node_modules").exists():  # only the reader runs `npm install`
        done = subprocess.run(
            ["node", "node_side.mjs"], cwd=folder, env={**os.environ, **environment}, capture_output=True, check=True
        )
        assert b"by the id in Redis" in done.stdout
        assert "'seenBy': 'node'" in run_example("node_and_python/python_side.py", tmp_path, "read", **environment)
    else:
        assert run_example("node_and_python/python_side.py", tmp_path, "read", **environment) == written


def test_every_example_is_on_the_page_and_in_the_readme() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.name not in ("__pycache__", ".ipynb_checkpoints")}
    for page in (PAGE, (ROOT / "README.md").read_text()):
        assert {name for name in names if f"examples/{name}" in page} == names

"""The examples of the page on LangGraph print what it shows; and what is stored after a kill."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engines.langgraph.support import STORAGES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "langgraph.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)

#: Bars one after another; this process ends in the middle of the last one.
KILLED = """
import os, signal
import example

async def main():
    await prepare()
    graph = example.make_graph()
    await example.on_bar(graph, 0, 100.0)
    state = type(example.persist.state("my_strategy", "progress"))
    write = state.write_state_data

    async def write_and_die(self, *args, **kwargs):
        await write(self, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    state.write_state_data = write_and_die
    await example.on_bar(graph, 1, 104.0)

asyncio.run(main())
"""
#: What is stored, and then both once more.
AFTER = """
import example

async def main():
    await prepare()
    graph, thread = example.make_graph(), {"configurable": {"thread_id": "my_strategy"}}
    progress = example.persist.state("my_strategy", "progress")

    async def show():
        history = [state async for state in graph.aget_state_history(thread)]
        print(len(history), history[0].values["prices"], await progress.read_state_data())

    await show()
    await example.on_bar(graph, 1, 104.0)
    await show()
    await example.close()

asyncio.run(main())
"""
PREPARE = """
import asyncio
from backtest_mongo import persist, setup

async def prepare():
    {choice}
"""


def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": f"{directory}:{ROOT}"}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_prints_what_the_page_shows(number: int, tmp_path: Path) -> None:
    code, shown = EXAMPLES[number]
    done = run(code, tmp_path)
    assert (done.stdout, done.stderr) == (shown, "")


def test_page_has_both_examples() -> None:
    assert len(EXAMPLES) == 2


@STORAGES
def test_process_that_is_killed_in_a_bar_leaves_neither_checkpoint_nor_state(
    driver: str, config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "example.py").write_text(EXAMPLES[1][0])
    settings = dict(config)
    choice = 'persist.use_sqlite("backtest.db")' if driver == "sqlite" else f"await setup({settings!r})"
    prepare = PREPARE.format(choice=choice)
    assert run(prepare + KILLED, tmp_path).returncode == -9
    done = run(prepare + AFTER, tmp_path)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "3 [100.0] {'next': 1, 'last': 'wait'}",
        "6 [100.0, 104.0] {'next': 2, 'last': 'wait'}",
    ]

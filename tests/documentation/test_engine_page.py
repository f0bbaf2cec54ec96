"""The page about the reference engine: what it shows is there, and each slot is in one of its tables."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

import backtest_mongo
from backtest_mongo import SLOTS
from tests.support.deadlines import PROCESS_SECONDS

pytestmark = pytest.mark.one_python

DOCS: Final = Path(backtest_mongo.__file__).parent.parent / "docs"
PAGE: Final = (DOCS / "write-your-own-engine.md").read_text()
INCLUDES: Final = re.findall(r"```{literalinclude} (\S+)\n:pyobject: (\S+)\n", PAGE)


def test_first_block_prints_what_the_page_shows(tmp_path: Path) -> None:
    match = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    code, shown = match.groups()
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PROCESS_SECONDS,
        check=True,
    )
    assert done.stdout == shown


def test_each_slot_is_in_one_of_the_tables() -> None:
    named = Counter(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert named == Counter([*(spec.name for spec in SLOTS), "equity"])


@pytest.mark.parametrize(("path", "name"), INCLUDES)
def test_what_the_page_includes_is_there(path: str, name: str) -> None:
    tree: ast.AST = ast.parse((DOCS / path).read_text())
    for part in name.split("."):
        (tree,) = [node for node in ast.iter_child_nodes(tree) if getattr(node, "name", None) == part]


def test_page_includes_as_much_as_it_says() -> None:
    assert len(INCLUDES) == PAGE.count("{literalinclude}") > 8

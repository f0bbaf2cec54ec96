"""The example of docs/nautilus.md runs, and prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.engines.nautilus.support import STORAGES

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "nautilus.md").read_text()
((CODE, SHOWN),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
SQLITE = 'persist.use_sqlite("nautilus.db")'


def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-W", "ignore:Timestamp.utcnow", "-c", code]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@STORAGES
def test_example_prints_what_the_page_shows(driver: str, config: dict[str, Any], tmp_path: Path) -> None:
    code = CODE
    if driver != "sqlite":
        assert code.count(SQLITE) == 1
        code = code.replace(SQLITE, f"from backtest_mongo.sync import setup\nsetup({dict(config)!r})")
    done = run(code, tmp_path)
    assert (done.stdout, done.stderr) == (SHOWN, "")
    assert (tmp_path / "nautilus.db").exists() == (driver == "sqlite")

"""How long a month of bars takes with what the Node package sends: ``node_bars.mjs``, with its libraries from npm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.transactions import PART, make_payload

__all__ = ["measure_node_month"]


def measure_node_month(config: Mapping[str, Any], bars: int) -> float | None:
    """Return the seconds of ``bars`` bars, of which a tenth is run; ``None`` without Node or its packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    here = Path(__file__).resolve().parent
    versions = here.parent / "examples" / "node_and_python" / "package.json"
    with tempfile.TemporaryDirectory(prefix="backtest-mongo-bench-") as name:
        directory = Path(name)
        shutil.copy(here / "node_bars.mjs", directory)
        shutil.copy(versions, directory)
        installed = subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=directory, capture_output=True)
        if installed.returncode:
            return None
        payload = json.dumps({**make_payload(), "minuteEstimatedTime": 240})
        done = subprocess.run(
            ["node", "node_bars.mjs", str(bars // PART), payload],
            cwd=directory,
            env={**os.environ, **{key: str(value) for key, value in config.items()}},
            capture_output=True,
            text=True,
            check=True,
        )
    return float(done.stdout) * PART

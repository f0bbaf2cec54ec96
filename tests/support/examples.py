"""Running the programs of ``examples/`` as a reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.deadlines import PROCESS_SECONDS

ROOT: Final = Path(__file__).resolve().parent.parent.parent
EXAMPLES: Final = ROOT / "examples"


def run_example(name: str, directory: Path, *arguments: str, **environment: str) -> str:
    """Run an example in a directory, with only these ``CC_*`` variables, and return what it prints."""
    base = {variable: value for variable, value in os.environ.items() if not variable.startswith("CC_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        cwd=directory,
        env={**base, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout

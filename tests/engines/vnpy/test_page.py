"""The example of docs/veighna.md runs, and prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.engines.vnpy.conftest import write_settings
from tests.engines.vnpy.test_storage import ROOT, run

pytestmark = pytest.mark.engines


def test_example_prints_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "veighna.md").read_text()
    code, text = (
        "".join(re.findall(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)) for kind in ("python", "text")
    )
    write_settings(tmp_path)
    done = run(code, tmp_path)
    assert done.stderr == ""
    assert done.stdout == text
    assert (tmp_path / ".vntrader" / "bars.db").exists()

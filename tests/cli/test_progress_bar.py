"""The progress bar of an import: where it is drawn, and where it is not."""

from __future__ import annotations

import os
import pty
import re
from pathlib import Path

import pytest

from tests.support.candle_commands import SERIES, Database, run_candles, start_candles, write_csv
from tests.support.deadlines import PROCESS_SECONDS

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


def test_progress_is_shown_on_a_terminal_and_nowhere_else(database: Database, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "candles.csv", 100_000)
    ours, theirs = pty.openpty()
    process = start_candles("import", path, *SERIES, stderr=theirs)
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
    os.close(ours)
    output, _ = process.communicate(timeout=PROCESS_SECONDS)
    assert (process.returncode, output.splitlines()[0]) == (0, "binance BTCUSDT 1m: 100,000 candles in 1 file")
    plain = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    assert "candles.csv" in plain
    assert re.search(r"[\d.]+/[\d.]+ MB", plain)
    assert re.search(r"[\d,]+ rows/s", plain)
    assert "rows/s" not in run_candles("import", path, *SERIES).err


@pytest.mark.parametrize("name", ["TERM", "FORCE_COLOR"])
def test_progress_is_not_drawn_where_a_line_cannot_be_drawn_again(
    name: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_csv(tmp_path / "candles.csv", 1_000)
    ours, theirs = pty.openpty()
    if name == "TERM":  # a terminal that knows no controls, and a file that colours are forced upon
        monkeypatch.setenv("TERM", "dumb")
        process = start_candles("import", path, *SERIES, stderr=theirs)
    else:
        monkeypatch.setenv("FORCE_COLOR", "1")
        process = start_candles("import", path, *SERIES)
    os.close(theirs)
    _, errors = process.communicate(timeout=PROCESS_SECONDS)
    shown = _read(ours).decode() if name == "TERM" else errors
    os.close(ours)
    assert process.returncode == 0
    assert "rows/s" not in shown
    assert re.search(r"\x1b\[[0-9;?]*[a-ln-zA-Z]", shown) is None  # but for colours


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's way to say that the other side is closed
        return b""

"""Importing and exporting candle files from Python."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import CandleAdapter, InputError
from backtest_mongo.market_data import ReadOptions, export_candles, import_candles
from tests.conftest import Deployment

pytestmark = pytest.mark.either_driver

MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
HEADER = "timestamp,open,high,low,close,volume\n"


class Progress:
    """Records what it receives."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done: list[int] = []
        self.rows = 0
        self.notes: list[str] = []

    def start(self, total: int) -> None:
        self.total = total

    def update(self, description: str, done: int, rows: int = 0) -> None:
        self.done.append(done)
        self.rows += rows

    def note(self, text: str) -> None:
        self.notes.append(text)


def write_candles(path: Path, count: int, first: int = START, decimal: str = ".", delimiter: str = ",") -> Path:
    row = ["{}", "1.5", "2.0", "0.5", "1.0", "10.0"]
    lines = [delimiter.join(row).replace(".", decimal).format(first + place * MINUTE) for place in range(count)]
    path.write_text(HEADER.replace(",", delimiter) + "".join(f"{line}\n" for line in lines))
    return path


async def test_files_are_imported_with_progress_and_exported_again(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    directory = tmp_path / "candles"
    directory.mkdir()
    write_candles(directory / "a.csv", 100)
    write_candles(directory / "b.csv", 50, first=START + 100 * MINUTE)
    (directory / "notes.md").write_text("")
    progress = Progress()
    report = await import_candles("BTCUSDT", "1m", unique, [directory], progress=progress)
    assert (report.is_complete, report.files, report.rows, report.new, report.series) == (
        True,
        2,
        150,
        150,
        {"BTCUSDT"},
    )
    assert (progress.rows, progress.done[-1]) == (150, progress.total)
    assert f"ignored: {directory / 'notes.md'}" in progress.notes
    again = await import_candles("BTCUSDT", "1m", unique, [str(directory)])
    assert (again.new, again.present) == (0, 150)
    progress = Progress()
    path = tmp_path / "out.csv"
    rows = await export_candles("BTCUSDT", "1m", unique, path, progress=progress)
    assert (rows, progress.rows, progress.total, progress.done[-1]) == (150, 150, 150, 150)
    assert path.read_text().splitlines()[:2] == [
        "timestamp_ms,open,high,low,close,volume",
        f"{START},1.5,2.0,0.5,1.0,10.0",
    ]
    start, end = datetime(2024, 1, 1, 0, 10, tzinfo=UTC), "2024-01-01T00:20"
    assert await export_candles("BTCUSDT", "1m", unique, str(path), start=start, end=end) == 10


async def test_options_decide_what_a_file_leaves_open(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    path = write_candles(tmp_path / "a.csv", 5, decimal=",", delimiter=";")
    report = await import_candles("BTCUSDT", "1m", unique, [path], options=ReadOptions(decimal=",", unit="ms"))
    assert report.is_complete
    candles = await CandleAdapter("BTCUSDT", "1m", unique).read_candles_data(1, START)
    assert candles is not None
    assert candles[0]["open"] == 1.5


async def test_bad_lines_and_unreadable_files_are_reported(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    good = write_candles(tmp_path / "good.csv", 5)
    with good.open("a") as file:
        file.write("soon,1,2,0.5,1,5\n")
    bad = tmp_path / "bad.csv"
    bad.write_text("nothing\n")
    report = await import_candles("BTCUSDT", "1m", unique, [good, bad])
    assert (report.is_complete, report.new, report.bad_lines, len(report.unreadable)) == (False, 5, 1, 1)
    assert report.bad[0].startswith(f"{good}:7  ")
    assert report.unreadable[0].startswith(f"{bad}: ")


async def test_wrong_arguments_are_refused(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    path = write_candles(tmp_path / "a.csv", 5)
    wrong: Any = "zero"
    with pytest.raises(InputError, match="interval '2m'"):
        await import_candles(None, "2m", unique, [path])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"absent\.csv"):
        await import_candles(None, "1m", unique, [tmp_path / "absent.csv"])
    with pytest.raises(InputError, match="path must end with"):
        await export_candles("BTCUSDT", "1m", unique, tmp_path / "a.txt")
    with pytest.raises(InputError, match="fill must be null, forward or None"):
        await export_candles("BTCUSDT", "1m", unique, tmp_path / "b.csv", fill=wrong)
    with pytest.raises(InputError, match="no candles of"):
        await export_candles("BTCUSDT", "1m", unique, tmp_path / "b.csv")
    await import_candles("BTCUSDT", "1m", unique, [path])
    with pytest.raises(InputError, match="start must be ISO 8601"):
        await export_candles("BTCUSDT", "1m", unique, tmp_path / "b.csv", start="noon")
    assert not (tmp_path / "b.csv").exists()

"""Directories and packed files: which files are found in them, and which are refused."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from backtest_mongo.errors import InputError
from backtest_mongo.market_data.candle_files import read_candles
from backtest_mongo.market_data.data_files import find_sources
from tests.support.candle_files import BARS, MINUTE, START, format_lines, list_bars, make_table, read_chunks, write_text

pytestmark = pytest.mark.either_driver


def test_gzip_and_zip_are_unpacked(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wt") as packed:
        packed.write(format_lines(BARS[:2]))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sub/2.csv", format_lines(BARS[3:]))
        archive.writestr("sub/1.csv", format_lines(BARS[2:3]))
        archive.writestr("sub/1.csv.CHECKSUM", "c0ffee")
        archive.writestr("__MACOSX/sub/1.csv", "x")
        archive.mkdir("empty")
    found = find_sources([tmp_path / "a.csv.gz", tmp_path / "b.zip"])
    archive_name = f"{tmp_path}/b.zip"
    assert [source.name for source in found.sources] == [
        f"{tmp_path}/a.csv.gz",
        f"{archive_name}/sub/1.csv",
        f"{archive_name}/sub/2.csv",
    ]
    assert found.ignored == [f"{archive_name}/__MACOSX/sub/1.csv", f"{archive_name}/sub/1.csv.CHECKSUM"]
    assert list_bars([chunk for source in found.sources for chunk in read_candles(source)]) == BARS


def test_position_of_what_is_packed_is_that_on_the_disk(tmp_path: Path) -> None:
    text = format_lines([(START + index * MINUTE, *BARS[0][1:]) for index in range(120_000)])
    with gzip.open(tmp_path / "a.csv.gz", "wt") as packed:
        packed.write(text)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", text)
        archive.writestr("b.csv", text)
    for source in find_sources(sorted(tmp_path.iterdir())).sources:
        assert source.size < len(text) / 2
        positions = [chunk.position for chunk in read_candles(source)]
        assert positions == sorted(positions)
        assert 0 < positions[0] <= positions[-1] <= source.size
        assert positions[-1] > source.size * 0.9


def test_directory_is_read_by_name_and_skipped_files_are_listed(tmp_path: Path) -> None:
    for month in (2, 1):
        write_text(tmp_path / f"BTCUSDT-1m-2024-0{month}.csv", format_lines(BARS[:2] if month == 1 else BARS[2:]))
    write_text(tmp_path / "README.md", "x")
    (tmp_path / "old").mkdir()
    found = find_sources([tmp_path])
    assert [source.path.name for source in found.sources] == ["BTCUSDT-1m-2024-01.csv", "BTCUSDT-1m-2024-02.csv"]
    assert found.ignored == [str(tmp_path / "README.md"), str(tmp_path / "old")]
    assert found.size == sum(source.path.stat().st_size for source in found.sources)
    assert list_bars(read_chunks(tmp_path)) == BARS


def test_directory_of_several_series_is_refused(tmp_path: Path) -> None:
    for name in ("BTCUSDT-1m-2024-01.csv", "BTCUSDT-1h-2024-01.zip", "ETHUSDT-1m-2024-01-31.csv.gz"):
        write_text(tmp_path / name, "")
    with pytest.raises(InputError, match="has files of 3 series: BTCUSDT 1h, BTCUSDT 1m, ETHUSDT 1m"):
        find_sources([tmp_path])


def test_directory_without_candle_files_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "README.md", "")
    with pytest.raises(InputError, match="has no candle files"):
        find_sources([tmp_path])


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: does not exist"):
        find_sources([tmp_path / "absent.csv"])


@pytest.mark.parametrize("kept", [30, 0.5])
@pytest.mark.parametrize("name", ["candles.csv.gz", "candles.zip", "candles.parquet"])
def test_truncated_file_is_reported(name: str, kept: float, tmp_path: Path) -> None:
    rows = [(START + index * MINUTE, *np.random.default_rng(index).random(5)) for index in range(1000)]
    text = format_lines([(time, o, 2.0, 0.0, c, v) for time, o, _, _, c, v in rows])
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", text)
    else:
        make_table(BARS).write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept if kept > 1 else kept * len(content))])
    with pytest.raises(InputError, match=f"{name}: can't be read"):
        read_chunks(path)


def test_corrupted_member_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "candles.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", format_lines(BARS))
    path.write_bytes(path.read_bytes().replace(b"100.5", b"900.5"))
    with pytest.raises(InputError, match=r"candles\.zip/a\.csv: can't be read: Bad CRC-32"):
        read_chunks(path)


def test_encrypted_member_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "candles.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", format_lines(BARS))
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    path.write_bytes(content[: directory + 8] + b"\x01" + content[directory + 9 :])
    with pytest.raises(InputError, match=r"candles\.zip/a\.csv: is encrypted"):
        read_chunks(path)

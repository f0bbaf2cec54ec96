"""Untrusted dumps: what is not a row is listed with its path, nothing blocks, and the rest is imported."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import (
    CandleAdapter,
    MeasureAdapter,
    StateAdapter,
    StorageAdapter,
    StoreError,
    export_dump,
    import_dump,
    persist,
    set_logger,
)
from backtest_mongo.dumps import reader
from backtest_mongo.files import disk
from tests.conftest import Deployment
from tests.support.dumps import DEEP, SPECIAL_FILES, find_slot, write_file
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver


#: Content that is not a row, for files that have the name of a row.
NO_ROWS: dict[str, bytes] = {
    "no text": b'{"a":"\xff"}',
    "a surrogate that is encoded": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "a lone surrogate as a name": b'{"\\ud800":1}',
    "NUL": b"\0",
    "NUL as a name": b'{"a\\u0000b":1}',
    "too large": b'{"a":1e999}',
    "too far below": b'{"a":[-1e999]}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "too long": b'{"a":' + b"9" * 5_000 + b"}",
    "deep": DEEP.encode(),
    "deep and whole": b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
    "deep in BSON": json.dumps({"$bson": b64encode(b"\xff" * 40).decode() + "!"}).encode() + b"}",
    "empty": b"",
    "a decimal that no BSON has": b'{"a":{"$numberDecimal":"1E+9999999"}}',
}


@pytest.mark.parametrize("kind", NO_ROWS)
async def test_file_without_a_valid_row_is_listed_and_the_rest_is_imported(
    deployment: Deployment, tmp_path: Path, kind: str
) -> None:
    paths = ["data/storage/live/bad.json", "state/s/bad/bad.json", "data/candle/e/BTC/1m/0.json"]
    for path in paths:
        write_file(tmp_path, path, "").write_bytes(NO_ROWS[kind])
    write_file(tmp_path, "data/storage/live/good.json", {"id": "good"})
    report = await import_dump(tmp_path, apply=True)
    assert sorted(problem.path for problem in report.problems) == sorted(paths)
    assert all(problem.problem and problem.hint for problem in report.problems)
    assert await StorageAdapter(False).read_storage_data() == [{"id": "good"}]


@pytest.mark.parametrize("kind", SPECIAL_FILES)
async def test_special_file_is_listed_without_blocking_and_the_rest_is_imported(
    deployment: Deployment, tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "dump"
    write_file(root, "data/storage/live/good.json", {"id": "good"})
    write_file(root, "data/candle/e/BTC/1m/0.json", candles(1)[0])
    paths = ["data/storage/live/x.json", "data/candle/e/BTC/1m/60000.json"]
    for path in paths:
        SPECIAL_FILES[kind](root / path, tmp_path / "outside")
    report = await import_dump(root, apply=True)
    assert sorted(problem.path for problem in report.problems) == sorted(paths)
    assert await StorageAdapter(False).read_storage_data() == [{"id": "good"}]
    assert await CandleAdapter("BTC", "1m", "e").read_candles_data(1, 0) == candles(1)
    # An export replaces them, except a directory, and leaves alone what a link leads to.
    await StorageAdapter(False).write_storage_data([{"id": "x"}, {"id": "y"}])
    exported = await export_dump(root, slots=["storage"])
    assert json.loads((root / "data/storage/live/y.json").read_text()) == {"id": "y"}
    if kind == "directory":
        assert [problem.path for problem in exported.problems] == paths[:1]
    else:
        assert exported.problems == ()
        assert json.loads((root / paths[0]).read_text()) == {"id": "x"}
        assert not (root / paths[0]).is_symlink()


@pytest.mark.parametrize("kind", SPECIAL_FILES)
async def test_special_file_does_not_hide_others_that_are_read_in_place(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "dump"
    persist.use_files(root)
    write_file(root, "data/storage/live/good.json", {"id": "good"})
    write_file(root, "data/log/log/good.json", {"id": "good"})
    for path in ("data/storage/live/x.json", "data/log/log/x.json", "data/measure/b/x.json"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        SPECIAL_FILES[kind](root / path, tmp_path / "outside")
    extra = [{"id": "secret"}] if kind == "out" else []
    assert await persist.storage(False).read_storage_data() == [{"id": "good"}, *extra]
    assert sorted(row["id"] for row in await persist.log().read_log_data()) == [
        "good",
        *(row["id"] for row in extra),
    ]
    if kind in ("directory", "nowhere", "out"):
        await persist.measure("b").read_measure_data("x")
        return
    with pytest.raises(StoreError, match=r"^measure: reading failed: it .*x\.json"):
        await persist.measure("b").read_measure_data("x")
    await persist.measure("b").write_measure_data({"n": 1}, "x")
    assert await persist.measure("b").read_measure_data("x") == {"n": 1}


@pytest.mark.parametrize("kind", [kind for kind in NO_ROWS if kind not in ("a decimal that no BSON has",)])
async def test_file_without_a_valid_row_does_not_hide_others_that_are_read_in_place(tmp_path: Path, kind: str) -> None:
    heard: list[str] = []

    class Heard:
        def warning(self, event: str, *fields: Any) -> None:
            heard.append(event % fields)

        debug = info = error = warning

    set_logger(Heard())
    persist.use_files(tmp_path)
    write_file(tmp_path, "data/storage/live/bad.json", "").write_bytes(NO_ROWS[kind])
    write_file(tmp_path, "data/storage/live/good.json", {"id": "good"})
    for _ in range(2):
        rows = await persist.storage(False).read_storage_data()
        assert rows[-1] == {"id": "good"}
    if len(rows) == 1:
        assert len(heard) == 1
        assert "bad.json holds no JSON" in heard[0]
    else:  # what JSON can hold and MongoDB can't
        assert kind in ("a lone surrogate", "a lone surrogate as a name", "NUL as a name", "deep and whole")


@pytest.mark.parametrize("price", ['"1.5"', "true", "null", "1e999", "[1]", "{}", '{"$numberDouble":"NaN"}'])
async def test_price_that_is_not_a_number_is_refused(deployment: Deployment, tmp_path: Path, price: str) -> None:
    row = json.dumps({**candles(1)[0], "close": 0}).replace('"close": 0', f'"close": {price}')
    write_file(tmp_path, "data/candle/e/BTC/1m/0.json", row)
    report = await import_dump(tmp_path, apply=True)
    assert [problem.path for problem in report.problems] == ["data/candle/e/BTC/1m/0.json"]
    persist.use_files(tmp_path)
    with pytest.raises(StoreError, match=r"0\.json holds no candle"):
        await persist.candle("BTC", "1m", "e").read_candles_data(1, 0)


# Names and links


async def test_names_that_lead_elsewhere_or_are_not_keys_do_not_stop_the_rest(
    deployment: Deployment, tmp_path: Path
) -> None:
    names = ["a%00b", "%00", "..%2F..%2Fetc%2Fpasswd", "%2E.%2F..%2Fetc%2Fpasswd", "good"]
    for name in names:
        write_file(tmp_path, f"data/measure/b/{name}.json", {"name": name})
    (tmp_path / os.fsdecode(b"data/measure/b/\xff.json")).write_text("{}")
    report = await import_dump(tmp_path, apply=True)
    # One of the engine's names is also a name of this library, for another key.
    assert {problem.path: problem.problem.partition(":")[0] for problem in report.problems} == {
        "data/measure/b/%2E.%2F..%2Fetc%2Fpasswd.json": "its key is ambiguous",
        "data/measure/b/\\xff.json": "its name is not valid Unicode, as keys are",
    }
    stored = [key async for key in MeasureAdapter("b").list_measure_data()]
    assert stored == ["%00", "..%2F..%2Fetc%2Fpasswd", "a%00b", "good"]
    persist.use_files(tmp_path)
    measure = persist.measure("b")
    assert [key async for key in measure.list_measure_data()] == ["../../etc/passwd", "good"]
    assert await measure.read_measure_data("../../etc/passwd") == {"name": names[3]}
    for name in ("..%2F..%2Fetc%2Fpasswd", "good"):
        assert await measure.read_measure_data(name) == {"name": name}


async def test_links_out_of_the_dump_are_listed_and_not_followed(deployment: Deployment, tmp_path: Path) -> None:
    write_file(tmp_path / "outside", "live/secret.json", {"id": "secret"})
    root = tmp_path / "dump"
    write_file(root, "data/log/log/good.json", {"id": "good"})
    (root / "data/storage").symlink_to(tmp_path / "outside")
    (root / "data/log/log/above").symlink_to("..")
    (root / "data/log/log/up").symlink_to("../../../..")
    report = await import_dump(root, apply=True)
    listed = {problem.path: problem.problem for problem in report.problems}
    assert listed == dict.fromkeys(("data/storage", "data/log/log/up"), "it leads out of the dump")
    assert find_slot(report, "log").added == 1
    assert await StorageAdapter(False).read_storage_data() == []


async def test_directory_with_many_links_is_read_once(deployment: Deployment, tmp_path: Path) -> None:
    write_file(tmp_path, "data/log/log/good.json", {"id": "good"})
    for number in range(40):
        write_file(tmp_path, f"more/{number}/x.json", {})
        for name in "abc":
            (tmp_path / f"more/{number}/{name}").symlink_to(f"../{(number + 1) % 40}")
    (tmp_path / "data/log/log/more").symlink_to("../../../more/0")
    report = await import_dump(tmp_path, apply=True)
    assert find_slot(report, "log").files == 41
    assert find_slot(report, "log").added == 1


async def test_deep_directories_are_walked(deployment: Deployment, tmp_path: Path) -> None:
    write_file(tmp_path, "data/log/log/good.json", {"id": "good"})
    here = os.open(tmp_path / "data/log/log", os.O_RDONLY)
    for _ in range(1_100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        report = await import_dump(tmp_path, apply=True)
    finally:
        await asyncio.to_thread(subprocess.check_call, ["rm", "-rf", str(tmp_path / "data/log/log/d")])
    assert find_slot(report, "log").added == 1


async def test_name_with_thousands_of_readings_is_listed_without_trying_them_all(
    deployment: Deployment, tmp_path: Path
) -> None:
    name = "_".join("a" * 110)
    write_file(tmp_path, f"data/recent/{name}_live/a.json", {})
    write_file(tmp_path, f"data/partial/{name}/x.json", {})
    report = await import_dump(tmp_path, apply=True)
    assert len(report.problems) == 2
    assert all("its key is ambiguous" in problem.problem for problem in report.problems)


async def test_files_that_are_removed_during_the_import_do_not_stop_the_rest(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write_file(tmp_path, f"data/log/log/{name}.json", {"id": name})
    gone = iter(["a", "b"])
    read = reader.SlotReader.read

    def read_late(self: reader.SlotReader, path: tuple[str, ...]) -> Any:
        for name in gone:
            (tmp_path / f"data/log/log/{name}.json").unlink()
        return read(self, path)

    monkeypatch.setattr(reader.SlotReader, "read", read_late)
    report = await import_dump(tmp_path, apply=True)
    assert {problem.problem for problem in report.problems} == {"it was removed during the import"}
    assert find_slot(report, "log").added == 1


async def test_dates_beyond_the_supported_years_do_not_stop_the_rest(deployment: Deployment, tmp_path: Path) -> None:
    write_file(tmp_path, "data/log/log/good.json", {"id": "good"})
    for slot, name in (("log/log", "far"), ("notification/live", "far")):
        file = write_file(tmp_path, f"data/{slot}/{name}.json", {"id": name})
        os.utime(file, ns=(0, 9_000_000_000_000_000_000))
    write_file(tmp_path, "state/s/b/b.json", {"when": 10**300})
    write_file(tmp_path, "state/s/c/c.json", '{"when": 1e300}')
    report = await import_dump(tmp_path, apply=True)
    assert find_slot(report, "log").added == 2
    assert [problem.path for problem in report.problems] == ["state/s/b/b.json"]
    (state,) = await deployment.rows(StateAdapter.spec)
    assert datetime.fromtimestamp(state["when"] / 1000, UTC).year >= 2024


def test_file_that_grows_while_it_is_read_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(b"12345")
    assert disk.read(str(file), 5) == b"12345"
    with pytest.raises(disk.UnfitError, match="more than 4 bytes"):
        disk.read(str(file), 4)

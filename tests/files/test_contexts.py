"""Contexts of JSON files: told by their paths, by their sidecars, by their payloads, or left out with a warning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import SLOTS, persist
from tests.contract.test_golden_engine import GOLDEN, RUNS, rows
from tests.support.uniform import WHEN


def adapter_of(name: str) -> Any:
    return persist._get_implementation(next(spec for spec in SLOTS if spec.name == name))


async def listed(name: str) -> list[tuple[Any, ...]]:
    return [tuple(one.values()) async for one in adapter_of(name).list_contexts()]


def list_files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("run", RUNS)
async def test_contexts_of_the_engine_are_told(tmp_path: Path, run: str) -> None:
    shutil.copytree(GOLDEN / run, tmp_path / run)
    persist.use_files(tmp_path / run / "dump")
    expected: dict[str, set[tuple[Any, ...]]] = {spec.name: set() for spec in SLOTS}
    for spec, key, _ in rows(GOLDEN / run / "dump"):
        fields = dict(zip(spec.key, key, strict=True))
        expected[spec.name].add(tuple(fields[name] for name in spec.context_fields))
    for spec in SLOTS:
        found = await listed(spec.name)
        assert len(found) == len(set(found))
        assert set(found) == expected[spec.name], spec.name


async def test_deleted_context_leaves_no_directory(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    one, other = persist.memory("s-1", "notes"), persist.memory("s-1", "plans")
    for adapter in (one, other):
        await adapter.write_memory_data({"n": 1}, "m-1", WHEN)
    assert await one.delete() == 1
    assert not (tmp_path / "memory" / "s-1" / "notes").exists()
    assert (tmp_path / "memory" / "s-1" / "plans" / "m-1.json").is_file()
    assert await other.delete() == 1
    assert list_files(tmp_path) == []
    await one.write_memory_data({"n": 2}, "m-1", WHEN)
    assert await one.read_memory_data("m-1") == {"n": 2}


async def test_file_that_holds_no_json_is_deleted_with_its_context(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    memory = persist.memory("s-1", "notes")
    for name in ("m-1", "m-2"):
        await memory.write_memory_data({"n": 1}, name, WHEN)
    (tmp_path / "memory" / "s-1" / "notes" / "m-1.json").write_text("{")
    assert await listed("memory") == [("s-1", "notes")]
    assert await memory.delete() == 2
    assert await listed("memory") == []


async def test_two_contexts_of_one_path_are_told_apart(tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    contexts = [("BTC", "a", "x", "b_c", True), ("BTC", "a_x", "b", "c", True), ("BTC", "a", "x", "b", True)]
    for context in contexts:
        await persist.recent(*context).write_recent_data({"n": 1}, WHEN)
    assert sorted(await listed("recent")) == sorted(contexts)
    assert await persist.recent(*contexts[0]).delete() == 1
    assert sorted(await listed("recent")) == sorted(contexts[1:])


async def test_row_whose_context_nothing_tells_is_left_out_with_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    persist.use_files(tmp_path)
    long = persist.memory("x" * 400, "notes")
    await long.write_memory_data({"n": 1}, "m-1", WHEN)
    assert await listed("memory") == [("x" * 400, "notes")]
    (sidecar,) = (path for path in list_files(tmp_path) if path.name == ".m-1.facts")
    known = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**known, "key": None}))  # as it was written before keys were noted there
    for _ in range(2):
        assert await listed("memory") == []
    assert capsys.readouterr().err.count("lacks a row whose path does not tell its context") == 1
    assert await long.read_memory_data("m-1") == {"n": 1}
    assert await long.delete() == 1

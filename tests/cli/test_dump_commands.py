"""`export-dump` and `import-dump`: what they print, and what they write with and without --apply."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from backtest_mongo import StorageAdapter
from tests.cli.test_cli import run
from tests.conftest import Deployment
from tests.support.dumps import write_file

pytestmark = pytest.mark.either_driver


async def test_commands_show_what_they_would_do_and_do_it_with_apply(
    deployment: Deployment, unique: str, tmp_path: Path
) -> None:
    path = "data/partial/BTC_my_strategy_binance/sig-1.json"
    write_file(tmp_path, f"dump/{path}", {"sig-1": {}})
    write_file(tmp_path, "dump/data/storage/live/good.json", {"id": "good"})
    environment = {**deployment.environment, "COLUMNS": "100"}

    async def run_command(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(run, *arguments, directory=tmp_path, **environment)
        assert done.stderr == ""
        return done.returncode, done.stdout

    code, text = await run_command("import-dump", ".")
    assert code == 1
    assert "to add" in text
    assert f"{path}: its key is ambiguous: symbol 'BTC', strategyName 'my_strategy'" in text
    assert text.endswith("Nothing was written; --apply writes it.\n")
    assert await StorageAdapter(False).read_storage_data() == []
    code, text = await run_command("import-dump", "dump", "--apply", "--strategy", "my_strategy", "--json")
    assert code == 0
    assert [(one["slot"], one["added"]) for one in json.loads(text)["slots"]] == [("partial", 1), ("storage", 1)]
    code, text = await run_command("export-dump", "out", "--slot", "storage")
    assert code == 0
    assert text.endswith("The dump is in out.\n")
    assert json.loads((tmp_path / "out/data/storage/live/good.json").read_text()) == {"id": "good"}
    done = await asyncio.to_thread(run, "import-dump", ".", "--conflicts", "older", directory=tmp_path, **environment)
    assert done.returncode == 2
    assert "'older' is not one of newest, file, store" in done.stderr


async def test_commands_write_no_progress_to_a_file_even_with_forced_colours(
    deployment: Deployment, tmp_path: Path
) -> None:
    write_file(tmp_path, "dump/data/storage/live/good.json", {"id": "good"})
    environment = {**deployment.environment, "FORCE_COLOR": "1"}
    for arguments in (("import-dump", "dump", "--apply"), ("export-dump", "out")):
        done = await asyncio.to_thread(run, *arguments, directory=tmp_path, **environment)
        assert (done.returncode, done.stderr) == (0, "")

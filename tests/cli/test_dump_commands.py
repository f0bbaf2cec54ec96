"""`export-dump` and `import-dump`: what they print, and what they write with and without --apply."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from backtest_mongo import StorageAdapter, close, persist
from tests.cli.test_cli import run
from tests.conftest import Deployment
from tests.sqlite.test_backup import damage
from tests.support.dumps import write_file

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]


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


async def test_commands_move_sqlite_files(deployment: Deployment, unique: str, tmp_path: Path) -> None:
    await StorageAdapter(False).write_storage_data([{"id": "good"}])
    environment = {**deployment.environment, "COLUMNS": "100"}

    async def run_command(*arguments: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(run, *arguments, directory=tmp_path, **environment)
        return done.returncode, done.stdout, done.stderr

    code, text, errors = await run_command("export-dump", "--sqlite", "backtest.db")
    assert (code, errors) == (0, "")
    assert text.endswith("The SQLite file is backtest.db.\n")
    code, text, errors = await run_command("export-dump", "--sqlite", "backtest.db")
    assert (code, text) == (1, "")
    assert "backtest.db holds rows already (name another file, or move this one away)" in errors
    await (await deployment.collection(StorageAdapter.spec)).delete_many({})
    code, text, errors = await run_command("import-dump", "backtest.db")
    assert (code, errors) == (0, "")
    assert text.split()[:4] == ["slot", "rows", "to", "add"]
    assert text.endswith("Nothing was written; --apply writes it.\n")
    assert await StorageAdapter(False).read_storage_data() == []
    code, text, errors = await run_command("import-dump", "backtest.db", "--apply")
    assert (code, errors) == (0, "")
    assert await StorageAdapter(False).read_storage_data() == [{"id": "good"}]
    for arguments in ((), ("out", "--sqlite", "other.db")):
        code, text, errors = await run_command("export-dump", *arguments)
        assert code == 2
        assert "name a directory, or a file with --sqlite" in " ".join(errors.replace("│", " ").split())


async def test_dump_is_imported_into_sqlite_without_a_server(tmp_path: Path) -> None:
    write_file(tmp_path, "dump/data/storage/live/good.json", {"id": "good"})
    write_file(tmp_path, "dump/data/storage/live/bad.json", "{")
    # Nobody listens there.
    environment = {"CC_MONGO_CONNECTION_STRING": "mongodb://127.0.0.1:1/none", "CC_REDIS_PORT": "1"}
    arguments = ("import-dump", ".", "--sqlite", "backtest.db", "--apply")
    done = await asyncio.to_thread(run, *arguments, directory=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (1, "")  # as one file is listed
    assert "bad.json: it holds no JSON" in done.stdout
    persist.use_sqlite(tmp_path / "backtest.db")
    assert await persist.storage(False).read_storage_data() == [{"id": "good"}]
    await close()
    damage(tmp_path / "backtest.db")
    done = await asyncio.to_thread(run, "import-dump", "backtest.db", directory=tmp_path, **environment)
    assert done.returncode == 1
    assert "restore a backup" in done.stderr
    assert "sqlite3 FILE .recover" in done.stderr

"""The state of strategies, through Qubx's own factory and background writer."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from qubx.core.exceptions import StatePersistenceUnavailable
from qubx.state.safe import SafeStatePersistence
from qubx.utils.runner.configs import load_strategy_config_from_yaml
from qubx.utils.runner.factory import create_state_persistence

from backtest_mongo import InputError, sync
from backtest_mongo.integrations.qubx import BacktestMongoStatePersistence
from tests.engines.qubx.support import ROOT, flush, running

# Qubx's own, and those of what it uses.
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]

PAGE = (ROOT / "docs" / "qubx.md").read_text()
DEEP: Any = 1
for _ in range(150):
    DEEP = [DEEP]

Parameters = dict[str, Any]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -1, 1.5, -0.0, float("inf"), "", "ü", [], {}, 2**62),
        {"positions": [{"symbol": "BTCUSDT", "quantity": 0.5}], "at": "2024-01-01T00:00:00"},
        {"a.b": {"$set": 1}, "": [None, [[]]]},
        # What BSON has no room for.
        *(2**64, -(2**80), {"\0": 1}, "\ud800", DEEP),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_value_comes_back_as_it_was_saved(parameters: Parameters, value: Any) -> None:
    with running(parameters) as persistence:
        persistence.save("key", value)
    with running(parameters) as persistence:
        assert persistence.exists("key")
        found = persistence.load("key", "nothing")
    assert found == value
    assert json.dumps(found) == json.dumps(value)


def test_value_comes_back_as_json_has_it(parameters: Parameters) -> None:
    backend = BacktestMongoStatePersistence("trend", **parameters)
    backend.save("key", {"pair": (1, 2), 3: float("nan")})
    found = backend.load("key")
    assert json.dumps(found) == '{"pair": [1, 2], "3": NaN}'
    with pytest.raises(TypeError):
        backend.save("key", {1, 2})
    assert json.dumps(backend.load("key")) == json.dumps(found)


def test_key_without_a_value_has_the_default(parameters: Parameters) -> None:
    backend = BacktestMongoStatePersistence("trend", **parameters)
    assert backend.load("key") is None
    assert backend.load("key", 5) == 5
    assert (backend.exists("key"), backend.delete("key")) == (False, False)
    backend.save("key", None)
    assert backend.load("key", 5) is None
    assert (backend.exists("key"), backend.delete("key")) == (True, True)
    assert backend.load("key", 5) == 5
    assert (backend.exists("key"), backend.delete("key")) == (False, False)
    backend.save("key", 1)
    assert backend.load("key", 5) == 1


def test_deletion_goes_through_qubx(parameters: Parameters) -> None:
    with running(parameters) as persistence:
        persistence.save("key", 1)
        persistence.save("other", 2)
    with running(parameters) as persistence:
        persistence.delete("key")
    with running(parameters) as persistence:
        assert not persistence.exists("key")
        assert persistence.load("other") == 2


def test_strategies_have_keys_of_their_own(parameters: Parameters) -> None:
    for strategy in ("trend", "drift"):
        with running(parameters, strategy) as persistence:
            assert persistence.load("key") is None
            persistence.save("key", strategy)
    for strategy in ("trend", "drift"):
        with running(parameters, strategy) as persistence:
            assert persistence.load("key") == strategy


def test_state_is_in_a_slot_that_programs_without_qubx_read(parameters: Parameters) -> None:
    backend = BacktestMongoStatePersistence("trend", **parameters)
    backend.save("entries", {"BTCUSDT": 3})
    backend.save("large", 2**64)
    registry: Any = sync.persist
    found = dict(registry.qubx_state("trend").list_qubx_state_data())
    assert found == {"entries": {"value": {"BTCUSDT": 3}}, "large": {"json": str(2**64)}}


def test_calls_work_where_an_event_loop_is_running(parameters: Parameters) -> None:
    async def notebook() -> Any:
        with running(parameters) as persistence:
            persistence.save("key", 1)
        return BacktestMongoStatePersistence("trend", **parameters).load("key")

    assert asyncio.run(notebook()) == 1


def test_both_storages_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="mongo_url and sqlite_path can't both be given"):
        BacktestMongoStatePersistence("trend", mongo_url="mongodb://localhost", sqlite_path="state.db")


def test_key_that_cannot_be_stored_is_refused(parameters: Parameters) -> None:
    backend = BacktestMongoStatePersistence("trend", **parameters)
    with pytest.raises(InputError, match="NUL character"):
        backend.save("a\0b", 1)


def test_database_that_is_not_there_stops_the_start() -> None:
    # A port that nothing listens on.
    url = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100"
    safe = SafeStatePersistence(BacktestMongoStatePersistence("trend", mongo_url=url))
    try:
        with pytest.raises(StatePersistenceUnavailable):
            safe.validate_startup(deadline_s=0)
    finally:
        safe.stop()
        sync.close()


def test_process_without_parameters_uses_what_the_program_has_chosen(tmp_path: Path) -> None:
    sync.persist.use_sqlite(tmp_path / "chosen.db")
    with running({}) as persistence:
        persistence.save("key", 1)
    sync.close()
    assert BacktestMongoStatePersistence("trend", sqlite_path=str(tmp_path / "chosen.db")).load("key") == 1
    sync.close()


def run(code: str, directory: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", *(("-c", code) if code else ()), *arguments]
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(directory)}
    return subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True, **options)


def test_killed_process_leaves_what_it_had_stored(parameters: Parameters, tmp_path: Path) -> None:
    last = 0
    for kills in range(3):
        worker = run("", tmp_path, "-m", "tests.engines.qubx.killed", json.dumps(parameters), stderr=subprocess.DEVNULL)
        assert worker.stdout is not None
        numbers = (int(line) for line in worker.stdout if line.strip().isdecimal())
        announced = next(numbers)
        assert announced == last + 1
        for _ in range(20 * kills):
            announced = next(numbers)
        worker.kill()
        announced = max(announced, *numbers, announced)
        assert worker.wait() == -signal.SIGKILL
        last = BacktestMongoStatePersistence("trend", **parameters).load("count")
        # The kill may have come between a write and its announcement.
        assert last in (announced, announced + 1)


def test_configuration_of_the_page_is_one_of_qubx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "config.yml").write_text(text)
    monkeypatch.chdir(tmp_path)
    config = load_strategy_config_from_yaml(tmp_path / "config.yml")
    assert config.live is not None
    persistence = create_state_persistence(config.live.state, "MyStrategy")
    assert isinstance(persistence, SafeStatePersistence)
    assert isinstance(persistence._backend, BacktestMongoStatePersistence)
    persistence.save("key", 1)
    flush(persistence)
    persistence.stop()
    sync.close()
    assert (tmp_path / "state.db").exists()


def test_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    code, text = ("".join(re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)) for kind in ("python", "text"))
    process = run(code, tmp_path, stderr=subprocess.DEVNULL)
    shown, _ = process.communicate()
    assert process.returncode == 0
    assert shown == text

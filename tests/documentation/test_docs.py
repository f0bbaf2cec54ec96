"""The documentation against the slot table, the configuration and the rows that the engine wrote."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from backtest_mongo import SLOTS
from backtest_mongo.core.config import Config
from backtest_mongo.models import MODELS
from tests.support.deadlines import PROCESS_SECONDS

ROOT = Path(__file__).parent.parent.parent
TYPED = (ROOT / "docs" / "typed-payloads.md").read_text()
SHOWN = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TYPED, re.DOTALL | re.MULTILINE)


def test_each_collection_has_its_unique_key_as_shard_key() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z]+-items) \| (.+?) \|", text, re.MULTILINE))
    assert set(rows) == {spec.collection for spec in SLOTS}
    for spec in SLOTS:
        key = ", ".join(f"{name}: 1" for name in spec.key)
        assert rows[spec.collection] in (f"`{{{key}}}`", "leave it unsharded")


def test_each_setting_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text().partition("## Configuration")[2].partition("\n## ")[0]
    assert [name for name in Config.model_fields if f"`{name}`" not in text] == []


def test_rows_to_resume_from_are_those_that_the_engine_wrote() -> None:
    text = (ROOT / "docs" / "resuming.md").read_text()
    shown = re.findall(r"^`(\S+\.json)`:\n\n```json\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert len(shown) == text.count("```json") >= 10
    for path, row in shown:
        assert json.loads(row) == json.loads((ROOT / "tests/golden/engine-19.5.0" / path).read_bytes()), path
    # Every slot that the engine resumes from is among them.
    slots = {path.split("/dump/")[1].removeprefix("data/").partition("/")[0] for path, _ in shown}
    needed = {"signal", "schedule", "strategy", "risk", "partial", "breakeven", "session", "state", "interval"}
    assert needed <= slots


def test_signal_of_the_example_has_every_field_of_the_engine_s_own() -> None:
    example = runpy.run_path(str(ROOT / "examples/node_and_python/python_side.py"))["SIGNAL"]
    path = "live/dump/data/signal/BTCUSDT_my_strategy_binance/BTCUSDT.json"
    engine = json.loads((ROOT / "tests/golden/engine-19.5.0" / path).read_bytes())
    later = {"_partial", "_trailingPriceStopLoss"}  # added later in the life of a position
    assert set(example) == set(engine) - later
    assert set(example["_peak"]) == set(engine["_peak"])
    assert {name: type(example[name]) for name in example} == {name: type(engine[name]) for name in example}


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_page_of_typed_payloads_shows_what_is_printed(number: int, tmp_path: Path) -> None:
    code, text = SHOWN[number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PROCESS_SECONDS,
        check=False,
    )
    assert (done.stdout, done.stderr) == (text, "")


def test_page_of_typed_payloads_has_the_model_of_each_slot() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \| (`\w+`.*?) \| (.*) \|$", TYPED, re.MULTILINE)
    shown = {name: (kinds, needs) for names, kinds, needs in rows for name in names.split(", ")}
    for name, model in MODELS.items():
        kinds, needs = shown[name]
        assert f"`{model.__name__}`" in kinds, name
        fields: frozenset[str] = getattr(model, "ENGINE_NEEDS", frozenset())
        assert name == "candle" or all(f"`{field}`" in needs for field in fields), name
        assert fields or not re.search(r"`[a-z]\w*`", needs), name
    assert set(MODELS) <= set(shown)

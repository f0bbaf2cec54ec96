"""The documentation against the table and the configuration."""

from __future__ import annotations

import re
from pathlib import Path

from backtest_mongo import SLOTS
from backtest_mongo.config import Config

ROOT = Path(__file__).parent.parent


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

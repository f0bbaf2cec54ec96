"""The public names, and what is promised of them as a whole."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, BacktestMongoError, errors

ROOT = Path(backtest_mongo.__file__).parent
PROJECT = ROOT.parent


def test_all_is_sorted_exact_and_has_every_adapter() -> None:
    names = set(backtest_mongo.__all__)
    assert len(names) == len(backtest_mongo.__all__)
    assert {spec.class_name for spec in SLOTS} <= names
    public = {name for name in dir(backtest_mongo) if name[0] != "_"}
    assert {name for name in public if not inspect.ismodule(getattr(backtest_mongo, name))} == names
    with pytest.raises(AttributeError, match="has no attribute 'SignalAdaptor'"):
        backtest_mongo.SignalAdaptor  # type: ignore[attr-defined]  # noqa: B018  # looked up for its error
    assert set(errors.__all__) <= names


def test_every_public_name_is_documented() -> None:
    for name in backtest_mongo.__all__:
        if name not in ("SLOTS", "persist"):
            assert getattr(backtest_mongo, name).__doc__, name


def test_errors_are_one_family_and_survive_a_process_pool() -> None:
    import pickle

    for name in errors.__all__:
        error = getattr(errors, name)("it failed", slot="state", collection="state-items", key={"a": "b"}, hint="wait")
        assert isinstance(error, BacktestMongoError)
        assert str(error) == "state: it failed (wait)"
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    assert issubclass(errors.InputTypeError, TypeError)
    assert issubclass(errors.InputError, ValueError)


@pytest.mark.parametrize(
    "module", ["rich", "typer", "matplotlib", "numpy", "pcodec", "pytest", "backtest_mongo.embedded"]
)
def test_import_loads_nothing_that_is_not_needed_yet(module: str) -> None:
    code = f"import sys; from backtest_mongo import *; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_import_opens_nothing_and_needs_no_loop() -> None:
    code = "from backtest_mongo import *; import threading; assert threading.active_count() == 1"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


def test_package_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()


def test_version_is_in_one_place() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert backtest_mongo.__version__
    assert f"## [{backtest_mongo.__version__}]" in (PROJECT / "CHANGELOG.md").read_text()

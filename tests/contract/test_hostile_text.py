"""Text that other layers take for commands is stored as text, and never run."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Final

import pytest

import backtest_mongo
from backtest_mongo import CandleAdapter, InputError
from backtest_mongo.adapters import ADAPTERS
from tests.conftest import Deployment
from tests.support import uniform

pytestmark = pytest.mark.either_driver


PACKAGE: Final = str(Path(backtest_mongo.__file__).parent)


# What other layers take for more than text: MongoDB, its shell, Redis' protocol, patterns and hash tags.
HOSTILE: Final = (
    '{"$ne": null}',
    "$where",
    "$$ROOT",
    "x\r\nFLUSHALL\r\n",
    "*",
    "{tag}",
    "' || '1'=='1",
    "; db.dropDatabase()",
    "../../etc/passwd",
    "%00",
    "__proto__",
)


@pytest.mark.parametrize("driver", ["pymongo"])
@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_nothing_but_text(deployment: Deployment, unique: str, text: str) -> None:
    redis = await backtest_mongo.get_redis()
    await redis.set(f"canary-{unique}", "alive")
    for name in ADAPTERS:
        spec = ADAPTERS[name].spec
        if spec.shape == "series":
            continue
        texts = {part: f"{text}{unique}" for part in spec.context if part != "backtest"}
        hostile, victim = uniform.adapter(spec, unique, **texts), uniform.adapter(spec, unique)
        value = {text: {text: text, "n": [text]}, "removed": False}
        payload = [[text, value]] if spec.payload == "list" else value
        key = f"{text}{unique}"
        await uniform.write(victim, uniform.payload(spec), unique)
        await uniform.write(hostile, payload, key)
        assert await uniform.read(hostile, key) == uniform.stored(spec, payload)
        if spec.shape == "bucket":
            await getattr(hostile, f"remove_{spec.noun}_data")(key)
            assert await uniform.read(hostile, key) is None
        # Log entries have no context, so that only the victim's key distinguishes them.
        assert await uniform.read(victim, unique) == uniform.stored(spec, uniform.payload(spec))
    assert await redis.getdel(f"canary-{unique}") == b"alive"


@pytest.mark.parametrize("value", [{"$gt": 0}, {"$numberLong": "1"}, [0], "0"], ids=repr)
async def test_operator_in_a_candle_or_its_window_is_refused(deployment: Deployment, unique: str, value: Any) -> None:
    candles = CandleAdapter(unique, "1m", "x")
    for arguments in ((value, 0), (1, value), (1, 0, value)):
        with pytest.raises(InputError, match=r"^candle: "):
            await candles.read_candles_data(*arguments)
    for name in ("timestamp", "open", "volume"):
        given: list[Any] = [{**uniform.candles(1)[0], name: value}]
        with pytest.raises(InputError, match=rf"^candle: candles\[0\]\.{name} "):
            await candles.write_candles_data(given)
    assert await deployment.rows(candles.spec) == []


#: Each would run what it is given. The linter looks for them as well; this holds where its settings change.
NEVER: Final = {"eval", "exec", "compile", "__import__", "pickle", "marshal", "shelve", "dill", "system", "popen"}
#: The adapters' own source, made at import time of the slot table: templates of the package, and checked identifiers.
EXPANSION: Final = [
    "expansion.py: compile(source, filename, 'exec')",
    "expansion.py: exec(code, {'__name__': module, **_NAMES}, namespace)",
]
#: Copies of payloads in memory, whose bytes never leave the process.
COPIES: Final = ["payload.py: import marshal"]


def test_the_package_runs_no_text_and_unpickles_nothing() -> None:
    found = []
    for path in Path(PACKAGE).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Call):
                names = [node.func.id] if isinstance(node.func, ast.Name) else []
                if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in ("os", "builtins"):
                    names = [node.func.attr]
                names += ["shell"] if any(keyword.arg == "shell" for keyword in node.keywords) else []
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"{path.name}: {ast.unparse(node)}" for name in names if name in {*NEVER, "shell"}]
    assert sorted(found) == [*EXPANSION, *COPIES]

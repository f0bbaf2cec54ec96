"""Lists of storage, notifications and log by strategy, symbol and time, with both drivers, in SQLite and in files."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import InputError, InputTypeError, SlotSpec
from backtest_mongo.core.background import finish_background
from backtest_mongo.core.selection import PayloadFilter
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.usefixtures("deployment"), pytest.mark.either_driver]

COLLECTIONS = pytest.mark.shapes("collection")
GOLDEN = Path(__file__).parents[1] / "golden" / "engine-19.5.0"


def make_row(spec: SlotSpec, number: int, strategy: Any, symbol: Any, time: Any) -> dict[str, Any]:
    """Return a row as the engine has it, with an id in the order of the numbers."""
    row: dict[str, Any] = {"id": f"row-{number:04}", "timestamp": time}
    if spec.name == "log":
        return row | {"methodContext": {"strategyName": strategy}, "executionContext": {"symbol": symbol}}
    return row | {"strategyName": strategy, "symbol": symbol}


async def write(adapter: Any, rows: list[dict[str, Any]]) -> None:
    await getattr(adapter, f"write_{adapter.spec.noun}_data")(rows)


async def read(adapter: Any, **arguments: Any) -> list[Any]:
    rows: list[Any] = await getattr(adapter, f"read_{adapter.spec.noun}_data")(**arguments)
    return rows


async def fill(adapter: Any, count: int = 24) -> list[dict[str, Any]]:
    """Store rows of two strategies on three symbols, a second apart."""
    rows = [make_row(adapter.spec, n, f"s{n % 2}", f"m{n % 3}", WHEN + 1_000 * n) for n in range(count)]
    await write(adapter, rows)
    return rows


@COLLECTIONS
async def test_list_has_the_rows_of_a_strategy_and_a_symbol_in_its_order(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = await fill(adapter)
    for _ in range(2):  # without and with the indexes
        assert await read(adapter, strategy_name="s1") == rows[1::2]
        assert await read(adapter, symbol="m2") == rows[2::3]
        assert await read(adapter, strategy_name="s0", symbol="m0") == rows[::6]
        assert await read(adapter, strategy_name="s0", symbol=None) == rows[::2]
        assert await read(adapter, strategy_name="s2") == []
        assert await read(adapter, strategy_name="m0") == []
        assert await read(adapter) == rows
        await finish_background()


@COLLECTIONS
async def test_both_ends_of_a_time_are_part_of_it(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = await fill(adapter)
    for _ in range(2):
        assert await read(adapter, since=WHEN + 3_000, until=WHEN + 5_000) == rows[3:6]
        assert await read(adapter, since=WHEN + 22_001) == rows[23:]
        assert await read(adapter, until=WHEN + 999) == rows[:1]
        assert await read(adapter, since=WHEN + 4_000, until=WHEN + 3_000) == []
        moment = datetime.fromtimestamp(WHEN / 1_000, UTC)
        assert await read(adapter, until=moment, strategy_name="s0") == rows[:1]
        assert await read(adapter, strategy_name="s1", symbol="m1", since=WHEN + 2_000) == rows[7::6]
        await finish_background()


@pytest.mark.slots("newest")
@COLLECTIONS
async def test_limit_counts_the_rows_that_are_wanted(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = await fill(adapter)
    for _ in range(2):
        assert await read(adapter, limit=3, strategy_name="s1", symbol="m1") == rows[1::6][-3:]
        assert await read(adapter, limit=2, until=WHEN + 9_000) == rows[8:10]
        await finish_background()


@COLLECTIONS
async def test_filtered_list_is_complete_beyond_one_page(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = await fill(adapter, 4_200)
    limit = {"limit": 4_200} if spec.newest else {}
    for _ in range(2):
        assert await read(adapter, strategy_name="s1", **limit) == rows[1::2]
        assert await read(adapter, since=WHEN + 5_000, **limit) == rows[5:]
        await finish_background()


#: What no filter takes for the text "s0" or for a number of milliseconds.
STRANGE: list[Any] = [None, 0, True, ["s0"], {"s0": 1}, [["s0"]], "S0", "s0 ", b"s0", 5.5, [WHEN], {"$gt": ""}]
TIMELESS: list[Any] = [
    None,
    True,
    str(WHEN),
    [WHEN],
    {"a": WHEN},
    math.nan,
    math.inf,
    -math.inf,
    Decimal(WHEN),
    datetime.fromtimestamp(WHEN / 1_000, UTC),
]


@COLLECTIONS
async def test_payload_with_something_else_there_is_not_wanted(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    strange = [make_row(spec, n, value, value, WHEN) for n, value in enumerate(STRANGE)]
    timeless = [make_row(spec, 100 + n, "s1", "m1", value) for n, value in enumerate(TIMELESS)]
    bare: list[dict[str, Any]] = [
        {"id": "row-0200"},
        {"id": "row-0201", "methodContext": None, "executionContext": [{"symbol": "s0"}]},
    ]
    wanted = [make_row(spec, 300, "s0", "s0", float(WHEN)), make_row(spec, 301, "s0", "s0", WHEN)]
    for _ in range(2):  # rows are written without and with the indexes
        await write(adapter, strange + timeless + bare + wanted)
        assert await read(adapter, strategy_name="s0") == wanted
        assert await read(adapter, symbol="s0") == wanted
        assert await read(adapter, symbol="s0", strategy_name="s0", since=WHEN, until=WHEN) == wanted
        everything = await read(adapter, since=0, until=WHEN)
        assert everything == [*strange, *wanted]
        assert await read(adapter, since=0) == everything
        assert await read(adapter, until=WHEN) == everything
        await finish_background()


@COLLECTIONS
async def test_rows_of_the_engine_are_found(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = {}
    for path in GOLDEN.rglob(f"{spec.name}/**/*.json"):
        if not path.name.startswith(".tmp-"):  # an unfinished write
            row = json.loads(path.read_bytes())
            rows[row["id"]] = row
    await write(adapter, list(rows.values()))
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        of_symbol = {name for name, row in rows.items() if (row.get("executionContext") or row).get("symbol") == symbol}
        assert of_symbol
        assert {row["id"] for row in await read(adapter, symbol=symbol, strategy_name="my_strategy")} == of_symbol
    times = sorted(row["timestamp"] for row in rows.values())
    early = {name for name, row in rows.items() if row["timestamp"] <= times[len(times) // 2]}
    found = await read(adapter, until=times[len(times) // 2], strategy_name="my_strategy")
    assert {row["id"] for row in found} == early


@pytest.mark.mongodb("writes as Node does")
@COLLECTIONS
async def test_rows_of_node_have_their_times_as_doubles(spec: SlotSpec, unique: str, deployment: Deployment) -> None:
    adapter = uniform.adapter(spec, unique)
    row = make_row(spec, 1, "s1", "m1", float(WHEN))
    document = {**uniform.natural_key(adapter, row["id"]), "payload": row, "createDate": datetime.now(UTC), "__v": 0}
    await (await deployment.collection(spec)).insert_one(document)
    assert await read(adapter, strategy_name="s1", symbol="m1", since=WHEN, until=WHEN) == [row]


@COLLECTIONS
async def test_backtest_and_live_rows_are_filtered_apart(spec: SlotSpec, unique: str) -> None:
    if "backtest" not in spec.context:
        return
    rows = await fill(uniform.adapter(spec, unique, backtest=True))
    await write(uniform.adapter(spec, unique, backtest=False), rows[:2])
    assert await read(uniform.adapter(spec, unique, backtest=False), strategy_name="s0") == rows[:1]


@COLLECTIONS
async def test_wrong_argument_is_refused(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    with pytest.raises(InputTypeError, match=f"{spec.name}: symbol must be a str, not int"):
        await read(adapter, symbol=1)
    with pytest.raises(InputTypeError, match="strategy_name must be a str, not dict"):
        await read(adapter, strategy_name={"$gt": ""})
    with pytest.raises(InputError, match="symbol must not hold a NUL character"):
        await read(adapter, symbol="\0")
    with pytest.raises(InputTypeError, match="since must be"):
        await read(adapter, since="2024-01-01")
    with pytest.raises(InputError, match="until must not be a naive datetime"):
        await read(adapter, until=datetime(2024, 1, 1))  # it is what the test is about
    with pytest.raises(TypeError, match="exchange_name"):
        await read(adapter, exchange_name="binance")


@pytest.mark.mongodb("asks the server how it finds rows")
@COLLECTIONS
async def test_index_of_a_filter_is_made_by_its_first_use_and_used_by_the_next(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = [make_row(spec, n, f"s{n % 10}", "m", WHEN + n) for n in range(200)]
    await write(adapter, rows)
    await read(adapter)
    await finish_background()
    collection = await deployment.collection(spec)
    before = set(await collection.index_information())
    await read(adapter, strategy_name="s3", since=WHEN)
    await finish_background()
    made = set(await collection.index_information()) - before
    assert {name.rpartition("payload.")[2].split("_")[0] for name in made} == {
        "methodContext.strategyName" if spec.name == "log" else "strategyName",
        "timestamp",
    }
    database = collection.database
    await database.command("profile", 2)
    assert await read(adapter, strategy_name="s3") == rows[3::10]
    assert await read(adapter, since=WHEN + 190) == rows[190:]
    await database.command("profile", 0)
    query = {"op": "query", "ns": f"{database.name}.{spec.collection}"}
    found = await database["system.profile"].find(query).sort("ts").to_list(None)
    assert [(one["docsExamined"], one["nreturned"]) for one in found] == [(20, 20), (10, 10)]
    assert not found[0].get("hasSortStage")


@pytest.mark.mongodb("fails a command of the server")
async def test_list_is_complete_where_the_index_can_t_be_made(deployment: Deployment, unique: str) -> None:
    adapter = backtest_mongo.NotificationAdapter(True)
    rows = await fill(adapter)
    collection = await deployment.collection(adapter.spec)
    # An index of the same name on other fields.
    name = "backtest_1_payload.strategyName_1_createDate_1__id_1"
    await collection.create_index([("other", 1)], name=name)
    assert await read(adapter, strategy_name="s1") == rows[1::2]
    await finish_background()
    assert await read(adapter, strategy_name="s1") == rows[1::2]


def test_payload_is_compared_along_its_path() -> None:
    where = PayloadFilter(texts=(("a.b", "x"),), time="t", since=1, until=3)
    assert where.matches({"a": {"b": "x"}, "t": 2.5})
    assert not where.matches({"a": {"b": "x"}, "t": 4})
    assert not where.matches({"a": {"b": "x"}})
    assert not where.matches({"a.b": "x", "t": 2})
    assert not where.matches({"a": [{"b": "x"}], "t": 2})
    assert not where.matches(None)

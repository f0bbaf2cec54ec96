"""Rows with long texts, on MongoDB and on SQLite: however many are written or sealed together, all are stored."""

from __future__ import annotations

import os
from itertools import pairwise, product
from typing import Any, Final, Literal

import numpy as np
import pytest

from backtest_mongo import (
    Column,
    InputError,
    SlotSpec,
    StoreError,
    import_dump,
    persist,
    rename_strategy,
    setup,
)
from backtest_mongo.columns.row_input import read_rows
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.background import finish_background
from backtest_mongo.market_data import import_series
from backtest_mongo.series.columns.blocks import Partition, SeriesBlocks, get_position
from backtest_mongo.series.columns.store import MongoColumns
from backtest_mongo.sqlite.columns import SQLiteColumns
from backtest_mongo.types import Coverage
from tests.conftest import Deployment, operations
from tests.support.column_stores import shrink_bytes

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]

_KINDS: Final[list[tuple[str, Literal["", "int64", "str"], bool]]] = [
    ("own_news", "", False),
    ("own_notes", "int64", True),
    ("own_remarks", "str", False),
]
SPECS: Final = {
    name: SlotSpec(
        name=name,
        shape="series",
        context=("strategy_name", "symbol"),
        key=("strategyName", "symbol", "timestamp", *(("place",) if sequence else ())),
        unit="us",
        sequence=sequence,
        immutable=immutable,
        columns=(Column("text", "str"),),
    )
    for name, sequence, immutable in _KINDS
}
both = pytest.mark.parametrize("slot", ["own_notes", "own_remarks"])
#: The bytes of a block and of a group, where they are small, and of a text that is neither long nor short.
BLOCK, GROUP, TEXT = 900, 600, 100


@pytest.fixture(autouse=True)
def slots(deployment: Deployment) -> None:
    for spec in SPECS.values():
        persist.register(spec)


@pytest.fixture
def small(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of so few bytes that rows of one time need several in MongoDB."""
    shrink_bytes(monkeypatch, GROUP, BLOCK)
    monkeypatch.setattr("backtest_mongo.series.columns.blocks.PAGE", 2)
    monkeypatch.setattr("backtest_mongo.series.columns.blocks._CANDIDATES", 3)
    monkeypatch.setattr("backtest_mongo.series.columns.heads._FRESH_SECONDS", 0.0)
    monkeypatch.setattr("backtest_mongo.series.columns.heads._RAISING_SECONDS", 0.0)


@pytest.fixture
def series(deployment: Deployment, slot: str, unique: str) -> Any:
    return series_of(slot, unique)


def series_of(slot: str, strategy: str) -> Any:
    return getattr(persist, slot)(strategy, "BTC")


def make(slot: str, time: int, place: int, text: str = "") -> dict[str, Any]:
    """Return a row; without a text, one that says which row it is."""
    named: dict[str, dict[str, Any]] = {
        "": {},
        "int64": {"place": place},
        "str": {"place": f"p{place:03}"},
    }
    return {"timestamp": time, **named[SPECS[slot].sequence], "text": text or f"{time} {place} ".ljust(TEXT, "x")}


def crowd(slot: str, *times: int, places: range = range(20)) -> list[dict[str, Any]]:
    """Return many rows of each time."""
    return [make(slot, time, place) for time, place in product(times, places)]


async def check(series: Any, rows: list[dict[str, Any]]) -> None:
    """Check that these are the rows, by every kind of read, and that nothing is damaged."""
    assert await series.read_last(10_000) == rows
    times = sorted({row["timestamp"] for row in rows})
    assert await series.coverage() == (Coverage(times[0], times[-1], len(rows)) if rows else Coverage(None, None, 0))
    for count in range(1, len(rows), 7):
        assert await series.read_last(count) == rows[-count:]
    for first, last in ((time, time + step) for time in times for step in (1, 2)):
        frame = await series.read_frame(first, last, columns=["text"], as_="numpy")
        assert frame["text"].tolist() == [row["text"] for row in rows if first <= row["timestamp"] < last]
    assert (await series.verify()).damaged == {}


async def list_blocks(series: Any) -> list[dict[str, Any]]:
    """Return the blocks of MongoDB that have rows."""
    documents = current_hub().get_database(series.spec)[f"{series.spec.name.replace('_', '-')}-blocks"]
    found: list[dict[str, Any]] = await documents.find({"rows": {"$gt": 0}}).to_list(None)
    return found


def noise(length: int) -> str:
    return os.urandom(length // 2).hex()


# Of the sizes that there are


@pytest.mark.heavy
async def test_tail_with_long_texts_is_sealed(deployment: Deployment, unique: str) -> None:
    series = series_of("own_news", unique)
    for at in range(0, 70_000, 1_000):
        assert await series.append([make("own_news", at + row, 0, noise(600)) for row in range(1_000)]) == 1_000
    await series.seal()
    size = await series.size()
    assert (size.tail_groups, size.block_rows) == (0, 70_000)
    assert size.blocks >= 3
    assert await series.coverage() == Coverage(0, 69_999, 70_000)
    assert (await series.verify()).damaged == {}


@pytest.mark.heavy
async def test_many_rows_with_long_texts_are_appended_in_one_call(deployment: Deployment, unique: str) -> None:
    series = series_of("own_news", unique)
    rows = [make("own_news", at, 0, noise(4_000)) for at in range(10_000)]
    assert await series.append(rows) == 10_000
    assert await series.read_last(10_000) == rows
    await series.seal()
    assert (await series.size()).block_rows == 10_000


@pytest.mark.heavy
async def test_frame_with_long_texts_is_written(deployment: Deployment, unique: str) -> None:
    series = series_of("own_news", unique)
    rows = [make("own_news", at, 0, noise(2_000)) for at in range(40_000)]
    assert (await series.write_frame(rows)).new == 40_000
    assert await series.read_last(1_000) == rows[-1_000:]
    assert await series.coverage() == Coverage(0, 39_999, 40_000)


@pytest.mark.heavy
@both
async def test_rows_of_one_time_may_have_more_bytes_than_a_document(series: Any, slot: str) -> None:
    rows = [make(slot, 5, place, noise(4_000)) for place in range(900)]
    for at in range(0, 900, 300):
        await series.write_frame(rows[at : at + 300])
    more = [make(slot, 5, place, noise(40_000)) for place in range(900, 1_500)]
    assert (await series.write_frame(more)).new == 600
    late = make(slot, 5, 1_500, noise(4_000))
    await series.append([late])
    await series.seal()
    assert (await series.size()).tail_groups == 0
    expected = sorted([*rows, *more, late], key=lambda row: row["place"])
    assert await series.read_last(2_000) == expected


@pytest.mark.heavy
@pytest.mark.mongodb("the limit is MongoDB's")
async def test_row_that_is_hardly_small_enough_is_stored_sealed_and_watched(
    deployment: Deployment, unique: str
) -> None:
    series = series_of("own_remarks", unique)
    row = make("own_remarks", 1, 0, noise(11_999_000))
    async with series.watch() as changes:
        assert await series.append([row]) == 1
        assert (await anext(changes)).payload == [row]
    await series.seal()
    assert await series.read_last(1) == [row]


async def test_numbers_of_many_columns_are_cut_by_bytes_too(deployment: Deployment, unique: str) -> None:
    """A block of 65,536 such rows would be over the limit of a document."""
    ticks = persist.tick(unique, "x")
    random, count = np.random.default_rng(1), 66_000
    kinds = {column.name: column.type for column in ticks.spec.columns}
    frame: dict[str, Any] = {"timestamp": np.arange(count) * 1_000}
    for name in (name for name, kind in kinds.items() if kind == "float64"):
        frame[name] = random.random(count)
    for name in (name for name, kind in kinds.items() if kind == "int64"):
        frame[name] = random.integers(0, 2**62, count)
    assert (await ticks.write_frame(frame)).new == count
    size = await ticks.size()
    assert (size.blocks, size.block_rows) == (2, count)


# Single rows


async def test_row_that_is_too_large_is_refused_by_its_place(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SQLiteColumns, "row_bytes", 12_000_000)  # so that less than 900 MB are needed
    series = series_of("own_notes", unique)
    rows = [make("own_notes", 9 - at, 0, "x" * (12_000_000 if at == 3 else 5)) for at in range(5)]
    with pytest.raises(
        InputError, match=r"own_notes: rows\[3\] has 12,000,0\d\d bytes, and .* rows of up to 12,000,000"
    ):
        await series.append(rows)
    with pytest.raises(InputError, match=r"own_notes: the frame's row 3 has 12,000,0\d\d bytes"):
        await series.write_frame(rows)
    assert await series.read_last(10) == []
    assert [context async for context in type(series).list_contexts()] == []


@pytest.mark.mongodb("only MongoDB takes smaller rows than SQLite")
async def test_rows_of_a_file_that_are_too_large_are_left_out_and_named(
    deployment: Deployment, unique: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = crowd("own_notes", 1, places=range(4))
    rows[2]["text"] = "x" * 5_000
    persist.use_sqlite(tmp_path / "backtest.db")
    await series_of("own_notes", unique).append(rows)
    await setup(deployment.config)
    monkeypatch.setattr("backtest_mongo.series.columns.store.MongoColumns.row_bytes", 1_000)
    report = await import_dump(tmp_path / "backtest.db", apply=True)
    (counted,) = report.slots
    assert (counted.files, counted.added, counted.refused) == (4, 3, 1)
    (problem,) = report.problems
    assert "has 5,0" in problem.problem
    assert await series_of("own_notes", unique).read_last(10) == [row for row in rows if row is not rows[2]]


async def test_lines_that_are_too_large_are_bad_ones(
    deployment: Deployment, unique: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for store in ("series.columns.store.MongoColumns", "sqlite.columns.SQLiteColumns"):
        monkeypatch.setattr(f"backtest_mongo.{store}.row_bytes", 1_000)
    file, first = tmp_path / "notes.csv", 1_704_067_200_000_000
    lines = [f"{first},{place},{text}" for place, text in enumerate(("short", "x" * 2_000, "short"))]
    file.write_text("\n".join(["timestamp,place,text", *lines, ""]))
    kind: Any = type(series_of("own_notes", unique))
    report = await import_series(kind, {"strategy_name": unique, "symbol": "BTC"}, [file])
    assert report.unreadable == []
    assert (report.new, report.bad_lines, report.is_complete) == (2, 1, False)
    assert report.bad == [f"{file}:3  has 2,048 bytes, and the database takes rows of up to 1,000"]


# Small blocks, whose rows are few


@both
@pytest.mark.usefixtures("small")
async def test_rows_of_one_time_in_several_blocks_are_read_changed_and_deleted(series: Any, slot: str) -> None:
    rows = crowd(slot, 3, 5, 5 + 2)
    assert (await series.write_frame(rows)).new == 60
    await check(series, rows)
    late = [make(slot, 5, place, f"late {place} ".ljust(TEXT, "y")) for place in (-3, 4, 30)]
    if slot == "own_remarks":
        late[0]["place"] = "a"  # before all others
    keys = {(row["timestamp"], row["place"]): row for row in rows}
    for row in late:
        assert await series.append([row]) == (0 if slot == "own_notes" and row["place"] == 4 else 1)
        key = (row["timestamp"], row["place"])
        keys[key] = keys.get(key, row) if slot == "own_notes" else row
    rows = [keys[key] for key in sorted(keys)]
    await check(series, rows)
    await series.seal()
    await check(series, rows)
    assert (await series.size()).tail_groups == 0
    again = await series.append(rows)
    assert again == (0 if slot == "own_notes" else len(rows))
    await series.seal()
    await check(series, rows)
    assert await series.delete(5, 6) == 22
    left = [row for row in rows if row["timestamp"] != 5]
    await check(series, left)
    assert await series.append(crowd(slot, 5, places=range(3))) == 3
    await series.seal()
    left = sorted([*left, *crowd(slot, 5, places=range(3))], key=lambda row: (row["timestamp"], row["place"]))
    await check(series, left)
    assert await series.delete() == 43
    await check(series, [])


@pytest.mark.mongodb("it inspects blocks of MongoDB")
@both
@pytest.mark.usefixtures("small")
async def test_blocks_have_so_many_bytes_and_each_says_where_the_next_one_starts(series: Any, slot: str) -> None:
    for row in crowd(slot, 3, 5, 7):
        await series.append([row])
    await series.seal()
    blocks = sorted(await list_blocks(series), key=get_position)
    assert len([block for block in blocks if block.get("startSequence") is not None]) >= 6
    assert max(block["rows"] for block in blocks) * TEXT <= BLOCK
    for block, following in pairwise(blocks):
        assert (block["end"], block.get("endSequence")) == (following["start"], following.get("startSequence"))


@pytest.mark.heavy
@pytest.mark.mongodb("it damages blocks of MongoDB")
@both
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("field", ["", "startSequence", "endSequence", "end", "rows"])
async def test_damage_to_one_of_several_blocks_of_a_time_is_never_a_gap(series: Any, slot: str, field: str) -> None:
    rows = crowd(slot, 3, 5, 7)
    await series.write_frame(rows)
    documents = current_hub().get_database(series.spec)[f"{slot.replace('_', '-')}-blocks"]
    blocks = sorted([block for block in await list_blocks(series) if block["first"] == 5], key=get_position)
    assert len(blocks) > 2
    for block in (blocks[0], blocks[1], blocks[-1]):
        name = {"_id": block["_id"]}
        await documents.delete_one(name)
        for instead in (99, "text") if field else (None,):
            if field:
                await documents.insert_one({**block, field: instead})
            for read in (series.read_last(100), series.read_frame(5, 6), series.read_frame(as_="numpy")):
                with pytest.raises(StoreError, match=r"is missing|has changed|is damaged"):
                    await read
            assert (await series.verify()).damaged
            before = [row for row in rows if row["timestamp"] == 3]
            assert (await series.read_frame(3, 4, as_="numpy"))["text"].tolist() == [row["text"] for row in before]
            await documents.delete_one(name)
        await documents.insert_one(block)
    await check(series, rows)
    for block in blocks[1:]:
        await documents.delete_one({"_id": block["_id"]})
    await series.delete(5, 7)  # what is missing may have had rows until then
    await check(series, [row for row in rows if row["timestamp"] != 5])
    assert await series.append(crowd(slot, 5)) == 20
    await series.seal()
    await check(series, rows)


@both
@pytest.mark.usefixtures("small")
async def test_series_is_renamed_in_steps(series: Any, slot: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest_mongo.series.columns.renaming._STEP_BYTES", 1)
    rows = crowd(slot, 3, 5)
    await series.write_frame(rows)
    await series.append(crowd(slot, 5, places=range(20, 22)))
    rows += crowd(slot, 5, places=range(20, 22))
    await rename_strategy(unique, f"{unique}_new")
    renamed = series_of(slot, f"{unique}_new")
    await check(renamed, rows)
    await check(series, [])
    await renamed.seal()
    await check(renamed, rows)


@pytest.mark.usefixtures("small")
async def test_tail_is_sealed_in_the_background_when_it_has_the_bytes_of_a_block(
    deployment: Deployment, unique: str
) -> None:
    series = series_of("own_notes", unique)
    for at in range(40):
        await series.append(crowd("own_notes", at, places=range(2)))
    await finish_background()
    size = await series.size()
    assert size.blocks > 0
    assert size.tail_rows < 40
    await check(series, [row for at in range(40) for row in crowd("own_notes", at, places=range(2))])


@pytest.mark.mongodb("it inspects blocks of MongoDB")
@pytest.mark.usefixtures("small")
async def test_full_blocks_stay_as_they_are_when_rows_are_written_behind_them(
    deployment: Deployment, unique: str
) -> None:
    series = series_of("own_notes", unique)
    await series.write_frame(crowd("own_notes", *range(20), places=range(1)))
    before = {block["_id"] for block in await list_blocks(series)}
    await series.write_frame(crowd("own_notes", *range(20, 40), places=range(1)))
    for time in range(40, 60):
        await series.append([make("own_notes", time, 0)])
    await series.seal()
    blocks = await list_blocks(series)
    assert len(before & {block["_id"] for block in blocks}) >= len(before) - 1
    assert len(blocks) < 12
    await check(series, crowd("own_notes", *range(60), places=range(1)))


# Late rows


@pytest.mark.mongodb("it counts the blocks of MongoDB that are read")
@pytest.mark.parametrize("listed", [7, 4_096])
async def test_late_rows_are_looked_for_in_their_own_blocks_alone(
    deployment: Deployment, unique: str, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.columns.merging.BLOCK_ROWS", 4)
    monkeypatch.setattr("backtest_mongo.series.columns.store._MANY", 4)
    monkeypatch.setattr("backtest_mongo.series.columns.blocks.PAGE", 2)
    monkeypatch.setattr("backtest_mongo.series.columns.blocks._LISTED", listed)
    series = series_of("own_notes", unique)
    await series.write_frame([make("own_notes", 10 * time, 0) for time in range(400)])
    counts = current_hub().counts["own_notes"]

    async def append(*keys: tuple[int, int]) -> tuple[int, int]:
        """Return how many rows were new, and how many blocks were read."""
        blocks = counts.blocks
        new = await series.append([make("own_notes", *key) for key in keys])
        return new, counts.blocks - blocks

    assert await append((15, 0), (3_975, 0)) == (2, 2)
    assert await append((10, 0), (3_970, 0)) == (0, 2)
    assert await append((10, 1), (2_000, 0), (3_970, 1)) == (2, 3)
    assert await append((-1, 0), (9_000, 0)) == (2, 0)
    if listed > 400:
        before = await operations()
        await append((25, 0), (3_985, 0))
        assert (await operations() - before)["query"] < 10
    blocks = counts.blocks
    assert (await series.coverage()).rows == 400 + 2 + 2 + 2 + (2 if listed > 400 else 0)
    assert counts.blocks - blocks < 12
    assert [row["timestamp"] for row in await series.read_last(2)] == [3_990, 9_000]


@pytest.mark.mongodb("it replaces blocks of MongoDB")
async def test_late_rows_are_found_in_blocks_that_are_replaced_meanwhile(
    deployment: Deployment, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backtest_mongo.columns.merging.BLOCK_ROWS", 4)
    monkeypatch.setattr("backtest_mongo.series.columns.store._MANY", 4)
    series = series_of("own_notes", unique)
    await series.write_frame([make("own_notes", 10 * time, 0) for time in range(40)])
    await series.append([make("own_notes", 55, 0), make("own_notes", 305, 0)])
    listing, sealed = SeriesBlocks._list_holding, 0
    others = read_rows(SPECS["own_notes"], [make("own_notes", time, 0) for time in (52, 302)])

    async def list_and_seal(*arguments: Any) -> list[Partition]:
        nonlocal sealed
        found = await listing(*arguments)
        if sealed < 2:
            sealed += 1
            other = MongoColumns(current_hub(), SPECS["own_notes"])
            if sealed == 2:
                await other.insert(series._context, others)
            assert [step async for step in other.seal_rows(series._context)]
        return found

    monkeypatch.setattr(SeriesBlocks, "_list_holding", list_and_seal)
    assert await series.append([make("own_notes", 50, 0, "another"), make("own_notes", 300, 1)]) == 1
    assert sealed == 2
    assert await series.coverage() == Coverage(0, 390, 45)

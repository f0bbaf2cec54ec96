"""Parts of a bucket: ranges of keys, the newest ones, and prefixes, with both drivers, in SQLite and in files."""

from __future__ import annotations

from typing import Any

import pytest

from backtest_mongo import InputError, InputTypeError, SlotSpec
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import WHEN, listed, payload, write

pytestmark = [
    pytest.mark.one_python,
    pytest.mark.usefixtures("deployment"),
    pytest.mark.either_driver,
    pytest.mark.shapes("bucket"),
]

#: The order of code points, which is neither that of UTF-16 nor any language's.
IN_ORDER = [
    "",
    "A",
    "B",
    "a",
    "a.",
    "a.b",
    "aa",
    "ab",
    "b",
    "é",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
]


async def fill(adapter: Any, keys: list[str]) -> None:
    """Store a row of each key, whose payload names it, in another order."""
    for key in keys[1::2] + keys[::2]:
        await write(adapter, {"key": key}, key)


def pairs(keys: list[str]) -> list[tuple[str, dict[str, str]]]:
    return [(key, {"key": key}) for key in keys]


async def ranged(adapter: Any, *bounds: str | None, **arguments: Any) -> list[tuple[str, Any]]:
    return [row async for row in getattr(adapter, f"range_{adapter.spec.noun}_data")(*bounds, **arguments)]


async def newest(adapter: Any, limit: int, **arguments: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = await getattr(adapter, f"newest_{adapter.spec.noun}_data")(limit, **arguments)
    return found


async def list_keys(adapter: Any, **arguments: Any) -> list[str]:
    return [row[0] if adapter.spec.items else row for row in await listed(adapter, **arguments)]


async def test_range_without_bounds_has_all_rows_in_the_order_of_code_points(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, IN_ORDER)
    assert await ranged(adapter) == pairs(IN_ORDER)
    assert await ranged(adapter, newest_first=True) == pairs(IN_ORDER[::-1])


async def test_both_ends_of_a_range_are_part_of_it(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, IN_ORDER)
    assert await ranged(adapter, "a", "b") == pairs(["a", "a.", "a.b", "aa", "ab", "b"])
    assert await ranged(adapter, "a", "b", newest_first=True) == pairs(["b", "ab", "aa", "a.b", "a.", "a"])
    assert await ranged(adapter, "\U00010000") == pairs(["\U00010000", "\U0010ffff"])
    assert await ranged(adapter, None, "B") == pairs(["", "A", "B"])
    assert await ranged(adapter, last="") == pairs([""])
    assert await ranged(adapter, "aba", "azz") == []
    assert await ranged(adapter, "b", "a") == []


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("", IN_ORDER),
        ("a", ["a", "a.", "a.b", "aa", "ab"]),
        ("a.", ["a.", "a.b"]),
        (".", []),
        (".*", []),
        ("\ud7ff", ["\ud7ff"]),
        ("\U0010ffff", ["\U0010ffff"]),
        ("\U0010ffff\U0010ffff", []),
    ],
)
async def test_prefix_is_taken_to_the_letter(spec: SlotSpec, unique: str, prefix: str, found: list[str]) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, IN_ORDER)
    assert await list_keys(adapter, prefix=prefix) == found
    assert await ranged(adapter, prefix=prefix, newest_first=True) == pairs(found[::-1])
    assert await newest(adapter, 2, prefix=prefix) == pairs(found[-2:])


async def test_prefix_and_ends_of_a_range_narrow_each_other(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, IN_ORDER)
    assert await ranged(adapter, "a.b", prefix="a") == pairs(["a.b", "aa", "ab"])
    assert await ranged(adapter, "A", "aa", prefix="a") == pairs(["a", "a.", "a.b", "aa"])
    assert await ranged(adapter, "b", prefix="a") == []


@pytest.mark.parametrize("characters", ["^a$", "[a-z]", "a|b", "(a", "a\\", "%", "_", "*", "?", "'", '"', "$gt"])
async def test_prefix_of_special_characters_finds_what_begins_with_them(
    spec: SlotSpec, unique: str, characters: str
) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, [f"{characters}1", f"{characters}2", "a1", "b1"])
    assert await list_keys(adapter, prefix=characters) == [f"{characters}1", f"{characters}2"]


async def test_newest_rows_are_those_with_the_largest_keys_in_ascending_order(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, IN_ORDER)
    assert await newest(adapter, 1) == pairs(IN_ORDER[-1:])
    assert await newest(adapter, 3) == pairs(IN_ORDER[-3:])
    assert await newest(adapter, 1_000) == pairs(IN_ORDER)
    assert await newest(uniform.adapter(spec, f"{unique}-empty"), 3) == []


async def test_removed_rows_are_in_no_part(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, ["a1", "a2", "a3", "a4"])
    remove = getattr(adapter, f"remove_{spec.noun}_data")
    await remove("a2")
    await remove("a4")
    assert await ranged(adapter, "a1", "a4") == pairs(["a1", "a3"])
    assert await list_keys(adapter, prefix="a") == ["a1", "a3"]
    assert await newest(adapter, 2) == pairs(["a1", "a3"])


@pytest.mark.slots("when")
async def test_rows_of_a_later_time_are_in_no_part(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    for number in range(4):
        await write(adapter, payload(spec), f"a{number}", when=WHEN + number % 2)
    assert [key for key, _ in await ranged(adapter, "a1", "a3", when=WHEN)] == ["a2"]
    assert await list_keys(adapter, prefix="a", when=WHEN) == ["a0", "a2"]
    assert [key for key, _ in await newest(adapter, 2, when=WHEN)] == ["a0", "a2"]


async def test_parts_go_over_many_pages(spec: SlotSpec, unique: str) -> None:
    adapter, count = uniform.adapter(spec, unique), 2_101
    keys = [f"k{index:05}" for index in range(count)]
    fields = {"payload": {"n": 1}, "removed": False, **({"when": WHEN} if spec.when else {})}
    await adapter._store().upsert_many([((*adapter._context, key), fields) for key in reversed(keys)])
    assert [key for key, _ in await ranged(adapter, keys[1], keys[-2])] == keys[1:-1]
    assert [key for key, _ in await ranged(adapter, keys[1], keys[-2], newest_first=True)] == keys[-2:0:-1]
    assert [key for key, _ in await newest(adapter, 2_050)] == keys[-2_050:]


async def test_part_ends_at_its_context(spec: SlotSpec, unique: str) -> None:
    await fill(uniform.adapter(spec, unique), ["a"])
    for name in spec.context:
        adapter = uniform.adapter(spec, unique, **{name: f"another-{name}"})
        assert (await ranged(adapter), await newest(adapter, 1), await list_keys(adapter, prefix="a")) == ([], [], [])


async def test_row_written_or_removed_while_a_range_is_read_does_not_disturb_it(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, ["b", "d", "f"])
    seen = []
    async for key, _ in getattr(adapter, f"range_{spec.noun}_data")(newest_first=True):
        seen.append(key)
        await write(adapter, payload(spec), f"{key}2")
    assert seen == ["f", "d", "b"]


@pytest.mark.parametrize("wrong", ["\0", "\ud800", "a\udfff"])
async def test_text_that_no_key_can_hold_is_refused_by_the_call(spec: SlotSpec, unique: str, wrong: str) -> None:
    adapter = uniform.adapter(spec, unique)
    for name in ("first", "last", "prefix"):
        with pytest.raises(InputError, match=f"{spec.name}: {name} "):
            getattr(adapter, f"range_{spec.noun}_data")(**{name: wrong})
    with pytest.raises(InputError, match=f"{spec.name}: prefix "):
        getattr(adapter, f"list_{spec.noun}_data")(prefix=wrong)
    with pytest.raises(InputError, match=f"{spec.name}: prefix "):
        await newest(adapter, 1, prefix=wrong)


async def test_argument_of_another_type_is_refused_by_the_call(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    ranges = getattr(adapter, f"range_{spec.noun}_data")
    for name in ("first", "last", "prefix"):
        with pytest.raises(InputTypeError, match=f"{name} must be a str, not int"):
            ranges(**{name: 1})
    with pytest.raises(InputTypeError, match="prefix must be a str, not NoneType"):
        ranges(prefix=None)
    with pytest.raises(InputTypeError, match="newest_first must be a bool, not int"):
        ranges(newest_first=1)
    for limit in (0, -1, 2**31):
        with pytest.raises(InputError, match="limit must be 1 or more"):
            await newest(adapter, limit)
    with pytest.raises(InputTypeError, match="limit must be an int, not bool"):
        await newest(adapter, True)


@pytest.mark.mongodb("asks the server how it finds rows")
async def test_part_reads_no_more_of_the_unique_index_than_it_returns(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, [f"{letter}{number}" for letter in "abc" for number in range(20)])
    database = (await deployment.collection(spec)).database
    await database.command("profile", 2)
    await ranged(adapter, "b05", "b1", newest_first=True)
    await newest(adapter, 3, prefix="b")
    await list_keys(adapter, prefix="c1")
    await database.command("profile", 0)
    query = {"op": "query", "ns": f"{database.name}.{spec.collection}"}
    found = await database["system.profile"].find(query).sort("ts").to_list(None)
    counts = [(one["nreturned"], one["docsExamined"], one["planSummary"].split()[0]) for one in found]
    assert [(returned, how) for returned, _, how in counts] == [(1, "IXSCAN"), (3, "IXSCAN"), (11, "IXSCAN")]
    assert all(examined == returned for returned, examined, _ in counts)
    # The server has to look at one key more to see that a range is over.
    assert all(one["keysExamined"] <= one["nreturned"] + 1 for one in found)
    assert not any(one.get("hasSortStage") for one in found)


@pytest.mark.mongodb("the names of files are texts")
async def test_rows_with_keys_of_another_type_are_in_no_part(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter = uniform.adapter(spec, unique)
    await fill(adapter, ["a", "b"])
    row = {**dict(zip(spec.key, adapter._context, strict=False)), "payload": {"n": 1}, "removed": False}
    foreign = [{**row, spec.key[-1]: number} for number in range(1_000)]
    await (await deployment.collection(spec)).insert_many(foreign)
    assert await ranged(adapter, newest_first=True) == pairs(["b", "a"])
    assert await newest(adapter, 3) == pairs(["a", "b"])

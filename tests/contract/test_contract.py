"""The promises of the storage contract, for every slot of the table, with both drivers and in files."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

import backtest_mongo
from backtest_mongo import SlotSpec
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.uniform import WHEN, entry, listed, nothing, payload, read, stored, write

pytestmark = [pytest.mark.usefixtures("deployment"), pytest.mark.either_driver]

ROWS = ("document", "entry", "collection", "bucket")
POINTS = ("document", "entry", "bucket")


@pytest.mark.shapes(*ROWS)
async def test_nothing_stored_reads_as_the_slot_says(spec: SlotSpec, unique: str) -> None:
    assert await read(uniform.adapter(spec, unique), entry(spec, unique)) == nothing(spec)


@pytest.mark.shapes(*ROWS)
async def test_written_row_is_read_back_equal(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key)
    assert await read(adapter, key) == stored(spec, payload(spec))


@pytest.mark.shapes(*ROWS)
async def test_second_write_replaces_the_whole_payload(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    other = ["other"] if spec.payload == "list" else {"other": 2}
    await write(adapter, payload(spec), key)
    await write(adapter, other, key)
    assert await read(adapter, key) == stored(spec, other)


@pytest.mark.mongodb("files have no such fields")
@pytest.mark.shapes(*ROWS)
async def test_two_writes_leave_one_document_with_its_first_create_date(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 1), key)
    (before,) = await deployment.rows(spec)
    await write(adapter, payload(spec, 2), key)
    (after,) = await deployment.rows(spec)
    assert after["_id"] == before["_id"]
    assert after["createDate"] == before["createDate"]
    assert after["updatedDate"] >= before["updatedDate"]
    assert after["__v"] == 0


@pytest.mark.shapes(*ROWS)
async def test_write_is_read_by_a_process_with_empty_caches(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    key = entry(spec, unique)
    await write(uniform.adapter(spec, unique), payload(spec), key)
    await deployment.forget()
    assert await read(uniform.adapter(spec, unique), key) == stored(spec, payload(spec))


@pytest.mark.mongodb("a file holds the payload alone")
@pytest.mark.shapes(*ROWS)
async def test_document_holds_the_contract_s_fields_and_no_others(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key)
    (row,) = await deployment.rows(spec)
    expected = {"_id", *spec.key, spec.field, "createDate", "updatedDate", "__v"}
    expected |= {"when"} if spec.when else set()
    expected |= {"removed"} if spec.soft_delete else set()
    assert set(row) == expected
    assert {name: row[name] for name in spec.key} == uniform.natural_key(adapter, key)
    if spec.when:
        assert row["when"] == WHEN


@pytest.mark.mongodb("files have no ids")
@pytest.mark.shapes(*ROWS)
async def test_redis_holds_the_id_when_a_write_has_returned(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key)
    (row,) = await deployment.rows(spec)
    assert await deployment.cached(uniform.redis_key(adapter, key)) == str(row["_id"])
    assert await (await backtest_mongo.get_redis()).ttl(uniform.redis_key(adapter, key)) == -1


@pytest.mark.shapes(*POINTS)
async def test_contexts_do_not_share_rows(spec: SlotSpec, unique: str) -> None:
    key = entry(spec, unique)
    await write(uniform.adapter(spec, unique), payload(spec), key)
    for name in spec.context:
        changed = False if name == "backtest" else f"another-{name}"
        assert await read(uniform.adapter(spec, unique, **{name: changed}), key) == nothing(spec)


@pytest.mark.shapes("collection")
async def test_backtest_and_live_lists_do_not_share_rows(spec: SlotSpec, unique: str) -> None:
    if "backtest" not in spec.context:
        key = entry(spec, unique)
        await write(uniform.adapter(spec, unique), payload(spec), key)
        assert await read(uniform.adapter(spec, unique), key)
        return
    await write(uniform.adapter(spec, unique, backtest=True), payload(spec))
    assert await read(uniform.adapter(spec, unique, backtest=False)) == []


@pytest.mark.mongodb("files have no ids")
@pytest.mark.shapes(*POINTS)
async def test_warm_read_is_a_hit_and_cold_read_finds_the_id_in_redis(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key)
    await read(adapter, key)
    assert uniform.hits(spec) == (1, 0)
    await deployment.forget()
    await read(adapter, key)
    assert uniform.hits(spec) == (1, 0)


@pytest.mark.shapes("document")
async def test_none_clears_a_nullable_document(spec: SlotSpec, unique: str, deployment: Deployment) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec))
    if spec.payload == "object|null":
        await write(adapter, None)
        assert await read(adapter) is None
        (row,) = await deployment.rows(spec)
        assert row["payload"] is None
    else:
        with pytest.raises(TypeError, match=f"{spec.name}: {spec.value} must be a .*, not NoneType"):
            await write(adapter, None)
        assert await read(adapter) == payload(spec)


# Look-ahead


@pytest.mark.slots("when")
async def test_read_before_the_stored_time_answers_as_if_nothing_were_stored(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key, when=WHEN)
    assert await read(adapter, key, when=WHEN - 1) == nothing(spec)
    assert await read(adapter, key, when=WHEN) == payload(spec)
    assert await read(adapter, key, when=WHEN + 1) == payload(spec)
    assert await read(adapter, key) == payload(spec)


@pytest.mark.slots("when")
async def test_aware_datetime_is_the_same_time_as_its_milliseconds(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    moment = datetime(2024, 5, 6, 7, 8, 9, 123_999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    millis = int(moment.timestamp()) * 1000 + 123
    await write(adapter, payload(spec), key, when=moment)
    (row,) = await deployment.rows(spec)
    assert row["when"] == millis
    assert await read(adapter, key, when=moment.astimezone(UTC)) == payload(spec)
    assert await read(adapter, key, when=moment - timedelta(milliseconds=1)) == nothing(spec)


@pytest.mark.slots("when", "soft_delete")
async def test_list_leaves_out_rows_of_a_later_time(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec), "early", when=WHEN)
    await write(adapter, payload(spec), "late", when=WHEN + 1)
    keys = [row[0] if spec.items else row for row in await listed(adapter, when=WHEN)]
    assert keys == ["early"]


# Soft delete


@pytest.mark.shapes("bucket")
async def test_removed_row_is_neither_read_nor_listed_and_its_document_stays(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec), "a")
    await write(adapter, payload(spec), "b")
    await getattr(adapter, f"remove_{spec.noun}_data")("a")
    assert await read(adapter, "a") is None
    assert [row[0] if spec.items else row for row in await listed(adapter)] == ["b"]
    (row,) = await deployment.rows(spec, **uniform.natural_key(adapter, "a"))
    assert row["removed"] is True
    assert row["payload"] == {**payload(spec), "removed": True}


@pytest.mark.shapes("bucket")
async def test_removing_twice_or_what_is_absent_changes_nothing(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter = uniform.adapter(spec, unique)
    remove = getattr(adapter, f"remove_{spec.noun}_data")
    await remove("absent")
    assert await deployment.rows(spec) == []
    await write(adapter, payload(spec), "a")
    await remove("a")
    before = await deployment.rows(spec)
    await remove("a")
    assert await deployment.rows(spec) == before


@pytest.mark.shapes("bucket")
async def test_removed_row_comes_back_when_written_again(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec, 1), "a")
    await getattr(adapter, f"remove_{spec.noun}_data")("a")
    await write(adapter, payload(spec, 2), "a")
    assert await read(adapter, "a") == payload(spec, 2)
    assert len(await listed(adapter)) == 1


@pytest.mark.shapes("bucket")
async def test_payload_that_says_it_is_removed_is_stored_as_removed(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, {"removed": True}, "a")
    assert await read(adapter, "a") is None


@pytest.mark.slots("items")
async def test_has_is_true_for_stored_and_for_removed_rows(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    has = getattr(adapter, f"has_{spec.noun}_data")
    assert await has("a") is False
    await write(adapter, payload(spec), "a")
    assert await has("a") is True
    await getattr(adapter, f"remove_{spec.noun}_data")("a")
    assert await has("a") is True


@pytest.mark.mongodb("writes such a row into MongoDB")
@pytest.mark.shapes("bucket")
@pytest.mark.parametrize("value", [None, 42])
async def test_row_of_another_writer_whose_payload_is_not_an_object_can_be_removed(
    spec: SlotSpec, unique: str, deployment: Deployment, value: Any
) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, payload(spec), "a")
    await (await deployment.collection(spec)).update_one({}, {"$set": {"payload": value}})
    await getattr(adapter, f"remove_{spec.noun}_data")("a")
    (row,) = await deployment.rows(spec)
    assert (row["removed"], row["payload"]) == (True, value)


# Lists


@pytest.mark.shapes("bucket", "collection")
async def test_list_is_complete_and_in_order_beyond_one_page(spec: SlotSpec, unique: str) -> None:
    adapter, count = uniform.adapter(spec, unique), 2_101
    keys = [f"{unique}-{index:05}" for index in range(count)]
    if spec.shape == "bucket":
        store = adapter._store()
        fields = {"payload": {"n": 1}, "removed": False, **({"when": WHEN} if spec.when else {})}
        await store.upsert_many([((*adapter._context, key), fields) for key in reversed(keys)])
        assert [row[0] if spec.items else row for row in await listed(adapter)] == keys
    else:
        rows = [{"id": key, "index": index} for index, key in enumerate(keys)]
        await getattr(adapter, f"write_{spec.noun}_data")(rows)
        found = await getattr(adapter, f"read_{spec.noun}_data")(*((count,) if spec.newest else ()))
        assert [row for row in found if row["id"].startswith(unique)] == rows


@pytest.mark.mongodb("the names of files are texts")
async def test_rows_with_keys_of_another_type_do_not_end_a_list(deployment: Deployment, unique: str) -> None:
    measure = backtest_mongo.MeasureAdapter(unique)
    await measure.write_measure_data({"n": 1}, "a")
    row = {"bucket": unique, "payload": {"n": 1}, "removed": False}
    foreign = [{**row, "entryKey": number} for number in range(1_000)]
    await (await deployment.collection(measure.spec)).insert_many(foreign)
    assert await listed(measure) == ["a"]


@pytest.mark.slots("newest")
async def test_newest_rows_come_oldest_first_and_limit_changes_how_many(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    write_rows, read_rows = getattr(adapter, f"write_{spec.noun}_data"), getattr(adapter, f"read_{spec.noun}_data")
    rows = [{"id": f"{unique}-{(index * 7) % 250}", "index": index} for index in range(250)]
    await write_rows(rows[:130])
    await write_rows(rows[130:])
    await write_rows([{**rows[0], "again": True}])  # written first, so it stays the oldest
    assert await read_rows() == rows[50:]
    assert await read_rows(limit=3) == rows[-3:]
    assert len(await read_rows(1000)) == 250


@pytest.mark.shapes("collection")
async def test_duplicate_id_in_one_list_is_written_once_with_its_last_payload(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    rows = [{"id": unique, "n": 1}, {"id": f"{unique}-2", "n": 2}, {"id": unique, "n": 3}]
    await getattr(adapter, f"write_{spec.noun}_data")(rows)
    found = await getattr(adapter, f"read_{spec.noun}_data")()
    assert [row["n"] for row in found if row["id"].startswith(unique)] == [3, 2]


@pytest.mark.shapes("collection")
async def test_empty_list_writes_nothing(spec: SlotSpec, unique: str, deployment: Deployment) -> None:
    adapter = uniform.adapter(spec, unique)
    await getattr(adapter, f"write_{spec.noun}_data")([])
    assert await deployment.rows(spec) == []


@pytest.mark.shapes("bucket")
async def test_row_written_while_a_list_is_read_does_not_disturb_it(spec: SlotSpec, unique: str) -> None:
    adapter = uniform.adapter(spec, unique)
    for key in "bdf":
        await write(adapter, payload(spec), key)
    seen = []
    async for row in getattr(adapter, f"list_{spec.noun}_data")():
        seen.append(row[0] if spec.items else row)
        await write(adapter, payload(spec), "a")
    assert seen == ["b", "d", "f"]


# Payloads


@pytest.mark.shapes(*ROWS)
async def test_infinity_null_dots_dollars_and_dates_survive(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    value: dict[str, Any] = {
        "minuteEstimatedTime": math.inf,
        "below": -math.inf,
        "note": None,
        "a.b": 1,
        "$set": {"$x.y": 2, "": 3},
        "text": "$bucket",
        "date": datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
        "bytes": b"\x00\xff",
        "edges": [2**31 - 1, 2**31, 2**63 - 1, -(2**63)],
        "tiny": 5e-324,
        "unicode": "ключ \U0001f4c8",
    }
    plain = UUID("12345678-1234-5678-1234-567812345678")
    value["uuid"] = plain
    await write(adapter, [value, plain] if spec.payload == "list" else value, key)
    found = await read(adapter, key)
    assert found == ([value, plain] if spec.payload == "list" else stored(spec, value))
    row = found[0] if isinstance(found, list) else found
    assert row == value
    assert row["date"].tzinfo is not None
    assert {type(number) for number in row["edges"]} == {int}


@pytest.mark.slots("soft_delete")
async def test_payload_keys_with_dots_survive_a_removal(spec: SlotSpec, unique: str, deployment: Deployment) -> None:
    adapter = uniform.adapter(spec, unique)
    await write(adapter, {"a.b": 1, "$c": 2, "text": "$bucket"}, "k")
    await getattr(adapter, f"remove_{spec.noun}_data")("k")
    (row,) = await deployment.rows(spec)
    assert row["payload"] == {"a.b": 1, "$c": 2, "text": "$bucket", "removed": True}


@pytest.mark.shapes(*POINTS)
@pytest.mark.parametrize("part", ["", "a:b", "ключ", "$gt", "a.b", "x" * 3000, " ", "BTC/USDT:USDT"])
async def test_any_text_is_a_key(spec: SlotSpec, unique: str, part: str) -> None:
    texts = [name for name in spec.context if name not in ("backtest", "interval")]
    # An empty one is a key of what is stored in a context, but names no context.
    changes = {name: part for name in texts if part or name in (*spec.blank, *spec.optional)}
    key = f"{part}{unique}" if not texts else part
    adapter = uniform.adapter(spec, unique, **changes)
    await write(adapter, payload(spec), key)
    assert await read(adapter, key) == payload(spec)


async def test_session_takes_the_older_call_without_symbol_and_backtest(unique: str) -> None:
    older = backtest_mongo.persist.session("my_strategy", "binance", unique)
    await older.write_session_data({"x": 1}, WHEN)
    newer = type(older)("my_strategy", "binance", unique, symbol="", backtest=False)
    assert await newer.read_session_data() == {"x": 1}

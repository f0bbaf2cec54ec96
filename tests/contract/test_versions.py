"""Compare and set: versions of rows, and writes that depend on what is stored, of every slot on every storage."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from typing import Any

import pytest

from backtest_mongo import (
    ConflictError,
    InputError,
    InputTypeError,
    MemoryAdapter,
    SlotSpec,
    StateAdapter,
)
from backtest_mongo.types import Versioned
from tests.conftest import Deployment
from tests.support import uniform
from tests.support.deadlines import SECONDS
from tests.support.uniform import WHEN, entry, nothing, payload, read, read_version, write

pytestmark = [pytest.mark.one_python, pytest.mark.usefixtures("deployment"), pytest.mark.either_driver]

POINTS = ("document", "entry", "bucket")


def empty(spec: SlotSpec) -> Any:
    """Return a payload that looks like nothing, and is something."""
    return [] if spec.payload == "list" else {}


async def assert_refused(adapter: Any, value: Any, key: str, **condition: Any) -> ConflictError:
    """Check that a write is refused, that its error says what is there, and that this has not changed."""
    before = await read_version(adapter, key)
    with pytest.raises(ConflictError, match=f"^{adapter.spec.name}: writing failed: ") as caught:
        await write(adapter, value, key, **condition)
    error = caught.value
    found = nothing(adapter.spec) if error.found is None else error.found
    assert Versioned(found, error.version) == before == await read_version(adapter, key)
    assert error.key == uniform.natural_key(adapter, key)
    assert (error.slot, error.collection) == (adapter.spec.name, adapter.spec.collection)
    assert error.hint
    return error


@pytest.mark.shapes(*POINTS)
async def test_read_with_version_finds_what_a_read_finds(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    assert (await read_version(adapter, key)).value == nothing(spec)
    await write(adapter, payload(spec), key)
    versioned = await read_version(adapter, key)
    assert isinstance(versioned, Versioned)
    assert versioned.value == payload(spec)
    assert versioned == await read_version(adapter, key)
    assert type(versioned.version) is str


@pytest.mark.shapes(*POINTS)
async def test_write_if_absent_stores_the_first_and_refuses_the_second(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 1), key, if_absent=True)
    assert await read(adapter, key) == payload(spec, 1)
    error = await assert_refused(adapter, payload(spec, 2), key, if_absent=True)
    assert error.found == payload(spec, 1)


@pytest.mark.shapes(*POINTS)
async def test_write_with_the_version_that_was_read_replaces_the_row(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 1), key)
    versions = [(await read_version(adapter, key)).version]
    for number in range(2, 5):
        await write(adapter, payload(spec, number), key, expect=versions[-1])
        value, version = await read_version(adapter, key)
        assert value == payload(spec, number)
        versions.append(version)
    assert len(set(versions)) == 4


@pytest.mark.shapes(*POINTS)
async def test_write_with_an_older_version_is_refused(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 1), key)
    old = (await read_version(adapter, key)).version
    await write(adapter, payload(spec, 2), key)
    error = await assert_refused(adapter, payload(spec, 3), key, expect=old)
    assert error.found == payload(spec, 2)
    await write(adapter, payload(spec, 3), key, expect=error.version)
    assert await read(adapter, key) == payload(spec, 3)


@pytest.mark.shapes(*POINTS)
async def test_version_of_an_absent_row_stores_the_first_and_refuses_the_second(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    absent = (await read_version(adapter, key)).version
    await write(adapter, payload(spec, 1), key, expect=absent)
    assert await read(adapter, key) == payload(spec, 1)
    await assert_refused(adapter, payload(spec, 2), key, expect=absent)


@pytest.mark.shapes(*POINTS)
async def test_write_with_the_version_of_a_row_that_is_gone_is_refused(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    absent = (await read_version(adapter, key)).version
    error = await assert_refused(adapter, payload(spec), key, expect="v1-" + "0" * 32)
    assert (error.found, error.version) == (None, absent)
    assert await deployment.rows(spec) == []


@pytest.mark.shapes(*POINTS)
async def test_empty_payload_is_not_an_absent_row(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    absent = (await read_version(adapter, key)).version
    await write(adapter, empty(spec), key)
    assert (await read_version(adapter, key)).version != absent
    for condition in ({"if_absent": True}, {"expect": absent}):
        error = await assert_refused(adapter, payload(spec), key, **condition)
        assert error.found == empty(spec)


async def test_list_that_holds_null_is_not_an_absent_row(unique: str) -> None:
    risk = uniform.adapter(_spec("risk"), unique)
    await write(risk, [None])
    await assert_refused(risk, [1], uniform.ENTRY, if_absent=True)


@pytest.mark.parametrize("slot", ["signal", "schedule", "strategy"])
async def test_cleared_row_is_absent_and_has_a_version(slot: str, unique: str) -> None:
    spec = _spec(slot)
    adapter = uniform.adapter(spec, unique)
    absent = (await read_version(adapter)).version
    await write(adapter, payload(spec, 1))
    before = (await read_version(adapter)).version
    await write(adapter, None)
    value, cleared = await read_version(adapter)
    assert value is None
    assert len({absent, before, cleared}) == 3
    for version in (absent, before):
        assert (await assert_refused(adapter, payload(spec, 2), uniform.ENTRY, expect=version)).found is None
    await write(adapter, payload(spec, 2), if_absent=True)
    await write(adapter, None, expect=(await read_version(adapter)).version)
    await write(adapter, payload(spec, 3), expect=(await read_version(adapter)).version)
    assert await read(adapter) == payload(spec, 3)
    await assert_refused(adapter, None, uniform.ENTRY, if_absent=True)


@pytest.mark.shapes("bucket")
async def test_removed_row_is_absent_and_has_a_version(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    remove = getattr(adapter, f"remove_{spec.noun}_data")
    absent = (await read_version(adapter, key)).version
    await write(adapter, payload(spec, 1), key)
    before = (await read_version(adapter, key)).version
    await remove(key)
    value, removed = await read_version(adapter, key)
    assert value is None
    assert len({absent, before, removed}) == 3
    for version in (absent, before):
        assert (await assert_refused(adapter, payload(spec, 2), key, expect=version)).found is None
    await write(adapter, payload(spec, 2), key, if_absent=True)
    assert await read(adapter, key) == payload(spec, 2)
    await remove(key)
    await write(adapter, payload(spec, 3), key, expect=(await read_version(adapter, key)).version)
    assert await read(adapter, key) == payload(spec, 3)
    assert await uniform.listed(adapter) == [(key, payload(spec, 3)) if spec.items else key]


@pytest.mark.shapes("bucket")
async def test_row_may_be_removed_by_a_payload_under_a_condition(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, {"n": 1}, key, if_absent=True)
    await write(adapter, {"removed": True}, key, expect=(await read_version(adapter, key)).version)
    assert await read(adapter, key) is None
    await write(adapter, {"n": 2}, key, if_absent=True)
    assert await read(adapter, key) == {"n": 2}


@pytest.mark.slots("when")
async def test_version_of_a_row_that_a_time_hides_is_the_row_s(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    absent = (await read_version(adapter, key)).version
    await write(adapter, payload(spec, 1), key, WHEN)
    seen = await read_version(adapter, key, when=WHEN)
    hidden = await read_version(adapter, key, when=WHEN - 1)
    assert (seen.value, hidden.value) == (payload(spec, 1), nothing(spec))
    assert seen.version == hidden.version != absent
    await assert_refused(adapter, payload(spec, 2), key, if_absent=True)
    await write(adapter, payload(spec, 2), key, expect=hidden.version)
    assert await read(adapter, key) == payload(spec, 2)


@pytest.mark.slots("when")
async def test_version_tells_two_times_of_one_payload_apart(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key, WHEN)
    old = (await read_version(adapter, key)).version
    await write(adapter, payload(spec), key, WHEN + 1)
    await assert_refused(adapter, payload(spec), key, expect=old)
    if spec.shape != "bucket":
        return
    new = (await read_version(adapter, key)).version
    await write(adapter, payload(spec), key, WHEN + 2, expect=new)
    assert await read(adapter, key, WHEN + 1) is None
    assert await read(adapter, key, WHEN + 2) == payload(spec)


@pytest.mark.shapes(*POINTS)
async def test_version_tells_another_program_s_write_in_the_same_millisecond_apart(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec, 1), key)
    old = (await read_version(adapter, key)).version
    await deployment.replace_payload(spec, payload(spec, 2))
    assert await read(adapter, key) == payload(spec, 2)
    error = await assert_refused(adapter, payload(spec, 3), key, expect=old)
    assert error.found == payload(spec, 2)


async def test_version_tells_equal_payloads_of_two_times_of_writing_apart(unique: str) -> None:
    measure = uniform.adapter(_spec("measure"), unique)
    await write(measure, {"n": 1})
    first = again = (await read_version(measure)).version
    end = time.monotonic() + SECONDS
    while again == first:  # as long as the clock shows the same millisecond
        assert time.monotonic() < end
        await write(measure, {"n": 1})
        again = (await read_version(measure)).version
    await assert_refused(measure, {"n": 2}, uniform.ENTRY, expect=first)


@pytest.mark.shapes(*POINTS)
async def test_version_is_text_that_another_process_may_use(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    key = entry(spec, unique)
    await write(uniform.adapter(spec, unique), payload(spec, 1), key)
    text = json.dumps((await read_version(uniform.adapter(spec, unique), key)).version)
    await deployment.forget()
    adapter = uniform.adapter(spec, unique)
    assert (await read_version(adapter, key)).version == json.loads(text)
    await write(adapter, payload(spec, 2), key, expect=json.loads(text))
    assert await read(adapter, key) == payload(spec, 2)


@pytest.mark.shapes(*POINTS)
async def test_error_survives_pickling_with_what_it_found(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key)
    error = await assert_refused(adapter, payload(spec), key, if_absent=True)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (ConflictError, str(error), vars(error))


@pytest.mark.mongodb("a file holds the payload alone")
@pytest.mark.shapes(*POINTS)
async def test_document_holds_the_contract_s_fields_and_no_others(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    expected = {"_id", *spec.key, spec.field, "createDate", "updatedDate", "__v"}
    expected |= {"when"} if spec.when else set()
    expected |= {"removed"} if spec.soft_delete else set()
    await write(adapter, payload(spec), key, if_absent=True)
    (first,) = await deployment.rows(spec)
    await write(adapter, payload(spec), key, expect=(await read_version(adapter, key)).version)
    (second,) = await deployment.rows(spec)
    await deployment.delete_rows(spec)
    await write(adapter, payload(spec), key, expect=(await read_version(adapter, key)).version)
    (third,) = await deployment.rows(spec)
    assert set(first) == set(second) == set(third) == expected
    assert (first["__v"], third["__v"]) == (0, 0)
    assert (second["_id"], second["createDate"]) == (first["_id"], first["createDate"])


@pytest.mark.mongodb("files have no ids")
@pytest.mark.shapes(*POINTS)
async def test_redis_holds_the_id_when_a_write_has_returned(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    await write(adapter, payload(spec), key, if_absent=True)
    (row,) = await deployment.rows(spec)
    assert await deployment.cached(uniform.redis_key(adapter, key)) == str(row["_id"])
    await read(adapter, key)
    assert uniform.hits(spec) == (1, 0)


# Bad input


BAD: list[tuple[dict[str, Any], type[InputError], str]] = [
    ({"if_absent": 1}, InputTypeError, "if_absent must be a bool, not int"),
    ({"if_absent": None}, InputTypeError, "if_absent must be a bool, not NoneType"),
    ({"if_absent": "yes"}, InputTypeError, "if_absent must be a bool, not str"),
    ({"if_absent": True, "expect": "v1-absent"}, InputError, "if_absent and expect contradict each other"),
    ({"expect": 1}, InputTypeError, r"expect must be a version \(str\), not int"),
    ({"expect": True}, InputTypeError, r"expect must be a version \(str\), not bool"),
    ({"expect": b"v1-absent"}, InputTypeError, r"expect must be a version \(str\), not bytes"),
    ({"expect": Versioned({}, "v1-absent")}, InputTypeError, r"expect must be a version, not Versioned .*\.version"),
    ({"expect": ""}, InputError, r"expect must be a version, not '' \(str\) .*with_version=True"),
    ({"expect": "v1-absent\n"}, InputError, r"expect must be a version, not 'v1-absent\\n'"),
    ({"expect": "v1-" + "g" * 32}, InputError, "expect must be a version"),
    ({"expect": "v1-" + "0" * 33}, InputError, "expect must be a version"),
]


@pytest.mark.shapes(*POINTS)
async def test_bad_condition_is_refused_before_anything_is_sent(
    spec: SlotSpec, unique: str, deployment: Deployment
) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for condition, kind, message in BAD:
        with pytest.raises(kind, match=f"^{spec.name}: {message}"):
            await write(adapter, payload(spec), key, **condition)
    method = getattr(adapter, f"read_{spec.noun}_data")
    for flag in (1, None, "yes"):
        with pytest.raises(InputTypeError, match=f"^{spec.name}: with_version must be a bool, not "):
            await method(*((key,) if spec.item else ()), with_version=flag)
    assert await deployment.rows(spec) == []


@pytest.mark.shapes(*POINTS)
async def test_bad_payload_under_a_condition_is_refused(spec: SlotSpec, unique: str, deployment: Deployment) -> None:
    with pytest.raises(InputError):
        await write(uniform.adapter(spec, unique), {"bad": object()}, entry(spec, unique), if_absent=True)
    assert await deployment.rows(spec) == []


@pytest.mark.shapes(*POINTS)
async def test_false_flag_and_no_version_are_no_condition(spec: SlotSpec, unique: str) -> None:
    adapter, key = uniform.adapter(spec, unique), entry(spec, unique)
    for number in (1, 2):
        await write(adapter, payload(spec, number), key, if_absent=False, expect=None)
    assert await read(adapter, key) == payload(spec, 2)


# Many at once


async def test_of_many_tasks_that_write_if_absent_exactly_one_succeeds(unique: str) -> None:
    state = uniform.adapter(StateAdapter.spec, unique)
    outcomes = await asyncio.gather(
        *(write(state, {"owner": number}, if_absent=True) for number in range(50)), return_exceptions=True
    )
    (winner,) = (number for number, outcome in enumerate(outcomes) if outcome is None)
    assert await read(state) == {"owner": winner}
    conflicts = [outcome for outcome in outcomes if outcome is not None]
    assert [type(conflict) for conflict in conflicts] == [ConflictError] * 49
    assert all(conflict.found == {"owner": winner} for conflict in conflicts if isinstance(conflict, ConflictError))


async def test_tasks_that_count_with_versions_lose_no_count(unique: str) -> None:
    memory = uniform.adapter(MemoryAdapter.spec, unique)

    async def count() -> None:
        while True:
            found, version = await read_version(memory)
            try:
                await write(memory, {"n": 1 if found is None else found["n"] + 1}, expect=version)
            except ConflictError:
                continue
            return

    await asyncio.gather(*(count() for _ in range(50)))
    assert await read(memory) == {"n": 50}


async def test_conditional_and_plain_writes_of_one_key_keep_their_order(unique: str) -> None:
    state = uniform.adapter(StateAdapter.spec, unique)
    outcomes = await asyncio.gather(
        write(state, {"n": 1}, if_absent=True),
        write(state, {"n": 2}),
        write(state, {"n": 3}, if_absent=True),
        return_exceptions=True,
    )
    first, second, third = outcomes
    assert first is second is None
    assert isinstance(third, ConflictError)
    assert third.found == {"n": 2}


def _spec(name: str) -> SlotSpec:
    return uniform.ADAPTERS[name].spec

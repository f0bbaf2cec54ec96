"""What a slot's store says of rows that are refused, and what it stamps on those that it stores."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backtest_mongo import StateAdapter, StorageAdapter, StoreError, StoreUnavailableError
from tests.conftest import Deployment
from tests.support.failing_servers import FailingServer
from tests.support.uniform import WHEN

pytestmark = [pytest.mark.one_python, pytest.mark.either_driver]


async def write_one(unique: str, count: int) -> Any:
    return await StateAdapter(unique, "b0").write_state_data({"n": 1}, WHEN)


async def write_at_once(unique: str, count: int) -> Any:
    await asyncio.gather(*(StateAdapter(unique, f"b{n}").write_state_data({"n": 1}, WHEN) for n in range(count)))


async def write_many(unique: str, count: int) -> Any:
    await StateAdapter.write_many([((unique, f"b{n}"), {"n": 1}) for n in range(count)], WHEN)


async def write_list(unique: str, count: int) -> Any:
    await StorageAdapter(True).write_storage_data([{"id": f"{n}"} for n in range(count)])


WRITES = [(write_one, 1), (write_at_once, 5), (write_many, 5), (write_many, 50), (write_list, 5)]


@pytest.mark.parametrize(("write", "count"), WRITES)
async def test_refused_write_names_what_failed_and_its_first_row(
    on_failing: FailingServer, unique: str, write: Any, count: int
) -> None:
    await write(unique, count)
    on_failing.fail("update", "findAndModify", errorCode=20)
    with pytest.raises(StoreError, match=r"writing( a batch)? failed: MongoDB answered with error 20") as caught:
        await write(unique, count)
    assert caught.value.code == 20
    assert (caught.value.key is None) is (write is write_list)
    if caught.value.key is not None:
        assert caught.value.key == {"signalId": unique, "bucketName": "b0"}


@pytest.mark.parametrize(("write", "count"), WRITES)
async def test_write_that_may_not_be_durable_is_not_acknowledged(
    on_failing: FailingServer, unique: str, write: Any, count: int
) -> None:
    await write(unique, count)
    concern = {"code": 64, "errmsg": "waiting for replication timed out"}
    on_failing.fail("update", "findAndModify", writeConcernError=concern)
    with pytest.raises(
        StoreUnavailableError, match=r"writing( a batch)? failed: MongoDB at \S+ is unavailable"
    ) as caught:
        await write(unique, count)
    assert caught.value.may_be_applied


@pytest.mark.parametrize(("write", "count"), [(write_at_once, 5), (write_many, 5), (write_many, 50)])
async def test_row_that_breaks_a_rule_of_the_collection_is_refused_with_the_server_s_code(
    deployment: Deployment, unique: str, write: Any, count: int
) -> None:
    collection = await deployment.collection(StateAdapter.spec)
    await StateAdapter(unique, "b0").write_state_data({"n": 0}, WHEN)
    rule = {"validator": {"bucketName": {"$ne": "b3"}}, "validationAction": "error"}
    await collection.database.command({"collMod": collection.name, **rule})
    with pytest.raises(StoreError, match=r"^state: writing failed: MongoDB answered with error 121") as caught:
        await write(unique, count)
    assert caught.value.code == 121
    assert caught.value.key == {"signalId": unique, "bucketName": "b3"}


@pytest.mark.parametrize(("write", "count"), WRITES)
async def test_rows_are_stamped_in_utc(deployment: Deployment, unique: str, write: Any, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        await write(unique, count)
    time.tzset()
    spec = StorageAdapter.spec if write is write_list else StateAdapter.spec
    rows = await deployment.rows(spec)
    assert len(rows) == count
    for row in rows:
        for name in ("createDate", "updatedDate"):
            assert abs(datetime.now(UTC) - row[name].replace(tzinfo=UTC)) < timedelta(hours=1)

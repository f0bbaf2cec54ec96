"""The hidden files of an untrusted dump: what does not parse is listed, and the rows are imported without it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Regex

from backtest_mongo import (
    CandleAdapter,
    MemoryAdapter,
    NotificationAdapter,
    StateAdapter,
    StorageAdapter,
    export_dump,
    import_dump,
    persist,
)
from tests.conftest import Deployment, drop_database
from tests.support.dumps import DEEP, SPECIAL_FILES, find_slot, write_file
from tests.support.uniform import WHEN, candles

pytestmark = [pytest.mark.either_driver, pytest.mark.one_python]


@pytest.fixture
async def exported(deployment: Deployment, tmp_path: Path) -> Path:
    """Give a dump of a few rows, whose database is empty by now."""
    await StateAdapter("s", "b").write_state_data({"n": 1}, WHEN)
    await StateAdapter("s", "other").write_state_data({"n": 2}, WHEN)
    await MemoryAdapter("s", "b").write_memory_data({"n": 3}, "m", WHEN)
    await CandleAdapter("BTC", "1m", "e").write_candles_data(candles(2))
    await StorageAdapter(False).write_storage_data([{"id": "a"}, {"id": "b"}])
    await export_dump(tmp_path)
    await drop_database(deployment.name)
    await deployment.forget()
    return tmp_path


def records(root: Path, slot: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / ".backtest-mongo" / f"{slot}.rows").read_text().splitlines()]


def record(root: Path, slot: str, lines: list[Any]) -> None:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (root / ".backtest-mongo" / f"{slot}.rows").write_text(text)


def changed(line: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a record whose document has other values, without the fields that are ``...``."""
    document: dict[str, Any] = {**bson.decode(b64decode(line["row"])), **fields}
    document = {name: value for name, value in document.items() if value is not ...}
    return {**line, "row": b64encode(bson.encode(document)).decode()}


HOSTILE: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "a dict as a key": ("state", lambda line: changed(line, signalId={"$gt": ""})),
    "a list as a key": ("state", lambda line: changed(line, signalId=["s"])),
    "a number as a key": ("state", lambda line: changed(line, signalId=5)),
    "a key with NUL": ("state", lambda line: changed(line, signalId="a\0b")),
    "no key": ("state", lambda line: changed(line, signalId=...)),
    "another row's key": ("state", lambda line: changed(line, bucketName="other")),
    "another row's path": ("state", lambda line: {**line, "path": ["state", "s", "other", "other"]}),
    "a path out of the dump": ("state", lambda line: {**line, "path": ["..", "..", "etc", "passwd"]}),
    "a path that is none": ("state", lambda line: {**line, "path": "state"}),
    "a path of dicts": ("state", lambda line: {**line, "path": [{}, []]}),
    "when is soon": ("state", lambda line: changed(line, when="soon")),
    "when is a dict": ("state", lambda line: changed(line, when={"$gt": 0})),
    "when is half": ("state", lambda line: changed(line, when=0.5)),
    "when is endless": ("state", lambda line: changed(line, when=float("inf"))),
    "when is true": ("state", lambda line: changed(line, when=True)),
    "updated soon": ("state", lambda line: changed(line, updatedDate="soon")),
    "created soon": ("state", lambda line: changed(line, createDate=5)),
    "another payload": ("state", lambda line: changed({**line, "whole": True}, payload={"n": 99})),
    "no payload": ("state", lambda line: changed(line, payload=...)),
    "a list as an id": ("state", lambda line: changed(line, _id=[1])),
    "a pattern as an id": ("state", lambda line: changed(line, _id=Regex(".*"))),
    "an operator as an id": ("state", lambda line: changed(line, _id={"$gt": 1})),
    "an operator as a field": ("state", lambda line: changed(line, **{"$set": {"x": 1}})),
    "a path as a field": ("state", lambda line: changed(line, **{"payload.n": 5})),
    "a deep field": ("state", lambda line: changed(line, more=json.loads("[" * 150 + "]" * 150))),
    "no BSON": ("state", lambda line: {**line, "row": b64encode(b"\xff" * 40).decode()}),
    "no base 64": ("state", lambda line: {**line, "row": "!"}),
    "a row that is no text": ("state", lambda line: {**line, "row": 5}),
    "a digest that is none": ("state", lambda line: {**line, "content": {}}),
    "whole is a text": ("state", lambda line: {**line, "whole": "yes"}),
    "more than a record has": ("state", lambda line: {**line, "more": 1}),
    "a list": ("state", lambda line: []),
    "no JSON": ("state", lambda line: "{"),
    "deep": ("state", lambda line: DEEP),
    "a lone surrogate": ("state", lambda line: '{"path": ["\\ud800"]}'),
    "removed is a text": ("memory", lambda line: changed(line, removed="no")),
    "an unknown interval": ("candle", lambda line: changed(line, interval="7m")),
    "an interval that is a dict": ("candle", lambda line: changed(line, interval={})),
    "text prices": ("candle", lambda line: changed(line, open="1.0")),
    "a price that is no number": ("candle", lambda line: changed(line, open=float("nan"))),
    "no price": ("candle", lambda line: changed(line, open=...)),
    "another price": ("candle", lambda line: changed(line, open=99.0)),
    "another time": ("candle", lambda line: changed(line, timestamp=60_000 * 77)),
    "a time as a text": ("candle", lambda line: changed(line, timestamp="0")),
    "a flag that is a number": ("storage", lambda line: changed(line, backtest=0)),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_invalid_record_is_listed_with_its_number_and_its_file_is_imported_without_it(
    exported: Path, deployment: Deployment, kind: str
) -> None:
    slot, damage = HOSTILE[kind]
    first, *others = records(exported, slot)
    record(exported, slot, [*others, damage(first)])
    report = await import_dump(exported, apply=True)
    (problem,) = report.problems
    assert problem.path == f".backtest-mongo/{slot}.rows, record {len(others) + 1}"
    assert problem.slot == slot
    assert problem.problem
    assert (
        find_slot(report, "state").added == find_slot(report, "candle").added == find_slot(report, "storage").added == 2
    )
    assert await StateAdapter("s", "b").read_state_data() == {"n": 1}
    assert await StateAdapter("s", "other").read_state_data() == {"n": 2}
    assert await StateAdapter("s", "b").read_state_data(WHEN - 1) is None
    assert await MemoryAdapter("s", "b").read_memory_data("m") == {"n": 3}
    assert await CandleAdapter("BTC", "1m", "e").read_candles_data(2, 0) == candles(2)


async def test_two_records_with_the_same_id_become_two_rows(exported: Path, deployment: Deployment) -> None:
    one, other = records(exported, "storage")
    oid = bson.decode(b64decode(one["row"]))["_id"]
    record(exported, "storage", [one, changed(other, _id=oid)])
    report = await import_dump(exported, apply=True)
    assert find_slot(report, "storage").added == 2
    assert await StorageAdapter(False).read_storage_data() == [{"id": "a"}, {"id": "b"}]


@pytest.mark.parametrize("kind", ["pipe", "loop", "directory", "no text", "a line without end"])
async def test_unreadable_sidecar_is_listed(exported: Path, kind: str) -> None:
    path = exported / ".backtest-mongo" / "state.rows"
    path.unlink()
    match kind:
        case "no text":
            path.write_bytes(b"\xff\xfe\n")
        case "a line without end":
            with path.open("wb") as file:
                file.truncate(1 << 30)
        case _:
            SPECIAL_FILES[kind](path, exported)
    report = await import_dump(exported, apply=True)
    (problem,) = report.problems
    assert problem.path.startswith(".backtest-mongo/state.rows")
    assert find_slot(report, "state").added == 2
    assert await StateAdapter("s", "b").read_state_data() == {"n": 1}


METADATA: dict[str, bytes] = {
    "no JSON": b"{",
    "deep": DEEP.encode(),
    "no text": b"\xff",
    "a list": b"[]",
    "created as a text": b'{"created":"soon","item":null,"payloads":{}}',
    "created too far": b'{"created":1e300,"item":null,"payloads":{}}',
    "created beyond all years": b'{"created":999999999999999999999999,"item":null,"payloads":{}}',
    "item as a dict": b'{"created":1,"item":{},"payloads":{}}',
    "payloads as a list": b'{"created":1,"item":null,"payloads":[]}',
    "when as a text": b'{"created":1,"item":null,"payloads":{"DIGEST":["soon",false]}}',
    "when as a dict": b'{"created":1,"item":null,"payloads":{"DIGEST":[{"$gt":0},false]}}',
    "when too far": b'{"created":1,"item":null,"payloads":{"DIGEST":[99999999999999999999,false]}}',
    "removed as a text": b'{"created":1,"item":null,"payloads":{"DIGEST":[1,"no"]}}',
}


@pytest.mark.parametrize("kind", METADATA)
@pytest.mark.parametrize("slot", ["state", "log"])
async def test_invalid_metadata_sidecar_counts_as_missing_and_is_listed(
    deployment: Deployment, tmp_path: Path, slot: str, kind: str
) -> None:
    from backtest_mongo.files.directory import digest

    path = "state/s/b/b.json" if slot == "state" else "data/log/log/b.json"
    file = write_file(tmp_path, path, {"id": "b"}, 1_700_000_000)
    metadata = file.with_name(".b.facts")
    metadata.write_bytes(METADATA[kind].replace(b"DIGEST", digest(file.read_bytes()).encode()))
    write_file(tmp_path, path.replace("b.json", "c.json").replace("/b/", "/c/"), {"id": "c"}, 1_600_000_000)
    report = await import_dump(tmp_path, apply=True)
    assert [problem.path for problem in report.problems] == [str(metadata.relative_to(tmp_path))]
    assert find_slot(report, slot).added == 2
    persist.use_files(tmp_path)
    for adapter in (persist, None):
        if slot == "log":
            log = persist.log() if adapter else type(persist.log()).__mro__[2]()
            assert [row["id"] for row in await log.read_log_data()] == ["c", "b"]
        else:
            state = persist.state("s", "b") if adapter else StateAdapter("s", "b")
            assert await state.read_state_data(1_700_000_000_000) == {"id": "b"}
            assert await state.read_state_data(1_699_999_999_999) is None


@pytest.mark.parametrize("kind", ["pipe", "loop", "large", "device"])
async def test_special_file_as_a_metadata_sidecar_does_not_block(
    deployment: Deployment, tmp_path: Path, kind: str
) -> None:
    write_file(tmp_path, "data/notification/live/a.json", {"id": "a"}, 1_700_000_000)
    SPECIAL_FILES[kind](tmp_path / "data/notification/live/.a.facts", tmp_path)
    report = await import_dump(tmp_path, apply=True)
    assert [problem.path for problem in report.problems] == ["data/notification/live/.a.facts"]
    assert await NotificationAdapter(False).read_notification_data() == [{"id": "a"}]
    persist.use_files(tmp_path)
    assert await persist.notification(False).read_notification_data() == [{"id": "a"}]
    await persist.notification(False).write_notification_data([{"id": "a", "n": 2}])
    assert await persist.notification(False).read_notification_data() == [{"id": "a", "n": 2}]


async def test_name_file_with_the_name_of_another_directory_is_ignored(deployment: Deployment, tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    long = "x" * 300
    await persist.candle(long, "1m", "e").write_candles_data(candles(1))
    (name,) = (tmp_path / "data/candle/e").glob("*/.name")
    for content in (b"BTC", b"\xff", b"../../outside"):
        name.write_bytes(content)
        report = await import_dump(tmp_path, apply=True)
        assert [problem.problem for problem in report.problems] == ["its directory's name was cut"]
        series: Any = persist.candle("BTC", "1m", "e")
        assert [one.context["symbol"] async for one in type(series).list_series()] == [name.parent.name]
    assert await CandleAdapter("BTC", "1m", "e").read_candles_data(1, 0) is None

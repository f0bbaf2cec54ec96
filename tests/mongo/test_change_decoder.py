"""What the events of a change stream become, one by one, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, Timestamp

from backtest_mongo import SLOTS
from backtest_mongo.core.changes import Change
from backtest_mongo.mongo import change_decoder
from backtest_mongo.mongo.change_decoder import ChangeDecoder, KnownRow
from backtest_mongo.types import PRICES

BY_NAME = {spec.name: spec for spec in SLOTS}
MEMORY, STATE, CANDLE, SESSION, LOG = (BY_NAME[name] for name in ("memory", "state", "candle", "session", "log"))
KEY = {"signalId": "s", "bucketName": "b", "memoryId": "m"}
CONTEXT = {"signal_id": "s", "bucket_name": "b"}
TIME = 1_700_000_000_123


def event(kind: str, oid: Any = 1, document: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "_id": {"_data": f"token of {kind}"},
        "operationType": kind,
        "wallTime": datetime.fromtimestamp(TIME / 1000, UTC),
        "documentKey": {"_id": oid},
        **more,
    }
    return found if document is None else {**found, "fullDocument": {"_id": oid, **document}}


def update(oid: Any, document: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    return event("update", oid, document, updateDescription={"updatedFields": fields})


def note(key: str = "m", **changed: Any) -> dict[str, Any]:
    return {**KEY, "memoryId": key, "payload": {"n": 1}, "when": Int64(5), **changed}


def memory(context: tuple[str, str] | None = None) -> ChangeDecoder:
    return ChangeDecoder(MEMORY, context)


def change(kind: str, **fields: Any) -> Change:
    usual = {"slot": "memory", "context": CONTEXT, "key": "m", "payload": {"n": 1}, "when": 5, "time": TIME}
    return Change(**{"kind": kind, "token": "token of insert", **usual, **fields})


@pytest.mark.parametrize("kind", ["insert", "replace"])
def test_document_that_was_inserted_or_replaced_is_what_is_stored(kind: str) -> None:
    found = memory()
    written = found.decode(event(kind, document=note()))
    assert written == change("written", token=f"token of {kind}")
    assert written is not None
    assert type(written.when) is int
    # What was remembered of the row does not count any more.
    moved = found.decode(event(kind, document=note("other", when=7, payload=None)))
    assert moved == change("written", token=f"token of {kind}", key="other", when=7, payload=None)


def test_update_reports_what_the_event_names_before_what_the_document_has_since() -> None:
    found = memory()
    found.decode(event("insert", document=note()))
    later = note(payload={"n": 9}, when=99)
    first = update(1, later, payload={"n": 2}, when=6)
    assert found.decode(first) == change("written", token="token of update", payload={"n": 2}, when=6)
    # What it does not name is remembered, or else looked up.
    assert found.decode(update(1, later, when=7)) == change(
        "written", token="token of update", payload={"n": 9}, when=7
    )
    second = found.decode(update(1, later, payload={"n": 3}))
    assert second == change("written", token="token of update", payload={"n": 3}, when=7)
    unknown = memory().decode(update(1, later, payload={"n": 3}))
    assert unknown == change("written", token="token of update", payload={"n": 3}, when=99)
    null = found.decode(update(1, later, payload=None))
    assert null == change("written", token="token of update", payload=None, when=7)


def test_update_of_a_document_that_is_gone_is_reported_if_the_row_is_remembered() -> None:
    found = memory()
    found.decode(event("insert", document=note()))
    assert found.decode(update(1, None, payload={"n": 2})) == change(
        "written", token="token of update", payload={"n": 2}
    )
    assert found.decode(update(2, None, payload={"n": 2})) is None
    without = event("update", 1, None)
    assert found.decode(without) == change("written", token="token of update", payload=None)


def test_row_that_is_marked_is_removed_and_one_that_is_written_again_is_not() -> None:
    found = memory()
    assert found.decode(event("insert", document=note(removed=True))) == change("removed", payload=None)
    back = found.decode(update(1, note(), removed=False, payload={"n": 2}))
    assert back == change("written", token="token of update", payload={"n": 2})
    gone = found.decode(update(1, note(), removed=True))
    assert gone == change("removed", token="token of update", payload=None)
    # Remembered as removed, until an event says something else.
    assert found.decode(update(1, note(), when=8)) == change("removed", token="token of update", payload=None, when=8)
    assert found.decode(event("insert", 2, note(removed=1))) == change("written")
    state = ChangeDecoder(STATE, None).decode(event("insert", document={**KEY, "payload": 1, "removed": True}))
    assert state is not None
    assert state.kind == "written"


def test_row_that_is_deleted_is_reported_by_what_was_remembered() -> None:
    found = memory()
    found.remember([{"_id": 1, **note()}, {"_id": 2, **note("n", when=None)}])
    assert found.decode(event("delete", 1)) == change("deleted", token="token of delete", payload=None)
    assert found.decode(event("delete", 2)) == change(
        "deleted", token="token of delete", payload=None, key="n", when=None
    )
    for oid in (1, 3):
        unknown = change("deleted", token="token of delete", context=None, key=None, payload=None, when=None)
        assert found.decode(event("delete", oid)) == unknown


def test_only_changes_of_the_context_are_reported() -> None:
    found = memory(("s", "b"))
    assert found.decode(event("insert", 1, note())) == change("written")
    assert found.decode(event("insert", 2, note(bucketName="other"))) is None
    assert found.decode(event("insert", 3, note(signalId="other"))) is None
    for oid in (2, 3, 4):
        assert found.decode(event("delete", oid)) is None
    assert found.decode(event("delete", 1)) == change("deleted", token="token of delete", payload=None)


@pytest.mark.parametrize("kind", ["drop", "rename", "dropDatabase", "invalidate"])
@pytest.mark.parametrize("context", [None, ("s", "b")])
def test_collection_that_is_gone_is_reported_once_with_the_context_that_is_watched(
    kind: str, context: tuple[str, str] | None
) -> None:
    found = memory(context)
    assert found.decode(event(kind)) is None
    found.decode(event("insert", document=note()))
    whole = CONTEXT if context else None
    expected = change("deleted", token=f"token of {kind}", context=whole, key=None, payload=None, when=None)
    assert found.decode(event(kind)) == expected
    assert found.decode(event(kind)) is None
    # Nothing is remembered of what was there.
    deleted = found.decode(event("delete"))
    assert deleted is None if context else deleted is not None and deleted.context is None


def test_row_that_was_forgotten_may_be_of_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    assert change_decoder.REMEMBERED == 65_536
    monkeypatch.setattr(change_decoder, "REMEMBERED", 2)
    found = memory(("s", "b"))
    for oid in (1, 2):
        found.decode(event("insert", oid, note(str(oid))))
    assert found.decode(event("delete", 9)) is None
    found.decode(update(1, note("1"), when=6))  # so the other one is older
    found.decode(event("insert", 3, note("3")))
    unknown = change("deleted", token="token of delete", context=None, key=None, payload=None, when=None)
    assert found.decode(event("delete", 2)) == unknown
    assert found.decode(event("delete", 1)) == change("deleted", token="token of delete", key="1", payload=None, when=6)
    assert found.decode(event("delete", 3)) == change("deleted", token="token of delete", key="3", payload=None)
    # No row is remembered, but there were some.
    gone = change("deleted", token="token of drop", context=CONTEXT, key=None, payload=None, when=None)
    assert found.decode(event("drop")) == gone
    assert found.decode(event("drop")) is found.decode(event("delete", 2)) is None


def test_row_of_an_older_version_has_the_defaults_of_what_it_lacks() -> None:
    old = {"strategyName": "s", "exchangeName": "e", "frameName": "f", "payload": {}}
    found = ChangeDecoder(SESSION, None)
    written = found.decode(event("insert", document=old))
    assert written is not None
    context = {"strategy_name": "s", "exchange_name": "e", "frame_name": "f", "symbol": "", "backtest": False}
    assert (written.context, written.key, written.when) == (context, None, None)
    assert found.row({**old, "backtest": True, "when": 5.0}) == KnownRow(("s", "e", "f", "", True), 5, False)
    # An event that names a part of the key counts, whatever was remembered.
    moved = found.decode(update(1, {**old, "symbol": "BTC", "backtest": True}, symbol="BTC", payload={}))
    assert moved is not None
    assert moved.context == {**context, "symbol": "BTC", "backtest": True}


def test_candle_is_read_as_from_the_store() -> None:
    prices = {name: number + 0.5 for number, name in enumerate(PRICES)}
    key = {"exchangeName": "e", "symbol": "BTC", "interval": "1m"}
    found = ChangeDecoder(CANDLE, ("e", "BTC", "1m"))
    for time in (Int64(60_000), 60_000.0):
        written = found.decode(event("insert", document={**key, "timestamp": time, **prices, "when": 5, "payload": 1}))
        context = {"symbol": "BTC", "interval": "1m", "exchange_name": "e"}
        payload = {"timestamp": 60_000, **prices}
        assert written == change("written", slot="candle", context=context, key=60_000, payload=payload, when=None)
    lacking = found.decode(event("insert", document={**key, "timestamp": 0}))
    assert lacking is not None
    assert lacking.payload == {"timestamp": 0, **dict.fromkeys(PRICES)}


def test_slot_without_a_context_has_an_empty_one() -> None:
    written = ChangeDecoder(LOG, ()).decode(
        event("insert", document={"entryId": "x", "payload": {"id": "x"}, "when": 5})
    )
    assert written == change("written", slot="log", context={}, key="x", payload={"id": "x"}, when=None)


def test_time_is_the_server_s_to_the_millisecond_or_else_to_the_second() -> None:
    old = event("insert", document=note(), clusterTime=Timestamp(1_600_000_000, 7))
    assert memory().decode(old) == change("written")
    del old["wallTime"]
    assert memory().decode(old) == change("written", time=1_600_000_000_000)


def test_time_of_a_candle_whose_time_is_a_double_is_a_whole_number() -> None:
    """The Node package stores it so."""
    key = {"exchangeName": "x", "symbol": "BTCUSDT", "interval": "1m"}
    found = ChangeDecoder(CANDLE, None)
    prices = dict.fromkeys(PRICES, 1.0)
    written = found.decode(event("insert", document={**key, "timestamp": 60_000.0, **prices}))
    deleted = found.decode(event("delete"))
    assert written is not None
    assert deleted is not None
    for one in (written, deleted):
        assert (one.key, type(one.key)) == (60_000, int)


def test_row_that_was_marked_before_it_is_first_seen_is_removed() -> None:
    removed = memory().decode(update(1, note(removed=True), when=8))
    assert removed == change("removed", token="token of update", payload=None, when=8)

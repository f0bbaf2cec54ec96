"""`history`, and `inspect --at`: what rows were, on MongoDB and SQLite."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backtest_mongo import persist, transaction
from tests.support.candle_commands import Database
from tests.support.commands import Done, invoke
from tests.support.stored import Stored
from tests.support.trades import CLOSED, MINUTE, OPENED, SCHEDULED, SLOTS_KEPT, TRADE, write_trade
from tests.support.uniform import WHEN

pytestmark = pytest.mark.one_python


@pytest.fixture
def trade(kept: Stored) -> Stored:
    """A database with a trade, of whose versions the command's own settings know nothing."""
    kept.run(write_trade, CC_HISTORY=SLOTS_KEPT)
    return kept


def list_lines(stored: Stored, *arguments: str) -> list[str]:
    done = invoke("history", *arguments, *stored.options)
    assert (done.code, done.err) == (0, "")
    return done.out.splitlines()


def list_json(stored: Stored, command: str, *arguments: str) -> list[dict[str, Any]]:
    done = invoke(command, *arguments, *stored.options, "--json")
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def drop_written(lines: list[str]) -> list[str]:
    return [line.partition("  written ")[0] for line in lines]


def test_versions_are_shown_with_what_changed(trade: Stored) -> None:
    lines = list_lines(trade, "state", f"signal_id={TRADE}", "bucket_name=plan")
    assert lines[0] == f"state {TRADE} plan"
    assert lines[1].startswith("  2024-01-01T01:35:00Z  written 20")
    assert drop_written(lines[1:]) == [
        *("  2024-01-01T01:35:00Z", "    {", '      "minutes": 0,', '      "plan": "hold"', "    }"),
        *("  2024-01-01T02:05:00Z", "    minutes: 0 -> 30"),
        *("  2024-01-01T02:35:00Z", "    minutes: 30 -> 60"),
        *("  2024-01-01T03:05:00Z", "    minutes: 60 -> 90"),
    ]


def test_newest_first_compares_with_the_version_before(trade: Stored) -> None:
    lines = list_lines(trade, "state", f"signal_id={TRADE}", "--newest-first", "--since", "2024-01-01T02:05")
    assert drop_written(lines[1:]) == [
        *("  2024-01-01T03:05:00Z", "    minutes: 60 -> 90"),
        *("  2024-01-01T02:35:00Z", "    minutes: 30 -> 60"),
        *("  2024-01-01T02:05:00Z", "    minutes: 0 -> 30"),
    ]
    lines = list_lines(trade, "state", "--newest-first", "--limit", "1")
    assert drop_written(lines[1:]) == [
        *("  2024-01-01T03:05:00Z", "    minutes: 60 -> 90", "  the first 1; --limit shows more"),
    ]


def test_range_begins_with_a_change_from_what_was_before(trade: Stored) -> None:
    lines = list_lines(trade, "state", "--since", str(OPENED + 30 * MINUTE), "--until", str(OPENED + 60 * MINUTE))
    assert drop_written(lines[1:]) == [
        *("  2024-01-01T02:05:00Z", "    minutes: 0 -> 30"),
        *("  2024-01-01T02:35:00Z", "    minutes: 30 -> 60"),
    ]
    assert list_lines(trade, "state", "--until", str(OPENED - 1))[1:] == ["  no versions in this range"]


def test_removals_and_cleared_rows_are_named(trade: Stored) -> None:
    lines = drop_written(list_lines(trade, "memory", f"signal_id={TRADE}", "m-2"))
    assert lines == [
        f"memory {TRADE} notes m-2",
        *("  2024-01-01T01:55:00Z", "    {", '      "price": 50020.0', "    }", "  2024-01-01T02:05:00Z  removed"),
    ]
    lines = drop_written(list_lines(trade, "schedule", "--newest-first"))
    assert lines[:3] == ["schedule BTCUSDT trend binance", "  2024-01-01T01:35:00Z  cleared", "  2024-01-01T01:30:00Z"]


def test_json_has_one_version_per_line(trade: Stored) -> None:
    rows = list_json(trade, "history", "memory", "memory_id=m-2")
    named = {"slot": "memory", "context": {"signal_id": TRADE, "bucket_name": "notes"}, "key": "m-2"}
    assert all(type(row.pop("written")) is int for row in rows)
    assert rows == [
        {**named, "when": OPENED + 20 * MINUTE, "removed": False, "value": {"price": 50020.0}},
        {**named, "when": OPENED + 30 * MINUTE, "removed": True, "value": None},
    ]
    assert len(list_json(trade, "history", "memory")) == 3
    done = invoke("history", "state", "--limit", "2", "--json", *trade.options)
    assert len(done.out.splitlines()) == 2
    assert "more versions than 2" in done.err


async def write_fields() -> None:
    state = persist.state("s", "b")
    await state.write_state_data({"a": {"b": 1, "c": [1, 2]}, "x": 1, "gone": True, "same": "s"}, WHEN)
    await state.write_state_data({"a": {"b": 2, "c": [1, 3]}, "x": True, "more": None, "same": "s"}, WHEN + 1)
    await state.write_state_data({f"n{number}": number for number in range(10)}, WHEN + 2)
    await state.write_state_data({f"n{number}": number for number in range(10)}, WHEN + 3)


def test_changes_are_named_by_their_path(kept: Stored) -> None:
    kept.run(write_fields, CC_HISTORY="state")
    text = "\n".join(drop_written(list_lines(kept, "state", "--since", str(WHEN + 1))))
    assert text == "\n".join(
        (
            "state s b",
            "  2023-11-14T22:13:20.001Z",
            *(
                "    a.b: 1 -> 2",
                "    a.c[1]: 2 -> 3",
                "    x: 1 -> true",
                "    gone: true -> -",
                "    more: - -> null",
            ),
            "  2023-11-14T22:13:20.002Z",
            '    a: {"b": 2, "c": [1, 3]} -> -',
            *("    x: true -> -", "    more: null -> -", '    same: "s" -> -'),
            *(f"    n{number}: - -> {number}" for number in range(4)),
            "    and 6 fields more; --json shows all of the payload",
            *("  2023-11-14T22:13:20.003Z", "    as before"),
        )
    )


def test_row_that_was_written_without_a_version_is_its_latest(trade: Stored) -> None:
    async def write() -> None:
        await persist.state(TRADE, "plan").write_state_data({"minutes": 7, "plan": "hold"}, CLOSED)

    trade.run(write)
    lines = drop_written(list_lines(trade, "state"))
    assert lines[-2:] == ["  2024-01-01T03:35:00Z", "    minutes: 90 -> 7"]
    assert drop_written(list_lines(trade, "state", "--newest-first"))[1:3] == lines[-2:]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["candle"], 2, "'candle' has no versions: candles never change"),
        (["stat"], 2, "'stat' has no versions: did you mean state?"),
        (["state", "signal=x"], 2, "state has no 'signal': did you mean signal_id?"),
        (["state", "a", "b", "c"], 2, "3 parts of a key were given (it has signal_id, bucket_name)"),
        (["memory", "signal_id=s", "a", "b"], 2, "memory_id is given twice"),
        (["memory", "a=b"], 2, "memory has no 'a'"),
        (["state", "--since", "noon"], 2, "'--since'"),
        (["state", "--since", "2024-01-02", "--until", "2024-01-01"], 2, "must not be before --since"),
        (["state", "--limit", "0"], 2, "'--limit'"),
        (["state", "signal_id=other"], 1, "no row of state matches"),
        (["dictionary"], 1, "no versions of dictionary are stored (CC_HISTORY=dictionary keeps"),
    ],
)
def test_mistakes_are_refused(trade: Stored, arguments: list[str], code: int, message: str) -> None:
    done = invoke("history", *arguments, *trade.options)
    assert (done.code, done.out) == (code, "")
    assert message in done.error


def test_file_that_is_missing_is_an_error(tmp_path: Any) -> None:
    for command in (["history", "state"], ["inspect", "state", "--at", "1"], ["explain", "x"]):
        done = invoke(*command, "--sqlite", tmp_path / "none.db")
        assert (done.code, done.out) == (1, "")
        assert "there is no file" in done.error
        assert not (tmp_path / "none.db").exists()


# inspect


def inspect(stored: Stored, *arguments: str) -> Done:
    return invoke("inspect", *arguments, *stored.options)


def test_rows_are_as_they_were(trade: Stored) -> None:
    for at, minutes in ((OPENED, 0), (OPENED + 30 * MINUTE, 30), (OPENED + 59 * MINUTE, 30), (CLOSED, 90)):
        (row,) = list_json(trade, "inspect", "state", "--at", str(at))
        assert (row["signalId"], row["bucketName"]) == (TRADE, "plan")
        assert (row["payload"]["minutes"], row["when"]) == (minutes, OPENED + minutes * MINUTE)
    done = inspect(trade, "state", "--at", str(OPENED - 1))
    assert (done.code, done.out, done.err) == (0, "Nothing was stored at 2024-01-01T01:34:59.999Z.\n", "")
    removed, kept_ = list_json(trade, "inspect", "memory", TRADE, "--at", str(CLOSED))[::-1]
    assert (removed["memoryId"], removed["removed"], removed["when"]) == ("m-2", True, OPENED + 30 * MINUTE)
    assert (kept_["memoryId"], kept_["removed"], kept_["payload"]) == ("m-1", False, {"price": 50010.0})
    (row,) = list_json(trade, "inspect", "signal", "--at", str(OPENED))
    assert row["payload"]["id"] == TRADE


def test_only_so_many_rows_are_shown(trade: Stored) -> None:
    done = inspect(trade, "memory", "--at", str(CLOSED), "--limit", "1")
    assert done.out.splitlines()[-1] == "the first 1; --limit shows more"
    assert f"memory {TRADE} notes m-1" in done.out
    assert "m-2" not in done.out


def test_candles_are_those_that_had_closed(trade: Stored) -> None:
    rows = list_json(trade, "inspect", "candle", "BTCUSDT", "1m", "--at", str(SCHEDULED + MINUTE - 1), "--limit", "2")
    assert [row["timestamp"] for row in rows] == [SCHEDULED - MINUTE, SCHEDULED - 2 * MINUTE]
    time = str(SCHEDULED)
    (row,) = list_json(trade, "inspect", "candle", "-", "1m", "-", time, "--at", str(SCHEDULED + MINUTE))
    assert row["timestamp"] == SCHEDULED
    assert list_json(trade, "inspect", "candle", "-", "1m", "-", time, "--at", str(SCHEDULED + MINUTE - 1)) == []
    done = inspect(trade, "candle", "-", "1h", "--at", "2024-01-01T00:59:59", "--limit", "1")
    assert "2023-12-31T23:00:00Z" in done.out
    assert "2024-01-01T00:00:00Z" not in done.out


def test_rows_without_versions_that_were_written_since_are_not_known(kept: Stored) -> None:
    kept.run(write_trade)
    done = inspect(kept, "state", "--at", str(CLOSED))
    assert '"minutes": 90' in done.out
    assert done.err == ""
    done = inspect(kept, "state", "--at", str(OPENED + 30 * MINUTE))
    assert (done.code, done.out.strip()) == (0, "")
    assert "1 row left out, written since" in done.error
    assert "CC_HISTORY=state" in done.error


def test_rows_that_are_older_than_their_versions_are_not_known(kept: Stored) -> None:
    kept.run(write_fields)
    kept.run(write_fields, CC_HISTORY="state")
    done = inspect(kept, "state", "--at", str(WHEN - 1))
    assert (done.code, done.out.strip()) == (0, "")
    assert "1 row left out: their past is unknown, because it is older than the versions of state" in done.error
    assert inspect(kept, "state", "--at", str(WHEN + 1)).err == ""


def test_rows_of_a_file_are_shown(tmp_path: Any) -> None:
    stored = Stored("sqlite", ["--sqlite", str(tmp_path / "x.db")], tmp_path / "x.db")
    stored.run(write_trade)
    done = inspect(stored, "memory")
    assert done.out.startswith(f"memory {TRADE} notes m-1\n  when 2024-01-01T01:45:00Z  written 20")
    assert f"memory {TRADE} notes m-2  removed" in done.out
    rows = list_json(stored, "inspect", "session", "-", "-", "-", "-", "backtest")
    assert [(row["backtest"], row["payload"]) for row in rows] == [(True, {"ticks": 2})]
    assert inspect(stored, "memory", "--limit", "1").out.splitlines()[-1] == "1 of 2; --limit shows more"
    assert "2024-01-01T01:59:00Z" in inspect(stored, "candle", "BTCUSDT", "1m", "--limit", "1").out


def test_the_past_is_not_watched() -> None:
    done = invoke("inspect", "state", "--watch", "--at", "1")
    assert (done.code, done.out) == (2, "")
    assert "exclude each other" in done.error


def test_versions_of_more_rows_than_are_shown(kept: Stored) -> None:
    async def write() -> None:
        async with transaction(when=WHEN):
            await persist.log().write_log_data([{"id": f"{number:02}"} for number in range(21)])

    kept.run(write, CC_HISTORY="log")
    done = invoke("history", "log", *kept.options, "--json")
    assert len(done.out.splitlines()) == 20
    assert "more rows match; these are the first 20" in done.err


def test_versions_that_a_limited_user_may_not_look_for_are_those_of_the_settings(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymongo.errors import OperationFailure

    from backtest_mongo.connection import hub_registry

    stored = Stored("mongodb", [], database.name)  # type: ignore[arg-type]
    stored.run(write_trade, CC_HISTORY=SLOTS_KEPT)
    found = hub_registry.current_hub

    def current_hub() -> Any:
        hub = found()

        async def refuse(*_: Any, **__: Any) -> list[str]:
            raise OperationFailure("not authorized", 13)

        monkeypatch.setattr(type(hub.database), "list_collection_names", refuse)
        return hub

    monkeypatch.setattr("backtest_mongo.cli.stored_past.current_hub", current_hub)
    assert "no versions of state" in invoke("history", "state").error
    monkeypatch.setenv("CC_HISTORY", "state")
    assert "minutes: 0 -> 30" in invoke("history", "state").out

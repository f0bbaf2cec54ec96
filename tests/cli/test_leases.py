"""`leases` and `leases release`: who holds what, and how a lease is taken from its owner."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import LeaseLostError, SlotSpec, lease, persist
from backtest_mongo.cli.lease_text import parse_lease
from backtest_mongo.core.commits import name_lease
from backtest_mongo.errors import InputError
from backtest_mongo.mongo.sessions import begin
from tests.cli.test_cli import run
from tests.conftest import Deployment
from tests.sqlite.support import change, query
from tests.support.candle_commands import Database
from tests.support.commands import invoke
from tests.support.deadlines import SECONDS
from tests.support.leases import LONG_AGO, LeasesInFile, LeasesOnServer, StoredLeases, take_leases

pytestmark = pytest.mark.one_python

SIGNAL = 'signal["BTCUSDT", "s", "binance"]'
SESSION = 'session["s", "binance", "", "BTCUSDT", false]'


@pytest.fixture(params=["mongodb", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredLeases:
    if request.param == "mongodb":
        database: Database = request.getfixturevalue("database")
        monkeypatch.setenv("COLUMNS", "200")
        return LeasesOnServer([], database.client, database.name)
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "back test.db"
    return LeasesInFile(["--sqlite", str(path)], path)


def two(registry: Any) -> list[Any]:
    return [registry.signal("BTCUSDT", "s", "binance"), registry.session("s", "binance", "", "BTCUSDT")]


def test_held_leases_are_listed_with_their_owners(stored: StoredLeases) -> None:
    before = int(time.time() * 1000)
    stored.take(two)
    stored.expire(SESSION)
    done = invoke("leases", *stored.options)
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.split())
    assert text.startswith("lease host process since (UTC) until (UTC) ")
    assert f"signal BTCUSDT s binance {socket.gethostname()} {os.getpid()} " in text
    assert "session s binance '' BTCUSDT live " in text
    assert "expired 2023-11-14T22:13:20Z" in text
    done = invoke("leases", *stored.options, "--json")
    session, signal = json.loads(done.out)["leases"]
    assert session["until"] == LONG_AGO
    assert [one["expired"] for one in (session, signal)] == [True, False]
    assert session["context"] == {
        "strategyName": "s",
        "exchangeName": "binance",
        "frameName": "",
        "symbol": "BTCUSDT",
        "backtest": False,
    }
    assert (signal["lease"], signal["slot"]) == (SIGNAL, "signal")
    assert (signal["host"], signal["process"]) == (socket.gethostname(), os.getpid())
    assert before - 60_000 < signal["since"] < signal["until"] == signal["since"] + 3_600_000


def test_database_without_leases_has_none(stored: StoredLeases) -> None:
    if isinstance(stored, LeasesInFile):
        stored.take(two)
        invoke("leases", "release", SIGNAL, "--force", *stored.options)
    assert invoke("leases", *stored.options).out == "Nobody holds a lease.\n"
    assert json.loads(invoke("leases", *stored.options, "--json").out) == {"leases": []}


@pytest.mark.parametrize(
    "words",
    [
        ["signal", "BTCUSDT", "s", "binance"],
        [SIGNAL],
        [SIGNAL.replace(" ", "")],
    ],
)
def test_lease_is_released_when_it_is_asked_for_twice(stored: StoredLeases, words: list[str]) -> None:
    stored.take(lambda registry: two(registry)[:1])
    stored.take(lambda registry: two(registry)[1:])
    owner, other = map(stored.find_owner, (SIGNAL, SESSION))
    done = invoke("leases", "release", *words, *stored.options)
    assert done.code == 1
    assert done.out.startswith(
        f"signal BTCUSDT s binance: held by process {os.getpid()} on {socket.gethostname()} since "
    )
    assert "Nothing was changed." in done.out
    assert owner is not None
    assert stored.find_owner(SIGNAL) == owner
    # The command that it prints does it.
    printed = shlex.split(done.out.rpartition("backtest-mongo ")[2])
    assert printed[-1] == "--force"
    done = invoke(*printed)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("signal BTCUSDT s binance: released; it was held by process ")
    assert stored.find_owner(SIGNAL) is None
    assert stored.find_owner(SESSION) == other != owner
    done = invoke(*printed)
    assert (done.code, done.out) == (1, "")
    assert "nobody holds the lease signal" in done.error
    assert "`backtest-mongo leases` lists those that are held" in done.error


def test_all_leases_of_an_owner_are_released_together(stored: StoredLeases) -> None:
    stored.take(two)
    done = invoke("leases", "release", SIGNAL, *stored.options)
    assert "session s binance '' BTCUSDT live: held by the same owner, and would be released with it" in done.out
    done = invoke("leases", "release", SIGNAL, "--force", *stored.options)
    assert done.out.count("released; it was held by process") == 2
    assert [stored.find_owner(name) for name in (SIGNAL, SESSION)] == [None, None]


def test_values_that_have_a_default_may_be_left_out(stored: StoredLeases) -> None:
    stored.take(lambda registry: [registry.session("s", "binance", "f", "BTC", True), registry.log()])
    for words in (["session", "s", "binance", "f", "BTC", "backtest"], ["log"]):
        done = invoke("leases", "release", *words, *stored.options)
        assert done.out.startswith(" ".join(words))
    assert invoke("leases", "release", "log", "--force", *stored.options).code == 0
    stored.take(lambda registry: [registry.session("s", "binance", "f")])
    assert "session s binance f '' live" in invoke("leases", *stored.options).out
    assert invoke("leases", "release", "session", "s", "binance", "f", "--force", *stored.options).code == 0


def test_expired_lease_needs_no_release(stored: StoredLeases) -> None:
    stored.take(two)
    stored.expire(SIGNAL)
    done = invoke("leases", "release", SIGNAL, *stored.options)
    assert "expired 2023-11-14T22:13:20Z: the next owner just takes it" in done.out


def test_file_may_be_named_before_the_subcommand(tmp_path: Path) -> None:
    stored = LeasesInFile(["--sqlite", str(tmp_path / "x.db")], tmp_path / "x.db")
    stored.take(two)
    assert invoke("leases", *stored.options, "release", SIGNAL, "--force").code == 0
    assert stored.find_owner(SIGNAL) is None


def test_lease_of_a_slot_of_one_s_own_is_named_by_its_id(stored: StoredLeases) -> None:
    spec = SlotSpec(
        name="lease_book",
        shape="document",
        context=("symbol", "exchange_name"),
        key=("exchangeName", "symbol"),
        redis=("exchangeName", "symbol"),
    )
    adapter = persist.register(spec)
    stored.take(lambda registry: [registry.lease_book("BTC", "x") if stored.options else adapter("BTC", "x")])
    name = 'lease_book["x", "BTC"]'
    assert shlex.quote(name) in invoke("leases", *stored.options).out
    assert invoke("leases", "release", name, "--force", *stored.options).code == 0
    done = invoke("leases", "release", "lease_book", "BTC", "x", *stored.options)
    assert done.code == 2
    assert "'lease_book' is neither the id of a lease nor one of signal, " in done.error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sginal", "BTCUSDT"], "'sginal' is neither the id of a lease nor one of signal, schedule"),
        (["candle", "BTCUSDT", "1m", "binance"], "'candle' is neither the id of a lease"),
        (["signal["], "'signal[' is neither the id of a lease"),
        ([SIGNAL, "more"], "is neither the id of a lease"),
        (["signal", "BTCUSDT"], "SignalAdapter(symbol, strategy_name, exchange_name) lacks strategy_name"),
        (["signal", "a", "b", "c", "d"], "4 parts of a key were given (it has symbol, strategy_name, exchange_name)"),
        (["signal", "", "b", "c"], "symbol must not be empty"),
        (["storage", "maybe"], "backtest must be backtest or live, not 'maybe'"),
        (["signal" + "[" * 100_000], "is neither the id of a lease"),
    ],
)
def test_words_that_name_no_lease_are_refused(words: list[str], message: str, tmp_path: Path) -> None:
    done = invoke("leases", "release", *words, "--sqlite", tmp_path / "none.db")
    assert (done.code, done.out) == (2, "")
    assert message in done.error


@pytest.mark.shapes("document", "entry", "collection", "bucket")
def test_every_slot_is_named_as_its_constructor_is_called(spec: SlotSpec) -> None:
    words = ["live" if name == "backtest" else f"{name}-x" for name in spec.context]
    values = [False if name == "backtest" else f"{name}-x" for name in spec.context]
    adapter = getattr(persist, spec.name)(*values)
    assert parse_lease(spec.name, words) == name_lease(spec, adapter._context)
    assert parse_lease(name_lease(spec, adapter._context), []) == name_lease(spec, adapter._context)


def test_id_may_hold_any_text() -> None:
    assert parse_lease('log["\\u00e4", "[", "\\""]', []) == 'log["ä", "[", "\\""]'
    with pytest.raises(InputError):
        parse_lease("[]", [])


@pytest.mark.parametrize("command", [["leases"], ["leases", "release", SIGNAL, "--force"]])
def test_file_that_is_no_database_is_refused_and_none_is_made(command: list[str], tmp_path: Path) -> None:
    missing, text = tmp_path / "missing.db", tmp_path / "text.db"
    text.write_text("text" * 1_000)
    for path, message in ((missing, "there is no database at"), (text, "file is not a database")):
        done = invoke(*command, "--sqlite", path)
        assert (done.code, done.out) == (1, "")
        assert message in done.error
    assert not missing.exists()


async def test_file_of_an_older_format_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "backtest.db"
    persist.use_sqlite(path)
    await persist.log().write_log_data([{"id": "a"}])
    await backtest_mongo.close()
    change(path, "DROP TABLE leases", "PRAGMA user_version=2")
    done = await asyncio.to_thread(run, "leases", "--sqlite", str(path))
    assert (done.returncode, done.stdout) == (0, "Nobody holds a lease.\n")
    done = await asyncio.to_thread(run, "leases", "release", "log", "--force", "--sqlite", str(path))
    assert done.returncode == 1
    assert "nobody holds the lease log[]" in done.stderr
    assert query(path, "PRAGMA user_version") == [(2,)]


def test_rows_of_other_programs_do_no_harm(stored: StoredLeases) -> None:
    stored.take(two)
    if isinstance(stored, LeasesOnServer):
        far = datetime(9999, 12, 31, tzinfo=UTC)
        foreign: dict[str, Any] = {"owner": "somebody", "car": 7, "until": far}
        stored.documents.insert_many([foreign, {**foreign, "_id": "x", "slot": 1}])
        # Beyond what a driver's dates hold, and what JSON has no type for.
        stored.documents.update_one(
            {"_id": SIGNAL}, [{"$set": {"until": {"$toDate": 2**62}, "context.symbol": "$since"}}]
        )
    else:
        assert isinstance(stored, LeasesInFile)
        change(stored.path, "UPDATE leases SET since='never', context='[' WHERE slot='signal'")
    done = invoke("leases", *stored.options)
    assert (done.code, done.err) == (0, "")
    assert len(json.loads(invoke("leases", *stored.options, "--json").out)["leases"]) == 2
    assert invoke("leases", "release", SIGNAL, "--force", *stored.options).code == 0
    assert stored.find_owner(SIGNAL) is None


def test_database_of_a_newer_version_is_refused(database: Database) -> None:
    database.client[database.name]["backtest_mongo"].insert_one({"_id": "format", "needs": ["leases", "forks"]})
    for arguments in (["leases"], ["leases", "release", SIGNAL, "--force"]):
        done = invoke(*arguments)
        assert (done.code, done.out) == (1, "")
        assert "needs what this version of backtest-mongo does not know: forks" in done.error


def test_list_s_option_is_refused_before_a_subcommand(tmp_path: Path) -> None:
    done = invoke("leases", "--json", "release", SIGNAL)
    assert done.code == 2
    assert "it is for the list alone" in done.error


@pytest.mark.parametrize("driver", ["motor", "pymongo", "sqlite"], indirect=True)
@pytest.mark.files
async def test_owner_that_still_runs_loses_its_lease(deployment: Deployment, tmp_path: Path) -> None:
    options = ["--sqlite", str(tmp_path / "backtest.db")] if not deployment.config else []
    signal = persist.signal("BTCUSDT", "s", "binance")
    await signal.write_signal_data({"id": "before"})

    async def trade() -> None:
        async with lease(signal):
            await signal.write_signal_data({"id": "mine"})
            words = ["leases", "release", "signal", "BTCUSDT", "s", "binance", "--force", *options]
            done = await asyncio.to_thread(run, *words, **deployment.environment)
            assert (done.returncode, done.stderr) == (0, "")
            await signal.write_signal_data({"id": "late"})

    with pytest.raises(LeaseLostError, match="released by force"):
        await trade()
    assert await signal.read_signal_data() == {"id": "mine"}
    async with lease(signal):
        pass


@pytest.mark.parametrize("driver", ["motor", "pymongo"], indirect=True)
async def test_open_transaction_of_the_owner_does_not_hold_up_a_release(deployment: Deployment) -> None:
    """A process that stands still in the middle of a commit keeps the document of its lease locked."""
    signal = persist.signal("BTCUSDT", "s", "binance")
    committer: Any = signal._base_store().committer
    claim = await take_leases(signal)
    await begin(claim.handle)
    assert await committer._leases.fence(claim, "commit", claim.handle) is not None
    # Within the deadline of an operation, long before the server ends the transaction by itself.
    assert await asyncio.wait_for(committer.release_by_force(SIGNAL), SECONDS)
    assert await committer.list_leases() == []

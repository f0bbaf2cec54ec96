"""What the driver reads in a connection string decides what is refused, and not what it looks like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pymongo
import pytest

import backtest_mongo
from backtest_mongo import CandleAdapter, ConfigError, StateAdapter, StoreError
from backtest_mongo.connection.hub_registry import current_hub
from tests.conftest import drop_with
from tests.support.secrets import SECRET, assert_no_secret
from tests.support.uniform import WHEN, candles

# The driver warns of options that come twice or are unknown, and goes on.
pytestmark = [pytest.mark.either_driver, pytest.mark.filterwarnings("ignore::UserWarning")]


#: Each is ``w=0`` for the driver.
UNACKNOWLEDGED = [
    "w=0",
    "w=00",
    "w=%30",
    "w=0%30",
    "w=+0",
    "w=%2B0",
    "w=-0",
    "w=0_0",
    "w=%200",
    "w=%D9%A0",
    "W=0",
    "w=0&appName=a?b",
    "appName=a?b&w=0",
    "w=0&appName=?",
    "w=0;appName=x",
    "w=1&w=0",
    "w=majority&W=0",
    "w=0&journal=true",
    "w=0&wtimeoutMS=5000",
]
#: Each makes the driver ask for no journal, and for something else than the one server that answers.
UNJOURNALLED = [
    f"{concern}{journal}"
    for concern in ("", "w=majority&", "w=2&")
    for journal in ("journal=false", "JOURNAL=false", "journal=%66alse", "journal=true&journal=false")
] + [
    "journal=false&appName=a?b",
    "journal=false&w=majority",
    "w=1&w=majority&journal=false",
    "journal=false&wtimeoutMS=5000",
    "journal=false;w=majority",
]
ACKNOWLEDGED = {
    "": {"w": "majority"},
    "w=1": {"w": 1},
    "w=01": {"w": 1},
    "w=%31": {"w": 1},
    "w=0&w=1": {"w": 1},
    "w=majority": {"w": "majority"},
    "w=1&appName=w%3D0": {"w": 1},
    "w=1&appName=a?w%3D0": {"w": 1},
    "appName=a?w%3D0": {"w": "majority"},
    "w=1&journal=false": {"w": 1, "j": False},
    "journal=false&w=01": {"w": 1, "j": False},
    "w=1&journal=false&appName=a?b": {"w": 1, "j": False},
    "journal=true": {"w": "majority", "j": True},
    "journal=false&journal=true": {"w": "majority", "j": True},
    "appName=a?journal%3Dfalse": {"w": "majority"},
    # No option of the driver's, which passes over it: what is said is not done, so writes stay durable.
    "w=majority&j=true": {"w": "majority"},
}


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    """What a test leaves open is closed, whatever became of it."""
    yield
    await backtest_mongo.close()


@pytest.fixture
def observer(servers: dict[str, Any]) -> Any:
    with pymongo.MongoClient[dict[str, Any]](servers["CC_MONGO_CONNECTION_STRING"]) as client:
        yield client


@pytest.fixture
def place(servers: dict[str, Any]) -> str:
    """The connection string up to its host, a slash at its end."""
    return servers["CC_MONGO_CONNECTION_STRING"].partition("?")[0].rpartition("/")[0] + "/"  # type: ignore[no-any-return]


@pytest.fixture
def other(servers: dict[str, Any], driver: str) -> dict[str, Any]:
    """The configuration but for its connection string."""
    return {**servers, "CC_MONGO_DRIVER": driver}


async def set_up(other: dict[str, Any], uri: str) -> Any:
    await backtest_mongo.setup({**other, "CC_MONGO_CONNECTION_STRING": uri})
    return await backtest_mongo.get_mongo()


async def assert_refused(other: dict[str, Any], uri: str) -> None:
    with pytest.raises(ConfigError, match="CC_MONGO_CONNECTION_STRING") as caught:
        await set_up(other, uri)
    assert_no_secret(caught.value)


def _assert_names_the_field(error: ConfigError) -> None:
    assert "CC_MONGO_CONNECTION_STRING" in str(error)


@pytest.mark.parametrize("place_of_options", ["db?", "?"])
@pytest.mark.parametrize("options", UNACKNOWLEDGED)
async def test_writes_without_acknowledgement_are_refused_however_they_are_written(
    other: dict[str, Any], options: str, place_of_options: str
) -> None:
    await assert_refused(other, f"mongodb://user:{SECRET}@127.0.0.1:1/{place_of_options}{options}")


@pytest.mark.parametrize("options", UNJOURNALLED)
async def test_writes_without_journal_are_refused_however_they_are_written(other: dict[str, Any], options: str) -> None:
    await assert_refused(other, f"mongodb://user:{SECRET}@127.0.0.1:1/db?{options}")


@pytest.mark.parametrize("options", ["j=false", "w=majority&j=false", "w=2&j=false", "J=false", "w=1&j=false"])
async def test_short_name_of_the_journal_is_refused_or_changes_nothing(other: dict[str, Any], options: str) -> None:
    try:
        await set_up(other, f"mongodb://user:{SECRET}@127.0.0.1:1/db?{options}")
    except ConfigError as error:
        assert_no_secret(error)
        _assert_names_the_field(error)
    else:
        concern = current_hub().database.write_concern.document
        assert concern.get("j") is not False or concern["w"] == 1


@pytest.mark.parametrize("options", ["w=00", "journal=false", "w=0&appName=a?b"])
async def test_refusal_comes_from_the_environment_as_well(
    monkeypatch: pytest.MonkeyPatch, options: str, driver: str
) -> None:
    monkeypatch.setenv("CC_MONGO_CONNECTION_STRING", f"mongodb://user:{SECRET}@127.0.0.1:1/db?{options}")
    with pytest.raises(ConfigError, match="CC_MONGO_CONNECTION_STRING") as caught:
        await set_up_from_environment(driver)
    assert_no_secret(caught.value)


async def set_up_from_environment(driver: str) -> None:
    await backtest_mongo.setup(CC_MONGO_DRIVER=driver)
    await backtest_mongo.get_mongo()


@pytest.mark.parametrize("password", [f"a%3F{SECRET}", f"{SECRET}%40", f"w=0{SECRET}"])
async def test_refusal_shows_no_password_of_any_kind(other: dict[str, Any], password: str) -> None:
    await assert_refused(other, f"mongodb://user:{password}@127.0.0.1:1/db?w=00&appName=a?b")


@pytest.mark.parametrize("options", ACKNOWLEDGED)
async def test_acknowledged_writes_keep_what_the_driver_made_of_their_options(
    other: dict[str, Any], place: str, unique: str, options: str, observer: Any
) -> None:
    await set_up(other, f"{place}{unique}?{options}")
    assert current_hub().database.write_concern.document == ACKNOWLEDGED[options]
    await StateAdapter(unique, "s").write_state_data({"n": 1}, WHEN)
    assert await StateAdapter(unique, "s").read_state_data() == {"n": 1}
    await backtest_mongo.close()
    drop_with(observer, unique)


@pytest.mark.parametrize("options", [*UNACKNOWLEDGED, "w=1", ""])
@pytest.mark.parametrize("rows", [10, 600])
async def test_candles_that_the_server_refuses_are_never_counted_as_stored(
    other: dict[str, Any], place: str, unique: str, options: str, rows: int, observer: Any
) -> None:
    collection = observer[unique].create_collection("candle-items", validator={"never": {"$exists": True}})
    try:
        with pytest.raises((ConfigError, StoreError)):
            await write_candles(other, f"{place}{unique}?{options}", unique, rows)
        with pytest.raises((ConfigError, StoreError)):
            await write_frame(other, f"{place}{unique}?{options}", unique, rows)
        assert collection.count_documents({}) == 0
    finally:
        drop_with(observer, unique)


async def write_candles(other: dict[str, Any], uri: str, unique: str, rows: int) -> None:
    await set_up(other, uri)
    await CandleAdapter("BTCUSDT", "1m", unique).write_candles_data(candles(rows))


async def write_frame(other: dict[str, Any], uri: str, unique: str, rows: int) -> None:
    await set_up(other, uri)
    columns = {name: [row[name] for row in candles(rows)] for name in candles(1)[0]}
    await CandleAdapter("BTCUSDT", "1m", unique).write_frame(columns)


# White space, and names of databases


@pytest.mark.parametrize("after", ["", "?w=majority&appName=a?b"])
@pytest.mark.parametrize("space", ["\n", "\r\n", " \t", "\u00a0"])
@pytest.mark.parametrize("at", ["end", "begin", "both"])
async def test_white_space_at_the_ends_is_stripped_or_refused(
    other: dict[str, Any], place: str, unique: str, after: str, space: str, at: str, observer: Any
) -> None:
    before = set(observer.list_database_names())
    uri = f"{place}{unique}{after}"
    uri = {"end": f"{uri}{space}", "begin": f"{space}{uri}", "both": f"{space}{uri}{space}"}[at]
    await write_where_it_says(other, uri, unique, observer)
    assert not [name for name in set(observer.list_database_names()) - before if unique in name and name != unique]
    drop_with(observer, unique)


async def write_where_it_says(other: dict[str, Any], uri: str, name: str, observer: Any) -> None:
    """Write by a connection string, which is refused, or leads to the database ``name``."""
    try:
        await set_up(other, uri)
    except ConfigError as error:
        _assert_names_the_field(error)
        return
    await StateAdapter(name, "s").write_state_data({"n": 1}, WHEN)
    await backtest_mongo.close()
    assert observer[name]["state-items"].count_documents({}) == 1


@pytest.mark.parametrize("host_alone", [True, False])
async def test_white_space_after_the_host_is_stripped_or_refused(other: dict[str, Any], host_alone: bool) -> None:
    try:
        client = await set_up(other, "mongodb://127.0.0.1:1" + ("\n" if host_alone else "/\n"))
    except ConfigError as error:
        _assert_names_the_field(error)
    else:
        assert current_hub().database.name == "backtest-kit"
        assert client.options is not None
        await backtest_mongo.close()


@pytest.mark.parametrize(
    "name",
    [
        *("my.db", "my%2Edb", "my%2edb", "my.db.more", "my.", ".db", "%2E"),
        *("db%0A", "db%0D%0A", "db%20", "%20db", "db%09", "d%0Ab", "db%00", "db%C2%A0"),
        *("my%24db", "$db", "my%2Fdb", "my/db", "my%5Cdb", "my%22db"),
    ],
)
@pytest.mark.parametrize("after", ["", "?appName=a?b"])
async def test_name_that_is_none_of_a_database_is_refused(other: dict[str, Any], name: str, after: str) -> None:
    await assert_refused(other, f"mongodb://user:{SECRET}@127.0.0.1:1/{name}{after}")


@pytest.mark.parametrize("name", ["{}-plain", "{}_x", "{}-%41", "%64{}", "{}-ä", "{}-%C3%A4", "{}%2Dx"])
async def test_encoded_name_leads_to_the_database_that_it_names(
    other: dict[str, Any], place: str, unique: str, name: str, observer: Any
) -> None:
    from urllib.parse import unquote

    written = name.format(unique)
    await set_up(other, f"{place}{written}")
    await StateAdapter(unique, "s").write_state_data({"n": 1}, WHEN)
    await backtest_mongo.close()
    database = unquote(written)
    assert observer[database]["state-items"].count_documents({}) == 1
    drop_with(observer, database)


async def test_connection_string_without_a_name_leads_to_the_default(other: dict[str, Any]) -> None:
    for uri in ("mongodb://127.0.0.1:1", "mongodb://127.0.0.1:1/", "mongodb://127.0.0.1:1/?appName=a?b"):
        await set_up(other, uri)
        assert current_hub().database.name == "backtest-kit"
    await backtest_mongo.close()


# Options of which the library has a value of its own, where the connection string has none


@pytest.mark.parametrize(
    "options",
    [
        "timeoutMS=4321&heartbeatFrequencyMS=7654&retryWrites=true",
        "timeoutMS=4321&heartbeatFrequencyMS=7654&retryWrites=true&appName=a?b",
        "appName=a?b&TIMEOUTMS=4321&HeartbeatFrequencyMS=7654&RETRYWRITES=true",
        "timeoutMS=%34321&heartbeatFrequencyMS=765%34&retryWrites=%74rue",
        "timeoutMS=4321;heartbeatFrequencyMS=7654;retryWrites=true",
        "timeoutMS=1&timeoutMS=4321&heartbeatFrequencyMS=7654&retryWrites=true",
    ],
)
async def test_option_of_the_connection_string_wins_over_the_library_s_own(other: dict[str, Any], options: str) -> None:
    client = await set_up({**other, "CC_MONGO_TIMEOUT_MS": 9_000}, f"mongodb://127.0.0.1:1/db?{options}")
    found = client.options
    assert (found.timeout, found.heartbeat_frequency, found.retry_writes) == (4.321, 7.654, True)
    await backtest_mongo.close()


@pytest.mark.parametrize(
    ("uri", "retries"),
    [
        ("mongodb://127.0.0.1:1/db", False),
        ("mongodb://127.0.0.1:1/db?appName=replicaSet%3Dx", False),
        ("mongodb://127.0.0.1:1/db?appName=a?replicaSet%3Dx", False),
        ("mongodb://127.0.0.1:1/db?replicaSet=x", True),
        ("mongodb://127.0.0.1:1/db?replicaSet=x&appName=a?b", True),
        ("mongodb://127.0.0.1:1/db?REPLICASET=%78&appName=a?b", True),
        ("mongodb://127.0.0.1:1,127.0.0.1:2/db?appName=a?b", True),
        ("mongodb://127.0.0.1:1/db?loadBalanced=false", False),
    ],
)
async def test_driver_retries_if_there_is_more_than_one_server(other: dict[str, Any], uri: str, retries: bool) -> None:
    assert (await set_up(other, uri)).options.retry_writes is retries
    await backtest_mongo.close()


@pytest.mark.parametrize("options", ["", "?w=1"])
async def test_name_that_needs_srv_records_is_not_resolved_to_be_judged(
    other: dict[str, Any], monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    resolver = pytest.importorskip("dns.resolver", reason="the driver needs it for mongodb+srv://")
    asked: list[Any] = []
    for name in ("resolve", "query"):
        monkeypatch.setattr(resolver, name, lambda *arguments, **_: asked.append(arguments))
    await set_up(other, f"mongodb+srv://user:{SECRET}@cluster.example/db{options}")
    assert asked == []
    await backtest_mongo.close()


@pytest.mark.parametrize("options", ["w=0", "w=00", "journal=false", "w=0&appName=a?b"])
async def test_name_that_needs_srv_records_is_refused_all_the_same(other: dict[str, Any], options: str) -> None:
    pytest.importorskip("dns.resolver", reason="the driver needs it for mongodb+srv://")
    await assert_refused(other, f"mongodb+srv://user:{SECRET}@cluster.example/db?{options}")

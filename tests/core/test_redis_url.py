"""``CC_REDIS_URL``: what each form means, what is refused, and one node reached by it."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

import backtest_mongo
from backtest_mongo import CandleAdapter, ConfigError, InitError, StateAdapter, get_config, set_config
from backtest_mongo.connection.redis_clients import format_address, make_redis_client
from backtest_mongo.connection.redis_cluster import Cluster
from backtest_mongo.core.config import Config, RedisURL
from backtest_mongo.embedded.server_process import HOST
from tests.conftest import Deployment, drop_database
from tests.support import redis_servers, uniform
from tests.support.deadlines import INIT_SECONDS
from tests.support.redis_servers import RedisNode, eventually
from tests.support.secrets import SECRET

pytestmark = pytest.mark.either_driver


def connection(url: str, **values: Any) -> dict[str, Any]:
    """Return what the client of a URL dials with."""
    set_config({"CC_REDIS_URL": url, **values})
    client = make_redis_client(get_config())
    return dict(client.connection_kwargs if isinstance(client, Cluster) else client.connection_pool.connection_kwargs)


NODES: list[tuple[str, dict[str, Any]]] = [
    ("redis://db", {"host": "db", "port": 6379, "db": 0, "username": None, "password": None}),
    ("redis://db:7000/3", {"host": "db", "port": 7000, "db": 3}),
    ("redis://db:7000/3/", {"db": 3}),
    ("redis://db/3?db=4", {"db": 4}),
    ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
    ("REDIS://db", {"host": "db"}),
    ("redis://bob:p%40ss%2Fw%3Ard%25@db", {"host": "db", "username": "bob", "password": "p@ss/w:rd%"}),
    ("redis://:secret@db", {"username": None, "password": "secret"}),
    ("redis://db?username=bob&password=a%20b", {"username": "bob", "password": "a b"}),
    ("redis://eve:x@db?username=bob&password=y", {"username": "eve", "password": "x"}),
    ("redis://db?socket_timeout=2.5&max_connections=7", {"socket_timeout": 2.5}),
    ("redis://db?client_name=trader&health_check_interval=30", {"client_name": "trader", "health_check_interval": 30}),
    ("rediss://db:7001/1", {"host": "db", "port": 7001, "db": 1, "ssl_cert_reqs": "required"}),
    ("rediss://db?ssl_check_hostname=false&ssl_cert_reqs=none", {"ssl_check_hostname": False, "ssl_cert_reqs": "none"}),
    ("unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 0}),
    ("unix:///run/a%20b.sock?db=2", {"path": "/run/a b.sock", "db": 2}),
    ("unix://bob:x@/run/redis.sock", {"path": "/run/redis.sock", "username": "bob", "password": "x"}),
    ("redis+cluster://one,two:7001", {"username": None}),
    ("rediss+cluster://bob:x@one/0", {"username": "bob", "password": "x", "ssl_check_hostname": True}),
    ("redis+sentinel://bob:x@one,two:7001/ids/2", {"username": "bob", "password": "x", "db": 2}),
    ("rediss+sentinel://one/ids?ssl_ciphers=HIGH", {"ssl_ciphers": "HIGH", "db": 0}),
]


@pytest.mark.parametrize(("url", "expected"), NODES)
async def test_url_is_what_the_client_dials(url: str, expected: dict[str, Any]) -> None:
    dialled = connection(url)
    assert {name: dialled.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:p@db/3?socket_timeout=1", "db:6379"),
        ("redis://[::1]", "[::1]:6379"),
        ("unix://u:p@/run/redis.sock?db=1", "/run/redis.sock"),
        ("rediss+cluster://u:p@one,two:7001", "one:6379,two:7001"),
        ("redis+sentinel://u:p@one,[::2]:7001/ids/1?sentinel_password=x", "one:26379,[::2]:7001/ids"),
        ("", "10.0.0.1:7002"),
    ],
)
def test_address_holds_no_credentials(url: str, expected: str) -> None:
    set_config(CC_REDIS_URL=url, CC_REDIS_HOST="10.0.0.1", CC_REDIS_PORT=7002)
    assert format_address(get_config()) == expected


async def test_user_and_password_of_their_own_fields_stand_in_where_the_url_has_none() -> None:
    fields = {"CC_REDIS_USER": "field-user", "CC_REDIS_PASSWORD": "field-password"}
    for url, expected in (
        ("redis://db", ("field-user", "field-password")),
        ("redis://url-user@db", ("url-user", "field-password")),
        ("redis://:url-password@db", ("field-user", "url-password")),
        ("redis+cluster://db", ("field-user", "field-password")),
        ("redis+sentinel://db/ids", ("field-user", "field-password")),
        ("unix:///run/redis.sock?password=url-password", ("field-user", "url-password")),
    ):
        dialled = connection(url, **fields)
        assert (dialled["username"], dialled["password"]) == expected


async def test_options_of_the_library_win_over_those_of_the_url() -> None:
    for url in ("redis://db", "redis+cluster://db", "redis+sentinel://db/ids"):
        set_config(CC_REDIS_URL=f"{url}?socket_timeout=30")
        client = make_redis_client(get_config(), socket_timeout=1)
        kwargs = client.connection_kwargs if isinstance(client, Cluster) else client.connection_pool.connection_kwargs
        assert kwargs["socket_timeout"] == 1


async def test_sentinels_have_credentials_of_their_own_and_the_timeouts_and_tls_of_the_nodes() -> None:
    url = "rediss+sentinel://u:p@one/ids?sentinel_username=s&sentinel_password=t%40&ssl_check_hostname=no&db=1"
    set_config(CC_REDIS_URL=url)
    client: Any = make_redis_client(get_config(), socket_timeout=3)
    (sentinel,) = client.connection_pool.sentinel_manager.sentinels
    dialled = sentinel.connection_pool.connection_kwargs
    assert (dialled["username"], dialled["password"]) == ("s", "t@")
    assert (dialled["socket_timeout"], dialled["ssl_check_hostname"], dialled["db"]) == (3, False, 0)


BAD: list[tuple[str, str]] = [
    ("localhost", "must start with one of redis://, rediss://, unix://"),
    (f"http://u:{SECRET}@db", "must start with one of"),
    (f"redis:/{SECRET}", "must start with one of"),
    ("redis://", "must name a host"),
    (f"redis://u:{SECRET}@", "must name a host"),
    (f"redis://u:{SECRET}@db:99999", "ports from 1 to 65535"),
    (f"redis://u:{SECRET}@db:0", "ports from 1 to 65535"),
    (f"redis://u:{SECRET}@db:port", "its host as host or host:port"),
    (f"redis://u:{SECRET}@db:1:2", "its host as host or host:port"),
    (f"redis://u:{SECRET}@[::1", "its host as host or host:port"),
    (f"redis://u:{SECRET}@one,two", "one host; several need"),
    (f"redis://u:{SECRET}@db/ids", "the database as a number"),
    (f"redis://u:{SECRET}@db/1/2", "the database as a number"),
    (f"redis://u:a/{SECRET}@db", "options escaped"),
    (f"redis://u:a?{SECRET}@db", "options escaped"),
    (f"redis://u:a#{SECRET}@db", "options escaped"),
    (f"redis://u:{SECRET}@db/0?client_name=a@b", "options escaped"),
    (f"redis://u:{SECRET}@db/0#x", "options escaped"),
    (f"redis://u:a {SECRET}@db", "no white space"),
    (f"redis://u:{SECRET}@db\n", "no white space"),
    (f"redis://u:{SECRET}@db?socket_timout=1", "an option that is not one of client_name, db,"),
    (f"redis://u:{SECRET}@db?socket_timout=", "an option that is not one of"),
    (f"redis://u:{SECRET}@db?decode_responses=true", "an option that is not one of"),
    (f"redis://u:{SECRET}@db?sentinel_password={SECRET}", "an option that is not one of"),
    (f"redis://u:{SECRET}@db?socket_timeout={SECRET}", "Invalid value for .?socket_timeout"),
    (f"redis://u:{SECRET}@db?ssl_ca_certs=/ca.pem", "TLS options, which need rediss://"),
    (f"unix://u:{SECRET}@/run/redis.sock?ssl_ca_certs=/ca.pem", "TLS options, which need rediss://"),
    ("unix://run/redis.sock", "absolute path"),
    ("unix://", "absolute path"),
    (f"redis+cluster://u:{SECRET}@db/1", "a Redis Cluster has only one"),
    (f"redis+cluster://u:{SECRET}@db?db=1", "an option that is not one of"),
    (f"redis+cluster://u:{SECRET}@one,", "its host as host or host:port"),
    (f"redis+sentinel://u:{SECRET}@db", "name the service after the Sentinels, as in"),
    (f"redis+sentinel://u:{SECRET}@db/", "name the service after the Sentinels, as in"),
    (f"redis+sentinel://u:{SECRET}@db/ids/zero", "the database as a number"),
]


@pytest.mark.parametrize(("url", "rule"), BAD)
def test_url_that_can_t_be_read_is_refused_by_its_rule_and_without_its_text(url: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"^CC_REDIS_URL \(given, str\): (?=must |has |Invalid ).*{rule}") as caught:
        set_config(CC_REDIS_URL=url)
    assert SECRET not in str(caught.value)
    assert not get_config().CC_REDIS_URL


@pytest.mark.parametrize(
    "options",
    ["ssl_ca_certs=/no/such/file", "ssl_cert_reqs=perhaps", f"ssl_ciphers={SECRET}", "ssl_certfile=/no/such/file"],
)
@pytest.mark.parametrize("form", ["rediss://db", "rediss+cluster://db", "rediss+sentinel://db/ids"])
async def test_tls_options_that_can_t_be_used_are_an_error_at_once(form: str, options: str) -> None:
    set_config(CC_REDIS_URL=f"{form}?{options}")
    with pytest.raises(ConfigError, match="CC_REDIS_URL: the client refuses it") as caught:
        make_redis_client(get_config())
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.hint == "check its options, and that the files which they name can be read and are valid"


MASKED: list[tuple[str, str]] = [
    (f"redis://u:{SECRET}@db:1/0?password={SECRET}", "redis://**********@db:1/0"),
    (f"redis://u:a@{SECRET}@db/0", "redis://**********@db/0"),
    (f"redis://u:a/{SECRET}@db/0", "redis://**********"),
    (f"redis://u:a#{SECRET}@db/0", "redis://**********@db/0"),
    (f"redis://u:p@db/0?sentinel_password=a@{SECRET}", "redis://**********"),
    (f"redis://u:p@db?sentinel_password=a@{SECRET}", "redis://**********"),
    (f"redis://db#{SECRET}", "redis://db"),
    (f"rediss://u:p@db?ssl_ca_certs=/ca.pem&ssl_password={SECRET}", "rediss://**********@db"),
    (f"redis://user:{SECRET}", "redis://**********"),
    (f"redis://[::1]:1,two:2/x?{SECRET}", "redis://[::1]:1,two:2/x"),
    (f"unix:///run/redis.sock?password={SECRET}", "unix:///run/redis.sock"),
    (f"redis+sentinel://:{SECRET}@a,b:1/ids/0?sentinel_password=x", "redis+sentinel://**********@a,b:1/ids/0"),
    (SECRET, "**********"),
    ("", ""),
]


@pytest.mark.parametrize(("url", "shown"), MASKED)
def test_url_shows_neither_credentials_nor_options(url: str, shown: str) -> None:
    value = RedisURL(url)
    assert (str(value), repr(value)) == (shown, f"RedisURL({shown!r})")
    assert value.get_secret_value() == url


def test_what_a_url_says_shows_no_secret_either() -> None:
    url = f"rediss+sentinel://u:{SECRET}@db/ids?ssl_password={SECRET}&sentinel_password={SECRET}"
    assert SECRET not in repr(RedisURL(url).target)


def test_url_of_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_REDIS_URL", f"redis://u:{SECRET}@db/1")
    config = get_config()
    assert format_address(config) == "db:6379"
    for text in (repr(config), str(config.model_dump())):
        assert "redis://**********@db/1" in text
        assert SECRET not in text
    assert SECRET not in config.model_dump_json()


def test_defaults_of_the_other_fields_of_this_kind() -> None:
    config = Config()
    assert (config.CC_REDIS_REQUIRED, config.CC_MONGO_READ_CONCERN) == (True, "local")
    with pytest.raises(ConfigError, match=r"CC_MONGO_READ_CONCERN .*'local', 'majority' or 'linearizable'"):
        set_config(CC_MONGO_READ_CONCERN="available")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNode]:
    # Not in a test's own directory: a socket's path has 107 characters at most.
    path = Path(tempfile.gettempdir()) / f"backtest-{uuid.uuid4().hex[:8]}.sock"
    with redis_servers.node("--unixsocket", path, password=SECRET) as started:
        client = started.client()
        rights = ("~*_cache:*", "+get", "+set", "+mget", "+mset", "+ping")
        client.execute_command("ACL", "SETUSER", "ids", "on", f">{SECRET}", *rights)
        client.execute_command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*_cache:*", "+get", "+mget", "+ping")
        client.execute_command("ACL", "SETUSER", "elsewhere", "on", f">{SECRET}", "~other:*", "+@all")
        yield started
    path.unlink(missing_ok=True)


def socket_of(node: RedisNode) -> str:
    return str(node.client().config_get("unixsocket")["unixsocket"])


@pytest.mark.parametrize("form", ["host", "redis", "database", "socket"])
async def test_ids_go_where_the_url_says(form: str, node: RedisNode, config: dict[str, Any], unique: str) -> None:
    forms: dict[str, dict[str, Any]] = {
        "host": {"CC_REDIS_HOST": HOST, "CC_REDIS_PORT": node.port, "CC_REDIS_PASSWORD": SECRET},
        "redis": {"CC_REDIS_URL": f"redis://:{SECRET}@{HOST}:{node.port}", "CC_REDIS_HOST": "nowhere.invalid"},
        "database": {"CC_REDIS_URL": f"redis://{HOST}:{node.port}/3", "CC_REDIS_PASSWORD": SECRET},
        "socket": {"CC_REDIS_URL": f"unix://:{SECRET}@{quote(socket_of(node))}?db=2"},
    }
    state = StateAdapter(unique, "b")
    async with backtest_mongo.setup({**config, **forms[form]}):
        await backtest_mongo.wait_for_init()
        await state.write_state_data({"n": 1}, uniform.WHEN)
        raw = await backtest_mongo.get_redis()
        assert isinstance(raw, Redis)
        database = {"database": 3, "socket": 2}.get(form, 0)
        await eventually(lambda: raw.exists(uniform.redis_key(state)))
        assert node.client(db=database).get(uniform.redis_key(state)) == await raw.get(uniform.redis_key(state))
        await drop_database(unique)


@pytest.fixture
def as_user(config: dict[str, Any], node: RedisNode, request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**config, "CC_REDIS_URL": f"redis://{request.param}:{SECRET}@{HOST}:{node.port}"}


@pytest.mark.parametrize("as_user", ["ids"], indirect=True)
async def test_user_with_five_commands_on_the_caches_keys_is_enough(
    as_user: dict[str, Any], node: RedisNode, unique: str
) -> None:
    client = node.client()
    client.execute_command("ACL", "LOG", "RESET")
    client.config_resetstat()
    async with backtest_mongo.setup(as_user):
        await backtest_mongo.wait_for_init()
        states = [StateAdapter(f"{unique}-{number}", "b") for number in range(20)]
        candles = CandleAdapter(unique, "1m", "x")
        await candles.write_candles_data(uniform.candles(50))
        for _ in range(2):
            await StateAdapter.write_many([((f"{unique}-{n}", "b"), {"n": n}) for n in range(20)], uniform.WHEN)
            await states[0].write_state_data({"n": 0}, uniform.WHEN)
            await StateAdapter(f"{unique}-alone", "b").write_state_data({}, uniform.WHEN)
            await backtest_mongo.close()
            assert await states[0].read_state_data() == {"n": 0}
            read = await StateAdapter.read_many([(f"{unique}-{n}", "b") for n in range(20)])
            assert read == [{"n": n} for n in range(20)]

        async def all_found() -> bool:
            return bool(client.exists(*(uniform.redis_key(state) for state in states)) == 20)

        await eventually(all_found)
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert {"get", "set", "mget", "mset", "ping"} <= used
        with pytest.raises(NoPermissionError):
            await (await backtest_mongo.get_redis()).keys("*")
        denied = {entry["object"] for entry in client.acl_log()}
        # What redis-py says of itself to every server; a server that refuses it is no worse for it.
        assert denied <= {"keys", "client|setinfo", "client|maint_notifications", "client"}
        await drop_database(unique)


@pytest.mark.parametrize("as_user", ["reader", "elsewhere"], indirect=True)
async def test_user_who_may_not_write_ids_changes_no_result(
    as_user: dict[str, Any], node: RedisNode, unique: str
) -> None:
    state = StateAdapter(unique, "b")
    async with backtest_mongo.setup(as_user):
        for number in range(8):
            await state.write_state_data({"n": number}, uniform.WHEN)
            assert await state.read_state_data() == {"n": number}
        assert not node.client().exists(uniform.redis_key(state))
        await drop_database(unique)


@pytest.mark.parametrize(
    ("user", "reason"), [(f"ids:not-{SECRET}", "AuthenticationError"), ("nobody:x", "AuthenticationError")]
)
async def test_refused_login_is_an_init_error_at_once(
    user: str, reason: str, node: RedisNode, config: dict[str, Any]
) -> None:
    url = f"redis://{user}@{HOST}:{node.port}"
    async with backtest_mongo.setup({**config, "CC_REDIS_URL": url}):
        with pytest.raises(InitError, match=f"Redis at {HOST}:{node.port} denies access: {reason}") as caught:
            await backtest_mongo.wait_for_init()
        assert SECRET not in str(caught.value)


async def test_cluster_client_on_a_single_node_says_that_it_is_not_a_cluster(
    node: RedisNode, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, deployment: Deployment, unique: str
) -> None:
    monkeypatch.setattr("backtest_mongo.connection.readiness.INIT_SECONDS", INIT_SECONDS)
    url = f"redis+cluster://:{SECRET}@{HOST}:{node.port}"
    await backtest_mongo.setup({**config, "CC_REDIS_URL": url})
    with pytest.raises(InitError, match=r"Redis at .*cluster support disabled"):
        await backtest_mongo.wait_for_init()
    state = StateAdapter(unique, "b")
    await state.write_state_data({"n": 1}, uniform.WHEN)
    assert await state.read_state_data() == {"n": 1}

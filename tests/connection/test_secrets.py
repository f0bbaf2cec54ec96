"""No secret of the configuration shows in anything that the library makes, whatever goes wrong."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import pickle
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus, unquote

import pytest
import structlog
from rich.console import Console

import backtest_mongo
from backtest_mongo import (
    BacktestMongoError,
    ConfigError,
    InitError,
    StateAdapter,
    StorageAdapter,
    StoreError,
    StoreUnavailableError,
    get_config,
    set_config,
    set_logger,
    sync,
)
from backtest_mongo.cli.doctor.diagnose import diagnose
from backtest_mongo.cli.doctor.output import print_diagnosis
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.config import Config, MongoURI, RedisURL
from backtest_mongo.embedded.server_process import HOST
from tests.cli.test_cli import run
from tests.support import redis_servers, uniform
from tests.support.guarded import GuardedMongod
from tests.support.redis_servers import RedisNode

pytestmark = pytest.mark.either_driver


TESTS: Final = str(Path(__file__).parent.parent)


# Each with characters that have to be escaped in a URL, so that neither form may show.
MONGO_USER: Final = "mu5er@1f"
MONGO_PASSWORD: Final = "mpa55/w%rd:1f"
MONGO_TOKEN: Final = "mt0ken-1f77"
REDIS_USER: Final = "ru5er@2f"
REDIS_PASSWORD: Final = "rpa55/w%rd:2f"
FIELD_PASSWORD: Final = "fpa55/w%rd:3f"
SENTINEL_USER: Final = "su5er@4f"
SENTINEL_PASSWORD: Final = "spa55/w%rd:4f"
KEY_PASSWORD: Final = "kpa55/w%rd:5f"
SECRETS: Final = (
    MONGO_USER,
    MONGO_PASSWORD,
    MONGO_TOKEN,
    REDIS_USER,
    REDIS_PASSWORD,
    FIELD_PASSWORD,
    SENTINEL_USER,
    SENTINEL_PASSWORD,
    KEY_PASSWORD,
)


def shown(text: str) -> list[str]:
    """Return the secrets that a text shows: as they are, escaped, or in parts."""
    parts = {part: secret for secret in SECRETS for part in (secret, quote_plus(secret), secret[:5], secret[-5:])}
    return sorted({secret for part, secret in parts.items() if part in text or part in unquote(text)})


def renderings(value: Any) -> Iterator[str]:
    yield repr(value)
    yield str(value)
    yield f"{value}"


def everything(error: BaseException) -> Iterator[str]:
    """Yield all that becomes of an error: its text, its fields, its traceback with its chain, and itself pickled."""
    yield from renderings(error)
    yield repr(vars(error))
    yield "".join(traceback.format_exception(error))
    yield repr(pickle.dumps(error))
    yield repr(vars(pickle.loads(pickle.dumps(error))))
    for summary in summaries(error):
        yield str(summary)
        for frame in summary.stack:
            # The variables of every function, but for those of the tests, which hold what they give.
            if not frame.filename.startswith(TESTS):
                yield from (frame.locals or {}).values()


def summaries(error: BaseException) -> Iterator[traceback.TracebackException]:
    pending: list[BaseException | None] = [error]
    while pending:
        if (one := pending.pop()) is not None:
            yield traceback.TracebackException.from_exception(one, capture_locals=True)
            pending += [one.__cause__, one.__context__ if one.__context__ is not one.__cause__ else None]


def assert_nothing_shown(*texts: str) -> None:
    for text in texts:
        assert not shown(text), text


def mongo_uri(host: str = f"{HOST}:1", options: str = "", password: str = MONGO_PASSWORD) -> str:
    return f"mongodb://{quote_plus(MONGO_USER)}:{quote_plus(password)}@{host}/trading?{options}"


def redis_url(place: str = f"{HOST}:1", scheme: str = "redis", user: str = REDIS_USER) -> str:
    return f"{scheme}://{quote_plus(user)}:{quote_plus(REDIS_PASSWORD)}@{place}"


SENTINELS: Final = (
    f"{redis_url(f'{HOST}:1,{HOST}:2/ids', 'redis+sentinel')}?sentinel_username={quote_plus(SENTINEL_USER)}"
    f"&sentinel_password={quote_plus(SENTINEL_PASSWORD)}"
)
#: Nobody listens there.
NOWHERE: Final = {
    "CC_MONGO_CONNECTION_STRING": mongo_uri(options="serverSelectionTimeoutMS=200"),
    "CC_MONGO_TIMEOUT_MS": 300,
    "CC_REDIS_URL": redis_url(),
    "CC_REDIS_PASSWORD": FIELD_PASSWORD,
}


class Lines:
    """Every log line there is: the library's by structlog and by the standard library, and the drivers'."""

    def __init__(self) -> None:
        self.text = io.StringIO()

    def __str__(self) -> str:
        return self.text.getvalue()


@pytest.fixture
def lines(driver: str) -> Iterator[Lines]:
    collected = Lines()
    handler = logging.StreamHandler(collected.text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    if driver == "motor":  # so that each kind of logger has its turn
        set_logger(logging.getLogger("backtest_mongo"))
    else:
        processors: list[Any] = [structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()]
        set_logger(structlog.wrap_logger(structlog.PrintLogger(collected.text), processors=processors))
    yield collected
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def short_probing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest_mongo.connection.readiness.INIT_SECONDS", 0.5)


@pytest.mark.parametrize("url", [redis_url(), SENTINELS, redis_url(scheme="redis+cluster"), ""])
def test_configuration(url: str) -> None:
    options = f"authMechanismProperties=AWS_SESSION_TOKEN:{MONGO_TOKEN}"
    uri = mongo_uri(options=options)
    set_config(CC_MONGO_CONNECTION_STRING=uri, CC_REDIS_URL=url, CC_REDIS_PASSWORD=FIELD_PASSWORD)
    config = get_config()
    other = Config(CC_MONGO_CONNECTION_STRING=MongoURI(uri), CC_REDIS_URL=RedisURL(redis_url("other")))
    for value in (config, config.model_dump(), config.model_copy(), [config], {"config": config}, other):
        assert_nothing_shown(*renderings(value))
    assert_nothing_shown(config.model_dump_json(), repr(list(config.__repr_args__())))
    with pytest.raises(AssertionError) as caught:
        assert config == other
    assert_nothing_shown(*renderings(caught.value), "".join(traceback.format_exception_only(caught.value)))
    for field in ("CC_MONGO_CONNECTION_STRING", "CC_REDIS_URL", "CC_REDIS_PASSWORD"):
        assert_nothing_shown(*renderings(getattr(config, field)))
    assert config.CC_MONGO_CONNECTION_STRING.get_secret_value() == uri


def malformed() -> Iterator[dict[str, Any]]:
    raw = f"{MONGO_USER}:{MONGO_PASSWORD}"
    for uri in (
        f"mongo://{raw}@{HOST}",
        f"{raw}@{HOST}",
        f"mongodb://{raw}@{HOST}",
        f"mongodb://{raw}",
        f"mongodb://{raw}@",
        f"mongodb://{raw}@/x",
        f"mongodb+srv://{raw}@{HOST}",
        f"mongodb://{MONGO_USER}@{MONGO_TOKEN}@",
        f"mongodb:{raw}@{HOST}",
        mongo_uri(host=""),
        mongo_uri(host="[::1"),
        mongo_uri(host=f"{HOST}:1:2"),
        f"mongodb://user:{MONGO_TOKEN}",
        MONGO_PASSWORD,
    ):
        yield {"CC_MONGO_CONNECTION_STRING": uri}
    raw = f"{REDIS_USER}:{REDIS_PASSWORD}"
    for url in (
        f"http://{raw}@{HOST}",
        f"{raw}@{HOST}",
        f"redis://{raw}@{HOST}",
        f"redis://{raw}",
        f"redis:{raw}",
        redis_url("[::1"),
        redis_url("host:port"),
        redis_url("host/ids"),
        redis_url("host?nonsense=1"),
        redis_url(f"host?{REDIS_PASSWORD}"),
        redis_url(f"host?socket_timeout={SENTINEL_PASSWORD}"),
        f"{SENTINELS}&x=y",
        SENTINELS.replace("/ids", ""),
        f"unix://{raw}@/run/redis.sock",
        REDIS_PASSWORD,
    ):
        yield {"CC_REDIS_URL": url}
    yield {"CC_REDIS_PASSWORD": [FIELD_PASSWORD]}
    yield {"CC_REDIS_PASSWORD": {"a": FIELD_PASSWORD}}
    yield {"CC_REDIS_PASSWORD": FIELD_PASSWORD.encode("utf-16")}
    yield {"CC_REDIS_PASSWORD": FIELD_PASSWORD, "CC_MONGO_CONNECTION_STRING": mongo_uri(), "CC_REDIS_PORT": "x"}
    yield {"CC_REDIS_PASSWORD": FIELD_PASSWORD, "CC_REDIS_URL": SENTINELS, "CC_REDIS_HSOT": "x"}


@pytest.mark.parametrize("values", list(malformed()), ids=lambda values: "-".join(values))
@pytest.mark.parametrize("source", ["mapping", "keywords", "setup", "environment"])
async def test_malformed_configuration(source: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if source == "environment":
        if not all(isinstance(value, str) for value in values.values()) or "CC_REDIS_HSOT" in values:
            values = {"CC_REDIS_PORT": FIELD_PASSWORD}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        await configure(source, values)
    assert_nothing_shown(*everything(caught.value))


async def configure(source: str, values: dict[str, Any]) -> None:
    if source == "mapping":
        set_config(values)
    elif source == "keywords":
        set_config(**values)
    elif source == "setup":
        await backtest_mongo.setup(values)
    else:
        get_config()


REFUSED_URIS: Final = (
    mongo_uri(host=f"{HOST}:99999"),
    mongo_uri(options="w=0"),
    mongo_uri(options=f"w=majority&{MONGO_TOKEN}"),
    mongo_uri(options=f"authMechanismProperties=AWS_SESSION_TOKEN:{MONGO_TOKEN}&tlsCAFile=/no/such/file"),
    f"mongodb+srv://{quote_plus(MONGO_USER)}:{quote_plus(MONGO_PASSWORD)}@{HOST}/x",
    f"mongodb://{quote_plus(MONGO_USER)}:{MONGO_PASSWORD.replace('/', '')}@{HOST}/x",
    f"mongodb://{quote_plus(MONGO_USER)}:{quote_plus(MONGO_PASSWORD)}@{HOST}/a b",
)


@pytest.mark.parametrize("uri", REFUSED_URIS)
async def test_connection_string_that_the_driver_refuses(uri: str, driver: str, lines: Lines) -> None:
    await backtest_mongo.setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_DRIVER=driver)
    # A mongodb+srv:// address is looked up when it is first used.
    with pytest.raises(StoreUnavailableError if "srv" in uri else ConfigError) as caught:
        await StateAdapter("a", "b").read_state_data()
    await backtest_mongo.close()
    assert_nothing_shown(*everything(caught.value), str(lines))


@pytest.mark.parametrize("options", ["ssl_certfile=/no/such/file", "ssl_ciphers=NONE-SUCH", "ssl_min_version=1"])
@pytest.mark.parametrize("form", ["rediss://", "rediss+cluster://", "rediss+sentinel://"])
async def test_redis_url_that_the_client_refuses(form: str, options: str, config: dict[str, Any]) -> None:
    url = redis_url(f"{HOST}:1/ids" if "sentinel" in form else f"{HOST}:1", form.removesuffix("://"))
    own = f"&ssl_password={quote_plus(KEY_PASSWORD)}" if "cluster" not in form else ""
    await backtest_mongo.setup({**config, "CC_REDIS_URL": f"{url}?{options}{own}"})
    with pytest.raises(ConfigError, match="CC_REDIS_URL") as caught:
        await StateAdapter("a", "b").read_state_data()
    assert_nothing_shown(*everything(caught.value))


@pytest.mark.parametrize("uri", [uri for uri in REFUSED_URIS if "srv" not in uri and "w=0" not in uri])
def test_connection_string_that_the_synchronous_client_refuses(uri: str) -> None:
    set_config(CC_MONGO_CONNECTION_STRING=uri)
    with pytest.raises(ConfigError) as caught:
        sync.get_mongo()
    assert_nothing_shown(*everything(caught.value))


@pytest.mark.parametrize("options", ["ssl_certfile=/no/such/file", "ssl_min_version=1"])
@pytest.mark.parametrize("form", ["rediss://", "rediss+sentinel://"])
def test_redis_url_that_the_synchronous_client_refuses(form: str, options: str) -> None:
    url = redis_url(f"{HOST}:1/ids" if "sentinel" in form else f"{HOST}:1", form.removesuffix("://"))
    set_config(CC_REDIS_URL=f"{url}?{options}&ssl_password={quote_plus(KEY_PASSWORD)}")
    with pytest.raises(ConfigError, match="CC_REDIS_URL") as caught:
        sync.get_redis()
    assert_nothing_shown(*everything(caught.value))


@pytest.mark.usefixtures("short_probing", "closing")
@pytest.mark.parametrize("url", [redis_url(), SENTINELS, redis_url(scheme="redis+cluster")])
async def test_unreachable_servers(
    url: str, driver: str, lines: Lines, capsys: pytest.CaptureFixture[str], unique: str
) -> None:
    state = StateAdapter(unique, "b")
    async with backtest_mongo.setup({**NOWHERE, "CC_REDIS_URL": url, "CC_MONGO_DRIVER": driver}):
        with pytest.raises(InitError) as init:
            await backtest_mongo.wait_for_init()
        assert_nothing_shown(*everything(init.value))
        for call in (state.read_state_data(), state.write_state_data({"n": 1}, uniform.WHEN)):
            with pytest.raises(StoreUnavailableError) as caught:
                await call
            assert_nothing_shown(*everything(caught.value))
        hub = current_hub()
        for value in (hub, vars(hub), hub.id_cache, vars(hub.id_cache), state, vars(state), backtest_mongo.persist):
            assert_nothing_shown(*renderings(value))
        assert_nothing_shown(*renderings(await backtest_mongo.get_mongo()))
        assert_nothing_shown(*renderings(await backtest_mongo.get_redis()))
    assert_nothing_shown(str(lines), *capsys.readouterr())


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedMongod]:
    with tempfile.TemporaryDirectory() as directory:
        started = GuardedMongod(Path(directory))
        try:
            started.start()
            with started.as_root() as root:
                root.admin.command("createUser", MONGO_USER, pwd=MONGO_PASSWORD, roles=[])
                trader = [{"role": "readWrite", "db": "trading"}]
                root.admin.command("createUser", "trader", pwd=MONGO_PASSWORD, roles=trader)
            yield started
        finally:
            started.stop(kill=True)


@pytest.fixture(scope="module")
def redis_node() -> Iterator[RedisNode]:
    with redis_servers.node(password=FIELD_PASSWORD) as started:
        client = started.client()
        client.execute_command("ACL", "SETUSER", REDIS_USER, "on", f">{REDIS_PASSWORD}", "~*", "+get")
        yield started


@pytest.mark.usefixtures("closing")
async def test_refused_logins(guarded: GuardedMongod, redis_node: RedisNode, driver: str, lines: Lines) -> None:
    # The driver comes back to a server that has refused it with the next heartbeat.
    options = "authSource=admin&heartbeatFrequencyMS=500"
    uri = mongo_uri(f"{HOST}:{guarded.port}", options, password=f"{MONGO_PASSWORD}-wrong")
    url = redis_url(f"{HOST}:{redis_node.port}", user=f"{REDIS_USER}-wrong")
    said = r"MongoDB at \S+ denies access: error 18, AuthenticationFailed: the login was refused: check user"
    await _fails(uri, url, driver, f"{said}[^{{}}]*; Redis .* denies access", lines, StoreError)


@pytest.mark.usefixtures("short_probing", "closing")
async def test_missing_rights(guarded: GuardedMongod, redis_node: RedisNode, driver: str, lines: Lines) -> None:
    uri = mongo_uri(f"{HOST}:{guarded.port}", "authSource=admin")
    url = redis_url(f"{HOST}:{redis_node.port}")
    await _fails(uri, url, driver, "Redis .* denies access: NoPermissionError", lines, StoreError)


async def _fails(uri: str, url: str, driver: str, reason: str, lines: Lines, kind: type[BacktestMongoError]) -> None:
    values = {"CC_MONGO_CONNECTION_STRING": uri, "CC_REDIS_URL": url, "CC_MONGO_DRIVER": driver}
    async with backtest_mongo.setup(values):
        with pytest.raises(InitError, match=reason) as init:
            await backtest_mongo.wait_for_init()
        assert_nothing_shown(*everything(init.value))
        for adapter in (StateAdapter("a", "b"), StorageAdapter(True)):
            for call in (uniform.read(adapter), uniform.write(adapter, {"n": 1})):
                with pytest.raises(kind) as caught:
                    await call
                assert_nothing_shown(*everything(caught.value))
    assert_nothing_shown(str(lines))


async def test_caller_who_is_cancelled(guarded: GuardedMongod, driver: str) -> None:
    uri = f"mongodb://trader:{quote_plus(MONGO_PASSWORD)}@{HOST}:{guarded.port}/trading?authSource=admin"
    values = {"CC_MONGO_CONNECTION_STRING": uri, "CC_REDIS_URL": redis_url(), "CC_MONGO_DRIVER": driver}
    async with backtest_mongo.setup(values):
        writing = asyncio.ensure_future(StateAdapter("a", "b").write_state_data({"n": 1}, uniform.WHEN))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await writing
        assert_nothing_shown(*everything(caught.value))


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["serve", "--help"],
        ["demo", "--help"],
        ["demo", "--bars", "50", "--kills", "0"],
        ["doctor"],
        ["doctor", "--json"],
        ["inspect", "state"],
        ["inspect", "state", "--watch"],
        ["migrate", "--apply"],
    ],
)
def test_command_line(command: list[str], guarded: GuardedMongod, redis_node: RedisNode, tmp_path: Path) -> None:
    environment = {
        "CC_MONGO_CONNECTION_STRING": mongo_uri(
            f"{HOST}:{guarded.port}", "authSource=admin", f"{MONGO_PASSWORD}-wrong"
        ),
        "CC_REDIS_URL": redis_url(f"{HOST}:{redis_node.port}", user=f"{REDIS_USER}-wrong"),
        "CC_REDIS_PASSWORD": FIELD_PASSWORD,
    }
    done = run(*command, directory=tmp_path, **environment)
    assert_nothing_shown(done.stdout, done.stderr)
    if "--bars" in command:
        assert done.returncode == 1
        assert "denies access" in done.stderr
    elif "--help" not in command:
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("closing")
@pytest.mark.parametrize("state", ["allowed", "limited", "refused", "nowhere", "sentinels", "cluster"])
async def test_doctor(
    state: str,
    guarded: GuardedMongod,
    redis_node: RedisNode,
    driver: str,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it finds: as a user who may do all but one thing, or next to nothing, or is refused."""
    monkeypatch.setattr("backtest_mongo.cli.doctor.diagnose._ANSWER_SECONDS", 0.5)
    host, options = f"{HOST}:{guarded.port}", "authSource=admin&heartbeatFrequencyMS=500"
    limited = mongo_uri(host, options)
    urls = {
        "refused": redis_url(f"{HOST}:{redis_node.port}", user=f"{REDIS_USER}-wrong"),
        "nowhere": redis_url(),
        "sentinels": SENTINELS,
        "cluster": redis_url(scheme="redis+cluster"),
    }
    uris = {
        "allowed": f"mongodb://trader:{quote_plus(MONGO_PASSWORD)}@{host}/trading?{options}",
        "refused": mongo_uri(host, options, password=f"{MONGO_PASSWORD}-wrong"),
        "nowhere": mongo_uri(options="serverSelectionTimeoutMS=200"),
    }
    values = {
        "CC_MONGO_CONNECTION_STRING": uris.get(state, limited),
        "CC_REDIS_URL": urls.get(state, redis_url(f"{HOST}:{redis_node.port}")),
        "CC_REDIS_PASSWORD": FIELD_PASSWORD,
        "CC_MONGO_DRIVER": driver,
    }
    output = io.StringIO()
    async with backtest_mongo.setup(values):
        diagnosis = await diagnose()
        print_diagnosis(Console(file=output, width=100), diagnosis)
        for value in (diagnosis, *diagnosis.findings):
            assert_nothing_shown(*renderings(value))
    assert_nothing_shown(output.getvalue(), json.dumps(diagnosis.to_json()), str(lines))
    assert any(finding.severity != "ok" for finding in diagnosis.findings)


async def test_watching_and_migrating(guarded: GuardedMongod, driver: str, lines: Lines) -> None:
    uri = mongo_uri(f"{HOST}:{guarded.port}", "authSource=admin")
    async with backtest_mongo.setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_DRIVER=driver, CC_REDIS_URL=redis_url()):
        watch = StateAdapter("a", "b").watch()
        for call in (anext(watch), backtest_mongo.migrate(), backtest_mongo.migrate(apply=True)):
            with pytest.raises(StoreError) as caught:
                await call
            assert_nothing_shown(*everything(caught.value), *renderings(watch), repr(vars(watch)))
    assert_nothing_shown(str(lines))

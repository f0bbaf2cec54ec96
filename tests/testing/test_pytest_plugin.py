"""The pytest plugin as a user's tests see it: each run is a separate pytest process."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote

import pytest

import backtest_mongo
from backtest_mongo import StateAdapter, setup
from backtest_mongo.embedded.server_process import HOST
from tests.embedded.test_embedded import gone
from tests.support.deadlines import PROCESS_SECONDS
from tests.support.guarded import GuardedMongod

pytestmark = [pytest.mark.either_driver, pytest.mark.two_pythons]

pytest_plugins = ["pytester"]

PROJECT = Path(backtest_mongo.__file__).parent.parent
#: Without Hypothesis's plugin, which imports Hypothesis at the end: Python 3.11 can fail to parse a module while it
#: collects connections that were dropped.
ARGUMENTS = ("-p", "pytest_backtest_mongo", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "error")
#: Without the other installed plugins, except those that a test is about.
PLAIN = ("-p", "no:asyncio", "-p", "no:anyio")
#: Every kind of test that a user may have. None of them calls setup() or close().
KINDS = """
import asyncio, threading
import pytest
import backtest_mongo
from backtest_mongo import StateAdapter, persist

async def count(signal="signal"):
    # No test finds another one's rows.
    state = persist.state(signal, "counter")
    assert await state.read_state_data() is None
    await state.write_state_data({"n": 1}, 0)
    assert await StateAdapter(signal, "counter").read_state_data() == {"n": 1}
    await (await backtest_mongo.get_redis()).ping()

def test_run(backtest_store):
    asyncio.run(count())
    asyncio.run(count("another"))

def test_threads(backtest_store):
    with asyncio.Runner() as runner:
        runner.run(count())
        thread = threading.Thread(target=lambda: asyncio.run(count("another")))
        thread.start()
        thread.join()
"""
ASYNCIO = """
MARK
async def test_coroutine(backtest_store):
    await count()

MARK
async def test_reads_back(backtest_store):
    await count()
    row = await (await backtest_mongo.get_mongo())[backtest_store.database]["state-items"].find_one({})
    assert row["payload"] == {"n": 1}
"""
LONG = "".join(
    f"""
@pytest.mark.asyncio(loop_scope="{scope}")
async def test_{scope}_loop{again}(backtest_store):
    await count()
"""
    for scope in ("module", "session")
    for again in ("", "_again")
)
ANYIO = """
@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def counted(backtest_store):
    await count("fixture")

@pytest.mark.anyio
async def test_anyio(counted):
    await count()

@pytest.mark.anyio
async def test_anyio_again(counted):
    await count()
"""


def run(
    pytester: pytest.Pytester, code: str, *arguments: str, config: dict[str, Any] | None = None
) -> pytest.RunResult:
    """Run tests with the servers of ``config``, or without naming any."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CC_", "PYTEST_"))}
    environment |= {name: str(value) for name, value in (config or {}).items() if value != ""}
    pytester.makepyfile(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *ARGUMENTS, *arguments],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
        cwd=pytester.path,
        env={
            **environment,
            "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        },
    )
    print(done.stdout, done.stderr)
    return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0)


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    entry = {"pytest_backtest_mongo": "pytest_backtest_mongo"}
    assert project["project"]["entry-points"]["pytest11"] == entry
    assert "pytest_backtest_mongo.py" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_without_its_fixtures_the_plugin_imports_nothing(pytester: pytest.Pytester) -> None:
    code = """
import sys
def test_nothing():
    assert not {"backtest_mongo", "pymongo", "motor", "redis", "numpy"} & set(sys.modules)
"""
    run(pytester, code, *PLAIN).assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_tests_of_every_kind_have_a_fresh_database(
    mode: str, driver: str, servers: dict[str, Any], pytester: pytest.Pytester
) -> None:
    code = KINDS + ASYNCIO.replace("MARK", "@pytest.mark.asyncio" if mode == "strict" else "") + LONG
    options = ("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:anyio")
    run(pytester, code, *options, "--backtest-driver", driver, config=servers).assert_outcomes(passed=8)


def test_anyio_runs_it_on_asyncio(driver: str, servers: dict[str, Any], pytester: pytest.Pytester) -> None:
    options = ("-p", "no:asyncio", "-o", f"backtest_driver={driver}")
    run(pytester, KINDS + ANYIO, *options, config=servers).assert_outcomes(passed=4)


async def test_nothing_of_a_run_stays_on_the_user_s_servers(
    config: dict[str, Any], servers: dict[str, Any], unique: str, pytester: pytest.Pytester
) -> None:
    code = f"""
import asyncio
from backtest_mongo import StateAdapter, get_redis

def test_write(backtest_store):
    async def write():
        for name in ("mine", "shared"):
            await StateAdapter("{unique}", name).write_state_data({{}}, 0)
        await (await get_redis()).set(backtest_store.redis_prefix + "own", "value")
    asyncio.run(write())
    print("DATABASE", backtest_store.database)
"""
    async with setup(config):
        shared = StateAdapter.spec.redis_key((unique, "shared"))
        redis, mongo = await backtest_mongo.get_redis(), await backtest_mongo.get_mongo()
        await redis.set(f"{unique}:other", "kept")
        done = run(pytester, code, *PLAIN, "-s", config=servers)
        done.assert_outcomes(passed=1)
        name = next(line for line in done.outlines if "DATABASE" in line).split()[-1]
        assert name not in await mongo.list_database_names()
        assert await redis.mget(StateAdapter.spec.redis_key((unique, "mine")), shared) == [None, None]
        assert await redis.get(f"{unique}:other") == b"kept"
        assert await redis.keys(f"{name}*") == []
        await redis.delete(f"{unique}:other")


@pytest.mark.heavy
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_has_one_pair_of_embedded_servers_which_end_with_it(workers: str, pytester: pytest.Pytester) -> None:
    code = (
        KINDS
        + """
@pytest.mark.parametrize("number", range(4))
def test_raw_keys_are_fresh(backtest_servers, backtest_store, number, worker_id):
    assert backtest_servers.are_embedded
    async def use():
        redis, mongo = await backtest_mongo.get_redis(), await backtest_mongo.get_mongo()
        assert await redis.dbsize() == 0
        await redis.set("key", "value")
        status = await mongo.admin.command("serverStatus")
        print("SERVERS", status["pid"], (await redis.info("server"))["process_id"], worker_id)
    asyncio.run(use())
"""
    )
    done = run(pytester, code, *PLAIN, "-n", workers, "--dist", "each" if workers == "2" else "no", "-rP")
    done.assert_outcomes(passed=12 if workers == "2" else 6)
    lines = [line.split()[1:] for line in done.outlines if line.startswith("SERVERS")]
    assert len({worker for *_, worker in lines}) == max(1, int(workers))
    pids = {int(pid) for *both, _ in lines for pid in both}
    assert len(pids) == 2
    asyncio.run(gone(*pids))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_missing_servers_are_reported_in_one_line_with_what_to_do(workers: str, pytester: pytest.Pytester) -> None:
    code = "def test_nothing(backtest_store): pass\ndef test_other(backtest_store): pass"
    done = run(pytester, code, *PLAIN, "-n", workers, config={"BACKTEST_REDIS_SERVER": "/absent"})
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(["*backtest_servers: redis-server from $BACKTEST_REDIS_SERVER (*) does not run here*"])
    done.stdout.fnmatch_lines(["*; or name servers of yours by CC_MONGO_CONNECTION_STRING and CC_REDIS_HOST"])
    assert "Traceback" not in str(done.stdout)
    assert "During handling" not in str(done.stdout)


def test_unknown_driver_is_refused(pytester: pytest.Pytester) -> None:
    done = run(pytester, "", *PLAIN, "-o", "backtest_driver=mongoose")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*backtest_driver must be motor or pymongo"])


def test_configuration_and_registry_are_put_back(servers: dict[str, Any], pytester: pytest.Pytester) -> None:
    code = """
from pathlib import Path
from backtest_mongo import SlotSpec, get_config, persist, set_config
from backtest_mongo.testing import BacktestServers, BacktestStore

set_config(CC_CANDLE_CACHE_MB=7, CC_RUN="outside")

class Mine:
    def __init__(self, *context): pass
    async def read_signal_data(self): return {}
    async def write_signal_data(self, row): pass
    async def wait_for_init(self, initial=True): pass

def test_change(backtest_store, backtest_servers):
    assert type(backtest_store) is BacktestStore
    assert type(backtest_servers) is BacktestServers
    assert get_config().CC_CANDLE_CACHE_MB == 64
    assert get_config().CC_RUN == ""
    assert "secret" not in repr(backtest_store)
    assert "mongodb" not in repr(backtest_store)
    set_config(CC_MONGO_CONNECTION_STRING="mongodb://nowhere.invalid", CC_REDIS_PORT=1, CC_RUN="inside")
    persist.use(signal=Mine)
    persist.register(SlotSpec(name="mine", shape="document", context=("a",), key=("a",), redis=("a",)))
    assert isinstance(persist.signal("a", "b", "c"), Mine)

def test_is_as_before():
    assert (get_config().CC_CANDLE_CACHE_MB, get_config().CC_RUN) == (7, "outside")
    assert type(persist.signal("a", "b", "c")).__name__ == "SQLiteSignalAdapter"

def test_next(backtest_store):
    assert get_config().CC_RUN == ""
    assert "Mine" not in type(persist.signal("a", "b", "c")).__name__
    assert persist.mine("a").spec.name == "mine"

async def use(signal):
    await signal.write_signal_data({})
    assert await signal.read_signal_data() is None

def test_dummy(backtest_dummy):
    import asyncio
    asyncio.run(use(persist.signal("a", "b", "c")))

def test_files(backtest_files):
    import asyncio
    asyncio.run(persist.signal("a", "b", "c").write_signal_data({"n": 1}))
    assert (backtest_files / "data/signal/a_b_c/a.json").read_text() == '{"n":1}'

def test_files_again(backtest_files):
    import asyncio
    assert asyncio.run(persist.signal("a", "b", "c").read_signal_data()) is None

def test_sqlite(backtest_sqlite):
    import asyncio
    asyncio.run(persist.signal("a", "b", "c").write_signal_data({"n": 1}))
    assert backtest_sqlite.name == "backtest.db"
    assert backtest_sqlite.exists()

def test_sqlite_again(backtest_sqlite):
    import asyncio
    assert not backtest_sqlite.exists()
    assert asyncio.run(persist.signal("a", "b", "c").read_signal_data()) is None

def test_is_as_before_again():
    assert not isinstance(persist.signal("a", "b", "c"), Mine)
    assert not Path("dump").exists()
    assert not Path("backtest.db").exists()
"""
    run(pytester, code, *PLAIN, config=servers).assert_outcomes(passed=9)


def test_candles_of_a_test_don_t_get_into_the_database_of_real_ones(
    servers: dict[str, Any], unique: str, pytester: pytest.Pytester
) -> None:
    code = f"""
import asyncio, os
import backtest_mongo
from backtest_mongo import persist

CANDLE = {{"timestamp": 0, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}}

async def write():
    series = persist.candle("BTCUSDT", "1m", "x")
    assert (await series.coverage()).rows == 0
    assert await series.write_candles_data([CANDLE]) == 1

def test_store(backtest_store):
    async def check():
        await write()
        client = await backtest_mongo.get_mongo()
        assert "{unique}" not in await client.list_database_names()
        assert await client[backtest_store.database]["candle-items"].count_documents({{}}) == 1
    asyncio.run(check())
    assert backtest_store.environment["CC_CANDLE_DATABASE"] == ""

def test_sqlite(backtest_sqlite):
    asyncio.run(write())
    assert backtest_sqlite.exists()
    assert not os.path.exists("{unique}")
"""
    run(pytester, code, *PLAIN, config={**servers, "CC_CANDLE_DATABASE": unique}).assert_outcomes(passed=2)


def test_nothing_is_written_to_the_default_database_by_accident(
    servers: dict[str, Any], pytester: pytest.Pytester
) -> None:
    code = """
import asyncio
from pathlib import Path
import pytest
from backtest_mongo import ConfigError, persist

early = persist.state("a", "b")  # as in a strategy's module

@pytest.fixture(autouse=True)
def engine(request):
    state = persist.state("a", "c")
    yield
    if "plain" not in request.node.name:
        with pytest.raises(ConfigError, match="made before"):
            asyncio.run(state.write_state_data({}, 0))

def refuse():
    for work in (early.write_state_data({}, 0), early.read_state_data(), early.wait_for_init()):
        with pytest.raises(ConfigError, match="^state: .* the default database backtest.db"):
            asyncio.run(work)
    assert not Path("backtest.db").exists()

def test_store(backtest_store): refuse()
def test_files(backtest_files): refuse()
def test_sqlite(backtest_sqlite): refuse()
def test_dummy(backtest_dummy): refuse()
def test_servers(backtest_servers): refuse()

def test_asked_for(backtest_files, tmp_path):
    persist.use_files(tmp_path / "other")
    asyncio.run(persist.state("a", "b").write_state_data({}, 0))
    assert (tmp_path / "other").exists()

def test_plain():
    asyncio.run(early.write_state_data({}, 0))
    assert Path("backtest.db").exists()
"""
    run(pytester, code, *PLAIN, config=servers).assert_outcomes(passed=7)


def test_loop_closed_with_open_connections_is_reported_in_its_own_test(
    servers: dict[str, Any], pytester: pytest.Pytester
) -> None:
    code = """
import asyncio
from backtest_mongo import StateAdapter

def test_forgetful(backtest_store):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(StateAdapter("a", "b").read_state_data())
    loop.close()
"""
    done = run(pytester, code, *PLAIN, config=servers)
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*ResourceWarning: an event loop ended with backtest_mongo's connections open*"])


#: With a character that urlsplit() refuses and quotes in its error, and two that must be escaped.
PASSWORD = "pa55-1f\u2100/w%rd-2f"
#: None of these may appear in a report.
PARTS = (PASSWORD, quote_plus(PASSWORD), "pa55", "rd-2f", "\u2100", "%E2%84%80")
FLAGS = (
    ["-l"],
    ["--showlocals", "--tb=long", "-vv"],
    ["-l", "--tb=native"],
    ["-l", "--tb=auto", "--full-trace", "-rA"],
    ["-vv", "--tb=short", "--setup-show"],
)
FAILING = """
import asyncio
import backtest_mongo
from backtest_mongo import StateAdapter

def test_own_fault(backtest_store, backtest_servers):
    assert backtest_store == backtest_servers

def test_use(backtest_store, backtest_servers):
    async def use():
        await StateAdapter("a", "b").write_state_data({"n": 1}, 0)
    asyncio.run(use())
"""


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedMongod]:
    with tempfile.TemporaryDirectory() as directory:
        started = GuardedMongod(Path(directory))
        try:
            started.start()
            with started.as_root() as root:
                everything = [{"role": "root", "db": "admin"}]
                root.trading.command("createUser", "member", pwd=PASSWORD, roles=everything)
                root.admin.command("createUser", "member", pwd=f"{PASSWORD}-admin", roles=everything)
            yield started
        finally:
            started.stop(kill=True)


def guarded_uri(place: object, password: str = PASSWORD) -> str:
    return f"mongodb://member:{quote_plus(password)}@{HOST}:{place}"


def refused(guarded: GuardedMongod) -> dict[str, dict[str, Any]]:
    """Return configurations that fail, each in another way."""
    quick = "serverSelectionTimeoutMS=200"
    sound = f"{guarded_uri(guarded.port)}/trading"
    login = f"{guarded_uri(guarded.port, PASSWORD + '-wrong')}/trading?{quick}"
    secret = quote_plus(PASSWORD)
    return {
        "redis port": {"CC_MONGO_CONNECTION_STRING": sound, "CC_REDIS_PORT": 99999},
        "redis url": {"CC_MONGO_CONNECTION_STRING": sound, "CC_REDIS_URL": f"redis://u:{secret}@{HOST}:port"},
        "redis": {"CC_MONGO_CONNECTION_STRING": sound, "CC_REDIS_URL": f"redis://u:{secret}@{HOST}:1"},
        "login": {"CC_MONGO_CONNECTION_STRING": login, "CC_REDIS_PASSWORD": PASSWORD, "CC_REDIS_PORT": 1},
        "nobody": {"CC_MONGO_CONNECTION_STRING": f"{guarded_uri(1)}/trading?{quick}", "CC_REDIS_PORT": 1},
        "port": {"CC_MONGO_CONNECTION_STRING": f"{guarded_uri(99999)}/trading"},
        "unescaped": {"CC_MONGO_CONNECTION_STRING": f"mongodb://member:{PASSWORD}@{HOST}/trading"},
        "no host": {"CC_MONGO_CONNECTION_STRING": f"mongodb://member:{secret}@"},
        "scheme": {"CC_MONGO_CONNECTION_STRING": f"member:{secret}@{HOST}/trading"},
    }


SAID = {
    "redis port": "CC_REDIS_PORT (given, str): must be less than or equal to 65535",
    "redis url": "CC_REDIS_URL (given, str): must",
    "redis": "AssertionError",
    "login": "can't be removed: MongoDB at * the login was refused: check user, password and authSource",
    "nobody": f"can't be removed: MongoDB at {HOST}:1: ServerSelectionTimeoutError",
    "port": "CC_MONGO_CONNECTION_STRING: the driver refuses it",
    "unescaped": "must have its user and password escaped",
    "no host": "CC_MONGO_CONNECTION_STRING (given, str): must name a host",
    "scheme": "must start with mongodb://",
}


#: Every fault and every flag; all flags where the error passes through functions of a driver that hold the password.
RUNS = [
    *((fault, FLAGS[number % len(FLAGS)]) for number, fault in enumerate(SAID) if fault not in ("login", "nobody")),
    *((fault, flags) for fault in ("login", "nobody") for flags in FLAGS),
]


@pytest.mark.parametrize(("fault", "flags"), RUNS, ids=[f"{fault} {' '.join(flags)}" for fault, flags in RUNS])
@pytest.mark.parametrize("driver", ["pymongo"])
def test_no_flag_of_pytest_shows_a_password(
    fault: str, flags: list[str], driver: str, guarded: GuardedMongod, pytester: pytest.Pytester
) -> None:
    config = {"CC_MONGO_TIMEOUT_MS": 1000, "CC_MONGO_DRIVER": driver, **refused(guarded)[fault]}
    # Frames in the report may keep alive a coroutine that the driver dropped, whose warning then comes late.
    done = run(pytester, FAILING, *PLAIN, *flags, "-W", "ignore", config=config)
    text = "\n".join((*done.outlines, *done.errlines))
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert re.search(".*".join(map(re.escape, SAID[fault].split("*"))), text, re.DOTALL)
    for part in PARTS:
        assert part not in text
        assert part not in unquote(text)


@pytest.mark.parametrize("path", ["/trading", "", "/?maxPoolSize=5"])
@pytest.mark.parametrize("driver", ["motor"])
def test_login_uses_the_database_in_the_connection_string(
    path: str, driver: str, guarded: GuardedMongod, servers: dict[str, Any], pytester: pytest.Pytester
) -> None:
    code = """
import asyncio
import backtest_mongo
from backtest_mongo import StateAdapter

def test_write(backtest_store):
    async def use():
        await StateAdapter("a", "b").write_state_data({"n": 1}, 0)
        assert await StateAdapter("a", "b").read_state_data() == {"n": 1}
    asyncio.run(use())
    print("DATABASE", backtest_store.database)
"""
    password = PASSWORD if "trading" in path else f"{PASSWORD}-admin"
    uri = f"{guarded_uri(guarded.port, password)}{path}"
    config = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
    done = run(pytester, code, *PLAIN, "-s", config=config)
    done.assert_outcomes(passed=1)
    name = next(line for line in done.outlines if "DATABASE" in line).split()[-1]
    with guarded.as_root() as root:
        assert name not in root.list_database_names()

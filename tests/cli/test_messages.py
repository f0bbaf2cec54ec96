"""What a newcomer reads when something is wrong: scenario by scenario, to the letter."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import inspect
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure

import backtest_mongo
from backtest_mongo import (
    BacktestMongoError,
    CandleAdapter,
    LogAdapter,
    RecentAdapter,
    SessionAdapter,
    SignalAdapter,
    SlotSpec,
    StateAdapter,
    StorageAdapter,
    embedded,
    get_config,
    import_dump,
    persist,
    set_config,
    set_logger,
    setup,
)
from backtest_mongo.connection.driver_errors import translate_error
from backtest_mongo.market_data import plot_candles

pytestmark = pytest.mark.either_driver

FIELDS = (
    "CC_MONGO_CONNECTION_STRING, CC_MONGO_DRIVER, CC_MONGO_TIMEOUT_MS, CC_MONGO_READ_CONCERN, CC_REDIS_URL, "
    "CC_REDIS_HOST, CC_REDIS_PORT, CC_REDIS_USER, CC_REDIS_PASSWORD, CC_REDIS_REQUIRED, CC_CANDLE_ID_CACHE, "
    "CC_CANDLE_CACHE_MB, CC_CANDLE_BLOCKS, CC_CANDLE_ROWS, CC_CANDLE_SHARED_WRITERS, CC_CANDLE_DATABASE, CC_HISTORY, "
    "CC_KEEP, CC_RUN"
)
ORDERS: dict[str, Any] = {
    "name": "orders",
    "shape": "entry",
    "context": ("symbol",),
    "key": ("symbol", "orderId"),
    "redis": ("symbol", "orderId"),
}


@dataclasses.dataclass
class Signal:
    price: float = 1.0


def candle(**changes: Any) -> dict[str, Any]:
    return {"timestamp": 0, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0, **changes}


def any_(value: Any) -> Any:
    """Hide a mistake from type checkers: it is what is tested."""
    return value


def signal() -> Any:
    return persist.signal("BTCUSDT", "my_strategy", "binance")


def candles() -> Any:
    return CandleAdapter("BTCUSDT", "1m", "binance")


#: A scenario, the call, and what its error says.
Case = tuple[str, Callable[[], Any], str]

CONTEXTS: list[Case] = [
    (
        "an argument is missing",
        lambda: any_(SignalAdapter)("BTCUSDT"),
        "SignalAdapter(symbol, strategy_name, exchange_name) lacks strategy_name, exchange_name",
    ),
    (
        "an argument too many",
        lambda: any_(SignalAdapter)("BTCUSDT", "my_strategy", "binance", "1m"),
        "SignalAdapter(symbol, strategy_name, exchange_name) takes 3 arguments, not 4",
    ),
    (
        "an argument of another name",
        lambda: any_(SignalAdapter)("BTCUSDT", "my_strategy", exchange="binance"),
        "SignalAdapter(symbol, strategy_name, exchange_name) got an unknown argument 'exchange'",
    ),
    (
        "a number for a name",
        lambda: any_(SignalAdapter)(1, "my_strategy", "binance"),
        "signal: symbol must be a str, not int",
    ),
    ("an empty symbol", lambda: CandleAdapter("", "1m", "binance"), "candle: symbol must not be empty (str)"),
    (
        "an empty name by the registry",
        lambda: persist.signal("BTCUSDT", "", "binance"),
        "signal: strategy_name must not be empty (str)",
    ),
    (
        "a word for the flag",
        lambda: StorageAdapter(any_("live")),
        "storage: backtest must be a bool, not str (True for a backtest, False for live trading)",
    ),
    (
        "an interval that is none",
        lambda: CandleAdapter("BTCUSDT", any_("1min"), "binance"),
        "candle: interval '1min' (str) is unknown (known are 1s 1m 3m 5m 15m 30m 45m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M)",
    ),
    (
        "one context for many",
        lambda: SignalAdapter.read_many(("BTCUSDT", "my_strategy", "binance")),
        (
            "signal: a context must be a sequence or a mapping, not str "
            "(one context is (symbol, strategy_name, exchange_name), and many are a list of such)"
        ),
    ),
    (
        "a dict of contexts",
        lambda: SignalAdapter.write_many(any_({("a", "b", "c"): {}})),
        "signal: write_many takes pairs of a context and its row, not tuple (for a dict by context, pass its items())",
    ),
]

VALUES: list[Case] = [
    (
        "a naive time",
        lambda: persist.state("s", "b").write_state_data({}, datetime(2024, 1, 1)),
        "state: when must not be a naive datetime: give it a timezone, as in datetime.now(UTC), or give milliseconds",
    ),
    (
        "a time as text",
        lambda: persist.state("s", "b").read_state_data(any_("2024-01-01")),
        "state: when must be milliseconds (int) or an aware datetime, not str",
    ),
    (
        "no time",
        lambda: any_(StateAdapter("s", "b")).write_state_data({}),
        (
            "state: when must be milliseconds (int) or an aware datetime, not NoneType (pass when=, or write inside "
            "`transaction(when=...)`)"
        ),
    ),
    ("a list for a dict", lambda: signal().write_signal_data([]), "signal: row must be a dict, not list"),
    (
        "a dataclass",
        lambda: signal().write_signal_data(Signal()),
        "signal: row must be a dict, not Signal: pass dataclasses.asdict() of it",
    ),
    (
        "a dataclass inside",
        lambda: signal().write_signal_data({"at": [Signal()]}),
        "signal: row.at[0] can't be stored as BSON: pass dataclasses.asdict() of it (Signal)",
    ),
    (
        "a naive time inside",
        lambda: signal().write_signal_data({"at": datetime(2024, 1, 1)}),
        "signal: row.at is a naive datetime: give it a timezone (datetime)",
    ),
    (
        "a dict for a list",
        lambda: persist.storage(True).write_storage_data(any_({"id": "s-1"})),
        "storage: signals must be a list, not dict",
    ),
    (
        "a row without an id",
        lambda: persist.log().write_log_data([{"text": "x"}]),
        "log: entries[0] has no id (dict)",
    ),
    (
        "nothing for a dict",
        lambda: persist.state("s", "b").write_state_data(any_(None), 0),
        "state: data must be a dict, not NoneType",
    ),
    (
        "a limit of none",
        lambda: LogAdapter().read_log_data(0),
        "log: limit must be 1 or more, and fit in 31 bits, not 0 (int)",
    ),
]

CANDLES: list[Case] = [
    (
        "one candle for many",
        lambda: candles().write_candles_data(candle()),
        "candle: candles must be a list, not dict (write_frame() takes frames)",
    ),
    (
        "a candle without prices",
        lambda: candles().write_candles_data([{"timestamp": 0}]),
        "candle: candles[0] lacks open, high, low, close, volume (dict)",
    ),
    (
        "a price as text",
        lambda: candles().write_candles_data([candle(), candle(open="1.5")]),
        "candle: candles[1].open must be a number, not str",
    ),
    (
        "a limit below one",
        lambda: candles().read_candles_data(0, 0),
        "candle: limit must be 1 or more, not 0 (int)",
    ),
    (
        "a limit as text",
        lambda: candles().read_candles_data("5", 0),
        "candle: limit must be an int, not str",
    ),
    (
        "a library that is none",
        lambda: candles().read_frame(as_="xarray"),
        "candle: as_ must be one of polars, pandas, numpy, arrow, not 'xarray'",
    ),
    (
        "another way to fill",
        lambda: candles().read_frame(fill="ffill"),
        "candle: fill must be None, null or forward, not 'ffill'",
    ),
    (
        "times the other way round",
        lambda: candles().gaps(5, 1),
        "candle: start must not come after end: 5 is later than 1 (int)",
    ),
    (
        "no frame",
        lambda: candles().write_frame([candle()]),
        (
            "candle: a frame must be a polars or pandas DataFrame, a PyArrow Table, a mapping or a structured array of "
            "NumPy's, or ccxt's lists of [time, open, high, low, close, volume], not list"
        ),
    ),
    (
        "a frame without columns",
        lambda: candles().write_frame({"time": [1]}),
        "candle: the frame lacks timestamp, open, high, low, close, volume; its columns are time",
    ),
]

CONFIGURATION: list[Case] = [
    (
        "a misspelt field",
        lambda: setup(**any_({"CC_REDIS_HSOT": "redis"})),
        "unknown configuration field 'CC_REDIS_HSOT' (did you mean CC_REDIS_HOST?)",
    ),
    (
        "a field in small letters",
        lambda: set_config({"cc_redis_host": "redis"}),
        "unknown configuration field 'cc_redis_host' (did you mean CC_REDIS_HOST?)",
    ),
    (
        "a field of another name",
        lambda: set_config({"host": "redis"}),
        f"unknown configuration field 'host' (known are {FIELDS})",
    ),
    (
        "a connection string alone",
        lambda: setup(any_("mongodb://user:s3cret@db")),
        (
            "setup: config must be a mapping of fields, not str "
            "(give fields by name, as in setup(CC_MONGO_CONNECTION_STRING=...))"
        ),
    ),
    (
        "a connection string without its scheme",
        lambda: set_config(CC_MONGO_CONNECTION_STRING="localhost:27017"),
        "CC_MONGO_CONNECTION_STRING (given, str): must start with mongodb:// or mongodb+srv://",
    ),
    (
        "a password that is not escaped",
        lambda: set_config(CC_MONGO_CONNECTION_STRING="mongodb://user:s3/cret@db"),
        "CC_MONGO_CONNECTION_STRING (given, str): must have its user and password escaped (urllib.parse.quote_plus)",
    ),
    (
        "a word for a port",
        lambda: set_config({"CC_REDIS_PORT": "many"}),
        "CC_REDIS_PORT (given, str): must be a valid integer, unable to parse string as an integer",
    ),
    (
        "a port that is none",
        lambda: set_config(CC_REDIS_PORT=65_536),
        "CC_REDIS_PORT (given, int): must be less than or equal to 65535",
    ),
    (
        "an empty host",
        lambda: set_config(CC_REDIS_HOST=""),
        "CC_REDIS_HOST (given, str): must have at least 1 character",
    ),
    (
        "a driver that is none",
        lambda: set_config(CC_MONGO_DRIVER="mongo"),
        "CC_MONGO_DRIVER (given, str): must be 'motor' or 'pymongo'",
    ),
    (
        "a Redis URL without its scheme",
        lambda: set_config(CC_REDIS_URL="localhost"),
        (
            "CC_REDIS_URL (given, str): must start with one of redis://, rediss://, unix://, redis+cluster://, "
            "rediss+cluster://, redis+sentinel://, rediss+sentinel://"
        ),
    ),
    (
        "a logger that is none",
        lambda: set_logger(any_("stdout")),
        "set_logger: str has no method debug, info, warning, error",
    ),
]

REGISTRY: list[Case] = [
    ("a misspelt slot", lambda: any_(persist).singal, "persist has no slot 'singal' (did you mean signal?)"),
    (
        "a misspelt slot to be replaced",
        lambda: persist.use(singal=SignalAdapter),
        "persist.use: there is no slot 'singal' (did you mean signal?)",
    ),
    (
        "an object for a class",
        lambda: persist.use(signal=any_(SignalAdapter("BTCUSDT", "my_strategy", "binance"))),
        (
            "signal: persist.use takes a class or a callable, not SignalAdapter "
            "(signal=lambda *context: instance returns one object for every context)"
        ),
    ),
    (
        "a class that lacks methods",
        lambda: persist.use(signal=any_(Signal)),
        (
            "signal: persist.use: Signal lacks wait_for_init, read_signal_data, write_signal_data "
            "(help(SignalAdapter) shows what they are)"
        ),
    ),
    (
        "a name for a slot's row",
        lambda: persist.register(any_("orders")),
        "persist.register takes a SlotSpec, not str",
    ),
    (
        "a slot of a name that is taken",
        lambda: persist.register(SlotSpec(**{**ORDERS, "name": "signal"})),
        "the rows 'signal' and 'signal' of the slot table share the name 'signal'",
    ),
    (
        "a slot that would hide a method",
        lambda: persist.register(SlotSpec(**{**ORDERS, "name": "use"})),
        "use: a slot of this name would hide persist.use",
    ),
    (
        "a slot in capitals",
        lambda: SlotSpec(**{**ORDERS, "name": "Orders"}),
        "Orders: the row of the slot table needs names in snake case, unlike 'Orders'",
    ),
    (
        "a shape that is none",
        lambda: SlotSpec(**{**ORDERS, "shape": "table"}),
        "orders: shape 'table' is unknown (known are document, entry, collection, bucket, series)",
    ),
    (
        "a name for a tuple of names",
        lambda: SlotSpec(**{**ORDERS, "context": "symbol"}),
        "orders: context must be a tuple of names, not str",
    ),
    (
        "a key without the entry's own field",
        lambda: SlotSpec(**{**ORDERS, "key": ("symbol",), "redis": ("symbol",)}),
        "orders: the row of the slot table has a key of 0 more than its context, and the shape entry needs 1",
    ),
]

CASES = [*CONTEXTS, *VALUES, *CANDLES, *CONFIGURATION, *REGISTRY]


async def message(call: Callable[[], Any]) -> str:
    async def made() -> None:
        result = call()
        if inspect.isawaitable(result):
            await result

    with pytest.raises((BacktestMongoError, TypeError, AttributeError)) as caught:
        await made()
    return str(caught.value)


@pytest.mark.parametrize(("call", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_mistake_is_reported_verbatim(call: Callable[[], Any], text: str, tmp_path: Path) -> None:
    persist.use_files(tmp_path)
    assert await message(call) == text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", [case[2] for case in CASES], ids=[case[0] for case in CASES])
def test_message_is_lower_case_without_a_full_stop_or_a_secret(text: str) -> None:
    first = text.split()[0]
    assert first[0].islower() or "Adapter" in first or first.startswith("CC_") or first == "Orders:"
    assert not text.endswith((".", "!"))
    assert "s3" not in text


async def test_names_that_may_be_empty_are_taken() -> None:
    assert RecentAdapter("a", "b", "c", "", True).context["frame_name"] == ""
    assert SessionAdapter("a", "b", "").context["symbol"] == ""


def test_misspelt_slot_is_answered_once() -> None:
    code = "from backtest_mongo import persist; persist.singal"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "AttributeError: persist has no slot 'singal' (did you mean signal?)"


def test_setup_that_nobody_awaits_is_named_in_python_s_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        setup()
        gc.collect()
    assert [str(each.message) for each in caught] == ["coroutine 'setup' was never awaited"]


# Servers


@pytest.fixture
def nowhere() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


async def test_missing_mongodb_is_named_by_its_address_and_without_credentials(nowhere: str) -> None:
    await setup(CC_MONGO_CONNECTION_STRING=f"mongodb://user:s3cret@{nowhere}/db", CC_MONGO_TIMEOUT_MS=100)
    for call in (signal().read_signal_data, lambda: signal().write_signal_data({})):
        assert await message(call) == (
            f"signal: checking the format failed: MongoDB at {nowhere} is unavailable (ServerSelectionTimeoutError) "
            "(is it running, and is CC_MONGO_CONNECTION_STRING right?)"
        )
    await backtest_mongo.close()


async def test_missing_servers_are_named_by_wait_for_init(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtest_mongo.connection.readiness.INIT_SECONDS", 0.3)
    host, port = nowhere.split(":")
    await setup(
        CC_MONGO_CONNECTION_STRING=f"mongodb://user:s3cret@{nowhere}/db",
        CC_MONGO_TIMEOUT_MS=100,
        CC_REDIS_HOST=host,
        CC_REDIS_PORT=int(port),
        CC_REDIS_PASSWORD="s3cret",
    )
    text = await message(backtest_mongo.wait_for_init)
    await backtest_mongo.close()
    assert text.startswith(f"wait_for_init: MongoDB at {nowhere} did not answer within 0.3 s: ")
    assert f"; Redis at {nowhere} did not answer within 0.3 s: " in text
    hint = "(check that it runs, and its address, user and password; wait_for_init can be called again)"
    assert text.endswith(hint)
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (18, "the login was refused: check user, password and authSource"),
        (13, "the user lacks the right to do this"),
        (123, "linearizable reads need a replica set"),
    ],
)
def test_refusal_of_mongodb_comes_with_its_remedy(code: int, advice: str) -> None:
    error = OperationFailure("s3cret", code)
    text = str(translate_error(error, "reading", SignalAdapter.spec, None, "db:27017"))
    assert text == f"signal: reading failed: MongoDB answered with error {code} ({advice})"


@pytest.mark.parametrize(
    ("code", "level", "advice"),
    [
        (123, "snapshot", "snapshot reads need a replica set"),
        (123, "linearizable", "linearizable reads need a replica set"),
        (148, "majority", "majority reads are turned off on the server, and majority reads need them"),
        (9, "bogus", "MongoDB does not know the readConcernLevel in CC_MONGO_CONNECTION_STRING"),
    ],
)
def test_refusal_of_a_read_concern_fits_the_one_that_was_asked_for(code: int, level: str, advice: str) -> None:
    error = OperationFailure("s3cret", code, {"code": code, "codeName": "ItsName"})
    text = str(translate_error(error, "reading", SignalAdapter.spec, None, "db:27017", level))
    assert text == f"signal: reading failed: MongoDB answered with error {code} (ItsName) ({advice})"


def test_refusal_has_the_server_s_name_of_the_error() -> None:
    from pymongo.errors import BulkWriteError

    def text(error: Exception) -> str:
        return str(translate_error(error, "writing", SignalAdapter.spec, None, "db:27017")).partition("MongoDB ")[2]

    assert text(OperationFailure("x", 96, {"code": 96, "codeName": "OperationFailed"})) == (
        "answered with error 96 (OperationFailed)"
    )
    # Of a single write in a bulk write the server sends the number alone.
    refused = {"writeErrors": [{"index": 0, "code": 121, "errmsg": "x"}]}
    assert text(BulkWriteError(refused)) == "answered with error 121 (DocumentValidationFailure)"
    assert text(BulkWriteError({"writeErrors": [{"index": 0, "code": 9999}]})) == "answered with error 9999"
    assert text(OperationFailure("x")) == "answered with error OperationFailure"


def test_write_of_unknown_outcome_says_how_to_settle_it() -> None:
    from pymongo.errors import AutoReconnect

    text = str(translate_error(AutoReconnect("s3cret"), "writing", SignalAdapter.spec, None, "db:27017"))
    assert text == (
        "signal: writing failed: MongoDB at db:27017 is unavailable (AutoReconnect) "
        "(it may or may not have been applied; repeat it to be sure)"
    )


def test_missing_server_program_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BACKTEST_MONGOD", str(tmp_path / "mongod"))
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(backtest_mongo.ServerError) as caught:
        embedded.find_mongod()
    text = str(caught.value)
    problem = f"mongod from $BACKTEST_MONGOD ({tmp_path / 'mongod'}) does not run here: No such file or directory ("
    assert text.startswith(
        f'{problem}pip install "backtest-mongo[embedded]", or ".[embedded]" in a checkout, installs mongod'
    )


# Extras


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No extra is installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)


@pytest.mark.usefixtures("bare")
async def test_missing_extra_is_named_with_the_command_that_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from backtest_mongo.cli.main import main

    persist.use_files(tmp_path)
    assert await message(lambda: candles().read_frame()) == (
        "candle: as_='polars' needs polars, which is not installed "
        '(pip install "backtest-mongo[frames]", or ".[frames]" in a checkout; as_="numpy" needs nothing more)'
    )
    assert await message(lambda: plot_candles("a", "1m", "b", tmp_path / "a.png")) == (
        "plot_candles needs altair and vl_convert, which are not installed "
        '(pip install "backtest-mongo[plot]", or ".[plot]" in a checkout)'
    )
    with pytest.raises(SystemExit):
        main()
    assert (
        capsys.readouterr().err
        == 'backtest-mongo: typer and rich missing: pip install "backtest-mongo[cli]", or ".[cli]" in a checkout\n'
    )


# Files


async def test_directory_that_can_t_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    persist.use_files(tmp_path / "file")
    assert await message(lambda: persist.state("s", "b").write_state_data({}, 0)) == (
        f"state: writing failed: Not a directory: {tmp_path}/file/state "
        "(check the directory, its permissions, and the space on its disk)"
    )


async def test_dump_that_is_not_there_is_distinguished_from_an_empty_one(tmp_path: Path) -> None:
    assert await message(lambda: import_dump(tmp_path / "nowhere")) == (
        f"no dump is in {tmp_path}/nowhere: it is not a directory"
    )
    text = await message(lambda: import_dump(tmp_path))
    assert text.startswith(f"no dump is in {tmp_path}: neither it nor its dump has a slot's directory, such as ")


def test_fields_in_the_table_are_all_there_are() -> None:
    assert ", ".join(type(get_config()).model_fields) == FIELDS

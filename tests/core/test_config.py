"""Explicit values over the environment, the environment over defaults; errors name the field, and no secret shows."""

from __future__ import annotations

from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import ConfigError, InputTypeError, get_config, set_config
from backtest_mongo.core.config import Config, MaskedDict, MongoURI, Settings
from tests.support.secrets import SECRET, assert_no_secret

URI = f"mongodb://user:{SECRET}@db.example:27018/trading?w=1"


def test_defaults() -> None:
    config = get_config()
    uri = config.CC_MONGO_CONNECTION_STRING.get_secret_value()
    assert uri == "mongodb://localhost:27017/backtest-kit?wtimeoutMS=15000"
    assert config.CC_MONGO_DRIVER == "motor"
    assert (config.CC_REDIS_HOST, config.CC_REDIS_PORT, config.CC_REDIS_USER) == ("127.0.0.1", 6379, "")
    assert config.CC_REDIS_PASSWORD.get_secret_value() == ""
    assert config.CC_CANDLE_ID_CACHE is True


def test_environment_wins_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_REDIS_PORT", "7000")
    monkeypatch.setenv("CC_MONGO_DRIVER", "pymongo")
    monkeypatch.setenv("CC_CANDLE_ID_CACHE", "false")
    config = get_config()
    assert (config.CC_REDIS_PORT, config.CC_MONGO_DRIVER, config.CC_CANDLE_ID_CACHE) == (7000, "pymongo", False)


def test_explicit_value_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_REDIS_PORT", "7000")
    monkeypatch.setenv("CC_REDIS_HOST", "from-environment")
    set_config(CC_REDIS_PORT=8000)
    assert (get_config().CC_REDIS_PORT, get_config().CC_REDIS_HOST) == (8000, "from-environment")


def test_values_add_up_and_keywords_win_over_the_mapping() -> None:
    set_config({"CC_REDIS_HOST": "one", "CC_REDIS_PORT": 1})
    set_config({"CC_REDIS_HOST": "two"}, CC_REDIS_HOST="three")
    assert (get_config().CC_REDIS_HOST, get_config().CC_REDIS_PORT) == ("three", 1)


def test_none_gives_a_field_back_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_config(CC_REDIS_HOST="explicit")
    monkeypatch.setenv("CC_REDIS_HOST", "from-environment")
    set_config(CC_REDIS_HOST=None)
    assert get_config().CC_REDIS_HOST == "from-environment"


def test_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_REDIS_PASSWORD", "")
    monkeypatch.setenv("CC_REDIS_PORT", "")
    assert get_config().CC_REDIS_PORT == 6379


async def test_setup_reads_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_config().CC_REDIS_HOST == "127.0.0.1"
    monkeypatch.setenv("CC_REDIS_HOST", "later")
    await backtest_mongo.setup()
    assert get_config().CC_REDIS_HOST == "later"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"CC_REDIS_HSOT": "x"}, "unknown configuration field 'CC_REDIS_HSOT'"),
    ({"cc_redis_host": "x"}, "unknown configuration field 'cc_redis_host'"),
    ({"CC_REDIS_PORT": "many"}, r"CC_REDIS_PORT \(given, str\): must be a valid integer"),
    ({"CC_REDIS_PORT": 0}, r"CC_REDIS_PORT \(given, int\): must be greater than or equal to 1"),
    ({"CC_REDIS_PORT": 65536}, "CC_REDIS_PORT .*less than or equal to 65535"),
    ({"CC_REDIS_HOST": ""}, "CC_REDIS_HOST .*at least 1 character"),
    ({"CC_MONGO_DRIVER": "pymongoose"}, "CC_MONGO_DRIVER .*'motor' or 'pymongo'"),
    ({"CC_MONGO_CONNECTION_STRING": "localhost"}, "CC_MONGO_CONNECTION_STRING .*must start with mongodb://"),
    ({"CC_MONGO_CONNECTION_STRING": "mongodb:///db"}, "CC_MONGO_CONNECTION_STRING .*must name a host"),
    ({"CC_MONGO_CONNECTION_STRING": 5}, r"CC_MONGO_CONNECTION_STRING \(given, int\): must be a valid string"),
    ({"CC_MONGO_TIMEOUT_MS": -1}, "CC_MONGO_TIMEOUT_MS .*greater than or equal to 1"),
    ({"CC_CANDLE_ID_CACHE": "perhaps"}, "CC_CANDLE_ID_CACHE .*valid boolean"),
    ({"CC_REDIS_PASSWORD": 5}, r"CC_REDIS_PASSWORD \(given, int\): must be a valid string"),
]


@pytest.mark.parametrize(("values", "message"), BAD, ids=[next(iter(values)) for values, _ in BAD])
def test_bad_value_is_named_and_changes_nothing(values: dict[str, Any], message: str) -> None:
    set_config(CC_REDIS_HOST="before")
    with pytest.raises(ConfigError, match=message):
        set_config({"CC_REDIS_HOST": "after", **values})
    assert get_config().CC_REDIS_HOST == "before"


def test_unknown_field_brings_a_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        set_config({"CC_REDIS_HSOT": "x"})
    assert caught.value.hint == "did you mean CC_REDIS_HOST?"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"CC_MONGO_CONNECTION_STRING": "localhost"},
            "CC_MONGO_CONNECTION_STRING (given, str): must start with mongodb:// or mongodb+srv://",
        ),
        ({"CC_REDIS_HOST": ""}, "CC_REDIS_HOST (given, str): must have at least 1 character"),
    ],
)
def test_message_is_the_field_and_the_rule_and_nothing_else(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_config(values)
    assert str(caught.value) == message


@pytest.mark.parametrize(("call", "function"), [("set_config", set_config), ("setup", backtest_mongo.setup)])
def test_configuration_that_is_no_mapping_is_refused_without_showing_it(call: str, function: Any) -> None:
    with pytest.raises(InputTypeError) as caught:
        function(URI)
    assert str(caught.value).startswith(f"{call}: config must be a mapping of fields, not str")
    assert caught.value.hint == f"give fields by name, as in {call}(CC_MONGO_CONNECTION_STRING=...)"
    assert_no_secret(caught.value)


def test_masked_values_show_their_names_alone() -> None:
    assert repr(MaskedDict({"CC_REDIS_HOST": "a", "CC_REDIS_PASSWORD": SECRET})) == (
        "MaskedDict(CC_REDIS_HOST, CC_REDIS_PASSWORD)"
    )


def test_setting_what_is_set_already_keeps_the_view() -> None:
    set_config(CC_REDIS_HOST="one")
    view = get_config()
    set_config(CC_REDIS_HOST="one")
    assert get_config() is view  # or connections would be made anew
    set_config(CC_REDIS_HOST="two")
    assert get_config() != view


def test_bad_variable_is_named_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_REDIS_PORT", "many")
    with pytest.raises(ConfigError, match=r"CC_REDIS_PORT \(from the environment\): must be a valid integer"):
        get_config()


def test_several_bad_values_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"CC_REDIS_PORT .*; CC_CANDLE_ID_CACHE"):
        set_config({"CC_REDIS_PORT": "x", "CC_CANDLE_ID_CACHE": "x"})


async def test_setup_raises_for_a_bad_value() -> None:
    with pytest.raises(ConfigError, match="CC_REDIS_PORT"):
        await backtest_mongo.setup({"CC_REDIS_PORT": "x"})
    with pytest.raises(ConfigError, match="CC_NOPE"):
        await backtest_mongo.setup({"CC_NOPE": 1})


def test_view_can_t_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        get_config().CC_REDIS_HOST = "x"


def test_secrets_are_masked_in_every_rendering_of_the_view() -> None:
    set_config(CC_MONGO_CONNECTION_STRING=URI, CC_REDIS_PASSWORD=SECRET)
    config = get_config()
    for text in (repr(config), str(config), f"{config}", repr(config.model_dump())):
        assert SECRET not in text
        assert "mongodb://**********@db.example:27018/trading'" in text
    assert SECRET not in config.model_dump_json()
    assert config.CC_MONGO_CONNECTION_STRING.get_secret_value() == URI


@pytest.mark.parametrize("password", [SECRET, f"a?{SECRET}", f"a#{SECRET}", f"a@{SECRET}"])
def test_no_part_of_a_password_shows_in_a_uri_or_its_hosts(password: str) -> None:
    uri = MongoURI(f"mongodb://user:{password}@db.example:27018/trading?w=1")
    assert repr(uri) == "MongoURI('mongodb://**********@db.example:27018/trading')"
    assert uri.hosts == "db.example:27018"


@pytest.mark.parametrize(
    "values",
    [
        {"CC_MONGO_CONNECTION_STRING": f"mongo://user:{SECRET}@host"},
        {"CC_MONGO_CONNECTION_STRING": f"mongodb://user:{SECRET}@"},
        {"CC_MONGO_CONNECTION_STRING": f"mongodb://us/er:{SECRET}@host"},
        {"CC_REDIS_PASSWORD": [SECRET]},
        {"CC_REDIS_PASSWORD": SECRET, "CC_REDIS_PORT": "x"},
    ],
)
def test_no_error_shows_a_secret(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        set_config(values)
    assert_no_secret(caught.value)


@pytest.mark.parametrize(
    "uri", [f"mongodb://u:a:{SECRET}@host", f"mongodb://u:{SECRET}@host:99999/", "mongodb://h/a b"]
)
async def test_uri_that_the_driver_refuses_is_a_config_error_without_the_secret(uri: str, driver: str) -> None:
    await backtest_mongo.setup(CC_MONGO_CONNECTION_STRING=uri, CC_MONGO_DRIVER=driver)
    with pytest.raises(ConfigError, match="CC_MONGO_CONNECTION_STRING: the driver refuses it") as caught:
        await backtest_mongo.get_mongo()
    assert_no_secret(caught.value)


def test_every_field_is_documented_and_known_to_type_checkers() -> None:
    for name in Config.model_fields:
        assert f"{name}:" in (Config.__doc__ or "")
    assert list(Config.model_fields) == list(Settings.__annotations__)

"""The configuration: explicit values over the environment, the environment over defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypedDict, Unpack

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backtest_mongo.core.retention import parse_retentions
from backtest_mongo.core.runs import find_problem
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.urls import MongoURI, RedisURL
from backtest_mongo.errors import ConfigError, InputTypeError

__all__ = ["Config", "MaskedDict", "MongoURI", "RedisURL", "Settings", "get_config", "reset_config", "set_config"]


class Config(BaseSettings):
    """The merged configuration. Every field is an environment variable of the same name.

    Attributes:
        CC_MONGO_CONNECTION_STRING: ``mongodb://`` or ``mongodb+srv://``; a URI without a database name uses
            ``backtest-kit``. Writes use ``w=majority`` unless it says otherwise.
        CC_MONGO_DRIVER: ``motor``, or ``pymongo`` for PyMongo's own asyncio client.
        CC_MONGO_TIMEOUT_MS: the deadline of a request in milliseconds, from when it is sent, retries included; also how
            long a call waits in a queue that gets no answer. ``timeoutMS`` in the connection string wins. A lock of
            another process on an SQLite file is waited for as long.
        CC_MONGO_READ_CONCERN: ``local``, ``majority`` or ``linearizable``.
        CC_REDIS_URL: the address of Redis; ``CC_REDIS_HOST`` and ``CC_REDIS_PORT`` are then ignored. It is
            ``redis://``, ``rediss://`` (TLS) or ``unix://`` with redis-py's options in the query;
            ``redis+cluster://host:port[,host:port]``; or ``redis+sentinel://host:port[,host:port]/service[/database]``,
            with the Sentinels' own credentials as the options ``sentinel_username`` and ``sentinel_password``. With TLS
            the last two are ``rediss+cluster://`` and ``rediss+sentinel://``.
        CC_REDIS_HOST: host name or address.
        CC_REDIS_PORT: port.
        CC_REDIS_USER: ACL user; empty means none. Used where ``CC_REDIS_URL`` names none.
        CC_REDIS_PASSWORD: password; empty means none. Used where ``CC_REDIS_URL`` holds none.
        CC_REDIS_REQUIRED: whether ``wait_for_init`` fails without Redis. Nothing else ever does.
        CC_CANDLE_ID_CACHE: whether the ids of written candles are put into Redis, where the Node package looks for
            them. This library reads candles in windows and never needs them.
        CC_CANDLE_CACHE_MB: the memory of the candle cache, in MiB for each event loop, or each SQLite file; 0 turns it
            off.
        CC_CANDLE_BLOCKS: whether candles are sealed in blocks and read from them. It changes no result.
        CC_CANDLE_ROWS: whether a series that is empty when it is first written keeps its candles in rows, which the
            Node package reads. ``false`` keeps them in blocks alone, which take a twentieth of the space, on MongoDB;
            it needs a replica set. A series that has candles stays as it is: see ``backtest-mongo candles rows``.
        CC_CANDLE_SHARED_WRITERS: whether programs other than this library write candles, such as the Node package. They
            don't drop a block that a late candle makes incomplete, so only blocks without gaps are used then.
        CC_CANDLE_DATABASE: where candles and other series are read and written, if not with everything else: on MongoDB
            another database on the same servers, on SQLite the path of another file; empty means with everything else.
            This is how a fork reads its source's candles.
        CC_HISTORY: the slots whose versions are kept by simulation time, besides those whose row says so; for how long:
            ``state,session=90d,signal=1000`` keeps all versions of state, those that were written in the last 90 days
            of session, and the last thousand of each key of signal.
        CC_KEEP: how much of storage, notification and log is kept: ``log=30d,notification=10000`` keeps the log entries
            of the last 30 days, and the 10,000 newest notifications of backtests and as many of live trading, by time
            of writing. Older rows are deleted, a few at a time, after later writes, except signals that are still
            open. Slots that are not named keep everything.
        CC_RUN: the name of the run, which is stored with every row unless a ``lease()`` or ``transaction()`` names
            another one; empty means none. It has at most 200 characters.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        case_sensitive=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    CC_MONGO_CONNECTION_STRING: MongoURI = MongoURI("mongodb://localhost:27017/backtest-kit?wtimeoutMS=15000")
    CC_MONGO_DRIVER: Literal["motor", "pymongo"] = "motor"
    CC_MONGO_TIMEOUT_MS: int = Field(default=15_000, ge=1)
    CC_MONGO_READ_CONCERN: Literal["local", "majority", "linearizable"] = "local"
    CC_REDIS_URL: RedisURL = RedisURL("")
    CC_REDIS_HOST: str = Field(default="127.0.0.1", min_length=1)
    CC_REDIS_PORT: int = Field(default=6379, ge=1, le=65535)
    CC_REDIS_USER: str = ""
    CC_REDIS_PASSWORD: SecretStr = SecretStr("")
    CC_REDIS_REQUIRED: bool = True
    CC_CANDLE_ID_CACHE: bool = True
    CC_CANDLE_CACHE_MB: int = Field(default=64, ge=0)
    CC_CANDLE_BLOCKS: bool = True
    CC_CANDLE_ROWS: bool = True
    CC_CANDLE_SHARED_WRITERS: bool = False
    CC_CANDLE_DATABASE: str = ""
    CC_HISTORY: str = ""
    CC_KEEP: str = ""
    CC_RUN: str = ""

    @field_validator("CC_MONGO_CONNECTION_STRING")
    @classmethod
    def _strip_white_space(cls, value: MongoURI) -> MongoURI:
        # Secret files end with a newline, which the driver would take for part of the database's name.
        return type(value)(value.get_secret_value().strip())

    @field_validator("CC_MONGO_CONNECTION_STRING")
    @classmethod
    def _check_mongo_uri(cls, value: MongoURI) -> MongoURI:
        uri = value.get_secret_value()
        if not uri.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        if "@" in uri.partition("://")[2].partition("/")[2].partition("?")[0]:
            raise ValueError("must have its user and password escaped (urllib.parse.quote_plus)")
        if not value.hosts:
            raise ValueError("must name a host, as host or host:port")
        return value

    @field_validator("CC_CANDLE_DATABASE")
    @classmethod
    def _check_candle_database(cls, value: str) -> str:
        # The rest depends on whether it is a name or a path.
        if "\0" in value:
            raise ValueError("must not hold a NUL character")
        return value

    @field_validator("CC_HISTORY")
    @classmethod
    def _check_history(cls, value: str) -> str:
        known = {spec.name: spec for spec in SLOTS}
        for name in parse_retentions(value):
            if name not in known:
                raise ValueError(f"must name slots, unlike {name!r}: {suggest(name, known)}")
            if known[name].immutable:
                raise ValueError(f"must name slots whose rows change, unlike {name}")
        return value

    @field_validator("CC_KEEP")
    @classmethod
    def _check_keep(cls, value: str) -> str:
        known = {spec.name: spec for spec in SLOTS if spec.shape == "collection"}
        for name, retention in parse_retentions(value).items():
            if name not in known:
                raise ValueError(f"must name slots that hold lists, unlike {name!r}: {suggest(name, known)}")
            if not retention.is_limited:
                raise ValueError(f"must say how much of {name} to keep, such as {name}=30d or {name}=10000")
        return value

    @field_validator("CC_REDIS_URL")
    @classmethod
    def _check_redis_url(cls, value: RedisURL) -> RedisURL:
        if value:
            _ = value.target  # which raises if the URL can't be parsed
        return value

    @field_validator("CC_RUN")
    @classmethod
    def _check_run(cls, value: str) -> str:
        problem = find_problem(value) if value else None
        if problem is not None:
            raise ValueError(problem)
        return value


class Settings(TypedDict, total=False):
    """The fields of :class:`Config` as a caller gives them; ``None`` leaves a field to the environment."""

    CC_MONGO_CONNECTION_STRING: str | SecretStr | None
    CC_MONGO_DRIVER: str | None
    CC_MONGO_TIMEOUT_MS: int | None
    CC_MONGO_READ_CONCERN: str | None
    CC_REDIS_URL: str | SecretStr | None
    CC_REDIS_HOST: str | None
    CC_REDIS_PORT: int | None
    CC_REDIS_USER: str | None
    CC_REDIS_PASSWORD: str | SecretStr | None
    CC_REDIS_REQUIRED: bool | None
    CC_CANDLE_ID_CACHE: bool | None
    CC_CANDLE_CACHE_MB: int | None
    CC_CANDLE_BLOCKS: bool | None
    CC_CANDLE_ROWS: bool | None
    CC_CANDLE_SHARED_WRITERS: bool | None
    CC_CANDLE_DATABASE: str | None
    CC_HISTORY: str | None
    CC_KEEP: str | None
    CC_RUN: str | None


class MaskedDict(dict[str, Any]):
    """Values by name, secrets included, of which a traceback that shows variables shows only the names."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"


_explicit = MaskedDict()
#: The merged view as it was last built, for those that compare it on every operation; ``None`` until it is needed.
current_config: Config | None = None


def _build(explicit: Mapping[str, Any]) -> Config:
    for name in explicit:
        if name not in Config.model_fields:
            raise ConfigError(f"unknown configuration field {name!r}", hint=suggest(str(name), Config.model_fields))
    try:
        return Config(**explicit)
    except ValidationError as error:
        # Pydantic's text could show a secret, and its chain would: the names of the fields and the rules are enough.
        problems = []
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            name = str(detail["loc"][0])
            source = "given" if name in explicit else "from the environment"
            kind = f", {type(explicit[name]).__name__}" if name in explicit else ""
            problems.append(f"{name} ({source}{kind}): {_rule(detail['msg'])}")
        message = "; ".join(problems)
    raise ConfigError(message)


def _rule(text: str) -> str:
    """Return pydantic's message in the wording of this library's own validators."""
    return re.sub("^(Value error, |(Input|String) should )", lambda begin: "must " if begin[2] else "", text)


def as_mapping(config: object, call: str) -> Mapping[str, Any]:
    """Return the fields that a caller gave in a mapping.

    Raises:
        InputTypeError: ``config`` is not a mapping.
    """
    if config is not None and not isinstance(config, Mapping):
        # Without the value: a connection string that is given here has a password in it.
        raise InputTypeError(
            f"{call}: config must be a mapping of fields, not {type(config).__name__}",
            hint=f"give fields by name, as in {call}(CC_MONGO_CONNECTION_STRING=...)",
        )
    return config or {}


def set_config(config: Mapping[str, Any] | None = None, **overrides: Unpack[Settings]) -> None:
    """Set configuration fields, in addition to those set before.

    Operations that start afterwards use the new values, over new connections; the next ``setup()`` or ``close()``
    closes the connections that were made for the old values.

    Args:
        config: fields by name.
        **overrides: more of them, which win over ``config``. ``None`` leaves a field to the environment again.

    Raises:
        ConfigError: a field is unknown or a value is bad; nothing is changed.
        InputTypeError: ``config`` is not a mapping.
    """
    global _explicit, current_config
    merged = MaskedDict({**_explicit, **as_mapping(config, "set_config"), **overrides})
    del config, overrides  # see MaskedDict
    explicit = MaskedDict({name: value for name, value in merged.items() if value is not None})
    built = _build(explicit)
    _explicit = explicit
    if built != current_config:
        current_config = built


def get_config() -> Config:
    """Return the merged configuration: explicit values over the environment, the environment over defaults.

    The environment is read on first use and again by each ``setup()`` and ``set_config()``.

    Returns:
        The configuration, with secrets masked in its ``repr``; ``get_secret_value()`` reveals one.

    Raises:
        ConfigError: the environment holds a bad value.
    """
    global current_config
    if current_config is None:
        current_config = _build(_explicit)
    return current_config


def reset_config() -> None:
    """Drop every explicit value, and read the environment again on next use."""
    global current_config
    _explicit.clear()
    current_config = None

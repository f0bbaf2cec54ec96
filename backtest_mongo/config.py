"""The configuration: explicit values over the environment, the environment over defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypedDict, Unpack

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backtest_mongo.errors import ConfigError
from backtest_mongo.urls import MongoURI, RedisURL

__all__ = ["Config", "Given", "MongoURI", "RedisURL", "Settings", "get_config", "reset_config", "set_config"]


class Config(BaseSettings):
    """The merged configuration. Every field is an environment variable of the same name.

    Attributes:
        CC_MONGO_CONNECTION_STRING: ``mongodb://`` or ``mongodb+srv://``; a URI without a database name uses
            ``backtest-kit``. Writes use ``w=majority`` unless it says otherwise.
        CC_MONGO_DRIVER: ``motor``, or ``pymongo`` for PyMongo's own asyncio client.
        CC_MONGO_TIMEOUT_MS: the longest that one operation may take, retries included; ``timeoutMS`` in the connection
            string has precedence.
        CC_MONGO_READ_CONCERN: ``local``, ``majority`` or ``linearizable``.
        CC_REDIS_URL: where Redis is, instead of ``CC_REDIS_HOST`` and ``CC_REDIS_PORT``, which are ignored then:
            ``redis://``, ``rediss://`` (TLS) or ``unix://`` with redis-py's options in the query;
            ``redis+cluster://host:port[,host:port]``; ``redis+sentinel://host:port[,host:port]/service[/database]``,
            with the Sentinels' own credentials as the options ``sentinel_username`` and ``sentinel_password``. The
            last two have a form with TLS as well: ``rediss+cluster://``, ``rediss+sentinel://``.
        CC_REDIS_HOST: host name or address.
        CC_REDIS_PORT: port.
        CC_REDIS_USER: ACL user; empty means none. Used where ``CC_REDIS_URL`` names none.
        CC_REDIS_PASSWORD: password; empty means none. Used where ``CC_REDIS_URL`` holds none.
        CC_REDIS_REQUIRED: whether ``wait_for_init`` fails without Redis. Nothing else ever does.
        CC_CANDLE_ID_CACHE: whether the ids of written candles go to Redis, where the Node package looks for them.
            This library reads candles in windows and never needs them.
        CC_CANDLE_CACHE_MB: the memory, in MiB and for each event loop, for candles that were read, which are not asked
            for again; 0 for none.
        CC_CANDLE_BLOCKS: whether candles are sealed in blocks of columns, and read from such. It changes no answer.
        CC_CANDLE_SHARED_WRITERS: whether other programs than this library write candles, such as the Node package. They
            don't drop a block that a late candle makes incomplete, so then only blocks without gaps are used.
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
    CC_CANDLE_SHARED_WRITERS: bool = False

    @field_validator("CC_MONGO_CONNECTION_STRING")
    @classmethod
    def _is_mongo_uri(cls, value: MongoURI) -> MongoURI:
        uri = value.get_secret_value()
        if not uri.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        if "@" in uri.partition("://")[2].partition("/")[2].partition("?")[0]:
            raise ValueError("must have its user and password escaped (urllib.parse.quote_plus)")
        if not value.hosts:
            raise ValueError("must name a host, as host or host:port")
        return value

    @field_validator("CC_REDIS_URL")
    @classmethod
    def _is_redis_url(cls, value: RedisURL) -> RedisURL:
        if value:
            _ = value.target  # it raises for a URL that can't be read
        return value


class Settings(TypedDict, total=False):
    """The fields of :class:`Config` as a caller gives them; ``None`` gives one back to the environment."""

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
    CC_CANDLE_SHARED_WRITERS: bool | None


class Given(dict[str, Any]):
    """Values as a caller gave them, which may be secrets: a traceback that shows variables shows their names alone."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"


_explicit = Given()
_config: Config | None = None


def _build(explicit: Mapping[str, Any]) -> Config:
    for name in explicit:
        if name not in Config.model_fields:
            known = ", ".join(Config.model_fields)
            raise ConfigError(f"unknown configuration field {name!r}", hint=f"known are {known}")
    try:
        return Config(**explicit)
    except ValidationError as error:
        # Pydantic's own text could show a secret, and its chain would: the fields' names and the rules are enough.
        problems = []
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            name = str(detail["loc"][0])
            source = "given" if name in explicit else "from the environment"
            kind = f", {type(explicit[name]).__name__}" if name in explicit else ""
            problems.append(f"{name} ({source}{kind}): {detail['msg'].removeprefix('Value error, ')}")
        message = "; ".join(problems)
    raise ConfigError(message)


def set_config(config: Mapping[str, Any] | None = None, **overrides: Unpack[Settings]) -> None:
    """Set configuration fields explicitly, on top of those set before; ``None`` gives a field back to the environment.

    Operations that start afterwards use the new values, over connections of their own; connections made for the old
    ones are closed by the next ``setup()`` or ``close()``.

    Raises:
        ConfigError: a field is unknown or a value is bad. Nothing is changed then.
    """
    global _explicit, _config
    merged = Given({**_explicit, **(config or {}), **overrides})
    del config, overrides  # see Given
    explicit = Given({name: value for name, value in merged.items() if value is not None})
    built = _build(explicit)
    _explicit = explicit
    if built != _config:
        _config = built


def get_config() -> Config:
    """Return the merged view: explicit values over the environment, the environment over defaults.

    The environment is read on first use and again by each ``setup()`` and ``set_config()``. Secrets are masked in the
    view's ``repr``; their ``get_secret_value()`` gives them.

    Raises:
        ConfigError: the environment holds a bad value.
    """
    global _config
    if _config is None:
        _config = _build(_explicit)
    return _config


def reset_config() -> None:
    """Forget every explicit value, and read the environment again on next use."""
    global _config
    _explicit.clear()
    _config = None

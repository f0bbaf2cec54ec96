"""The configuration: explicit values over the environment, the environment over defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backtest_mongo.errors import ConfigError

__all__ = ["Config", "MongoURI", "get_config", "reset_config", "set_config"]


class MongoURI(SecretStr):
    """A connection string that shows neither credentials nor options; ``get_secret_value()`` gives all of it."""

    def _display(self) -> str:
        scheme, _, rest = self.get_secret_value().partition("://")
        # All up to the last @, so that a password which should have been escaped does not show either.
        _, at, target = rest.rpartition("@")
        return f"{scheme}://{'**********' if at else ''}{at}{target.partition('?')[0]}"

    @property
    def hosts(self) -> str:
        """The addresses, as they stand in the connection string."""
        return _hosts(self.get_secret_value())


class Config(BaseSettings):
    """The merged configuration. Every field is an environment variable of the same name.

    Attributes:
        CC_MONGO_CONNECTION_STRING: ``mongodb://`` or ``mongodb+srv://``; a URI without a database name uses
            ``backtest-kit``. Writes use ``w=majority`` unless it says otherwise.
        CC_MONGO_DRIVER: ``motor``, or ``pymongo`` for PyMongo's own asyncio client.
        CC_MONGO_TIMEOUT_MS: the longest that one operation may take, retries included; ``timeoutMS`` in the connection
            string has precedence.
        CC_REDIS_HOST: host name or address.
        CC_REDIS_PORT: port.
        CC_REDIS_USER: ACL user; empty means none.
        CC_REDIS_PASSWORD: password; empty means none.
        CC_CANDLE_ID_CACHE: whether the ids of written candles go to Redis, where the Node package looks for them.
            This library reads candles in windows and never needs them.
        CC_CANDLE_CACHE_MB: the memory, in MiB and for each event loop, for candles that were read, which are not asked
            for again; 0 for none.
    """

    model_config = SettingsConfigDict(
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
    CC_REDIS_HOST: str = Field(default="127.0.0.1", min_length=1)
    CC_REDIS_PORT: int = Field(default=6379, ge=1, le=65535)
    CC_REDIS_USER: str = ""
    CC_REDIS_PASSWORD: SecretStr = SecretStr("")
    CC_CANDLE_ID_CACHE: bool = True
    CC_CANDLE_CACHE_MB: int = Field(default=64, ge=0)

    @field_validator("CC_MONGO_CONNECTION_STRING")
    @classmethod
    def _is_mongo_uri(cls, value: MongoURI) -> MongoURI:
        uri = value.get_secret_value()
        if not uri.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        if "@" in uri.partition("://")[2].partition("/")[2].partition("?")[0]:
            raise ValueError("must have its user and password escaped (urllib.parse.quote_plus)")
        if not _hosts(uri):
            raise ValueError("must name a host")
        return value


def _hosts(uri: str) -> str:
    return uri.partition("://")[2].partition("/")[0].rpartition("@")[2].partition("?")[0]


_explicit: dict[str, Any] = {}
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


def set_config(config: Mapping[str, Any] | None = None, **overrides: Any) -> None:
    """Set configuration fields explicitly, on top of those set before; ``None`` gives a field back to the environment.

    Operations that start afterwards use the new values, over connections of their own; connections made for the old
    ones are closed by the next ``setup()`` or ``close()``.

    Raises:
        ConfigError: a field is unknown or a value is bad. Nothing is changed then.
    """
    global _explicit, _config
    merged = {**_explicit, **(config or {}), **overrides}
    explicit = {name: value for name, value in merged.items() if value is not None}
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

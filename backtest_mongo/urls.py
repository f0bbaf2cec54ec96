"""Connection strings that show no secret, and what a Redis URL says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from pydantic import SecretStr
from redis.asyncio.connection import parse_url

__all__ = ["MaskedURL", "MongoURI", "RedisTarget", "RedisURL"]

_MASK: Final = "**********"
_HOST: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:?#,]+))(?::(?P<port>[0-9]{1,5}))?")


class MaskedURL(SecretStr):
    """A URL that shows neither credentials nor options; ``get_secret_value()`` gives all of it."""

    def _display(self) -> str:
        scheme, colon, rest = self.get_secret_value().partition("://")
        if not colon:
            return _MASK if scheme else ""
        authority = rest.partition("/")[0]
        # All up to the last @, so that a password which should have been escaped does not show either.
        user, at, _ = authority.rpartition("@")
        target = re.split("[?#]", rest[len(user) + len(at) :])[0]
        # A host that is none, or an @ that could be a part of the options: who knows what that is.
        is_certain = _are_hosts(target.partition("/")[0]) and "@" not in rest[len(authority) :]
        if not is_certain or ("@" in user and "?" in user):
            return f"{scheme}://{_MASK}"
        return f"{scheme}://{_MASK if at else ''}{at}{target}"


def _are_hosts(text: str) -> bool:
    return all(_HOST.fullmatch(host) for host in text.split(",") if host)


class MongoURI(MaskedURL):
    """A connection string of MongoDB."""

    @property
    def hosts(self) -> str:
        """The addresses, as they stand in the connection string; empty where what stands there can't be any."""
        rest = self.get_secret_value().partition("://")[2]
        hosts = rest.partition("/")[0].rpartition("@")[2].partition("?")[0]
        return hosts if _are_hosts(hosts) else ""

    @property
    def is_one_server(self) -> bool:
        """Whether it names a single server, and no replica set."""
        is_srv = self.get_secret_value().startswith("mongodb+srv://")
        return (
            not is_srv and "," not in self.hosts and not self.option("replicaSet") and not self.option("loadBalanced")
        )

    def option(self, name: str) -> str | None:
        """Return what an option is set to, in lower case; ``None`` where it is not."""
        query = self.get_secret_value().lower().rpartition("?")[2]
        options = dict(option.partition("=")[::2] for option in re.split("[&;]", query))
        return options.get(name.lower())


@dataclass(frozen=True, kw_only=True)
class RedisTarget:
    """What a Redis URL says. ``hosts`` are Sentinels where ``kind`` is ``sentinel``, and empty for a socket."""

    kind: Literal["node", "socket", "cluster", "sentinel"]
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    # Secrets are, or may be, among these.
    user: str = field(default="", repr=False)
    password: SecretStr
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return self.path if self.kind == "socket" else f"{hosts}/{self.service}" if self.service else hosts


_FORMS: Final[Mapping[str, tuple[Literal["node", "socket", "cluster", "sentinel"], bool]]] = {
    "redis": ("node", False),
    "rediss": ("node", True),
    "unix": ("socket", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}
_SENTINEL_PORT: Final = 26379
_REDIS_PORT: Final = 6379
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")
#: The client's options that a URL may set. Not ``decode_responses`` or ``encoding``: replies are bytes.
_OPTIONS: Final = (
    "client_name",
    "db",
    "health_check_interval",
    "max_connections",
    "password",
    "protocol",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_read_size",
    "socket_timeout",
    "username",
)
_TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
)
#: What redis-py's cluster client does not take.
_NOT_IN_CLUSTERS: Final = ("db", "ssl_ca_path", "ssl_password")


class RedisURL(MaskedURL):
    """A URL of Redis: one node, a cluster, or the Sentinels that know the master of a service."""

    @cached_property
    def target(self) -> RedisTarget:
        """What the URL says.

        Raises:
            ValueError: it can't be read; the text gives the rule, and nothing of the URL but the names of options.
        """
        scheme, colon, rest = self.get_secret_value().partition("://")
        form = _FORMS.get(scheme.lower()) if colon else None
        if form is None:
            raise ValueError(f"must start with one of {', '.join(f'{name}://' for name in _FORMS)}")
        if re.search(r"[\s\x00-\x1f\x7f]", rest):
            raise ValueError("must hold no white space and no control characters")
        kind, tls = form
        plain, _, query = rest.partition("?")
        authority, _, path = plain.partition("/")
        if "@" in path or "@" in query or "#" in rest:
            raise ValueError("must have its user, password and options escaped (urllib.parse.quote_plus)")
        options, sentinel_options = _options(query, kind, tls)
        user, _, places = authority.rpartition("@")
        name, _, password = user.partition(":")
        service, database = _path(path, kind)
        return RedisTarget(
            kind=kind,
            tls=tls,
            hosts=_hosts(places, kind),
            path=f"/{unquote(path)}" if kind == "socket" else "",
            service=service,
            database=options.pop("db", database),
            user=unquote(name) or options.pop("username", ""),
            password=SecretStr(unquote(password) or options.pop("password", "")),
            options={name: value for name, value in options.items() if name not in ("username", "password")},
            sentinel_options=sentinel_options,
        )


def _options(query: str, kind: str, tls: bool) -> tuple[dict[str, Any], dict[str, str]]:
    texts = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # the first of a name counts, as redis-py has it
    allowed = {*_OPTIONS, *(_TLS_OPTIONS if tls else ()), *(_SENTINEL_OPTIONS if kind == "sentinel" else ())}
    if kind == "cluster":
        allowed -= {*_NOT_IN_CLUSTERS}
    if any(name not in allowed for name in texts):
        if not tls and any(name in _TLS_OPTIONS for name in texts):
            raise ValueError("has TLS options, which need rediss://, rediss+cluster:// or rediss+sentinel://")
        raise ValueError(f"has an option that is not one of {', '.join(sorted(allowed))}")
    sentinel_options = {name.removeprefix("sentinel_"): texts.pop(name) for name in _SENTINEL_OPTIONS if name in texts}
    try:
        read: dict[str, Any] = dict(parse_url(f"redis://?{query}"))
    except ValueError as error:
        problem = str(error)
    else:
        return {name: value for name, value in read.items() if name in texts}, sentinel_options
    raise ValueError(problem)


def _path(path: str, kind: str) -> tuple[str, int]:
    """Return the service and the database that the path of a URL names."""
    if kind == "socket":
        if not path:
            raise ValueError("must give the socket's absolute path, as in unix:///run/redis.sock")
        return "", 0
    parts = path.removesuffix("/").split("/") if path.removesuffix("/") else []
    service = ""
    if kind == "sentinel":
        if not parts or not parts[0]:
            raise ValueError("must name the service after the Sentinels, as in redis+sentinel://host:26379/service")
        service = unquote(parts.pop(0))
    if not parts:
        return service, 0
    if kind == "cluster" and parts != ["0"]:
        raise ValueError("must name no database: a Redis Cluster has only one")
    if len(parts) > 1 or not re.fullmatch("[0-9]{1,6}", parts[0]):
        raise ValueError("must give the database as a number")
    return service, int(parts[0])


def _hosts(places: str, kind: str) -> tuple[tuple[str, int], ...]:
    if kind == "socket":
        if places:
            raise ValueError("must give the socket's absolute path, as in unix:///run/redis.sock")
        return ()
    hosts = []
    for place in places.split(","):
        match = _HOST.fullmatch(place)
        if match is None:
            raise ValueError("must name its host as host or host:port" if places else "must name a host")
        default = _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT
        port = int(match["port"] or default)
        if not 1 <= port <= 65535:
            raise ValueError("must have ports from 1 to 65535")
        hosts.append((match["v6"] or unquote(match["name"]), port))
    if kind == "node" and len(hosts) > 1:
        raise ValueError("must name one host; several need redis+cluster:// or redis+sentinel://")
    return tuple(hosts)

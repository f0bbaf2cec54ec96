"""Connection strings of both servers: masked when shown, and parsed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl, quote, unquote, unquote_plus

from pydantic import SecretStr
from pymongo.errors import ConfigurationError, InvalidURI
from pymongo.uri_parser import parse_uri, split_options
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
        # Up to the last @, so that a password which should have been escaped is not shown either.
        user, at, _ = authority.rpartition("@")
        target = re.split("[?#]", rest[len(user) + len(at) :])[0]
        # Where the host is invalid, or an @ may be part of the options, any part may be the password.
        is_certain = _are_hosts(target.partition("/")[0]) and "@" not in rest[len(authority) :]
        if not is_certain or ("@" in user and "?" in user):
            return f"{scheme}://{_MASK}"
        return f"{scheme}://{_MASK if at else ''}{at}{target}"


def _are_hosts(text: str) -> bool:
    return all(_HOST.fullmatch(host) for host in text.split(",") if host)


class MongoURI(MaskedURL):
    """A connection string of MongoDB, as PyMongo's own parser reads it. No name is looked up in the DNS."""

    @property
    def hosts(self) -> str:
        """The addresses as they are in the connection string; empty if they are invalid."""
        # Not by the driver, which reads none of a connection string whose password should have been escaped: errors
        # name the addresses of such a one too, and nothing else of it.
        rest = self.get_secret_value().partition("://")[2]
        hosts = rest.partition("/")[0].rpartition("@")[2].partition("?")[0]
        return hosts if _are_hosts(hosts) else ""

    @property
    def is_one_server(self) -> bool:
        """Whether it names a single server, and no replica set."""
        scheme, read = self._parts[0], self._parse()
        return (
            scheme == "mongodb"
            and read is not None
            and len(read["nodelist"]) == 1
            and not self.option("replicaSet")
            and self.option("loadBalanced") != "true"
        )

    @property
    def given_database(self) -> str:
        """All that is in the place of the database's name: the driver takes what follows a dot for a collection."""
        return unquote_plus(self._parts[2])

    def option(self, name: str) -> str | None:
        """Return the value of an option in lower case; ``None`` if it is not set."""
        value = self._options().get(name)
        return None if value is None else str(value).lower()

    @property
    def database(self) -> str:
        """The database that it names; empty if it names none."""
        read = self._parse()
        return (read and read["database"]) or ""

    def with_database(self, name: str) -> Self:
        """Return the connection string of another database on the same servers, with the same login."""
        scheme, authority, _, query = self._parts
        read = self._parse()
        if read is None:  # the driver refuses it, and is to say so
            return self
        source = self._login_database(scheme, read)
        if source:
            query = "&".join(filter(None, (query, f"authSource={quote(source, safe='')}")))
            # The driver takes one kind of separator.
            query = query.replace("&", ";") if ";" in query else query
        path = quote(name, safe="")
        return type(self)(f"{scheme}://{authority}/{path}{'?' if query else ''}{query}")

    @property
    def _parts(self) -> tuple[str, str, str, str]:
        """Scheme, hosts with credentials, path and options, split as the driver does."""
        # Not by urlsplit(), which refuses some characters of passwords, and quotes the password when it does.
        scheme, _, rest = self.get_secret_value().strip().partition("://")
        place, _, query = rest.partition("?")
        authority, _, path = place.partition("/")
        return scheme, authority, path, query

    def _parse(self) -> dict[str, Any] | None:
        """Return what the driver reads before the options; ``None`` if it refuses that."""
        _, authority, path, _ = self._parts
        try:
            # Always by this scheme: for mongodb+srv:// the driver would ask the DNS.
            return parse_uri(f"mongodb://{authority}/{path}")
        except (InvalidURI, ConfigurationError, ValueError):
            return None

    def _options(self) -> Mapping[str, Any]:
        """Return the options by name, in whatever case it is asked for; none if the driver refuses them."""
        query = self._parts[3]
        if not query:
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the driver repeats them when it makes a client
                return split_options(query, validate=False, normalize=False)
        except (InvalidURI, ConfigurationError):
            return {}

    def _login_database(self, scheme: str, read: Mapping[str, Any]) -> str:
        """Return the database of the login where the path, or its lack, names it, and no option does."""
        # Of mongodb+srv:// a DNS entry may name it.
        if scheme != "mongodb" or read["username"] is None or self.option("authSource") is not None:
            return ""
        mechanism = (self.option("authMechanism") or "default").upper()
        if mechanism == "PLAIN":
            return read["database"] or "$external"
        # The other mechanisms have a database of their own.
        return (read["database"] or "admin") if mechanism == "DEFAULT" or mechanism.startswith("SCRAM-") else ""


@dataclass(frozen=True, kw_only=True)
class RedisTarget:
    """A parsed Redis URL. ``hosts`` are Sentinels if ``kind`` is ``sentinel``, and empty for a socket."""

    kind: Literal["node", "socket", "cluster", "sentinel"]
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    # These are, or may contain, secrets.
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
#: Options that redis-py's cluster client does not take.
_NOT_IN_CLUSTERS: Final = ("db", "ssl_ca_path", "ssl_password")


class RedisURL(MaskedURL):
    """A URL of Redis: one node, a cluster, or the Sentinels that know the master of a service."""

    @cached_property
    def target(self) -> RedisTarget:
        """The parsed URL.

        Raises:
            ValueError: it can't be parsed. The text states the rule, and nothing of the URL except names of options.
        """
        scheme, colon, rest = self.get_secret_value().partition("://")
        form = _FORMS.get(scheme.lower()) if colon else None
        if form is None:
            raise ValueError(f"must start with one of {', '.join(f'{name}://' for name in _FORMS)}")
        if re.search(r"[\s\x00-\x1f\x7f]", rest):
            raise ValueError("must have no white space and no control characters")
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
    texts = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # the first of a name counts, as in redis-py
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
        options = {name: value for name, value in read.items() if name in texts}
        # Some versions of the client take no notice of a certificate without a key, which its file may have as well.
        if "ssl_certfile" in options:
            options.setdefault("ssl_keyfile", options["ssl_certfile"])
        return options, sentinel_options
    raise ValueError(problem)


def _path(path: str, kind: str) -> tuple[str, int]:
    """Return the service and the database in the path of a URL."""
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

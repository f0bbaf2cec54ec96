"""TLS to both servers: with the right authority it works, and whatever is wrong with a certificate is refused."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest
import trustme
from pymongo.errors import PyMongoError

import backtest_mongo
from backtest_mongo import ConfigError, InitError, StateAdapter, StoreUnavailableError
from backtest_mongo.embedded.server_process import HOST, Mongod
from tests.conftest import drop_database
from tests.support import redis_servers, uniform
from tests.support.deadlines import INIT_SECONDS
from tests.support.redis_servers import RedisNode, eventually, tls

pytestmark = pytest.mark.heavy

PASSWORD = "s3cr3t-0123"


class Certificates:
    """An authority of our own, another that nobody trusts, and what each has signed, as files."""

    def __init__(self, directory: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.trusted = directory / "ca.pem"
        self.untrusted = directory / "other-ca.pem"
        authority.cert_pem.write_to_path(self.trusted)
        stranger.cert_pem.write_to_path(self.untrusted)
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        leafs = {
            "server": authority.issue_cert(HOST),
            "elsewhere": authority.issue_cert("elsewhere.example"),
            "expired": authority.issue_cert(HOST, not_after=yesterday),
            "client": authority.issue_cert("trader@example.org"),
            "strange_client": stranger.issue_cert("trader@example.org"),
        }
        self._files: dict[str, Path] = {}
        for name, leaf in leafs.items():
            self._files[name] = directory / f"{name}.pem"
            leaf.private_key_and_cert_chain_pem.write_to_path(self._files[name])

    def __getitem__(self, name: str) -> Path:
        return self._files[name]

    def context(self, name: str, *, wants_client: bool = False) -> ssl.SSLContext:
        """Return what a server with this certificate speaks TLS with."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._files[name])
        if wants_client:
            context.load_verify_locations(self.trusted)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class TLSMongod(Mongod):
    """A standalone ``mongod`` that wants a certificate of its clients."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        super().__init__(directory, redis_servers.free_port(), keep=False)
        self._as_member = False
        self._options = (
            *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", certificates["server"]),
            *("--tlsCAFile", certificates.trusted),
        )
        self._dialled_with = {"tlsCAFile": certificates.trusted, "tlsCertificateKeyFile": certificates["client"]}

    def _command(self) -> list[Any]:
        return [*super()._command(), *self._options]

    def _answers(self) -> bool:
        options: dict[str, Any] = {"tls": True, **{name: str(path) for name, path in self._dialled_with.items()}}
        with pymongo.MongoClient[dict[str, Any]](HOST, self.port, serverSelectionTimeoutMS=500, **options) as client:
            try:
                return bool(client.admin.command("ping"))
            except PyMongoError:
                return False


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def mongod(certificates: Certificates) -> Iterator[TLSMongod]:
    with tempfile.TemporaryDirectory() as directory:
        started = TLSMongod(Path(directory), certificates)
        try:
            started.start()
            yield started
        finally:
            started.stop(kill=True)


@pytest.fixture(scope="module")
def redis_node() -> Iterator[RedisNode]:
    with redis_servers.node(password=PASSWORD) as started:
        yield started


@pytest.fixture
def mongo_proxy(servers: dict[str, Any], certificates: Certificates) -> Any:
    """A function that puts TLS with a certificate in front of the tests' own ``mongod``."""
    hosts = servers["CC_MONGO_CONNECTION_STRING"].partition("://")[2].partition("/")[0]
    port = int(hosts.rpartition(":")[2])

    def start(name: str) -> AbstractAsyncContextManager[int]:
        return tls(certificates.context(name), port)

    return start


def mongo_uri(port: int, unique: str, **options: Any) -> str:
    query = {"tls": "true", "directConnection": "true", **options}
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return f"mongodb://{HOST}:{port}/{unique}?{text}"


#: What is wrong, and how OpenSSL puts it, to which both clients leave that.
FAULTS: Final = {
    "untrusted": "certificate verify failed: unable to get local issuer certificate",
    "elsewhere": "certificate verify failed: IP address mismatch",
    "expired": "certificate verify failed: certificate has expired",
}


@pytest.fixture
def short_probing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probing ends early: a server that does not prove who it is is asked again until then."""
    monkeypatch.setattr("backtest_mongo.connection.readiness.INIT_SECONDS", INIT_SECONDS)


async def test_mongodb_and_redis_are_reached_over_tls(
    mongod: TLSMongod,
    redis_node: RedisNode,
    certificates: Certificates,
    driver: str,
    unique: str,
) -> None:
    uri = mongo_uri(mongod.port, unique, tlsCAFile=certificates.trusted, tlsCertificateKeyFile=certificates["client"])
    async with tls(certificates.context("server", wants_client=True), redis_node.port) as port:
        url = (
            f"rediss://:{PASSWORD}@{HOST}:{port}/1?ssl_ca_certs={certificates.trusted}"
            f"&ssl_certfile={certificates['client']}&ssl_keyfile={certificates['client']}"
        )
        state = StateAdapter(unique, "b")
        config = {"CC_MONGO_CONNECTION_STRING": uri, "CC_REDIS_URL": url, "CC_MONGO_DRIVER": driver}
        async with backtest_mongo.setup(config):
            await backtest_mongo.wait_for_init()
            await state.write_state_data({"n": 1}, uniform.WHEN)
            client = redis_node.client(db=1)
            await eventually(lambda: asyncio.to_thread(client.exists, uniform.redis_key(state)))
            await backtest_mongo.close()
            assert await state.read_state_data() == {"n": 1}
            await drop_database(unique)


@pytest.mark.usefixtures("short_probing", "closing")
@pytest.mark.parametrize(("driver", "client"), [("motor", None), ("pymongo", "strange_client")])
async def test_mongodb_refuses_a_client_without_its_certificate(
    client: str | None, mongod: TLSMongod, certificates: Certificates, config: dict[str, Any], unique: str
) -> None:
    own = {"tlsCertificateKeyFile": certificates[client]} if client else {}
    uri = mongo_uri(mongod.port, unique, tlsCAFile=certificates.trusted, serverSelectionTimeoutMS=400, **own)
    async with backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_TIMEOUT_MS": 600}):
        with pytest.raises(InitError, match=f"MongoDB at {HOST}:{mongod.port} did not answer.*(SSL|reset|closed|EOF)"):
            await backtest_mongo.wait_for_init()


@pytest.mark.usefixtures("short_probing", "closing")
@pytest.mark.parametrize(("driver", "fault"), [("motor", "untrusted"), ("pymongo", "elsewhere"), ("motor", "expired")])
async def test_mongodb_that_does_not_prove_who_it_is_is_refused(
    fault: str, mongo_proxy: Any, certificates: Certificates, config: dict[str, Any], unique: str
) -> None:
    authority = certificates.untrusted if fault == "untrusted" else certificates.trusted
    async with mongo_proxy("server" if fault == "untrusted" else fault) as port:
        uri = mongo_uri(port, unique, tlsCAFile=authority, serverSelectionTimeoutMS=400)
        uri = uri.replace("://", f"://trader:{PASSWORD}@")
        async with backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_TIMEOUT_MS": 600}):
            with pytest.raises(InitError, match=f"MongoDB at {HOST}:{port} .*{FAULTS[fault]}") as caught:
                await backtest_mongo.wait_for_init()
            with pytest.raises(StoreUnavailableError) as unavailable:
                await StateAdapter(unique, "b").read_state_data()
        assert PASSWORD not in f"{caught.value}{unavailable.value}"


@pytest.mark.parametrize("driver", ["motor"])
@pytest.mark.usefixtures("short_probing")
@pytest.mark.parametrize("fault", FAULTS)
async def test_redis_without_a_trusted_certificate_is_refused_and_never_sent_the_password(
    fault: str, redis_node: RedisNode, certificates: Certificates, config: dict[str, Any], unique: str
) -> None:
    authority = certificates.untrusted if fault == "untrusted" else certificates.trusted
    name = "server" if fault == "untrusted" else fault
    state = StateAdapter(unique, "b")
    async with tls(certificates.context(name), redis_node.port) as port:
        url = f"rediss://:{PASSWORD}@{HOST}:{port}?ssl_ca_certs={authority}"
        admin = redis_node.client()
        before = admin.info("stats")["total_connections_received"]
        async with backtest_mongo.setup({**config, "CC_REDIS_URL": url}):
            with pytest.raises(InitError, match=f"Redis at {HOST}:{port} .*{FAULTS[fault]}") as caught:
                await backtest_mongo.wait_for_init()
            await state.write_state_data({"n": 1}, uniform.WHEN)
            assert await state.read_state_data() == {"n": 1}
            await drop_database(unique)
        assert admin.info("stats")["total_connections_received"] == before
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("driver", ["motor"])
@pytest.mark.usefixtures("short_probing")
async def test_redis_without_tls_is_not_sent_plain_text(
    redis_node: RedisNode, certificates: Certificates, config: dict[str, Any]
) -> None:
    url = f"rediss://:{PASSWORD}@{HOST}:{redis_node.port}?ssl_ca_certs={certificates.trusted}"
    async with backtest_mongo.setup({**config, "CC_REDIS_URL": url}):
        with pytest.raises(InitError, match=f"Redis at {HOST}:{redis_node.port} did not answer"):
            await backtest_mongo.wait_for_init()


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile"])
async def test_missing_tls_file_is_a_config_error_at_once(option: str, config: dict[str, Any], unique: str) -> None:
    uri = mongo_uri(27017, unique, **{option: "/no/such/file"}).replace("://", f"://trader:{PASSWORD}@")
    async with backtest_mongo.setup({**config, "CC_MONGO_CONNECTION_STRING": uri}):
        with pytest.raises(ConfigError, match="CC_MONGO_CONNECTION_STRING: the driver refuses it") as caught:
            await StateAdapter(unique, "b").read_state_data()
    assert PASSWORD not in str(caught.value)

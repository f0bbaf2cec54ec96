"""A MongoDB that wants a login."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Final

import pymongo

from backtest_mongo.embedded.server_process import HOST, Mongod
from tests.support import redis_servers

__all__ = ["ROOT", "GuardedMongod"]

#: The one who may do all, and the password.
ROOT: Final = "root"


class GuardedMongod(Mongod):
    """A standalone, or the only member of a replica set, that wants a login, and knows :data:`ROOT`."""

    def __init__(self, directory: Path, *, as_member: bool = False) -> None:
        super().__init__(directory, redis_servers.free_port(), keep=False)
        self._as_member = as_member
        self._key = directory / "key"
        self._key.write_text(secrets.token_hex(32))
        self._key.chmod(0o400)
        self._is_guarded = False

    def _command(self) -> list[Any]:
        guard = ("--auth", *(("--keyFile", self._key) if self._as_member else ())) if self._is_guarded else ()
        return [*super()._command(), *guard]

    def start(self) -> None:
        """Start it without a guard, make the first user, and start it again."""
        super().start()
        with pymongo.MongoClient[dict[str, Any]](HOST, self.port, directConnection=True) as client:
            client.admin.command("createUser", ROOT, pwd=ROOT, roles=["root"])
        self.stop()
        self._is_guarded = True
        super().start()

    def as_root(self) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient(HOST, self.port, username=ROOT, password=ROOT, directConnection=True)

"""The state of Qubx's strategies, in MongoDB or SQLite.

In the strategy's configuration::

    live:
      state:
        type: backtest_mongo.integrations.qubx.BacktestMongoStatePersistence
        parameters:
          mongo_url: mongodb://localhost:27017/qubx?replicaSet=rs0
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from backtest_mongo.adapters.lifecycle import install
from backtest_mongo.adapters.registry import persist
from backtest_mongo.core.config import get_config, set_config
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import InputError
from backtest_mongo.sync.portal import block

_NEEDED: Final = "backtest_mongo.integrations.qubx needs Qubx 5, on Python 3.12 or later"
_HINT: Final = 'pip install "Qubx[connectors]>=5,<6"'

try:
    _version = version("Qubx")
except PackageNotFoundError:
    raise ImportError(f"Qubx is not installed: {_NEEDED} ({_HINT})", name="qubx") from None
if not _version.startswith("5."):
    raise ImportError(f"Qubx {_version} is not supported: {_NEEDED} ({_HINT})", name="qubx")

if TYPE_CHECKING:
    # Type checkers also run where Qubx can't be installed.
    class IStatePersistence: ...
else:
    from qubx.core.interfaces import IStatePersistence

__all__ = ["STATES", "BacktestMongoStatePersistence"]

STATES: Final = SlotSpec(
    name="qubx_state",
    about="what Qubx's strategies keep, by key",
    shape="bucket",
    context=("strategy_name",),
    key=("strategyName", "stateKey"),
    soft_delete=True,
    items=True,
)
persist.register(STATES)


class BacktestMongoStatePersistence(IStatePersistence):
    """Keys and JSON values of a strategy, which Qubx's ``create_state_persistence`` finds by this class's name.

    Without a URL and a path it is what the program has chosen for ``persist``, or else the MongoDB of
    ``CC_MONGO_CONNECTION_STRING``, or else ``backtest.db``. Creating it opens no connection.

    Each value is a row of the slot ``qubx_state``: ``{"value": ...}``, or ``{"json": "..."}`` if a payload can't hold
    it, such as integers over 64 bits. Calls block, and any thread may make them. Of concurrent calls the last one wins.

    Args:
        strategy_name: whose state it is; Qubx adds it.
        mongo_url: the connection string of a MongoDB.
        sqlite_path: the path of an SQLite file.

    Raises:
        ConfigError: the URL is none.
        InputError: both a URL and a path are given, or the name is empty or holds a NUL character.
        InputTypeError: the name is no string.
    """

    def __init__(self, strategy_name: str, mongo_url: str | None = None, sqlite_path: str | None = None) -> None:
        if mongo_url and sqlite_path:
            raise InputError("mongo_url and sqlite_path can't both be given", slot=STATES.name)
        persist.register(STATES)  # again, where the registry has been reset
        if mongo_url:
            set_config(CC_MONGO_CONNECTION_STRING=mongo_url)
            install()
        elif sqlite_path:
            persist.use_sqlite(sqlite_path)
        elif not persist._is_chosen and "CC_MONGO_CONNECTION_STRING" in get_config().model_fields_set:
            install()
        self._strategy_name = strategy_name
        self._open()

    def save(self, key: str, value: Any) -> None:
        """Store a value; when the call returns, it is durable.

        Args:
            key: unique within the strategy.
            value: anything that ``json.dumps`` takes. It comes back as JSON has it: tuples as lists, keys as strings.

        Raises:
            TypeError: JSON has no such value.
            InputError: the value is larger than 16 MB, or the key holds a NUL character.
            StoreUnavailableError: the database can't be reached; the value may be stored.
            StoreError: the database answers with an error.
        """
        block(self._save, key, json.dumps(value))

    async def _save(self, key: str, text: str) -> None:
        adapter = self._open()
        try:
            await adapter.write_qubx_state_data({"value": json.loads(text)}, key)
        except InputError:
            await adapter.write_qubx_state_data({"json": text}, key)

    def load(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or ``default`` if it has none.

        Raises:
            InputError: the key holds a NUL character.
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error.
        """
        row = block(self._read, key)
        if row is None:
            return default
        return json.loads(row["json"]) if "json" in row else row["value"]

    async def _read(self, key: str) -> dict[str, Any] | None:
        row: dict[str, Any] | None = await self._open().read_qubx_state_data(key)
        return row

    def delete(self, key: str) -> bool:
        """Delete a key, and return whether it had a value.

        Raises:
            InputError: the key holds a NUL character.
            StoreUnavailableError: the database can't be reached; the value may be deleted.
            StoreError: the database answers with an error.
        """
        existed: bool = block(self._delete, key)
        return existed

    async def _delete(self, key: str) -> bool:
        existed = await self._read(key) is not None
        if existed:
            await self._open().remove_qubx_state_data(key)
        return existed

    def exists(self, key: str) -> bool:
        """Return whether a key has a value, which may be ``None``.

        Raises:
            InputError: the key holds a NUL character.
            StoreUnavailableError: the database can't be reached.
            StoreError: the database answers with an error.
        """
        return block(self._read, key) is not None

    def _open(self) -> Any:
        return getattr(persist, STATES.name)(self._strategy_name)

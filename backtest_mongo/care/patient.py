"""What the checks share: the connections, what is known already, and how a failure is put without showing a secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pymongo.errors import OperationFailure
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError

from backtest_mongo.care.findings import Diagnosis
from backtest_mongo.errors import BacktestMongoError, StoreError
from backtest_mongo.faults import DRIVER_ERRORS
from backtest_mongo.hub import Hub
from backtest_mongo.redis_clients import RedisClient, address

__all__ = ["FAILURES", "UNAUTHORIZED", "Patient", "advice_for", "is_refused", "reason"]

#: What a check may fail with.
FAILURES: Final = (*DRIVER_ERRORS, BacktestMongoError, RedisError, RedisClusterException, OSError)
UNAUTHORIZED: Final = 13


@dataclass
class Patient:
    """A deployment under examination."""

    hub: Hub
    redis: RedisClient
    read_only: bool
    diagnosis: Diagnosis

    @property
    def facts(self) -> dict[str, Any]:
        return self.diagnosis.facts

    @property
    def mongo_address(self) -> str:
        return self.hub.config.CC_MONGO_CONNECTION_STRING.hosts

    @property
    def redis_address(self) -> str:
        return address(self.hub.config)

    async def hello(self) -> dict[str, Any]:
        return dict(await self.hub.database.command("hello"))


def reason(error: BaseException) -> str:
    """Return why something failed. Not in the driver's words: they may quote a user's name, or what was sent."""
    if isinstance(error, BacktestMongoError):
        return error.message
    if isinstance(error, OperationFailure):
        name = (error.details or {}).get("codeName") or "error"
        return f"MongoDB answers {name} ({error.code})"
    if isinstance(error, NoPermissionError):
        return "Redis refuses it to this user"
    if isinstance(error, TimeoutError):
        return "it took too long"
    return type(error).__name__


def is_refused(error: BaseException) -> bool:
    """Tell whether a right is missing."""
    if isinstance(error, OperationFailure | StoreError):
        return error.code == UNAUTHORIZED
    return isinstance(error, NoPermissionError)


def advice_for(error: BaseException) -> str:
    if is_refused(error):
        return "run the doctor as a user who may, to have it looked at"
    return (error.hint or "") if isinstance(error, BacktestMongoError) else ""

"""What the checks of the doctor share: the deployment that they examine, and the findings that they return."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from pymongo.errors import OperationFailure
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError

from backtest_mongo.adapters.registry import persist
from backtest_mongo.connection.driver_errors import DRIVER_ERRORS
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.redis_clients import RedisClient, format_address
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import BacktestMongoError, StoreError

__all__ = [
    "FAILURES",
    "SEVERITIES",
    "UNAUTHORIZED",
    "Deployment",
    "Diagnosis",
    "Finding",
    "Listed",
    "Severity",
    "Size",
    "Step",
    "describe_failure",
    "find_advice",
    "is_refused",
    "list_series",
]


Severity: TypeAlias = Literal["ok", "note", "warning", "problem"]

SEVERITIES: Final[tuple[Severity, ...]] = ("ok", "note", "warning", "problem")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes:
        area: the subject, such as ``indexes``.
        severity: ``ok``; ``note`` for what is good to know; ``warning`` for what costs time or may cost data;
            ``problem`` for what fails or loses data as it is.
        text: what was found.
        advice: what to do about it, if there is something to do.
    """

    area: str
    severity: Severity
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """How long one step of an operation takes, in milliseconds."""

    name: str
    median_ms: float
    slowest_ms: float
    samples: int


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a collection; bytes are ``None`` if the user may not ask for them."""

    collection: str
    rows: int
    data_bytes: int | None = None
    disk_bytes: int | None = None
    index_bytes: int | None = None


@dataclass
class Diagnosis:
    """All findings, in the order of the checks. ``facts`` are for programs: versions, topology, clock."""

    findings: list[Finding] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def count(self, severity: Severity) -> int:
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.count("problem")

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.is_sound,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "facts": self.facts,
            "findings": [asdict(finding) for finding in self.findings],
            "latency": [asdict(step) for step in self.steps],
            "collections": [asdict(size) for size in self.sizes],
        }


class Listed:
    """Texts of which only the first are kept, and how many there are."""

    def __init__(self, most: int) -> None:
        self.count: int = 0
        self._most = most
        self._first: list[str] = []

    def add(self, text: str) -> None:
        self.count += 1
        if len(self._first) < self._most:
            self._first.append(text)

    def __str__(self) -> str:
        more = f"; and {self.count - self._most:,} more" if self.count > self._most else ""
        return "; ".join(self._first) + more


def list_series() -> list[SlotSpec]:
    """Return the slots with columns, those that a module of the user has registered, too."""
    return [adapter.spec for adapter in persist._adapters.values() if adapter.spec.columns]


#: What a check may fail with.
FAILURES: Final = (*DRIVER_ERRORS, BacktestMongoError, RedisError, RedisClusterException, OSError)
UNAUTHORIZED: Final = 13


@dataclass
class Deployment:
    """The deployment that is examined, and what is known of it so far."""

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
        return format_address(self.hub.config)

    async def hello(self) -> dict[str, Any]:
        return dict(await self.hub.database.command("hello"))


def describe_failure(error: BaseException) -> str:
    """Return why a check failed, not in the driver's words: they may quote a user's name, or what was sent."""
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
    """Return whether the user lacks a privilege."""
    if isinstance(error, OperationFailure | StoreError):
        return error.code == UNAUTHORIZED
    return isinstance(error, NoPermissionError)


def find_advice(error: BaseException) -> str:
    if is_refused(error):
        return "run the doctor as a user with the privilege to have it checked"
    return (error.hint or "") if isinstance(error, BacktestMongoError) else ""

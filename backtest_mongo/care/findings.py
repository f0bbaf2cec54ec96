"""What the doctor finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

__all__ = ["SEVERITIES", "Diagnosis", "Finding", "Severity", "Size", "Step"]

Severity: TypeAlias = Literal["ok", "note", "warning", "problem"]

SEVERITIES: Final[tuple[Severity, ...]] = ("ok", "note", "warning", "problem")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: what it belongs to, such as ``indexes``.
        severity: ``ok``; ``note`` for what is good to know; ``warning`` for what costs time or may cost data;
            ``problem`` for what fails or loses data as it is.
        text: what was found.
        advice: what to do about it, where there is something to do.
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
    """How large a collection is; bytes are ``None`` where the user may not ask for them."""

    collection: str
    rows: int
    data_bytes: int | None = None
    disk_bytes: int | None = None
    index_bytes: int | None = None


@dataclass
class Diagnosis:
    """All of it, in the order in which it was looked at. ``facts`` are for programs: versions, topology, clock."""

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

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.is_sound,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "facts": self.facts,
            "findings": [asdict(finding) for finding in self.findings],
            "latency": [asdict(step) for step in self.steps],
            "collections": [asdict(size) for size in self.sizes],
        }

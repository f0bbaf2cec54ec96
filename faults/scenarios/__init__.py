"""All scenarios, in the order in which they are played."""

from typing import Final

from faults.scenarios import lists, redis, registers, replica_set, standalone
from faults.scenarios.base import Scenario

__all__ = ["SCENARIOS", "Scenario"]

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *standalone.SCENARIOS,
    *lists.SCENARIOS,
    *replica_set.SCENARIOS,
    *registers.SCENARIOS,
    *redis.SCENARIOS,
)

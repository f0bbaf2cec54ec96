"""All scenarios, in the order in which they run."""

from typing import Final

from faults.scenarios import (
    bars,
    direct,
    lists,
    loops,
    orders,
    queues,
    redis,
    registers,
    replica_set,
    sqlite,
    standalone,
    write_concern,
)
from faults.scenarios.base import Scenario

__all__ = ["SCENARIOS", "Scenario"]

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *standalone.SCENARIOS,
    *lists.SCENARIOS,
    *queues.SCENARIOS,
    *loops.SCENARIOS,
    *write_concern.SCENARIOS,
    *replica_set.SCENARIOS,
    *direct.SCENARIOS,
    *registers.SCENARIOS,
    *redis.SCENARIOS,
    *sqlite.SCENARIOS,
    *bars.SCENARIOS,
    *orders.SCENARIOS,
)

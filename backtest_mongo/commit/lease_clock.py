"""The clock by which an owner knows that its leases are over."""

from __future__ import annotations

import time

__all__ = ["read_clock"]

if hasattr(time, "CLOCK_BOOTTIME"):

    def read_clock() -> float:
        """Return seconds of a clock that never goes back, and goes on while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:

    def read_clock() -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()

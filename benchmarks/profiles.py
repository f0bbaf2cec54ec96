"""Where the time of a row goes: the processor's time by module, of our side and of the plain client's."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import Counter
from pathlib import Path
from typing import Final

from benchmarks.cases import Prepared

__all__ = ["profile"]

_SHOWN: Final = 12


async def profile(prepared: Prepared, calls: int) -> list[tuple[str, float, float]]:
    """Return the modules whose own time differs most: their microseconds per operation on our and on the plain side.

    Only the event loop's thread is seen, and not Motor's others. The profiler makes small functions look larger than
    they are.
    """
    found = {side: await _profile_side(prepared, side, calls) for side in ("ours", "plain")}
    ours, plain = found.values()
    names = sorted(ours | plain, key=lambda name: ours[name] - plain[name], reverse=True)
    return [(name, ours[name], plain[name]) for name in names[:_SHOWN]]


async def _profile_side(prepared: Prepared, side: str, calls: int) -> Counter[str]:
    profiler = cProfile.Profile(time.thread_time)
    await prepared.sides[side]()()
    for _ in range(calls):
        work = prepared.sides[side]()
        profiler.enable()
        await work()
        profiler.disable()
    micros: Counter[str] = Counter()
    factor = 1e6 / calls / prepared.operations
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        micros[_name(file, function)] += own * factor
    return micros


def _name(file: str, function: str) -> str:
    if file == "~":  # a builtin
        return function
    path = Path(file)
    return ".".join((path.parent.name, path.stem))

"""Local times of a zone, in milliseconds since the epoch (UTC).

This module imports NumPy: import it in the functions that need it, or in modules that are imported that way.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["FIRST", "LAST", "NO_TIME", "Millis", "localize"]

Millis: TypeAlias = npt.NDArray[np.int64]

#: A missing time: the same as NumPy's NaT.
NO_TIME: Final = np.iinfo(np.int64).min
#: The years 1 to 9999: the range of a datetime.
FIRST: Final = -62_135_596_800_000
LAST: Final = 253_402_300_799_999
#: Zones change on a quarter of an hour since 1972, and at any second before.
_QUARTER: Final = 900_000
_ANY_SECOND: Final = 63_072_000_000


def localize(millis: Millis, zone: tzinfo) -> Millis:
    """Convert local times of a zone to UTC; those that are skipped or repeated become :data:`NO_TIME`."""
    valid = (millis >= FIRST + 86_400_000) & (millis <= LAST - 86_400_000)
    spans = np.where(millis >= _ANY_SECOND, millis - millis % _QUARTER, millis - millis % 1000)
    shown, places = np.unique(np.where(valid, spans, 0), return_inverse=True)
    offsets = np.fromiter((_offset(int(one), zone) for one in shown), np.int64, count=len(shown))[places]
    return np.where(valid & (offsets != NO_TIME), millis - offsets, NO_TIME)


def _offset(millis: int, zone: tzinfo) -> int:
    naive = datetime(1970, 1, 1) + timedelta(milliseconds=millis)
    early, late = (naive.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    # If they differ, the clock skips this time, or shows it twice.
    return NO_TIME if early is None or early != late else round(early.total_seconds() * 1000)

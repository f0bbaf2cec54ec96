"""Sizes and stretches of time for people."""

from __future__ import annotations

from typing import Final

__all__ = ["length", "share", "size"]

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1))


def length(millis: int) -> str:
    """Return a stretch of time in its two largest units, such as ``2 d 1 h``."""
    parts: list[tuple[int, str]] = []
    for name, unit in _UNITS:
        count, millis = divmod(millis, unit)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count:,} {name}" for count, name in parts[:2] if count) or "0 s"


def size(count: int) -> str:
    """Return a number of bytes, such as ``1.5 MB``."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def share(part: int, whole: int) -> str:
    """Return a share in whole per cents, ``100 %`` only where nothing is missing."""
    return f"{100 * part // whole} %" if whole else "-"

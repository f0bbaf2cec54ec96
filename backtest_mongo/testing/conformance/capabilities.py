"""What a store can declare, and what each of it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CAPABILITIES"]

#: By name, what a store that declares it promises, in the order of the report.
CAPABILITIES: Final[Mapping[str, str]] = {
    "rows": "one row per natural key; a write replaces it whole, and the next read sees it, in every instance",
    "values": "JSON values come back unchanged, with their types, whatever happens to the objects themselves",
    "extended_values": "infinities, NaN, aware datetimes, bytes and decimals come back unchanged",
    "keys": "any text is a key, and no two texts are the same key",
    "lists": "lists are complete, however long, and in order",
    "soft_delete": "removed rows are neither read nor listed, are remembered, and come back when they are written",
    "look_ahead": "a read with when never returns what was stored for a later time",
    "candles": "the first write of a candle wins, and a window is whole or None",
    "ranges": "a part of a bucket's list, by keys, prefix and number",
    "compare_and_set": "writes that depend on what is stored: if_absent, expect",
    "concurrency": "tasks and instances of one process may write one key and one context at once",
    "processes": "so may several processes",
    "durable": "what was acknowledged is there after the process has ended, also by SIGKILL",
    "transactions": "writes that are stored together, or not at all",
    "leases": "one owner of a context, and one that has lost it can't commit",
    "history": "a read with when finds what was stored at that time",
    "watch": "changes as they happen, and again from a token on",
    "series": "series with columns: append, read, as of",
}

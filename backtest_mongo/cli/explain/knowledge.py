"""What was known at a moment of a trade: the rows of its context, and the candles that had closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from backtest_mongo.adapters.past import as_of
from backtest_mongo.cli.explain.trade import Moment, Trade
from backtest_mongo.cli.stored_past import (
    PastRow,
    StoredPast,
    list_keys,
    read_last_candles,
    read_written,
)
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.types import INTERVALS, Candle

__all__ = ["SLOTS_OF_A_TRADE", "Explanation", "Knowledge", "explain_trade"]

_SPECS: Final = {spec.name: spec for spec in SLOTS}
#: The slots that are read, in the order in which they are shown.
SLOTS_OF_A_TRADE: Final = (
    *("signal", "schedule", "state", "dictionary", "memory", "partial", "breakeven", "risk", "session"),
)
#: How many rows of one slot are read.
_MOST_ROWS: Final = 200


@dataclass(frozen=True)
class Knowledge:
    """What was known at a moment.

    Attributes:
        moment: the moment.
        rows: the rows of the trade's context, including those that did not exist yet.
        candles: the last closed ones by interval, from short to long, oldest first.
    """

    moment: Moment
    rows: Sequence[PastRow]
    candles: dict[str, list[Candle]]


@dataclass
class Explanation:
    """All that is known of a trade.

    Attributes:
        trade: the trade.
        moments: what was known at each of its moments, in their order.
        without_versions: slots in which the past of some rows is unknown, because no versions are kept.
        notes: further remarks, each a sentence.
    """

    trade: Trade
    moments: list[Knowledge] = field(default_factory=list)
    without_versions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def explain_trade(trade: Trade, candles: int, intervals: Sequence[str]) -> Explanation:
    """Collect what was known at the moments of a trade.

    Args:
        trade: the trade.
        candles: how many candles of each interval.
        intervals: the intervals; none for all that are stored.

    Raises:
        InputError: the trade has no moment.
        StoreUnavailableError: the database can't be reached.
        StoreError: it answered with an error.
    """
    moments = trade.list_moments()
    found = Explanation(trade)
    past = await StoredPast.open(_SPECS["storage"])
    keys = {name: await _find_keys(trade, _SPECS[name], found.notes) for name in SLOTS_OF_A_TRADE}
    missing = [name for name in ("symbol", "strategyName", "exchangeName") if trade.get_text(name) is None]
    if missing:
        found.notes.append(
            f"The row of the trade has no {' and no '.join(missing)}, so what is stored by that was not looked up."
        )
    for moment in moments:
        rows = [row for name in SLOTS_OF_A_TRADE for row in await past.find(_SPECS[name], keys[name], moment.when)]
        shown = await _read_candles(trade, moment.when, candles, intervals)
        found.moments.append(Knowledge(moment, rows, shown))
    unknown = [row for one in found.moments for row in one.rows if not row.is_known and not row.problem]
    found.without_versions = _list_slots([row for row in unknown if not row.is_older])
    older = _list_slots([row for row in unknown if row.is_older])
    if older:
        names = ", ".join(older)
        found.notes.append(f"What {names} held is unknown where it is older than the versions that are kept.")
    async for note in _find_late_slots(past, found.moments):
        found.notes.append(note)
    return found


def _list_slots(rows: Sequence[PastRow]) -> list[str]:
    names = {row.spec.name for row in rows}
    return [name for name in SLOTS_OF_A_TRADE if name in names]


async def _find_keys(trade: Trade, spec: SlotSpec, notes: list[str]) -> list[Key]:
    """Return the keys of the rows of a slot that belong to a trade, whether or not they are stored."""
    names = ("symbol", "strategyName", "exchangeName", "frameName")
    fields: dict[str, Any] = {name: trade.get_text(name) for name in names}
    fields["signalId"] = trade.id
    if spec.name in ("signal", "schedule", "partial", "breakeven"):
        key = tuple(fields[name] for name in spec.key)
        return [] if None in key else [key]
    if "signalId" in spec.key:
        where: dict[str, Any] = {"signalId": trade.id}
    elif spec.name == "risk":
        where = {"exchangeName": fields["exchangeName"]}
    else:
        where = {name: fields[name] for name in ("strategyName", "exchangeName")}
        if fields["frameName"] is not None:
            where["frameName"] = fields["frameName"]
    if None in where.values():
        return []
    found = await list_keys(spec, where, None, _MOST_ROWS + 1)
    if len(found) > _MOST_ROWS:
        notes.append(f"More than {_MOST_ROWS} rows of {spec.name} belong to the trade: the first ones are shown.")
    if spec.name == "session":
        found = [key for key in found if _is_session_of(trade, dict(zip(spec.key, key, strict=True)))]
    return found[:_MOST_ROWS]


def _is_session_of(trade: Trade, session: dict[str, Any]) -> bool:
    # A session without a symbol is that of all symbols; whoever leaves it out leaves out the flag, too.
    if session["symbol"] == "":
        return session["backtest"] in (trade.backtest, False)
    return session["symbol"] == trade.get_text("symbol") and session["backtest"] is trade.backtest


async def _read_candles(trade: Trade, when: int, count: int, intervals: Sequence[str]) -> dict[str, list[Candle]]:
    symbol, exchange = trade.get_text("symbol"), trade.get_text("exchangeName")
    if symbol is None or exchange is None or not count:
        return {}
    found: dict[str, list[Candle]] = {}
    async with as_of(when) as past:
        for interval in INTERVALS:
            if not intervals or interval in intervals:
                candles = await read_last_candles(past, symbol, interval, exchange, count)
                if candles:
                    found[interval] = candles
    return found


async def _find_late_slots(past: StoredPast, moments: Sequence[Knowledge]) -> AsyncIterator[str]:
    """Yield a note on each slot whose versions have clock times, and so say nothing about simulation times."""
    late: dict[str, PastRow] = {}
    for one in moments:
        for row in one.rows:
            spec = row.spec
            if row.is_known and row.document is None and not spec.when and past.has_versions(spec):
                late.setdefault(spec.name, row)
    for name, row in late.items():
        async with aclosing(past.list_versions(row.spec, row.key, None, None, newest_first=False)) as versions:  # type: ignore[type-var]  # a generator
            async for version in versions:
                if version["when"] == read_written(version):
                    yield (
                        f"The versions of {name} have the times at which they were written: write it within "
                        "transaction(when=...) to have them by simulation time."
                    )
                break

"""Gathering an overview: which runs there are, and what the slots say of each.

A run is a strategy on a symbol, in live trading or in a backtest. Session, recent and equity say which it is. Signal,
schedule and the other slots of a strategy on a symbol don't: a signal is of the run that its ``frameName`` names, or
whose recent row, stored signals or notifications name its id. If nothing says so, it is shown as a run of its own, of
which it is unknown whether it is a backtest.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from backtest_mongo.core.commits import Holder
from backtest_mongo.core.slots import SERIES, SLOTS
from backtest_mongo.errors import InputError
from backtest_mongo.overview.model import Notice, OpenSignal, Overview, Price, Profit, RunKey, RunStatus, Seen
from backtest_mongo.overview.payloads import (
    is_closed,
    is_open,
    read_amount,
    read_notice,
    read_signal,
    read_text,
    value_signal,
)
from backtest_mongo.overview.stored import KnownRows, StoredRows
from backtest_mongo.types import Document

__all__ = ["MOST_ROWS", "MOST_RUNS", "gather_overview"]

#: How many runs are shown, and how many rows of the storage slot are read for one.
MOST_RUNS: Final = 200
MOST_ROWS: Final = 10_000
#: How many of the newest rows of a collection are looked through for runs, and for what belongs to them.
_NEWEST: Final = 200

#: Symbol, strategy and exchange.
Names: TypeAlias = tuple[str, str, str]

_SPECS: Final = {spec.name: spec for spec in (*SLOTS, *SERIES)}
#: The slots whose contexts name a run, and those that name a strategy on a symbol alone.
_OF_RUNS: Final = ("session", "recent", "equity")
_OF_NAMES: Final = ("signal", "schedule", "strategy", "partial", "breakeven")
_MODES: Final = (False, True)


@dataclass(slots=True)
class _Run:
    """What is known of a run so far."""

    key: RunKey
    #: Ids of signals that its rows name.
    ids: set[str] = field(default_factory=set)
    seen: list[Seen] = field(default_factory=list)
    has_equity: bool = False
    #: Whether the signal slot has a row of it, which may say that nothing is open.
    has_signal: bool = False
    signal: OpenSignal | None = None
    waiting: OpenSignal | None = None
    leases: list[Holder] = field(default_factory=list)
    notice: Notice | None = None

    @property
    def names(self) -> Names:
        return self.key.symbol, self.key.strategy_name, self.key.exchange_name


async def gather_overview(limit: int = MOST_RUNS, known: KnownRows | None = None) -> Overview:
    """Gather what every strategy is doing, from the storage that ``persist`` uses.

    All reads are bounded: contexts are listed from the indexes, rows are read by their keys or are the newest of a
    collection. Filtering the storage slot by strategy and symbol creates the index that ``read_storage_data()`` uses,
    if it is missing.

    Args:
        limit: how many runs to return at most, in their order.
        known: newest rows that need not be read again, and to which those that are read are added.

    Returns:
        The overview. What can't be read is among its ``problems``, and unknown.

    Raises:
        StoreUnavailableError: MongoDB can't be reached, or an SQLite file stays locked.
        ConfigError: the SQLite file can't be opened.
    """
    rows = StoredRows({} if known is None else known)
    runs = await _Gathering(rows).find_runs()
    every = runs.list_runs()
    chosen = every[:limit]
    prices = await _find_prices(rows, chosen)
    finished = await asyncio.gather(*(runs.finish(run, prices) for run in chosen))
    return Overview(
        runs=tuple(finished),
        more=len(every) - len(chosen),
        live=runs.notices[False],
        backtest=runs.notices[True],
        problems=tuple(dict.fromkeys(rows.problems)),
    )


async def _find_prices(rows: StoredRows, runs: Iterable[_Run]) -> dict[tuple[str, str], Price | None]:
    pairs = list(dict.fromkeys((run.key.symbol, run.key.exchange_name) for run in runs if run.key.symbol))
    spec = _SPECS["candle"]
    return dict(zip(pairs, await asyncio.gather(*(rows.find_price(spec, *pair) for pair in pairs)), strict=True))


class _Gathering:
    """Finds the runs, and what belongs to each."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows
        self._runs: dict[RunKey, _Run] = {}
        self._by_names: defaultdict[Names, list[_Run]] = defaultdict(list)
        #: The exchanges of a strategy on a symbol.
        self._exchanges: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._has_leases = True
        #: The newest payloads of the storage slot, by mode.
        self._stored: dict[bool, list[Any]] = {}
        self.notices: dict[bool, Notice | None] = {}

    def list_runs(self) -> list[_Run]:
        """Return the runs in the order in which they are shown."""

        def order(run: _Run) -> tuple[str, str, int, str, str]:
            key = run.key
            mode = {False: 0, True: 1, None: 2}[key.backtest]
            return key.strategy_name, key.exchange_name, mode, key.frame_name or "", key.symbol

        return sorted(self._runs.values(), key=order)

    async def find_runs(self) -> _Gathering:
        """Find all runs, and whatever is read for all of them together."""
        names = (*_OF_RUNS, *_OF_NAMES)
        listed = await asyncio.gather(*(self._rows.list_contexts(_SPECS[name]) for name in names))
        contexts = dict(zip(names, listed, strict=True))
        for name in _OF_RUNS:
            for context in contexts[name]:
                run = self._add_run(_make_key(context))
                run.has_equity = run.has_equity or name == "equity"
        await asyncio.gather(*(self._read_run_rows(name, contexts[name]) for name in ("session", "recent")))
        for mode in _MODES:
            self._stored[mode] = await self._read_newest("storage", mode)
            for payload in self._stored[mode]:
                self._add_named(payload, mode, "id")
        for mode in _MODES:
            notified = await self._read_newest("notification", mode)
            self.notices[mode] = read_notice(notified[0]) if notified else None
            for payload in notified:  # the newest first
                for run in self._add_named(payload, mode, "signalId"):
                    run.notice = run.notice or read_notice(payload)
        for name in ("signal", "schedule"):
            found = await self._rows.find_rows(_SPECS[name], contexts[name])
            for context, document in zip(contexts[name], found, strict=True):
                self._add_signal(name, _name(context), document)
        for name in _OF_NAMES:
            for context in contexts[name]:
                self._add_names(_name(context))
        await self._add_leases()
        return self

    def _add_run(self, key: RunKey) -> _Run:
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run(key)
            self._by_names[run.names].append(run)
            self._exchanges[key.symbol, key.strategy_name].add(key.exchange_name)
        return run

    def _add_names(self, names: Names) -> list[_Run]:
        """Return the runs of a strategy on a symbol; if none is known, one of which nothing else is."""
        if not self._by_names[names]:
            symbol, strategy, exchange = names
            self._add_run(
                RunKey(strategy_name=strategy, exchange_name=exchange, symbol=symbol, frame_name=None, backtest=None)
            )
        return self._by_names[names]

    def _find_runs(self, names: Names, mode: bool, frame: str | None) -> list[_Run]:
        """Return the runs that a row may belong to that names these; ``frame`` is ``None`` if it names none."""
        runs = [run for run in self._by_names[names] if run.key.backtest is mode]
        if frame is None:
            return runs
        return [run for run in runs if run.key.frame_name in (frame, None)]

    # Rows of sessions and the like

    async def _read_run_rows(self, name: str, contexts: list[dict[str, Any]]) -> None:
        spec = _SPECS[name]
        for context, document in zip(contexts, await self._rows.find_rows(spec, contexts), strict=True):
            if document is None:
                continue
            run = self._runs[_make_key(context)]
            when = document.get("when")
            if isinstance(when, int) and not isinstance(when, bool):
                run.seen.append(Seen(time=when, slot=name))
            if name == "recent" and (id_ := read_text(document.get(spec.field), "id")) is not None:
                run.ids.add(id_)

    # Collections

    async def _read_newest(self, name: str, mode: bool) -> list[Any]:
        return await self._rows.find_newest(_SPECS[name], (mode,), _NEWEST)

    def _add_named(self, payload: Any, mode: bool, signal: str) -> list[_Run]:
        """Return the runs that a payload may belong to; if none is known that it names, that one is added.

        Args:
            payload: the payload.
            mode: whether it is a backtest's.
            signal: the field that has the id of a signal.
        """
        symbol, strategy, exchange = (read_text(payload, name) for name in ("symbol", "strategyName", "exchangeName"))
        if symbol is None or strategy is None or exchange is None:
            return []
        try:
            _SPECS["signal"].bind((symbol, strategy, exchange), {})
        except InputError:
            return []  # no adapter can have these
        frame = read_text(payload, "frameName")
        names = (symbol, strategy, exchange)
        runs = self._find_runs(names, mode, frame)
        if not runs:
            frame = frame if mode else ""
            key = RunKey(strategy_name=strategy, exchange_name=exchange, symbol=symbol, frame_name=frame, backtest=mode)
            runs = [self._add_run(key)]
        id_ = read_text(payload, signal)
        if len(runs) == 1 and id_ is not None:
            runs[0].ids.add(id_)
        return runs

    # Signals

    def _add_signal(self, slot: str, names: Names, document: Document | None) -> None:
        payload = None if document is None else document.get(_SPECS[slot].field)
        signal = read_signal(payload, slot)
        if signal is None or not isinstance(payload, Mapping):
            runs = self._by_names[names]
            live = [run for run in runs if run.key.backtest is False]
            for run in runs if len(runs) == 1 else live if len(live) == 1 else ():
                run.has_signal = run.has_signal or slot == "signal"
            return
        run = self._find_owner(names, payload)
        if slot == "signal":
            run.signal, run.has_signal = signal, True
        else:
            run.waiting = signal

    def _find_owner(self, names: Names, payload: Mapping[str, Any]) -> _Run:
        """Return the run that a signal belongs to."""
        runs = self._by_names[names]
        symbol, strategy, exchange = names
        key = {"strategy_name": strategy, "exchange_name": exchange, "symbol": symbol}
        frame = read_text(payload, "frameName")
        if frame is not None:
            # The engine leaves it empty in live trading.
            return self._add_run(RunKey(**key, frame_name=frame, backtest=frame != ""))
        id_ = read_text(payload, "id")
        owners = [run for run in runs if id_ in run.ids]
        if len(owners) == 1:
            return owners[0]
        return self._add_run(RunKey(**key, frame_name=None, backtest=None))

    # Leases

    async def _add_leases(self) -> None:
        held = await self._rows.list_leases(_SPECS["signal"])
        self._has_leases = held is not None
        for holder in held or ():
            for run in self._find_leased(holder):
                run.leases.append(holder)

    def _find_leased(self, holder: Holder) -> list[_Run]:
        context = {name: value for name, value in holder.context.items() if isinstance(value, str | bool)}
        spec = _SPECS.get(holder.slot)
        if spec is None or context.keys() != set(spec.context_fields):
            return []
        values = {name: context[field_] for name, field_ in zip(spec.context, spec.context_fields, strict=True)}
        if holder.slot in _OF_NAMES:
            runs = self._add_names(_name(values))
            with_signal = [run for run in runs if run.has_signal or run.waiting is not None or run.key.backtest is None]
            return with_signal or runs
        return [self._add_run(_make_key(values))] if holder.slot in _OF_RUNS else []

    # One run

    async def finish(self, run: _Run, prices: Mapping[tuple[str, str], Price | None]) -> RunStatus:
        """Read what is left of a run."""
        key, seen = run.key, [*run.seen]
        if run.has_equity:
            context = {name: getattr(key, name) for name in _SPECS["equity"].context}
            last = await self._rows.find_last(_SPECS["equity"], context)
            seen += [] if last is None else [Seen(time=last, slot="equity")]
        realised = None
        signal = run.signal
        if key.backtest is not None and key.symbol:
            payloads = await self._read_storage(key)
            realised = self._sum(run, payloads)
            if not run.has_signal:
                signal = next((read_signal(one, "storage") for one in payloads if self._is_own(run, one)), None)
        price = prices.get((key.symbol, key.exchange_name))
        return RunStatus(
            key=key,
            signal=signal,
            waiting=run.waiting,
            realised=realised,
            price=price,
            unrealised=value_signal(signal, price),
            last_bar=max(seen, key=lambda one: one.time, default=None),
            leases=tuple(run.leases) if self._has_leases else None,
            notice=run.notice,
        )

    async def _read_storage(self, key: RunKey) -> list[Any]:
        """Return the newest rows of the storage slot that name a strategy and a symbol, the newest first."""
        assert key.backtest is not None  # for the type checker: who calls it has looked
        known = self._stored[key.backtest]
        if len(known) < _NEWEST // 2:  # these are all, even if some can't be decoded
            named = (one for one in known if read_text(one, "strategyName") == key.strategy_name)
            return [one for one in named if read_text(one, "symbol") == key.symbol]
        texts = (("strategyName", key.strategy_name), ("symbol", key.symbol))
        return await self._rows.find_newest(_SPECS["storage"], (key.backtest,), MOST_ROWS, *texts)

    def _sum(self, run: _Run, payloads: list[Any]) -> Profit:
        amount, trades, unknown = 0.0, 0, 0
        for payload in payloads:
            owners = self._find_owners(run, payload) if is_closed(payload) else []
            if run not in owners:
                continue
            trades += 1
            found = read_amount(payload) if len(owners) == 1 else None
            if found is None:
                unknown += 1
            else:
                amount += found
        return Profit(amount=amount, trades=trades, unknown=unknown, is_cut=len(payloads) == MOST_ROWS)

    def _is_own(self, run: _Run, payload: Any) -> bool:
        return is_open(payload) and self._find_owners(run, payload) == [run]

    def _find_owners(self, run: _Run, payload: Mapping[str, Any]) -> list[_Run]:
        """Return the runs that a row of the storage slot may belong to, which names strategy and symbol of a run."""
        key, frame = run.key, read_text(payload, "frameName")
        named = read_text(payload, "exchangeName")
        exchanges = self._exchanges[key.symbol, key.strategy_name] if named is None else (named,)
        return [
            one
            for exchange in exchanges
            for one in self._find_runs((key.symbol, key.strategy_name, exchange), bool(key.backtest), frame)
        ]


def _make_key(context: Mapping[str, Any]) -> RunKey:
    return RunKey(**{name: context[name] for name in RunKey.__slots__})


def _name(context: Mapping[str, Any]) -> Names:
    return context["symbol"], context["strategy_name"], context["exchange_name"]

"""Machines that work on a storage as a model does, in any order: all storages, and those with transactions and leases.

A machine is two event loops, each with what a process keeps for itself, on a database of its own. It works on one slot
of each shape, and on two of documents. Each read must answer as the model does. The tests add how a storage is set up,
and what can happen to it.

``BACKTEST_MODEL_EXAMPLES`` and ``BACKTEST_MODEL_STEPS`` say how many machines there are, and how many steps each takes.
A failure prints the steps that led there, as few as it can, and a ``@reproduce_failure(...)`` to put on the machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

import backtest_mongo
from backtest_mongo import (
    SLOTS,
    ConflictError,
    InputError,
    LeaseHeldError,
    SlotSpec,
    as_of,
    lease,
    persist,
    rename_strategy,
    transaction,
)
from backtest_mongo.core.candle_rules import explain_spacing
from backtest_mongo.core.specs import Key
from backtest_mongo.types import Revision
from tests.support import uniform
from tests.support.model import (
    CANDLE_FIELDS,
    LAST_DAY,
    OWN,
    SPECS,
    Model,
    Row,
    Window,
    batches,
    payloads,
    rows_of,
    times,
    windows,
)
from tests.support.scopes import outside
from tests.support.uniform import WHEN

__all__ = [
    "ALL_HISTORY",
    "EXAMPLES",
    "FORKS",
    "CommittingMachine",
    "ModelMachine",
    "documents",
    "grids",
    "items",
    "places",
    "processes",
    "rows",
    "run_machine",
    "run_stateful",
    "shape",
    "strip_candle",
]

EXAMPLES: Final = int(os.environ.get("BACKTEST_MODEL_EXAMPLES", "5"))
STEPS: Final = int(os.environ.get("BACKTEST_MODEL_STEPS", "40"))

#: Without shrinking, which takes minutes, a failure is there at once and its steps are many: BACKTEST_MODEL_SHRINK=0.
PHASES: Final = [phase for phase in Phase if phase != Phase.shrink or os.environ.get("BACKTEST_MODEL_SHRINK") != "0"]
#: The setting that keeps the versions of every slot.
ALL_HISTORY: Final = ",".join(spec.name for spec in SLOTS if not spec.immutable)
#: Forks of a machine, each of which makes a database with all of its indexes.
FORKS: Final = 1 if EXAMPLES < 100 else 5
#: Later than all times that are drawn.
LATEST: Final = 2**45
places = st.integers(-40, 40)
processes = st.sampled_from([0, 0, 0, 1])
kinds = st.sampled_from(["write", "write", "read", "read", "remove", "has"])

#: Of documents, entries and buckets.
rows: Bundle[Row] = Bundle("rows")
documents: Bundle[Row] = Bundle("documents")
#: Of collections.
items: Bundle[Row] = Bundle("items")
#: Of series.
grids: Bundle[Row] = Bundle("grids")


class ModelMachine(RuleBasedStateMachine):
    """What every storage does."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.known: set[Row] = set()
        #: Series whose blocks have been damaged since they were last verified.
        self.damaged: set[Row] = set()
        #: The time of the transaction under way.
        self.time: Any = None
        self.runners = [asyncio.Runner(), asyncio.Runner()]

    def run_in(self, process: int, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runners[process].run(work)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                for when in (None, WHEN):
                    self.look_at_everything(0, when)
                    self.look_at_everything(1, when)
        finally:
            self.end()

    def end(self) -> None:
        """Close what was opened."""
        for runner in self.runners:
            runner.run(backtest_mongo.close())
            runner.close()

    # The places

    @initialize(targets=(rows, documents), some=rows_of("document"), more=rows_of("document"))
    def know_documents(self, some: list[Row], more: list[Row]) -> Any:
        return self._know(some + more)

    @initialize(target=rows, some=rows_of("entry"))
    def know_entries(self, some: list[Row]) -> Any:
        return self._know(some)

    @initialize(target=rows, some=rows_of("bucket"))
    def know_buckets(self, some: list[Row]) -> Any:
        return self._know(some)

    @initialize(target=items, some=rows_of("collection"))
    def know_items(self, some: list[Row]) -> Any:
        return self._know(some)

    @initialize(target=grids, some=rows_of("series"))
    def know_series(self, some: list[Row]) -> Any:
        return self._know(some)

    def _know(self, some: list[Row]) -> Any:
        self.known.update(some)
        return multiple(*some)

    # Operations

    @rule(row=rows, kind=st.sampled_from(["write", "write", "remove"]), value=payloads, when=times, process=processes)
    def change(self, row: Row, kind: str, value: dict[str, Any], when: Any, process: int) -> None:
        self.run_in(process, self._operation(kind, row, value, when))

    @rule(row=documents, when=times, process=processes)
    def clear(self, row: Row, when: Any, process: int) -> None:
        if row.spec.payload == "object|null":
            self.model.write(row, None, when)
            self.run_in(process, uniform.write(row.adapter, None, when=when))
        else:
            with pytest.raises(InputError, match=r" must be a .*, not NoneType"):
                self.run_in(process, uniform.write(row.adapter, None, when=when))

    @rule(row=rows, when=st.none() | times, process=processes)
    def look_at(self, row: Row, when: Any, process: int) -> None:
        self.run_in(process, self._operation("read", row, {}, when))
        if row.spec.items:
            self.run_in(process, self._operation("has", row, {}, None))
        if row.spec.shape == "bucket":
            at = {"when": when} if row.spec.when and when is not None else {}
            assert self.run_in(process, uniform.listed(row.adapter, **at)) == self.model.listed(row, **at)

    @rule(
        batches=st.lists(st.lists(st.tuples(items, payloads), min_size=1, max_size=4), min_size=1, max_size=3),
        process=processes,
    )
    def write_items(self, batches: list[list[tuple[Row, dict[str, Any]]]], process: int) -> None:
        for drawn in batches:
            first = drawn[0][0]
            batch = [(row, {**value, "id": row.item}) for row, value in drawn if row.context == first.context]
            for row, value in batch:
                self.model.write(row, value, None)
            writing = getattr(first.adapter, f"write_{first.spec.noun}_data")
            self.run_in(process, writing([value for _, value in batch]))
            self.read_items(first, None, process)

    @rule(row=items, limit=st.none() | st.integers(1, 5), process=processes)
    def read_items(self, row: Row, limit: int | None, process: int) -> None:
        limits = {"limit": limit} if limit and row.spec.newest else {}
        found = self.run_in(process, getattr(row.adapter, f"read_{row.spec.noun}_data")(**limits))
        assert found == self.model.collected(row, **limits)

    @rule(row=grids, batch=batches(), process=processes)
    def write_candles(self, row: Row, batch: list[tuple[int, int, float]], process: int) -> None:
        self.run_in(process, self._write_candles(row, batch))

    @rule(row=grids, asked=st.lists(windows, min_size=1, max_size=4), process=processes)
    def read_candles(self, row: Row, asked: list[Window], process: int) -> None:
        reading = getattr(row.adapter, f"read_{row.spec.noun}_data")
        stored = sorted(self.model.series.get(row, ()))
        for window in asked:
            first = window.position * row.step + window.offset
            if window.nth is not None and stored:
                first = stored[window.nth % len(stored)]
            until = None if window.spare is None else first + (window.limit - 1) * row.step + window.spare
            found = self.run_in(process, reading(window.limit, first, until))
            assert found == self.model.window(row, window.limit, first, until)

    @rule(row=grids, first=places, length=st.integers(0, 60), process=processes)
    def read_columns(self, row: Row, first: int, length: int, process: int) -> None:
        start, end = first * row.step - 1, (first + length) * row.step + 1
        stored = sorted(self.model.series.get(row, ()))
        frame = self.run_in(process, row.adapter.read_frame(start, end, as_="numpy"))
        columns = [frame["timestamp"].astype("int64").tolist(), *(frame[name].tolist() for name in CANDLE_FIELDS)]
        within = [self.model.series[row][time] for time in stored if start <= time < end]
        assert list(zip(*columns, strict=True)) == [tuple(strip_candle(candle).values()) for candle in within]
        gaps = self.run_in(process, row.adapter.gaps(start, end))
        places = _missing(stored, row.step, start, end)
        assert sum(gap.rows for gap in gaps) == len(places)
        assert all(any(gap.start <= time < gap.end for gap in gaps) for time in places)
        assert not any(gap.start <= time < gap.end for gap in gaps for time in stored)
        if row in self.damaged:
            return  # what a block says of its size is believed until it is read
        coverage = self.run_in(process, row.adapter.coverage())
        ends = (stored[0], stored[-1]) if stored else (None, None)
        assert (coverage.first, coverage.last, coverage.rows) == (*ends, len(stored))

    @rule(row=grids, process=processes)
    def seal(self, row: Row, process: int) -> None:
        self.run_in(process, row.adapter.seal())
        self.run_in(process, row.adapter.verify(repair=True))
        assert self.run_in(process, row.adapter.verify()).damaged == {}
        self.damaged.discard(row)

    @rule(drawn=st.lists(documents, min_size=1, max_size=6), when=st.none() | times, process=processes)
    def read_many(self, drawn: list[Row], when: Any, process: int) -> None:
        several = [row for row in drawn if row.slot == drawn[0].slot]
        at = {"when": when} if several[0].spec.when else {}
        found = self.run_in(process, type(several[0].adapter).read_many([row.context for row in several], **at))
        assert found == [self.model.read(row, **at) for row in several]

    @rule(drawn=st.lists(st.tuples(documents, payloads), min_size=1, max_size=6), when=times, process=processes)
    def write_many(self, drawn: list[tuple[Row, dict[str, Any]]], when: Any, process: int) -> None:
        several = [(row, shape(row, value)) for row, value in drawn if row.slot == drawn[0][0].slot]
        for row, value in several:
            self.model.write(row, value, when)
        first = several[0][0]
        at = {"when": when} if first.spec.when else {}
        pairs = [(row.adapter.context, value) for row, value in several]
        self.run_in(process, type(first.adapter).write_many(pairs, **at))

    @rule(
        drawn=st.lists(st.tuples(rows, kinds, payloads, times), min_size=2, max_size=12),
        candles=st.none() | st.tuples(grids, batches()),
        process=processes,
    )
    def work_concurrently(self, drawn: list[tuple[Row, str, Any, Any]], candles: Any, process: int) -> None:
        """Work on many rows in one turn of the event loop: change each at most once, or read it any number of times."""
        changed: set[tuple[str, Any]] = set()
        looked_at: set[tuple[str, Any]] = set()
        work = [] if candles is None else [self._write_candles(*candles)]
        for row, kind, value, when in drawn:
            place, changes = (row.slot, row.key), kind in ("write", "remove")
            if place not in changed and not (changes and place in looked_at):
                (changed if changes else looked_at).add(place)
                work.append(self._operation(kind, row, value, when))
        self.run_in(process, _together(work))

    @rule(row=rows, drawn=st.lists(st.tuples(kinds, payloads, times), min_size=2, max_size=8), process=processes)
    def queue(self, row: Row, drawn: list[tuple[str, Any, Any]], process: int) -> None:
        """One row in one turn of the event loop: changes keep their order, and a read sees one of its states."""
        states = [deepcopy(self.model.read(row))]
        work: list[Awaitable[Any]] = []
        for kind, value, when in drawn:
            if kind == "write" or (kind == "remove" and row.spec.soft_delete):
                work.append(self._operation(kind, row, value, when))
                states.append(deepcopy(self.model.read(row)))
            else:
                work.append(self._read_one_of(row, states))
        self.run_in(process, _together(work))

    @rule(row=rows, process=processes)
    def look_at_history(self, row: Row, process: int) -> None:
        """Every version that the model has, and the row itself where another program has written it last."""
        if not self.model.keeps_versions_of(row):
            return
        arguments = () if row.item is None else (row.item,)
        found = self.run_in(process, _list_history(row.adapter.history(*arguments)))
        assert found == self.model.list_history(row)
        found = self.run_in(process, _list_history(row.adapter.history(*arguments, newest_first=True)))
        assert found == self.model.list_history(row)[::-1]

    @rule(some=st.lists(st.one_of(rows, items), min_size=1, max_size=4), when=times, process=processes)
    def look_at_the_past(self, some: list[Row], when: Any, process: int) -> None:
        self.run_in(process, self._look_at_the_past(some, when))

    async def _look_at_the_past(self, some: list[Row], when: Any) -> None:
        async with as_of(when) as past:
            for row in some:
                if self.model.keeps_versions_of(row):
                    then = getattr(past, row.slot)(*row.context)
                    await _answers(uniform.read(then, row.item or ""), deepcopy(self.model.read(row, when)))
                    if row.spec.shape == "bucket":
                        assert await uniform.listed(then) == self.model.listed(row, when)

    @rule(process=processes, when=st.none() | times)
    def look_at_everything(self, process: int, when: Any) -> None:
        for row in sorted(self.known, key=repr):
            if row.spec.shape == "collection":
                self.read_items(row, None, process)
            elif row.spec.shape == "series":
                asked = [Window(nth=nth, limit=3, spare=spare) for nth in range(0, 12, 2) for spare in (None, 0, -1)]
                self.read_candles(row, asked, process)
            else:
                self.look_at(row, when, process)

    # How it is done

    def _operation(self, kind: str, row: Row, value: dict[str, Any], when: Any) -> Coroutine[Any, Any, None]:
        """Carry an operation out in the model; return what carries it out in a process and compares the answers."""
        spec, adapter, item = row.spec, row.adapter, row.item or ""
        if kind == "write":
            self.model.write(row, shape(row, value), when)
            return _answers(uniform.write(adapter, shape(row, value), item, when), None)
        if kind == "remove" and spec.soft_delete:
            self.model.remove(row, self.time)
            return _answers(getattr(adapter, f"remove_{spec.noun}_data")(item), None)
        if kind == "has" and spec.items:
            return _answers(getattr(adapter, f"has_{spec.noun}_data")(item), self.model.has(row))
        at = when if spec.when else None
        return _answers(uniform.read(adapter, item, at), deepcopy(self.model.read(row, at)))

    def _write_candles(self, row: Row, batch: list[tuple[int, int, float]]) -> Coroutine[Any, Any, None]:
        candles: list[dict[str, Any]] = [
            {"timestamp": min(position * row.step, LAST_DAY) + offset, **dict.fromkeys(CANDLE_FIELDS, price)}
            for position, offset, price in batch
        ]
        if explain_spacing([candle["timestamp"] for candle in candles], row.adapter.context["interval"]):
            candles = [candle for candle in candles if candle["timestamp"] % row.step == 0]
        writing = getattr(row.adapter, f"write_{row.spec.noun}_data")(candles)
        return _answers(writing, self.model.write_candles(row, candles))

    async def _read_one_of(self, row: Row, states: list[Any]) -> None:
        assert await uniform.read(row.adapter, row.item or "") in states


class CommittingMachine(ModelMachine):
    """What storages do that have transactions and leases."""

    #: Forks that were made.
    forks: int = 0

    @rule(row=st.one_of(rows, items), process=processes)
    def delete_context(self, row: Row, process: int) -> None:
        """All rows of a context, removed ones included."""
        assert self.run_in(process, row.adapter.delete()) == self.model.delete_context(row)
        self.run_in(process, self._compare(row))

    @rule(nth=st.integers(0, 5), new=st.sampled_from(["renamed", "renamed again", "a", "a:b", "b"]), process=processes)
    def rename(self, nth: int, new: str, process: int) -> None:
        """Give a strategy another name in all slots, unless that would merge two."""
        names = sorted(self.model.list_strategies() - {new})
        if not names:
            return
        old = names[nth % len(names)]
        match self.model.rename(old, new):
            case True:
                self.run_in(process, rename_strategy(old, new))
            case False:
                with pytest.raises(ConflictError):
                    self.run_in(process, rename_strategy(old, new))

    def check_fork(self, found: Mapping[str, Mapping[Key, Any]], when: Any) -> None:
        """Compare the rows of a fork, by slot and key, in slots whose rows have a time."""
        for slot in sorted({row.slot for row in self.known if row.spec.when}):
            assert found[slot] == self.model.list_fork(slot, when), slot

    @property
    def forked_slots(self) -> list[SlotSpec]:
        return [SPECS[slot] for slot in sorted({row.slot for row in self.known if row.spec.when})]

    @rule(
        drawn=st.lists(st.tuples(rows, kinds, payloads, st.none() | times), min_size=1, max_size=8),
        listed=st.lists(st.tuples(items, payloads), max_size=4),
        at=times,
        how=st.sampled_from(["commit", "commit", "drop", "drop an inner block"]),
        process=processes,
    )
    def transact(self, drawn: list[Any], listed: list[Any], at: Any, how: str, process: int) -> None:
        """Reads in the block see its writes, in every form; nobody else does before its end."""
        self.run_in(process, self._transact(drawn, listed, at, how))

    @rule(
        leased=st.lists(st.one_of(rows, items), min_size=1, max_size=4),
        blocks=st.lists(
            st.tuples(
                st.lists(st.tuples(rows, kinds, payloads, st.none() | times), min_size=1, max_size=5),
                st.lists(st.tuples(items, payloads), max_size=3),
                times,
                st.sampled_from(["commit", "commit", "drop", "alone"]),
            ),
            min_size=1,
            max_size=4,
        ),
        every=st.sampled_from([1, 1, 2, 64]),
        process=processes,
    )
    def own(self, leased: list[Row], blocks: list[Any], every: int, process: int) -> None:
        """Under leases reads come out of memory, and bars may wait to be committed."""
        contexts = {(row.slot, row.context): row for row in leased}
        self.run_in(process, self._own(list(contexts.values()), blocks, every))

    async def _own(self, leased: list[Row], blocks: list[Any], every: int) -> None:
        async with lease(*(row.adapter for row in leased), commit_every=every, max_delay=600):
            with pytest.raises(LeaseHeldError):
                await outside(lease(leased[0].adapter).__aenter__())
            for drawn, listed, at, how in blocks:
                if how == "alone":
                    for row, kind, value, when in drawn:
                        await self._operation(kind, row, value, at if when is None else when)
                else:
                    await self._transact(drawn, listed, at, how, is_owner=every > 1)
            for row in leased:
                await self._compare(row)

    async def _transact(self, drawn: list[Any], listed: list[Any], at: Any, how: str, is_owner: bool = False) -> None:
        before = deepcopy(self.model)
        places = {(row.slot, row.key): row for row, *_ in drawn} | {(row.slot, row.key): row for row, _ in listed}
        try:
            async with transaction(when=at):
                self.time = at
                await self._work(drawn, listed, at)
                if how == "drop an inner block":
                    await self._drop_inner(drawn, at)
                for row in places.values():
                    await self._compare(row)
                    if not is_owner:
                        late = {"when": LATEST} if row.spec.when else {}
                        await outside(_answers(_read_row(row), before.read_row(row, **late)))
                if how == "drop":
                    raise _Dropped
        except _Dropped:
            self.model = before
        finally:
            self.time = None
        for row in places.values():
            await self._compare(row)

    async def _drop_inner(self, drawn: list[Any], at: Any) -> None:
        before = deepcopy(self.model)
        try:
            async with transaction():
                for row, _, value, _ in drawn:
                    await self._operation("write", row, {**value, "n": -1}, at)
                    await self._compare(row)
                raise _Dropped
        except _Dropped:
            self.model = before

    async def _work(self, drawn: list[Any], listed: list[Any], at: Any) -> None:
        for row, kind, value, when in drawn:
            await self._operation(kind, row, value, at if when is None else when)
        for row, value in listed:
            held = {**value, "id": row.item}
            self.model.write(row, held, None)
            await getattr(row.adapter, f"write_{row.spec.noun}_data")([held])

    async def _compare(self, row: Row) -> None:
        """Compare what every form of a read gives with the model; the latest time is no limit."""
        late = {"when": LATEST} if row.spec.when else {}
        await _answers(_read_row(row), self.model.read_row(row, **late))
        if row.spec.shape == "bucket":
            assert await uniform.listed(row.adapter, **late) == self.model.listed(row, **late)
        if row.spec.shape == "document":
            await _answers_list(type(row.adapter).read_many([row.context], **late), [self.model.read(row, **late)])


def _missing(stored: list[int], step: int, start: int, end: int) -> list[int]:
    """Return where candles are missing in a half-open range."""
    if not stored:
        return list(range(start, end, step))
    pairs = [(before, after, round((after - before) / step)) for before, after in pairwise(stored)]
    grids = [range(before + step, after, step)[: max(0, apart - 1)] for before, after, apart in pairs]
    first = stored[0] - max(0, (stored[0] - start) // step) * step
    grids += [range(first, stored[0], step), range(stored[-1] + step, end, step)]
    found: list[int] = []
    for grid in grids:
        inside = (max(0, -((grid.start - time) // step)) for time in (start, end))
        found += grid[slice(*inside)]
    return found


async def _list_history(revisions: AsyncIterator[Revision]) -> list[tuple[int, Any, bool]]:
    return [(one.when, one.value, one.is_removed) async for one in revisions]


class _Dropped(Exception):
    """What a block raises to be dropped."""


async def _read_row(row: Row) -> Any:
    """Read a row, or the list that it is in, at a time that is no limit."""
    if row.spec.shape == "collection":
        return await getattr(row.adapter, f"read_{row.spec.noun}_data")()
    return await uniform.read(row.adapter, row.item or "", LATEST if row.spec.when else None)


async def _answers_list(work: Awaitable[list[Any]], expected: list[Any]) -> None:
    assert await work == expected


async def _answers(work: Awaitable[Any], expected: Any) -> None:
    answer = await work
    assert answer == expected
    if isinstance(answer, dict):
        answer["changed"] = "by its caller, which is nobody else's business"


async def _together(work: list[Any]) -> None:
    await asyncio.gather(*work)


def shape(row: Row, value: dict[str, Any]) -> Any:
    return [value] if row.spec.payload == "list" else value


def strip_candle(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in ("timestamp", *CANDLE_FIELDS)}


def run_machine(machine: type[ModelMachine]) -> None:
    """Run machines of a storage, which also have a slot of one's own of each shape."""
    for spec in OWN:
        persist.register(spec)
    run_stateful(machine)


def run_stateful(machine: type[RuleBasedStateMachine]) -> None:
    """Run machines, as many and as long as the environment says."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            phases=PHASES,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )

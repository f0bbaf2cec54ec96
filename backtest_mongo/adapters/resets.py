"""``reset()``: deletes what a run has stored, so that it can be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from backtest_mongo.adapters.dummy import is_dummy
from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.adapters.sqlite import get_run_rows
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.commits import Committer, Holder
from backtest_mongo.core.lease_errors import make_in_use_error
from backtest_mongo.core.runs import SIGNAL, STEP, RunRows, Selection, check_run
from backtest_mongo.core.slots import SLOTS
from backtest_mongo.core.specs import FLAG
from backtest_mongo.core.strategy_names import has_strategy
from backtest_mongo.errors import InputError, InputTypeError, StoreError
from backtest_mongo.mongo.run_rows import MongoRunRows
from backtest_mongo.series.columns.run_rows import MongoRunColumns
from backtest_mongo.types import ResetReport

__all__ = ["reset"]

#: The slot whose rows say which signals a run has had.
_STORAGE = next(spec for spec in SLOTS if spec.name == "storage")
#: How many signals an error lists.
_LISTED = 5


async def reset(run: str, *, live: bool = False, dry_run: bool = False) -> ResetReport:
    """Delete what a run has stored, so that it can be repeated from scratch::

        await setup(run="trend 2024")
        await reset("trend 2024")
        ...  # the backtest

    It deletes the rows that carry the run's name, in all slots of the registry: those that were last written within
    ``setup(run=...)``, ``lease(run=...)`` or ``transaction(run=...)`` of that name. It also deletes the rows of the
    signals in the run's rows of storage, in every slot whose key has a signal's id (state, memory, dictionary, partial,
    breakeven), whoever wrote them, unless they carry the name of another run. All versions of these rows go with them,
    even those from before the run, and so do their ids in the cache. Candles and other series of markets stay.

    Rows that carry no name and are not tied to a signal of the run can't be attributed: they are counted in the report,
    and stay. So do all rows of a strategy's series, such as equity; ``delete()`` deletes them. On MongoDB a row loses
    its run's name when another program, such as the Node package, overwrites it.

    Rows are deleted in steps of up to 1,000, and those by which others are found come last, so a reset that failed or
    was killed continues when it is called again. Stop the run first; rows that it writes meanwhile may stay.

    Args:
        run: the name of the run.
        live: delete live rows too, and rows of signals that are live. Otherwise nothing is deleted if there are any.
        dry_run: delete nothing, and report what would be deleted.

    Returns:
        What was deleted, and what stays.

    Raises:
        InputError: ``run`` can't be the name of a run, live rows are affected, or a ``transaction()`` or ``lease()``
            is open around the call.
        InputTypeError: ``run`` is not a ``str``, or ``live`` or ``dry_run`` not a ``bool``.
        LeaseHeldError: somebody holds the lease of a row's context. If it was held from the start, nothing is deleted.
        StoreError: no slot is stored in MongoDB or SQLite.
        StoreUnavailableError: the database did not answer. Call it again.
    """
    run = check_run(run, "reset")
    for name, value in (("live", live), ("dry_run", dry_run)):
        if not isinstance(value, bool):
            raise InputTypeError(f"reset: {name} must be a bool, not {type(value).__name__}")
    scope = current_scope.get()
    if scope is not None:
        raise InputError(f"reset can't be part of a {scope.title}", hint="call it before the block")
    slots, skipped = _find_slots()
    survey = await _look(run, slots)
    if survey.is_live and not live and not dry_run:
        raise _make_live_error(run, survey)
    work = [_Work(run, rows, survey.signals) for rows in slots]
    if dry_run:
        deleted, versions = {one.name: await one.count() for one in work}, dict[str, int]()
    else:
        await _check_leases(work)
        for one in work:
            await one.delete_tied()
        for one in sorted(work, key=lambda one: one.name == _STORAGE.name):
            await one.delete_run()
        deleted, versions = {one.name: one.deleted for one in work}, {one.name: one.versions for one in work}
    return ResetReport(
        run=run,
        is_dry_run=dry_run,
        deleted=_drop_zeros(deleted),
        versions=_drop_zeros(versions),
        signal_ids=tuple(survey.signals),
        live=survey.live,
        live_signal_ids=tuple(survey.live_signals),
        left=_drop_zeros({one.name: await one.count_left(is_dry_run=dry_run) for one in work}),
        other_runs=_drop_zeros({one.name: await one.count_others() for one in work}),
        skipped=tuple(skipped),
    )


def _find_slots() -> tuple[list[RunRows], list[str]]:
    """Return the slots of the registry that have runs, and the names of those that have none.

    Raises:
        StoreError: none has.
    """
    found: list[RunRows] = []
    skipped: list[str] = []
    has_dummy = False
    for name, known in persist._adapters.items():
        spec = known.spec
        if spec.shape == "series" and not (spec.columns and has_strategy(spec)):
            continue  # of a market, and no run's
        adapter = persist._get_implementation(spec)
        rows: RunRows | None = None
        if adapter is known:
            rows = (MongoRunColumns if spec.columns else MongoRunRows)(current_hub(), spec)
        elif isinstance(adapter, type) and issubclass(adapter, Adapter):
            rows = get_run_rows(adapter)
            if rows is None and is_dummy(adapter):
                has_dummy = True
                continue
        if rows is None:
            skipped.append(name)
        else:
            found.append(rows)
    if not found and not has_dummy:
        raise StoreError(
            "resetting failed: no slot is stored in MongoDB or SQLite; JSON files are the Node engine's, and have no "
            "place for the name of a run",
            hint="delete the directory of the files, or store by persist.use_sqlite() or after `await setup()`",
        )
    return found, skipped


@dataclass
class _Survey:
    """What a run has stored before it is reset."""

    signals: list[str] = field(default_factory=list)
    live_signals: list[str] = field(default_factory=list)
    live: dict[str, int] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        return bool(self.live or self.live_signals)


async def _look(run: str, slots: Sequence[RunRows]) -> _Survey:
    survey = _Survey()
    storages = [rows for rows in slots if rows.spec.name == _STORAGE.name]
    for rows in storages:
        survey.signals += await rows.list_signals(Selection(run=run))
    for rows in storages:
        for some in _split(survey.signals):
            survey.live_signals += await rows.list_signals(Selection(run=run, owner="all", signals=some, is_live=True))
    for rows in slots:
        if FLAG in rows.spec.key:
            count = await rows.count(Selection(run=run, is_live=True))
            if count:
                survey.live[rows.spec.name] = count
    return survey


def _make_live_error(run: str, survey: _Survey) -> InputError:
    problems = []
    if survey.live:
        problems.append("live rows of it in " + ", ".join(f"{name} ({count:,})" for name, count in survey.live.items()))
    if survey.live_signals:
        named = ", ".join(survey.live_signals[:_LISTED])
        more = len(survey.live_signals) - _LISTED
        problems.append(f"live rows of its signals {named}{f' and {more:,} more' if more > 0 else ''} in storage")
    return InputError(
        f"the run {run!r} is not only a backtest: there are {' and '.join(problems)}",
        hint="nothing was deleted; live=True deletes the rows of the run and of its signals anyway",
    )


class _Work:
    """What is to be deleted from one slot."""

    def __init__(self, run: str, rows: RunRows, signals: Sequence[str]) -> None:
        self.name: str = rows.spec.name
        self.rows: RunRows = rows
        self.deleted: int = 0
        self.versions: int = 0
        self._run = run
        is_tied = SIGNAL in rows.spec.key and rows.spec.shape != "collection"
        self._signals = signals if is_tied else ()

    def list_selections(self) -> Iterator[Selection]:
        yield from self._list_tied()
        yield Selection(run=self._run)

    def _list_tied(self) -> Iterator[Selection]:
        for some in _split(self._signals):
            yield Selection(run=self._run, owner="none", signals=some)

    async def count(self) -> int:
        return sum([await self.rows.count(selection) for selection in self.list_selections()])

    async def delete_tied(self) -> None:
        for selection in self._list_tied():
            await self._delete(selection)

    async def delete_run(self) -> None:
        await self._delete(Selection(run=self._run))

    async def _delete(self, selection: Selection) -> None:
        async for rows, versions in self.rows.delete(selection):
            self.deleted += rows
            self.versions += versions

    async def count_left(self, *, is_dry_run: bool) -> int:
        """Return how many rows carry no name and stay."""
        count = await self.rows.count(Selection(run=self._run, owner="none", is_live=False))
        if is_dry_run:
            count -= sum([await self.rows.count(selection) for selection in self._list_tied()])
        return count

    async def count_others(self) -> int:
        """Return how many rows of the run's signals carry the name of another run."""
        selections = (Selection(run=self._run, owner="other", signals=some) for some in _split(self._signals))
        return sum([await self.rows.count(selection) for selection in selections])


async def _check_leases(work: Sequence[_Work]) -> None:
    """Refuse to delete anything while somebody holds the lease of a row's context.

    Raises:
        LeaseHeldError: somebody does.
    """
    held: dict[Committer, list[Holder]] = {}
    for one in work:
        committer = one.rows.committer
        if committer not in held:
            held[committer] = [holder for holder in await committer.list_leases() if not holder.is_expired]
        for holder in held[committer]:
            spec = one.rows.spec
            if holder.slot != spec.name or holder.context.keys() != set(spec.context_fields):
                continue
            for selection in one.list_selections():
                if await one.rows.count(replace(selection, context=holder.context)):
                    raise make_in_use_error(holder)


def _split(signals: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(signals), STEP):
        yield signals[start : start + STEP]


def _drop_zeros(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}

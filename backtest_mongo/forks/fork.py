"""``fork()``: the state of every slot as it was at a simulation time, in a database of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.adapters.sqlite import find_database, resolve_path
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.database_names import find_name_problem
from backtest_mongo.core.fork_marks import ForkMark
from backtest_mongo.core.past_rows import LostRow, PastRow
from backtest_mongo.core.series_times import find_known_end
from backtest_mongo.core.specs import FLAG, Key, SlotSpec
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError, InputTypeError, StoreError
from backtest_mongo.forks.backend import Backend, RowReader, Writer
from backtest_mongo.forks.choosing import Choice
from backtest_mongo.forks.mongo import MongoBackend
from backtest_mongo.forks.sqlite import SQLiteBackend, find_path
from backtest_mongo.sqlite.database import Database
from backtest_mongo.types import ForkReport, LeftOut, UnknownRow, When, now_ms, to_millis

__all__ = ["fork"]

#: How many rows are written at a time.
_BATCH: Final = 1_000
#: How many slots an error names.
_NAMED: Final = 5

Progress: TypeAlias = Callable[[str, int], None]


async def fork(
    name: str | os.PathLike[str],
    *,
    at: When,
    strategy_name: str | None = None,
    copy_candles: bool = False,
    as_backtest: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ForkReport:
    """Copy every slot, as it was at a simulation time, into another, empty database, to continue from there::

        report = await fork("what_if", at=trade_opened)
        await setup(**report.config)  # the same servers, another database, and the candles of the first one
        ...  # the strategy continues from that bar

    It copies where ``persist`` stores: from MongoDB into the database ``name`` of the same servers, from an SQLite file
    into another one. A row is copied as it was then, from the versions that ``CC_HISTORY`` or ``SlotSpec(history=)``
    keep. A row without versions is copied as it is if it was not written since; otherwise its past is unknown, and it
    is left out and listed. Rows that did not exist yet or were removed are not copied; cleared ones are. Rows that have
    since been deleted for good are lost.

    In the fork a row has its key, its payload and the time of its version as ``when``, and lists of the newest rows
    keep their order. In slots with history it has that one version. No row belongs to a run, and nobody holds a lease.

    Others may write meanwhile, which does not change the past. Where ``at`` is later than a row's own time, the row is
    copied as it is when it is read; rows that are written while the fork runs may then be from different moments.

    A fork in MongoDB that fails or is killed stays unfinished and can't be used; only a call with the same arguments
    accepts it, and starts over. An SQLite file takes its place once it is complete.

    Of series with columns, such as trades and equity, the rows that were known at the time are copied, also those that
    were stored later, and with the values that they have by now.

    Args:
        name: the database in MongoDB, or the path of the SQLite file; a name without directory and suffix is a file
            beside the source: ``what_if`` means ``what_if.db``. It must be empty or missing.
        at: the time: milliseconds since the epoch (UTC), or an aware ``datetime``.
        strategy_name: copy only the rows of this strategy: those with it in their key, rows of storage, notification
            and log whose payload names it, rows keyed by the ids of its signals, and series of markets, whose contexts
            name no strategy. Rows that can't be attributed to a strategy are left out and counted in the report.
        copy_candles: copy all candles. Otherwise they stay where they are, and are read and written there: ``config``
            of the report has ``CC_CANDLE_DATABASE``.
        as_backtest: turn live rows into backtest rows: ``backtest`` in their keys becomes true. Payloads stay.
        dry_run: write nothing, and report what would be copied.
        progress: is called with a slot's name and how many of its rows, or candles, have been copied so far.

    Returns:
        What was copied, what was left out and why, and the settings to go on with.

    Raises:
        InputError: ``name`` can't be a database's or is the source, the database is not empty, ``at`` is not a time, a
            live row and a backtest's would have one key, or a ``transaction()`` or ``lease()`` is open around the call.
        InputTypeError: an argument has the wrong type.
        ConfigError: ``name`` can't be a file, or is another program's.
        StoreError: a slot is stored in JSON files or in a storage of your own, not all of them are in one database, or
            the database answered with an error.
        StoreUnavailableError: the database did not answer. Call it again.
    """
    request = _Request(
        at=_check_time(at),
        strategy_name=_check_strategy(strategy_name),
        copy_candles=_check_flag("copy_candles", copy_candles),
        as_backtest=_check_flag("as_backtest", as_backtest),
        progress=progress,
    )
    _check_flag("dry_run", dry_run)
    scope = current_scope.get()
    if scope is not None:
        raise InputError(f"fork can't be part of a {scope.title}", hint="call it outside of the block")
    backend = _open_backend(name)
    try:
        return await _Fork(backend, request).run(is_dry_run=dry_run)
    finally:
        await backend.close()


def _check_time(at: object) -> int:
    try:
        return to_millis(cast("When", at))
    except TypeError as error:
        raise InputTypeError(f"fork: at {error}") from None
    except ValueError as error:
        raise InputError(f"fork: at {error}") from None


def _check_strategy(name: object) -> str | None:
    if name is None or (isinstance(name, str) and name):
        return name
    if isinstance(name, str):
        raise InputError("fork: strategy_name must not be empty (str)", hint="None copies the rows of all strategies")
    raise InputTypeError(f"fork: strategy_name must be a str, not {type(name).__name__}")


def _check_flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise InputTypeError(f"fork: {name} must be a bool, not {type(value).__name__}")


# The databases


def _open_backend(name: object) -> Backend:
    """Return the database that the registry stores in, and the one to create.

    Raises:
        StoreError: the slots are not all in one database that can be forked.
        InputError: the name can't be a database's, or is the source's.
        InputTypeError: the same.
        ConfigError: the path can't be one.
    """
    if not isinstance(name, str | os.PathLike):
        raise InputTypeError(f"fork: name must be a str or a path, not {type(name).__name__}")
    found = [(adapter.spec, _find_place(adapter)) for adapter in persist._adapters.values()]
    _check_places(found)
    databases = [place for _, place in found if isinstance(place, Database)]
    if databases:
        source = next(place for spec, place in found if not spec.is_candles)
        candles = next(place for spec, place in found if spec.is_candles)
        assert isinstance(source, Database)
        assert isinstance(candles, Database)
        return SQLiteBackend(source, candles, resolve_path(find_path(name, source.path), "fork"))
    text = os.fspath(name)
    if not isinstance(name, str) or not isinstance(text, str):
        raise InputTypeError(f"fork: name must be a str for a database in MongoDB, not {type(name).__name__}")
    problem = find_name_problem(name)
    if problem is not None:
        raise InputError(f"fork: name {problem} (str)", hint="name a database, such as what_if")
    return MongoBackend(current_hub(), name)


#: Where a slot is: in an SQLite database, in MongoDB, or in what a text describes.
_Place: TypeAlias = Database | str
_MONGO: Final = "MongoDB"


def _find_place(known: type[Adapter]) -> _Place:
    adapter = persist._get_implementation(known.spec)
    if adapter is known:
        return _MONGO
    database = find_database(adapter)
    return database if database is not None else getattr(adapter, "__name__", type(adapter).__name__)


def _check_places(found: Sequence[tuple[SlotSpec, _Place]]) -> None:
    """Refuse slots that are not in one database.

    Raises:
        StoreError: there are some.
    """
    others = [f"{spec.name} ({place})" for spec, place in found if isinstance(place, str) and place != _MONGO]
    if others:
        raise StoreError(
            f"forking failed: these slots are stored neither in MongoDB nor in SQLite: {_list(others)}",
            hint="import JSON files into SQLite with import_dump(), and fork that",
        )
    # Candles may be in another file than the rest.
    for is_series in (False, True):
        some = [(spec, place) for spec, place in found if (spec.is_candles) is is_series]
        if len({place for _, place in some}) > 1:
            shown = ", ".join(f"{spec.name} ({_describe(place)})" for spec, place in some)
            raise StoreError(f"forking failed: these slots are not in one database: {shown}")
    if len({isinstance(place, Database) for _, place in found}) > 1:
        raise StoreError(
            "forking failed: candles are in another database than the rest",
            hint="store both in MongoDB or both in SQLite",
        )


def _describe(place: _Place) -> str:
    return place.path if isinstance(place, Database) else place


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")


# The rows


@dataclass(frozen=True, slots=True)
class _Request:
    at: int
    strategy_name: str | None
    copy_candles: bool
    as_backtest: bool
    progress: Progress | None


@dataclass(slots=True)
class _Fork:
    """One call of :func:`fork`."""

    backend: Backend
    request: _Request
    rows: dict[str, int] = field(default_factory=dict)
    candles: int = 0
    unknown: list[UnknownRow] = field(default_factory=list)

    async def run(self, *, is_dry_run: bool) -> ForkReport:
        request, backend = self.request, self.backend
        specs = [adapter.spec for adapter in persist._adapters.values()]
        others = await backend.list_others(specs)
        mark = ForkMark(
            source=backend.source,
            at=request.at,
            strategy_name=request.strategy_name,
            as_backtest=request.as_backtest,
            candles="" if request.copy_candles else backend.candles,
            begun=now_ms(),
        )
        await backend.check(mark)
        if request.as_backtest:
            await self._check_keys([spec for spec in specs if FLAG in spec.key and spec.shape != "series"])
            await self._check_series([spec for spec in specs if FLAG in spec.key and spec.columns])
        choice = Choice(request.strategy_name)
        if is_dry_run:
            await self._copy_rows(choice, specs, None)
            await self._copy_columns(choice, specs, None)
        else:
            async with backend.open_writer(mark) as writer:
                await self._copy_rows(choice, specs, writer)
                await self._copy_columns(choice, specs, writer)
                if request.copy_candles:
                    await self._copy_candles(specs, writer)
        left = [*choice.left_out, *(LeftOut(name, rows, "its slot is not registered") for name, rows in others)]
        return ForkReport(
            name=backend.target,
            source=backend.source,
            at=request.at,
            strategy_name=request.strategy_name,
            as_backtest=request.as_backtest,
            is_dry_run=is_dry_run,
            rows=self.rows,
            candles=self.candles if request.copy_candles else None,
            unknown=tuple(self.unknown),
            left_out=tuple(left),
            config=backend.make_config(mark.candles),
            path=backend.path,
        )

    async def _copy_rows(self, choice: Choice, specs: Sequence[SlotSpec], writer: Writer | None) -> None:
        for spec in choice.order(spec for spec in specs if spec.shape != "series"):
            count = 0
            reader = await self.backend.open_reader(spec)
            async with aclosing(cast("Any", self._choose(choice, spec, reader))) as pages:
                async for rows in pages:
                    if writer is not None:
                        for start in range(0, len(rows), _BATCH):
                            await writer.write(spec, rows[start : start + _BATCH])
                    count += len(rows)
                    self._show(spec, count)
            if count:
                self.rows[spec.name] = count

    async def _choose(self, choice: Choice, spec: SlotSpec, reader: RowReader) -> AsyncIterator[list[PastRow]]:
        """Yield the rows to copy, a page at a time, and note those whose past is unknown."""
        async with aclosing(cast("Any", reader.read_pages(self.request.at))) as pages:
            async for page in pages:
                chosen = [row for row in page if choice.take(spec, row)]
                self.unknown += [
                    UnknownRow(spec.name, row.fields, row.problem) for row in chosen if isinstance(row, LostRow)
                ]
                yield [row for row in chosen if isinstance(row, PastRow)]

    async def _copy_columns(self, choice: Choice, specs: Sequence[SlotSpec], writer: Writer | None) -> None:
        """Copy the rows of series with columns that were known."""
        for spec in (spec for spec in specs if spec.columns):
            source = self.backend.open_columns(spec)
            count = 0
            async with aclosing(cast("Any", source.list_contexts())) as contexts:
                async for context in contexts:
                    if not choice.takes_series(spec, context):
                        continue
                    end = find_known_end(spec, context, self.request.at)
                    if writer is None:
                        count += (await source.cover(context, end)).rows
                        continue
                    copied = self._change_context(spec, context)
                    async with aclosing(cast("Any", writer.copy_series(spec, context, copied, end))) as steps:
                        async for rows, error in steps:
                            count += rows
                            if error is not None:
                                fields = dict(zip(spec.key, context, strict=False))
                                self.unknown.append(UnknownRow(spec.name, fields, error.message))
                            self._show(spec, count)
            if count:
                self.rows[spec.name] = count

    def _change_context(self, spec: SlotSpec, context: Key) -> Key:
        """Return the context that a series has in the fork."""
        if not self.request.as_backtest:
            return context
        return tuple(True if name == FLAG else value for name, value in zip(spec.context_key, context, strict=True))

    async def _copy_candles(self, specs: Sequence[SlotSpec], writer: Writer) -> None:
        for spec in (spec for spec in specs if spec.is_candles):
            count = 0
            async with aclosing(cast("Any", writer.copy_candles(spec))) as steps:
                async for step in steps:
                    count += step.candles
                    self.unknown += [UnknownRow(spec.name, row.fields, row.problem) for row in step.lost]
                    self._show(spec, count)
            self.candles += count

    def _show(self, spec: SlotSpec, count: int) -> None:
        if self.request.progress is not None and count:
            self.request.progress(spec.name, count)

    async def _check_keys(self, specs: Sequence[SlotSpec]) -> None:
        """Refuse live rows that would get the key of a backtest's row.

        Raises:
            InputError: there are some.
        """
        choice, at = Choice(self.request.strategy_name), self.request.at
        for spec in specs:
            place, names, count = spec.key.index(FLAG), list[str](), 0
            reader = await self.backend.open_reader(spec)
            async with aclosing(cast("Any", reader.read_pages(at))) as pages:
                async for page in pages:
                    keys = [
                        (*row.key[:place], True, *row.key[place + 1 :])
                        for row in page
                        if isinstance(row, PastRow) and row.key[place] is False and choice.take(spec, row)
                    ]
                    for row in await reader.find(keys, at) if keys else ():
                        if isinstance(row, PastRow) and choice.take(spec, row):
                            count += 1
                            names.append(", ".join(str(part) for part in row.key if part is not True))
                            del names[_NAMED:]
            if count:
                raise _make_clash_error(spec, format_count(count, "live row"), "row", names, count > len(names))

    async def _check_series(self, specs: Sequence[SlotSpec]) -> None:
        """Refuse live series that would get the context of a backtest's.

        Raises:
            InputError: there are some.
        """
        choice = Choice(self.request.strategy_name)
        for spec in specs:
            source = self.backend.open_columns(spec)
            stored = {one async for one in source.list_contexts() if choice.takes_series(spec, one)}
            clashes = sorted(one for one in stored if self._change_context(spec, one) in stored - {one})
            if clashes:
                names = [", ".join(str(part) for part in one if part is not False) for one in clashes[:_NAMED]]
                count = format_count(len(clashes), "live series", "live series")
                raise _make_clash_error(spec, count, "series", names, len(clashes) > len(names))


def _make_clash_error(spec: SlotSpec, count: str, what: str, names: Sequence[str], is_cut: bool) -> InputError:
    return InputError(
        f"fork: with as_backtest {count} would get the key of a backtest {what}: "
        f"{'; '.join(names)}{', ...' if is_cut else ''}",
        slot=spec.name,
        hint="nothing was written; fork without as_backtest, or only one strategy_name",
    )

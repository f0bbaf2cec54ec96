"""What every adapter has, and the four shapes whose documents are found by key; series are in ``series.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from backtest_mongo.adapters.observed_store import observe_store
from backtest_mongo.adapters.pruning import prune_behind
from backtest_mongo.commit.deleting import delete_context
from backtest_mongo.commit.scope import Scope, current_scope, get_run
from backtest_mongo.commit.scoped_store import ScopedStore
from backtest_mongo.commit.transaction import get_default_time
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.connection.readiness import ensure_init
from backtest_mongo.core.contexts import bind_filter, name_values
from backtest_mongo.core.history import VersionStore, find_history
from backtest_mongo.core.payload import check_payload, freeze, suggest_conversion
from backtest_mongo.core.pruning import find_retention
from backtest_mongo.core.selection import EVERY_ROW, LARGEST_LIMIT, PayloadFilter, Selection, bound_prefix
from backtest_mongo.core.simulation_time import time_of
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import Store
from backtest_mongo.core.versions import check_version
from backtest_mongo.core.watch import ChangeSource, Watch
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.history.revisions import list_revisions, make_no_history_error
from backtest_mongo.history.store import HistoryStore
from backtest_mongo.mongo.change_stream import ChangeStream
from backtest_mongo.mongo.store import MongoStore
from backtest_mongo.mongo.versions import get_versions
from backtest_mongo.types import Context, Document, Revision, Version, Versioned, When, to_millis

__all__ = ["Adapter", "BucketAdapter", "CollectionAdapter", "DocumentAdapter", "EntryAdapter"]


class Adapter:
    """A slot in one context. It holds no connection, so it can be made anywhere and used on any event loop."""

    spec: ClassVar[SlotSpec]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._values = values = self.spec.bind(args, kwargs)
        context = self.spec.order_context(values)
        # The context's part of the natural key, in the order of the unique index. Programs hold thousands of adapters,
        # so two equal tuples are one.
        self._context: Key = values if context == values else context
        #: Where the registry keeps the instance: ``dispose()`` calls the function with the rest.
        self._kept: tuple[Callable[[str, Key, Adapter], None], str, Key] | None = None

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.context.items())
        return f"{type(self).__name__}({values})"

    @property
    def context(self) -> dict[str, str | bool]:
        """The constructor's arguments by name."""
        return dict(zip(self.spec.context, self._values, strict=True))

    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes exist.

        Calling it is optional, as the first operation does the same. It reports early that a server is missing.

        Args:
            initial: ``False`` returns at once.

        Raises:
            InitError: a server refused the connection, or did not answer within 15 s.
            IndexConflictError: an existing index conflicts with one that the slot needs.
        """
        if initial:
            await self._prepare()

    def watch(self, after: str | None = None) -> Watch:
        """Watch the changes of this context as they happen, whichever process makes them.

        Watching needs a replica set, a sharded cluster or an SQLite file. After a lost connection it resumes, and no
        change is missed or repeated.

        Args:
            after: a change's ``token``, to resume after that change while the storage still remembers it; ``None``
                begins with the next change.

        Returns:
            A :class:`~backtest_mongo.core.watch.Watch`, an async iterator of changes, oldest first. Iterating raises
            ``StoreError`` where the servers have no change streams, or the slot stores in files.

        Raises:
            InputTypeError: ``after`` is not a ``str``.
        """
        return self._watch(self._context, after)

    @classmethod
    def watch_all(cls, after: str | None = None) -> Watch:
        """Watch the changes of the whole slot, in every context, as :meth:`watch` does for one.

        Args:
            after: a change's ``token``, to resume after that change while the storage still remembers it; ``None``
                begins with the next change.

        Returns:
            A :class:`~backtest_mongo.core.watch.Watch`, an async iterator of changes, oldest first. Iterating raises
            ``StoreError`` where the servers have no change streams, or the slot stores in files.

        Raises:
            InputTypeError: ``after`` is not a ``str``.
        """
        return cls._watch(None, after)

    @classmethod
    def list_contexts(cls, **where: str | bool) -> AsyncIterator[dict[str, str | bool]]:
        """Iterate over the contexts that have stored rows, in the order of the unique index::

            async for context in SignalAdapter.list_contexts(strategy_name="trend"):
                signal = SignalAdapter(**context)

        A context with only removed rows is included, because its rows are stored. Within a transaction or a lease,
        contexts with writes that are yet to be committed are included, too. Within ``as_of()`` it lists those that had
        rows then. In JSON files, a row whose path fits several contexts is left out, with a warning, unless its
        metadata sidecar or its payload names the right one.

        It reads page by page, and a context that is written or deleted meanwhile may or may not be in it.

        Args:
            where: the values that arguments of the constructor must have, by name.

        Returns:
            An async iterator of the constructor's arguments by name, each context once. Iterating raises
            ``StoreUnavailableError`` if MongoDB can't be reached, and ``StoreError`` if MongoDB, or the disk that holds
            the files, answers with an error.

        Raises:
            InputTypeError: a name is not part of the context, or a value has the wrong type.
            InputError: a value can't be part of a key.
        """
        return cls._list_contexts(cls._bind_filter(where))

    @classmethod
    def _bind_filter(cls, where: Mapping[str, object]) -> dict[str, Any]:
        return bind_filter(cls.spec, where)

    @classmethod
    async def _list_contexts(cls, where: Mapping[str, Any]) -> AsyncIterator[dict[str, str | bool]]:
        async for context in cls._context_store().list_contexts(where):
            values = name_values(cls.spec, context)
            try:
                cls(**values)
            except InputError:
                continue  # another program's, which no adapter can have
            yield values

    @classmethod
    def _context_store(cls) -> Store:
        return cls._store()

    @classmethod
    def _watch(cls, context: Key | None, after: str | None) -> Watch:
        if after is not None and type(after) is not str:
            raise InputTypeError(f"after must be a str, not {type(after).__name__}", slot=cls.spec.name)
        return Watch(partial(cls._stream, context, after), after)

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> ChangeSource | None:
        return ChangeStream(current_hub(), cls.spec, context, after)

    async def _prepare(self) -> None:
        await ensure_init(current_hub())
        await self._base_store().ready()

    @classmethod
    def _store(cls) -> Store:
        """Return the store within the transactions and leases that are current."""
        scope = cls._get_scope()
        if scope is None:
            return cls._base_store()
        return scope.stores.get(cls) or cls._open_scoped(scope)

    @staticmethod
    def _get_scope() -> Scope | None:
        """Return the innermost transaction or lease, if there is one."""
        return current_scope.get()

    @classmethod
    def _open_scoped(cls, scope: Scope) -> ScopedStore:
        scope.check_usable()
        outer = None
        if scope.outer is not None:
            outer = scope.outer.stores.get(cls) or cls._open_scoped(scope.outer)
        store = scope.stores[cls] = ScopedStore(scope, cls.spec, cls._base_store(), outer)
        return store

    @classmethod
    def _base_store(cls) -> Store:
        """Return the store of the running event loop."""
        hub = current_hub()
        store: Store | None = hub.stores.get(cls.spec.name)
        if store is None:
            store = hub.stores[cls.spec.name] = observe_store(cls._open(hub), hub, cls.spec)
        return store

    @classmethod
    def _open(cls, hub: Hub) -> Store:
        store = MongoStore(hub, cls.spec)
        if find_history(cls.spec) is None:
            return store
        return HistoryStore(cls.spec, store, get_versions(hub, cls.spec))

    @classmethod
    def _open_versions(cls) -> VersionStore | None:
        """Return what knows the times of rows without versions; ``None`` where nothing does."""
        versions = get_versions(current_hub(), cls.spec)
        versions.slot.is_indexed = True  # a read creates no collection of versions
        return versions

    def _dispose(self) -> None:
        if self._kept is not None:
            forget, slot, context = self._kept
            forget(slot, context, self)

    @classmethod
    def _millis(cls, value: object, name: str = "when", convert: Callable[[Any], int] = to_millis) -> int:
        try:
            return convert(value)
        except TypeError as error:
            raise InputTypeError(f"{name} {error}", slot=cls.spec.name) from None
        except ValueError as error:
            raise InputError(f"{name} {error}", slot=cls.spec.name) from None

    @classmethod
    def _resolve_when(cls, when: When | None) -> int:
        """Return the simulation time of a write in milliseconds."""
        if when is None:
            when = get_default_time()
        if when is None:
            raise InputTypeError(
                "when must be milliseconds (int) or an aware datetime, not NoneType",
                slot=cls.spec.name,
                hint="pass when=, or write inside `transaction(when=...)`",
            )
        return cls._millis(when)

    @classmethod
    def _get_limit(cls, when: When | None, name: str = "when") -> int | None:
        """Return the latest time of what a read may find, ``None`` for no limit."""
        if when is not None:
            return cls._millis(when, name)
        return get_default_time() if cls.spec.when else None

    @classmethod
    def _check_list(cls, value: object, path: str, hint: str | None = None) -> None:
        if not isinstance(value, list | tuple):
            raise InputTypeError(f"{path} must be a list, not {type(value).__name__}", slot=cls.spec.name, hint=hint)

    def _make_key(self, entry: object) -> Key:
        """Return the natural key of one of the context's documents."""
        return (*self._context, self.spec.check_key(self.spec.argument, entry))

    @classmethod
    def _make_fields(cls, key: Key, value: object, when: When | None, path: str) -> Document:
        """Check a payload, and return the fields to store: the payload encoded as it is now, and its ``when``."""
        spec = cls.spec
        if spec.payload == "list":
            cls._check_list(value, path)
        elif (
            type(value) is not dict
            and not isinstance(value, Mapping)
            and (value is not None or spec.payload == "object")
        ):
            kind = type(value).__name__
            raise InputTypeError(f"{path} must be a dict, not {kind}{suggest_conversion(value)}", slot=spec.name)
        check_payload(value, path, spec.name)
        millis = cls._resolve_when(when) if spec.when else None
        named = dict(zip(spec.key, key, strict=True))
        run = cls._get_run()
        if run is not None:
            named["origin"] = run  # for the size of the document
        fields: Document = {spec.field: freeze(named, spec.field, value, spec.name)}
        if spec.when:
            fields["when"] = millis
        elif find_history(spec) is not None:
            at = get_default_time() if when is None else cls._millis(when)
            if at is not None:
                fields["at"] = at
        if run is not None:
            fields["run"] = run
        return fields

    @classmethod
    def _get_run(cls) -> str | None:
        """Return the name of the run that a write belongs to."""
        return get_run()

    @classmethod
    def _get_payload(cls, document: Document | None, until: int | None, nothing: Any = None) -> Any:
        """Return a document's payload, or ``nothing`` where a reader at the time ``until`` must not see one."""
        if document is None or document.get("removed") is True:
            return nothing
        if until is not None:
            when = time_of(cls.spec, document)
            if when is not None and when > until:
                return nothing
        value = document.get(cls.spec.field)
        return nothing if value is None else value

    @classmethod
    async def _find(cls, key: Key, until: int | None) -> Document | None:
        """Return a row, or what it was at a time where versions are kept."""
        store = cls._store()
        if until is not None and store.has_history:
            return (await store.find_at((key,), until))[0]
        return await store.find(key)

    async def _read_version(self, key: Key, until: int | None, with_version: object, nothing: Any = None) -> Any:
        """Return what a read finds, and the version of the stored row."""
        self._check_flag("with_version", with_version)
        document, version = await self._store().find_version(key)
        return Versioned(self._get_payload(document, until, nothing), version)

    async def _list_revisions(
        self, key: Key, since: When | None, until: When | None, newest_first: object
    ) -> AsyncIterator[Revision]:
        """Yield the versions of a row by time."""
        self._check_flag("newest_first", newest_first)
        base = self._base_store()
        if not base.has_history:
            raise make_no_history_error(self.spec)
        first = None if since is None else self._millis(since, "since")
        last = self._get_limit(until, "until")
        async for document in list_revisions(base.versions, key, first, last, newest_first=newest_first is True):
            written = document.get("written")
            yield Revision(
                int(document["when"]),
                None if document.get("removed") is True else document.get(self.spec.field),
                document.get("removed") is True,
                to_millis(written) if isinstance(written, datetime) else written,
            )

    async def _replace(self, key: Key, fields: Document, if_absent: object, expect: object) -> None:
        """Write a row under a condition."""
        self._check_flag("if_absent", if_absent)
        if if_absent and expect is not None:
            raise InputError(
                "if_absent and expect contradict each other",
                slot=self.spec.name,
                hint="expect takes the version of a row that is not stored, too",
            )
        expected = None if expect is None else check_version(expect, self.spec.name)
        await self._store().replace(key, fields, expected)

    @classmethod
    def _check_limit(cls, limit: object) -> None:
        if type(limit) is not int:
            raise InputTypeError(f"limit must be an int, not {type(limit).__name__}", slot=cls.spec.name)
        if not 1 <= limit <= LARGEST_LIMIT:
            raise InputError(f"limit must be 1 or more, and fit in 31 bits, not {limit} (int)", slot=cls.spec.name)

    @classmethod
    def _check_flag(cls, name: str, value: object) -> None:
        if not isinstance(value, bool):
            raise InputTypeError(f"{name} must be a bool, not {type(value).__name__}", slot=cls.spec.name)


class RowAdapter(Adapter):
    """What the adapters of all shapes but series share."""

    async def delete(self) -> int:
        """Delete this context for good: its rows, removed ones included, and their versions.

        It works in steps of at most 1,000 rows, each with a deadline of ``CC_MONGO_TIMEOUT_MS``. If the process is
        killed or the call fails, a part may be deleted; call it again to delete the rest. A row that is written during
        the call may be deleted or stay. A watch yields each row as ``deleted``.

        If the caller holds the lease of the context, it keeps the lease, which forgets the rows. A standalone MongoDB
        and JSON files have no leases, so none is checked there. The rows' ids are dropped from Redis and from this
        process's memory; other processes notice that a row is gone when they read it.

        Returns:
            How many rows were deleted.

        Raises:
            InputError: it is called within :func:`~backtest_mongo.transaction`, which can't include a deletion.
            LeaseHeldError: another owner holds the lease of this context; what was deleted before it was taken is gone.
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time; a part may be deleted.
            StoreError: MongoDB, or the disk that holds the files, answered with an error; a part may be deleted.
        """
        return await delete_context(self._base_store(), self.spec, self._context)


class DocumentAdapter(RowAdapter):
    """One document per context."""

    async def _read(self, when: When | None = None, with_version: bool = False) -> Any:
        until = self._get_limit(when)
        scope = self._get_scope()
        if scope is not None and with_version is False:  # what memory has needs no more than this
            store = scope.stores.get(type(self)) or self._open_scoped(scope)
            known = store.peek(self._context)
            if known is not None and not known.is_hidden and (until is None or known.when <= until):
                return known.copy_payload()
        nothing: Any = [] if self.spec.payload == "list" else None
        if with_version is not False:
            return await self._read_version(self._context, until, with_version, nothing)
        return self._get_payload(await self._find(self._context, until), until, nothing)

    async def _write(
        self, value: object, when: When | None = None, if_absent: bool = False, expect: Version | None = None
    ) -> None:
        fields = self._make_fields(self._context, value, when, self.spec.value)
        if if_absent is False and expect is None:
            await self._store().upsert(self._context, fields)
        else:
            await self._replace(self._context, fields, if_absent, expect)

    @classmethod
    async def _read_many(cls, contexts: Iterable[Context], when: When | None = None) -> list[Any]:
        keys = [cls._bind(context) for context in contexts]
        if not keys:
            return []
        until = cls._get_limit(when)
        store = cls._store()
        if until is not None and store.has_history:
            found = await store.find_at(keys, until)
        else:
            found = await store.find_many(keys)
        holds_list = cls.spec.payload == "list"
        return [cls._get_payload(document, until, [] if holds_list else None) for document in found]

    @classmethod
    async def _write_many(cls, rows: Iterable[tuple[Context, object]], when: When | None = None) -> None:
        # All are checked before any is sent.
        checked = []
        for key, value in cls._split_rows(rows):
            checked.append((key, cls._make_fields(key, value, when, cls.spec.value)))
        if checked:
            await cls._store().upsert_each(checked)

    @classmethod
    def _split_rows(cls, rows: Iterable[tuple[Context, object]]) -> list[tuple[Key, object]]:
        pairs = []
        for row in rows:
            if not isinstance(row, tuple | list) or len(row) != 2:
                raise InputTypeError(
                    f"write_many takes pairs of a context and its {cls.spec.value}, not {type(row).__name__}",
                    slot=cls.spec.name,
                    hint="for a dict by context, pass its items()",
                )
            context, value = row
            pairs.append((cls._bind(context), value))
        return pairs

    @classmethod
    def _bind(cls, context: Context) -> Key:
        """Return the natural key of a context, without an adapter."""
        spec = cls.spec
        if type(context) is tuple:  # the check for a mapping takes ten times as long
            return spec.order_context(spec.bind(context, {}))
        if isinstance(context, Mapping):
            return spec.order_context(spec.bind((), {**context}))
        if isinstance(context, str) or not isinstance(context, Sequence):
            kind = type(context).__name__
            raise InputTypeError(
                f"a context must be a sequence or a mapping, not {kind}",
                slot=cls.spec.name,
                hint=f"one context is ({', '.join(cls.spec.context)}), and many are a list of such",
            )
        return spec.order_context(spec.bind(tuple(context), {}))

    def history(
        self, *, since: When | None = None, until: When | None = None, newest_first: bool = False
    ) -> AsyncIterator[Revision]:
        """Iterate over the versions of this context, from one simulation time to another.

        It needs the slot's versions, which ``CC_HISTORY`` or ``SlotSpec(history=)`` keep.

        Args:
            since: the first time, included: milliseconds since the epoch (UTC) or an aware ``datetime``.
            until: the last time, included.
            newest_first: whether to iterate from the latest to the earliest.

        Returns:
            An async iterator of :class:`~backtest_mongo.types.Revision`, normally the earliest first. Iterating raises
            ``StoreError`` where no versions are kept, and ``InputError`` for a bad time.
        """
        return self._list_revisions(self._context, since, until, newest_first)


class ItemAdapter(RowAdapter):
    """Documents of a context that have one more key."""

    def history(
        self, entry: str, *, since: When | None = None, until: When | None = None, newest_first: bool = False
    ) -> AsyncIterator[Revision]:
        """Iterate over the versions of one entry of this context, as ``history()`` of documents does.

        Args:
            entry: its key, the last one of the unique index.
            since: the first time, included: milliseconds since the epoch (UTC) or an aware ``datetime``.
            until: the last time, included.
            newest_first: whether to iterate from the latest to the earliest.

        Returns:
            An async iterator of :class:`~backtest_mongo.types.Revision`, normally the earliest first. Iterating raises
            ``StoreError`` where no versions are kept, and ``InputError`` for a bad time.
        """
        return self._list_revisions(self._make_key(entry), since, until, newest_first)


class EntryAdapter(ItemAdapter):
    """One document per context and one more key, usually a signal's id."""

    async def _read(self, entry: str, when: When | None = None, with_version: bool = False) -> Any:
        key = self._make_key(entry)
        until = self._get_limit(when)
        if with_version is not False:
            return await self._read_version(key, until, with_version, {})
        return self._get_payload(await self._find(key, until), until, {})

    async def _write(
        self,
        value: object,
        entry: str,
        when: When | None = None,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        key = self._make_key(entry)
        fields = self._make_fields(key, value, when, self.spec.value)
        if if_absent is False and expect is None:
            await self._store().upsert(key, fields)
        else:
            await self._replace(key, fields, if_absent, expect)


class CollectionAdapter(ItemAdapter):
    """Many documents, each keyed by its item's own ``id``, read as a list."""

    async def _read_all(self, **wanted: Any) -> list[Any]:
        field = self.spec.field
        return [document.get(field) async for document in self._scan(wanted)]

    def _scan(self, wanted: Mapping[str, Any]) -> AsyncIterator[Document]:
        where = self._make_filter(**wanted)
        chosen = EVERY_ROW if where is None else Selection(where=where)
        return self._store().scan(self._context, None, chosen)

    async def _read_newest(self, limit: int, **wanted: Any) -> list[Any]:
        field = self.spec.field
        return [document.get(field) for document in await self._find_newest(limit, wanted)]

    async def _find_newest(self, limit: int, wanted: Mapping[str, Any]) -> list[Document]:
        self._check_limit(limit)
        return await self._store().newest(self._context, limit, self._make_filter(**wanted))

    def _make_filter(
        self, since: When | None = None, until: When | None = None, **texts: str | None
    ) -> PayloadFilter | None:
        """Return the filter that a list's arguments describe, ``None`` if they describe none."""
        spec = self.spec
        given = {name: spec.check_key(name, text) for name, text in texts.items() if text is not None}
        first = None if since is None else self._millis(since, "since")
        last = None if until is None else self._millis(until, "until")
        has_time = first is not None or last is not None
        if not given and not has_time:
            return None
        return PayloadFilter(
            texts=tuple((path, given[name]) for name, path in spec.filters if name in given),
            time=spec.filter_time if has_time else "",
            since=first,
            until=last,
        )

    async def _write(self, items: Sequence[object]) -> None:
        spec = self.spec
        self._check_list(items, spec.value)
        rows: dict[Key, Document] = {}
        for index, item in enumerate(items):
            path = f"{spec.value}[{index}]"
            key = (*self._context, self._check_id(item, path))
            # An id that comes twice keeps its first place and its last payload: as if written one after another.
            rows[key] = self._make_fields(key, item, None, path)
        retention = find_retention(spec)
        await self._store().upsert_many(list(rows.items()))
        if retention is not None and rows:
            prune_behind(self._base_store(), spec, self._context, len(rows), retention)

    def _check_id(self, item: object, path: str) -> str:
        if not isinstance(item, Mapping):
            raise InputTypeError(f"{path} must be a dict, not {type(item).__name__}", slot=self.spec.name)
        if "id" not in item:
            raise InputError(f"{path} has no id ({type(item).__name__})", slot=self.spec.name)
        return self.spec.check_key(f"{path}.id", item["id"])


class BucketAdapter(ItemAdapter):
    """Keys and values with soft delete, read one at a time or listed."""

    async def _read(self, entry: str, when: When | None = None, with_version: bool = False) -> Any:
        key = self._make_key(entry)
        until = self._get_limit(when)
        if with_version is not False:
            return await self._read_version(key, until, with_version)
        return self._get_payload(await self._find(key, until), until)

    async def _has(self, entry: str) -> bool:
        return await self._store().find(self._make_key(entry)) is not None

    async def _write(
        self,
        value: Mapping[str, Any],
        entry: str,
        when: When | None = None,
        if_absent: bool = False,
        expect: Version | None = None,
    ) -> None:
        key = self._make_key(entry)
        fields = self._make_fields(key, value, when, self.spec.value)
        if when is not None and not self.spec.when:
            self._millis(when)  # it isn't stored, but a bad one is still a mistake
        # Writing brings a removed key back, unless the payload itself says that it is removed.
        fields["removed"] = value.get("removed") is True
        if if_absent is False and expect is None:
            await self._store().upsert(key, fields)
        else:
            await self._replace(key, fields, if_absent, expect)

    async def _remove(self, entry: str) -> None:
        await self._store().remove(self._make_key(entry), self._get_run())

    # What is wrong with an argument is raised by the call, not by the first step of the iteration.

    def _list_keys(self, when: When | None = None, *, prefix: str = "") -> AsyncIterator[str]:
        return self._scan_keys(self._get_limit(when), self._select(None, None, prefix))

    async def _scan_keys(self, until: int | None, chosen: Selection) -> AsyncIterator[str]:
        name = self.spec.key[-1]
        async for document in self._store().scan(self._context, until, chosen):
            yield document[name]

    def _list_items(
        self,
        when: When | None = None,
        *,
        prefix: str = "",
        first: str | None = None,
        last: str | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[tuple[str, Any]]:
        self._check_flag("newest_first", newest_first)
        return self._scan_items(self._get_limit(when), self._select(first, last, prefix, newest_first=newest_first))

    async def _scan_items(self, until: int | None, chosen: Selection) -> AsyncIterator[tuple[str, Any]]:
        name, field = self.spec.key[-1], self.spec.field
        async for document in self._store().scan(self._context, until, chosen):
            yield document[name], document.get(field)

    async def _newest(self, limit: int, when: When | None = None, *, prefix: str = "") -> list[tuple[str, Any]]:
        self._check_limit(limit)
        chosen = self._select(None, None, prefix, newest_first=True, limit=limit)
        return [row async for row in self._scan_items(self._get_limit(when), chosen)][::-1]

    def _select(
        self,
        first: str | None,
        last: str | None,
        prefix: str,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Selection:
        """Return which rows have keys with a prefix, from ``first`` to ``last``."""
        spec = self.spec
        begin, end = bound_prefix(spec.check_key("prefix", prefix))
        if first is not None:
            begin = max(begin, spec.check_key("first", first))
        if last is not None:
            behind = spec.check_key("last", last) + "\0"  # no text lies between the two
            end = behind if end is None else min(end, behind)
        return Selection(first=begin, end=end, newest_first=newest_first, limit=limit)

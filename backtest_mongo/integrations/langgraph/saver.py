"""The saver whose methods are awaited, and what both savers share."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence, Set
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from backtest_mongo.commit.deleting import delete_rows, refuse_in_transaction
from backtest_mongo.commit.scope import current_scope
from backtest_mongo.core.selection import EVERY_ROW, Selection
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import ConflictError, InputError, StoreError
from backtest_mongo.integrations.langgraph import rows
from backtest_mongo.integrations.langgraph.memory import Memory
from backtest_mongo.integrations.langgraph.slots import BLOBS, CHECKPOINTS, RUNS, WRITES, get_adapter

__all__ = ["AsyncBacktestMongoSaver"]

#: Checkpoints of a list that are read at first, and at most, and whose writes are read at a time.
_FIRST_PAGE: Final = 16
_LARGEST_PAGE: Final = 256
_LOADED: Final = 16
#: Rows that are copied, and checkpoints and threads that are deleted, at a time.
_COPIED: Final = 64
_DELETED: Final = 8
#: Threads and namespaces of which it is remembered what is stored, and bytes of large values.
_REMEMBERED: Final = 4_096
_CACHE_BYTES: Final = 32 * 1024 * 1024
#: For how long it is taken for granted that large values are stored that were.
_TRUSTED_SECONDS: Final = 60.0

#: A checkpoint's id and the payload of its row.
_Row = tuple[str, dict[str, Any]]


_NEWEST: Final = Selection(newest_first=True)


class AsyncBacktestMongoSaver(BaseCheckpointSaver[int]):
    """Stores the checkpoints of graphs that are awaited.

    ::

        from backtest_mongo.integrations.langgraph import AsyncBacktestMongoSaver

        graph = builder.compile(checkpointer=AsyncBacktestMongoSaver())
        await graph.ainvoke({"messages": []}, {"configurable": {"thread_id": "BTCUSDT"}})

    It has no connection of its own: checkpoints are stored where ``persist`` stores everything else, so in SQLite at
    first, and in MongoDB after ``await setup()``. What is written within :func:`~backtest_mongo.transaction` is
    committed with the rest of it. One object may be used by any number of tasks and event loops.

    Besides what a method says, each one raises ``StoreUnavailableError`` if the database does not answer,
    ``StoreError`` if it answers with an error, and ``InputError`` for a thread, a namespace or an id that can't be part
    of a key.

    Args:
        serde: LangGraph's serializer of checkpoints, channels and writes; ``None`` is LangGraph's own.
    """

    def __init__(self, *, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde)
        #: The checkpoint of each thread and namespace that was last stored or read, its large channels, and when.
        self._latest: Memory[tuple[str, str], tuple[str, rows.Large, float]] = Memory(_REMEMBERED)
        #: Large values by their digests, from which they can't differ.
        self._values: Memory[str, rows.Payload] = Memory(_CACHE_BYTES, _measure_blob)
        #: Runs that are known to have checkpoints in a thread and namespace.
        self._runs: Memory[tuple[str, str, str], bool] = Memory(_REMEMBERED)

    # Reading

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes.

        Args:
            config: its ``configurable`` has ``thread_id``, and may have ``checkpoint_ns`` and ``checkpoint_id``.
                Without an id it is the latest checkpoint of the namespace.

        Returns:
            The checkpoint, ``None`` if there is none.
        """
        thread, namespace = _get_context(config)
        wanted = get_checkpoint_id(config)
        if wanted is None:
            chosen = Selection(newest_first=True, limit=1)
            guess = self._latest.get((thread, namespace))
            if guess is None:
                found = await _read_rows(thread, namespace, chosen)
                return await self._load(thread, namespace, found[0]) if found else None
            # Most threads are run by one process, so the latest checkpoint is the one that was stored here.
            found, writes = await asyncio.gather(
                _read_rows(thread, namespace, chosen), self._read_writes(thread, namespace, guess[0])
            )
            if not found:
                return None
            return await self._load(thread, namespace, found[0], writes if found[0][0] == guess[0] else None)
        chosen = Selection(first=wanted, end=f"{wanted}\0", limit=1)
        found, writes = await asyncio.gather(
            _read_rows(thread, namespace, chosen), self._read_writes(thread, namespace, wanted)
        )
        return await self._load(thread, namespace, found[0], writes) if found else None

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Iterate over checkpoints, the newest first.

        Those of a thread and namespace are a range of the unique index, which is read in pages until there are enough.
        Without ``checkpoint_ns`` the namespaces of the thread are merged, and without ``config`` all threads are, of
        each of which at least one checkpoint is read.

        Args:
            config: its ``configurable`` may have ``thread_id``, ``checkpoint_ns`` and ``checkpoint_id``; ``None`` is
                every thread.
            filter: the values that fields of the metadata must have.
            before: a configuration whose ``checkpoint_id`` all have to be smaller than.
            limit: how many at most; ``None`` for all.

        Yields:
            Checkpoints with their pending writes.
        """
        found: list[tuple[str, str, _Row]] = []
        if limit is not None and limit <= 0:
            return
        left = limit
        async with aclosing(self._choose(config, before, filter, limit)) as chosen:
            async for one in chosen:
                found.append(one)
                left = None if left is None else left - 1
                if left == 0:
                    break
                if len(found) == _LOADED:
                    for loaded in await asyncio.gather(*(self._load(*one) for one in found)):
                        yield loaded
                    found.clear()
        for loaded in await asyncio.gather(*(self._load(*one) for one in found)):
            yield loaded

    async def _choose(
        self,
        config: RunnableConfig | None,
        before: RunnableConfig | None,
        wanted: Mapping[str, Any] | None,
        limit: int | None,
    ) -> AsyncGenerator[tuple[str, str, _Row], None]:
        """Yield the rows of a list, the newest first."""
        given = {} if config is None else config.get("configurable", {})
        where = {name: str(given[name]) for name in ("thread_id", "checkpoint_ns") if given.get(name) is not None}
        chosen = given.get("checkpoint_id")
        end = None if before is None else get_checkpoint_id(before)
        if chosen is not None:
            end = f"{chosen}\0" if end is None else min(end, f"{chosen}\0")
        start = Selection(first=chosen or "", end=end, newest_first=True)
        page = min(limit or _FIRST_PAGE, _FIRST_PAGE) if not wanted else _FIRST_PAGE
        if len(where) == 2:
            contexts = [(where["thread_id"], where["checkpoint_ns"])]
        else:
            contexts = [(thread, namespace) async for thread, namespace in _list_contexts(CHECKPOINTS, **where)]
            page = page if "thread_id" in where else 1
        async with aclosing(_merge(contexts, start, page)) as merged:
            async for thread, namespace, row in merged:
                if wanted:
                    metadata: Mapping[str, Any] = rows.decode_metadata(self.serde, row[1])
                    if any(name not in metadata or metadata[name] != value for name, value in wanted.items()):
                        continue
                yield thread, namespace, row

    async def _load(
        self, thread: str, namespace: str, row: _Row, writes: list[PendingWrite] | None = None
    ) -> CheckpointTuple:
        """Return a checkpoint of its row, and of what is stored beside it."""
        checkpoint_id, payload = row
        digests = rows.list_digests(payload)
        if writes is None:
            writes, blobs = await asyncio.gather(
                self._read_writes(thread, namespace, checkpoint_id), self._read_blobs(thread, namespace, digests)
            )
        else:
            blobs = await self._read_blobs(thread, namespace, digests)
        checkpoint = rows.decode_checkpoint(self.serde, payload)
        for channel, digest in digests.items():
            checkpoint["channel_values"][channel] = rows.decode_blob(self.serde, blobs[digest])
        if current_scope.get() is None:
            versions = checkpoint["channel_versions"]
            large = {channel: (versions.get(channel), digest) for channel, digest in digests.items()}
            self._latest.put((thread, namespace), (checkpoint_id, large, time.monotonic()))
        parent = payload["parent"]
        return CheckpointTuple(
            config=_make_config(thread, namespace, checkpoint_id),
            checkpoint=checkpoint,
            metadata=rows.decode_metadata(self.serde, payload),
            parent_config=_make_config(thread, namespace, parent) if parent else None,
            pending_writes=writes,
        )

    async def _read_writes(self, thread: str, namespace: str, checkpoint_id: str) -> list[PendingWrite]:
        adapter = get_adapter(WRITES, thread, namespace, checkpoint_id)
        return rows.decode_writes(self.serde, [row async for _, row in adapter._scan_items(None, EVERY_ROW)])

    async def _read_blobs(self, thread: str, namespace: str, digests: Mapping[str, str]) -> dict[str, rows.Payload]:
        """Return large values by their digests.

        Raises:
            StoreError: one is missing.
        """
        found = {digest: self._values.get(digest) for digest in digests.values()}
        wanted = [digest for digest, value in found.items() if value is None]
        if wanted:
            read_many = type(get_adapter(BLOBS, thread, namespace, wanted[0])).read_many
            values = await read_many([(thread, namespace, digest) for digest in wanted])
            found |= zip(wanted, values, strict=True)
        missing = [channel for channel, digest in digests.items() if found[digest] is None]
        if missing:
            raise StoreError(
                f"reading failed: the values of {', '.join(missing)} are missing from thread {thread!r}",
                slot=BLOBS.name,
                collection=BLOBS.collection,
                hint="the thread was deleted or pruned while it was read or running; read it again",
            )
        for digest in wanted:
            self._values.put(digest, found[digest] or {})
        return {digest: value for digest, value in found.items() if value is not None}

    # Writing

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint. It is visible once all of it is stored.

        Args:
            config: its ``configurable`` has ``thread_id`` and ``checkpoint_ns``; its ``checkpoint_id`` is the parent's.
            checkpoint: the checkpoint, with the values of all channels.
            metadata: is stored as plain fields, as far as they are numbers, texts, and lists and objects of such.
            new_versions: not needed, as a value is known by what it holds.

        Returns:
            The configuration that names the checkpoint.

        Raises:
            InputError: the checkpoint without its large channels, or one of these, has more than 16 MiB.
        """
        thread, namespace = _get_context(config)
        checkpoint_id, parent = checkpoint["id"], get_checkpoint_id(config)
        metadata = get_checkpoint_metadata(config, metadata)
        known_id, known, seen = self._latest.get((thread, namespace)) or (None, {}, 0.0)
        # Another process may have deleted a thread that was idle, and its large values with it.
        if known_id != parent or time.monotonic() - seen > _TRUSTED_SECONDS:
            known = {}
        encoded = rows.encode_checkpoint(self.serde, checkpoint, metadata, parent, known)
        # Before the checkpoint, so that whoever finds it finds all of it.
        stored = {digest for _, digest in known.values()}
        blobs = {digest: payload for digest, payload in encoded.blobs.items() if digest not in stored}
        if blobs:
            await _write_blobs([((thread, namespace, digest), payload) for digest, payload in blobs.items()])
        run_id = metadata.get("run_id")
        if run_id is not None:
            await self._note_run(str(run_id), thread, namespace)
        await _write_checkpoint(thread, namespace, checkpoint_id, encoded.payload)
        if current_scope.get() is None:  # what a transaction writes may be dropped
            self._latest.put((thread, namespace), (checkpoint_id, encoded.large, time.monotonic()))
            for digest, payload in blobs.items():
                self._values.put(digest, payload)
        return _make_config(thread, namespace, checkpoint_id)

    async def _note_run(self, run_id: str, thread: str, namespace: str) -> None:
        key = (run_id, thread, namespace)
        if self._runs.get(key):
            return
        await get_adapter(RUNS, *key).write_langgraph_run_data({})
        if current_scope.get() is None:
            self._runs.put(key, True)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written since a checkpoint.

        Of two writes of a task with the same place the first one stays, except for errors, interrupts and the like,
        of which the last one does.

        Args:
            config: its ``configurable`` names the checkpoint.
            writes: pairs of a channel and a value.
            task_id: the task.
            task_path: where the task is in the graph, by which writes are ordered.

        Raises:
            InputError: the writes of the task have more than 16 MiB.
        """
        thread, namespace = _get_context(config)
        checkpoint_id = str(config["configurable"]["checkpoint_id"])
        adapter = get_adapter(WRITES, thread, namespace, checkpoint_id)
        special, ordinary = rows.encode_writes(self.serde, writes, task_id, task_path)
        work = [adapter.write_langgraph_write_data(payload, key) for key, payload in special.items()]
        if ordinary is not None:
            work.append(_add_writes(adapter, rows.name_ordinary(task_id), ordinary))
        if len(work) == 1:
            await work[0]
        else:
            await asyncio.gather(*work)

    # Whole threads

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread: its checkpoints, with all that belongs to them, in every namespace.

        Readers miss the checkpoints first. If the process is killed or the call fails, call it again to delete the
        rest. Don't delete a thread that is running.

        Raises:
            InputError: it is called within :func:`~backtest_mongo.transaction`, which can't include a deletion.
        """
        thread = str(thread_id)
        refuse_in_transaction("delete_thread()", CHECKPOINTS.name)
        async for context in _list_contexts(CHECKPOINTS, thread_id=thread):
            runs = {self._get_run(row) async for _, _, row in _merge([context], _NEWEST, _LARGEST_PAGE)} - {None}
            for run_id in sorted(map(str, runs)):
                await _delete(RUNS, run_id, *context)
            self._runs.clear()
        for spec in (CHECKPOINTS, WRITES, BLOBS):
            await _delete(spec, thread)
        self._latest.clear()

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs have stored, with their writes, in all threads.

        It reads the threads in which the runs have checkpoints. Later checkpoints, which other runs have stored, stay,
        and their parents may be missing. If the process is killed or the call fails, call it again.

        Args:
            run_ids: the ``run_id`` in the checkpoints' metadata.

        Raises:
            InputError: it is called within :func:`~backtest_mongo.transaction`, which can't include a deletion.
        """
        refuse_in_transaction("delete_for_runs()", CHECKPOINTS.name)
        if isinstance(run_ids, str):
            raise InputError("delete_for_runs: run_ids must be a list of runs, not a text")
        for run_id in map(str, run_ids):
            async for _, thread, namespace in _list_contexts(RUNS, run_id=run_id):
                await self._delete_checkpoints(thread, namespace, partial(self._is_other_run, run_id))
                await _delete(RUNS, run_id, thread, namespace)
                self._runs.clear()

    def _is_other_run(self, run_id: str, row: _Row) -> bool:
        return self._get_run(row) != run_id

    def _get_run(self, row: _Row) -> str | None:
        run_id = rows.decode_metadata(self.serde, row[1]).get("run_id")
        return None if run_id is None else str(run_id)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints of a thread, with their writes, to another one, in every namespace.

        What the other thread has stays, unless it has a checkpoint of the same id. Checkpoints come last, the oldest
        first. Within :func:`~backtest_mongo.transaction` all are copied, or none; otherwise call it again if the
        process was killed or the call failed.
        """
        source, target = str(source_thread_id), str(target_thread_id)
        if source == target:
            return
        async for context in _list_contexts(BLOBS, thread_id=source):
            _, namespace, digest = context
            payload = await get_adapter(BLOBS, *context).read_langgraph_blob_data()
            await _write_blobs([((target, namespace, digest), payload)])
        async for context in _list_contexts(WRITES, thread_id=source):
            found = [row async for row in get_adapter(WRITES, *context)._scan_items(None, EVERY_ROW)]
            adapter = get_adapter(WRITES, target, *context[1:])
            await asyncio.gather(*(adapter.write_langgraph_write_data(payload, key) for key, payload in found))
        async for thread, namespace in _list_contexts(CHECKPOINTS, thread_id=source):
            some: list[_Row] = []
            async for row in get_adapter(CHECKPOINTS, thread, namespace)._scan_items(None, EVERY_ROW):
                some.append(row)
                if len(some) == _COPIED:
                    await self._copy_checkpoints(target, namespace, some)
                    some = []
            await self._copy_checkpoints(target, namespace, some)

    async def _copy_checkpoints(self, thread: str, namespace: str, some: Sequence[_Row]) -> None:
        for run_id in sorted({self._get_run(row) or "" for row in some} - {""}):
            await self._note_run(run_id, thread, namespace)
        await asyncio.gather(*(_write_checkpoint(thread, namespace, *row) for row in some))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete checkpoints of threads, with their writes.

        If the process is killed or the call fails, call it again to delete the rest.

        Args:
            thread_ids: the threads.
            strategy: ``"keep_latest"`` keeps the latest checkpoint of each namespace, and those before it from which
                its ``DeltaChannel`` values are put together; ``"delete"`` deletes the threads.

        Raises:
            InputError: the strategy is unknown, ``thread_ids`` is a text, or it is called within
                :func:`~backtest_mongo.transaction`, which can't include a deletion.
        """
        if isinstance(thread_ids, str):
            raise InputError("prune: thread_ids must be a list of threads, not a text")
        if strategy not in ("keep_latest", "delete"):
            raise InputError(f"prune: strategy must be 'keep_latest' or 'delete', not {strategy!r}")
        refuse_in_transaction("prune()", CHECKPOINTS.name)
        for thread in map(str, thread_ids):
            if strategy == "delete":
                await self.adelete_thread(thread)
                continue
            async for _, namespace in _list_contexts(CHECKPOINTS, thread_id=thread):
                kept = await self._find_kept(thread, namespace)
                await self._delete_checkpoints(thread, namespace, partial(_has_id, kept))

    async def _find_kept(self, thread: str, namespace: str) -> set[str]:
        """Return the latest checkpoint and its ancestors, as far back as its delta channels need them."""
        kept: set[str] = set()
        left: set[str] | None = None
        chosen = Selection(newest_first=True, limit=1)
        while found := await _read_rows(thread, namespace, chosen):
            ((checkpoint_id, payload),) = found
            kept.add(checkpoint_id)
            if left is None:
                left = set(rows.decode_metadata(self.serde, payload).get("counters_since_delta_snapshot") or ())
            if left:
                left -= rows.decode_checkpoint(self.serde, payload)["channel_values"].keys()
                left -= rows.list_digests(payload).keys()
            parent = payload["parent"]
            if not left or parent is None or parent in kept:
                break
            chosen = Selection(first=parent, end=f"{parent}\0", limit=1)
        return kept

    async def asweep(self, idle: timedelta) -> int:
        """Delete the threads that have stored no checkpoint for some time, as :meth:`adelete_thread` does.

        Nothing is deleted but by this call: run it as often as you like, from one process or several. It reads the
        latest checkpoint of every thread and namespace.

        Args:
            idle: for how long, by the clocks of the machines that have stored the checkpoints.

        Returns:
            How many threads were deleted.

        Raises:
            InputError: ``idle`` is negative, or it is called within :func:`~backtest_mongo.transaction`, which can't
                include a deletion.
        """
        if idle < timedelta():
            raise InputError(f"sweep: idle must not be negative ({idle})")
        refuse_in_transaction("sweep()", CHECKPOINTS.name)
        limit = _now() - idle // timedelta(milliseconds=1)
        deleted = 0
        latest: tuple[str, int] | None = None
        old: list[str] = []
        async for thread, namespace in _list_contexts(CHECKPOINTS):
            written = await _find_written(thread, namespace)
            if latest is not None and latest[0] == thread:
                latest = (thread, max(latest[1], written))
                continue
            if latest is not None and latest[1] < limit:
                old.append(latest[0])
            latest = (thread, written)
            if len(old) == _DELETED:
                await asyncio.gather(*map(self.adelete_thread, old))
                deleted, old = deleted + len(old), []
        if latest is not None and latest[1] < limit:
            old.append(latest[0])
        await asyncio.gather(*map(self.adelete_thread, old))
        return deleted + len(old)

    async def _delete_checkpoints(self, thread: str, namespace: str, is_kept: Callable[[_Row], bool]) -> None:
        """Delete checkpoints with their writes, and large values that none of the others has."""
        deleted: list[str] = []
        unused: set[str] = set()
        used: set[str] = set()
        async for _, _, row in _merge([(thread, namespace)], _NEWEST, _LARGEST_PAGE):
            digests = rows.list_digests(row[1]).values()
            if is_kept(row):
                used.update(digests)
            else:
                deleted.append(row[0])
                unused.update(digests)
        if not deleted:
            return
        self._latest.clear()
        for some in _split(deleted, _DELETED):
            # Writes first: those of a checkpoint that is gone would be found by nobody.
            await asyncio.gather(*(_delete(WRITES, thread, namespace, one) for one in some))
            await asyncio.gather(*(_delete(CHECKPOINTS, thread, namespace, one) for one in some))
        for blobs in _split(sorted(unused - used), _DELETED):
            await asyncio.gather(*(_delete(BLOBS, thread, namespace, one) for one in blobs))


def _has_id(ids: Set[str], row: _Row) -> bool:
    return row[0] in ids


def _now() -> int:
    return time.time_ns() // 1_000_000


def _get_context(config: RunnableConfig) -> tuple[str, str]:
    """Return the thread and the namespace of a configuration."""
    given = config["configurable"]
    return str(given["thread_id"]), str(given.get("checkpoint_ns") or "")


def _make_config(thread: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


def _measure_blob(payload: rows.Payload) -> int:
    return len(payload["value"])


def _split(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def _read_rows(thread: str, namespace: str, chosen: Selection) -> list[_Row]:
    adapter = get_adapter(CHECKPOINTS, thread, namespace)
    return [row async for row in adapter._scan_items(None, chosen)]


async def _find_written(thread: str, namespace: str) -> int:
    """Return when the latest checkpoint of a thread and namespace was stored, 0 if it is gone."""
    found = await _read_rows(thread, namespace, Selection(newest_first=True, limit=1))
    return found[0][1]["written"] if found else 0


async def _list_contexts(spec: SlotSpec, **where: str) -> AsyncIterator[tuple[str, ...]]:
    """Yield the contexts that have rows, in the order of the key."""
    listed = type(get_adapter(spec, *("-" for _ in spec.context))).list_contexts(**where)
    async for context in listed:
        yield tuple(context.values())


class _Head:
    """The next row of a thread and namespace; the one with the largest id comes first."""

    __slots__ = ("context", "row", "rows")

    def __init__(self, context: tuple[str, ...], row: _Row, rows: AsyncIterator[_Row]) -> None:
        self.context = context
        self.row = row
        self.rows = rows

    def __lt__(self, other: _Head) -> bool:
        return self.row[0] > other.row[0]


async def _merge(
    contexts: Sequence[tuple[str, ...]], start: Selection, page: int
) -> AsyncGenerator[tuple[str, str, _Row], None]:
    """Yield the rows of threads and namespaces together, the newest first."""
    heads = []
    for context in contexts:
        pages = _read_pages(context, start, page)
        row = await anext(pages, None)
        if row is not None:
            heads.append(_Head(context, row, pages))
    heapq.heapify(heads)
    while heads:
        head = heads[0]
        yield head.context[0], head.context[1], head.row
        row = await anext(head.rows, None)
        if row is None:
            heapq.heappop(heads)
        else:
            head.row = row
            heapq.heapreplace(heads, head)


async def _read_pages(context: tuple[str, ...], start: Selection, page: int) -> AsyncIterator[_Row]:
    """Yield the rows of a thread and namespace, the newest first; the pages grow."""
    end = start.end
    while True:
        chosen = Selection(first=start.first, end=end, newest_first=True, limit=page)
        found = await _read_rows(context[0], context[1], chosen)
        for row in found:
            yield row
        if len(found) < page:
            return
        end = found[-1][0]
        page = min(4 * page, _LARGEST_PAGE)


async def _write_blobs(blobs: list[tuple[tuple[str, str, str], dict[str, Any]]]) -> None:
    await type(get_adapter(BLOBS, *blobs[0][0])).write_many(blobs)


async def _write_checkpoint(thread: str, namespace: str, checkpoint_id: str, payload: Mapping[str, Any]) -> None:
    adapter = get_adapter(CHECKPOINTS, thread, namespace)
    await adapter.write_langgraph_checkpoint_data({**payload, "written": _now()}, checkpoint_id)


async def _add_writes(adapter: Any, key: str, new: dict[str, Any]) -> None:
    """Store what a task has written to ordinary channels, without what was stored before."""
    if current_scope.get() is not None:  # a conflict would drop all of a transaction
        stored = await adapter.read_langgraph_write_data(key)
        row = new if stored is None else rows.add_writes(stored, new)
        if row is not None:
            await adapter.write_langgraph_write_data(row, key)
        return
    try:
        await adapter.write_langgraph_write_data(new, key, if_absent=True)
        return
    except ConflictError as error:
        conflict = error
    while True:
        row = new if conflict.found is None else rows.add_writes(conflict.found, new)
        if row is None:
            return
        try:
            await adapter.write_langgraph_write_data(row, key, expect=conflict.version)
            return
        except ConflictError as error:
            conflict = error


async def _delete(spec: SlotSpec, *start: str) -> int:
    """Delete the rows whose keys begin with some values."""
    adapter = get_adapter(spec, *(*start, *("-" for _ in spec.context))[: len(spec.context)])
    return await delete_rows(adapter._base_store(), spec, start)

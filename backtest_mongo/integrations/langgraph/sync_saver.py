"""The saver without ``await``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple

from backtest_mongo.integrations.langgraph.saver import AsyncBacktestMongoSaver
from backtest_mongo.sync.portal import run
from backtest_mongo.sync.wrapping import Stream

__all__ = ["BacktestMongoSaver"]


class BacktestMongoSaver(AsyncBacktestMongoSaver):
    """Stores the checkpoints of graphs that are called without ``await``, from any thread.

    ::

        from backtest_mongo.integrations.langgraph import BacktestMongoSaver

        graph = builder.compile(checkpointer=BacktestMongoSaver())
        graph.invoke({"messages": []}, {"configurable": {"thread_id": "BTCUSDT"}})

    Calls are carried out as those of :mod:`backtest_mongo.sync` are. Where an event loop runs, they raise
    ``InputError``; the methods that are awaited work there, as those of :class:`AsyncBacktestMongoSaver` do.
    """

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint: see :meth:`AsyncBacktestMongoSaver.aget_tuple`."""
        found: CheckpointTuple | None = run("get_tuple", self.aget_tuple, config)
        return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Iterate over checkpoints, the newest first: see :meth:`AsyncBacktestMongoSaver.alist`."""
        return Stream("list", self.alist(config, filter=filter, before=before, limit=limit))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint: see :meth:`AsyncBacktestMongoSaver.aput`."""
        stored: RunnableConfig = run("put", self.aput, config, checkpoint, metadata, new_versions)
        return stored

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written: see :meth:`AsyncBacktestMongoSaver.aput_writes`."""
        run("put_writes", self.aput_writes, config, writes, task_id, task_path)

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread: see :meth:`AsyncBacktestMongoSaver.adelete_thread`."""
        run("delete_thread", self.adelete_thread, thread_id)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of runs: see :meth:`AsyncBacktestMongoSaver.adelete_for_runs`."""
        run("delete_for_runs", self.adelete_for_runs, run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread: see :meth:`AsyncBacktestMongoSaver.acopy_thread`."""
        run("copy_thread", self.acopy_thread, source_thread_id, target_thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete checkpoints of threads: see :meth:`AsyncBacktestMongoSaver.aprune`."""
        run("prune", self.aprune, thread_ids, strategy=strategy)

    def sweep(self, idle: timedelta) -> int:
        """Delete the threads that have been idle: see :meth:`AsyncBacktestMongoSaver.asweep`."""
        deleted: int = run("sweep", self.asweep, idle)
        return deleted

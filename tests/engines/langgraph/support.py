"""What the tests of the savers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from backtest_mongo.integrations.langgraph import BacktestMongoSaver

__all__ = ["STORAGES", "ThreadedSaver"]

#: SQLite, and MongoDB by each driver.
STORAGES: Final = pytest.mark.parametrize("driver", ["sqlite", "motor", "pymongo"], indirect=True)


class ThreadedSaver(BaseCheckpointSaver[int]):
    """Awaits the calls of a saver without ``await``, each in a thread."""

    def __init__(self, saver: BacktestMongoSaver) -> None:
        super().__init__()
        self.saver = saver

    async def aget_tuple(self, config: Any) -> CheckpointTuple | None:
        return await asyncio.to_thread(self.saver.get_tuple, config)

    async def alist(self, config: Any, **options: Any) -> AsyncIterator[CheckpointTuple]:
        for found in await asyncio.to_thread(lambda: list(self.saver.list(config, **options))):
            yield found

    async def aput(self, *args: Any) -> Any:
        return await asyncio.to_thread(self.saver.put, *args)

    async def aput_writes(self, *args: Any, **options: Any) -> None:
        await asyncio.to_thread(self.saver.put_writes, *args, **options)

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.saver.delete_thread, thread_id)

    async def adelete_for_runs(self, run_ids: Any) -> None:
        await asyncio.to_thread(self.saver.delete_for_runs, run_ids)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.saver.copy_thread, source_thread_id, target_thread_id)

    async def aprune(self, thread_ids: Any, *, strategy: str = "keep_latest") -> None:
        await asyncio.to_thread(lambda: self.saver.prune(thread_ids, strategy=strategy))

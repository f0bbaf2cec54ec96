"""The slots of the checkpoints, which are registered when this is imported.

Their keys begin with the thread, so each question that an agent asks while it runs is one range of a unique index: the
latest checkpoint of a thread and namespace, those before another one, and the writes of a checkpoint. None of them is
asked for an id, so Redis keeps no ids of these rows.
"""

from __future__ import annotations

from typing import Any, Final

from backtest_mongo.adapters.registry import persist
from backtest_mongo.core.specs import SlotSpec

__all__ = ["BLOBS", "CHECKPOINTS", "RUNS", "WRITES", "get_adapter"]

CHECKPOINTS: Final = SlotSpec(
    name="langgraph_checkpoint",
    about="the checkpoints of LangGraph's threads",
    shape="bucket",
    context=("thread_id", "checkpoint_ns"),
    blank=("checkpoint_ns",),
    key=("threadId", "checkpointNs", "checkpointId"),
    soft_delete=True,
    items=True,
)
WRITES: Final = SlotSpec(
    name="langgraph_write",
    about="what the tasks of a superstep of LangGraph have written before its next checkpoint",
    shape="bucket",
    context=("thread_id", "checkpoint_ns", "checkpoint_id"),
    blank=("checkpoint_ns",),
    key=("threadId", "checkpointNs", "checkpointId", "task"),
    soft_delete=True,
    items=True,
)
#: Each is stored once in a thread and namespace, however many checkpoints have it.
BLOBS: Final = SlotSpec(
    name="langgraph_blob",
    about="large values of LangGraph's channels, by their digests",
    shape="document",
    context=("thread_id", "checkpoint_ns", "digest"),
    blank=("checkpoint_ns",),
    key=("threadId", "checkpointNs", "digest"),
)
RUNS: Final = SlotSpec(
    name="langgraph_run",
    about="in which threads and namespaces a run of LangGraph has checkpoints",
    shape="document",
    context=("run_id", "thread_id", "checkpoint_ns"),
    blank=("checkpoint_ns",),
    key=("runId", "threadId", "checkpointNs"),
)

for _spec in (CHECKPOINTS, WRITES, BLOBS, RUNS):
    persist.register(_spec)


def get_adapter(spec: SlotSpec, *context: str) -> Any:
    """Return the registry's adapter of a context."""
    return getattr(persist, spec.name)(*context)

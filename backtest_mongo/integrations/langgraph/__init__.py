"""Checkpoints of LangGraph's agents, in the database that a strategy's state is in.

::

    from backtest_mongo.integrations.langgraph import AsyncBacktestMongoSaver

    graph = builder.compile(checkpointer=AsyncBacktestMongoSaver())

``AsyncBacktestMongoSaver`` is for graphs that are awaited, ``BacktestMongoSaver`` for all others. What a run of a graph
writes within :func:`~backtest_mongo.transaction` is committed with it.
"""

from __future__ import annotations

from backtest_mongo.integrations.versions import check_version

check_version("langgraph-checkpoint", (4, 0), (5, 0), module="langgraph.checkpoint", user=__name__, extra="langgraph")

# After the check, as they import it.
from backtest_mongo.integrations.langgraph.saver import AsyncBacktestMongoSaver  # noqa: E402
from backtest_mongo.integrations.langgraph.sync_saver import BacktestMongoSaver  # noqa: E402

__all__ = ["AsyncBacktestMongoSaver", "BacktestMongoSaver"]

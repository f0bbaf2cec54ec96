"""Checkpoints of LangGraph's agents, in the database that a strategy's state is in.

::

    from backtest_mongo.integrations.langgraph import AsyncBacktestMongoSaver

    graph = builder.compile(checkpointer=AsyncBacktestMongoSaver())

``AsyncBacktestMongoSaver`` is for graphs that are awaited, ``BacktestMongoSaver`` for all others. What a run of a graph
writes within :func:`~backtest_mongo.transaction` is committed with it.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from backtest_mongo.core.wording import suggest_extra

#: The versions of langgraph-checkpoint that are supported: from the first to before the second.
SUPPORTED: Final = ((4, 0), (5, 0))


def check_version(installed: str | None) -> None:
    """Refuse a version of langgraph-checkpoint that is not supported.

    Args:
        installed: the version; ``None`` if it is not installed.

    Raises:
        ImportError: it is not supported.
    """
    first, end = (".".join(map(str, one)) for one in SUPPORTED)
    if installed is not None:
        numbers = tuple(int(part) if part.isdecimal() else 0 for part in installed.split(".")[:2])
        if SUPPORTED[0] <= numbers < SUPPORTED[1]:
            return
    found = "is not installed" if installed is None else f"{installed} is not supported"
    raise ImportError(
        f"langgraph-checkpoint {found}: backtest_mongo.integrations.langgraph takes {first} to before {end}; "
        f"{suggest_extra('langgraph')}, installs it",
        name="langgraph.checkpoint",
    )


def _find_version() -> str | None:
    try:
        return version("langgraph-checkpoint")
    except PackageNotFoundError:
        return None


check_version(_find_version())

# After the check, as they import it.
from backtest_mongo.integrations.langgraph.saver import AsyncBacktestMongoSaver  # noqa: E402
from backtest_mongo.integrations.langgraph.sync_saver import BacktestMongoSaver  # noqa: E402

__all__ = ["AsyncBacktestMongoSaver", "BacktestMongoSaver"]

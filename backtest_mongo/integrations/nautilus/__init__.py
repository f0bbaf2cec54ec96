"""Nautilus on this store: checkpoints of actors and strategies, and market data as Nautilus has it.

::

    from backtest_mongo.integrations.nautilus import CheckpointMixin

    class MyStrategy(CheckpointMixin, Strategy):
        checkpoint_every_event = True
"""

from __future__ import annotations

from backtest_mongo.integrations.versions import check_version

check_version("nautilus_trader", (1, 220), (2, 0), module="nautilus_trader", user=__name__, extra="nautilus")

# After the check, as they import it.
from backtest_mongo.integrations.nautilus.bar_types import get_interval, make_bar_type  # noqa: E402
from backtest_mongo.integrations.nautilus.bars import read_bars, write_bars  # noqa: E402
from backtest_mongo.integrations.nautilus.checkpoints import CheckpointMixin  # noqa: E402
from backtest_mongo.integrations.nautilus.ticks import (  # noqa: E402
    read_quotes,
    read_trades,
    write_quotes,
    write_trades,
)

__all__ = [
    "CheckpointMixin",
    "get_interval",
    "make_bar_type",
    "read_bars",
    "read_quotes",
    "read_trades",
    "write_bars",
    "write_quotes",
    "write_trades",
]

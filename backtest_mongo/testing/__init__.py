"""The types of the pytest plugin's fixtures, for annotations in your tests::

    from backtest_mongo.testing import BacktestStore

    async def test_signal_is_stored(backtest_store: BacktestStore) -> None: ...

Importing it imports pytest.
"""

from backtest_mongo.testing.plugin import BacktestServers, BacktestStore

__all__ = ["BacktestServers", "BacktestStore"]

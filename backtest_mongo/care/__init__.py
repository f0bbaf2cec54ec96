"""Looking after a deployment: ``backtest-mongo doctor``, ``inspect`` and ``migrate``."""

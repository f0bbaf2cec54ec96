"""``python -m backtest_mongo`` is the command ``backtest-mongo``."""

from backtest_mongo.cli.main import main

main()

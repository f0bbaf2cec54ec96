"""The demo: a strategy on real candles that is killed again and again, and ends in the state of an uninterrupted run.

``backtest-mongo demo`` runs it. :mod:`~backtest_mongo.cli.demo.strategy` is the example to read: a strategy written
against the registry. :mod:`~backtest_mongo.cli.demo.runner` runs it twice at the same time, and kills one of the two.
"""

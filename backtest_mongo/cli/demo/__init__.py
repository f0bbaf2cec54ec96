"""The demo: a strategy on real candles that is killed again and again, and ends in the state of an uninterrupted run.

``backtest-mongo demo`` runs it. :mod:`~backtest_mongo.cli.demo.engine` and :mod:`~backtest_mongo.cli.demo.strategy` are
the examples to read: an engine written against the registry, and a strategy on it.
:mod:`~backtest_mongo.cli.demo.runner` runs them twice at the same time, and kills one of the two.
"""

"""The demo: a strategy on real candles, killed again and again, that ends up with what it would have had anyway.

``backtest-mongo demo`` runs it. :mod:`~backtest_mongo.demo.strategy` is the example to read: a strategy written
against the registry. :mod:`~backtest_mongo.demo.runner` runs it twice at the same time, and kills one of the two.
"""

"""A conformance suite for stores: the promises of this library as tests that run on a store of your own::

    pytest --pyargs backtest_mongo.testing.conformance --store my_package.my_module:MyStore

A store declares its capabilities, and the suite checks them. It needs pytest and pytest-asyncio. `docs/conformance.md`
says how to write a store; :class:`Store` and :class:`StoreFactory` say what the suite calls.
"""

from backtest_mongo.testing.conformance.capabilities import CAPABILITIES
from backtest_mongo.testing.conformance.protocols import Store, StoreFactory

__all__ = ["CAPABILITIES", "Store", "StoreFactory"]

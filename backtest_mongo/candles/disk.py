"""How much room candles take on the disk."""

from __future__ import annotations

from backtest_mongo import CandleAdapter
from backtest_mongo.config import get_config
from backtest_mongo.faults import DRIVER_ERRORS, translated, without_frames
from backtest_mongo.hub import current_hub
from backtest_mongo.mongo_rows import aggregated

__all__ = ["bytes_of_a_row"]


async def bytes_of_a_row() -> float:
    """Return how many bytes a stored candle takes on the average, its share of the indexes included.

    Candles of all series are in one collection, and the server knows the size of that; its last minute may lack.

    Raises:
        StoreUnavailableError, StoreError: MongoDB can't be reached, or answers with an error.
    """
    spec = CandleAdapter.spec
    try:
        # On a sharded cluster there is an answer from each shard.
        collection = current_hub().database[spec.collection]
        answers = await aggregated(collection, [{"$collStats": {"storageStats": {}}}])
    except DRIVER_ERRORS as error:
        hosts = get_config().CC_MONGO_CONNECTION_STRING.hosts
        raise translated(error, "asking for its size", spec, None, hosts) from without_frames(error)
    stats = [answer["storageStats"] for answer in answers]
    size = sum(one["storageSize"] + one["totalIndexSize"] for one in stats)
    rows = sum(one["count"] for one in stats)
    return float(size / max(rows, 1))

"""The block cache: blocks of candles that this process has read from one database, in bounded memory.

A stored candle never changes, so what was read once is returned again without asking. Absence is never cached. When
candles are deleted, this process drops all blocks; other processes may return the deleted candles until they close.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from backtest_mongo.core.config import get_config
from backtest_mongo.sqlite.block_format import Columns

__all__ = ["PLACES", "BlockCache"]

#: Places of a block.
PLACES: Final = 512
#: The memory of a block at most: six columns of Python's numbers, and the references to them.
BLOCK_BYTES: Final = 6 * PLACES * (24 + 8)


class BlockCache:
    """Blocks by series and start, for any thread. When it is full, the least recently used are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[Hashable, Columns] = OrderedDict()
        #: How often everything was dropped. What was read before the last time is not kept.
        self.generation: int = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, key: Hashable) -> Columns | None:
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def put(self, key: Hashable, block: Columns, generation: int) -> None:
        """Keep a block whose reading began in this generation."""
        most = (get_config().CC_CANDLE_CACHE_MB << 20) // BLOCK_BYTES
        with self._lock:
            if generation != self.generation:
                return
            self._blocks[key] = block
            self._blocks.move_to_end(key)
            while len(self._blocks) > most:
                self._blocks.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._blocks.clear()
            self.generation += 1

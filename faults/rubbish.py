"""Overwrite the values in Redis again and again, with garbage and with ids of other rows."""

from __future__ import annotations

import random
import threading
from types import TracebackType
from typing import Final, Self

from bson import ObjectId
from redis import Redis
from redis.exceptions import RedisError

from faults.topology import RedisNode

__all__ = ["Rubbish"]

_BYTES: Final = (b"", b"rubbish", b"\xff\xfe\x00", b"x" * 24, b"0" * 24, b"[1, 2]", b"y" * 10_000)


class Rubbish:
    """A thread that overwrites every key of a Redis for as long as its ``with`` block runs."""

    def __init__(self, node: RedisNode) -> None:
        self._node = node
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._random = random.SystemRandom()
        #: Number of values overwritten.
        self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with self._node.client() as client:
            while not self._over.wait(0.01):
                try:
                    self._overwrite(client)
                except RedisError:
                    return  # Redis is stopped: the fault is over

    def _overwrite(self, client: Redis) -> None:
        keys = list(client.scan_iter(count=1_000))
        ids = [value for key in keys if client.type(key) == b"string" and len(value := client.get(key) or b"") == 24]
        for key in keys:
            dice = self._random.random()
            if dice < 0.1:
                client.delete(key)
                client.rpush(key, "a list")
            elif dice < 0.4:
                client.set(key, self._random.choice(_BYTES))
            elif dice < 0.5 or not ids:
                client.set(key, str(ObjectId()))
            else:
                client.set(key, self._random.choice(ids))
            self.count += 1

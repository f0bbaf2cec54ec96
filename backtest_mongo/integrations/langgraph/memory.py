"""What a saver remembers, so that it need not ask for it or send it again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Memory"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Values by key, for all threads. When it is full, those that were not used for longest are forgotten.

    Args:
        room: how large all values together may be.
        measure: how large a value is; as a rule each counts as one.
    """

    def __init__(self, room: int, measure: Callable[[V], int] = lambda value: 1) -> None:
        self._room = room
        self._measure = measure
        self._lock = threading.Lock()
        self._values: OrderedDict[K, V] = OrderedDict()
        self._size = 0

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            old = self._values.pop(key, None)
            self._values[key] = value
            self._size += self._measure(value) - (0 if old is None else self._measure(old))
            while self._size > self._room:
                _, dropped = self._values.popitem(last=False)
                self._size -= self._measure(dropped)

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
            self._size = 0

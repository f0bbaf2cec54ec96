"""The thread that looks for changes, for all watches of one database.

It looks while a watch waits for a change: at once when this process has written, and otherwise some tens of times a
second, as SQLite does not tell one process of another's writes. A look is one read of the end of the log, in 6 us; the
pragma ``data_version`` takes as long and says less. What is new is read and decoded in this thread too, so neither the
event loop nor a writer waits for it, and a watch whose program is slow takes no memory: it stays where it is.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence
from typing import Any, Final

from backtest_mongo.core.changes import Change
from backtest_mongo.sqlite.change_log import Place

__all__ = ["Arrival", "Watched", "Watcher"]

#: How long another process's write may stay unnoticed.
_POLL_SECONDS: Final = 0.02
#: How long the thread waits for work before it ends.
_IDLE_SECONDS: Final = 5.0


class Arrival:
    """What a look has found for a watch: the next changes and the place behind them, or why it can't go on.

    Without a place and an error it is nothing.
    """

    __slots__ = ("changes", "error", "place")

    def __init__(self, place: Place | None, changes: Sequence[Change] = (), error: Exception | None = None) -> None:
        self.place: Place | None = place
        self.changes: Sequence[Change] = changes
        self.error: Exception | None = error


class Watched(ABC):
    """A watch as this thread sees it."""

    @property
    @abstractmethod
    def loop(self) -> AbstractEventLoop:
        """The event loop that :meth:`take` is called in."""

    @abstractmethod
    def look(self, connection: Any, newest: Place | None) -> Arrival:
        """Return what is new; called in the thread, with a connection in a transaction."""

    @abstractmethod
    def give_up(self) -> Arrival:
        """Return what arrives if there is no file any more."""

    @abstractmethod
    def take(self, arrival: Arrival) -> None:
        """Take what has arrived; called in the event loop."""

    @abstractmethod
    def end(self) -> None:
        """End it; called in the event loop."""

    @abstractmethod
    def inherit(self) -> None:
        """Give no changes in this process: it is a fork, and the watch and its event loop are the parent's."""


class Watcher:
    """The watches of a database, and the thread.

    Args:
        look: calls :meth:`Watched.look` of each, and returns what they return. It waits for locks.
        does_poll: whether other processes may write.
    """

    def __init__(self, look: Callable[[Sequence[Watched]], Sequence[Arrival]], *, does_poll: bool) -> None:
        self._look = look
        self._poll_seconds = _POLL_SECONDS if does_poll else None
        # Guards everything below.
        self._lock = threading.Condition(threading.Lock())
        #: Those that have begun and not ended.
        self.watches: set[Watched] = set()
        self._waiting: set[Watched] = set()
        self._is_woken = False
        self._is_looking = False
        self._looks = 0
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def add(self, watch: Watched) -> None:
        with self._lock:
            self.watches.add(watch)

    def discard(self, watch: Watched) -> None:
        with self._lock:
            self.watches.discard(watch)
            self._waiting.discard(watch)

    def ask(self, watch: Watched) -> None:
        """Look for changes for a watch until there is one; those of before this call included."""
        with self._lock:
            if watch in self._waiting:
                return
            if self._thread is None:
                self._is_stopping = False
                thread = threading.Thread(target=self._run, name="backtest-mongo sqlite watch", daemon=True)
                thread.start()
                self._thread = thread
            self._waiting.add(watch)
            self._is_woken = True
            self._lock.notify_all()

    def wake(self) -> None:
        """Look now: something was written."""
        if self._waiting:  # a watch that begins to wait after this looks at once
            with self._lock:
                self._is_woken = True
                self._lock.notify_all()

    @property
    def is_looking(self) -> bool:
        return self._is_looking

    def wait_for_look(self) -> None:
        """Wait until a look that has begun is over, so that it has no connection any more."""
        with self._lock:
            looks = self._looks
            while self._is_looking and self._looks == looks:
                self._lock.wait()

    def stop(self, seconds: float) -> None:
        """End the thread, at the end of the process."""
        with self._lock:
            self._is_stopping = True
            thread = self._thread
            self._lock.notify_all()
        if thread is not None:
            thread.join(seconds)

    # In the thread

    def _run(self) -> None:
        while watches := self._take_watches():
            try:
                arrivals = self._look(watches)
            except Exception as error:
                arrivals = [Arrival(None, error=error) for _ in watches]
            self._end_look(watches, arrivals)

    def _take_watches(self) -> list[Watched]:
        """Wait until it is time to look, and return for whom; for none when the thread is to end."""
        with self._lock:
            while not (self._waiting and self._is_woken) and not self._is_stopping:
                is_notified = self._lock.wait(self._poll_seconds if self._waiting else _IDLE_SECONDS)
                if not is_notified:
                    if self._waiting:
                        break
                    self._is_stopping = True
            if self._is_stopping:
                self._thread = None
                return []
            self._is_woken = False
            self._is_looking = True
            return list(self._waiting)

    def _end_look(self, watches: Sequence[Watched], arrivals: Sequence[Arrival]) -> None:
        with self._lock:
            self._is_looking = False
            self._looks += 1
            for watch, arrival in zip(watches, arrivals, strict=True):
                if arrival.changes or arrival.error is not None:
                    self._waiting.discard(watch)
            self._lock.notify_all()
        for watch, arrival in zip(watches, arrivals, strict=True):
            if arrival.place is None and arrival.error is None:
                continue
            try:
                watch.loop.call_soon_threadsafe(watch.take, arrival)
            except RuntimeError:  # the loop was closed without ending the watch
                self.discard(watch)

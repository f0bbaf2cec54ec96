"""What a caller iterates over to see changes as they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from backtest_mongo.change_stream import Stream
from backtest_mongo.changes import Change

__all__ = ["Watch"]


class Watch(AsyncIterator[Change]):
    """Changes as they happen, oldest first: iterate over it, in ``async with`` where the beginning matters.

    ::

        async with SignalAdapter("BTCUSDT", "my_strategy", "binance").watch() as changes:
            row = ...  # what is read here is older than every change, or one of them tells of it
            async for change in changes:
                ...

    Entering it, or else the first step of the iteration, is where it begins. It ends with the block, with the iterator
    (``break`` is enough), by :meth:`aclose`, and by ``backtest_mongo.close()``.
    """

    def __init__(self, make: Callable[[], Stream | None], after: str | None = None) -> None:
        self._make = make
        self._after = after
        self._stream: Stream | None = None
        self._is_over = False

    @property
    def token(self) -> str | None:
        """Where it is, so that ``watch(after=token)`` carries on behind the last change that was given.

        Where none was given yet, that is where it began; ``None`` before that. It moves on also while nothing happens.
        """
        return self._after if self._stream is None else self._stream.token

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Return the next change, waiting for it as long as it takes.

        A caller that is cancelled, by a timeout for example, loses nothing: the next step gives the same change.

        Raises:
            StopAsyncIteration: it has ended.
            StoreUnavailableError: the connection was lost, and MongoDB not back within ``CC_MONGO_TIMEOUT_MS``; another
                watch carries on after this one's ``token``.
            StoreError: the servers are a standalone, or have forgotten what came after ``after``.
        """
        if self._is_over:
            raise StopAsyncIteration
        stream = await self._begin()
        change = None if stream is None else await stream.next()
        if change is None:
            self._is_over = True
            raise StopAsyncIteration
        return change

    async def aclose(self) -> None:
        """End it; whoever waits for a change sees the end of the iteration. Closing twice is fine."""
        self._is_over = True
        if self._stream is not None:
            await self._stream.close()

    async def _begin(self) -> Stream | None:
        if self._stream is None and not self._is_over:
            self._stream = self._make()
        if self._stream is not None:
            await self._stream.begin()
        return self._stream

    def __del__(self) -> None:
        # Left by a break: the stream would stay open on the server.
        stream = self._stream
        if stream is not None and not stream.ended.done():
            stream.close_soon()

"""The async iterator of changes that ``watch()`` returns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from backtest_mongo.mongo.change_decoder import Change
from backtest_mongo.mongo.change_stream import ChangeStream

__all__ = ["Watch"]


class Watch(AsyncIterator[Change]):
    """Changes as they happen, oldest first. Iterate over it; use ``async with`` if the starting point matters.

    ::

        async with SignalAdapter("BTCUSDT", "my_strategy", "binance").watch() as changes:
            row = ...  # a write that this read misses is among the changes
            async for change in changes:
                ...

    A change of a row that can't be decoded is skipped, with one warning that names the row's key.

    It starts when it is entered, otherwise with the first step of the iteration. It ends with the block, with the
    iterator (``break`` is enough), and by :meth:`aclose` or ``backtest_mongo.close()``.
    """

    def __init__(self, make: Callable[[], ChangeStream | None], after: str | None = None) -> None:
        self._make = make
        self._after = after
        self._stream: ChangeStream | None = None
        self._is_over = False

    @property
    def token(self) -> str | None:
        """The position to resume from. A watch with ``after=token`` begins after the last change that was returned.

        Before the first change it is where the watch started, and ``None`` before that. It also advances while nothing
        changes.
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
        """Wait for the next change and return it.

        A caller that is cancelled, by a timeout for example, loses nothing: the next step returns the same change.

        Raises:
            StopAsyncIteration: it has ended.
            StoreUnavailableError: the connection was lost and MongoDB did not come back within ``CC_MONGO_TIMEOUT_MS``,
                or a direct connection goes to a server that is not the primary; resume with another watch after this
                one's ``token``.
            StoreError: the server is a standalone, the oplog no longer has what came after ``after``, or a row is too
                large for a change stream.
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
        """End the watch, and the iteration of callers that wait for a change. Closing twice is fine."""
        self._is_over = True
        if self._stream is not None:
            await self._stream.close()

    async def _begin(self) -> ChangeStream | None:
        if self._stream is None and not self._is_over:
            self._stream = self._make()
        if self._stream is not None:
            await self._stream.begin()
        return self._stream

    def __del__(self) -> None:
        # After a break the stream would stay open on the server.
        stream = self._stream
        if stream is not None and not stream.ended.done():
            stream.close_soon()

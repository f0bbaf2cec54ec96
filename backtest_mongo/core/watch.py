"""The async iterator of changes that ``watch()`` returns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from backtest_mongo.core.changes import Change

if TYPE_CHECKING:
    from asyncio import Future

__all__ = ["ChangeSource", "Watch"]


class ChangeSource(Protocol):
    """Where a watch gets its changes from, on one event loop."""

    @property
    def token(self) -> str | None:
        """The position behind the last change that was returned, at which another watch can resume."""
        ...

    @property
    def ended(self) -> Future[None]:
        """Done once the source is closed."""
        ...

    async def begin(self) -> None:
        """Begin, after which no change is missed; once it has begun, do nothing.

        Raises:
            BacktestMongoError: as :meth:`Watch.__anext__`. The next call tries again.
        """
        ...

    async def next(self) -> Change | None:
        """Wait for the next change; ``None`` once the source is closed. A caller that is cancelled loses nothing.

        Raises:
            BacktestMongoError: as :meth:`Watch.__anext__`.
        """
        ...

    async def close(self) -> None:
        """End it; calls of :meth:`next` return. Closing twice is fine."""
        ...

    def close_soon(self) -> None:
        """Close it in the background, from any thread."""
        ...


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

    def __init__(self, make: Callable[[], ChangeSource | None], after: str | None = None) -> None:
        self._make = make
        self._after = after
        self._source: ChangeSource | None = None
        self._is_over = False

    @property
    def token(self) -> str | None:
        """The position to resume from. A watch with ``after=token`` begins after the last change that was returned.

        Before the first change it is where the watch started, and ``None`` before that. It also advances while nothing
        changes.
        """
        return self._after if self._source is None else self._source.token

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
            InputError: ``after`` is not a token of this storage.
            StoreUnavailableError: the connection was lost and MongoDB did not come back within ``CC_MONGO_TIMEOUT_MS``,
                a direct connection goes to a server that is not the primary, or an SQLite file stayed locked for so
                long; resume with another watch after this one's ``token``.
            StoreError: the oplog or the SQLite file no longer has what came after ``after`` (``code`` is 286), the
                server is a standalone, a row is too large for a change stream, or the storage is files.
            ConfigError: the SQLite file can't be opened.
        """
        if self._is_over:
            raise StopAsyncIteration
        source = await self._begin()
        change = None if source is None else await source.next()
        if change is None:
            self._is_over = True
            raise StopAsyncIteration
        return change

    async def aclose(self) -> None:
        """End the watch, and the iteration of callers that wait for a change. Closing twice is fine."""
        self._is_over = True
        if self._source is not None:
            await self._source.close()

    async def _begin(self) -> ChangeSource | None:
        if self._source is None and not self._is_over:
            self._source = self._make()
        if self._source is not None:
            await self._source.begin()
        return self._source

    def __del__(self) -> None:
        # After a break the source would stay open, a change stream on the server too.
        source = self._source
        if source is not None and not source.ended.done():
            source.close_soon()

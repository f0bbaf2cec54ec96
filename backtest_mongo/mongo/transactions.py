"""Transactions without leases, each a step of a request, and sent again until it is committed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from backtest_mongo.connection.driver_errors import DRIVER_ERRORS, strip_frames
from backtest_mongo.connection.hub import Hub
from backtest_mongo.connection.operation import seconds_left
from backtest_mongo.errors import StoreUnavailableError
from backtest_mongo.mongo.collection import SlotCollection
from backtest_mongo.mongo.committer import MongoCommitter, get_committer
from backtest_mongo.mongo.sessions import abort, begin, commit_again, is_conflict, open_session

__all__ = ["Transactions"]

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.25

T = TypeVar("T")


class Transactions:
    """The transactions of one slot on one event loop."""

    def __init__(self, hub: Hub, slot: SlotCollection) -> None:
        self._hub = hub
        self._slot = slot
        #: Sessions that are noted and have no transaction.
        self._idle: list[Any] = []

    @property
    def _committer(self) -> MongoCommitter:
        return get_committer(self._hub)

    async def check(self) -> None:
        """Make sure, within a request, that the server has transactions.

        Raises:
            StoreError: it is a standalone.
        """
        await self._committer.check_within()

    async def run(self, doing: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Carry out a transaction within a request, again until it is committed or the time is up.

        Args:
            doing: what errors say that failed.
            work: the steps, given the session. They may be carried out any number of times, also after they were
                committed without an answer.

        Raises:
            Exception: what ``work`` raises, which ends the transaction without an effect.
            StoreUnavailableError: its outcome is unknown, or others wrote the same documents until the time was up.
            StoreError: the server refuses it, or is a standalone.
        """
        try:
            await self.check()
            return await self._repeat(work)
        except DRIVER_ERRORS as error:
            if is_conflict(error):
                raise self._make_contended_error(doing) from strip_frames(error)
            raise self._slot.translate(doing, error) from strip_frames(error)

    async def _repeat(self, work: Callable[[Any], Awaitable[T]]) -> T:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._attempt(work)
            except DRIVER_ERRORS as error:
                if not is_conflict(error) or pause >= seconds_left():
                    raise
            if pause == _LONGEST_PAUSE:
                await self._committer.end_abandoned_within()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # so that rivals don't meet again
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _attempt(self, work: Callable[[Any], Awaitable[T]]) -> T:
        session = self._idle.pop() if self._idle else await open_session(self._hub)
        is_clean = False
        try:
            await self._committer.note_session(session)
            await begin(session)
            try:
                result = await work(session)
            except BaseException:
                await abort(session)
                is_clean = True
                raise
            await commit_again(session)
            is_clean = True
            return result
        finally:
            if is_clean:
                self._idle.append(session)
            else:
                await session.end_session()

    def _make_contended_error(self, doing: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{doing} failed: others were writing the same documents until the time was up",
            slot=self._slot.spec.name,
            collection=self._slot.documents.name,
            hint="try again; CC_MONGO_TIMEOUT_MS gives it more time",
        )

"""The error that has something to await, without it."""

from __future__ import annotations

from backtest_mongo.errors import CommitUnknownError as AsyncCommitUnknownError
from backtest_mongo.sync.portal import run, translations

__all__ = ["CommitUnknownError"]


class CommitUnknownError(AsyncCommitUnknownError):
    """Whether a transaction was committed is unknown: the answer was lost, and the time was up.

    ``may_be_applied`` is true. Either all of its writes are stored, or none, or they will be in a moment.
    """

    def commit_again(self) -> None:  # type: ignore[override]  # it is what is awaited there
        """Find out whether the transaction was committed, and commit it if it was not.

        Once it returns, all of its writes are stored. It can be called any number of times.

        Raises:
            StoreUnavailableError: it is still unknown; or nothing was stored, and the rows may have been written since.
            BacktestMongoError: what the end of the block raises: nothing is stored.
        """
        run("commit_again", super().commit_again)


translations[AsyncCommitUnknownError] = CommitUnknownError

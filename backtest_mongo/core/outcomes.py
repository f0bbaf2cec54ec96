"""What an error says of the outcome of a call that writes in several steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from backtest_mongo.errors import StoreUnavailableError

__all__ = ["UNKNOWN", "after_writing"]

#: What to do about a write whose outcome is unknown.
UNKNOWN: Final = "it may or may not have been applied; repeat it to be sure"


@contextmanager
def after_writing() -> Iterator[None]:
    """Mark what the block raises: a step before it, or in it, may have written a part, whatever fails now."""
    try:
        yield
    except StoreUnavailableError as error:
        if not error.may_be_applied:
            error.may_be_applied, error.hint = True, UNKNOWN
        raise

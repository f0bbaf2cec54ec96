"""The name of a run, which the rows carry that are written in it, and how the rows of a run are found and deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from backtest_mongo.core.commits import Committer
from backtest_mongo.core.specs import FLAG, SlotSpec
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.types import Document

__all__ = [
    "LONGEST_RUN",
    "SIGNAL",
    "STEP",
    "Deleted",
    "RunRows",
    "Selection",
    "check_run",
    "find_problem",
]

#: The most characters of a name.
LONGEST_RUN: Final = 200
#: The field of a key that names a signal.
SIGNAL: Final = "signalId"
#: Rows that are deleted at a time, and signals that are asked for at a time.
STEP: Final = 1_000

#: How many rows were deleted, and how many versions of them.
Deleted: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of a slot are meant.

    Attributes:
        run: the name of a run.
        owner: rows that carry that name, none, or another one; or all of them.
        signals: rows of these signals alone; ``None`` for rows of any.
        is_live: live rows alone, or those of backtests alone, in slots that know which they are; ``None`` for both.
        context: rows of this context alone, by the fields of the key.
    """

    run: str
    owner: Literal["run", "none", "other", "all"] = "run"
    signals: Sequence[str] | None = None
    is_live: bool | None = None
    context: Document | None = None

    def list_equal(self, spec: SlotSpec) -> Document:
        """Return the fields of the key that must have one value."""
        equal = dict(self.context or {})
        if self.is_live is not None and FLAG in spec.key:
            equal[FLAG] = not self.is_live
        return equal


class RunRows(Protocol):
    """The rows of one slot in one database, of which a run is reset.

    An SQLite file that can't be opened makes each method raise ``ConfigError``.
    """

    @property
    def spec(self) -> SlotSpec: ...

    @property
    def committer(self) -> Committer:
        """The database's, which knows its leases."""
        ...

    async def count(self, selection: Selection) -> int:
        """Return how many rows there are.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    async def list_signals(self, selection: Selection) -> list[str]:
        """Return the signals of rows, each once, in their order; of slots whose key names one.

        Raises:
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...

    def delete(self, selection: Selection) -> AsyncIterator[Deleted]:
        """Delete rows with their versions, :data:`STEP` at a time, and yield what each step has deleted.

        Raises:
            LeaseHeldError: somebody holds the lease of a row's context; the rows of its step stay.
            StoreUnavailableError: the database does not answer, or another process keeps it locked.
            StoreError: it answers with an error.
        """
        ...


def find_problem(run: str) -> str | None:
    """Return why a text can't be the name of a run, ``None`` if it can."""
    if not run:
        return "must not be empty"
    if "\0" in run:
        return "must not hold a NUL character"
    if len(run) > LONGEST_RUN:
        return f"must have at most {LONGEST_RUN} characters, not {len(run):,}"
    try:
        run.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, which is not valid Unicode"
    return None


def check_run(run: object, call: str) -> str:
    """Return ``run`` as a plain ``str`` if it can be the name of a run.

    Args:
        run: the name.
        call: how messages begin.

    Raises:
        InputTypeError: it is not a ``str``.
        InputError: it is empty, too long, holds a NUL character or is not valid Unicode.
    """
    if not isinstance(run, str):
        raise InputTypeError(f"{call}: run must be a str, not {type(run).__name__}")
    name = str.__str__(run)
    problem = find_problem(name)
    if problem is not None:
        raise InputError(f"{call}: run {problem} (str)")
    return name

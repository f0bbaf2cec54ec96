"""The name of a run, which the rows carry that are written in it."""

from __future__ import annotations

from typing import Final

from backtest_mongo.errors import InputError, InputTypeError

__all__ = ["LONGEST_RUN", "check_run", "find_problem"]

#: The most characters of a name.
LONGEST_RUN: Final = 200


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

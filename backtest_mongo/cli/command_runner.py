"""How a command runs and ends: what it needs installed, its connections, signals, errors and exit status.

A command whose work is asynchronous passes it to :func:`run_command`; one that is synchronous works inside
:func:`exit_cleanly`. Either way an error of the library becomes one line on standard error and status 1, and a signal
ends the command as a shell expects it, with status 128 plus its number.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final, TypeVar

from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.wording import suggest_extra
from backtest_mongo.errors import BacktestMongoError

__all__ = ["exit_cleanly", "print_error", "print_output", "require", "run_command"]

_T = TypeVar("_T")

_MISSING_EXTRA: Final = 2
#: A shell's exit status for a command that a signal ended is this plus the signal's number.
_BY_SIGNAL: Final = 128
#: Signals that ask a process to end, beside SIGINT, which Python and asyncio handle themselves.
_SIGNALS: Final = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def require(extra: str, *modules: str) -> None:
    """Exit and name the extra to install if one of ``modules`` is missing."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        print_error(f"backtest-mongo: {' and '.join(missing)} missing: {suggest_extra(extra)}")
        sys.exit(_MISSING_EXTRA)


def print_error(text: str) -> None:
    """Print one line to standard error."""
    print(escape_controls(" ".join(text.split())), file=sys.stderr)


def print_output(text: str) -> None:
    """Print one line to standard output."""
    print(escape_controls(text), flush=True)


class _Signals:
    """Handles a signal that asks the process to end: cancels the command's task, or exits if there is none."""

    def __init__(self) -> None:
        self.cancel: Callable[[], object] | None = None
        self.status: int | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.status = _BY_SIGNAL + number
        if self.cancel is None:
            sys.exit(self.status)  # an exception, so that servers and processes are stopped on the way out
        self.cancel()


@contextmanager
def exit_cleanly() -> Iterator[_Signals]:
    """Turn errors of the library and the operating system, Ctrl-C and signals into an exit without a traceback."""
    signals = _Signals()
    previous = [signal.signal(number, signals.handle) for number in _SIGNALS]
    try:
        yield signals
    except (BacktestMongoError, OSError) as error:  # OSError: a directory that can't be written to, and the like
        print_error(f"backtest-mongo: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_BY_SIGNAL + signal.SIGINT)
    finally:
        for number, handler in zip(_SIGNALS, previous, strict=True):
            signal.signal(number, handler)


def run_command(work: Callable[[], Awaitable[_T]], *, connect: bool = True) -> _T:
    """Run a command's asynchronous work in an event loop of its own, inside :func:`exit_cleanly`.

    A signal cancels the work: an exception out of a signal handler would be raised in whatever task or callback runs
    at that moment.

    Args:
        connect: run it on the deployment that the environment (``CC_*``) names, and log to standard error.
    """
    # Here, as the help of the commands needs neither.
    import asyncio
    import logging

    from backtest_mongo.adapters.lifecycle import setup
    from backtest_mongo.core.log import set_logger

    async def run() -> _T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # for the type checker: asyncio.run makes one
        signals.cancel = partial(loop.call_soon_threadsafe, task.cancel)
        try:
            if not connect:
                return await work()
            async with setup():
                return await work()
        finally:
            signals.cancel = None

    with exit_cleanly() as signals:
        if connect:
            # Warnings are lines on standard error, like everything that isn't a result.
            set_logger(logging.getLogger("backtest_mongo"))
        try:
            return asyncio.run(run())
        except asyncio.CancelledError:
            if signals.status is None:
                raise
            sys.exit(signals.status)

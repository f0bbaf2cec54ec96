"""What the commands have in common: what they need installed, and how they end early."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from backtest_mongo.errors import BacktestMongoError

__all__ = ["reported", "require", "say"]

_MISSING = 2
#: A shell's way to say that a signal ended a command.
_BY_SIGNAL = 128


def require(extra: str, *modules: str) -> None:
    """End the command with the name of the extra to install if one of ``modules`` is missing."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        say(f'backtest-mongo: {" and ".join(missing)} missing: pip install "backtest-mongo[{extra}]"')
        sys.exit(_MISSING)


def say(text: str) -> None:
    """Print one line to standard error."""
    print(" ".join(text.split()), file=sys.stderr)


@contextmanager
def reported() -> Iterator[None]:
    """End with one line instead of a traceback where the library or the user ends a command early."""

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(_BY_SIGNAL + number)  # an exception, so that servers and processes are stopped on the way out

    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = [signal.signal(number, terminate) for number in signals]
    try:
        yield
    except (BacktestMongoError, OSError) as error:  # OSError: a directory that can't be written to, and the like
        say(f"backtest-mongo: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_BY_SIGNAL + signal.SIGINT)
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)

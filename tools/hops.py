"""Count the hops of single operations: ``python tools/hops.py`` prints a table.

A hop is a call of a function of the package, and a row of the table counts those of one operation on its way from the
call of the public method to its result, in the caller and in the tasks of the event loop that work for it:

* ``functions``: how many distinct functions are called;
* ``files``: in how many distinct files they are defined;
* ``changes``: how often a call follows one of a function in another file.

A coroutine counts once, when it starts, and not each time it is resumed. The bodies of modules and classes don't count,
nor do comprehensions. Each operation is carried out twice before it is counted, so that imports, connections, indexes
and caches are not a part of it. The servers are embedded ones of its own.

The package is the one that Python imports: to count another checkout's, name it in ``PYTHONPATH``. ``--show`` lists the
calls of the operations whose names contain a text.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import os
import sys
import tomllib
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, NamedTuple, Self

import backtest_mongo
from backtest_mongo import CandleAdapter, SignalAdapter, close, embedded, setup

PACKAGE: Final = Path(backtest_mongo.__file__).resolve().parent
#: Two whole blocks of one-minute candles, and where the first of them begins.
CANDLES: Final = 8_192
MINUTE_MS: Final = 60_000
FIRST_MS: Final = 6_000 * 4_096 * MINUTE_MS
WINDOW: Final = 50
#: How the names of files begin that hold the expanded classes, as linecache has them.
EXPANSION: Final = f"<{PACKAGE.name} "
SKIPPED: Final = ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")

Work = Callable[[], Awaitable[object]]


class Hops:
    """The calls of this package's functions that this thread makes in a ``with`` block, in their order."""

    def __init__(self) -> None:
        self.calls: list[CodeType] = []
        # Held, so that no later frame is taken for one of them.
        self._frames: set[FrameType] = set()

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sys.setprofile(None)
        self._frames.clear()

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or frame in self._frames or not is_counted(frame):
            return
        self._frames.add(frame)
        self.calls.append(frame.f_code)

    @property
    def functions(self) -> int:
        return len(set(self.calls))

    @property
    def files(self) -> int:
        return len({call.co_filename for call in self.calls})

    @property
    def changes(self) -> int:
        files = [call.co_filename for call in self.calls]
        return sum(one != other for one, other in pairwise(files))


class Operation(NamedTuple):
    """An operation that was counted."""

    name: str
    hops: Hops


def is_counted(frame: FrameType) -> bool:
    """Tell whether a frame is that of a function of the package."""
    code = frame.f_code
    is_class_body = "__qualname__" in code.co_names and "__module__" in code.co_names
    is_ours = code.co_filename.startswith(EXPANSION) or PACKAGE in Path(code.co_filename).parents
    return is_ours and code.co_name not in SKIPPED and not is_class_body


async def count(name: str, work: Work) -> Operation:
    """Carry ``work`` out three times, and count the third."""
    await work()
    await work()
    await asyncio.sleep(0)  # what the event loop still has to do for the operation before is none of this one
    with Hops() as hops:
        await work()
    return Operation(name, hops)


async def count_adapters(config: dict[str, Any]) -> list[Operation]:
    """Count what strategies call."""
    signal = SignalAdapter("BTCUSDT", "my_strategy", "binance")
    candles: Any = CandleAdapter("BTCUSDT", "1m", "binance")
    end = FIRST_MS + CANDLES * MINUTE_MS
    async with setup(config):
        await candles.write_candles_data([candle(FIRST_MS + place * MINUTE_MS) for place in range(CANDLES)])
        # The read comes after the write, which leaves the id in the cache.
        counted = [
            await count("lone write", lambda: signal.write_signal_data({"id": "s-1", "priceOpen": 50_000.5})),
            await count("lone warm read", signal.read_signal_data),
            await count(f"window of {WINDOW}, in memory", lambda: candles.read_candles_data(WINDOW, FIRST_MS)),
        ]
    async with setup(config, CC_CANDLE_CACHE_MB=0):
        counted += [
            await count(f"window of {WINDOW}, fetched", lambda: candles.read_candles_data(WINDOW, FIRST_MS)),
            await count("sealed frame", lambda: candles.read_frame(FIRST_MS, end, as_="numpy")),
        ]
    await close()
    return counted


def candle(time: int) -> dict[str, float]:
    return {"timestamp": time, "open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "volume": 7.0}


def count_command(config: dict[str, Any], *arguments: str) -> Operation:
    """Count a command of the command line, in this process."""
    scripts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["backtest-mongo"].partition(":")
    main = getattr(importlib.import_module(module), name)
    os.environ.update({key: str(value) for key, value in config.items()})
    sys.argv = ["backtest-mongo", *arguments]

    def run() -> None:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), suppress(SystemExit):
            main()

    run()
    run()
    with Hops() as hops:
        run()
    return Operation(" ".join(arguments), hops)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--show", metavar="TEXT", help="list the calls of operations whose names contain TEXT")
    shown = parser.parse_args().show
    with embedded.Servers() as servers:
        operations = asyncio.run(count_adapters(servers.config))
        operations.append(count_command(servers.config, "inspect", "signal", "BTCUSDT"))
    print(f"{'operation':24}{'functions':>10}{'files':>7}{'changes':>9}")
    for name, hops in operations:
        print(f"{name:24}{hops.functions:>10}{hops.files:>7}{hops.changes:>9}")
    for name, hops in operations:
        if shown is not None and shown in name:
            print(f"\n{name}")
            for call in hops.calls:
                file = call.co_filename.removeprefix(f"{PACKAGE}{os.sep}")
                print(f"  {file}:{call.co_firstlineno} {call.co_qualname}")


if __name__ == "__main__":
    main()

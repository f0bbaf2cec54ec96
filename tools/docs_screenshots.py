"""Take the screenshots of the documentation: ``python tools/docs_screenshots.py`` writes ``docs/*.svg``.

Runs the commands on embedded servers with the demo's candles and a few rows, and draws what they print to a terminal.
Needs the extra ``demo``.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from backtest_mongo import CandleAdapter, SignalAdapter, StateAdapter, embedded, get_mongo, setup
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
COLUMNS: Final = 108
#: The name of each picture, and its command.
PICTURES: Final = {
    "doctor": ("doctor",),
    "coverage": ("candles", "coverage"),
    "demo": ("demo", "--bars", "1000", "--seed", "1"),
}
#: Rich's pictures load a font from the internet; any monospaced font will do.
_FONT: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)

_COLOUR: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR: Final = re.compile(r"^\s*(\w+) .*/\d+ bars")


async def fill(config: dict[str, object]) -> None:
    """Store what the pictures show: candles with two gaps, a few rows, and an index that conflicts."""
    market = load_candles()
    async with setup(config):
        await CandleAdapter(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market[:2000] + market[2120:4000])
        await CandleAdapter("GBPUSD", INTERVAL, EXCHANGE).write_candles_data(market[:240] + market[264:1200])
        await SignalAdapter(SYMBOL, "my_strategy", EXCHANGE).write_signal_data({"id": "s-1", "priceOpen": 1.07})
        for number in range(40):
            await StateAdapter(f"signal-{number}", "counter").write_state_data(
                {"n": number}, when=market[number]["timestamp"]
            )
        database = (await get_mongo()).get_default_database("backtest-kit")
        keys = [("strategyName", 1), ("exchangeName", 1), ("frameName", 1)]
        await database["session-items"].create_index(keys, unique=True)
        # Sizes on disk are as of the last checkpoint.
        await database.client.admin.command("fsync")


def _keep_final_lines(output: str) -> str:
    """Return what a terminal shows in the end: of each progress bar the last state, and no path of this machine."""
    lines = output.rstrip().splitlines()
    last = {bar: at for at, line in enumerate(lines) for bar in _BAR.findall(_COLOUR.sub("", line))}
    kept = (line for at, line in enumerate(lines) if not _BAR.search(_COLOUR.sub("", line)) or at in last.values())
    return re.sub(r"(picture: ).*/", r"\1", "\n".join(kept)) + "\n"


def draw_command(name: str, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """Run a command, and draw its output."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-m", "backtest_mongo", *arguments],
            cwd=directory,
            env={**os.environ, **environment, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    command = " ".join(("backtest-mongo", *arguments))
    console.print(Text(f"$ {command}", "bold"))
    console.print(Text.from_ansi(_keep_final_lines(done.stdout)))
    picture = console.export_svg(title=command, unique_id=name)
    (DOCS / f"{name}.svg").write_text(_FONT.sub("", picture))


def main() -> None:
    wanted = sys.argv[1:] or list(PICTURES)
    with embedded.Servers() as servers:
        asyncio.run(fill(servers.config))
        environment = {key: str(value) for key, value in servers.config.items()}
        for name in wanted:
            # The demo starts servers of its own, as on a reader's machine.
            draw_command(name, PICTURES[name], {} if name == "demo" else environment)


if __name__ == "__main__":
    main()

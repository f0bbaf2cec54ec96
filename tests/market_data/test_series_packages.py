"""Files of trades, irregular bars and adjusted prices that packages on PyPI carry, stored as polars reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from backtest_mongo import Column, SlotSpec, TradeAdapter, persist
from backtest_mongo.market_data import SeriesOptions, export_series, import_series
from tests.conftest import Deployment
from tests.support.packages import download, unpack

pytestmark = [pytest.mark.either_driver, pytest.mark.packages, pytest.mark.timeout(600)]

TICKS = "mlfinpy/dataset/data/tick_data.csv"
#: Funds whose closing prices are in the columns of one file.
FUNDS = (
    *("EEM", "EWG", "TIP", "EWJ", "EFA", "IEF", "EWQ", "EWU", "XLB", "XLE", "XLF", "LQD", "XLK", "XLU", "EPP", "FXI"),
    *("VGK", "VPL", "SPY", "TLT", "BND", "CSJ", "DIA"),
)


@dataclass(frozen=True)
class File:
    """A file of a package.

    Attributes:
        time: the name of its times.
        form: how these are written.
        columns: the types of its columns by their names.
        symbol: the name of its symbols; empty if it is of one.
    """

    time: str
    form: str
    columns: dict[str, Any]
    symbol: str = ""

    def list_columns(self) -> tuple[Column, ...]:
        return tuple(Column(to_snake(name), kind) for name, kind in self.columns.items())

    def read(self, path: Path) -> pl.DataFrame:
        """Return what polars reads, with the slot's names and times in microseconds."""
        kinds = {"float64": pl.Float64, "int64": pl.Int64}
        frame = pl.read_csv(path, schema_overrides={name: kinds[kind] for name, kind in self.columns.items()})
        return frame.select(
            (pl.col(self.symbol) if self.symbol else pl.lit("any")).alias("symbol"),
            pl.col(self.time).str.to_datetime(self.form, time_unit="us").dt.epoch("us").alias("timestamp"),
            *(pl.col(name).alias(to_snake(name)) for name in self.columns),
        )


def to_snake(name: str) -> str:
    return name.lower().replace(" ", "_")


def floats(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, "float64")


ADJUSTED = {**floats("Open", "High", "Low", "Close", "Adj Close"), "Volume": "int64"}
FILES = {
    # Trades without an id, so of those of a millisecond the last one is stored.
    TICKS: File("DateTime", "%Y-%m-%d %H:%M:%S%.f", {"Price": "float64", "Volume": "int64"}),
    # A bar ends once so many dollars were traded.
    "mlfinpy/dataset/data/dollar_bar_sample.csv": File(
        "date_time",
        "%Y-%m-%d %H:%M:%S%.f",
        {**floats("open", "high", "low", "close", "cum_dollar"), "cum_vol": "int64", "cum_ticks": "int64"},
    ),
    "mlfinpy/dataset/data/stock_prices.csv": File("Date", "%Y-%m-%d", floats(*FUNDS)),
    "bokeh_sampledata/_data/stocks.csv.gz": File("Date", "%Y-%m-%d", ADJUSTED, "Ticker"),
    "arch/data/nasdaq/nasdaq.csv.gz": File("Date", "%m/%d/%Y", ADJUSTED),
    "arch/data/sp500/sp500.csv.gz": File("Date", "%m/%d/%Y", ADJUSTED),
    "vega_datasets/_data/stocks.csv": File("date", "%b %d %Y", floats("price"), "symbol"),
}


def read_bits(frame: pl.DataFrame) -> dict[str, list[int]]:
    """Return the values of the columns, of floats the bits."""
    found = {}
    for column in frame.iter_columns():
        assert column.null_count() == 0
        values = column.to_physical().to_numpy()
        found[column.name] = (values.view(np.int64) if values.dtype == np.float64 else values).tolist()
    return found


@pytest.mark.parametrize("member", FILES)
async def test_file_of_a_package_is_stored_as_polars_reads_it(
    deployment: Deployment, unique: str, member: str, downloads: Path, tmp_path: Path
) -> None:
    file = FILES[member]
    path = unpack(download(member.partition("/")[0], downloads), member, tmp_path)
    spec = persist.register(
        SlotSpec(
            name=f"own_{unique[-8:].lower()}",
            shape="series",
            context=("symbol",),
            key=("symbol", "timestamp"),
            unit="us",
            columns=file.list_columns(),
        )
    ).spec
    own: Any = persist._get_implementation(spec)
    report = await import_series(own, {} if file.symbol else {"symbol": "any"}, [path])
    frame = file.read(path)
    assert (report.is_complete, report.rows, report.bad_lines) == (True, len(frame), 0)
    assert len(frame) > 500
    expected = frame.unique(["symbol", "timestamp"], keep="last").sort("symbol", "timestamp")
    assert (report.new, report.present) == (len(expected), len(frame) - len(expected))
    parts = expected.partition_by("symbol", as_dict=True, include_key=False)
    assert [(context["symbol"],) async for context in own.list_contexts()] == sorted(parts)
    for (symbol,), part in parts.items():
        stored = await own(symbol).read_frame()
        assert stored.columns == part.columns
        assert read_bits(stored) == read_bits(part)


async def test_trades_of_a_package_are_exported_and_made_candles_of(
    deployment: Deployment, unique: str, downloads: Path, tmp_path: Path
) -> None:
    path = unpack(download("mlfinpy", downloads), TICKS, tmp_path)
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([f"id,{header}", *(f"{number},{line}" for number, line in enumerate(lines))]))
    context = {"symbol": unique, "exchange_name": "cme"}
    options = SeriesOptions(columns={"trade_id": "id", "amount": "Volume"})
    adapter: Any = persist._get_implementation(TradeAdapter.spec)
    report = await import_series(adapter, context, [path], options=options)
    assert (report.is_complete, report.new, report.present) == (True, 500_000, 0)
    frame = FILES[TICKS].read(path)
    expected = frame.select("timestamp", "price", pl.col("volume").cast(pl.Float64).alias("amount"))
    trades = adapter(**context)
    for ending in (".csv", ".parquet"):
        exported = tmp_path / f"trades{ending}"
        assert await export_series(trades, exported) == 500_000
        copy = {**context, "symbol": f"{unique} copy {ending}"}
        assert (await import_series(adapter, copy, [exported])).new == 500_000
        stored = await adapter(**copy).read_frame(columns=["price", "amount"])
        assert stored["trade_id"].to_list() == list(range(500_000))
        assert read_bits(stored.drop("trade_id")) == read_bits(expected)
    minutes = frame.with_columns(pl.from_epoch("timestamp", "us").set_sorted()).group_by_dynamic(
        "timestamp", every="1m"
    )
    price = pl.col("price")
    candles = minutes.agg(
        open=price.first(),
        high=price.max(),
        low=price.min(),
        close=price.last(),
        volume=pl.col("volume").sum().cast(pl.Float64),
    ).with_columns(pl.col("timestamp").dt.epoch("ms"))
    assert read_bits(await trades.resample("1m")) == read_bits(candles)

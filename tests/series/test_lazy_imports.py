"""Libraries of arrays are imported when a series is long enough to need them, and not before."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from tests.conftest import Deployment
from tests.support.uniform import candles

pytestmark = pytest.mark.either_driver


LIBRARIES = "print(*sorted({'numpy', 'polars', 'pandas', 'pyarrow', 'pcodec'} & set(sys.modules)))"


def run(code: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_importing_the_package_imports_no_library_of_arrays() -> None:
    assert run(f"from backtest_mongo import *; import sys; {LIBRARIES}") == ""


async def test_small_writes_and_reads_import_no_library_of_arrays(deployment: Deployment, unique: str) -> None:
    code = f"""
import asyncio, sys, backtest_mongo
async def main():
    async with backtest_mongo.setup():
        series = backtest_mongo.CandleAdapter("BTCUSDT", "1m", "{unique}")
        assert await series.write_candles_data({candles(3)!r}) == 3
        assert await series.read_candles_data(3, 0) == {candles(3)!r}
asyncio.run(main())
{LIBRARIES}
"""
    assert await asyncio.to_thread(run, code, **{name: str(value) for name, value in deployment.config.items()}) == ""

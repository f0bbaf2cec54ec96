"""Times at the ends of what 64 bits hold, and what is no time: an answer or an error that names the argument."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from backtest_mongo import InputError, SlotSpec, types
from backtest_mongo.core.candle_rules import END, START
from backtest_mongo.series.rows import CandleRows
from tests.conftest import Deployment
from tests.support import uniform

pytestmark = [pytest.mark.either_driver, pytest.mark.files]

LEAST, MOST = -(2**63), 2**63 - 1


class Broken(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise RuntimeError("no such place")

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        raise RuntimeError("no such place")


#: Held by 64 bits.
HELD = (LEAST, LEAST + 1, LEAST + 2**30, -1, MOST - 2**30, MOST - 1, MOST, np.int64(LEAST), np.int64(MOST))
DATES = (
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    pd.Timestamp.min.tz_localize("UTC"),
    pd.Timestamp.max.tz_localize("UTC"),
)
#: No times at all.
REFUSED: tuple[Any, ...] = (
    *(LEAST - 1, MOST + 1, 10**30, np.uint64(2**64 - 1), 1.5, 0.0, math.inf, math.nan, True, False, "1", b"1"),
    *(
        [],
        {},
        object(),
        pd.NaT,
        pd.NA,
        np.datetime64("NaT", "ms"),
        np.timedelta64(5, "ms"),
        np.timedelta64("NaT", "ms"),
    ),
    *(np.float64(1), np.bool_(True), datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=Broken()), timedelta(1)),
)


@pytest.mark.shapes("document", "entry", "bucket")
async def test_when_may_be_anything_that_64_bits_hold(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    if not spec.when:
        return
    payload = uniform.payload(spec)
    for number, when in enumerate((*HELD, *DATES)):
        adapter = uniform.adapter(spec, f"{unique}-{number}")
        await uniform.write(adapter, payload, when=when)
        assert await uniform.read(adapter, when=when) == payload
        assert await uniform.read(adapter, when=LEAST) == (
            payload if when in (LEAST, np.int64(LEAST)) else uniform.nothing(spec)
        )


@pytest.mark.shapes("document", "entry", "bucket")
async def test_invalid_when_is_named(deployment: Deployment, unique: str, spec: SlotSpec) -> None:
    if not spec.when:
        return
    adapter = uniform.adapter(spec, unique)
    for when in REFUSED:
        with pytest.raises(InputError, match=r"when must "):
            await uniform.write(adapter, uniform.payload(spec), when=when)
        with pytest.raises(InputError, match=r"when must "):
            await uniform.read(adapter, when=when)


def _adapter(interval: str, name: str) -> Any:
    return uniform.ADAPTERS["candle"]("BTCUSDT", interval, name)


def _reads(candles: Any, time: Any) -> dict[str, Any]:
    return {
        "read": lambda: candles.read_candles_data(1, time),
        "read many": lambda: candles.read_candles_data(600, time),
        "until": lambda: candles.read_candles_data(1, 0, time),
        "frame from": lambda: candles.read_frame(time, as_="numpy"),
        "frame to": lambda: candles.read_frame(None, time, as_="numpy"),
        "frame of": lambda: candles.read_frame(time, time, as_="numpy"),
        "gaps from": lambda: candles.gaps(time),
        "gaps to": lambda: candles.gaps(None, time),
        "gaps of": lambda: candles.gaps(time, time),
    }


async def _outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await call()
    except InputError as error:
        return error


@pytest.mark.parametrize("many", [1, 512])
async def test_candles_are_read_at_any_time(
    deployment: Deployment, unique: str, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CandleRows, "many", many)
    for interval in ("1m", "1d"):
        candles = _adapter(interval, unique)
        for _ in range(2):  # without rows, and with some
            for time in (*HELD, *DATES):
                for name, read in _reads(candles, time).items():
                    outcome = await _outcome(read)
                    assert not isinstance(outcome, InputError) or "64 bits" in str(outcome), (name, time)
            await candles.write_candles_data(uniform.candles(1))


async def test_invalid_times_of_candles_are_named(deployment: Deployment, unique: str) -> None:
    candles = _adapter("1m", unique)
    for time in REFUSED:
        for read in _reads(candles, time).values():
            with pytest.raises(InputError, match=r"(since_timestamp|until_timestamp|start|end) must "):
                await read()
        with pytest.raises(InputError, match=r"candles\[0\]\.timestamp must "):
            await candles.write_candles_data([{**uniform.candles(1)[0], "timestamp": time}])


async def test_candles_are_written_at_any_time_or_refused_by_name(deployment: Deployment, unique: str) -> None:
    for interval in ("1m", "1d"):
        candles = _adapter(interval, unique)
        for time in (*HELD, *DATES):
            row = {**uniform.candles(1)[0], "timestamp": time}
            outcome = await _outcome(partial(candles.write_candles_data, [row]))
            is_possible = START <= types.to_millis(cast("types.When", time)) < END
            assert isinstance(outcome, InputError) != is_possible, time
            if isinstance(outcome, InputError):
                assert "candles[0] can't be a candle: its time is outside of the years 1 to 9999" in str(outcome)
        times = np.array([time for time in (*HELD, 0, 2**33, 2**40) if isinstance(time, int)], np.int64)
        prices = {name: np.ones(len(times)) for name in ("open", "high", "low", "close", "volume")}
        report = await candles.write_frame({"timestamp": times, **prices})
        assert "its time is outside of the years 1 to 9999" in report.refused
        frame = await candles.read_frame(as_="numpy")
        stored = frame["timestamp"].astype(np.int64).tolist()
        assert stored == sorted(stored)
        assert len(stored) >= 3
        assert (await candles.coverage()).rows == len(stored)
        await candles.seal()
        assert (await candles.verify()).damaged == {}
        assert (await candles.read_frame(as_="numpy"))["timestamp"].astype(np.int64).tolist() == stored
        await candles.gaps()

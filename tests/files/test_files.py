"""The storage in files: Node's files, files of killed writers, and concurrent writers."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import backtest_mongo
from backtest_mongo import SLOTS, ConflictError, SlotSpec, StoreError, StoreUnavailableError, persist
from backtest_mongo.files import directory_lock, disk
from backtest_mongo.files.directory_lock import lock_directory
from backtest_mongo.files.layout import get_engine_fields
from tests.files.test_file_names import NODE_S
from tests.support import uniform
from tests.support.counting import TASKS
from tests.support.deadlines import PROCESS_SECONDS
from tests.support.uniform import candles

ROOT = Path(backtest_mongo.__file__).parent.parent
MINUTE = 60_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    persist.use_files(tmp_path)
    return tmp_path


def worker(*arguments: str, cwd: Path = ROOT, **options: Any) -> subprocess.Popen[str]:
    # Without the variables that name servers, as no server is needed.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CC_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-W", "error", "-m", "tests.support.files_worker", *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, **options)


def put(root: Path, path: str, value: Any, written: float = 1_700_000_000) -> Path:
    """Write a file as the Node package does."""
    file = root / f"{path}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")
    os.utime(file, (written, written))
    return file


def unfinished(root: Path) -> list[Path]:
    return list(root.rglob(".tmp-*"))


def everything(root: Path) -> list[Path]:
    return list(root.rglob("*"))


def entities(root: Path) -> list[str]:
    """Return what is in all files that Node's readers take for entities."""
    found = (path for path in root.rglob("*") if path.name.endswith(".json") and not path.name.startswith(".tmp-"))
    return sorted(path.read_text(encoding="utf-8") for path in found)


# Where files are


async def test_directory_is_that_of_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    persist.use_files()
    state = persist.state("s", "b")
    persist.use_files("elsewhere")
    monkeypatch.chdir("/")
    assert everything(tmp_path) == []
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    await state.write_state_data({"n": 2}, 1)
    assert json.loads((tmp_path / "elsewhere" / "state" / "s" / "b" / "b.json").read_text()) == {"n": 1}
    assert json.loads((tmp_path / "dump" / "state" / "s" / "b" / "b.json").read_text()) == {"n": 2}


async def test_registered_slot_stores_in_files_too(root: Path) -> None:
    persist.register(
        SlotSpec(
            name="files_book",
            shape="bucket",
            soft_delete=True,
            context=("symbol",),
            key=("symbol", "side"),
            redis=("symbol", "side"),
        )
    )
    slot: Any = persist.files_book("BTC/USDT")  # type: ignore[attr-defined]  # registered above
    await slot.write_files_book_data({"price": 1}, "bid")
    assert await slot.read_files_book_data("bid") == {"price": 1}
    assert (root / "data" / "files_book" / "BTC%2FUSDT" / "bid.json").is_file()


# Node's files


async def test_versions_that_files_can_t_keep_are_refused_before_anything_is_written(root: Path) -> None:
    backtest_mongo.set_config(CC_HISTORY="state,memory,log")
    state, memory, log = persist.state("s", "b"), persist.memory("s", "b"), persist.log()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: state.write_state_data({"n": 1}, 1),
        lambda: state.read_state_data(),
        lambda: state.wait_for_init(),
        lambda: type(state).read_many([state.context]),
        lambda: memory.write_memory_data({"n": 1}, "a", 1),
        lambda: memory.remove_memory_data("a"),
        lambda: log.write_log_data([{"id": "a"}]),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"JSON files keep no versions of rows.*leave the slot out of CC_HISTORY"):
            await call()
    assert everything(root) == []
    await persist.signal("BTCUSDT", "s", "x").write_signal_data({"n": 1})
    backtest_mongo.set_config(CC_HISTORY=None)
    await state.write_state_data({"n": 1}, 1)
    assert await state.read_state_data() == {"n": 1}


async def test_node_s_files_are_read(root: Path) -> None:
    row = {"id": "x", "minuteEstimatedTime": None, "note": None, "when": 5}
    for slot, key, path in NODE_S:
        spec = next(spec for spec in SLOTS if spec.name == slot)
        held: Any = [["sma:BTCUSDT", row]] if spec.payload == "list" else {**row, "id": str(key[-1])}
        put(root, path, candles(1)[0] if spec.shape == "series" else held)
        adapter: Any = getattr(persist, slot)(*(key[spec.key.index(field)] for field in spec.context_fields))
        if spec.shape == "series":
            assert await adapter.read_candles_data(1, key[-1]) == [{**candles(1)[0], "timestamp": key[-1]}]
            continue
        endless = {"minuteEstimatedTime": math.inf} if get_engine_fields(spec).endless and slot != "strategy" else {}
        found = await uniform.read(adapter, str(key[-1]))
        match spec.shape:
            case "collection":
                assert found == [{name: value for name, value in (row | endless).items() if name != "id"}]
            case _ if spec.payload == "list":
                assert found == [["sma:BTCUSDT", row | endless]]
            case _:
                assert found == held | endless


async def test_ambiguous_name_of_node_s_is_decided_by_the_payload(root: Path) -> None:
    put(root, "data/signal/BTC_USDT_sma_okx/BTC_USDT", {"id": "x"})
    assert await persist.signal("BTC_USDT", "sma", "okx").read_signal_data() is None
    row = {"id": "x", "symbol": "BTC_USDT", "strategyName": "sma", "exchangeName": "okx"}
    put(root, "data/signal/BTC_USDT_sma_okx/BTC_USDT", row)
    assert await persist.signal("BTC_USDT", "sma", "okx").read_signal_data() == row
    await persist.signal("BTC_USDT", "sma", "okx").write_signal_data({"id": "y"})
    assert await persist.signal("BTC_USDT", "sma", "okx").read_signal_data() == {"id": "y"}
    assert await persist.signal("BTC", "USDT_sma", "okx").read_signal_data() is None


async def test_name_that_only_node_gives_is_found(root: Path) -> None:
    measure = persist.measure("b")
    put(root, "data/measure/b/BTCUSDT:1h", {"n": 1})
    put(root, "data/measure/b/.hidden", {"n": 2})
    put(root, "data/measure/b/.tmp-3f", {"n": 3})
    assert await measure.read_measure_data("BTCUSDT:1h") == {"n": 1}
    assert [key async for key in measure.list_measure_data()] == [".hidden", "BTCUSDT:1h"]
    await measure.remove_measure_data("BTCUSDT:1h")
    assert await measure.read_measure_data("BTCUSDT:1h") is None
    assert [key async for key in measure.list_measure_data()] == [".hidden"]
    assert await measure.read_measure_data(".tmp-3f") is None
    put(root, "data/measure/a:b/k", {"n": 4})
    assert [key async for key in persist.measure("a:b").list_measure_data()] == ["k"]


async def test_simulation_time_of_node_s_row_is_its_own_or_its_file_s(root: Path) -> None:
    interval, state = persist.interval("b"), persist.state("s", "b")
    put(root, "data/interval/b/own", {"when": 50})
    put(root, "data/interval/b/none", {"n": 1}, written=1_700_000_000)
    put(root, "data/interval/b/text", {"when": "yesterday"}, written=1_700_000_000)
    put(root, "data/interval/b/gone", {"when": 50, "removed": True})
    for when, keys in ((49, []), (50, ["own"]), (1_700_000_000_000, ["none", "own", "text"])):
        assert [key async for key in interval.list_interval_data(when)] == keys
    assert await interval.read_interval_data("none", 1_699_999_999_999) is None
    # Written here, and then by Node: the time in the sidecar is not that of the new payload.
    await state.write_state_data({"n": 1}, 10)
    assert await state.read_state_data(10) == {"n": 1}
    put(root, "state/s/b/b", {"n": 2, "when": 20})
    assert await state.read_state_data(19) is None
    assert await state.read_state_data(20) == {"n": 2, "when": 20}


async def test_node_s_rows_are_sorted_by_the_time_of_their_files_and_keep_their_place(root: Path) -> None:
    log = persist.log()
    for second, name in enumerate("cab"):
        put(root, f"data/log/log/{name}", {"id": name}, written=1_700_000_000 + second)
    await log.write_log_data([{"id": "d"}, {"id": "a", "again": True}])
    assert [row["id"] for row in await log.read_log_data()] == ["c", "a", "b", "d"]
    assert [row["id"] for row in await log.read_log_data(2)] == ["b", "d"]


async def test_node_reads_what_is_written(root: Path) -> None:
    """Every file that is an entity for Node is a row, and holds only the payload."""
    await persist.signal("BTCUSDT", "sma", "okx").write_signal_data({"id": "x", "minuteEstimatedTime": math.inf})
    await persist.memory("s", "b").write_memory_data({"n": 1}, "x" * 300, 1)
    await persist.memory("s", "b").write_memory_data({"n": 2}, "y", 1)
    assert entities(root) == ['{"id":"x","minuteEstimatedTime":null}', '{"n":1}', '{"n":2}']


# Failures


async def test_writer_that_is_killed_between_its_two_files_has_changed_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, log = persist.state("s", "b"), persist.log()
    await state.write_state_data({"n": 1}, 10)
    replace = os.replace

    def fails(source: str, target: str) -> None:
        if target.endswith(".json"):
            raise OSError(5, "Input/output error", target)
        replace(source, target)

    for when in (5, 20):
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", fails)
            with pytest.raises(StoreError, match=r"^state: writing failed: Input/output error: .*b\.json"):
                await state.write_state_data({"n": 2}, when)
            with pytest.raises(StoreError):
                await log.write_log_data([{"id": "x"}])
        assert await state.read_state_data(9) is None
        assert await state.read_state_data(10) == {"n": 1}
    assert await log.read_log_data() == []
    assert unfinished(root) == []
    await state.write_state_data({"n": 1}, 30)
    assert await state.read_state_data(29) is None


@pytest.mark.heavy
async def test_killed_writers_leave_no_broken_row(root: Path) -> None:
    chance = random.Random(1)
    last = 0
    for _ in range(4):
        with worker("state", str(root)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            await asyncio.sleep(chance.uniform(0.05, 0.4))  # any moment will do for the kill
            process.send_signal(signal.SIGKILL)
        state: Any = await persist.state("s", "one").read_state_data()
        if state is not None:
            last = state["n"]
            assert state["pad"] == "x" * (last * 997 % 50_000)
            assert await persist.state("s", "one").read_state_data(last) == state
            assert await persist.state("s", "one").read_state_data(last - 1) is None
        async for key, row in persist.memory("s", "b").list_memory_data():
            assert int(key) == row["n"] % 7
            assert await persist.memory("s", "b").read_memory_data(key, row["n"] - 1) is None
            assert await persist.memory("s", "b").read_memory_data(key, row["n"]) == row
        for item in await persist.storage(True).read_storage_data():
            assert item["pad"] == "x" * (item["n"] * 997 % 50_000)
        series = persist.candle("BTCUSDT", "1m", "x")
        coverage = await series.coverage()
        for first in range(coverage.first or 0, coverage.last or 0, MINUTE):
            assert await series.read_candles_data(1, first) in (None, candles(1, first=first))
    assert last > 0
    await persist.state("s", "one").write_state_data({"n": 0}, 1)
    assert unfinished(root / "state") == []


async def test_broken_file_is_named_and_does_not_hide_others(root: Path) -> None:
    put(root, "data/measure/b/bad", {})
    (root / "data/measure/b/bad.json").write_text('{"n": 1')
    put(root, "data/candle/x/BTC/1m/0", {"open": 1})
    await persist.measure("b").write_measure_data({"n": 1}, "good")
    assert await persist.measure("b").read_measure_data("good") == {"n": 1}
    with pytest.raises(StoreError, match=r"^measure: reading failed: .*bad\.json holds no JSON \(repair or remove"):
        await persist.measure("b").read_measure_data("bad")
    with pytest.raises(StoreError, match=r"^candle: reading failed: .*0\.json holds no candle \(repair or remove"):
        await persist.candle("BTC", "1m", "x").read_candles_data(1, 0)
    await persist.measure("b").write_measure_data({"n": 2}, "bad")
    assert await persist.measure("b").read_measure_data("bad") == {"n": 2}


async def test_file_in_place_of_a_directory_is_an_error_with_its_path(root: Path) -> None:
    (root / "data").write_text("a file")
    assert await persist.log().read_log_data() == []
    with pytest.raises(StoreError, match=r"^log: writing failed: .*data/log .*check the directory"):
        await persist.log().write_log_data([{"id": "x"}])


async def test_writer_does_not_wait_forever_for_another(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await persist.state("s", "b").write_state_data({"n": 1}, 1)
    monkeypatch.setattr(directory_lock, "LOCK_SECONDS", 0.05)
    with lock_directory(str(root / "state" / "s" / "b")):
        with pytest.raises(
            StoreUnavailableError, match=r"another process holds the lock on .*/state/s/b .*nothing was written"
        ):
            await persist.state("s", "b").write_state_data({"n": 2}, 1)
        assert await persist.state("s", "b").read_state_data() == {"n": 1}


async def test_directory_removed_before_locking_is_created_again(root: Path) -> None:
    import shutil

    state = persist.state("s", "b")
    for number in range(3):
        await state.write_state_data({"n": number}, 1)
        assert await state.read_state_data() == {"n": number}
        shutil.rmtree(root / "state")
        assert await state.read_state_data() is None


# Concurrency


async def test_writes_of_one_key_keep_their_order_and_reads_see_one_of_them(root: Path) -> None:
    state = persist.state("s", "b")
    for _ in range(3):
        writes = [state.write_state_data({"n": number}, number) for number in range(30)]
        reads: list[Any] = [state.read_state_data() for _ in range(30)]
        found = (await asyncio.gather(*writes, *reads))[30:]
        assert await state.read_state_data(29) == {"n": 29}
        assert await state.read_state_data(28) is None
        assert all(row is None or set(row) == {"n"} for row in found)


async def test_cancelled_write_ends_before_its_caller_resumes(root: Path) -> None:
    state = persist.state("s", "b")
    for number in range(20):
        writing = asyncio.create_task(state.write_state_data({"n": number}, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await state.read_state_data() == {"n": number}
        assert unfinished(root) == []


async def test_two_processes_that_count_with_versions_lose_no_count(root: Path) -> None:
    with worker("count", str(root), "5") as one, worker("count", str(root), "5") as other:
        outputs = [await asyncio.to_thread(process.communicate, timeout=PROCESS_SECONDS) for process in (one, other)]
    assert sorted(int(output) for output, _ in outputs) == [0, 1]  # of all tasks one has stored the row first
    assert await persist.memory("s", "b").read_memory_data("counter") == {"n": 2 * TASKS * 5}


async def test_two_keys_of_one_path_have_versions_of_their_own(root: Path) -> None:
    one, other = persist.signal("BTC", "a_b", "c"), persist.signal("BTC", "a", "b_c")
    absent = (await one.read_signal_data(with_version=True)).version
    await one.write_signal_data({"n": 1}, if_absent=True)
    await other.write_signal_data({"n": 2}, if_absent=True)
    for adapter, number in ((one, 1), (other, 2)):
        value, version = await adapter.read_signal_data(with_version=True)
        assert value == {"n": number}
        assert version != absent
        for condition in ({"if_absent": True}, {"expect": absent}):
            with pytest.raises(ConflictError) as caught:
                await adapter.write_signal_data({"n": 9}, **condition)
            assert (caught.value.found, caught.value.version) == (value, version)
        await adapter.write_signal_data({"n": number + 10}, expect=version)
    assert await one.read_signal_data() == {"n": 11}
    assert await other.read_signal_data() == {"n": 12}


async def test_row_is_compared_under_the_lock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = persist.signal("BTC", "a", "c")
    await adapter.write_signal_data({"n": 1})
    _, version = await adapter.read_signal_data(with_version=True)
    file = root / "data/signal/BTC_a_c/BTC.json"
    waits = threading.Event()
    try_lock = directory_lock._try_lock

    def try_lock_and_tell(directory: str, descriptor: int) -> bool:
        is_locked = try_lock(directory, descriptor)
        if not is_locked:
            waits.set()
        return is_locked

    monkeypatch.setattr(directory_lock, "_try_lock", try_lock_and_tell)
    with lock_directory(str(file.parent)):
        writing = asyncio.ensure_future(adapter.write_signal_data({"n": 3}, expect=version))
        assert await asyncio.to_thread(waits.wait, PROCESS_SECONDS)
        file.write_text('{"n":2}', encoding="utf-8")
    with pytest.raises(ConflictError) as caught:
        await writing
    assert caught.value.found == {"n": 2}


async def test_refused_write_makes_no_directory(root: Path) -> None:
    with pytest.raises(ConflictError):
        await persist.state("s", "b").write_state_data({"n": 1}, 0, expect=f"v1-{0:032}")
    assert os.listdir(root) == []


async def test_file_that_holds_no_json_is_an_error_for_a_conditional_write(root: Path) -> None:
    file = put(root, "data/signal/BTC_a_c/BTC", {"n": 1})
    adapter = persist.signal("BTC", "a", "c")
    _, version = await adapter.read_signal_data(with_version=True)
    file.write_text("{", encoding="utf-8")
    for condition in ({"if_absent": True}, {"expect": version}):
        with pytest.raises(StoreError, match="holds no JSON"):
            await adapter.write_signal_data({"n": 2}, **condition)
    assert file.read_text(encoding="utf-8") == "{"


async def test_two_processes_share_a_directory(root: Path) -> None:
    with worker("share", str(root), "1") as one, worker("share", str(root), "2") as other:
        outputs = [await asyncio.to_thread(process.communicate, timeout=PROCESS_SECONDS) for process in (one, other)]
    new = [int(output) for output, _ in outputs]
    assert sum(new) == 39 * 10 + 20  # each candle was new to only one of them
    names = [f"{name}-{number:02}" for name in "12" for number in range(40)]
    assert [key async for key, _ in persist.memory("s", "b").list_memory_data()] == names
    logged = [row["id"] for row in await persist.log().read_log_data()]
    assert sorted(logged) == names
    for name in "12":
        assert [row for row in logged if row.startswith(name)] == [row for row in names if row.startswith(name)]
    state: Any = await persist.state("s", "one").read_state_data()
    when = state["n"] * 10 + int(state["by"])
    assert await persist.state("s", "one").read_state_data(when) == state
    assert await persist.state("s", "one").read_state_data(when - 1) is None
    whole = await persist.candle("BTCUSDT", "1m", "x").read_candles_data(410, 0)
    assert whole is not None
    assert {row["open"] for row in whole} <= {2.0, 3.0}


def test_event_loops_share_a_directory(root: Path) -> None:
    def write(name: str) -> None:
        async def work() -> None:
            memory = persist.memory("s", "b")
            await asyncio.gather(*(memory.write_memory_data({"n": n}, f"{name}{n:02}", n) for n in range(25)))

        asyncio.run(work())

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def keys() -> list[str]:
        return [key async for key, _ in persist.memory("s", "b").list_memory_data()]

    assert asyncio.run(keys()) == [f"{name}{n:02}" for name in "ab" for n in range(25)]


# Candles


async def test_frames_gaps_and_series_are_those_of_the_files(root: Path) -> None:
    series: Any = persist.candle("BTCUSDT", "1m", "x")
    rows = candles(30)
    await series.write_candles_data(rows[:10] + rows[15:])
    frame = await series.read_frame(as_="numpy")
    assert frame["timestamp"].astype("int64").tolist() == [row["timestamp"] for row in rows[:10] + rows[15:]]
    assert (await series.write_frame(frame)).present == 25
    assert [tuple(gap) for gap in await series.gaps(0, 30 * MINUTE)] == [(10 * MINUTE, 15 * MINUTE, 5)]
    assert (await series.coverage()).rows == 25
    assert ((await series.seal()).blocks, (await series.verify()).blocks, (await series.sealed()).blocks) == (0, 0, 0)
    for other in (("ETH_USDT", "1d", "x"), ("x" * 300, "1h", "y" * 300), ("BTC/USDT", "1m", "x")):
        await persist.candle(*other).write_candles_data(candles(1))
    put(root, "data/candle/x/BTCUSDT/7m/0", candles(1)[0])
    put(root, "data/candle/x/%/1m/0", candles(1)[0])  # without a symbol
    found = [tuple(adapter.context.values()) async for adapter in type(series).list_series()]
    assert found == [
        ("BTC/USDT", "1m", "x"),
        ("BTCUSDT", "1m", "x"),
        ("ETH_USDT", "1d", "x"),
        ("x" * 300, "1h", "y" * 300),
    ]


async def test_candle_of_node_s_stays(root: Path) -> None:
    put(root, "data/candle/x/BTCUSDT/1m/0", {**candles(1)[0], "open": 7})
    series = persist.candle("BTCUSDT", "1m", "x")
    assert await series.write_candles_data(candles(2)) == 1
    assert await series.read_candles_data(2, 0) == [{**candles(1)[0], "open": 7.0}, candles(2)[1]]


async def test_candle_that_node_writes_at_the_same_moment_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = disk.stage

    def too_late(directory: str, contents: Iterable[bytes]) -> list[str]:
        staged = stage(directory, contents)
        put(root, "data/candle/x/BTCUSDT/1m/0", {**candles(1)[0], "open": 7})  # Node takes no lock
        return staged

    monkeypatch.setattr(disk, "stage", too_late)
    series = persist.candle("BTCUSDT", "1m", "x")
    assert await series.write_candles_data(candles(2)) == 1
    assert await series.read_candles_data(1, 0) == [{**candles(1)[0], "open": 7.0}]
    assert unfinished(root) == []


async def test_first_candle_wins_without_links_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: str, target: str) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    series = persist.candle("BTCUSDT", "1m", "x")
    assert await series.write_candles_data(candles(2)) == 2
    assert await series.write_candles_data(candles(3, price=9.0)) == 1
    assert await series.read_candles_data(3, 0) == candles(2) + candles(1, first=2 * MINUTE, price=9.0)

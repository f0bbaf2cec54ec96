"""The thread behind synchronous calls: any thread, context variables, forks, Ctrl-C, and the end of the process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import pytest

import backtest_mongo
from backtest_mongo import InputError, sync
from backtest_mongo.sync import portal
from backtest_mongo.sync.portal import block, run
from tests.support.deadlines import PROCESS_SECONDS
from tests.sync.support import ALL, make

STATE = next(spec for spec in backtest_mongo.SLOTS if spec.name == "state")
variable: ContextVar[str] = ContextVar("variable", default="nothing")


@ALL
def test_any_thread(storage: str, unique: str) -> None:
    def write(number: int) -> object:
        state = make(STATE, f"{unique}{number}")
        state.write_state_data({"n": number}, number)
        return state.read_state_data()

    with ThreadPoolExecutor(16) as pool:
        assert [*pool.map(write, range(100))] == [{"n": number} for number in range(100)]
    assert [thread.name for thread in threading.enumerate()].count("backtest_mongo.sync") == 1


async def test_where_an_event_loop_runs() -> None:
    sync.persist.use_dummy()
    state = make(STATE, "loop")
    with pytest.raises(InputError, match=r"read_state_data\(\) can't be called where an event loop is running.*await"):
        state.read_state_data()
    with pytest.raises(InputError, match="use backtest_mongo itself"), sync.transaction():
        pytest.fail("it began")
    assert await asyncio.to_thread(state.read_state_data) is None


async def test_interfaces_that_block_by_contract_do_so_where_an_event_loop_runs() -> None:
    async def answer(value: int, *, more: int) -> int:
        await asyncio.sleep(0)
        return value + more

    assert block(answer, 1, more=2) == 3
    sync_loop = block(asyncio.get_running_loop)
    assert sync_loop is not asyncio.get_running_loop()


def test_context_variables() -> None:
    async def read() -> str:
        return variable.get()

    token = variable.set("something")
    try:
        assert run("read", read) == "something"
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(run, "read", read).result() == "nothing"
    finally:
        variable.reset(token)


def test_calls_of_threads_run_at_once() -> None:
    barrier = run("make", lambda: asyncio.Barrier(8))
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda _: run("meet", barrier.wait), range(8))) == [*range(8)]


PROGRAM = """
import os, signal, sys, threading, time
from backtest_mongo import sync

sync.persist.use_sqlite(sys.argv[1])
state = sync.persist.state("signal", "bucket")
"""


def run_program(path: Path, source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + source, str(path / "backtest.db")],
        capture_output=True,
        text=True,
        timeout=PROCESS_SECONDS,
        check=False,
    )


def test_end_of_the_process(tmp_path: Path) -> None:
    done = run_program(tmp_path, "state.write_state_data({'n': 1}, 1)\nprint('end')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
    assert run_program(tmp_path, "print(state.read_state_data())").stdout == "{'n': 1}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["backtest.db"]  # it was closed: no log is left beside it


def test_end_with_a_watch_and_a_lease(tmp_path: Path) -> None:
    source = """
watching = state.watch().__enter__()
lease = sync.lease(state).__enter__()
state.write_state_data({'n': 1}, 1)
"""
    done = run_program(tmp_path, source)
    assert (done.returncode, done.stderr) == (0, "")


def test_exceptions_at_the_end(tmp_path: Path) -> None:
    done = run_program(tmp_path, "state.write_state_data({'n': 1}, 1)\nraise SystemExit(3)")
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_forked_process(tmp_path: Path) -> None:
    source = """
before = sync.persist.state("signal", "before")
sync.run = None
sync.set_config(CC_RUN="warm")  # which starts no thread
sync.persist.use_dummy(slots=("log",))
sync.persist.log().read_log_data()  # this does
child = os.fork()
if not child:
    state.write_state_data({"n": 1}, 1)
    print(state.read_state_data(), flush=True)
    sys.exit()
_, status = os.waitpid(child, 0)
print(status, state.read_state_data())
"""
    done = run_program(tmp_path, source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'n': 1}\n0 {'n': 1}\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't be sent Ctrl-C there without its neighbours")
def test_interruption(tmp_path: Path) -> None:
    source = """
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for change in state.watch():
        print(change)
except KeyboardInterrupt:
    print("interrupted")
state.write_state_data({"n": 1}, 1)
print(state.read_state_data())
"""
    done = run_program(tmp_path, source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n{'n': 1}\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't be sent Ctrl-C there without its neighbours")
def test_interruption_of_everything(tmp_path: Path) -> None:
    source = """
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
for change in state.watch():
    print(change)
"""
    done = run_program(tmp_path, source)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.endswith("KeyboardInterrupt\n")


def test_errors_of_any_class_come_as_they_are() -> None:
    def fail(error: BaseException) -> None:
        raise error

    for error in (ValueError("my own problem"), ConnectionRefusedError(111, "no server"), TypeError("missing")):
        with pytest.raises(type(error)) as caught:
            run("fail", fail, error)
        assert caught.value is error


def test_threads_that_python_waits_for_go_on_making_calls(tmp_path: Path) -> None:
    source = """
state.write_state_data({"n": -1}, 1)
ending = threading.Event()
def work():
    ending.wait()
    for n in range(5):
        state.write_state_data({"n": n}, n + 1)
        time.sleep(0.05)
threading.Thread(target=work).start()
threading._register_atexit(ending.set)  # which is called before the thread's own end
"""
    done = run_program(tmp_path, source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run_program(tmp_path, "print(state.read_state_data())").stdout == "{'n': 4}\n"


def test_thread_that_waits_for_the_main_thread_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    source = """
state.write_state_data({"n": 1}, 1)
threading.Thread(target=threading.main_thread().join).start()
print("end")
"""
    done = run_program(tmp_path, source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_call_that_comes_after_the_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer() -> int:
        return 1

    made = portal._Portal()
    monkeypatch.setattr(portal, "_portal", made)
    assert block(answer) == 1
    made.stop()
    with pytest.raises(InputError, match="when the process was ending"):
        block(answer)
    assert made.calls == set()

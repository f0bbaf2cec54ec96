"""The most telling faults in their shortest form, and that a run notices what breaks a promise."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backtest_mongo import SLOTS
from faults import page, run
from faults.history import Op, check
from faults.load import Load, Outcome
from faults.proxy import HOST, Proxy
from faults.scenarios import SCENARIOS
from faults.scenarios.base import Figures, Scenario
from faults.scenarios.orders import read_figures
from faults.stage import Stage
from faults.worker import RunDelay
from tests.support.deadlines import SECONDS

pytestmark = pytest.mark.heavy

#: One of each kind; `nox -s faults` has them all. The program that sends orders is run by the tests of examples.
TELLING = (
    "standalone-kill",
    "lost-replies",
    "black-hole",
    "queue-slow",
    "queue-dead",
    "loop-end",
    "write-concern-errors",
    "stepdown",
    "direct-stepdown",
    "redis-freeze",
    "redis-rubbish",
    "sqlite-kill",
    "sqlite-lock-long",
    "bars-kill",
    "bars-lost-replies",
    "bars-sqlite-kill",
    "transactions-sqlite",
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(quick=True) as ready:
        yield ready


@pytest.mark.parametrize("name", TELLING)
def test_promises_hold(stage: Stage, name: str) -> None:
    scenario = BY_NAME[name]
    assert min(scenario.least) > 0
    assert scenario.row(stage)["problems"] == []


def test_nothing_is_accepted_without_a_journal(stage: Stage) -> None:
    row = BY_NAME["standalone-no-journal"].row(stage)
    assert row["problems"] == []
    assert (row["operations"], row["acknowledged"]) == (6 * len(SLOTS), 0)


def played(outcome: Outcome, faults: int = 1, **options: Any) -> list[str]:
    """Return the problems of a scenario that gives this outcome."""
    scenario = Scenario(
        name="played",
        fault="none",
        how="not at all",
        servers="none",
        play=lambda stage: Figures(outcome=outcome, faults=faults, measured={"wait": 70.0}),
        **options,
    )
    found: list[str] = scenario.row(Stage(quick=True))["problems"]
    return found


def test_outcome_without_fault_has_no_problem() -> None:
    assert played(Outcome(operations=10, acknowledged=5)) == []
    assert played(Outcome(operations=10, acknowledged=5), least=(10, 5)) == []
    assert played(Outcome(operations=10, unavailable=3), may_fail=True) == []
    assert played(Outcome(operations=10, lost=3, wrong=3), may_lose=True) == []
    assert played(Outcome(operations=10, longest=400.0), is_bounded=False) == []


@pytest.mark.parametrize(
    ("outcome", "options", "problem"),
    [
        (Outcome(operations=10, lost=1), {}, "1 acknowledged writes lost"),
        (Outcome(operations=10, lost=1), {"may_misread": True}, "1 acknowledged writes lost"),
        (Outcome(operations=10, wrong=2), {}, "2 wrong reads"),
        (Outcome(operations=10, unavailable=1, example="why"), {}, "1 operations failed; why"),
        (Outcome(operations=10, unexpected=["KeyError()"]), {"may_fail": True}, "1 other errors; ['KeyError()']"),
        (Outcome(operations=10, longest=40.0), {}, "an operation took 40.00 s, over the bound of 34.00 s"),
        (Outcome(operations=10, longest=4.0), {"deadline": 1.0}, "an operation took 4.00 s, over the bound of 3.20 s"),
        (Outcome(), {}, "the load did 0 operations, under 1"),
        (Outcome(operations=9, acknowledged=4), {"least": (10, 4)}, "the load did 9 operations, under 10"),
        (Outcome(operations=10, acknowledged=3), {"least": (10, 4)}, "the load had 3 writes acknowledged, under 4"),
        (Outcome(operations=10), {"goals": (("wait", 60.0),)}, "wait is 70.0, over 60"),
    ],
)
def test_each_broken_promise_is_a_problem(outcome: Outcome, options: dict[str, Any], problem: str) -> None:
    (found,) = played(outcome, **options)
    assert found.startswith(problem)


def test_fault_that_was_not_injected_is_a_problem() -> None:
    assert played(Outcome(operations=10), faults=0) == ["the fault did not happen"]


def test_scenario_that_cannot_run_is_a_problem() -> None:
    def play(stage: Stage) -> Figures:
        raise OSError("no server")

    scenario = Scenario(name="broken", fault="", how="", servers="", play=play)
    (found,) = scenario.row(Stage(quick=True))["problems"]
    assert "no server" in found


def test_outcome_counts_what_the_histories_show() -> None:
    outcome = Outcome()
    write, lost = (Op(kind="write", value=value, start=value, end=value) for value in (1, 2))
    outcome.add("state/k0/", check([write, lost, Op(kind="read", value=1, start=3, end=3, who="reader")]))
    assert (outcome.lost, outcome.wrong) == (1, 1)
    assert outcome.explanation.startswith("state/k0/: an acknowledged write is lost")


class Histories(Load):
    """A load whose processes have left records, and in whose database nothing is."""

    def __init__(self, directory: Path, *records: list[list[Any]], through: Sequence[str] = ()) -> None:
        super().__init__(directory, {}, uri="mongodb://none/none", through=through)
        for number, lines in enumerate(records):
            path = directory / f"{number}.jsonl"
            path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            self._records.append(path)

    def _read_raw(self) -> None:
        pass

    async def _read_again(self) -> None:
        pass


def call(serial: int, start: int, end: int, kind: str, written: int | None, how: str, read: int | None = None) -> Any:
    """Return the two lines that a process leaves of one call."""
    return [serial, start, kind, "state/k0/", written, "somebody", 0], [serial, end, how, read, "why", 0]


def test_time_without_a_processor_is_no_stall(tmp_path: Path) -> None:
    begun, returned = call(1, 0, 5_000_000_000, "write", 1, "ok")
    assert Histories(tmp_path, [[*begun[:-1], 1_000_000_000], [*returned[:-1], 4_500_000_000]]).outcome().longest == 1.5


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux reports it")
def test_time_without_a_processor_is_added_up() -> None:
    delay = RunDelay()
    delay.start()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        end = time.monotonic() + SECONDS
        while delay.total_ns < 100_000_000 and time.monotonic() < end:
            pass  # work that the others delay
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert delay.total_ns >= 100_000_000


@pytest.mark.parametrize(("how", "is_wrong"), [("unavailable", False), ("not applied", True), ("ok", False)])
def test_write_that_was_not_applied_must_not_be_read(tmp_path: Path, how: str, is_wrong: bool) -> None:
    lines = [*call(1, 0, 1, "write", 7, how), *call(2, 2, 3, "read", None, "ok", 7)]
    outcome = Histories(tmp_path, lines).outcome()
    assert outcome.wrong == int(is_wrong)
    assert outcome.unavailable == (how != "ok")


@pytest.mark.parametrize(("how", "is_lost"), [("unavailable", False), ("settled", True)])
def test_write_that_has_ended_must_not_be_applied_later(tmp_path: Path, how: str, is_lost: bool) -> None:
    # The second one was acknowledged, and then the first one is what is left.
    lines = [
        *call(1, 0, 5, "write", 1, how),
        *call(2, 6, 7, "write", 2, "ok"),
        *call(3, 8, 9, "read", None, "ok", 1),
    ]
    assert Histories(tmp_path, lines).outcome().lost == int(is_lost)


def test_write_that_has_ended_and_is_never_read_may_not_have_been_applied(tmp_path: Path) -> None:
    lines = [
        *call(1, 2, 5, "write", 1, "settled"),
        *call(2, 0, 1, "write", 2, "ok"),
        *call(3, 8, 9, "read", None, "ok", 2),
    ]
    outcome = Histories(tmp_path, lines).outcome()
    assert (outcome.lost, outcome.wrong, outcome.explanation) == (0, 0, "")


@pytest.mark.parametrize(("start", "is_wrong"), [(5, True), (15, False), (25, True)])
def test_stale_answer_of_a_deposed_server_is_wrong_once_its_successor_must_be_known(
    tmp_path: Path, start: int, is_wrong: bool
) -> None:
    writes = [*call(1, 0, 1, "write", 1, "ok"), *call(2, 2, 3, "write", 2, "ok")]
    # Before it was deposed it is judged as any other, in between it is not, and afterwards no answer is right.
    reads = call(3, start, start + 1, "read", None, "ok", 1 if start < 20 else 2)
    load = Histories(tmp_path, writes, [], [*reads], through=["followed", "direct"])
    load.depose("direct", 10, 20)
    outcome = load.outcome()
    assert bool(outcome.wrong) is is_wrong
    assert bool(outcome.explanation) is is_wrong


def test_outcomes_of_two_loads_are_added() -> None:
    total = Outcome(operations=1, lost=1, longest=2.0, slowest="one", unexpected=["a"])
    total += Outcome(operations=2, wrong=3, longest=3.0, slowest="other", unexpected=["b"], explanation="why")
    assert total == Outcome(
        operations=3, lost=1, wrong=3, longest=3.0, slowest="other", unexpected=["a", "b"], explanation="why"
    )


@pytest.fixture
async def echo() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that sends back what it gets."""

    async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
        writer.close()

    async with await asyncio.start_server(send_back, HOST, 0) as server:
        proxy = await asyncio.to_thread(Proxy(server.sockets[0].getsockname()[1]).__enter__)
        yield proxy
        await asyncio.to_thread(proxy.__exit__, None, None, None)


async def ask(proxy: Proxy, request: bytes) -> bytes:
    """Send a request over a connection of its own, and return the answer, or what came of it before it was cut."""
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    try:
        writer.write(request)
        async with asyncio.timeout(SECONDS):
            return await reader.readexactly(len(request))
    except asyncio.IncompleteReadError as error:
        return error.partial
    finally:
        writer.close()


async def test_proxy_passes_on(echo: Proxy) -> None:
    assert await ask(echo, b"hello" * 10_000) == b"hello" * 10_000


async def test_proxy_delays_each_way(echo: Proxy) -> None:
    echo.delay(0.05)
    start = time.monotonic()
    assert await ask(echo, b"hello") == b"hello"
    assert time.monotonic() - start >= 0.1


async def test_proxy_swallows_and_resets_what_it_swallowed(echo: Proxy) -> None:
    echo.swallow()
    waiting = asyncio.create_task(ask(echo, b"hello"))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    await asyncio.to_thread(echo.pass_on)
    with pytest.raises(ConnectionResetError):
        await waiting
    assert await ask(echo, b"hello") == b"hello"


async def test_proxy_cuts_every_second_answer_to_a_matching_request(echo: Proxy) -> None:
    echo.cut(b"find", after=0, every=2)
    assert await ask(echo, b"hello") == b"hello"
    assert await ask(echo, b"find 1") == b"find 1"
    with pytest.raises(ConnectionResetError):
        await ask(echo, b"find 2")
    assert await ask(echo, b"find 3") == b"find 3"
    assert echo.cuts == 1


async def test_proxy_refuses_and_listens_again_on_its_port(echo: Proxy) -> None:
    port = echo.port
    await asyncio.to_thread(echo.refuse)
    with pytest.raises(ConnectionRefusedError):
        await ask(echo, b"hello")
    await asyncio.to_thread(echo.pass_on)
    assert echo.port == port
    assert await ask(echo, b"hello") == b"hello"


def test_run_writes_figures_that_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Scenario(
        name="good",
        fault="nothing",
        how="by nobody",
        servers="none",
        play=lambda stage: Figures(outcome=Outcome(operations=1_234), faults=1),
    )
    bad = dataclasses.replace(
        good, name="bad", play=lambda stage: Figures(outcome=Outcome(operations=1, lost=7), faults=1)
    )
    monkeypatch.setattr(run, "SCENARIOS", (good, bad))
    out = str(tmp_path / "results")
    assert run.main(["--quick", "--only", "good", "--out", out]) == 0
    assert run.main(["--quick", "--out", out]) == 1
    text = page.page(json.loads((tmp_path / "results" / "faults.json").read_text()))
    figures = "1 | 1,234 | 0 | 0 | 0 | 0 | 0 | 0.0 s | 34.0 s"
    assert f"| nothing | by nobody | none | {figures} | `nox -s faults -- --quick --only good` |" in text
    assert "- bad: 7 acknowledged writes lost" in text


ORDERS = """\
bars:                     1,404
orders:                     211
kills:                        6
twins refused:                2
requests lost:               45
answers lost:                43
orders missing:               {missing}
orders executed twice:        {twice}
"""


def exit_with(status: int, text: str) -> subprocess.Popen[str]:
    """Start a program that prints a text and exits with a status."""
    command = [sys.executable, "-c", "import sys; print(sys.argv[2]); sys.exit(int(sys.argv[1]))", str(status), text]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("status", "text", "missing", "twice", "others"),
    [
        (0, ORDERS.format(missing=0, twice=0), 0, 0, 0),
        (1, ORDERS.format(missing=3, twice=0), 3, 0, 0),
        (1, ORDERS.format(missing=0, twice=4), 0, 4, 0),
        (1, "it broke down", 0, 0, 1),
        (1, ORDERS.format(missing=0, twice=0), 0, 0, 1),
    ],
)
def test_orders_that_are_missing_or_doubled_are_counted(
    status: int, text: str, missing: int, twice: int, others: int
) -> None:
    outcome = read_figures([exit_with(status, text)]).outcome
    assert (outcome.lost, outcome.wrong, len(outcome.unexpected)) == (missing, twice, others)


def test_page_shows_orders_of_all_strategies() -> None:
    figures = read_figures([exit_with(0, ORDERS.format(missing=0, twice=0)) for _ in range(2)])
    scenario = Scenario(name="orders-x", fault="f", how="h", servers="s", play=lambda stage: figures)
    row = scenario.row(Stage(quick=True))
    text = page.page({"machine": run.machine(), "rows": [row]})
    assert "| f | h | s | 12 | 4 | 90 | 86 | 2,808 | 422 | 0 | 0 | `nox -s faults -- --only orders-x` |" in text

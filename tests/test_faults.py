"""The most telling faults in their shortest form, and that a run notices what breaks a promise."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import page, run
from faults.history import Op, check
from faults.load import Outcome
from faults.proxy import HOST, Proxy
from faults.scenarios import SCENARIOS
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

pytestmark = pytest.mark.heavy

TELLING = ("standalone-kill", "lost-replies", "black-hole", "stepdown", "redis-freeze", "redis-rubbish")
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(quick=True) as ready:
        yield ready


@pytest.mark.parametrize("name", TELLING)
def test_promises_hold(stage: Stage, name: str) -> None:
    row = BY_NAME[name].row(stage)
    assert row["problems"] == []
    assert row["operations"] > 20
    assert row["acknowledged"] > 5


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
    assert played(Outcome(operations=10, unavailable=3), may_fail=True) == []
    assert played(Outcome(operations=10, lost=3, wrong=3), may_lose=True) == []


@pytest.mark.parametrize(
    ("outcome", "options", "problem"),
    [
        (Outcome(operations=10, lost=1), {}, "1 acknowledged writes lost"),
        (Outcome(operations=10, lost=1), {"may_misread": True}, "1 acknowledged writes lost"),
        (Outcome(operations=10, wrong=2), {}, "2 wrong reads"),
        (Outcome(operations=10, unavailable=1, example="why"), {}, "1 operations failed; why"),
        (Outcome(operations=10, unexpected=["KeyError()"]), {"may_fail": True}, "1 other errors; ['KeyError()']"),
        (Outcome(operations=10, longest=20.0), {}, "an operation took 20.00 s, over the bound of 17.50 s"),
        (Outcome(operations=10, longest=3.0), {"limit": 1.0}, "an operation took 3.00 s, over the bound of 2.10 s"),
        (Outcome(), {}, "the load did nothing"),
        (Outcome(operations=10), {"goals": (("wait", 60.0),)}, "wait is 70.0, over 60"),
    ],
)
def test_each_broken_promise_is_a_problem(outcome: Outcome, options: dict[str, Any], problem: str) -> None:
    (found,) = played(outcome, **options)
    assert found.startswith(problem)


def test_fault_that_does_not_happen_is_a_problem() -> None:
    assert played(Outcome(operations=10), faults=0) == ["the fault did not happen"]


def test_scenario_that_cannot_be_played_is_a_problem() -> None:
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
        async with asyncio.timeout(5):
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
    figures = "1 | 1,234 | 0 | 0 | 0 | 0 | 0 | 0.0 s | 17.5 s"
    assert f"| nothing | by nobody | none | {figures} | `nox -s faults -- --quick --only good` |" in text
    assert "- bad: 7 acknowledged writes lost" in text

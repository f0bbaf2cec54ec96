"""Compiled graphs on both savers: interrupts, time travel, parallel branches, subgraphs and delta channels."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

import backtest_mongo
from backtest_mongo import sync
from backtest_mongo.integrations.langgraph import AsyncBacktestMongoSaver, BacktestMongoSaver
from tests.engines.langgraph.support import STORAGES


class Bars(TypedDict):
    log: Annotated[list[str], operator.add]
    size: int


def name_thread(thread: str, **more: str) -> Any:
    return {"configurable": {"thread_id": thread, **more}}


def make_steps() -> Any:
    """Return a graph whose second node asks a person."""

    def plan(state: Bars) -> dict[str, Any]:
        return {"log": ["plan"], "size": state["size"] + 1}

    def confirm(state: Bars) -> dict[str, Any]:
        return {"log": [f"confirmed by {interrupt({'size': state['size']})}"]}

    def trade(state: Bars) -> dict[str, Any]:
        return {"log": [f"trade {state['size']}"]}

    builder = StateGraph(Bars)
    for step in (plan, confirm, trade):
        builder.add_node(step.__name__, step)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "confirm")
    builder.add_edge("confirm", "trade")
    builder.add_edge("trade", END)
    return builder


@STORAGES
async def test_graph_that_was_interrupted_resumes_in_a_new_process(storage: str) -> None:
    graph, thread = make_steps().compile(checkpointer=AsyncBacktestMongoSaver()), name_thread("BTCUSDT")
    halted = await graph.ainvoke({"log": [], "size": 1}, thread)
    assert halted["__interrupt__"][0].value == {"size": 2}
    await backtest_mongo.close()
    graph = make_steps().compile(checkpointer=AsyncBacktestMongoSaver())
    assert (await graph.aget_state(thread)).next == ("confirm",)
    done = await graph.ainvoke(Command(resume="Ada"), thread)
    assert done["log"] == ["plan", "confirmed by Ada", "trade 2"]
    assert (await graph.aget_state(thread)).next == ()


@STORAGES
def test_graph_without_await_that_was_interrupted_resumes_in_a_new_process(sync_storage: str) -> None:
    graph, thread = make_steps().compile(checkpointer=BacktestMongoSaver()), name_thread("BTCUSDT")
    assert graph.invoke({"log": [], "size": 1}, thread)["__interrupt__"][0].value == {"size": 2}
    sync.close()
    graph = make_steps().compile(checkpointer=BacktestMongoSaver())
    assert graph.get_state(thread).next == ("confirm",)
    assert graph.invoke(Command(resume="Ada"), thread)["log"] == ["plan", "confirmed by Ada", "trade 2"]


@STORAGES
async def test_earlier_checkpoint_can_be_read_repeated_and_changed(storage: str) -> None:
    graph, thread = make_steps().compile(checkpointer=AsyncBacktestMongoSaver()), name_thread("BTCUSDT")
    await graph.ainvoke({"log": [], "size": 1}, thread)
    await graph.ainvoke(Command(resume="Ada"), thread)
    past = [state async for state in graph.aget_state_history(thread)]
    assert [state.metadata["step"] for state in past] == [3, 2, 1, 0, -1]
    planned = next(state for state in past if state.next == ("confirm",))
    assert (await graph.aget_state(planned.config)).values == {"log": ["plan"], "size": 2}
    limited = [state async for state in graph.aget_state_history(thread, before=planned.config, limit=1)]
    assert [state.next for state in limited] == [("plan",)]
    # A fork: another size, from the same checkpoint on.
    changed = await graph.aupdate_state(planned.config, {"size": 7})
    forked = await graph.ainvoke(None, changed)
    assert forked["__interrupt__"][0].value == {"size": 7}
    done = await graph.ainvoke(Command(resume="Bob"), thread)
    assert done["log"] == ["plan", "confirmed by Bob", "trade 7"]
    # The first branch is as it was.
    assert (await graph.aget_state(past[0].config)).values["log"] == ["plan", "confirmed by Ada", "trade 2"]


def make_branches(failing: set[str], runs: list[str]) -> Any:
    """Return a graph of three nodes in one superstep, of which some fail."""
    builder = StateGraph(Bars)
    for name in ("btc", "eth", "sol"):

        async def run(state: Bars, name: str = name) -> dict[str, Any]:
            runs.append(name)
            if name in failing:
                await asyncio.sleep(0.05)  # so that the others are done by then
                raise LookupError(name)
            return {"log": [name]}

        builder.add_node(name, run)
        builder.add_edge(START, name)
        builder.add_edge(name, "join")
    builder.add_node("join", lambda state: {"size": len(state["log"])})
    builder.add_edge("join", END)
    return builder


@STORAGES
async def test_branches_that_were_done_are_not_repeated_after_another_has_failed(storage: str) -> None:
    failing, runs = {"eth"}, list[str]()
    thread = name_thread("pairs")
    graph = make_branches(failing, runs).compile(checkpointer=AsyncBacktestMongoSaver())
    with pytest.raises(LookupError):
        await graph.ainvoke({"log": [], "size": 0}, thread)
    failing.clear()
    runs.clear()
    graph = make_branches(failing, runs).compile(checkpointer=AsyncBacktestMongoSaver())
    done = await graph.ainvoke(None, thread)
    assert runs == ["eth"]
    assert done == {"log": ["btc", "eth", "sol"], "size": 3}


@STORAGES
async def test_subgraph_has_a_namespace_of_its_own_in_the_thread(storage: str) -> None:
    saver = AsyncBacktestMongoSaver()
    inner = make_steps().compile(checkpointer=True)
    builder = StateGraph(Bars)
    builder.add_node("inner", inner)
    builder.add_edge(START, "inner")
    builder.add_edge("inner", END)
    graph, thread = builder.compile(checkpointer=saver), name_thread("BTCUSDT")
    await graph.ainvoke({"log": [], "size": 1}, thread)
    state = await graph.aget_state(thread, subgraphs=True)
    within: Any = state.tasks[0].state
    assert within.next == ("confirm",)
    assert within.config["configurable"]["checkpoint_ns"] == "inner"
    found = [one async for one in saver.alist(name_thread("BTCUSDT"))]
    assert {one.config["configurable"]["checkpoint_ns"] for one in found} == {"", "inner"}
    ids = [one.config["configurable"]["checkpoint_id"] for one in found]
    assert ids == sorted(ids, reverse=True)
    await graph.ainvoke(Command(resume="Ada"), thread)
    await saver.aprune(["BTCUSDT"])
    assert len([one async for one in saver.alist(name_thread("BTCUSDT"))]) == 2
    assert "confirmed by Ada" in (await graph.aget_state(thread)).values["log"]


@STORAGES
async def test_pruned_thread_keeps_what_its_delta_channels_are_put_together_from(storage: str) -> None:
    channels = pytest.importorskip("langgraph.channels.delta", reason="this version has no delta channels")

    def add(state: list[str], writes: list[list[str]]) -> list[str]:
        return state + [item for write in writes for item in write]

    State = TypedDict("State", {"log": Annotated[list[str], channels.DeltaChannel(add, snapshot_frequency=3)]})  # noqa: UP013  # the channel is not known before
    builder = StateGraph(State)
    builder.add_node("note", lambda state: {"log": [f"bar {len(state['log'])}"]})
    builder.add_edge(START, "note")
    builder.add_edge("note", END)
    saver, thread = AsyncBacktestMongoSaver(), name_thread("BTCUSDT")
    graph = builder.compile(checkpointer=saver)
    for _ in range(7):
        await graph.ainvoke({"log": ["start"]}, thread)
    before = (await graph.aget_state(thread)).values
    count = len([one async for one in saver.alist(thread)])
    await saver.aprune(["BTCUSDT"])
    left = len([one async for one in saver.alist(thread)])
    assert 1 <= left < count
    assert (await graph.aget_state(thread)).values == before
    assert (await graph.ainvoke({"log": ["start"]}, thread))["log"][: len(before["log"])] == before["log"]


@STORAGES
async def test_many_graphs_run_at_the_same_time(storage: str) -> None:
    saver = AsyncBacktestMongoSaver()
    graph = make_branches(set(), []).compile(checkpointer=saver)
    threads = [name_thread(f"thread-{number}") for number in range(25)]
    done = await asyncio.gather(*(graph.ainvoke({"log": [], "size": 0}, thread) for thread in threads))
    assert all(state["size"] == 3 for state in done)
    assert [(await graph.aget_state(thread)).values["size"] for thread in threads] == [3] * 25

"""Measure variants of this library's process that can't be in one process: each has one, and they take turns.

So other load on the machine affects all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from backtest_mongo.core.config import MongoURI

__all__ = ["Serve", "Turns", "open_variants", "take_turns"]

#: Called in a process of its own with the variant, its configuration, and the pipe: it sends the size of each case by
#: name, and then for each name that it is sent, the seconds that a round took and those of the processor.
Serve: TypeAlias = Callable[[str, dict[str, Any], Connection], None]
#: By variant, what was sent for each round.
Turns: TypeAlias = dict[str, list[tuple[float, float]]]


@contextmanager
def open_variants(serve: Serve, names: Iterable[str], config: Mapping[str, Any]) -> Iterator[dict[str, Connection]]:
    """Start a process for each variant, on a database of its own, and return the pipes by name."""
    context = get_context("spawn")
    pipes = {name: context.Pipe() for name in names}
    processes = []
    uri = MongoURI(config["CC_MONGO_CONNECTION_STRING"])
    for number, (name, (_, theirs)) in enumerate(pipes.items()):
        database = uri.with_database(f"{uri.database}-variant-{number}")
        own = {**config, "CC_MONGO_CONNECTION_STRING": database.get_secret_value()}
        processes.append(context.Process(target=serve, args=(name, own, theirs)))
        processes[-1].start()
        theirs.close()
    try:
        yield {name: ours for name, (ours, _) in pipes.items()}
    finally:
        for ours, _ in pipes.values():
            ours.close()
        for process in processes:
            process.join()


def take_turns(variants: Mapping[str, Connection], case: str, rounds: int) -> Turns:
    """Measure rounds of a case, starting each with a different variant."""
    names = list(variants)
    found: Turns = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            variants[name].send(case)
            found[name].append(variants[name].recv())
    return found

"""The registry of hubs, one per event loop: made on first use, closed with its loop, and made again after a fork."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from backtest_mongo.connection.hub import Hub
from backtest_mongo.core import config, observation
from backtest_mongo.core.counters import SlotCounts
from backtest_mongo.core.specs import Key, SlotSpec

__all__ = [
    "LoopGuards",
    "close_hub",
    "close_outdated",
    "current_hub",
    "forget_candles",
    "forget_ids",
    "known_hubs",
    "on_made",
    "release_ended",
    "sum_counts",
]

# Strong references, so that a hub lives until it is closed. Hubs whose loop is closed are released when the next one is
# made. Retired are those whose configuration has been replaced, and those that are being closed.
_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
_retired: list[Hub] = []
#: What was done on connections that are closed.
_closed_counts: defaultdict[str, SlotCounts] = defaultdict(SlotCounts)
#: Loops in different threads come and go at the same time: hold this to change any of the three above.
_lock = threading.Lock()
#: Called with each hub, in its loop, once it is made.
on_made: Callable[[Hub], None] | None = None
#: How long closing a loop's connections from another thread may take.
_CLOSE_SECONDS: Final = 15.0


def current_hub() -> Hub:
    """Return the hub of the running event loop, making it on first use."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is not None and (hub.config is config.current_config or _adopt(hub)):  # None after a reset
        return hub
    return _make(loop)


def _adopt(hub: Hub | None) -> bool:
    """Let a hub go on where nothing but the name of the run was configured, on which no connection depends."""
    current = config.get_config()
    if hub is None or hub.config.CC_RUN == current.CC_RUN:
        return False
    if hub.config.model_copy(update={"CC_RUN": current.CC_RUN}) != current:
        return False
    hub.config = current
    return True


def known_hubs() -> dict[asyncio.AbstractEventLoop, Hub]:
    """Return the hub of each event loop that has one."""
    with _lock:
        return dict(_hubs)


def sum_counts() -> dict[str, SlotCounts]:
    """Return what was done in this process, on all of its event loops, by slot."""
    total: defaultdict[str, SlotCounts] = defaultdict(SlotCounts)
    with _lock:
        for counts in (_closed_counts, *(hub.counts for hub in (*_hubs.values(), *_retired))):
            _add(total, counts)
    return dict(total)


observation.set_loop_source(known_hubs, sum_counts)


def forget_candles(hub: Hub, context: Key) -> None:
    """Drop what this process keeps in memory of a series, on every event loop: candles of it were deleted."""
    hub.candle_cache.forget(context)
    with _lock:
        others = [known for known in (*_hubs.values(), *_retired) if known is not hub]
    for known in others:
        if known.loop is hub.loop:
            known.candle_cache.forget(context)
        else:
            with suppress(RuntimeError):  # its loop is closed, and reads no more
                known.loop.call_soon_threadsafe(known.candle_cache.forget, context)


async def forget_ids(hub: Hub, spec: SlotSpec, keys: Sequence[Key]) -> None:
    """Drop the ids of keys from Redis, and from what this process keeps on every event loop: rows were deleted."""
    await hub.id_cache.drop_many(spec, keys)
    with _lock:
        others = [known for known in (*_hubs.values(), *_retired) if known is not hub]
    for known in others:
        with suppress(RuntimeError):  # its loop is closed, and reads no more
            known.loop.call_soon_threadsafe(_drop_local, known, spec.name, keys)


def _drop_local(hub: Hub, name: str, keys: Sequence[Key]) -> None:
    for key in keys:
        hub.id_cache.local.drop(name, key)


def _add(total: defaultdict[str, SlotCounts], counts: Mapping[str, SlotCounts]) -> None:
    for name, some in list(counts.items()):  # its loop may be at work in another thread
        total[name].add(some)


def _make(loop: asyncio.AbstractEventLoop) -> Hub:
    with _lock:
        before = [known for known in (*_retired, _hubs.get(loop)) if known is not None and known.loop is loop]
    hub = Hub(config.get_config(), loop, before)
    with _lock:
        # Operations under way finish on the connections of the hub before.
        _retire(loop)
        _hubs[loop] = hub
    release_ended()
    if on_made is not None:
        on_made(hub)
    return hub


def release_ended() -> None:
    """Release what is still open of event loops that are closed."""
    with _lock:
        ended = [_hubs.pop(known) for known in list(_hubs) if known.is_closed()]
        ended += [known for known in _retired if known.loop.is_closed()]
        _retired[:] = [known for known in _retired if known not in ended]
        for known in ended:
            _add(_closed_counts, known.counts)
    for known in ended:
        known.abandon()


def _retire(loop: asyncio.AbstractEventLoop) -> None:
    hub = _hubs.pop(loop, None)
    if hub is not None:
        _retired.append(hub)


async def close_outdated() -> None:
    """Close the running loop's connections that were made for a configuration which has been replaced."""
    loop = asyncio.get_running_loop()
    with _lock:
        hub = _hubs.get(loop)
        if hub is not None and hub.config is not config.get_config() and not _adopt(hub):
            _retire(loop)
        outdated = [known for known in _retired if known.loop is loop]
    for known in outdated:
        await known.close()
        with _lock:
            # Not before: a close that is cancelled can be called again.
            if known in _retired:
                _retired.remove(known)
                _add(_closed_counts, known.counts)


async def close_hub() -> None:
    """Close the running loop's connections, if there are any."""
    with _lock:
        _retire(asyncio.get_running_loop())
    await close_outdated()


#: The parent's hubs, in a child. They are kept unused: finalizing them would disturb the parent's connections.
_inherited: list[Hub] = []


def _start_afresh() -> None:
    """Forget the parent's hubs after a fork: the child makes its own clients."""
    global _lock
    # A thread that held it is not in the child, and would never release it.
    _lock = threading.Lock()
    _inherited.extend((*_hubs.values(), *_retired))
    _hubs.clear()
    _retired.clear()
    _closed_counts.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_start_afresh)


class LoopGuards:
    """Close the connections of each event loop before it ends, while this context is active: for tests.

    A suspended asynchronous generator does it: ``asyncio.run``, ``asyncio.Runner``, and so pytest-asyncio and anyio,
    close those of a loop at its end, when it can still run something. :meth:`close` closes those of loops that outlive
    the context.
    """

    def __init__(self) -> None:
        self._guards: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    def __enter__(self) -> Self:
        global on_made
        self._before = on_made
        on_made = self._guard
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global on_made
        on_made = self._before
        self.close()

    def close(self) -> None:
        """Close what is open on any loop, in whichever thread it runs."""
        running = asyncio._get_running_loop()
        while self._guards:
            loop, guard = self._guards.popitem()
            if loop.is_closed():
                continue
            if not loop.is_running():
                loop.run_until_complete(guard.aclose())
            elif loop is not running:  # the loop that pytest itself runs on can't wait for us
                asyncio.run_coroutine_threadsafe(guard.aclose(), loop).result(_CLOSE_SECONDS)
        release_ended()

    def _guard(self, made: Hub) -> None:
        if made.loop in self._guards:
            return
        guard = self._guards[made.loop] = _close_at_end()
        with suppress(StopIteration):
            # Up to its yield, which takes no turn of the loop: so the loop knows of it.
            guard.__anext__().send(None)


async def _close_at_end() -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close_hub()

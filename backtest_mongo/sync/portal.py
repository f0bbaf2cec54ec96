"""The background thread of this process, on whose event loop synchronous calls are carried out.

It starts with the first call. A call of any thread is a task of its own there, with a copy of the caller's context
variables. At exit the thread waits for other threads as long as they make calls, and for what is being written, closes
the connections and ends. A process that was forked starts a thread of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
import sys
import threading
import time
from asyncio import events
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import thread as pools
from contextvars import copy_context
from typing import Any, Final

from backtest_mongo.adapters.lifecycle import close
from backtest_mongo.errors import InputError

__all__ = ["block", "run", "run_soon", "translations"]

#: Where a lock can't be interrupted, Ctrl-C is looked for this often, in seconds.
_LOOK_SECONDS: Final = 0.1 if sys.platform == "win32" else -1
#: For how long other threads may go on making calls when the main thread has ended, in seconds: without a call, and in
#: all; and how often it is looked whether they have ended.
_IDLE_SECONDS: Final = 2.0
_MOST_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 0.02

#: The class here of an error whose methods are awaited otherwise.
translations: dict[type[BaseException], type[BaseException]] = {}


class _Call:
    """A call that a thread waits for."""

    __slots__ = ("_args", "_done", "_function", "_is_done", "_kwargs", "_task", "error", "result")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._task: asyncio.Future[Any] | None = None
        self._is_done = False
        self._done = threading.Lock()
        self._done.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def begin(self) -> None:
        """Make the call, on the event loop and in the caller's context."""
        try:
            result = self._function(*self._args, **self._kwargs)
            if not inspect.isawaitable(result):
                self.result = result
                self._finish()
                return
            self._task = asyncio.ensure_future(result)
        except BaseException as error:
            self.error = error
            self._finish()
            return
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Future[Any]) -> None:
        try:
            self.result = task.result()
        except BaseException as error:
            self.error = error
        self._task = None
        self._finish()

    def _finish(self) -> None:
        self._is_done = True
        self._done.release()

    def give_up(self) -> None:
        """End it if it was not carried out."""
        if not self._is_done:
            self.error = _make_end_error()
            self._finish()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def wait(self) -> None:
        """Wait until it is done; Ctrl-C interrupts that, and it can be called again."""
        while not self._is_done:
            self._done.acquire(timeout=_LOOK_SECONDS)


def _make_end_error() -> InputError:
    return InputError(
        "backtest_mongo.sync: the call came when the process was ending, and was not carried out",
        hint="make it before the main thread ends, or in a thread that is not a daemon",
    )


class _Inline(ThreadPoolExecutor):
    """Carries out at once what is submitted: there are no new threads once the interpreter shuts down."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Portal:
    """A thread and its event loop."""

    def __init__(self) -> None:
        #: Those that wait.
        self.calls: set[_Call] = set()
        #: When the last call came.
        self.called = time.monotonic()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="backtest_mongo.sync", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            raise _make_end_error() from None
        self._is_ready.wait()

    def _serve(self) -> None:
        # As asyncio.run() does, which starts a thread at its end: that can't be done once the interpreter shuts down.
        loop = asyncio.new_event_loop()
        with ThreadPoolExecutor(thread_name_prefix="backtest_mongo.sync") as executor:
            loop.set_default_executor(executor)
            try:
                loop.run_until_complete(self._wait())
                loop.run_until_complete(_end_tasks())
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                loop.close()
                for call in [*self.calls]:  # which came too late to be carried out
                    call.give_up()

    async def _wait(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._is_ready.set()
        await self._stopping.wait()
        self.loop.set_default_executor(_Inline())
        await close()

    def stop(self) -> None:
        """Close the connections, once all that was written is stored, and end the thread."""
        self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


async def _end_tasks() -> None:
    """Cancel what is still under way, and wait for its end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_portal: _Portal | None = None
_lock = threading.Lock()


def _get_portal() -> _Portal:
    global _portal
    with _lock:
        if _portal is None:
            _portal = _Portal()
        return _portal


def _stop() -> None:
    global _portal
    if _portal is not None:
        _join_others(_portal)
    with _lock:
        portal, _portal = _portal, None
    if portal is not None:
        portal.stop()


def _join_others(portal: _Portal) -> None:
    """Wait for the threads that Python is about to wait for, too, as long as they make calls.

    Not longer, as a thread may wait for the main thread, which has not ended for Python by now.
    """
    ended = time.monotonic()
    ended_by_others = {threading.main_thread(), *pools._threads_queues}
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread not in ended_by_others]
    while others and time.monotonic() < min(max(ended, portal.called) + _IDLE_SECONDS, ended + _MOST_SECONDS):
        others[-1].join(_STEP_SECONDS)
        others = [thread for thread in others if thread.is_alive()]


def _forget() -> None:
    """In a child process: the thread is the parent's, and so are the locks that it may hold."""
    global _portal, _lock
    _portal, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
# Before the pools of threads end, which the drivers need to close. Only `concurrent.futures` and this name it.
getattr(threading, "_register_atexit", atexit.register)(_stop)


def run(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what a function returns that is called on the event loop, and awaited there if it has to be.

    Args:
        name: what errors call it: its name in :mod:`backtest_mongo`.
        function: it gets the other arguments.
        args: positional ones.
        kwargs: and those by name.

    Raises:
        InputError: an event loop is running in this thread, which would stand still meanwhile.
        Exception: what the function raises.
    """
    if events._get_running_loop() is not None:
        raise InputError(
            f"backtest_mongo.sync: {name}() can't be called where an event loop is running, which it would hold up",
            hint=f"use backtest_mongo itself: await {name}(...)",
        )
    return block(function, *args, **kwargs)


def block(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do the same wherever it is called: an event loop of this thread stands still meanwhile.

    It is for interfaces of others that block by contract, also in a notebook.
    """
    portal = _portal or _get_portal()
    call = _Call(function, args, kwargs)
    portal.called = time.monotonic()
    portal.calls.add(call)
    try:
        portal.loop.call_soon_threadsafe(call.begin, context=copy_context())
        call.wait()
    except BaseException as reason:  # such as Ctrl-C
        if portal.loop.is_closed():
            raise _make_end_error() from reason
        portal.loop.call_soon_threadsafe(call.cancel)
        call.wait()  # a second one is not waited for
        raise
    finally:
        portal.calls.discard(call)
    error = call.error
    if error is not None:
        translated = translations.get(type(error))
        if translated is not None:
            error.__class__ = translated
        try:
            raise error
        finally:
            del error, call  # or each would refer to itself by its traceback
    return call.result


def run_soon(function: Callable[..., Any], *args: Any) -> None:
    """Have a coroutine function called and awaited on the event loop, if there is one, without waiting for it."""
    portal = _portal
    if portal is not None and not portal.loop.is_closed():
        portal.loop.call_soon_threadsafe(_Call(function, args, {}).begin)

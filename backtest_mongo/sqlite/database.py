"""One SQLite file in this process: its connections, the thread that writes, forks and closing.

* **Writes** go through one thread per database, in the order of their calls. What waits while a transaction is on its
  way to the disk is committed together in the next one, so many writes share one ``fsync``. Each has its own outcome:
  if one fails, the transaction is undone and each of its writes is carried out alone.
* **Reads** have connections of their own and, with the write-ahead log, don't wait for writers. A point read takes a
  few microseconds, a tenth of what handing it to a thread takes, so it is answered on the event loop. What reads many
  rows runs in a thread.
* **Locks** of other processes are waited for until ``CC_MONGO_TIMEOUT_MS`` have passed since the call.
* **Cancellation**: a write whose caller is cancelled is dropped while it waits, and carried to its end once its
  transaction has begun; the caller waits for that.
* **Watches** have a thread of their own, :mod:`~backtest_mongo.sqlite.watcher`.
* **Forks**: a connection must not exist in two processes, not even unused, as SQLite keeps the locks of a file by
  process. All are closed before a fork, and both processes open their own again.

``aiosqlite`` has a thread for each connection and hands every call to it, reads and commits included. It neither groups
writes nor orders those of several connections, doesn't know of forks, and carries out what was cancelled while it
waited; so this module drives ``sqlite3`` itself.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from backtest_mongo.core.background import finish_background
from backtest_mongo.core.cancellation import retrieve_exception, shield
from backtest_mongo.core.commits import Committer
from backtest_mongo.core.config import get_config
from backtest_mongo.core.log import log
from backtest_mongo.sqlite.block_cache import BlockCache
from backtest_mongo.sqlite.change_log import find_newest, trim
from backtest_mongo.sqlite.checkpoints import Checkpoints, leave_log
from backtest_mongo.sqlite.driver_errors import ForkedError, LockedError, is_locked, is_overtaken
from backtest_mongo.sqlite.file_format import STEPS, check_path, is_missing, prepare_file, read_format
from backtest_mongo.sqlite.watcher import Arrival, Watched, Watcher

__all__ = ["MEMORY", "Connection", "Database", "Write", "close_databases", "get_database"]

#: The path of the database that is in memory.
MEMORY: Final = ":memory:"

#: Writes of one transaction at most.
_GROUP: Final = 1_000
#: How long SQLite itself waits for a lock, between looks at what else has happened meanwhile.
_LOCK_SECONDS: Final = 0.1
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05
#: How long a fork waits until no connection is in use, and the end of the process for the thread that writes.
_FORK_SECONDS = 15.0
_EXIT_SECONDS = 15.0
#: Reads on the event loop between two turns of it, so that a caller who only reads lets others work, too.
_READS_PER_TURN: Final = 64
#: Statements that a connection keeps compiled: some for each slot.
_STATEMENTS: Final = 512

T = TypeVar("T")


class Connection(sqlite3.Connection):
    """A connection, which tables it knows to be there, which file it has, and how many were at the path before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tables: set[str] = set()
        self.replaced: int = 0
        self.identity: tuple[int, int] | None = None


class _OlderFormatError(Exception):
    """The file has to be upgraded before it is read."""


class _ReplacedError(Exception):
    """A connection has a file that is no longer at the path."""


class Write(Generic[T]):
    """A write that waits for its transaction, or is in it.

    Args:
        prepare: checks and encodes what is written, outside of the transaction. What it returns is called in it, once
            or, if another write of the same transaction fails, again in another one.
        seconds: how long it waits for locks of other processes, if not as long as all operations do.
    """

    __slots__ = ("_claims", "_error", "_future", "_is_done", "_loop", "_result", "apply", "prepare", "seconds", "since")

    def __init__(self, prepare: Callable[[], Callable[[Connection], T]], seconds: float | None = None) -> None:
        self.prepare: Callable[[], Callable[[Connection], T]] = prepare
        self.apply: Callable[[Connection], T] | None = None
        self.seconds: float | None = seconds
        self.since: float = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[T] = self._loop.create_future()
        # Who takes it decides what becomes of the write: the writer begins it, or its cancelled caller drops it.
        self._claims = [None]
        self._is_done = False
        self._result: T | None = None
        self._error: Exception | None = None

    # What the caller does

    async def wait(self) -> T:
        """Wait for the outcome. If the caller is cancelled, a write that has begun is waited for all the same."""
        try:
            return await self._future
        except asyncio.CancelledError:
            if self.claim():
                raise
            if not self._is_done:
                self._future = self._loop.create_future()
                self._future.add_done_callback(retrieve_exception)
                await asyncio.wait([self._future])
            raise

    # What the writer does

    def claim(self) -> bool:
        """Return whether the write is the caller's of this method, and nobody else's."""
        try:
            self._claims.pop()
        except IndexError:
            return False
        return True

    def settle(self, result: T | None, error: Exception | None = None) -> None:
        """Take the outcome; the caller gets it once the transaction is over."""
        self._result, self._error = result, error

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the caller."""
        return self._loop

    def deliver(self) -> None:
        """Give the outcome to the caller, in its event loop."""
        self._is_done = True
        if self._future.done():
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._result)  # type: ignore[arg-type]  # the writer has settled it


class Database:
    """A database file, or the one in memory, which lasts as long as the process. It is opened on first use."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._is_memory = path == MEMORY
        self._uri = "" if self._is_memory else Path(path).as_uri()
        self._reads = 0
        #: What was read of candles.
        self.blocks: BlockCache = BlockCache()
        #: What commits transactions, once it is asked for.
        self.committer: Committer | None = None
        self._start_afresh()

    def _start_afresh(self) -> None:
        """Begin without connections and writes."""
        # Guards everything below.
        self._lock = threading.Condition(threading.Lock())
        self._queue: deque[Write[Any]] = deque()
        self._called = self._finished = 0
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._is_paused = False
        self._is_ending = False
        self._idle: list[Connection] = []
        self._writer: Connection | None = None
        self._checkpoints = Checkpoints(self.path)
        #: How many times another file, or none, was found in its place.
        self._replaced = 0
        #: Connections in use: those of readers, and the writer's.
        self._in_use = 0
        self._was_forked_in_use = False
        #: The watches of this process.
        self.watcher: Watcher = Watcher(self._look_patiently, does_poll=not self._is_memory)

    # Reading

    def read(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """Call ``work(connection, *arguments)`` in this thread, and return its result, ``None`` if there is no file.

        Raises:
            sqlite3.Error: it failed; :func:`is_locked` of it means that it may work later.
        """
        connection = self._take()
        if connection is None:
            return None
        try:
            while True:
                try:
                    return work(connection, *arguments)
                except sqlite3.Error as error:
                    if not is_overtaken(error):
                        raise
        finally:
            self._give_back(connection)

    async def read_here(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """Do the same on the event loop, for what takes microseconds. Where a lock is held, it is done in a thread."""
        self._reads += 1
        if not self._reads % _READS_PER_TURN:
            await asyncio.sleep(0)
        try:
            return self.read(work, *arguments)
        except sqlite3.Error as error:
            if not is_locked(error):
                raise
        except _OlderFormatError:
            pass
        return await self.read_in_thread(work, *arguments)

    async def read_in_thread(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """Do the same in a thread: for what reads many rows."""
        return await asyncio.to_thread(self._be_patient, self.read, work, *arguments)

    def _be_patient(self, read: Callable[..., T], *arguments: Any) -> T:
        """Call ``read`` until no lock keeps it from reading."""
        since, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                return read(*arguments)
            except _OlderFormatError:
                self._upgrade()
            except sqlite3.Error as error:
                if not is_locked(error):
                    raise
                if time.monotonic() - since > _get_seconds():
                    raise LockedError from error
                time.sleep(pause)  # in a thread; SQLite does not announce that a lock is free
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _look_patiently(self, watches: Sequence[Watched]) -> Sequence[Arrival]:
        return self._be_patient(self._look, watches)

    def _look(self, watches: Sequence[Watched]) -> Sequence[Arrival]:
        """Return what is new for watches, all of one moment, in the file that is at the path now."""
        while True:
            identity = None if self._is_memory else _identify(self.path)
            try:
                arrivals = self.read(_look_with, watches, identity)
            except _ReplacedError:
                self._forget_replaced()
            else:
                return [watch.give_up() for watch in watches] if arrivals is None else arrivals

    def _upgrade(self) -> None:
        connection = self._connect("rw", _get_seconds())
        try:
            prepare_file(connection, self.path)
        finally:
            connection.close()

    def _take(self) -> Connection | None:
        """Return a connection for reading, ``None`` if there is no file."""
        with self._lock:
            # In memory there is one connection alone.
            while self._is_paused or (self._is_memory and self._in_use):
                self._lock.wait()
            self._check_fork()
            if self._is_memory:
                if self._writer is None:
                    return None
                self._in_use += 1
                return self._writer
            self._in_use += 1
            idle, replaced = self._idle.pop() if self._idle else None, self._replaced
        try:
            if idle is not None:
                if idle.identity == _identify(self.path):
                    return idle
                # The file was removed or replaced since.
                idle.close()
                self._forget_replaced()
                replaced = self._replaced
            connection = self._open_reader()
        except BaseException:
            self._release()
            raise
        if connection is None:
            self._release()
        else:
            connection.replaced = replaced
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if connection.replaced != self._replaced:
                connection.close()
            elif not self._is_memory:
                self._idle.append(connection)
            self._in_use -= 1
            if self._is_memory or self._is_paused:
                self._lock.notify_all()

    def _release(self) -> None:
        with self._lock:
            self._in_use -= 1
            self._lock.notify_all()

    def _check_fork(self) -> None:
        if self._was_forked_in_use:
            raise ForkedError

    def _open_reader(self) -> Connection | None:
        identity = _identify(self.path)  # before it is opened, so that a file that replaces it meanwhile is noticed
        try:
            connection = self._connect("rw", 0.0)
        except sqlite3.OperationalError:
            if is_missing(self.path):
                return None
            check_path(self.path)
            connection = self._connect("rw", 0.0)  # a writer may have made it meanwhile
        connection.identity = identity
        try:
            version = read_format(connection, self.path)
            if version == len(STEPS):
                return connection
            if version:
                raise _OlderFormatError
        except BaseException:
            connection.close()
            raise
        connection.close()  # another process is about to begin the file
        return None

    def _connect(self, mode: str, seconds: float) -> Connection:
        connection = sqlite3.connect(
            MEMORY if self._is_memory else f"{self._uri}?mode={mode}",
            uri=not self._is_memory,
            timeout=seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_STATEMENTS,
            factory=Connection,
        )
        leave_log(connection)
        return connection

    # Writing: the caller's part

    async def write(self, prepare: Callable[[], Callable[[Connection], T]], seconds: float | None = None) -> T:
        """Carry out a write after all those called before it; see :class:`Write`. It is on the disk on return.

        Raises:
            LockedError: another process held the lock until the deadline; nothing was written.
            Exception: what ``prepare``, what it returned or the commit has raised; nothing was written.
        """
        write = Write(prepare, seconds)
        with self._lock:
            self._check_fork()
            if self._thread is None:
                self._is_stopping = False
                thread = threading.Thread(target=self._run, name="backtest-mongo sqlite", daemon=True)
                thread.start()  # raises where the process may have no more threads; then there is no write to wait for
                self._thread = thread
            self._queue.append(write)
            self._called += 1
            if len(self._queue) == 1:
                self._lock.notify_all()
        return await write.wait()

    # Writing: the thread's part

    def _run(self) -> None:
        while group := self._take_group():
            try:
                self._carry_out(group)
            except Exception as error:  # which nothing should raise; the callers must not wait forever
                for write in group:
                    write.settle(None, error)
            self._deliver(group)
            self._move_log()
            with self._lock:
                self._in_use -= 1
                self._finished += len(group)
                self._lock.notify_all()

    def _move_log(self) -> None:
        """Move the write-ahead log into the file, now and then, once the callers have their outcomes."""
        if self._writer is None or self._is_memory or not self._checkpoints.is_due(self._writer):
            return
        try:
            self._checkpoints.move(self._writer)
        except sqlite3.Error as error:
            # What is in the log is stored. The next write meets what is wrong, and says so.
            log().warning("the write-ahead log can't be moved into the file", database=self.path, error=str(error))
            self._close_writer()

    def _take_group(self) -> list[Write[Any]]:
        """Wait for writes, and return those of the next transaction; none when the thread is to end."""
        with self._lock:
            while self._is_paused or not self._queue or (self._is_memory and self._in_use):
                if self._is_stopping and not self._queue and not self._is_paused:
                    self._close_writer()
                    self._thread = None
                    self._lock.notify_all()
                    return []
                self._lock.wait()
            self._in_use += 1
            return [self._queue.popleft() for _ in range(min(len(self._queue), _GROUP))]

    def _deliver(self, group: Sequence[Write[Any]]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Write[Any]]] = {}
        for write in group:
            by_loop.setdefault(write.loop, []).append(write)
        for loop, writes in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(_deliver_all, writes)

    def _carry_out(self, group: Sequence[Write[Any]]) -> None:
        """Carry out writes in one transaction or, if one fails, in one each."""
        prepared = []
        for write in group:
            try:
                write.apply = write.prepare()
            except Exception as error:
                write.settle(None, error)
            else:
                prepared.append(write)
        try:
            connection, waiting = self._begin(prepared)
        except Exception as error:
            for write in prepared:
                write.settle(None, error)
            return
        if connection is None:
            return
        begun = [write for write in waiting if write.claim()]
        try:
            self._apply(connection, begun)
        except Exception as error:
            self._undo(connection)
            if len(begun) == 1:
                begun[0].settle(None, error)
                return
        else:
            return
        for write in begun:
            self._carry_out_alone(write)

    def _carry_out_alone(self, write: Write[Any]) -> None:
        connection = None
        try:
            connection, _ = self._begin([write])
            if connection is not None:
                self._apply(connection, [write])
        except Exception as error:
            if connection is not None:
                self._undo(connection)
            write.settle(None, error)

    def _apply(self, connection: Connection, writes: Sequence[Write[Any]]) -> None:
        trim(connection)
        results = [write.apply(connection) for write in writes if write.apply is not None]
        connection.execute("COMMIT")
        self.watcher.wake()
        for write, result in zip(writes, results, strict=True):
            write.settle(result)

    def _undo(self, connection: Connection) -> None:
        """Undo a transaction. What the connection knows of the file may no longer be so, and another one is opened."""
        try:
            if connection.in_transaction:  # some errors have ended it
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            log().warning("undoing a transaction failed", database=self.path, error=str(error))
        connection.tables.clear()
        if not self._is_memory:
            self._close_writer()

    def _begin(self, writes: Sequence[Write[Any]]) -> tuple[Connection | None, Sequence[Write[Any]]]:
        """Begin a transaction as soon as no other process has one, and return the writes whose time is not over.

        There is no connection if none is left of them.
        """
        while writes:
            try:
                connection = self._get_writer()
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if not is_locked(error):
                    self._close_writer()
                    raise
                writes = self._give_up_late(writes, error)
                self._let_others_fork()
            else:
                return connection, writes
        return None, writes

    def _give_up_late(self, writes: Sequence[Write[Any]], error: sqlite3.Error) -> list[Write[Any]]:
        at, usual = time.monotonic(), _get_seconds()

        def is_late(write: Write[Any]) -> bool:
            return self._is_ending or at - write.since >= (usual if write.seconds is None else write.seconds)

        for write in writes:
            if is_late(write):
                write.settle(None, _chain(LockedError(), error))
        return [write for write in writes if not is_late(write)]

    def _let_others_fork(self) -> None:
        with self._lock:
            if self._is_paused:
                self._in_use -= 1
                self._lock.notify_all()
                while self._is_paused:
                    self._lock.wait()
                self._in_use += 1

    def _get_writer(self) -> Connection:
        if self._writer is not None and not self._is_memory and _identify(self.path) != self._writer.identity:
            # The file was removed or replaced, so what is written would be lost with the one that is open.
            self._forget_replaced()
            self._close_writer()
        if self._writer is None:
            check_path(self.path)
            connection = self._connect("rwc", _LOCK_SECONDS)
            try:
                prepare_file(connection, self.path)
            except BaseException:
                connection.close()
                raise
            connection.identity = None if self._is_memory else _identify(self.path)
            self._writer = connection
        return self._writer

    def _forget_replaced(self) -> None:
        """Drop what was read of a file that is no longer at the path, and the connections to it."""
        self.blocks.clear()
        with self._lock:
            self._replaced += 1
            self._close_idle()

    # Closing

    def close(self) -> None:
        """Wait until the writes called until now are done, and close what is not in use. It blocks."""
        with self._lock:
            called = self._called
            while self._finished < called:
                self._lock.wait()
            if self._is_memory:
                return
            self._is_stopping = True
            self._lock.notify_all()
            while self._thread is not None and self._called == called:
                self._lock.wait()
            if self._called != called:  # another event loop goes on writing
                self._is_stopping = False
        self.watcher.wait_for_look()
        with self._lock:
            self._close_idle()
            self.blocks.clear()

    @property
    def is_open(self) -> bool:
        """Whether there is a thread or a connection to close."""
        return self._thread is not None or bool(self._idle) or self.watcher.is_looking

    def end(self) -> None:
        """Carry out what waits and close everything, at the end of the process."""
        with self._lock:
            self._is_stopping = self._is_ending = True
            thread = self._thread
            self._lock.notify_all()
        if thread is not None:
            thread.join(_EXIT_SECONDS)
        self.watcher.stop(_EXIT_SECONDS)
        with self._lock:
            self._close_idle()
            if self._is_memory and self._writer is not None and not self._in_use:
                self._writer.close()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _close_writer(self) -> None:
        if self._writer is not None and not self._is_memory:
            self._writer.close()
            self._writer = None

    # Forks

    def pause(self) -> None:
        """Close all connections, and let none be opened, until :meth:`resume`."""
        end = time.monotonic() + _FORK_SECONDS
        with self._lock:
            self._is_paused = True
            while self._in_use and self._lock.wait(max(0.0, end - time.monotonic())):
                pass
            if self._in_use:
                self._was_forked_in_use = True
                return
            self._close_idle()
            self._close_writer()

    def resume(self) -> None:
        with self._lock:
            self._is_paused = self._was_forked_in_use = False
            self._lock.notify_all()

    def begin_in_child(self) -> None:
        """Forget the parent's writes and connections: it carries out and keeps its own."""
        was_in_use = self._was_forked_in_use
        if was_in_use:
            _inherited.append((self._writer, self._idle))  # closing them would disturb the parent's
        elif self._writer is not None:  # what is in memory stays the parent's
            self._writer.close()
        for watch in self.watcher.watches:
            watch.inherit()
        self._start_afresh()
        self.blocks = BlockCache()
        self._was_forked_in_use = was_in_use and not self._is_memory


def _identify(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _look_with(connection: Connection, watches: Sequence[Watched], identity: tuple[int, int] | None) -> list[Arrival]:
    if connection.identity != identity:
        raise _ReplacedError
    connection.execute("BEGIN")
    try:
        newest = find_newest(connection)
        return [watch.look(connection, newest) for watch in watches]
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _chain(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _get_seconds() -> float:
    return get_config().CC_MONGO_TIMEOUT_MS / 1000


def _deliver_all(writes: Sequence[Write[Any]]) -> None:
    for write in writes:
        write.deliver()


#: The databases of this process by path.
_databases: dict[str, Database] = {}
_databases_lock = threading.Lock()
#: The parent's connections, in a child that was forked while they were in use. They are kept unused.
_inherited: list[Any] = []


def get_database(path: str) -> Database:
    """Return this process's database of an absolute path, or of :data:`MEMORY`."""
    with _databases_lock:
        database = _databases.get(path)
        if database is None:
            database = _databases[path] = Database(path)
        return database


async def close_databases() -> None:
    """End this event loop's watches, wait until all writes that were called are done, and close the files.

    What is in memory stays.
    """
    await shield(finish_background())
    loop = asyncio.get_running_loop()
    for database in list(_databases.values()):
        for watch in list(database.watcher.watches):
            if watch.loop is loop:
                watch.end()
    with _databases_lock:
        databases = [database for database in _databases.values() if database.is_open]
    for database in databases:
        await shield(asyncio.to_thread(database.close))


def _before_fork() -> None:
    _databases_lock.acquire()
    for database in _databases.values():
        database.pause()


def _after_fork_in_parent() -> None:
    for database in _databases.values():
        database.resume()
    _databases_lock.release()


def _after_fork_in_child() -> None:
    global _databases_lock
    _databases_lock = threading.Lock()
    for database in _databases.values():
        database.begin_in_child()


def _end_all() -> None:
    for database in list(_databases.values()):
        database.end()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_end_all)

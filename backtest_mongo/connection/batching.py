"""Queues of calls: concurrent calls are batched, in order for each key, and a few requests are under way at a time.

A call is queued, then sent, then settled. Calls that are made in the same turn of the event loop, or that wait for a
lane meanwhile, are sent as one batch. The task that carries out a batch belongs to no caller: a caller that is
cancelled, or whose own timeout expires, does not affect the others, and no driver call is ever cancelled. PyMongo's
asyncio client must not be: it leaves a socket unclosed where it was connecting, and on Python 3.11 a second
cancellation while it waits for a server leaves its lock held, so that it never answers again.

The deadline of a call runs from when it is sent. Until then it waits as long as its queue gets answers, and after one
deadline without any it fails: it was not sent.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, cast

from backtest_mongo.connection.driver_errors import DRIVER_ERRORS
from backtest_mongo.connection.operation import Attempts, Deadline, attempt, caller_seconds_left
from backtest_mongo.core.counters import RoundTrips
from backtest_mongo.core.observation import ObservedOperation, current_operation
from backtest_mongo.errors import BacktestMongoError, StoreUnavailableError

__all__ = ["Call", "Lanes", "Queue", "Reservation"]

#: The most calls of one batch, and their bytes: a batch that has reached either takes no more.
MAX_BATCH_CALLS: Final = 1_000
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
#: Lanes that the largest batch takes.
LANES_OF_A_BATCH: Final = 4
#: How often waiting calls are looked at within one deadline.
STEPS: Final = 16

Item = TypeVar("Item")
Result = TypeVar("Result")
T = TypeVar("T")

#: ``(doing, key, reason, was_sent)`` to the error of a call that has no answer.
Unanswered = Callable[[str, Any, str, bool], StoreUnavailableError]
#: ``(doing, error, key)`` to the error to raise for one of the driver's.
Translate = Callable[[str, Exception, Any], BacktestMongoError]


class State(enum.Enum):
    """How far a call has progressed."""

    QUEUED = enum.auto()
    SENT = enum.auto()
    SETTLED = enum.auto()


# Looking a member up takes ten times as long on Python 3.11.
_QUEUED: Final = State.QUEUED
_SENT: Final = State.SENT
_SETTLED: Final = State.SETTLED


class Call(Generic[Item, Result]):
    """One caller: what it asks for, and where its own answer or its own error goes.

    Args:
        item: what is sent, batched with others; it is ignored where there is ``work`` or ``steps``.
        doing: the operation that an error says has failed.
        key: what the error names.
        keys: calls that share one of these are sent in their order.
        size: the bytes of ``item``.
        rows: how many rows it is counted as, 0 if it counts them itself.
        work: what is carried out by itself, and retried as a whole.
        steps: what is carried out by itself, and retries its own steps.
        is_long: ``steps`` are several requests, each of which has a deadline of its own.
        is_reservation: nothing is sent for it: see :class:`Reservation`.
        observed: the operations that the call belongs to; the current one if left out.
    """

    __slots__ = (
        "blockers",
        "context",
        "doing",
        "error",
        "future",
        "is_done",
        "is_long",
        "is_reservation",
        "item",
        "key",
        "keys",
        "observed",
        "result",
        "rows",
        "since",
        "size",
        "state",
        "steps",
        "task",
        "work",
    )

    def __init__(
        self,
        item: Item,
        doing: str,
        key: Any,
        keys: Sequence[Hashable] = (),
        size: int = 0,
        *,
        rows: int = 1,
        work: Callable[[Attempts], Awaitable[Any]] | None = None,
        steps: Callable[[], Awaitable[Any]] | None = None,
        is_long: bool = False,
        is_reservation: bool = False,
        observed: Sequence[ObservedOperation] = (),
    ) -> None:
        self.item: Item = item
        self.key: Any = key
        self.keys: Sequence[Hashable] = keys
        self.size: int = size
        self.rows: int = rows
        self.work: Callable[[Attempts], Awaitable[Any]] | None = work
        self.steps: Callable[[], Awaitable[Any]] | None = steps
        self.doing: str = doing
        self.is_long: bool = is_long
        self.is_reservation: bool = is_reservation
        self.state: State = _QUEUED
        current = current_operation.get()
        self.observed: Sequence[ObservedOperation] = observed or (() if current is None else (current,))
        #: The context of an observed call, in which its span is current. Others don't keep their callers' contexts.
        self.context: Context | None = copy_context() if self.observed else None
        self.future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        #: The task that carries it out, once it is sent.
        self.task: asyncio.Task[None] | None = None
        #: How many calls with one of its keys are before it.
        self.blockers: int = 0
        #: The step of its queue's timer in which it was made.
        self.since: int = 0
        #: Whether it has its answer or an error of its own.
        self.is_done: bool = False
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self, result: Result) -> None:
        """Take the answer; the caller gets it once the batch is done."""
        self.result, self.error, self.is_done = result, None, True

    def fail(self, error: BaseException) -> None:
        """Take the error; the caller gets it once the batch is done."""
        self.error, self.is_done = error, True

    def settle(self) -> None:
        """Let the caller go on, if it still waits."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        elif isinstance(self.error, asyncio.CancelledError):
            self.future.cancel()
        else:
            self.future.set_exception(self.error)


class Lanes:
    """The lanes that all queues of one kind share on one event loop: each request under way takes at least one.

    A large batch takes several lanes, but starts as soon as one is free: a server that works on many large batches at
    once completes none of them in time. Queues that wait get a lane in turn. Lanes stay shut until those in ``after``
    are idle: calls made after a ``close()`` can't overtake those made before.
    """

    def __init__(self, count: int, after: Sequence[Lanes] = ()) -> None:
        self._free = count
        self._waiting: deque[Queue[Any, Any]] = deque()
        self._before = [lanes for lanes in after if not lanes.is_idle]
        self._when_idle: list[Callable[[], object]] = []
        #: How many calls are queued or under way.
        self.calls: int = 0
        #: How many requests were answered.
        self.answers: int = 0
        #: Calls that were sent and ended without an answer.
        self.unknown: int = 0
        for lanes in self._before:
            lanes._when_idle.append(self._hand_out)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return not self.calls

    @property
    def total_answers(self) -> int:
        """How many requests were answered; while these lanes are shut, those of the lanes before are included."""
        return self.answers + sum(lanes.total_answers for lanes in self._before)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the lanes from becoming idle during an operation of several calls."""
        self.calls += 1
        try:
            yield
        finally:
            self.leave(1)

    def leave(self, calls: int) -> None:
        """Take so many calls as settled."""
        self.calls -= calls
        if not self.calls:
            callbacks, self._when_idle = self._when_idle, []
            for callback in callbacks:
                callback()

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait until they are idle, as long as there is an answer every ``seconds``."""
        steps, answers = 0, self.total_answers
        while not self.is_idle and steps <= STEPS:
            idle = asyncio.get_running_loop().create_future()
            self._when_idle.append(lambda idle=idle: idle.done() or idle.set_result(None))  # type: ignore[misc]
            await asyncio.wait([idle], timeout=seconds / STEPS)
            steps = steps + 1 if answers == self.total_answers else 0
            answers = self.total_answers

    def request_turn(self, queue: Queue[Any, Any]) -> None:
        """Let ``queue`` start its batches, now or when its turn comes."""
        self._waiting.append(queue)
        self._hand_out()

    def release(self, lanes: int) -> None:
        """Take lanes back, and give them to those that wait."""
        self._free += lanes
        self._hand_out()

    def _hand_out(self) -> None:
        # Once idle, they have done what was called before this; what is called on them later need not be waited for.
        if self._before:
            self._before = [lanes for lanes in self._before if not lanes.is_idle]
        while self._free > 0 and self._waiting and not self._before:
            queue = self._waiting.popleft()
            self._free -= queue.start()
            if queue.wants_lane:
                self._waiting.append(queue)
        for queue in self._waiting:
            queue.watch()


class Queue(Generic[Item, Result]):
    """The calls of one slot on one event loop: those that read, or those that write.

    Calls with one key are sent in the order in which they were made, each after the answer to the one before.

    Args:
        lanes: shared with other slots.
        seconds: the deadline of a request, and how long calls wait while none is answered.
        prepare: what is done before the first request; it returns whether that holds for all later ones too.
        unanswered: makes the error of a call that has no answer.
        translate: makes the error of a call that has one of the driver's.
        is_write: whether a caller that is cancelled waits until what was sent is done.
        trips: where requests and their calls are counted.
        confirm: called after each request; what it raises takes the place of the answers.
    """

    def __init__(
        self,
        lanes: Lanes,
        seconds: float,
        prepare: Callable[[], Awaitable[bool]],
        unanswered: Unanswered,
        translate: Translate,
        *,
        is_write: bool,
        trips: RoundTrips | None = None,
        confirm: Callable[[], None] | None = None,
    ) -> None:
        self._lanes = lanes
        self._seconds = seconds
        self._prepare = prepare
        self._unanswered = unanswered
        self._translate = translate
        self._is_write = is_write
        self._trips = trips or RoundTrips()
        self._confirm = confirm
        #: Whether nothing has to be prepared any more.
        self.is_prepared: bool = False
        #: An attempt at a batch: it answers or fails each of its calls that is not done.
        self.send: Callable[[list[Call[Item, Result]], Attempts], Awaitable[None]] | None = None
        #: The calls that wait behind another one of the same key; ``None`` where none does.
        self._lines: dict[Hashable, deque[Call[Item, Result]] | None] = {}
        #: Calls that only need a lane.
        self._ready: deque[Call[Item, Result]] = deque()
        #: All calls that wait, in their order; those that were sent are passed over.
        self._queued: deque[Call[Item, Result]] = deque()
        #: The batches under way and their lanes, by task; the event loop alone would not keep the tasks alive.
        self._under_way: dict[asyncio.Task[None], tuple[list[Call[Item, Result]], int]] = {}
        #: A task that is to ask for a lane as its first step.
        self._starting: asyncio.Task[None] | None = None
        #: How many of its requests were answered.
        self.answers: int = 0
        # Waiting is counted in steps of a timer, of which a loop that is held up takes fewer.
        self._step = 0
        self._answered_at = 0
        # What the last step found, of this queue's answers and of all.
        self._known_answers = 0
        self._known_total = 0
        # Whether others' answers have given a lane to calls that waited for one.
        self._got_lane = False
        #: Whether calls are ready to be sent.
        self.wants_lane: bool = False
        self._watchdog: asyncio.TimerHandle | None = None

    def call(
        self, item: Item, doing: str, key: Any, keys: Sequence[Hashable] = (), size: int = 0
    ) -> Coroutine[Any, Any, Result]:
        """Queue ``item``, to be carried out batched with others, and return the wait for it, which has to be awaited.

        Args:
            item: what is sent.
            doing: what the error says that failed.
            key: what the error names.
            keys: calls that share one of these are sent in their order.
            size: the bytes of ``item``.

        Raises:
            BacktestMongoError: MongoDB refused it or gave no answer in time, from the wait.
        """
        call: Call[Item, Result] = Call(item, doing, key, keys, size)
        self._enter(call)
        return self.wait_for(call)  # rather than waiting here: each coroutine more costs every call

    async def call_all(self, calls: Sequence[Call[Item, Result]]) -> list[Result | BaseException]:
        """Carry out many calls, in their order for each key, and return the answer or the error of each.

        All of them are queued at once: no call made while they wait gets between them.
        """
        seconds = caller_seconds_left()
        for call in calls:
            self._enter(call)
        futures = [call.future for call in calls]
        try:
            _, missing = await asyncio.wait(futures, timeout=seconds and max(0.0, seconds))
        except asyncio.CancelledError:
            await self._withdraw(calls)
            raise
        if missing:
            for call in calls:
                if not call.future.done():
                    call.error = self._abandon(call, "the caller's own timeout has expired")
        return [_outcome(call) for call in calls]

    async def run(
        self,
        work: Callable[[Attempts], Awaitable[T]],
        doing: str,
        key: Any = None,
        keys: Sequence[Hashable] = (),
    ) -> T:
        """Carry out ``work`` by itself, any number of times."""
        call: Call[Any, Any] = Call(None, doing, key, keys, rows=0, work=work)
        self._enter(call)
        return cast("T", await self.wait_for(call))

    async def run_steps(
        self,
        steps: Callable[[], Awaitable[T]],
        doing: str,
        key: Any = None,
        keys: Sequence[Hashable] = (),
        *,
        is_long: bool = False,
    ) -> T:
        """Carry out ``steps`` by themselves, once: they retry what they do.

        With ``is_long`` they are several requests, each of which they bound by :meth:`bound_request`.
        """
        call: Call[Any, Any] = Call(None, doing, key, keys, rows=0, steps=steps, is_long=is_long)
        self._enter(call)
        return cast("T", await self.wait_for(call))

    def reserve(self, doing: str, keys: Sequence[Hashable]) -> Reservation:
        """Take a place in the order of ``keys`` now, for calls without keys that are to be made later."""
        call: Call[Any, Any] = Call(None, doing, None, keys, is_reservation=True)
        self._enter(call)
        return Reservation(self, call)

    def bound_request(self) -> Deadline:
        """Return the deadline of one of the requests of a long call."""
        return Deadline(self._seconds, (self, self._lanes))

    async def wait_for(self, call: Call[Item, Result]) -> Result:
        """Return the answer to a queued call."""
        seconds = caller_seconds_left()
        future = call.future
        try:
            if seconds is not None:
                await asyncio.wait([future], timeout=max(0.0, seconds))
                if not future.done():
                    raise self._abandon(call, "the caller's own timeout has expired")
            return await future
        except asyncio.CancelledError:
            await self._withdraw([call])
            raise

    async def _withdraw(self, calls: Sequence[Call[Item, Result]]) -> None:
        """Drop the calls of a cancelled caller; of writes that were sent, wait until they are done.

        So nothing happens behind the back of code that runs after the cancellation. A second cancellation ends the
        wait, and not the writes.
        """
        for call in calls:
            if not call.future.cancel() and not call.future.cancelled():
                call.future.exception()  # nobody else will ask for it
            if call.state is _QUEUED:
                self._drop(call)
        tasks = {call.task for call in calls if call.task is not None and not call.task.done()}
        if self._is_write and tasks:
            await asyncio.wait(tasks)

    def _enter(self, call: Call[Item, Result]) -> None:
        self._lanes.calls += 1
        call.since = self._step
        for key in call.keys:
            if key in self._lines:
                line = self._lines[key]
                if line is None:
                    line = self._lines[key] = deque()
                line.append(call)
                call.blockers += 1
            else:
                self._lines[key] = None
        self._queued.append(call)
        if call.blockers:
            self.watch()
        else:
            self._make_ready(call)

    def _make_ready(self, call: Call[Item, Result]) -> None:
        if call.is_reservation:
            if call.state is _QUEUED and not call.future.done():
                call.state = _SENT
                call.future.set_result(cast("Result", None))
            else:  # given up; not at once, as many in a row would be a deep recursion
                asyncio.get_running_loop().call_soon(self._unblock, call)
            return
        self._ready.append(call)
        if not self.wants_lane:
            self.wants_lane = True
            # Its first step is at the end of this turn, so that all calls that are made in it are batched.
            self._starting = self._create_task(self._ask_for_lane(), Context())

    def start(self) -> int:
        """Send the next batch; return how many lanes it takes, 0 where there was none."""
        self.wants_lane = True  # what becomes ready meanwhile need not ask for itself
        calls = self._take()
        self.wants_lane = bool(self._ready)
        if not calls:
            return 0
        if self._watchdog is not None and not self._under_way and self._lanes.total_answers != self._known_total:
            self._got_lane = True
        first = calls[0]
        rows = len(calls) if len(calls) > 1 else first.rows
        lanes = LANES_OF_A_BATCH if first.is_long else 1 + (LANES_OF_A_BATCH - 1) * rows // MAX_BATCH_CALLS
        task, self._starting = self._starting, None
        if len(calls) == 1 and first.context is not None:
            task = self._create_task(self._carry_out(calls), first.context)
        elif task is None:
            task = self._create_task(self._carry_out(calls), Context())
        self._under_way[task] = calls, lanes
        for call in calls:
            call.state = _SENT
            call.task = task
        return lanes

    async def _ask_for_lane(self) -> None:
        """Ask for a lane at the end of the turn in which calls became ready, and carry out the batch that gets it."""
        self._lanes.request_turn(self)
        self._starting = None
        batch = self._under_way.get(cast("asyncio.Task[None]", asyncio.current_task()))
        if batch is not None:
            await self._carry_out(batch[0])

    def _create_task(self, work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        # Not by way of the loop, whose factory may begin it at once: eager tasks would find no other calls to batch.
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), context=context)
        # For one that is cancelled before it begins, as by the end of the loop.
        task.add_done_callback(self._release)
        return task

    def _take(self) -> list[Call[Item, Result]]:
        calls: list[Call[Item, Result]] = []
        size = 0
        while self._ready and len(calls) < MAX_BATCH_CALLS and size < MAX_BATCH_BYTES:
            call = self._ready.popleft()
            if call.state is _QUEUED and call.future.done():  # cancelled in this turn
                self._drop(call)
            if call.state is not _QUEUED:  # its caller has gone
                self._unblock(call)
            elif call.work is None and call.steps is None:
                calls.append(call)
                size += call.size
            elif calls:
                self._ready.appendleft(call)
                break
            else:
                return [call]
        return calls

    async def _carry_out(self, calls: list[Call[Item, Result]]) -> None:
        first = calls[0]
        try:
            observed = [one for call in calls for one in call.observed]
            with observed[0].mark_sent(observed) if observed else nullcontext():
                if first.steps is not None and first.is_long:
                    first.answer(await first.steps())
                else:
                    Deadline(self._seconds, (self, self._lanes)).start()
                    if not self.is_prepared:
                        self.is_prepared = await self._prepare()
                    if first.steps is not None:
                        first.answer(await first.steps())
                    elif first.work is not None:
                        if first.rows:
                            self._trips.add(first.rows)
                        first.answer(await attempt(first.work))
                    elif self.send is not None:
                        self._trips.trips += 1
                        self._trips.rows += len(calls)
                        await attempt(self.send, calls)
                    if self._confirm is not None:
                        self._confirm()
        except DRIVER_ERRORS as error:
            for call in calls:
                if not call.is_done:
                    call.fail(self._translate(call.doing, error, call.key))
        except BaseException as error:
            for call in calls:
                call.fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._release(cast("asyncio.Task[None]", asyncio.current_task()))

    def _release(self, task: asyncio.Task[None]) -> None:
        """Settle the batch that a task carries out; once it is done there is none left."""
        if task is self._starting:  # cancelled before it began
            self._starting = None
            self._lanes.request_turn(self)
        batch = self._under_way.pop(task, None)
        if batch is None:
            return
        calls, lanes = batch
        is_cancelled = task.done() and task.cancelled()
        for call in calls:
            call.state = _SETTLED
            if is_cancelled:
                call.fail(asyncio.CancelledError())
            if call.error is not None and isinstance(call.error, StoreUnavailableError) and call.error.may_be_applied:
                self._lanes.unknown += 1
            if call.keys:
                self._unblock(call)
            call.settle()
        self._lanes.leave(len(calls))
        while self._queued and self._queued[0].state is not _QUEUED:
            self._queued.popleft()
        self._lanes.release(lanes)

    def give_up(self, call: Call[Item, Result]) -> None:
        """Release the calls that wait behind a reservation."""
        if call.state is _SENT:
            call.state = _SETTLED
            self._unblock(call)
            self._lanes.leave(1)
        elif call.state is _QUEUED:
            self._drop(call)
        elif call.future.done() and not call.future.cancelled():
            call.future.exception()  # nobody else will ask for it

    def note_answer(self) -> None:
        """Note that a request on behalf of one of these calls was answered."""
        self.answers += 1
        self._lanes.answers += 1

    def _unblock(self, call: Call[Item, Result]) -> None:
        """Let the next call of each key go on."""
        for key in call.keys:
            line = self._lines[key]
            if not line:
                del self._lines[key]
                continue
            after = line.popleft()
            after.blockers -= 1
            if not after.blockers:
                self._make_ready(after)

    def _drop(self, call: Call[Item, Result]) -> None:
        """Drop a call that was not sent."""
        call.state = _SETTLED
        call.future.cancel()
        self._lanes.leave(1)

    def _abandon(self, call: Call[Item, Result], reason: str) -> StoreUnavailableError:
        was_sent = call.state is _SENT
        error = self._unanswered(call.doing, call.key, reason, was_sent)
        if was_sent:
            call.future.cancel()  # nobody waits for it now
        else:
            self._drop(call)
        return error

    # How long calls wait

    def watch(self) -> None:
        """Make sure that no call waits forever."""
        if self._watchdog is None and self._seconds != float("inf"):
            self._watchdog = asyncio.get_running_loop().call_later(self._seconds / STEPS, self._look)

    def _look(self) -> None:
        """Fail the calls that have waited for one deadline in which nothing was answered."""
        self._watchdog = None
        self._step += 1
        total = self._lanes.total_answers
        is_answered = self._got_lane or self.answers != self._known_answers
        if is_answered or (total != self._known_total and not self._under_way):
            self._answered_at = self._step
        self._got_lane, self._known_answers, self._known_total = False, self.answers, total
        while self._queued:
            call = self._queued[0]
            if call.state is _QUEUED:
                if self._step - max(call.since, self._answered_at) <= STEPS:
                    self.watch()
                    return
                error = self._unanswered(call.doing, call.key, f"it answered nothing for {self._seconds:g} s", False)
                if not call.future.done():
                    call.future.set_exception(error)
                self._drop(call)
            self._queued.popleft()


class Reservation:
    """A place in the order of some keys, taken when it is made: calls of these keys that come later wait behind it.

    ``async with`` waits until all calls before it are settled, and gives the place up at the end.
    """

    def __init__(self, queue: Queue[Any, Any], call: Call[Any, Any]) -> None:
        self._queue = queue
        self._call = call

    async def __aenter__(self) -> None:
        await self._queue.wait_for(self._call)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Let the calls behind it go on, whether or not its turn has come."""
        self._queue.give_up(self._call)


def _outcome(call: Call[Any, Any]) -> Any:
    future = call.future
    if future.cancelled():  # given up, or the loop is ending
        return call.error or asyncio.CancelledError()
    return future.exception() or future.result()

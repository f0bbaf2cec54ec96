"""Synchronous classes and functions, made of the asynchronous ones when they are first asked for.

Of each adapter class there is one here with the same methods. It holds an object of the other one, and has its methods
carried out by the background thread.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType, GenericAlias, TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar
from weakref import WeakKeyDictionary, ref

from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.core import watch
from backtest_mongo.core.changes import Change
from backtest_mongo.sync.portal import run, run_soon

__all__ = [
    "Stream",
    "SyncAdapter",
    "Watch",
    "describe",
    "describe_as",
    "make_function",
    "unwrap",
    "wrap",
    "wrap_class",
    "wrap_factory",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

#: Most items that an iterator takes from the other thread at a time.
_MOST: Final = 256
_LOST: Final = "Its commit raises ``LeaseLostError``, and so does the next call in the block"
#: What the docstrings of the asynchronous API say, and what they say here.
_WORDS: Final = (
    (re.compile(r"\bawait\s+"), ""),
    (re.compile(r"\basync (?=with |for )"), ""),
    (re.compile(r"``async (?=with``|for``)"), "``"),
    (re.compile(r"\b([Aa])n async iterator"), r"\1n iterator"),
    (re.compile(r"An object to await, or to use with"), "An object for"),
    (re.compile(r"It meets ``LeaseLostError``, and its block is cancelled as by ``asyncio\.timeout``"), _LOST),
    (re.compile(r"of the running event loop"), "of synchronous calls"),
    (re.compile(r"\n\n *Raises:\n *RuntimeError: no event loop is running\.(?=\s*$)"), ""),
    (re.compile(r"It opens no connection and needs no event loop"), "It opens no connection"),
)


class Stream(Iterator[T], Generic[T]):
    """An iterator over what an asynchronous one yields. Leaving the loop ends it, as does :meth:`close`.

    It asks for one item first, and for ever more at a time after that, up to 256.
    """

    def __init__(self, name: str, items: AsyncIterator[Any]) -> None:
        self._name = name
        self._items: AsyncIterator[Any] | None = items
        self._taken: list[Any] = []
        self._error: BaseException | None = None
        self._count = 1

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if not self._taken:
            self._take()
        return wrap(self._taken.pop())  # type: ignore[no-any-return]  # which is an item

    def _take(self) -> None:
        if self._items is None:
            error, self._error = self._error or StopIteration(), None
            raise error
        found, error = run(self._name, _take, self._items, self._count)
        self._count = min(2 * self._count, _MOST)
        self._taken = found[::-1]
        if error is not None:
            self._items, self._error = None, error if not isinstance(error, StopAsyncIteration) else None
            if not found:
                self._take()

    def close(self) -> None:
        """End the iteration. Closing twice is fine."""
        items, self._items, self._taken, self._error = self._items, None, [], None
        if items is not None:
            run(self._name, _close, items)

    def __del__(self) -> None:
        if self._items is not None:
            run_soon(_close, self._items)


async def _take(items: AsyncIterator[Any], most: int) -> tuple[list[Any], BaseException | None]:
    """Return the next items, and what ended the iteration, if anything did."""
    found: list[Any] = []
    while len(found) < most:
        try:
            found.append(await anext(items))
        except Exception as error:
            return found, error
    return found, None


async def _close(items: Any) -> None:
    if hasattr(items, "aclose"):
        await items.aclose()


class Watch(Iterator[Change]):
    """Changes as they happen, oldest first: each step waits for the next one.

    ::

        with SignalAdapter("BTCUSDT", "my_strategy", "binance").watch() as changes:
            row = ...  # a write that this read misses is among the changes
            for change in changes:
                ...

    It starts when it is entered, otherwise with the first step. It ends with the block, with the iterator (``break`` is
    enough), and by :meth:`close` or ``backtest_mongo.sync.close()``.
    """

    def __init__(self, changes: watch.Watch) -> None:
        self._changes = changes

    @property
    def token(self) -> str | None:
        """The position to resume from: see :attr:`backtest_mongo.core.watch.Watch.token`."""
        return self._changes.token

    def __enter__(self) -> Self:
        run("watch", self._changes.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        """Wait for the next change and return it.

        Raises:
            BacktestMongoError: as :class:`backtest_mongo.core.watch.Watch` says.
        """
        change = run("watch", _next_change, self._changes)
        if change is None:
            raise StopIteration
        return change  # type: ignore[no-any-return]  # which it is

    def close(self) -> None:
        """End the watch, also in other threads that wait for a change. Closing twice is fine."""
        run("watch", self._changes.aclose)


async def _next_change(changes: watch.Watch) -> Change | None:
    return await anext(changes, None)


class SyncAdapter:
    """A slot in one context: the base of all classes here."""

    #: The class whose methods are carried out.
    _asynchronous: ClassVar[Any]

    #: For annotations such as ``TypedSignalAdapter[Signal]``.
    __class_getitem__: ClassVar[Any] = classmethod(GenericAlias)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._adapter: Any = self._asynchronous(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self._adapter)

    def __reduce__(self) -> tuple[Any, ...]:
        return wrap, (self._adapter,)


def unwrap(value: Any) -> Any:
    """Return the asynchronous adapter of a synchronous one, and anything else as it is."""
    return value._adapter if isinstance(value, SyncAdapter) else value


#: The object here of each asynchronous one, as long as it lives.
_wrapped: WeakKeyDictionary[Any, ref[SyncAdapter]] = WeakKeyDictionary()


def wrap(value: Any, *, is_foreign: bool = False) -> Any:
    """Return the synchronous adapter of an asynchronous one, and anything else as it is.

    Args:
        value: whatever a call has returned.
        is_foreign: whether it is an adapter, of whichever class.
    """
    if not (is_foreign or isinstance(value, Adapter)):
        return value
    try:
        known = _wrapped.get(value)
    except TypeError:  # one of another's, which can't be referred to weakly, or has no hash
        known = None
    found = None if known is None else known()
    if found is None:
        cls = wrap_class(type(value))
        found = cls.__new__(cls)
        found._adapter = value
        try:
            _wrapped[value] = ref(found)
        except TypeError:
            return found
    return found


def wrap_factory(make: Callable[..., Any], *, is_foreign: bool = False) -> Callable[..., Any]:
    """Return the function that makes synchronous adapters, of that which makes asynchronous ones."""

    @functools.wraps(make)
    def make_synchronous(*args: Any, **kwargs: Any) -> Any:
        return wrap(make(*args, **kwargs), is_foreign=is_foreign)

    make_synchronous.__doc__ = describe(make.__doc__)
    return make_synchronous


#: The class here of each asynchronous one.
_classes: dict[Any, type[SyncAdapter]] = {}


def wrap_class(cls: Any) -> type[SyncAdapter]:
    """Return the class here of an asynchronous one, which is made once."""
    known = _classes.get(cls)
    return _classes.setdefault(cls, _make_class(cls)) if known is None else known


def _make_class(cls: Any) -> type[SyncAdapter]:
    bases: tuple[type, ...] = (SyncAdapter,)
    members = dict(vars(cls))
    if cls is not Adapter and issubclass(cls, Adapter):
        bases = tuple(wrap_class(base) for base in cls.__bases__ if issubclass(base, Adapter))
    elif cls is not Adapter:  # of somebody else
        members = {name: inspect.getattr_static(cls, name) for name in dir(cls)}
    own: dict[str, Any] = {name: _wrap_member(name, value) for name, value in members.items() if name[0] != "_"}
    own |= {"__doc__": describe(cls.__doc__), "__module__": "backtest_mongo.sync", "_asynchronous": cls}
    made = type(cls.__name__, bases, own)
    made.__signature__ = inspect.signature(cls)  # type: ignore[attr-defined]
    return made


def _wrap_member(name: str, value: Any) -> Any:
    if isinstance(value, property):
        return property(lambda self: getattr(self._adapter, name), doc=describe(value.__doc__))
    function = value.__func__ if isinstance(value, classmethod) else value
    if not isinstance(function, FunctionType):
        return value
    finish, is_of_class = find_kind(function), isinstance(value, classmethod)

    def of(owner: Any) -> Any:
        return getattr(owner._asynchronous if is_of_class else owner._adapter, name)

    if finish is None:

        @functools.wraps(function)
        def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return run(name, of(self), *map(unwrap, args), **kwargs)

    else:

        @functools.wraps(function)
        def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return finish(name, of(self)(*args, **kwargs))

    method.__doc__ = describe(function.__doc__)
    return classmethod(method) if is_of_class else method


def find_kind(function: Callable[..., Any]) -> Callable[[str, Any], Any] | None:
    """Return what makes the result of a method of its asynchronous result; ``None`` if that must be awaited."""
    if inspect.iscoroutinefunction(function):
        return None
    returned = str(inspect.signature(function).return_annotation)
    if returned.startswith("AsyncIterator["):
        return Stream
    if returned == "Watch":
        return lambda _, changes: Watch(changes)
    return lambda _, result: result


def make_function(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function here of an asynchronous one."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        named = {key: unwrap(value) for key, value in kwargs.items()}
        return run(name, function, *map(unwrap, args), **named)

    call.__module__, call.__doc__ = "backtest_mongo.sync", describe(function.__doc__)
    return call


def describe_as(function: Callable[..., Any]) -> Callable[[F], F]:
    """Give a function the arguments, for ``help()``, and the docstring of its asynchronous counterpart."""

    def decorate(own: F) -> F:
        returned = inspect.signature(own).return_annotation
        own.__signature__ = inspect.signature(function).replace(return_annotation=returned)  # type: ignore[attr-defined]
        own.__doc__ = describe(function.__doc__)
        return own

    return decorate


def describe(doc: str | None) -> str | None:
    """Return the docstring of something asynchronous as that of its synchronous counterpart."""
    for pattern, words in _WORDS if doc else ():
        doc = pattern.sub(words, doc or "")
    return doc

"""Expands a row of the slot table into an adapter class.

The methods of each shape are written below as the source of a class. A row fills in its names, and the source is
compiled once, as if it were a module; its lines are in :mod:`linecache`, so that tracebacks, debuggers and
``inspect.getsource`` show them. Each method is one call of the shape's base class in
:mod:`backtest_mongo.adapters.shapes`, where the work is done.
"""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, Final

from backtest_mongo.adapters.shapes import (
    Adapter,
    BucketAdapter,
    CollectionAdapter,
    ColumnSeriesAdapter,
    DocumentAdapter,
    EntryAdapter,
    SeriesAdapter,
    TypedBucketAdapter,
    TypedCollectionAdapter,
    TypedDocumentAdapter,
    TypedEntryAdapter,
)
from backtest_mongo.core.columns import Unit
from backtest_mongo.core.specs import FLAG, PayloadKind, Shape, SlotSpec
from backtest_mongo.types import Candle, Context, Payload, Rows, SeriesTime, Version, Versioned, When

__all__ = [
    "TYPED",
    "describe_context",
    "expand",
    "expand_contract",
    "is_in_contract",
    "make_signature",
    "name_model",
]

_CLASS: Final = '''\
class {class_name}({base}):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make an adapter for this context. It opens no connection and needs no event loop.

        Args:
{context}
        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: an argument has the wrong type or is empty{or_unknown_interval}.
        """
        super().__init__(*args, **kwargs)
'''

_DOCUMENT: Final = '''
    async def read_{noun}_data(self{as_of}{version_flag}) -> {versioned_or}{stored}:
        """Return what is stored for this context.

        Args:
{reader_time}{about_version_flag}
        Returns:
            The payload that was written last, or {nothing} if nothing is stored{as_versioned}.

        Raises:
{bad_reader_time}{read_errors}
        """
        return await self._read({read_arguments})

    async def write_{noun}_data(self, {value}: {payload}{at}{condition}) -> None:
        """Store ``{value}`` for this context, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            {value}: {payload_rule}
{writer_time}{about_condition}
        Raises:
            InputError: {bad_condition}``{value}`` can't be stored{or_bad_time}.
                Nothing was sent.
{conflict}{settled_errors}
        """
        await self._write({value}{and_when}{and_condition})

    @classmethod
    async def read_many(cls, contexts: Iterable[Context]{as_of}) -> list[{stored}]:
        """Return what is stored for many contexts, in one round trip.

        Args:
            contexts: the constructor's arguments for each, as a sequence in their order or as a mapping by name.
{reader_time}
        Returns:
            The payload of each context, or {nothing} where nothing is stored, in the order of ``contexts``.

        Raises:
            InputError: a context can't be a key{or_bad_time}. Nothing was sent.
{read_errors}
        """
        return await cls._read_many(contexts{and_when})

    @classmethod
    async def write_many(cls, rows: Iterable[tuple[Context, {payload}]]{at}) -> None:
        """Store the payloads of many contexts, in one round trip.

        All are checked before any is sent. Each is one atomic upsert: one that the server refuses doesn't keep the
        others from being stored, and the first such error is raised at the end.

        Args:
            rows: pairs of a context and its ``{value}``. A context is the constructor's arguments, as a sequence in
                their order or as a mapping by name.
{writer_time}
        Raises:
            InputError: a context or a payload can't be stored{or_bad_time}. Nothing was sent.
{write_errors}
        """
        await cls._write_many(rows{and_when})
'''

_ENTRY: Final = '''
    async def read_{noun}_data(self, {argument}: str{as_of}{version_flag}) -> {versioned_or}{stored}:
        """Return what is stored for ``{argument}``.

        Args:
            {argument}: the entry's key.
{reader_time}{about_version_flag}
        Returns:
            The payload that was written last, or an empty dict if nothing is stored{as_versioned}.

        Raises:
            InputError: ``{argument}`` can't be a key{or_bad_time}.
{read_errors}
        """
        return await self._read({argument}{and_when}{and_version_flag})

    async def write_{noun}_data(self, {value}: Payload, {argument}: str{at}{condition}) -> None:
        """Store ``{value}`` for ``{argument}``, in place of what was stored.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            {value}: {payload_rule}
            {argument}: the entry's key.
{writer_time}{about_condition}
        Raises:
            InputError: {bad_condition}``{value}`` can't be stored, or ``{argument}`` can't be a
                key{or_bad_time}. Nothing was sent.
{conflict}{settled_errors}
        """
        await self._write({value}, {argument}{and_when}{and_condition})
'''

_WHOLE_COLLECTION: Final = '''
    async def read_{noun}_data(self{filters}) -> list[dict[str, Any]]:
        """Return every row, however many there are.

        Args:
{about_filters}
        Returns:
            The rows in the order of their ids.

        Raises:
{bad_filter}{read_errors}
        """
        return await self._read_all({filter_arguments})
'''

_NEWEST_ROWS: Final = '''
    async def read_{noun}_data(self, limit: int = {newest}{filters}) -> list[dict[str, Any]]:
        """Return the newest rows: those whose first write came last.

        Args:
            limit: how many rows, 1 or more.
{about_filters}
        Returns:
            ``limit`` rows, or all if there are fewer, oldest first.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more{or_bad_filter}.
{read_errors}
        """
        return await self._read_newest(limit{and_filter_arguments})
'''

_COLLECTION: Final = '''
    async def write_{noun}_data(self, {value}: Rows) -> None:
        """Store each of ``{value}`` under its own ``id``; rows with other ids stay as they are.

        All are checked before any is sent, and sent in their order, in one batch. Each row is one atomic upsert; all of
        them are stored together only within a transaction, under a lease of this context, and on SQLite.

        Args:
            {value}: a list of dicts of whatever BSON holds, each with an ``id``. Of rows with the same ``id`` the last
                one is stored.

        Raises:
            InputError: one of ``{value}`` has no ``id`` or can't be stored. Nothing was sent.
{write_errors}
        """
        await self._write({value})
'''

_BUCKET: Final = '''
    async def read_{noun}_data(self, {argument}: str{as_of}{version_flag}) -> {versioned_or}{stored}:
        """Return what is stored for ``{argument}``.

        Args:
            {argument}: the row's key.
{reader_time}{about_version_flag}
        Returns:
            The payload that was written last, or ``None`` if nothing is stored or the row is removed{as_versioned}.

        Raises:
            InputError: ``{argument}`` can't be a key{or_bad_time}.
{read_errors}
        """
        return await self._read({argument}{and_when}{and_version_flag})

    async def write_{noun}_data(self, {value}: Payload, {argument}: str{at_or_ignored}{condition}) -> None:
        """Store ``{value}`` for ``{argument}``, in place of what was stored; a removed row comes back.

        It is one atomic upsert: once it returns, every reader in any process sees it.

        Args:
            {value}: {payload_rule}
            {argument}: the row's key.
{writer_time_or_ignored}{about_condition}
        Raises:
            InputError: {bad_condition}``{value}`` can't be stored, ``{argument}`` can't be a key, or
                ``when`` is not a time. Nothing was sent.
{conflict}{settled_errors}
        """
        await self._write({value}, {argument}, when{and_condition})

    async def remove_{noun}_data(self, {argument}: str) -> None:
        """Mark the row of ``{argument}`` as removed, and keep its document. Removing an absent row does nothing.

        Args:
            {argument}: the row's key.

        Raises:
            InputError: ``{argument}`` can't be a key.
{write_errors}
        """
        await self._remove({argument})
'''

_KEYS: Final = '''
    def list_{noun}_data(self{as_of}{prefix}) -> AsyncIterator[str]:
        """Iterate over the ``{argument}`` of every row that is not removed, in ascending order.

        Args:
{reader_time}{about_prefix}
        Returns:
            An async iterator of keys. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
{bad_list_input}{read_errors}
        """
        return self._list_keys({list_arguments})
'''

_ITEMS: Final = '''
    def list_{noun}_data(self{as_of}{prefix}) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``({argument}, payload)`` of every row that is not removed, in ascending order of the keys.

        Args:
{reader_time}{about_prefix}
        Returns:
            An async iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
{bad_list_input}{read_errors}
        """
        return self._list_items({list_arguments})

    async def has_{noun}_data(self, {argument}: str) -> bool:
        """Check whether ``{argument}`` was ever written; a removed row counts.

        Args:
            {argument}: the row's key.

        Returns:
            ``True`` if there is a document for it.

        Raises:
            InputError: ``{argument}`` can't be a key.
{read_errors}
        """
        return await self._has({argument})
'''

_RANGES: Final = '''
    def range_{noun}_data(
        self, first: str | None = None, last: str | None = None, *, newest_first: bool = False{prefix_too}{as_of}
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Iterate over ``({argument}, payload)`` of the rows from ``first`` to ``last``, in the order of the keys.

        Keys are ordered by code points, so numbers in them need the same number of digits. Removed rows are left out.

        Args:
            first: the first key, which is part of the range; ``None`` begins with the first row.
            last: the last key, which is part of the range; ``None`` ends with the last row.
            newest_first: whether to begin at the end; the keys are then in descending order.
{about_prefix}{reader_time}
        Returns:
            An async iterator of pairs. It reads page by page, and a row written meanwhile may or may not be in it.

        Raises:
            InputError: ``first``, ``last`` or ``prefix`` can't be part of a key{or_bad_time}.
{read_errors}
        """
        return self._list_items({when_then}first=first, last=last, prefix=prefix, newest_first=newest_first)

    async def newest_{noun}_data(self, limit: int, *{prefix_too}{as_of}) -> list[tuple[str, dict[str, Any]]]:
        """Return ``({argument}, payload)`` of the rows with the largest keys, by code points, removed rows left out.

        Args:
            limit: how many rows, 1 or more.
{about_prefix}{reader_time}
        Returns:
            ``limit`` pairs, or all if there are fewer, in ascending order of the keys: the newest one is the last.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or ``prefix`` can't be part of a key{or_bad_time}.
{read_errors}
        """
        return await self._newest(limit, {when_then}prefix=prefix)
'''

_SERIES: Final = '''
    async def read_{noun}_data(
        self, limit: int, since_timestamp: SeriesTime, until_timestamp: SeriesTime | None = None
    ) -> list[Candle] | None:
        """Return ``limit`` candles from ``since_timestamp`` on, one per interval.

        Args:
            limit: how many candles, 1 or more.
            since_timestamp: the open time of the first one: milliseconds since the epoch, an aware ``datetime``, or ISO
                8601, which is UTC if it has no offset.
            until_timestamp: likewise; the result is ``None`` if the last candle opens after it.

        Returns:
            The candles in the order of time, or ``None`` if any of them is missing.

        Raises:
            InputError: ``limit`` is not an ``int`` of 1 or more, or a time is not a time.
{read_errors}
        """
        return await self._read(limit, since_timestamp, until_timestamp)

    async def write_{noun}_data(self, {value}: Sequence[Candle]) -> int:
        """Store those of ``{value}`` that are not stored yet.

        The first write of a candle wins: a stored one never changes. Candles whose interval has not ended are skipped.
        All are checked before any is sent.

        Args:
            {value}: a list of candles in any order. ``timestamp`` is the open time in milliseconds since the epoch.

        Returns:
            How many were new.

        Raises:
            InputError: one of them can't be a candle (its time is outside the years 1 to 9999, ``high`` is below
                ``low``, ``open`` or ``close`` is outside the two, a number is not finite, or the volume is negative),
                or their times are closer together than the interval allows. Nothing was stored.
{write_errors}
        """
        return await self._write({value})
'''

_DISPOSE: Final = '''
    def dispose(self) -> None:
        """Make the registry forget the instance of this context. What is stored stays."""
        self._dispose()
'''

_READER_TIME: Final = """\
            when: the reader's simulation time: milliseconds since the epoch (UTC), or an aware ``datetime``. What was
                stored for a later time counts as not stored. ``None`` is no limit.
"""
_WRITER_TIME: Final = """\
            when: the simulation time of the write: milliseconds since the epoch (UTC), or an aware ``datetime``.
"""
_VERSION_FLAG: Final = """\
            with_version: whether to return the version of the stored row as well, for ``expect`` of a later write.
"""
_CONDITION: Final = """\
            if_absent: write only where a read finds nothing: {absent}.
            expect: write only if the row still has this version, which a read with ``with_version=True`` gave.
"""
_CONFLICT: Final = """\
            ConflictError: there is another row than ``if_absent`` or ``expect`` says. Nothing was written.
"""
_IGNORED_TIME: Final = """\
            when: checked and not stored, as answers from outside have no simulation time.
"""
_BAD_READER_TIME: Final = """\
            InputError: ``when`` is not a time.
"""
_PREFIX: Final = """\
            prefix: only keys that begin with this string; no character is special.
"""
_BAD_PREFIX: Final = """\
            InputError: ``prefix`` can't be part of a key{or_bad_time}.
"""
_TEXT_FILTER: Final = """\
            {name}: only rows whose payload has this string at ``{path}``; ``None`` for any.
"""
_TIME_FILTERS: Final = """\
            since: only rows whose payload has this time or a later one at ``{path}``: milliseconds since the epoch
                (UTC), or an aware ``datetime``; ``None`` for no limit.
            until: only rows whose time there is this one or an earlier one; ``None`` for no limit.
"""
_READ_ERRORS: Final = """\
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time.
            StoreError: MongoDB, or the disk that holds the files, answered with an error."""
_WRITE_ERRORS: Final = """\
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it.
            StoreError: MongoDB, or the disk that holds the files, answered with an error."""
_CONDITIONAL_ERRORS: Final = """\
            StoreUnavailableError: MongoDB can't be reached, or did not answer in time. If ``may_be_applied`` is true,
                the outcome is unknown; write the same again to settle it or, after a write with ``if_absent`` or
                ``expect``, read the row.
            StoreError: MongoDB, or the disk that holds the files, answered with an error."""

#: By kind of payload: its type when read and when written, what a read returns without one, and what may be written.
_PAYLOADS: Final[dict[PayloadKind, tuple[str, str, str, str]]] = {
    "object": ("dict[str, Any] | None", "Payload", "``None``", "a dict of whatever BSON holds."),
    "object|null": (
        "dict[str, Any] | None",
        "Payload | None",
        "``None``",
        "a dict of whatever BSON holds, or ``None`` to clear what is stored.",
    ),
    "list": ("list[Any]", "Sequence[Any]", "an empty list", "a list of whatever BSON holds."),
}

_UNIT_NAMES: Final[dict[Unit, str]] = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}

#: What is said of an argument of the constructor, by its name.
_ARGUMENTS: Final = {
    "backtest": "``True`` for a backtest, ``False`` for live trading",
    "bucket": "the name of the bucket",
    "bucket_name": "the name of the bucket",
    "dictionary_name": "the name of the dictionary",
    "exchange_name": "the name of the exchange",
    "frame_name": "the name of the time frame",
    "interval": "the length of a candle, from ``1s`` to ``1M``",
    "risk_name": "the name of the risk profile",
    "signal_id": "the id of the signal",
    "strategy_name": "the name of the strategy",
    "symbol": "the market's symbol, such as ``BTCUSDT``",
}

#: The base class of each shape whose payloads are objects of a model.
TYPED: Final[dict[Shape, type[Adapter]]] = {
    "document": TypedDocumentAdapter,
    "entry": TypedEntryAdapter,
    "collection": TypedCollectionAdapter,
    "bucket": TypedBucketAdapter,
}
#: What annotations say of payloads, and what they say with a model, from the longest on.
_TYPED_ANNOTATIONS: Final = {
    "tuple[Context, Payload | None]": "tuple[Context, {0} | None]",
    "tuple[Context, Sequence[Any]]": "tuple[Context, Sequence[{0}]]",
    "tuple[Context, Payload]": "tuple[Context, {0}]",
    "tuple[str, dict[str, Any]]": "tuple[str, {0}]",
    "list[dict[str, Any]]": "list[{0}]",
    "dict[str, Any] | None": "{0} | None",
    "dict[str, Any]": "{0} | None",
    "list[Any]": "list[{0}]",
    "Sequence[Any]": "Sequence[{0}]",
    "Payload | None": "{0} | None",
    "Payload": "{0}",
    "Rows": "Sequence[{0}]",
}
_TYPED_PATTERN: Final = re.compile("|".join(rf"\b{re.escape(text)}(?!\w)" for text in _TYPED_ANNOTATIONS))

#: What the source of an adapter may name.
_NAMES: Final[dict[str, Any]] = {
    value.__name__: value
    for value in (
        BucketAdapter,
        CollectionAdapter,
        ColumnSeriesAdapter,
        DocumentAdapter,
        EntryAdapter,
        SeriesAdapter,
        TypedBucketAdapter,
        TypedCollectionAdapter,
        TypedDocumentAdapter,
        TypedEntryAdapter,
        Candle,
    )
} | {
    "Any": Any,
    "AsyncIterator": AsyncIterator,
    "Context": Context,
    "Iterable": Iterable,
    "Payload": Payload,
    "Rows": Rows,
    "Sequence": Sequence,
    "SeriesTime": SeriesTime,
    "Version": Version,
    "Versioned": Versioned,
    "When": When,
}


def expand(spec: SlotSpec, module: str) -> type[Adapter]:
    """Return the adapter class of a slot, as if it were written in ``module``."""
    adapter = _compile(spec.class_name, _write_source(spec, spec.class_name), module)
    adapter.spec = spec
    payloads = spec.payload_model
    if payloads is not None:
        adapter._payloads = payloads  # type: ignore[attr-defined]  # of its base class
        for method in vars(adapter).values():
            function = method.__func__ if isinstance(method, classmethod) else method
            if isinstance(function, FunctionType):
                _annotate(function, payloads.kind.__name__)
    adapter.__doc__ = _describe(spec, adapter)
    constructor: Any = adapter.__init__
    constructor.__signature__ = make_signature(spec, returns=None)
    return adapter


def _annotate(function: FunctionType, model: str) -> None:
    function.__annotations__ = {
        name: name_model(annotation, model) if isinstance(annotation, str) else annotation
        for name, annotation in function.__annotations__.items()
    }


def name_model(annotation: str, model: str) -> str:
    """Return the annotation of an adapter's method, with a model in place of payloads."""
    return _TYPED_PATTERN.sub(lambda found: _TYPED_ANNOTATIONS[found.group()].format(model), annotation)


def expand_contract(spec: SlotSpec, name: str, module: str) -> dict[str, FunctionType]:
    """Return by name the methods that an implementation of a slot must have, as if written in a class of ``module``.

    They are the adapter's without the arguments of conditional writes and of filters, without prefixes and without
    ranges, which an implementation need not have.
    """
    contract = _compile(name, _write_source(spec, name, is_contract=True), module)
    return {name: value for name, value in vars(contract).items() if isinstance(value, FunctionType) and name[0] != "_"}


def _compile(name: str, source: str, module: str) -> type[Adapter]:
    # As attrs and IPython name what is not in a file: debuggers and linecache take such names as they are.
    filename = f"<backtest_mongo expansion of {module}.{name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, type[Adapter]] = {}
    code = compile(source, filename, "exec")
    exec(code, {"__name__": module, **_NAMES}, namespace)  # noqa: S102  # text of this module, and checked identifiers
    (adapter,) = namespace.values()
    if "__firstlineno__" in vars(adapter):
        # By it Python 3.13 and later would look for the class in the module's own file.
        delattr(adapter, "__firstlineno__")
    return adapter


def _write_source(spec: SlotSpec, class_name: str, *, is_contract: bool = False) -> str:
    """Return the source of a slot's class."""
    parts: dict[Shape, tuple[type[Adapter], tuple[str, ...]]] = {
        "document": (DocumentAdapter, (_DOCUMENT,)),
        "entry": (EntryAdapter, (_ENTRY,)),
        "collection": (CollectionAdapter, (_WHOLE_COLLECTION if spec.newest is None else _NEWEST_ROWS, _COLLECTION)),
        "bucket": (
            BucketAdapter,
            (_BUCKET, _ITEMS if spec.items else _KEYS, *(() if is_contract else (_RANGES,))),
        ),
        "series": (SeriesAdapter, (_SERIES,)) if spec.is_candles else (ColumnSeriesAdapter, ()),
    }
    base, methods = parts[spec.shape]
    stored, payload, nothing, payload_rule = _PAYLOADS[spec.payload]
    if spec.model is not None and not is_contract:
        base, name = TYPED[spec.shape], spec.model.__name__
        payload_rule = payload_rule.replace("a dict of whatever BSON holds", f"a ``{name}``")
        payload_rule = payload_rule.replace("a list of whatever BSON holds", f"a list of ``{name}``")
    if spec.shape == "entry":
        stored = "dict[str, Any]"
    has_time, has_interval = spec.when, spec.is_candles or spec.grid == "interval"
    time = "When" if is_contract else "When | None = None"
    conditional = extended = not is_contract
    filters = () if is_contract else _list_filters(spec)
    filter_arguments = ", ".join(f"{name}={name}" for name, _ in filters)
    wrong_filter = "is not a text" + (", or not a time" if spec.filter_time else "")
    cleared = ["removed"] * spec.soft_delete + ["cleared"] * (spec.payload == "object|null")
    absent = f"the row was never written, or is {cleared[0]}" if cleared else "the row was never written"
    source = "".join((_CLASS, *methods, _DISPOSE if spec.dispose else "")).format(
        class_name=class_name,
        base=base.__name__,
        context=describe_context(spec),
        noun=spec.noun,
        value=spec.value,
        argument=spec.argument,
        newest=spec.newest,
        stored=stored,
        payload=payload,
        nothing=nothing,
        payload_rule=payload_rule,
        # A row without ``when`` has neither the parameter nor what is said of it.
        as_of=", when: When | None = None" if has_time else "",
        at=f", when: {time}" if has_time else "",
        at_or_ignored=f", when: {time}" if has_time else ", when: When | None = None",
        when_then="when, " if has_time else "",
        # Nor ranges, prefixes and filters.
        prefix=', *, prefix: str = ""' if extended else "",
        prefix_too=', prefix: str = ""',
        about_prefix=_PREFIX if extended else "",
        list_arguments=", ".join(["when"] * has_time + ["prefix=prefix"] * extended),
        bad_list_input=_BAD_PREFIX.format(or_bad_time=", or ``when`` is not a time" if has_time else "")
        if extended
        else (_BAD_READER_TIME if has_time else ""),
        filters=", *" * bool(filters) + "".join(f", {name}: {kind} | None = None" for name, kind in filters),
        about_filters=_describe_filters(spec) if filters else "",
        bad_filter=f"            InputError: an argument {wrong_filter}. Nothing was sent.\n" if filters else "",
        or_bad_filter=f", or another argument {wrong_filter}" if filters else "",
        filter_arguments=filter_arguments,
        and_filter_arguments=f", {filter_arguments}" if filters else "",
        # A contract has neither versions nor conditions.
        version_flag=", *, with_version: bool = False" if conditional else "",
        versioned_or=f"Versioned[{stored}] | " if conditional else "",
        about_version_flag=_VERSION_FLAG if conditional else "",
        as_versioned=".\n            With ``with_version`` a ``Versioned`` of it" if conditional else "",
        read_arguments=", ".join(["when"] * has_time + ["with_version=with_version"] * conditional),
        and_version_flag=", with_version=with_version" if conditional else "",
        condition=", *, if_absent: bool = False, expect: Version | None = None" if conditional else "",
        about_condition=_CONDITION.format(absent=absent) if conditional else "",
        bad_condition=f"``expect`` is not a version, {'' if spec.shape == 'bucket' else 'or '}" if conditional else "",
        and_condition=", if_absent=if_absent, expect=expect" if conditional else "",
        conflict=_CONFLICT if conditional else "",
        settled_errors=_CONDITIONAL_ERRORS if conditional else _WRITE_ERRORS,
        and_when=", when" if has_time else "",
        or_bad_time=", or ``when`` is not a time" if has_time else "",
        reader_time=_READER_TIME if has_time else "",
        writer_time=_WRITER_TIME if has_time else "",
        writer_time_or_ignored=_WRITER_TIME if has_time else _IGNORED_TIME,
        bad_reader_time=_BAD_READER_TIME if has_time else "",
        or_unknown_interval=", or there is no such interval" if has_interval else "",
        read_errors=_READ_ERRORS,
        write_errors=_WRITE_ERRORS,
    )
    return source.replace("        Args:\n\n", "")  # of a method without arguments


def is_in_contract(name: str) -> bool:
    """Return whether an implementation of a slot must have a method that the expansion gave to the adapter."""
    return not name.startswith(("range_", "newest_"))


def _list_filters(spec: SlotSpec) -> list[tuple[str, str]]:
    """Return the arguments by which a collection's list is filtered, and their types."""
    times = [("since", "When"), ("until", "When")] if spec.filter_time else []
    return [*((name, "str") for name, _ in spec.filters), *times]


def _describe_filters(spec: SlotSpec) -> str:
    texts = (_TEXT_FILTER.format(name=name, path=path) for name, path in spec.filters)
    return "".join((*texts, _TIME_FILTERS.format(path=spec.filter_time) if spec.filter_time else ""))


def describe_context(spec: SlotSpec) -> str:
    """Return what a docstring says of the arguments of a slot's constructor, a line for each."""
    lines = []
    for name in spec.context:
        may_be_empty = name != FLAG and (name in spec.blank or name in spec.optional)
        lines.append(
            f"            {name}: {_ARGUMENTS.get(name, 'a part of the key')}{'; may be empty' * may_be_empty}.\n"
        )
    return "".join(lines)


def make_signature(spec: SlotSpec, returns: Any) -> inspect.Signature:
    """Return the signature of a method that takes a slot's context."""
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for name in spec.context:
        kind: type = bool if name == FLAG else str
        default = kind() if name in spec.optional else inspect.Parameter.empty
        is_interval = name == "interval" and (spec.is_candles or spec.grid == name)
        # By name, as in the annotations of every module here: Signature prints them alike.
        annotation = "Interval" if is_interval else kind.__name__
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
        )
    return inspect.Signature(parameters, return_annotation=returns)


def _describe(spec: SlotSpec, adapter: type[Adapter]) -> str:
    """Return the docstring of an adapter class."""
    if spec.columns:
        return _describe_columns(spec)
    about = f": {spec.about}" if spec.about else ""
    read, write = f"read_{spec.noun}_data", f"write_{spec.noun}_data"
    lines = [
        f"The ``{spec.name}`` slot{about}.",
        "",
        "::",
        "",
        f"    {spec.name} = {spec.class_name}({', '.join(spec.context)})",
        f"    await {spec.name}.{write}({_list_required(getattr(adapter, write))}{', when' * spec.when})",
        f"    {spec.value} = await {spec.name}.{read}({_list_required(getattr(adapter, read))})",
        "",
        f"Rows are in the collection ``{spec.collection}``,",
        f"unique by {', '.join(f'``{name}``' for name in spec.key)}.",
    ]
    if spec.when:
        lines.append("Writes carry ``when``, the simulation time, and reads given one never see a later row.")
    if spec.soft_delete:
        lines.append("Removed rows are marked and kept.")
    if spec.immutable:
        lines.append("The first write of a row wins, and a stored row never changes.")
    return "\n".join(lines)


def _describe_columns(spec: SlotSpec) -> str:
    """Return the docstring of the adapter class of a series with columns."""
    about = f": {spec.about}" if spec.about else ""
    key = ", ".join(f"``{name}``" for name in spec.key)
    lines = [
        f"The ``{spec.name}`` slot{about}.",
        "",
        "::",
        "",
        f"    {spec.name} = {spec.class_name}({', '.join(spec.context)})",
        f"    await {spec.name}.append(rows)",
        f"    frame = await {spec.name}.read_frame(start, end)",
        "",
        f"Its rows are unique by {key}. Times count {_UNIT_NAMES[spec.unit]}.",
        f"They have the columns {', '.join(f'``{column.name}``' for column in spec.columns)}.",
        "The first write of a row wins." if spec.immutable else "The last write of a row wins.",
    ]
    if spec.grid:
        grid = "their interval" if spec.grid == "interval" else f"``{spec.grid}``"
        lines.append(f"Rows are on the grid of {grid}, and known when their interval is over.")
    return "\n".join(lines)


def _list_required(method: Callable[..., Any]) -> str:
    """Return the names of a method's arguments that have no default."""
    code, defaults = method.__code__, method.__defaults__ or ()
    return ", ".join(code.co_varnames[1 : code.co_argcount - len(defaults)])

"""The row of the slot table: its columns, what is derived from them, and the rules that they must keep."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import field as derived
from typing import Any, Final, Literal, TypeAlias, get_args

from backtest_mongo.core.columns import COLUMN_TYPES, Column, Unit, is_column_name
from backtest_mongo.core.payload_models import PayloadModel, Upgrade, make_payload_model
from backtest_mongo.core.retention import parse_retention
from backtest_mongo.core.series_retention import parse_series_retention
from backtest_mongo.core.wording import format_count
from backtest_mongo.errors import InputError, InputTypeError, SlotError
from backtest_mongo.types import INTERVALS

__all__ = ["POINTS", "Key", "PayloadKind", "Shape", "SlotSpec", "camel", "check_table"]

Shape: TypeAlias = Literal["document", "entry", "collection", "bucket", "series"]
#: The shapes whose rows are read and written one by one, and have versions.
POINTS: Final[tuple[Shape, ...]] = ("document", "entry", "bucket")
PayloadKind: TypeAlias = Literal["object", "object|null", "list"]

#: The values of a natural key, in the order of ``SlotSpec.key``.
Key: TypeAlias = tuple[Any, ...]

#: The only key field that is a boolean; all others are strings. In Redis it is ``backtest`` or ``live``.
FLAG = "backtest"

#: The fields that a document has besides its key and payload.
_OWN_FIELDS = ("_id", "__v", "createDate", "updatedDate", "when", "removed", "origin")


def camel(name: str) -> str:
    """Convert a constructor argument to its document field: ``exchange_name`` is stored as ``exchangeName``."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


@dataclass(frozen=True, kw_only=True)
class SlotSpec:
    """One slot: what it stores, under which key, and by which rules.

    ::

        OrderBookAdapter = persist.register(
            SlotSpec(
                name="order_book",
                shape="entry",
                context=("symbol", "exchange_name"),
                key=("exchangeName", "symbol", "side"),
                redis=("exchangeName", "symbol", "side"),
            )
        )
        await OrderBookAdapter("BTCUSDT", "binance").write_order_book_data({"price": 50_000.5}, "bid")

    ``name`` determines ``class_name`` (``order_book`` becomes ``OrderBookAdapter``), ``collection``
    (``order-book-items``), ``prefix``, the beginning of the Redis keys (``order_book_cache``), and, without a ``noun``,
    the methods (``read_order_book_data``).

    Args:
        name: the slot's name, in snake case.
        shape: which of the five behaviours the slot has.

            * ``document``: one document per context;
            * ``entry``: one document per context and one more key;
            * ``collection``: many documents, each keyed by its item's own ``id``, read as a list;
            * ``bucket``: keys and values with soft delete, read one at a time or listed;
            * ``series``: rows by time: candles, which are immutable and on a time grid, or rows of any ``columns``.
        context: the constructor's arguments, in order. ``backtest`` is a ``bool``, all others are ``str``.
        key: the fields of the unique index, in its order: the context's, and for every shape but ``document`` one more,
            at the end.
        redis: the same fields in the order of the Redis key. Left out, ids are cached in the process alone: for rows
            that are hardly read by their keys, or that are so many that Redis had better not know them.
        optional: arguments of the context that have a default: ``False`` for ``backtest``, ``""`` for all others.
        blank: further arguments of the context that may be the empty string.
        noun: the word in the method names, if it isn't ``name``.
        argument: the parameter that names an entry, if it isn't the last key field in snake case.
        value: the parameter that takes what is written.
        payload: what is written: an object, an object or ``None`` (which clears), or a list.
        field: the document field that holds the payload.
        when: each write has a simulation time, which is stored and protects reads from look-ahead.
        newest: a collection's list returns this many of the newest rows, oldest first, instead of all rows by id.
        items: a bucket's list returns ``(key, payload)`` pairs instead of keys, and ``has_{noun}_data`` exists.
        soft_delete: a removed row is marked and kept. Only buckets can remove rows, and all of them do it this way.
        immutable: the first write of a row wins forever. This holds for candles; a series with ``columns`` may also be
            without it, so that the last write wins. No other shape has it.
        dispose: the adapter has ``dispose()``, which forgets what the process keeps of a context.
        history: every version of a row is kept by simulation time, so that reads find what it was at any time:
            ``True`` keeps all of them, ``"90d"`` those that were written in the last 90 days, ``"1000"`` the last
            thousand of each key. ``CC_HISTORY`` applies to slots without it. Series have none.
        filters: the arguments by which a collection's list can be filtered, each with the path in the payload of the
            string that it is compared with: ``("symbol", "context.symbol")``.
        filter_time: the path in the payload of the time that ``since`` and ``until`` of such a list are compared with,
            in milliseconds since the epoch. Without it the list has neither.
        keep: how much of a collection is kept: ``"30d"``, the rows that were written in the last 30 days, or
            ``"1000"``, the thousand rows of each context that were written last. Older ones are deleted, a few at a
            time, after later writes. ``CC_KEEP`` applies to slots without it. Of a series with columns, what each
            series is given when it is first written; its ``retain()`` changes it, and says what it means.
        ended: the path in the payload of a row's state, and the values that mean that it is finished:
            ``("status", "closed", "cancelled")``. ``keep`` deletes only finished rows; if empty, it may delete any.
        about: what the slot is for, as ``help()`` shows it: ``"the bids and asks of a symbol"``.
        columns: the columns of a series besides its time and sequence. Without any, its rows are candles, each a
            document of its own. With columns, ``key`` is the context's fields, ``timestamp`` and, if it has one, the
            sequence, ``redis`` is left out, and rows are stored many together.
        unit: what the times of a series with ``columns`` count since the epoch: ``ms``, ``us`` or ``ns``.
        sequence: ``int64`` or ``str``, the type of the last field of the key, which distinguishes and orders rows with
            the same time, such as the id of a trade. The caller supplies it. Without it there is one row per time.
        grid: the interval of the grid on which such a series' rows are, such as ``1h``, or ``interval``, if the context
            has it as an argument. A row is then known when its interval is over. Only in milliseconds, and without a
            sequence.
        model: the class that payloads are read into and written from: a pydantic model, a dataclass or a
            ``msgspec.Struct``. Of a collection it is that of an item, and so it is where ``payload`` is a list. Reads
            raise :class:`~backtest_mongo.PayloadError` where what is stored doesn't fit. Series have none.
        upgrade: what makes payloads of the model's version out of older ones, when they are read: a function, which
            gets a payload and its version, or a mapping from each older version to a function that makes the next
            version out of a payload.
        schema_version: the version of the payloads that the model describes. Left out, it is the one after those that
            ``upgrade`` names, 2 if it is one function, and 1 without it.
        former: the fields of the unique index that older versions of the Node package made for the slot. That index
            forbids rows that differ only in the other fields; ``migrate()`` replaces it.

    Raises:
        SlotError: the columns contradict each other; the message names the slot and the contradiction.
    """

    name: str
    shape: Shape
    context: tuple[str, ...]
    key: tuple[str, ...]
    redis: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    noun: str = ""
    argument: str = ""
    value: str = "data"
    payload: PayloadKind = "object"
    field: str = "payload"
    when: bool = False
    newest: int | None = None
    items: bool = False
    soft_delete: bool = False
    immutable: bool = False
    dispose: bool = False
    history: bool | str = False
    filters: tuple[tuple[str, str], ...] = ()
    filter_time: str = ""
    keep: str = ""
    ended: tuple[str, ...] = ()
    about: str = ""
    former: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    unit: Unit = "ms"
    sequence: Literal["", "int64", "str"] = ""
    grid: str = ""
    model: type[Any] | None = None
    upgrade: Upgrade | None = derived(default=None, hash=False)  # a dict has no hash
    schema_version: int | None = None

    # Derived from the columns above.
    class_name: str = derived(init=False)
    context_fields: tuple[str, ...] = derived(init=False)
    collection: str = derived(init=False)
    versions: str = derived(init=False)
    prefix: str = derived(init=False)
    item: str | None = derived(init=False)
    _has_flag: bool = derived(init=False, repr=False)
    _context_order: tuple[int, ...] = derived(init=False, repr=False)
    _is_in_order: bool = derived(init=False, repr=False)
    _redis_template: str = derived(init=False, repr=False)
    _redis_order: tuple[int, ...] = derived(init=False, repr=False)
    _redis_flag: int | None = derived(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_types()
        fields = tuple(map(camel, self.context))
        put = object.__setattr__  # the row is frozen
        put(self, "class_name", "".join(part.capitalize() for part in self.name.split("_")) + "Adapter")
        put(self, "context_fields", fields)
        put(self, "collection", f"{self.name.replace('_', '-')}-items")
        put(self, "versions", f"{self.name.replace('_', '-')}-history")
        put(self, "prefix", f"{self.name}_cache")
        beyond = [name for name in self.key if name not in fields]
        put(self, "item", beyond[0] if beyond else None)
        if not self.noun:
            put(self, "noun", self.name)
        if not self.argument and self.item:
            put(self, "argument", _snake(self.item))
        put(self, "_has_flag", FLAG in self.context)
        put(self, "_context_order", tuple(fields.index(name) for name in self.key if name in fields))
        put(self, "_is_in_order", self._context_order == tuple(range(len(self._context_order))))
        put(self, "_redis_template", ":".join((self.prefix, *("%s" for _ in self.redis))))
        put(self, "_redis_order", tuple(self.key.index(name) for name in self.redis if name in self.key))
        put(self, "_redis_flag", self.redis.index(FLAG) if FLAG in self.redis else None)
        for rule in _ROW_RULES:
            problem = rule(self)
            if problem is not None:
                raise SlotError(f"the row of the slot table {problem}", slot=self.name)

    def _check_types(self) -> None:
        for name in ("context", "key", "redis", "optional", "blank", "former", "filters", "ended", "columns"):
            value = getattr(self, name)
            if not isinstance(value, tuple):
                problem = f"{name} must be a tuple of names, not {type(value).__name__}"
                raise SlotError(problem, slot=self.name)
        for pair in self.filters:
            if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
                problem = f"filters must hold pairs of an argument and a path in the payload, not {pair!r}"
                raise SlotError(problem, slot=self.name)
        for column in self.columns:
            if not isinstance(column, Column) or column.type not in COLUMN_TYPES:
                problem = f"columns must hold Columns of a known type, not {column!r}"
                raise SlotError(problem, slot=self.name, hint=f"known types are {', '.join(COLUMN_TYPES)}")
        for name, known in (("shape", Shape), ("payload", PayloadKind), ("unit", Unit)):
            if getattr(self, name) not in get_args(known):
                problem = f"{name} {getattr(self, name)!r} is unknown"
                raise SlotError(problem, slot=self.name, hint=f"known are {', '.join(get_args(known))}")

    @property
    def payload_model(self) -> PayloadModel | None:
        """How payloads are read and written, if there is a model."""
        return None if self.model is None else make_payload_model(self.model, self.upgrade, self.schema_version)

    @property
    def is_candles(self) -> bool:
        """Whether it is a series of candles, each of which is a document of its own."""
        return self.shape == "series" and not self.columns

    @property
    def context_key(self) -> tuple[str, ...]:
        """The context's part of ``key``."""
        return self.key[: len(self.context)]

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """Check a constructor's arguments, and return the context's values in the order of ``context``.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: a value can't be part of a key.
        """
        context = self.context
        if kwargs or len(args) != len(context):
            args = self._bind_by_name(args, kwargs)
        if not self._has_flag:
            # Nearly all values are plain texts, which need none of the checks below: these take longer.
            for value in args:
                if type(value) is not str or not value or not value.isascii() or "\0" in value:
                    break
            else:
                return args
        values = tuple(
            self.check_flag(name, value) if name == FLAG else self.check_key(name, value)
            for name, value in zip(context, args, strict=True)
        )
        if "" in values:
            self._check_blank(values)
        return values

    def order_context(self, values: Key) -> Key:
        """Return the context's part of the natural key, in the order of ``key``, out of what :meth:`bind` returns."""
        return values if self._is_in_order else tuple([values[at] for at in self._context_order])

    def _check_blank(self, values: Key) -> None:
        for name, value in zip(self.context, values, strict=True):
            if value == "" and name not in self.blank and name not in self.optional:
                raise InputError(f"{name} must not be empty (str)", slot=self.name)

    def _bind_by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        call = f"{self.class_name}({', '.join(self.context)})"
        if len(args) > len(self.context):
            raise TypeError(f"{call} takes {format_count(len(self.context), 'argument')}, not {len(args)}")
        values = dict(zip(self.context, args, strict=False))
        for name, value in kwargs.items():
            if name not in self.context or name in values:
                raise TypeError(f"{call} got {'two values for' if name in values else 'an unknown'} argument {name!r}")
            values[name] = value
        for name in self.optional:
            values.setdefault(name, False if name == FLAG else "")
        missing = [name for name in self.context if name not in values]
        if missing:
            raise TypeError(f"{call} lacks {', '.join(missing)}")
        return tuple(values[name] for name in self.context)

    def check_key(self, name: str, value: object) -> str:
        """Return ``value`` as a plain ``str`` if it can be part of a key.

        MongoDB would take a dict for an operator and a list for an array match, so neither may ever reach it.

        Raises:
            InputTypeError: it is not a ``str``.
            InputError: it holds a NUL character or a lone surrogate.
        """
        if type(value) is not str:
            if not isinstance(value, str):
                raise InputTypeError(f"{name} must be a str, not {type(value).__name__}", slot=self.name)
            value = str.__str__(value)  # a string of an enum or of NumPy: keep its text, drop its type
        if "\0" in value:
            raise InputError(f"{name} must not hold a NUL character (str)", slot=self.name)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                problem = f"{name} holds a lone surrogate, which is not valid Unicode (str)"
                raise InputError(problem, slot=self.name) from None
        return value

    def check_flag(self, name: str, value: object) -> bool:
        """Return ``value`` if it is a ``bool``; 0 and 1 are not.

        Raises:
            InputTypeError: it is anything else.
        """
        if value is True or value is False:
            return value
        hint = "True for a backtest, False for live trading" if name == FLAG else None
        raise InputTypeError(f"{name} must be a bool, not {type(value).__name__}", slot=self.name, hint=hint)

    def redis_key(self, key: Key) -> str:
        """Return the Redis key of a natural key, which is the same in the Node package."""
        values = [key[at] for at in self._redis_order]
        if self._redis_flag is not None:
            values[self._redis_flag] = "backtest" if values[self._redis_flag] else "live"
        return self._redis_template % tuple(values)


def _is_field(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def _is_snake(name: str) -> bool:
    return name.isidentifier() and name == name.lower() and not name.startswith("_") and not keyword.iskeyword(name)


# The rules of one row. Each returns the contradiction that it found, or None; the first contradiction is reported.

_ROW_RULES: Final[list[Callable[[SlotSpec], str | None]]] = []


def _rule(check: Callable[[SlotSpec], str | None]) -> Callable[[SlotSpec], str | None]:
    _ROW_RULES.append(check)
    return check


@_rule
def _check_names(row: SlotSpec) -> str | None:
    names = (row.name, row.noun, row.value, *row.context, *((row.argument,) if row.item else ()))
    wrong = {repr(name): None for name in names if not _is_snake(name)}
    return f"needs names in snake case, unlike {', '.join(wrong)}" if wrong else None


@_rule
def _check_key_is_not_empty(row: SlotSpec) -> str | None:
    return "has an empty key" if not row.key else None


@_rule
def _check_context_has_no_repeats(row: SlotSpec) -> str | None:
    return "names an argument of its context twice" if len(set(row.context)) < len(row.context) else None


@_rule
def _check_redis_has_the_fields_of_the_key(row: SlotSpec) -> str | None:
    if not row.redis and row.shape != "series":
        return None
    if sorted(row.redis) != sorted(() if row.columns else row.key):
        if row.columns:
            return "has columns, so no ids of its rows are in Redis, and redis must be left out"
        if row.shape == "series" and not row.redis:
            return "has no columns, so its rows are candles, which need redis: name the columns of other rows"
        return f"has the Redis key {row.redis}, which differs from the unique key {row.key}"
    return None


@_rule
def _check_key_has_no_repeats(row: SlotSpec) -> str | None:
    return f"names a field of its key twice: {row.key}" if len(set(row.key)) < len(row.key) else None


@_rule
def _check_key_has_the_whole_context(row: SlotSpec) -> str | None:
    # Counted, as two arguments may become one field: `a_b` and `a__b`.
    if len(row.key) - len(_beyond_context(row)) < len(row.context):
        return f"leaves a part of its context out of its key {row.key}"
    return None


@_rule
def _check_key_has_what_the_shape_needs(row: SlotSpec) -> str | None:
    extra, needed = len(_beyond_context(row)), int(row.shape != "document") + bool(row.sequence)
    if extra == needed:
        return None
    return f"has a key of {extra} more than its context, and the shape {row.shape} needs {needed}"


@_rule
def _check_item_is_last_in_the_key(row: SlotSpec) -> str | None:
    beyond = _beyond_context(row)
    if row.shape != "document" and row.key[len(row.key) - len(beyond) :] != beyond:
        return "must put the field beyond the context last in its key"
    return None


@_rule
def _check_series_has_interval_and_timestamp(row: SlotSpec) -> str | None:
    if row.shape != "series":
        return None
    if row.item == "timestamp" and (row.columns or "interval" in row.context):
        return None
    if row.columns:
        return "is a series, so it needs timestamp in its key, after the context's fields"
    return "is a series without columns, so it needs an interval in its context and timestamp in its key"


@_rule
def _check_columns_are_a_series_s(row: SlotSpec) -> str | None:
    if row.shape == "series" and row.columns:
        return None
    extra = [name for name in ("columns", "sequence", "grid") if getattr(row, name)] + ["unit"] * (row.unit != "ms")
    return f"can't have {' or '.join(extra)} without being a series with columns" if extra else None


@_rule
def _check_columns_have_names(row: SlotSpec) -> str | None:
    wrong = [repr(column.name) for column in row.columns if not is_column_name(column.name)]
    return f"needs columns with names in snake case, unlike {', '.join(wrong)}" if wrong else None


@_rule
def _check_columns_have_one_meaning(row: SlotSpec) -> str | None:
    names = [column.name for column in row.columns]
    if not row.columns or len({*names, "timestamp", *row.key[-1:]}) == len(names) + 1 + bool(row.sequence):
        return None
    return "gives one column two meanings"


@_rule
def _check_columns_are_not_the_context_s(row: SlotSpec) -> str | None:
    names = {column.name for column in row.columns} | ({row.key[-1]} if row.sequence else set())
    taken = sorted(names & {*row.context, *row.context_fields})
    # Files have the context's values in columns of these names, and shown rows have both side by side.
    return f"has columns with the names of its context: {', '.join(taken)}" if taken else None


@_rule
def _check_sequence_is_known(row: SlotSpec) -> str | None:
    if row.sequence in ("", "int64", "str"):
        return None
    return f"needs a sequence that is int64 or str, or '' for none, unlike {row.sequence!r}"


@_rule
def _check_sequence_is_named(row: SlotSpec) -> str | None:
    if row.sequence and not is_column_name(row.key[-1]):
        return f"needs a sequence with a name in snake case, unlike {row.key[-1]!r}"
    return None


@_rule
def _check_grid_is_known(row: SlotSpec) -> str | None:
    if not row.grid:
        return None
    if row.grid != "interval" and row.grid not in INTERVALS:
        return f"has an unknown grid {row.grid!r}"
    if row.grid == "interval" and "interval" not in row.context:
        return "has a grid by interval, so it needs an interval in its context"
    return None


@_rule
def _check_grid_has_one_row_at_a_time(row: SlotSpec) -> str | None:
    if row.grid and (row.unit != "ms" or row.sequence):
        return "has a grid, so it needs times in ms and can't have a sequence"
    return None


@_rule
def _check_item_is_not_the_flag(row: SlotSpec) -> str | None:
    return f"can't key its entries by {FLAG!r}" if row.item == FLAG else None


@_rule
def _check_optional_is_in_the_context(row: SlotSpec) -> str | None:
    if set(row.optional) <= set(row.context):
        return None
    return "has an optional argument that is not in its context"


@_rule
def _check_optional_is_last_in_the_context(row: SlotSpec) -> str | None:
    if row.context[len(row.context) - len(row.optional) :] != row.optional:
        return "must put its optional arguments last"
    return None


@_rule
def _check_field_is_a_name(row: SlotSpec) -> str | None:
    is_free = _is_field(row.field) and row.field != "run"
    return None if is_free else f"can't keep its payload in a field named {row.field!r}"


@_rule
def _check_fields_have_one_meaning(row: SlotSpec) -> str | None:
    fields = (*row.key, row.field, *_OWN_FIELDS, *(("written",) if row.history else ()))
    return "gives one field two meanings" if len(set(fields)) < len(fields) else None


@_rule
def _check_parameters_have_one_meaning(row: SlotSpec) -> str | None:
    taken = {"self", "when"} | ({"with_version", "if_absent", "expect"} if row.shape in POINTS else set())
    if row.argument == row.value or taken & {row.argument, row.value}:
        return "gives one parameter two meanings"
    return None


@_rule
def _check_soft_delete_is_a_bucket_s(row: SlotSpec) -> str | None:
    if row.soft_delete != (row.shape == "bucket"):
        return "must set soft_delete if it is a bucket, and only then"
    return None


@_rule
def _check_immutable_is_a_series_s(row: SlotSpec) -> str | None:
    if row.immutable != (row.shape == "series") and not row.columns:
        return "must be immutable if it is a series without columns, and only then"
    return None


@_rule
def _check_newest_is_a_collection_s(row: SlotSpec) -> str | None:
    if row.newest is not None and row.shape != "collection":
        return "can't limit a list that it doesn't have"
    return None


@_rule
def _check_newest_is_positive(row: SlotSpec) -> str | None:
    return "must list one row at least" if row.newest is not None and row.newest < 1 else None


@_rule
def _check_items_is_a_bucket_s(row: SlotSpec) -> str | None:
    return "can't list pairs without being a bucket" if row.items and row.shape != "bucket" else None


@_rule
def _check_payload_fits_the_shape(row: SlotSpec) -> str | None:
    if row.payload != "object" and row.shape != "document":
        return f"can't hold {row.payload} without being a document"
    return None


@_rule
def _check_when_fits_the_shape(row: SlotSpec) -> str | None:
    return f"can't store `when` as a {row.shape}" if row.when and row.shape in ("collection", "series") else None


@_rule
def _check_blank_is_in_the_context(row: SlotSpec) -> str | None:
    if set(row.blank) <= set(row.context):
        return None
    return "lets an argument be blank that is not in its context"


@_rule
def _check_former_is_the_key_without_optional(row: SlotSpec) -> str | None:
    if row.former and {*row.key} - {*row.former} != set(map(camel, row.optional)):
        return "has a former key that is not its key without the optional arguments"
    return None


@_rule
def _check_history_fits_the_shape(row: SlotSpec) -> str | None:
    return "can't keep versions of the rows of a series" if row.history and row.shape == "series" else None


@_rule
def _check_history_can_be_read(row: SlotSpec) -> str | None:
    if not isinstance(row.history, str):
        return None if isinstance(row.history, bool) else "must give history as a bool or a string such as '90d'"
    try:
        parse_retention(row.history)
    except ValueError as error:
        return f"has a history that {error}"
    return None


@_rule
def _check_filters_are_a_collection_s(row: SlotSpec) -> str | None:
    if row.shape == "collection" or not (row.filters or row.filter_time):
        return None
    return "can't filter a list unless it is a collection"


@_rule
def _check_filters_have_one_meaning(row: SlotSpec) -> str | None:
    names = [name for name, _ in row.filters]
    wrong = [repr(name) for name in names if not _is_snake(name)]
    if wrong:
        return f"needs filters with names in snake case, unlike {', '.join(wrong)}"
    if len({*names, "self", "limit", "since", "until"}) < len(names) + 4:
        return "gives one parameter of its list two meanings"
    return None


@_rule
def _check_paths_can_be_followed(row: SlotSpec) -> str | None:
    paths = [path for _, path in row.filters]
    paths += [row.filter_time] * bool(row.filter_time) + list(row.ended[:1])
    wrong = [repr(path) for path in paths if not all(map(str.isidentifier, str(path).split(".")))]
    return (
        f"needs paths of names in its payload, such as 'context.symbol', unlike {', '.join(wrong)}" if wrong else None
    )


@_rule
def _check_keep_is_a_collection_s(row: SlotSpec) -> str | None:
    if row.shape == "collection" or (row.columns and not row.ended) or not (row.keep or row.ended):
        return None
    return "can't limit its rows with keep or ended unless it is a collection, or with keep unless it has columns"


@_rule
def _check_keep_can_be_read(row: SlotSpec) -> str | None:
    if not isinstance(row.keep, str):
        return "must give keep as a string such as '30d'"
    try:
        if row.keep:
            (parse_series_retention if row.columns else parse_retention)(row.keep)
    except ValueError as error:
        return f"has a keep that {error}"
    return None


@_rule
def _check_model_is_not_a_series_s(row: SlotSpec) -> str | None:
    is_there = not (row.model is None and row.upgrade is None and row.schema_version is None)
    return "can't have a model as a series, whose rows are columns" if is_there and row.shape == "series" else None


@_rule
def _check_versions_have_a_model(row: SlotSpec) -> str | None:
    if row.model is not None or (row.upgrade is None and row.schema_version is None):
        return None
    return "can't upgrade payloads without a model"


@_rule
def _check_model_can_be_read(row: SlotSpec) -> str | None:
    try:
        row.payload_model  # noqa: B018  # made for its errors
    except InputError as error:
        return f"has a model that can't be used: {error}"
    return None


@_rule
def _check_ended_has_values(row: SlotSpec) -> str | None:
    if all(isinstance(value, str) for value in row.ended) and len(row.ended) != 1:
        return None
    return "must name a path and at least one string in ended"


def _beyond_context(row: SlotSpec) -> tuple[str, ...]:
    return tuple(name for name in row.key if name not in row.context_fields)


# The rule of two rows.

#: What no two rows of a table may share.
_UNIQUE: Final = ("name", "class_name", "collection", "versions", "prefix")


def check_table(specs: Iterable[SlotSpec]) -> None:
    """Check the rows of a table against each other.

    Raises:
        SlotError: two rows share a name, a collection or a Redis prefix; the message names both.
    """
    owners: dict[tuple[str, str], SlotSpec] = {}
    for spec in specs:
        for column in _UNIQUE:
            value = getattr(spec, column)
            other = owners.setdefault((column, value), spec)
            if other is not spec:
                raise SlotError(
                    f"the rows {other.name!r} and {spec.name!r} of the slot table "
                    f"share the {column.replace('_', ' ')} {value!r}"
                )

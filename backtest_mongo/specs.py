"""What a row of the slot table says, and what follows from it."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as derived
from typing import Any, Literal, TypeAlias, get_args

from backtest_mongo.errors import InputError, InputTypeError, SlotError

__all__ = ["Key", "PayloadKind", "Shape", "SlotSpec", "camel", "check_table"]

Shape: TypeAlias = Literal["document", "entry", "collection", "bucket", "series"]
PayloadKind: TypeAlias = Literal["object", "object|null", "list"]

#: The values of a natural key, in the order of ``SlotSpec.key``.
Key: TypeAlias = tuple[Any, ...]

#: The one key field that is a boolean; every other is a string. Redis spells it ``backtest`` or ``live``.
FLAG = "backtest"

#: The fields that documents have beside their key and payload.
_OWN_FIELDS = ("_id", "__v", "createDate", "updatedDate", "when", "removed")


def camel(name: str) -> str:
    """Return the document field of a constructor argument: ``exchange_name`` is stored as ``exchangeName``."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


@dataclass(frozen=True, kw_only=True)
class SlotSpec:
    """One slot: what it stores, under which key, and with which rules.

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

    From ``name`` follow ``class_name`` (``order_book`` gives ``OrderBookAdapter``), ``collection``
    (``order-book-items``), ``prefix``, with which the Redis keys begin (``order_book_cache``), and, unless ``noun``
    says otherwise, the methods (``read_order_book_data``).

    Args:
        name: the slot's name, in snake case.
        shape: which of the five behaviours the slot has.

            * ``document``: one document per context;
            * ``entry``: one document per context and one more key;
            * ``collection``: many documents, each keyed by its item's own ``id``, read as a list;
            * ``bucket``: keys and values with soft delete, read one at a time or listed;
            * ``series``: immutable rows on a time grid.
        context: the constructor's arguments, in order. ``backtest`` is a ``bool``, all others are ``str``.
        key: the fields of the unique index, in its order: the context's, and for every shape but ``document`` one more,
            which comes last.
        redis: the same fields in the order of the Redis key.
        optional: arguments of the context with a default: ``""``, and ``False`` for ``backtest``.
        blank: further arguments of the context that may be the empty string.
        noun: what stands in the method names, where it isn't ``name``.
        argument: the parameter that names an entry, where it isn't the last key field in snake case.
        value: the parameter that holds what is written.
        payload: what is written: an object, an object or ``None`` (which clears), or a list.
        field: the document field that holds it.
        when: each write carries a simulation time, which is stored, and guards reads against look-ahead.
        newest: a collection's list gives the newest so many rows, oldest first, instead of all of them by id.
        items: a bucket's list gives ``(key, payload)`` pairs instead of keys, and ``has_{noun}_data`` exists.
        soft_delete: a removed row is marked and kept. Buckets, and only they, delete.
        immutable: the first write of a row wins for ever. So it is with series, and only with them.
        dispose: the adapter has ``dispose()``, which forgets what the process keeps of a context.
        about: what the slot is for, as ``help()`` shows it: ``"the bids and asks of a symbol"``.
        former: the fields of the unique index that older versions of the Node package made for the slot. It forbids
            rows that differ in the others; ``migrate()`` replaces it.
    """

    name: str
    shape: Shape
    context: tuple[str, ...]
    key: tuple[str, ...]
    redis: tuple[str, ...]
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
    about: str = ""
    former: tuple[str, ...] = ()

    # What follows from the row.
    class_name: str = derived(init=False)
    context_fields: tuple[str, ...] = derived(init=False)
    collection: str = derived(init=False)
    prefix: str = derived(init=False)
    item: str | None = derived(init=False)
    _redis_template: str = derived(init=False, repr=False)
    _redis_order: tuple[int, ...] = derived(init=False, repr=False)
    _redis_flag: int | None = derived(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_kinds()
        fields = tuple(map(camel, self.context))
        put = object.__setattr__  # the row is frozen
        put(self, "class_name", "".join(part.capitalize() for part in self.name.split("_")) + "Adapter")
        put(self, "context_fields", fields)
        put(self, "collection", f"{self.name.replace('_', '-')}-items")
        put(self, "prefix", f"{self.name}_cache")
        put(self, "item", next((name for name in self.key if name not in fields), None))
        if not self.noun:
            put(self, "noun", self.name)
        if not self.argument and self.item:
            put(self, "argument", _snake(self.item))
        put(self, "_redis_template", ":".join((self.prefix, *("%s" for _ in self.redis))))
        put(self, "_redis_order", tuple(self.key.index(name) for name in self.redis if name in self.key))
        put(self, "_redis_flag", self.redis.index(FLAG) if FLAG in self.redis else None)
        problem = self._problem()
        if problem:
            raise SlotError(f"the row of the slot table {problem}", slot=self.name)

    def _check_kinds(self) -> None:
        for name in ("context", "key", "redis", "optional", "blank", "former"):
            value = getattr(self, name)
            if not isinstance(value, tuple):
                problem = f"{name} must be a tuple of names, not {type(value).__name__}"
                raise SlotError(problem, slot=self.name)
        for name, known in (("shape", Shape), ("payload", PayloadKind)):
            if getattr(self, name) not in get_args(known):
                problem = f"{name} {getattr(self, name)!r} is unknown"
                raise SlotError(problem, slot=self.name, hint=f"known are {', '.join(get_args(known))}")

    def _problem(self) -> str | None:
        names = (self.name, self.noun, self.value, *self.context, *((self.argument,) if self.item else ()))
        odd = {repr(name): None for name in names if not _is_snake(name)}
        extra = [name for name in self.key if name not in self.context_fields]
        needs_item = self.shape != "document"
        rules: tuple[tuple[bool, str], ...] = (
            (bool(odd), f"needs names in snake case, unlike {', '.join(odd)}"),
            (not self.key, "has an empty key"),
            (len(set(self.context)) < len(self.context), "names an argument of its context twice"),
            (sorted(self.redis) != sorted(self.key), f"has the Redis key {self.redis} over the unique key {self.key}"),
            (len(set(self.key)) < len(self.key), f"names a field of its key twice: {self.key}"),
            (len(self.key) - len(extra) < len(self.context), f"leaves a part of its context out of its key {self.key}"),
            (
                len(extra) != needs_item,
                f"has a key of {len(extra)} more than its context, and the shape {self.shape} needs {int(needs_item)}",
            ),
            (needs_item and self.key[-1:] != tuple(extra), "must put the field beyond the context last in its key"),
            (
                self.shape == "series" and (extra != ["timestamp"] or "interval" not in self.context),
                "is a series, so it needs an interval in its context and timestamp in its key",
            ),
            (FLAG in extra, f"can't key its entries by {FLAG!r}"),
            (not set(self.optional) <= set(self.context), "has an optional argument that is not in its context"),
            (
                self.context[len(self.context) - len(self.optional) :] != self.optional,
                "must put its optional arguments last",
            ),
            (not _is_field(self.field), f"can't keep its payload in a field named {self.field!r}"),
            (
                len({*self.key, self.field, *_OWN_FIELDS}) < len(self.key) + 1 + len(_OWN_FIELDS),
                "gives one field two meanings",
            ),
            (
                self.item is not None and len({self.argument, self.value, "self", "when"}) < 4,
                "gives one parameter two meanings",
            ),
            (self.soft_delete != (self.shape == "bucket"), "must delete softly if it is a bucket, and only then"),
            (self.immutable != (self.shape == "series"), "must be immutable if it is a series, and only then"),
            (self.newest is not None and self.shape != "collection", "can't limit a list that it doesn't have"),
            (self.newest is not None and self.newest < 1, "must list one row at least"),
            (self.items and self.shape != "bucket", "can't list pairs without being a bucket"),
            (
                self.payload != "object" and self.shape != "document",
                f"can't hold {self.payload} without being a document",
            ),
            (self.when and self.shape in ("collection", "series"), f"can't store `when` as a {self.shape}"),
            (not {*self.blank} <= {*self.context}, "lets an argument be blank that is not in its context"),
            (
                bool(self.former) and {*self.key} - {*self.former} != {camel(name) for name in self.optional},
                "has a former key that is not its key without the optional arguments",
            ),
        )
        return next((text for broken, text in rules if broken), None)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Key:
        """Return the context's checked values in the order of the constructor's arguments.

        Raises:
            TypeError: an argument is missing, unknown, or given twice.
            InputError: a value can't be a key.
        """
        context = self.context
        if kwargs or len(args) != len(context):
            args = self._bind_by_name(args, kwargs)
        values = tuple(
            self.check_flag(name, value) if name == FLAG else self.check_key(name, value)
            for name, value in zip(context, args, strict=True)
        )
        if "" in values:
            self._check_blank(values)
        return values

    def _check_blank(self, values: Key) -> None:
        for name, value in zip(self.context, values, strict=True):
            if value == "" and name not in self.blank and name not in self.optional:
                raise InputError(f"{name} must not be empty (str)", slot=self.name)

    def _bind_by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        call = f"{self.class_name}({', '.join(self.context)})"
        if len(args) > len(self.context):
            raise TypeError(f"{call} takes {len(self.context)} arguments, {len(args)} were given")
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
        """Return ``value`` as a plain ``str`` if it can be a part of a key.

        MongoDB would take a dict or a list for an operator or an array match, so neither may ever get there.
        """
        if type(value) is not str:
            if not isinstance(value, str):
                raise InputTypeError(f"{name} must be a str, not {type(value).__name__}", slot=self.name)
            value = str.__str__(value)  # an enum's or NumPy's string: keep its text, drop its type
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
        """Return ``value`` if it is a ``bool``, and nothing that merely counts as one."""
        if value is True or value is False:
            return value
        hint = "True for a backtest, False for live trading" if name == FLAG else None
        raise InputTypeError(f"{name} must be a bool, not {type(value).__name__}", slot=self.name, hint=hint)

    def redis_key(self, key: Key) -> str:
        """Return the Redis key of a natural key; the Node package computes the same."""
        values = [key[at] for at in self._redis_order]
        if self._redis_flag is not None:
            values[self._redis_flag] = "backtest" if values[self._redis_flag] else "live"
        return self._redis_template % tuple(values)


def _is_field(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def _is_snake(name: str) -> bool:
    return name.isidentifier() and name == name.lower() and not name.startswith("_") and not keyword.iskeyword(name)


def check_table(specs: Iterable[SlotSpec]) -> None:
    """Check rows against one another.

    Raises:
        SlotError: two rows share a name, a collection or a Redis prefix; the message names both.
    """
    seen: dict[tuple[str, str], SlotSpec] = {}
    for spec in specs:
        for what in ("name", "class_name", "collection", "prefix"):
            other = seen.setdefault((what, getattr(spec, what)), spec)
            if other is not spec:
                raise SlotError(
                    f"the rows {other.name!r} and {spec.name!r} of the slot table "
                    f"share the {what.replace('_', ' ')} {getattr(spec, what)!r}"
                )

"""What every adapter is and has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from backtest_mongo.change_stream import Stream
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.hub import Hub, current_hub
from backtest_mongo.mongo_store import MongoStore
from backtest_mongo.observed_store import observed
from backtest_mongo.payload import advice, check_payload, freeze
from backtest_mongo.specs import Key, SlotSpec
from backtest_mongo.store import Store
from backtest_mongo.types import Document, When, to_millis
from backtest_mongo.watching import Watch

__all__ = ["Adapter"]


class Adapter:
    """A slot seen from one context. It holds no connection, so it can be made anywhere and used on any event loop."""

    spec: ClassVar[SlotSpec]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        spec = self.spec
        self._values = spec.bind(args, kwargs)
        by_field = dict(zip(spec.context_fields, self._values, strict=True))
        # The context's part of the natural key, in the order of the unique index.
        self._context: Key = tuple(by_field[name] for name in spec.key if name != spec.item)
        #: Called by ``dispose()``; the registry forgets the instance that it keeps.
        self._on_dispose: Callable[[], None] | None = None

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.context.items())
        return f"{type(self).__name__}({values})"

    @property
    def context(self) -> dict[str, str | bool]:
        """The constructor's arguments by name."""
        return dict(zip(self.spec.context, self._values, strict=True))

    async def wait_for_init(self, initial: bool = True) -> None:
        """Wait until both servers answer and the slot's indexes are there; with ``initial=False`` do nothing.

        Nobody has to call this: the first operation does what is needed. It tells early that a server is missing.

        Raises:
            InitError: a server refuses us or did not answer within 15 s.
            IndexConflictError: an index in the database is in the way.
        """
        if initial:
            await self._prepare()

    def watch(self, after: str | None = None) -> Watch:
        """Return the changes of this context as they happen, by whatever process.

        What iterates over them is a :class:`~backtest_mongo.watching.Watch`.

        Needs a replica set or a sharded cluster. A lost connection is made again, and nothing is missed or told twice.

        Args:
            after: a change's ``token``: begin with what came after it, as long as the servers remember.
        """
        return self._watch(self._context, after)

    @classmethod
    def watch_all(cls, after: str | None = None) -> Watch:
        """Return the changes of the whole slot as they happen, of every context: see :meth:`watch`."""
        return cls._watch(None, after)

    @classmethod
    def _watch(cls, context: Key | None, after: str | None) -> Watch:
        if after is not None and type(after) is not str:
            raise InputTypeError(f"after must be a str, not {type(after).__name__}", slot=cls.spec.name)
        return Watch(partial(cls._stream, context, after), after)

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> Stream | None:
        return Stream(current_hub(), cls.spec, context, after)

    async def _prepare(self) -> None:
        await current_hub().ensure_init()
        await self._store().ready()

    @classmethod
    def _store(cls) -> Store:
        hub = current_hub()
        store: Store | None = hub.stores.get(cls.spec.name)
        if store is None:
            store = hub.stores[cls.spec.name] = observed(cls._open(hub), hub, cls.spec)
        return store

    @classmethod
    def _open(cls, hub: Hub) -> Store:
        return MongoStore(hub, cls.spec)

    def _dispose(self) -> None:
        if self._on_dispose is not None:
            self._on_dispose()

    def _millis(self, value: When, name: str = "when") -> int:
        try:
            return to_millis(value)
        except TypeError as error:
            raise InputTypeError(f"{name} {error}", slot=self.spec.name) from None
        except ValueError as error:
            raise InputError(f"{name} {error}", slot=self.spec.name) from None

    def _until(self, when: When | None) -> int | None:
        return None if when is None else self._millis(when)

    def _check_object(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            kind = type(value).__name__
            raise InputTypeError(f"{path} must be a dict, not {kind}{advice(value)}", slot=self.spec.name)
        check_payload(value, path, self.spec.name)

    def _check_list(self, value: object, path: str, hint: str | None = None) -> None:
        if not isinstance(value, list | tuple):
            raise InputTypeError(f"{path} must be a list, not {type(value).__name__}", slot=self.spec.name, hint=hint)

    def _value(self, document: Document | None, until: int | None) -> Any:
        """Return what a document holds, or ``None`` where a reader at the time ``until`` must not see it."""
        if document is None or document.get("removed") is True:
            return None
        if until is not None:
            when = document.get("when")
            if when is not None and when > until:
                return None
        return document.get(self.spec.field)

    def _as_fields(self, key: Key, value: object, when: int | None = None) -> Document:
        """Return the document fields of a checked payload, as it is now, once they are known to fit in one document."""
        spec = self.spec
        frozen = freeze({**dict(zip(spec.key, key, strict=True)), spec.field: value}, spec.name)
        fields: Document = {spec.field: frozen[spec.field]}
        if spec.when:
            fields["when"] = when
        return fields

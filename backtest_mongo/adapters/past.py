"""``as_of()``: every slot as it was at a simulation time."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from backtest_mongo.adapters.contracts import SlotFactories, make_factory
from backtest_mongo.adapters.registry import persist
from backtest_mongo.adapters.shapes import Adapter
from backtest_mongo.adapters.typed import bind_to_model
from backtest_mongo.columns.store_protocol import ColumnStore
from backtest_mongo.core.payload_models import PayloadModel
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.store_protocols import SeriesStore, Store
from backtest_mongo.core.suggestions import suggest
from backtest_mongo.core.watch import ChangeSource
from backtest_mongo.errors import InputError, InputTypeError
from backtest_mongo.history.past import PastColumns, PastSeries, PastStore, refuse_write
from backtest_mongo.types import When, now_ms, to_millis

__all__ = ["Past", "as_of"]


class _PastAdapter(Adapter):
    _until: ClassVar[int]
    _past: ClassVar[Past]

    @staticmethod
    def _get_scope() -> None:
        """Return none, because no transaction changes the past."""

    @classmethod
    def _base_store(cls) -> Store:
        cls._past.check_usable()
        base = super()._base_store()
        if cls.spec.is_candles:
            return PastSeries(cls.spec, cast("SeriesStore", base), cls._until)
        if cls.spec.columns:
            return cast("Store", PastColumns(cls.spec, cast("ColumnStore", base), cls._until))
        return PastStore(cls.spec, base, cls._until, cls._open_versions())

    @classmethod
    def _get_limit(cls, when: When | None, name: str = "when") -> int:
        return cls._until if when is None else min(cls._millis(when, name), cls._until)

    @classmethod
    def _get_now(cls) -> int:
        return min(now_ms(), cls._until)

    @classmethod
    def _make_fields(cls, key: Key, value: object, when: When | None, path: str) -> Any:
        refuse_write(cls.spec)

    @classmethod
    def _stream(cls, context: Key | None, after: str | None) -> ChangeSource | None:
        raise InputError("the past does not change", slot=cls.spec.name, hint="watch with an adapter of persist")


class Past(SlotFactories):
    """Everything as it was at a time: a method for each slot, as ``persist`` has.

    Attributes:
        when: the time, in milliseconds since the epoch (UTC).
    """

    def __init__(self, when: int) -> None:
        self.when: int = when
        self._is_open = False
        self._classes: dict[str, type[Adapter]] = {}

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False

    def check_usable(self) -> None:
        """Refuse a call outside the block.

        Raises:
            InputError: it is.
        """
        if not self._is_open:
            raise InputError("as_of() can only be used within its block", hint="async with as_of(t) as past: ...")

    def _get_instance(
        self, spec: SlotSpec, args: tuple[Any, ...], kwargs: dict[str, Any], payloads: PayloadModel | None = None
    ) -> Any:
        known = self._classes.get(spec.name)
        if known is None:
            adapter = persist._get_implementation(spec)
            if not isinstance(adapter, type) or not issubclass(adapter, Adapter):
                kind = getattr(adapter, "__name__", type(adapter).__name__)
                raise InputError(f"as_of() reads only this library's storages, unlike {kind}", slot=spec.name)
            members = {"__module__": __name__, "__doc__": adapter.__doc__, "_until": self.when, "_past": self}
            known = self._classes[spec.name] = type(f"Past{spec.class_name}", (_PastAdapter, adapter), members)
        return (known if payloads is None else bind_to_model(known, payloads, spec))(*args, **kwargs)

    if not TYPE_CHECKING:  # which would take every name for one of the registry's

        def __getattr__(self, name: str) -> Callable[..., Any]:
            adapter = persist._adapters.get(name)
            if adapter is None:
                hint = suggest(name, persist._adapters)
                raise AttributeError(f"as_of() has no slot {name!r} ({hint})", name=name)
            return make_factory(adapter.spec).__get__(self)


def as_of(when: When) -> Past:
    """Look at everything as it was at a simulation time::

        async with as_of(trade_opened) as past:
            row = await past.signal("BTCUSDT", "my_strategy", "binance").read_signal_data()
            candles = await past.candle("BTCUSDT", "1h", "binance").read_frame(limit=50)

    It has a method for each slot, and reads where ``persist`` stores. Rows are read as they were then, from the
    versions that ``CC_HISTORY`` or ``SlotSpec(history=)`` keep; candles are those that had closed, and rows of other
    series those up to then. Nothing can be written to it. How series are stored, as ``size()``, ``sealed()`` and
    ``verify()`` tell, is about now.

    In slots without versions, rows that were not written since can be read; others raise ``StoreError``, because their
    past is unknown.

    Args:
        when: the time: milliseconds since the epoch (UTC), or an aware ``datetime``.

    Returns:
        An object for ``async with``, with a method for each slot, which takes the context and returns an adapter.

    Raises:
        InputError: ``when`` is not a time.
    """
    try:
        return Past(to_millis(when))
    except TypeError as error:
        raise InputTypeError(f"as_of: when {error}") from None
    except ValueError as error:
        raise InputError(f"as_of: when {error}") from None

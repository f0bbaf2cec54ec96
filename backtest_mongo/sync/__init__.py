"""The whole of ``backtest_mongo`` without ``await``, for programs that have no event loop.

::

    from backtest_mongo.sync import SignalAdapter, setup

    setup()
    signal = SignalAdapter("BTCUSDT", "my_strategy", "binance")
    signal.write_signal_data({"id": "s-1", "priceOpen": 50_000.5})
    row = signal.read_signal_data()

Each name of :mod:`backtest_mongo` is here, with the same arguments: adapters, ``persist``, ``transaction()`` and
``lease()`` for ``with``, and iterators for ``for``. Calls are carried out by one background thread, which starts with
the first one and ends with the process; any thread may make them. Where an event loop runs, as in a coroutine or a
notebook, they raise ``InputError``: use :mod:`backtest_mongo` itself there.

Ctrl-C interrupts a call that waits; a write may then have been applied. A lease that was lost is noticed by the next
call in its block. ``export_candles()``, ``import_candles()`` and the others of :mod:`backtest_mongo.market_data` are
here as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backtest_mongo.sync import names

__all__ = [*names.NAMES]  # the stub spells them out


def _find(name: str) -> Any:
    if name in names.OWN:
        return getattr(import_module(f"{__name__}.{names.OWN[name]}"), name)
    if name in names.SAME:
        return getattr(import_module(f"backtest_mongo.{names.SAME[name]}"), name)
    from backtest_mongo.sync.wrapping import make_function, wrap_class

    if name in names.CLASSES:
        return wrap_class(names.CLASSES[name])
    if name in names.FUNCTIONS:
        return make_function(name, getattr(import_module(f"backtest_mongo.{names.FUNCTIONS[name]}"), name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


if not TYPE_CHECKING:  # for which every name would exist

    def __getattr__(name: str) -> Any:
        value = globals()[name] = _find(name)
        return value


def __dir__() -> list[str]:
    return list(__all__)

"""Finding the store that ``--store`` names, in pytest's process and in those that it starts."""

from __future__ import annotations

import importlib
from typing import cast

from backtest_mongo import SERIES, SLOTS
from backtest_mongo.testing.conformance.capabilities import CAPABILITIES
from backtest_mongo.testing.conformance.protocols import StoreFactory

__all__ = ["list_slots", "load_factory"]


def load_factory(name: str) -> StoreFactory:
    """Import a factory by ``module:attribute``.

    Raises:
        ValueError: it can't be imported, or does not declare what the suite knows.
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise ValueError(f"--store must be module:factory, not {name!r}")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--store {name} can't be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"--store {name} must be a class or a callable, not {type(found).__name__}")
    factory = cast("StoreFactory", found)
    _check(name, "capabilities", getattr(factory, "capabilities", ()), CAPABILITIES)
    if hasattr(factory, "slots"):
        _check(name, "slots", factory.slots, [spec.name for spec in (*SLOTS, *SERIES)])
    return factory


def _check(name: str, attribute: str, declared: object, known: object) -> None:
    known_names = list(known)  # type: ignore[call-overload]
    if isinstance(declared, str) or not hasattr(declared, "__iter__"):
        raise ValueError(f"--store {name}: {attribute} must be names, not {declared!r}")
    names = list(declared)
    if not names:
        raise ValueError(f"--store {name} declares no {attribute}; there are {', '.join(known_names)}")
    unknown = [repr(one) for one in names if one not in known_names]
    if unknown:
        raise ValueError(f"--store {name}: {attribute} {', '.join(unknown)}: there are {', '.join(known_names)}")


def list_slots(factory: StoreFactory) -> frozenset[str]:
    """Return the names of the slots that a store has."""
    series = [spec.name for spec in SERIES] if "series" in factory.capabilities else []
    return frozenset(getattr(factory, "slots", [*(spec.name for spec in SLOTS), *series]))

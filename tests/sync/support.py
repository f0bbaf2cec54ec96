"""What the tests of the synchronous API share."""

from __future__ import annotations

from typing import Any, Final

import pytest

from backtest_mongo import SlotSpec, sync
from tests.support import uniform

__all__ = ["ALL", "TRANSACTIONAL", "make"]

#: Every storage, and those that have transactions, watches and versions.
ALL: Final = pytest.mark.parametrize("driver", ["files", "sqlite", "motor", "pymongo"], indirect=True)
TRANSACTIONAL: Final = pytest.mark.parametrize("driver", ["sqlite", "motor", "pymongo"], indirect=True)


def make(spec: SlotSpec, unique: str, **changes: Any) -> Any:
    """Return the registry's object of a slot, in a context that belongs to one test."""
    return getattr(sync.persist, spec.name)(**{**uniform.context(spec, unique), **changes})

"""Settings that say of slots, by their names, how much is kept: ``CC_HISTORY`` and ``CC_KEEP``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from backtest_mongo.core import config
from backtest_mongo.core.retention import FOREVER, Retention, parse_retention, parse_retentions
from backtest_mongo.core.specs import SlotSpec

__all__ = ["SlotSetting"]


class SlotSetting:
    """One of these settings, which is parsed again only once the configuration has changed.

    Args:
        name: the field of the configuration.
    """

    def __init__(self, name: Literal["CC_HISTORY", "CC_KEEP"]) -> None:
        self._name = name
        #: The configuration, and what it says. They are replaced together, because threads of SQLite ask as well.
        self._parsed: tuple[config.Config | None, Mapping[str, Retention]] = (None, {})

    def find(self, spec: SlotSpec, own: bool | str) -> Retention | None:
        """Return how much is kept of a slot; ``None`` if nothing says so.

        Args:
            spec: the slot.
            own: what its row of the table says, which counts if the setting does not name the slot.

        Raises:
            ConfigError: the configuration has a bad value.
        """
        current = config.current_config or config.get_config()
        known, retentions = self._parsed
        if known is not current:
            retentions = parse_retentions(getattr(current, self._name))
            self._parsed = (current, retentions)
        found = retentions.get(spec.name)
        if found is not None or not own:
            return found
        return parse_retention(own) if isinstance(own, str) else FOREVER

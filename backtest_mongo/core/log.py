"""The library's few log lines, and the logger that they are sent to."""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.errors import ConfigError

__all__ = ["Logger", "log", "set_logger"]

_LEVELS = ("debug", "info", "warning", "error")


class Logger(Protocol):
    """What :func:`~backtest_mongo.set_logger` takes: structlog's or the standard library's logging methods."""

    def debug(self, event: str, /) -> Any: ...
    def info(self, event: str, /) -> Any: ...
    def warning(self, event: str, /) -> Any: ...
    def error(self, event: str, /) -> Any: ...


class _EventLogger:
    """Passes events on, with control characters in their fields escaped: names of series come from others.

    For loggers that take no keyword arguments, the fields are rendered into the event's text.
    """

    def __init__(self, logger: Any, *, takes_fields: bool) -> None:
        self._logger = logger
        self._takes_fields = takes_fields

    def debug(self, event: str, /, **fields: Any) -> None:
        self._pass_on(self._logger.debug, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        self._pass_on(self._logger.info, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        self._pass_on(self._logger.warning, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        self._pass_on(self._logger.error, event, fields)

    def _pass_on(self, method: Any, event: str, fields: dict[str, Any]) -> None:
        shown = {name: escape_controls(value) if isinstance(value, str) else value for name, value in fields.items()}
        if self._takes_fields:
            method(escape_controls(event), **shown)
        else:
            # Passed behind "%s", so that a percent sign in a field is not taken for a placeholder.
            method("%s", " ".join((escape_controls(event), *(f"{name}={value}" for name, value in shown.items()))))


#: The logger that ``set_logger()`` was given; ``None`` for the default.
_logger: _EventLogger | None = None


def log() -> _EventLogger:
    """Return the logger in use. Its methods take an event and its fields by name."""
    return _EventLogger(_default(), takes_fields=True) if _logger is None else _logger


def _default() -> Any:
    # Imported when needed, because structlog imports rich where that is installed. Made each time, because the
    # application may configure structlog later, and standard error may be replaced.
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("backtest_mongo")
    *processors, _ = structlog.get_config()["processors"]
    # structlog's own default prints to standard output, among a program's results.
    processors.append(structlog.dev.ConsoleRenderer(colors=_has_colors()))
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors)


def _has_colors() -> bool:
    # On Windows structlog needs another package for them.
    return sys.platform != "win32" and not os.environ.get("NO_COLOR") and sys.stderr is not None and sys.stderr.isatty()


def set_logger(logger: Logger) -> None:
    """Send the library's log lines to ``logger``.

    The default is ``structlog.get_logger("backtest_mongo")`` if the application has configured structlog, and lines on
    standard error if it has not.

    Args:
        logger: any object with the methods ``debug``, ``info``, ``warning`` and ``error``. If it can ``bind``, as
            structlog's and loguru's loggers can, it gets the fields of an event as keyword arguments; otherwise, as
            with the standard library's, they are rendered into the message.

    Raises:
        ConfigError: a method is missing.
    """
    missing = [level for level in _LEVELS if not callable(getattr(logger, level, None))]
    if missing:
        raise ConfigError(f"set_logger: {type(logger).__name__} has no method {', '.join(missing)}")
    global _logger
    _logger = _EventLogger(logger, takes_fields=hasattr(logger, "bind"))

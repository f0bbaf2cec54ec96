"""Where the library's few log lines go."""

from __future__ import annotations

from typing import Any, Protocol

from backtest_mongo.errors import ConfigError

__all__ = ["Logger", "log", "set_logger"]

_LEVELS = ("debug", "info", "warning", "error")


class Logger(Protocol):
    """What :func:`~backtest_mongo.set_logger` takes: structlog's or the standard library's logging methods."""

    def debug(self, event: str, /) -> Any: ...
    def info(self, event: str, /) -> Any: ...
    def warning(self, event: str, /) -> Any: ...
    def error(self, event: str, /) -> Any: ...


class _PlainText:
    """Renders the fields of an event into its text, for loggers that take no keyword arguments."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: Any) -> None:
        self._logger.debug("%s", _text(event, fields))

    def info(self, event: str, /, **fields: Any) -> None:
        self._logger.info("%s", _text(event, fields))

    def warning(self, event: str, /, **fields: Any) -> None:
        self._logger.warning("%s", _text(event, fields))

    def error(self, event: str, /, **fields: Any) -> None:
        self._logger.error("%s", _text(event, fields))


def _text(event: str, fields: dict[str, Any]) -> str:
    # Passed behind "%s", so that a percent sign in a field is not taken for a placeholder.
    return " ".join((event, *(f"{name}={value}" for name, value in fields.items())))


# Typed as what takes fields: structlog's, or the wrapper above. The default is made when first needed: importing
# structlog imports rich, where that is installed.
_logger: Any = None


def log() -> Any:
    """Return the logger in use. Its methods take an event and its fields by name."""
    global _logger
    if _logger is None:
        import structlog

        _logger = structlog.get_logger("backtest_mongo")
    return _logger


def set_logger(logger: Logger) -> None:
    """Send the library's log lines to ``logger``.

    Any object with the methods ``debug``, ``info``, ``warning`` and ``error`` will do. One that can ``bind``
    (structlog's loggers, loguru's) gets the fields of an event as keyword arguments; any other (the standard
    library's) gets them rendered into the message. The default is ``structlog.get_logger("backtest_mongo")``, which
    leaves the configuration to the application.

    Raises:
        ConfigError: a method is missing.
    """
    missing = [level for level in _LEVELS if not callable(getattr(logger, level, None))]
    if missing:
        raise ConfigError(f"set_logger: {type(logger).__name__} has no method {', '.join(missing)}")
    global _logger
    _logger = logger if hasattr(logger, "bind") else _PlainText(logger)

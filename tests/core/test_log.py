"""Where log lines go."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from typing import Any

import pytest
import structlog

from backtest_mongo import ConfigError, set_logger
from backtest_mongo.core.log import log

pytestmark = pytest.mark.either_driver


def test_structlog_logger_gets_fields_by_name() -> None:
    with structlog.testing.capture_logs() as lines:
        set_logger(structlog.get_logger("mine"))
        log().warning("redis is down", server="Redis", retry_seconds=5)
    assert lines == [{"event": "redis is down", "server": "Redis", "retry_seconds": 5, "log_level": "warning"}]


def test_default_leaves_the_configuration_to_the_application() -> None:
    with structlog.testing.capture_logs() as lines:
        log().info("event", field=1)
    assert lines == [{"event": "event", "field": 1, "log_level": "info"}]


def test_standard_logger_gets_fields_in_the_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    set_logger(logging.getLogger("trading"))
    for level in ("debug", "info", "warning", "error"):
        getattr(log(), level)("redis is down", share="100%", server="Redis")
    assert [record.levelname for record in caplog.records] == ["DEBUG", "INFO", "WARNING", "ERROR"]
    assert {record.getMessage() for record in caplog.records} == {"redis is down share=100% server=Redis"}


def test_logger_without_a_method_is_refused() -> None:
    class Half:
        def info(self, *args: Any) -> None: ...
        def debug(self, *args: Any) -> None: ...

    with pytest.raises(ConfigError, match="set_logger: Half has no method warning, error"):
        set_logger(Half())  # type: ignore[arg-type]  # that is what is tested


@pytest.mark.parametrize("configured", ["", "structlog.configure(logger_factory=structlog.PrintLoggerFactory())"])
def test_default_prints_nothing_among_a_program_s_results(configured: str) -> None:
    code = f"""
import structlog
import backtest_mongo
from backtest_mongo.core.log import log
before = structlog.get_config()
log().warning("first", series="a")
assert structlog.get_config() == before and not structlog.is_configured()
{configured}
log().warning("second", series="b")
print("result")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "first" in done.stderr
    assert ("second" in done.stdout) == bool(configured)
    assert ("second" in done.stderr) != bool(configured)
    assert done.stdout.splitlines()[-1] == "result"
    assert "first" not in done.stdout


def test_default_uses_the_current_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    log().info("event", field=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "event" in err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("platform", "no_color", "stream", "is_colored"),
    [
        ("linux", "", Terminal, True),
        ("linux", "1", Terminal, False),
        ("win32", "", Terminal, False),
        ("linux", "", io.StringIO, False),
    ],
)
def test_colors_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, platform: str, no_color: str, stream: type[io.StringIO], is_colored: bool
) -> None:
    structlog.reset_defaults()
    monkeypatch.setattr(sys, "platform", platform)
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("NO_COLOR", no_color)
    log().warning("event", field=1)
    written = shown.getvalue()
    assert "event" in written
    assert ("\x1b[" in written) is is_colored


def test_default_line_has_a_time_and_a_level(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    log().warning("redis is down", server="Redis")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[warning *\] redis is down +server=Redis\n", capsys.readouterr().err
    )


def test_configured_application_gets_the_lines_by_the_library_s_name() -> None:
    named: list[str] = []

    def make(*names: str) -> structlog.testing.CapturingLogger:
        named.extend(names)
        return structlog.testing.CapturingLogger()

    structlog.configure(logger_factory=make)
    try:
        log().warning("event")
    finally:
        structlog.reset_defaults()
    assert named == ["backtest_mongo"]


def test_standard_logger_gets_a_text_to_put_in_and_no_placeholder(caplog: pytest.LogCaptureFixture) -> None:
    set_logger(logging.getLogger("trading"))
    log().warning("100% of %s", share="5%d")
    assert caplog.records[0].getMessage() == "100% of %s share=5%d"
    assert caplog.records[0].msg == "%s"  # so that programs which collect errors group these lines


def test_control_characters_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    set_logger(logging.getLogger("trading"))
    log().warning("first\nline", series="a\x1b[2J", rows=3)
    assert caplog.records[0].getMessage() == r"first\nline series=a\u001b[2J rows=3"
    with structlog.testing.capture_logs() as lines:
        set_logger(structlog.get_logger("mine"))
        log().warning("first\nline", series="a\x1b[2J", rows=3)
    assert lines == [{"event": r"first\nline", "series": r"a\u001b[2J", "rows": 3, "log_level": "warning"}]

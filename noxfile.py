"""What CI runs: `nox -s tests` on the Python at hand, `versions` on the others, `lint`, `types`,
`docs`, `release` and `audit` beside.

The long forms are sessions of their own: `faults`, `soak`, `model` and `bench`.
"""

from __future__ import annotations

import os

import nox

nox.options.sessions = ["lint", "types", "tests"]

PYTHONS = ["3.11", "3.12", "3.13"]
#: The package with every extra.
WHOLE = ".[demo,frames,plot]"


def _run_tests(session: nox.Session, *arguments: str) -> None:
    session.install(WHOLE, *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test"))
    # Three workers, each with embedded servers of its own: half of their time they wait for these. Servers that are
    # given are shared, and some tests count what a server is asked, so then there is one.
    given = ("CC_MONGO_CONNECTION_STRING", "CC_REDIS_HOST", "CC_REDIS_URL")
    workers = "0" if any(os.environ.get(name) for name in given) else "3"
    # A module's own servers are started once where its tests stay together, as far as they can.
    together = ("-n", workers, "--dist", "worksteal")
    # Tests start hundreds of processes, each of which would compile all that it imports.
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    session.run("python", "-m", "pytest", *together, *arguments, *session.posargs, env=compiled)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, on the Python that nox runs on."""
    _run_tests(session)


@nox.session(python=PYTHONS)
def versions(session: nox.Session) -> None:
    """The test suite without its heavy parts, on every Python that is supported."""
    _run_tests(session, "-m", "not heavy")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    session.install(*nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """The package by mypy, right and wrong code of users by mypy and pyright, the stubs, that every type is known."""
    groups = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "lint", "types")
    session.install("-e", WHOLE, *groups)
    session.run("python", "tools/stubs.py", "--check")
    session.run("mypy")
    session.run("python", "-m", "mypy.stubtest", "backtest_mongo.adapters", "backtest_mongo.contracts")
    session.run("pyright", "--project", "tests/typing")
    session.run("pyright", "--verifytypes", "backtest_mongo", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in docs/_build/html, with warnings as errors."""
    session.install(WHOLE, *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "docs"))
    session.run("python", "tools/slots_page.py", "--check")
    arguments = ("-W", "--keep-going", "-n", "-E", "-q")
    session.run("python", "-m", "sphinx", *arguments, "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """What is released: built, looked into, and installed in empty environments. With --all each extra everywhere."""
    session.install(".", *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "release"))
    session.run("python", "tools/release.py", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities in what gets installed. Where no service can be asked it says NOT AUDITED."""
    session.install(WHOLE, *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "audit"))
    session.run("python", "tools/audit.py", success_codes=[0, 3])


@nox.session
def faults(session: nox.Session) -> None:
    """Faults made on real servers: a table, and docs/faults.md from fault-results/. --quick takes minutes."""
    session.install(".[demo]")
    session.run("python", "-m", "faults.run", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Ten minutes of mixed load: memory, tasks, connections and file descriptors have to stay flat."""
    session.install(".[demo]")
    session.run("python", "-m", "faults.soak", *session.posargs)


@nox.session
def model(session: nox.Session) -> None:
    """A thousand long lives of every slot beside a model, and ten thousand cancellations, on each driver."""
    session.install(".[demo]", *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test"))
    long = {
        "BACKTEST_MODEL_EXAMPLES": "1000",
        "BACKTEST_MODEL_STEPS": "100",
        "BACKTEST_CANCELS": "10000",
    }
    files = ("tests/test_model.py", "tests/test_cancellation.py")
    session.run("python", "-m", "pytest", "--timeout", "7200", *files, *session.posargs, env=long)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks: tables, and the figures and the chart of the documentation in benchmark-results/.

    --candles measures frames of candles alone, and --quick leaves them out. What telemetry costs comes last.
    """
    session.install(".[demo,frames]", *nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "bench"))
    session.run("python", "-m", "benchmarks.run", *session.posargs)
    session.run("python", "-m", "benchmarks.overhead")

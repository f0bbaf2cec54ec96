"""What CI runs: `tests`, `heavy`, `versions` on the other Pythons, `engines-langgraph`, `engines-vnpy`, `coverage`,
`lint`, `types`, `docs`, `release` and `audit`.

The long forms are sessions of their own: `drivers`, `faults`, `soak`, `model`, `mutation`, `environments`, `lowest`,
`conformance` and `bench`; `packages` downloads files to read, and the other `engines-…` test engines that CI does not.
CONTRIBUTING.md says when to run which.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]

PYTHONS = ["3.11", "3.12", "3.13"]
#: Those that the benchmarks run on; the first one runs all of them.
BENCHED = ["3.11", "3.13"]
#: The package with every extra.
WHOLE = ".[demo,frames,plot]"
#: The environments of other backtesters.
BACKTESTERS = ["vectorbt", "zipline", "jesse"]
#: Configuration of services, by the schema that checks it.
CONFIGURATION = {
    "github-workflows": [".github/workflows/ci.yml", ".github/workflows/release.yml"],
    "dependabot": [".github/dependabot.yml"],
    "github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
    "github-issue-forms": [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"],
    "readthedocs": [".readthedocs.yaml"],
}
#: Leaves out tests that take long, and of those that only need one driver the runs on the one that the next Python
#: takes: 3.12 runs PyMongo's asyncio client, the others Motor.
NOT_HEAVY = ("-m", "not heavy and not other_driver and not packages and not engines and not conformance")
#: Only those that take long: processes that are killed, faults, long queues, deadlines that run out. Of those that only
#: need one driver about half run on each of them.
HEAVY = ("-m", "heavy and not other_driver and not packages and not engines and not conformance")
#: The same tests, each on the driver that these leave out.
OTHER_DRIVERS = ("-m", "heavy and other_driver and not packages and not engines and not conformance")
#: Leaves out all tests that hardly depend on the Python version, or only runs them on the other driver.
MANY_PYTHONS = (
    "-m",
    "not heavy and not one_python and not other_driver and not packages and not engines and not conformance",
)
#: What a worker takes of the machine's memory, with its servers and their data.
WORKER_BYTES = 5 << 29
#: Tests start hundreds of processes, each of which would otherwise compile all that it imports.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


def _groups(*names: str) -> tuple[str, ...]:
    """Return the requirements of dependency groups."""
    return nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), *names)


def _workers() -> tuple[str, ...]:
    # Tests spend half of their time waiting for servers, or for a time to be over, so memory limits how many workers
    # pay: each has its own embedded servers. Given servers are shared, and some tests count the requests that a server
    # gets, so then there is one.
    given = ("CC_MONGO_CONNECTION_STRING", "CC_REDIS_HOST", "CC_REDIS_URL")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    workers = 0 if any(os.environ.get(name) for name in given) else max(2, min(8, memory // WORKER_BYTES))
    # Worksteal keeps the tests of a module together as far as it can, so that its own servers are started once.
    return ("-n", str(workers), "--dist", "worksteal")


def _heavy_files(session: nox.Session) -> list[str]:
    """Return the files with tests that take long, unless the caller names some: collecting the rest takes long, too."""
    if any(Path(argument.partition("::")[0]).exists() for argument in session.posargs):
        return []
    return sorted(str(path) for path in Path("tests").rglob("test_*.py") if "mark.heavy" in path.read_text("utf-8"))


def _run_tests(session: nox.Session, *arguments: str) -> None:
    session.install(WHOLE, *_groups("test"))
    # What the tests import is compiled once: workers that start at the same time would each compile all of it.
    collecting = ("--collect-only", "-qq", *arguments, *session.posargs)
    session.run("python", "-m", "pytest", *collecting, env=COMPILED, silent=True, success_codes=[0, 5])
    session.run("python", "-m", "pytest", *_workers(), *arguments, *session.posargs, env=COMPILED)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite on the Python that runs nox, without what takes long."""
    _run_tests(session, *NOT_HEAVY)


@nox.session
def heavy(session: nox.Session) -> None:
    """The tests that take long, on the Python that runs nox; what only needs one driver on one of them."""
    _run_tests(session, *HEAVY, *_heavy_files(session))


@nox.session
def drivers(session: nox.Session) -> None:
    """The tests that take long and that `heavy` runs on one driver, on the other one."""
    _run_tests(session, *OTHER_DRIVERS, *_heavy_files(session))


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the test suite, child processes included: 92 % at least.

    Arguments are passed to pytest, and turn off the check of the floor, as they usually select tests.
    """
    # Editable, so that processes started in another directory run the same files.
    session.install("-e", WHOLE, *_groups("coverage"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *_workers(), *NOT_HEAVY, *session.posargs, env=COMPILED)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


@nox.session(python=PYTHONS)
def versions(session: nox.Session) -> None:
    """The tests that depend on the Python version, on every supported one."""
    _run_tests(session, *MANY_PYTHONS)


@nox.session
def conformance(session: nox.Session) -> None:
    """The conformance suite for stores, on each of this library's storages, and on stores that have a fault."""
    session.install(WHOLE, *_groups("test"))
    chosen = ("-m", "conformance or heavy", "tests/testing/test_conformance.py")
    session.run("python", "-m", "pytest", *_workers(), *chosen, *session.posargs, env=COMPILED)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The test suite with the lowest versions that the requirements allow; it needs uv: `pip install "nox[uv]"`."""
    session.install("--resolution", "lowest-direct", WHOLE)
    session.install(*_groups("test"))
    # Old versions of some use what others have deprecated since.
    session.run(
        "python", "-m", "pytest", *_workers(), *MANY_PYTHONS, "-W", "ignore::DeprecationWarning", *session.posargs
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Style, common mistakes, the direction of imports, and the files that GitHub and Read the Docs read."""
    session.install(*_groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")
    for schema, files in CONFIGURATION.items():
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


@nox.session
def types(session: nox.Session) -> None:
    """mypy on everything, pyright on right and wrong user code, stubs up to date, no public type unknown."""
    session.install("-e", WHOLE, *_groups("lint", "types"))
    session.install("--no-deps", "vnpy>=4,<5")  # the types of a base class
    session.run("python", "tools/stubs.py", "--check")
    session.run("mypy")
    session.run("python", "-m", "mypy.stubtest", "backtest_mongo.adapters")
    session.run("pyright", "--project", "tests/typing")
    session.run("pyright", "--verifytypes", "backtest_mongo", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in docs/_build/html, with warnings as errors, and generated pages up to date."""
    session.install(WHOLE, *_groups("docs"))
    session.run("python", "tools/slots_page.py", "--check")
    session.run("python", "tools/rooms.py", "--check")
    arguments = ("-W", "--keep-going", "-n", "-E", "-q")
    session.run("python", "-m", "sphinx", *arguments, "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Build the distributions, check their contents, install them in empty environments; --all tests every extra."""
    session.install(".", *_groups("release"))
    session.run("python", "tools/release.py", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities in the dependencies; prints NOT AUDITED if no vulnerability service is reachable."""
    session.install(WHOLE, *_groups("audit"))
    session.run("python", "tools/audit.py", success_codes=[0, 3])


@nox.session
def faults(session: nox.Session) -> None:
    """Inject faults into real servers, and write the figures to fault-results/; --quick takes minutes."""
    session.install(".[demo]")
    session.run("python", "-m", "faults.run", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Ten minutes of mixed load per driver, under which memory, tasks, connections and descriptors must not grow."""
    session.install(".[demo]")
    session.run("python", "-m", "faults.soak", *session.posargs)


@nox.session
def model(session: nox.Session) -> None:
    """Compare every slot with a model in a thousand long runs, cancel ten thousand calls, and kill in 200 rounds.

    And compare series whose grid moves with a model, 50 of each kind, and kill owners of leases in 50 rounds and those
    who seal a series in 25.
    """
    session.install(".[demo]", *_groups("test"))
    long = {
        "BACKTEST_MODEL_EXAMPLES": "1000",
        "BACKTEST_MODEL_STEPS": "100",
        "BACKTEST_CANCELS": "10000",
        "BACKTEST_KILLS": "200",
        "BACKTEST_LEASE_KILLS": "50",
        "BACKTEST_GRIDS": "50",
        "BACKTEST_SEALING_KILLS": "25",
        "BACKTEST_STEPS": "1",
    }
    files = (
        *("tests/contract/test_model.py", "tests/mongo/test_cancellation.py", "tests/sqlite/test_kills.py"),
        *("tests/commit/test_lease_processes.py", "tests/series/test_moving_grids.py"),
        *("tests/series/test_sealing_kills.py", "tests/series/columns"),
    )
    session.run("python", "-m", "pytest", "--timeout", "7200", *files, *session.posargs, env=long)


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutation tests of core, connection and mongo, or of rooms and modules that are named: 85 % killed."""
    session.install("-e", WHOLE, *_groups("mutation"))
    session.run("python", "-m", "tools.mutation", *session.posargs, env=COMPILED)


@nox.session
def environments(session: nox.Session) -> None:
    """The test suite with TERM=dumb, forced and forbidden colours, another locale, umask, user, and so on.

    `--only NAME` selects one of the environments in tools/environments.py; other arguments are passed to pytest.
    """
    session.install(WHOLE, *_groups("test"))
    session.run("python", "tools/environments.py", *_workers(), *NOT_HEAVY, *session.posargs)


@nox.session
def packages(session: nox.Session) -> None:
    """Download packages that contain market data, and read their files as pandas and polars do."""
    # The tests download with pip, which environments made by uv lack.
    session.install("pip", WHOLE, *_groups("test"))
    files = sorted(str(path) for path in Path("tests/market_data").glob("test_*_packages.py"))
    session.run("python", "-m", "pytest", "-m", "packages", *files, *session.posargs)


@nox.session(name="engines-backtesters")
@nox.parametrize("engines", [("backtrader", "backtesting", "vectorbt"), ("zipline",), ("jesse",)], BACKTESTERS)
def engines_backtesters(session: nox.Session, engines: tuple[str, ...]) -> None:
    """Other backtesters on candles of this library; those that exclude each other are in environments of their own."""
    group = engines[-1]
    session.install(".[embedded,frames]", *_groups(f"engines-{group}"))
    if group == "jesse":
        # It asks for NumPy 1.26 and pytest 6, and works with later ones. The group has what its research imports.
        session.install("--no-deps", *_groups("jesse"))
    files = (f"tests/engines/backtesters/test_{engine}.py" for engine in engines)
    session.run("python", "-m", "pytest", "-m", "engines", *files, *session.posargs, env=COMPILED)


@nox.session(name="engines-ccxt")
def engines_ccxt(session: nox.Session) -> None:
    """The real ccxt, on an exchange that a local server plays."""
    session.install(".[ccxt,demo,frames]", "aiohttp>=3.10", *_groups("test"))
    session.run("python", "-m", "pytest", "tests/engines/ccxt", *session.posargs)


@nox.session(name="engines-langgraph")
def engines_langgraph(session: nox.Session) -> None:
    """The savers of LangGraph's checkpoints, with LangGraph itself and its conformance suite."""
    session.install(".[embedded,langgraph]", *_groups("engines-langgraph"))
    files = ("tests/engines/langgraph", "tests/integrations/test_langgraph_versions.py")
    session.run("python", "-m", "pytest", *files, *session.posargs, env=COMPILED)


@nox.session(name="engines-nautilus", python=["3.11", "3.13"])
def engines_nautilus(session: nox.Session) -> None:
    """Checkpoints and market data of Nautilus: the oldest version that is supported on 3.11, the newest on 3.13."""
    oldest = ("nautilus_trader==1.220.0",) if session.python == "3.11" else ()
    session.install(".[demo,nautilus]", *oldest, *_groups("engines-nautilus"))
    files = ("tests/engines/nautilus", "tests/integrations/test_nautilus_versions.py")
    session.run("python", "-m", "pytest", *files, *session.posargs, env=COMPILED)


@nox.session(name="engines-qubx", python="3.12")
def engines_qubx(session: nox.Session) -> None:
    """The state of Qubx's strategies, through Qubx's own factory, on the oldest Python that it runs on."""
    # It asks for redis-py 5, and works with the later one that this library then brings.
    session.install(*_groups("qubx"))
    session.install(".[embedded,frames]", *_groups("test"))
    files = ("tests/engines/qubx", "tests/integrations/test_qubx_versions.py")
    session.run("python", "-m", "pytest", "-m", "engines or not engines", *files, *session.posargs, env=COMPILED)


@nox.session(name="engines-vnpy")
def engines_vnpy(session: nox.Session) -> None:
    """VeighNa's database compared with vnpy_sqlite, under vnpy's own engines; --bench compares it with vnpy_mongodb."""
    session.install(".[demo,frames,vnpy]", *_groups("engines-vnpy"))
    if "--bench" in session.posargs:
        session.run("python", "-m", "benchmarks.veighna", *(name for name in session.posargs if name != "--bench"))
        return
    session.run("python", "-m", "pytest", "-m", "engines", "tests/engines/vnpy", *session.posargs, env=COMPILED)


@nox.session(python=BENCHED)
def bench(session: nox.Session) -> None:
    """The benchmarks: tables, and figures and a chart for the documentation in benchmark-results/.

    --candles measures only frames of candles, --series only series with columns (with --large also one ten times as
    long), and --quick leaves both out, each on the first Python alone. --rows uses fewer candles or trades. The other
    Python measures operations. The overhead of telemetry comes last.
    """
    is_first = session.python == BENCHED[0]
    if not is_first and {"--candles", "--series", "--quick"} & set(session.posargs):
        session.log("nothing to do on this Python")
        return
    session.install(".[demo,frames]", *_groups("bench"))
    if is_first and "--quick" not in session.posargs:
        # It comes with all of vnpy. What can't be installed is left out, and the page says so.
        session.install(*_groups("vnpy"), success_codes=[0, 1])
    session.run("python", "-m", "benchmarks.run", *([] if is_first else ["--operations"]), *session.posargs)
    if is_first and not session.posargs:
        session.run("python", "-m", "benchmarks.overhead")

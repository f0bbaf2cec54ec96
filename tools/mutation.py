"""Run mutation tests: ``python -m tools.mutation core.gaps connection.breaker``, or ``core`` for a whole room.

mutmut changes one expression of a module at a time, and runs the tests that pass through the changed function. A change
that no test notices *survives*: a test is missing, or the change makes no difference. The command prints each survivor
as a row of the table of accepted survivors in docs/contributing.md, unless it is in that table, and exits with status 1
if too few mutants were killed in any module.

``--sample 100`` tests as many mutants of a module, chosen at random, which the output says: enough for an estimate of a
large module's score, though not for a list of its survivors. The same ``--seed`` chooses the same ones.

It works on copies of the project. All tests share one embedded MongoDB and one Redis, and of the drivers one is enough.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backtest_mongo import embedded
from tests.support.memory import use_memory

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "contributing.md"
ROOMS: Final = ("core", "connection", "mongo")
#: What the copy goes without.
LEFT_OUT: Final = (
    *(".git", ".nox", ".venv*", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__"),
    *("_build", "benchmark-results", "fault-results", "dist", "node_modules"),
)
URL_TESTS: Final = ("connection_strings", "login_databases", "mongo_uri", "redis_url")
#: Tests of a module that are enough to judge it, and take less time than all those of its room.
OWN_TESTS: Final = {
    "connection.batching": (
        "tests/connection/test_batching.py",
        "tests/connection/test_call_order.py",
        "tests/connection/test_call_outcomes.py",
        "tests/mongo/test_batching.py",
    ),
    "connection.breaker": ("tests/connection/test_breaker.py",),
    "connection.candle_cache": ("tests/connection/test_candle_cache.py",),
    "connection.command_guard": ("tests/connection/test_command_guard.py", "tests/connection/test_breaker.py"),
    "connection.driver_errors": ("tests/connection/test_driver_errors.py",),
    "connection.hub": (
        "tests/connection/test_hub.py",
        "tests/connection/test_close.py",
        "tests/mongo/test_routing.py",
        "tests/telemetry/test_stats.py",
    ),
    "connection.hub_registry": ("tests/connection/test_loop_guards.py", "tests/connection/test_hub.py"),
    "connection.id_cache": ("tests/connection/test_id_cache.py",),
    "connection.loop_clock": ("tests/connection/test_loop_clock.py",),
    "connection.mongo_clients": ("tests/connection/test_mongo_clients.py",),
    "connection.operation": ("tests/connection/test_operation.py",),
    "connection.readiness": ("tests/connection/test_wait_for_init.py", "tests/connection/test_redis_outage.py"),
    "connection.redis_clients": (
        "tests/connection/test_redis_clients.py",
        "tests/core/test_redis_url.py",
        "tests/connection/test_redis_cluster.py",
        "tests/connection/test_redis_sentinel.py",
    ),
    "connection.redis_cluster": ("tests/connection/test_cluster_map.py", "tests/connection/test_redis_cluster.py"),
    "core.arrays": ("tests/core/test_arrays.py",),
    "core.cancellation": ("tests/core/test_cancellation.py",),
    "core.candle_headers": ("tests/core/test_candle_headers.py",),
    "core.candle_rules": ("tests/core/test_candle_problems.py",),
    "core.config": ("tests/core/test_config.py", "tests/core/test_connection_strings.py"),
    "core.control_characters": ("tests/core/test_control_characters.py",),
    "core.counters": ("tests/core/test_counters.py",),
    "core.extended_json": ("tests/core/test_extended_json.py",),
    "core.frame_input": ("tests/core/test_frame_input.py",),
    "core.frames": ("tests/core/test_frames.py",),
    "core.gaps": ("tests/core/test_gaps.py",),
    "core.interval_grid": ("tests/core/test_interval_grid.py", "tests/core/test_gaps.py"),
    "core.log": ("tests/core/test_log.py",),
    "core.no_blocks": ("tests/core/test_no_blocks.py",),
    "core.observation": ("tests/core/test_observation.py",),
    "core.payload": ("tests/core/test_payload_checks.py",),
    "core.simulation_time": ("tests/core/test_simulation_time.py",),
    "core.specs": ("tests/core/test_specs.py",),
    "core.suggestions": ("tests/core/test_suggestions.py",),
    "core.time_zones": ("tests/core/test_time_zones.py",),
    "core.urls": tuple(f"tests/core/test_{name}.py" for name in URL_TESTS),
    "mongo.change_decoder": ("tests/mongo/test_change_decoder.py",),
    "mongo.change_stream": (
        "tests/mongo/test_watch.py",
        "tests/mongo/test_watch_outage.py",
        "tests/mongo/test_undecodable_rows.py",
    ),
    "mongo.collection": (
        "tests/mongo/test_collection.py",
        "tests/mongo/test_batching.py",
        "tests/mongo/test_routing.py",
    ),
    "mongo.indexes": ("tests/mongo/test_indexes.py",),
    "mongo.migrations": ("tests/mongo/test_migrate.py",),
    "mongo.store": (
        "tests/mongo/test_store.py",
        "tests/mongo/test_batching.py",
        "tests/mongo/test_retries.py",
        "tests/mongo/test_routing.py",
        "tests/mongo/test_undecodable_rows.py",
        "tests/contract/test_contract.py",
    ),
    "mongo.undecodable": ("tests/mongo/test_undecodable_rows.py",),
    "mongo.watch": ("tests/mongo/test_watch.py",),
}
#: Modules that are judged by tests which are marked as heavy, too: without them hardly any test would be left.
WITH_HEAVY: Final = frozenset({"connection.redis_clients", "connection.redis_cluster"})
#: Tests of other modules that are not in the directory of their room.
OTHER_TESTS: Final = {"core.store_protocols": ("tests/contract/test_contract.py",)}
#: Prints the names that mutmut gives to the mutants of a file.
MUTANT_NAMES: Final = """
import sys
from pathlib import Path
from mutmut.mutation.file_mutation import mutate_file_contents
print(*mutate_file_contents(sys.argv[1], Path(sys.argv[1]).read_text()).mutant_names, sep="\\n")
"""
#: Which tests are run at all.
MARKS: Final = "not other_driver and not packages and not engines and not conformance"
PYTEST_ARGUMENTS: Final = ("--timeout", "60", "-p", "no:cacheprovider", "-p", "tools.mutation_plugin")
#: How much longer than the unchanged code a mutant may take, in seconds and as a factor, before it is stopped.
PAUSE: Final = 3.0
SLOWDOWN: Final = 10.0
#: What mutmut says of mutants that the tests distinguish from the unchanged code.
KILLED: Final = frozenset({"killed", "timeout", "segfault"})


@dataclass(frozen=True, order=True)
class Survivor:
    """A change that no test noticed."""

    module: str
    function: str
    change: str
    #: Why it survived, in mutmut's words, which is no part of what it is.
    status: str = field(default="survived", compare=False)

    @property
    def row(self) -> str:
        cells = (f"`{self.module}`", f"`{self.function}`", f"`` {self.change} ``".replace("|", "\\|"), self.status)
        return f"| {' | '.join(cells)} |"


@dataclass
class Outcome:
    """What became of the mutants of one module."""

    module: str
    killed: int = 0
    survivors: list[Survivor] = field(default_factory=list)
    #: How many mutants the module has, though only a sample of them may have been tested.
    population: int = 0

    @property
    def total(self) -> int:
        return self.killed + len(self.survivors)

    @property
    def score(self) -> float:
        return 100 * self.killed / self.total if self.total else 100.0

    @property
    def summary(self) -> str:
        tested = f"{self.total}" if self.total == self.population else f"a sample of {self.total} of {self.population}"
        return f"{self.killed} of {tested} mutants killed, {self.score:.0f} %"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("module", nargs="*", default=ROOMS, help="a module such as core.gaps, or a room; default: all")
    parser.add_argument("--floor", type=float, default=85.0, help="percentage of mutants to kill; default: 85")
    parser.add_argument("--tests", action="append", help="test file or directory, instead of those that are known")
    parser.add_argument("--workers", type=int, default=2, help="mutants that are tested at a time; default: 2")
    parser.add_argument("--sample", type=int, help="how many mutants of each module to test, chosen at random")
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample; default: 1")
    options = parser.parse_args()
    # For the servers, the copies and the tests: set once, so that no forked run of pytest removes it at its end.
    memory = use_memory()
    try:
        with embedded.Servers() as servers:
            environment = {**os.environ, **{name: str(value) for name, value in servers.config.items()}}
            outcomes = [
                outcome
                for modules in _groups(_modules(options.module), options.tests)
                for outcome in _test(modules, environment, options)
            ]
    finally:
        if memory is not None:
            shutil.rmtree(memory, ignore_errors=True)
    return _report(outcomes, options.floor)


def _modules(names: Iterable[str]) -> list[str]:
    """Return the modules that are named, or are in the rooms that are named."""
    modules = []
    for name in names:
        path = ROOT / "backtest_mongo" / name.replace(".", "/")
        if path.is_dir():
            modules += [f"{name}.{file.stem}" for file in sorted(path.glob("*.py")) if file.stem != "__init__"]
        elif path.with_suffix(".py").is_file():
            modules.append(name)
        else:
            raise SystemExit(f"there is no module or room {name}")
    return modules


def _groups(modules: list[str], tests: list[str] | None) -> list[list[str]]:
    """Return the modules whose mutants are tested in one run: starting one takes longer than testing some of them."""
    if tests is not None:
        return [modules]
    groups: dict[tuple[str, bool, bool], list[str]] = {}
    for module in modules:
        kind = (module.partition(".")[0], module in OWN_TESTS, module in WITH_HEAVY)
        groups.setdefault(kind, []).append(module)
    return list(groups.values())


def _tests(module: str) -> tuple[str, ...]:
    room = f"tests/{module.partition('.')[0]}"
    return OWN_TESTS.get(module, (room, *OTHER_TESTS.get(module, ())))


def _test(modules: list[str], environment: dict[str, str], options: argparse.Namespace) -> list[Outcome]:
    sources = {module: f"backtest_mongo/{module.replace('.', '/')}.py" for module in modules}
    tests = options.tests or sorted({test for module in modules for test in _tests(module)})
    marks = MARKS if WITH_HEAVY.intersection(modules) else f"not heavy and {MARKS}"
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        project = Path(directory) / "project"
        shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*LEFT_OUT))
        copied = sorted(path.name for path in project.iterdir() if path.name not in ("backtest_mongo", "mutants"))
        settings = {
            "source_paths": ["backtest_mongo"],
            "only_mutate": list(sources.values()),
            "also_copy": copied,
            "pytest_add_cli_args": ("-m", marks, *PYTEST_ARGUMENTS),
            "pytest_add_cli_args_test_selection": tests,
            # Mutants are tested in forks of a process that has imported the tests and run none of them.
            "process_isolation": "forkserver",
            "timeout_constant": PAUSE,
            "timeout_multiplier": SLOWDOWN,
            "track_dependencies": False,
            "use_git_change_detection": False,
        }
        with (project / "pyproject.toml").open("a") as file:
            file.write("\n[tool.mutmut]\n")
            file.writelines(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())

        def run(*arguments: str) -> str:
            command = [sys.executable, *arguments]
            done = subprocess.run(command, cwd=project, env=environment, text=True, capture_output=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}")
            return done.stdout

        def test(*mutants: str, workers: int) -> dict[str, str]:
            run("-m", "mutmut", "run", "--max-children", str(workers), *mutants)
            results = run("-m", "mutmut", "results", "--all", "true")
            return dict(re.findall(r"^ +(\S+): ([a-z ]+)$", results, re.MULTILINE))

        sample = None if options.sample is None else _choose(sources, run, options)
        results = test(*(sample or ()), workers=options.workers)
        stopped = [mutant for mutant, status in results.items() if status == "timeout"]
        if stopped:  # again and by themselves: on a busy machine a test may have waited for its turn
            results = test(*stopped, workers=1)
        outcomes = {module: Outcome(module) for module in modules}
        for mutant, status in results.items():
            outcome = outcomes[_module(mutant)]
            outcome.population += 1
            if sample is not None and mutant not in sample:
                continue
            if status in KILLED:
                outcome.killed += 1
            else:
                change = _change(run("-m", "mutmut", "show", mutant))
                outcome.survivors.append(Survivor(outcome.module, _function(mutant), change, status))
    for outcome in outcomes.values():
        print(f"{outcome.module}: {outcome.summary}", flush=True)
    return list(outcomes.values())


def _choose(sources: dict[str, str], run: Callable[..., str], options: argparse.Namespace) -> set[str]:
    """Return the names of so many mutants of each module, or of all if it has no more."""
    chosen: set[str] = set()
    for module, source in sources.items():
        names = [f"backtest_mongo.{module}.{name}" for name in run("-c", MUTANT_NAMES, source).split()]
        by_seed = random.Random(f"{options.seed} {module}")  # noqa: S311  # no secret
        chosen.update(by_seed.sample(names, min(options.sample, len(names))))
    return chosen


def _module(mutant: str) -> str:
    """Return the module of a mutant: ``core.gaps``."""
    return mutant.rpartition(".")[0].removeprefix("backtest_mongo.")


def _function(mutant: str) -> str:
    """Return the name of the function that mutmut's name of a mutant holds: ``find_gap`` or ``Breaker.allows``."""
    name = mutant.rpartition(".")[2].rpartition("__mutmut_")[0]
    return name.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")


def _change(shown: str) -> str:
    """Return the change that ``mutmut show`` prints as a diff, in one line."""
    lines = [line for line in shown.splitlines() if re.match(r"[-+](?!-- |\+\+ )", line)]
    removed, added = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return f"{removed} → {added}"


def _read_accepted() -> set[Survivor]:
    """Return the rows of the table in docs/contributing.md."""
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \| `` (.+) `` \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    return {Survivor(module, function, change.replace("\\|", "|")) for module, function, change in rows}


def _report(outcomes: list[Outcome], floor: float) -> int:
    """Print the survivors that are not accepted, and the modules that miss the floor; return the exit status."""
    accepted = _read_accepted()
    for survivor in sorted({survivor for outcome in outcomes for survivor in outcome.survivors} - accepted):
        print(survivor.row)
    missed = [outcome.module for outcome in outcomes if outcome.score < floor]
    if missed:
        print(f"under {floor:g} %: {', '.join(missed)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

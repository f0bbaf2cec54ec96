"""Run the tests in surroundings that differ from a developer's: `python tools/environments.py [arguments of pytest]`.

Each run is a whole one of pytest, on a copy of the project; `--only NAME` chooses among them. At the end it says what
failed where, and exits with 1 if anything did, or could not be run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).parent.parent
#: What is not part of the project, or is made anew.
LEFT_OUT: Final = (
    *(".git", ".nox", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "__pycache__"),
    *("_build", "benchmark-results", "fault-results", "dist", "node_modules"),
)
#: A user of whom the machine knows nothing, not even a name.
UID: Final = 54_321


@dataclass(frozen=True)
class Surroundings:
    """What a run finds around it."""

    variables: dict[str, str] = field(default_factory=dict)
    umask: int = -1
    user: int | None = None
    #: The directory that the copy, and all that the tests write, is in.
    directory: str = "project"


ALL: Final = {
    "TERM=dumb": Surroundings({"TERM": "dumb"}),
    "NO_COLOR=1": Surroundings({"NO_COLOR": "1"}),
    "FORCE_COLOR=1": Surroundings({"FORCE_COLOR": "1"}),
    "COLUMNS=40": Surroundings({"COLUMNS": "40"}),
    "TZ=Asia/Kolkata": Surroundings({"TZ": "Asia/Kolkata"}),
    "LC_ALL=C": Surroundings({"LC_ALL": "C"}),
    "umask 077": Surroundings(umask=0o077),
    "not root": Surroundings(user=UID),
    "a path with a space": Surroundings(directory="a path with a space"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=ALL, help="one of the surroundings; may be repeated")
    options, arguments = parser.parse_known_args()
    outcomes = {name: _run(name, ALL[name], arguments) for name in options.only or ALL}
    print("\nIn these surroundings:")
    for name, problems in outcomes.items():
        print(f"  {name}: {f'{len(problems)} failed' if problems else 'passed'}")
        for problem in problems:
            print(f"    {problem}")
    return int(any(outcomes.values()))


def _run(name: str, surroundings: Surroundings, arguments: list[str]) -> list[str]:
    """Run the tests, and return what failed."""
    print(f"\n{name}\n{'=' * len(name)}", flush=True)
    # Short, because the path of a socket must not have more than about a hundred bytes.
    base = Path(tempfile.mkdtemp(prefix="bm-"))
    try:
        place = base / surroundings.directory
        project, scratch, report = place / "project", place / "tmp", place / "report.xml"
        shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*LEFT_OUT))
        scratch.mkdir()
        variables = {"HOME": str(place), "TMPDIR": str(scratch), "PYTHONPATH": str(project)}
        python, user = sys.executable, surroundings.user if os.geteuid() == 0 else None
        if user is not None:
            python = _python_for_all(place / "python")
            variables["LD_LIBRARY_PATH"] = str(place / "python" / "base" / "lib")
            _give(base, user)
        done = subprocess.run(
            [python, "-m", "pytest", f"--junitxml={report}", *arguments],
            cwd=project,
            env={**os.environ, **variables, **surroundings.variables},
            umask=surroundings.umask,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            check=False,
        )
        problems = _failed(report) if report.exists() else []
        if done.returncode and not problems:
            problems = [f"pytest ended with {done.returncode}, and named no test"]
        return problems
    finally:
        shutil.rmtree(base)


def _failed(report: Path) -> list[str]:
    cases = ElementTree.parse(report).iter("testcase")  # noqa: S314  # pytest has written it
    return [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]


def _python_for_all(directory: Path) -> str:
    """Return the path of an interpreter that every user can start, with the packages that this one has.

    One that is installed in root's home is nobody else's, so it is copied.
    """
    base = Path(sys.base_prefix)
    if all(parent.stat().st_mode & 0o001 for parent in (base, *base.parents)):
        return sys.executable
    ignore = shutil.ignore_patterns("site-packages", "test", "__pycache__", "share", "*.a")
    shutil.copytree(base, directory / "base", symlinks=True, ignore=ignore)
    (directory / "base" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages").mkdir()
    copy = directory / "base" / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    made = directory / "venv"
    subprocess.run([str(copy), "-m", "venv", "--without-pip", str(made)], check=True)
    packages = next(made.glob("lib/python*/site-packages"))
    for number, path in enumerate(path for path in sys.path if path.endswith("site-packages")):
        (packages / f"packages-{number}.pth").write_text(f"import site; site.addsitedir({path!r})\n")
    return str(made / "bin" / "python")


def _give(base: Path, user: int) -> None:
    for path in (base, *base.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)


if __name__ == "__main__":
    sys.exit(main())

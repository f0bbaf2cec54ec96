"""Build what is released, and look at it: ``python tools/release.py``, with each extra on each Python by ``--all``.

A source distribution is built, and a wheel out of it. Their contents, the version and the README are checked; links of
the README to other files lead nowhere on an index of packages. Then both are installed in environments that have
nothing else, where files are written and read. By ``--all`` what each extra is for is run as well, and some tests as
they are in the source distribution. uv makes the environments where it is, or else venv and pip do.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Final

import backtest_mongo

ROOT: Final = Path(__file__).resolve().parent.parent
PYTHONS: Final = ("3.11", "3.12", "3.13")
VERSION: Final = backtest_mongo.__version__

#: What a wheel must have besides the modules, and what it must not have.
NEEDED: Final = (
    "backtest_mongo/py.typed",
    "backtest_mongo/adapters/__init__.pyi",
    "backtest_mongo/adapters/contracts.pyi",
    "backtest_mongo/cli/demo/eurusd-1h.csv",
    "pytest_backtest_mongo.py",
    "vnpy_backtest_mongo.py",
)
FOREIGN: Final = ("tests/", "tools/", "benchmarks/", "faults/", "docs/", "examples/")
#: What a program of the wheel and a plugin of pytest's are found by.
ENTRY_POINTS: Final = (
    "[console_scripts]\nbacktest-mongo = backtest_mongo.cli.main:main",
    "[pytest11]\npytest_backtest_mongo = pytest_backtest_mongo",
)
#: What of the repository a source distribution must have, whole: enough to run the tests.
SOURCES: Final = ("backtest_mongo", "benchmarks", "docs", "examples", "faults", "tests", "tools")
SOURCE_FILES: Final = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md"),
    *("compose.yaml", "noxfile.py"),
)
UNSHIPPED: Final = ("__pycache__", "_build", ".ipynb_checkpoints")
#: Tests that take seconds, and say that the source distribution has what tests need.
QUICK_TESTS: Final = (
    "tests/adapters/test_public.py",
    "tests/core/test_specs.py",
    "tests/cli/test_messages.py",
    "tests/documentation/test_docs.py",
)
#: Importing takes half a second of processor time, nearly all of it in the drivers, and more where nothing is compiled.
IMPORT_SECONDS: Final = 4.0

FILES: Final = """
import asyncio, sys
from backtest_mongo import persist
async def main():
    state = persist.state("signal-1", "counter")
    await state.write_state_data({"n": 1}, when=5)
    assert await state.read_state_data() == {"n": 1}
    assert await state.read_state_data(when=4) is None
asyncio.run(main())
later = {"typer", "rich", "polars", "pandas", "pyarrow", "numpy", "matplotlib", "opentelemetry", "pytest"}
assert not later & set(sys.modules), later & set(sys.modules)
"""
SERVERS: Final = """
import asyncio
from backtest_mongo import SignalAdapter, embedded, setup
async def main():
    with embedded.Servers() as servers:
        async with setup(servers.config):
            signal = SignalAdapter("a", "b", "c")
            await signal.write_signal_data({"id": "s-1"})
            assert await signal.read_signal_data() == {"id": "s-1"}
asyncio.run(main())
"""
FRAMES: Final = """
import asyncio
from backtest_mongo import persist
async def main():
    candles = persist.candle("a", "1m", "b")
    row = dict(timestamp=0, open=1.0, high=2.0, low=0.5, close=1.5, volume=3.0)
    await candles.write_candles_data([row])
    for kind in ("polars", "pandas", "numpy", "arrow"):
        frame = await candles.read_frame(as_=kind)
        assert len(frame["timestamp"]) == 1
asyncio.run(main())
"""
#: Each extra, and what has to run with it.
EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "": ("-c", FILES),
    "cli": ("-m", "backtest_mongo", "--help"),
    "embedded": ("-c", SERVERS),
    "frames": ("-c", FRAMES),
    "plot": ("-c", "import altair, vl_convert"),
    "otel": ("-c", "import opentelemetry.trace"),
    "ccxt": ("-c", "import backtest_mongo.integrations.ccxt, ccxt.async_support"),
    "langgraph": ("-c", "import backtest_mongo.integrations.langgraph"),
    "vnpy": ("-c", "import vnpy_backtest_mongo"),
    "demo": ("-m", "backtest_mongo", "demo", "--bars", "60", "--kills", "1", "--seed", "1"),
}


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a command; print what it said, and end, if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
        raise SystemExit(f"failed: {' '.join(map(str, command))[:200]}")
    return done.stdout


def build(directory: Path) -> tuple[Path, Path]:
    """Build both; the wheel out of the source distribution, so that this one is known to be whole."""
    run(sys.executable, "-m", "build", "--outdir", directory, ROOT)
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """Check which files are in them, and what their metadata say."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(f"backtest_mongo-{VERSION}.dist-info/entry_points.txt").decode()
        metadata = Parser().parsestr(archive.read(f"backtest_mongo-{VERSION}.dist-info/METADATA").decode())
    with tarfile.open(sdist) as archive_:
        shipped = {name.partition("/")[2] for name in archive_.getnames()}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "backtest_mongo").rglob("*.py")}
    problems = [f"the wheel lacks {name}" for name in sorted({*modules, *NEEDED} - set(names))]
    problems += [f"the wheel has {name}" for name in names if name.startswith(FOREIGN) or "__pycache__" in name]
    problems += [f"the wheel has no entry point {point!r}" for point in ENTRY_POINTS if point not in entry_points]
    problems += [f"the source distribution lacks {name}" for name in sorted(_sources() - shipped)]
    if not any(name.endswith("licenses/LICENSE") for name in names):
        problems.append("the wheel lacks the license")
    if metadata["Version"] != VERSION:
        problems.append(f"the metadata say version {metadata['Version']}, the package {VERSION}")
    if f"## [{VERSION}]" not in (ROOT / "CHANGELOG.md").read_text():
        problems.append(f"CHANGELOG.md has nothing of version {VERSION}")
    if problems:
        raise SystemExit("\n".join(problems))
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1000:,.0f} kB; {sdist.name}: complete")


def _sources() -> set[str]:
    found = (path for top in SOURCES for path in (ROOT / top).rglob("*") if path.is_file())
    kept = (path for path in found if not any(part in UNSHIPPED for part in path.parts))
    return {*SOURCE_FILES, *(path.relative_to(ROOT).as_posix() for path in kept)}


def check_installed(artifact: Path, python: str, extra: str, directory: Path) -> None:
    """Install one of the two in an environment of its own, and run there what has to run."""
    environment = directory / f"{python}-{extra or 'plain'}-{artifact.suffix[1:]}"
    program = install(environment, python, f"{artifact}[{extra}]" if extra else artifact)
    # In an empty directory, so that nothing of the repository is imported.
    empty = Path(tempfile.mkdtemp(dir=directory))
    run(program, "-W", "error", *EXTRAS[extra], cwd=empty)
    if extra == "cli":
        run(program.with_name("backtest-mongo"), "--help", cwd=empty)
    # Processor time, which other programs on the machine hardly add to.
    code = "import time, backtest_mongo; print(time.process_time())"
    seconds = min(float(run(program, "-c", code, cwd=empty)) for _ in range(3))
    if seconds > IMPORT_SECONDS:
        raise SystemExit(f"importing takes {seconds:.1f} s on Python {python}")
    version = run(program, "-c", "import backtest_mongo; print(backtest_mongo.__version__)", cwd=empty).strip()
    if version != VERSION:
        raise SystemExit(f"{artifact.name} installs version {version}, not {VERSION}")
    kind = f"{artifact.suffix[1:]:3} {f'[{extra}]' if extra else 'without extras':15}"
    print(f"Python {python}, {kind} runs; importing takes {seconds:.2f} s", flush=True)


def install(environment: Path, python: str, *what: object) -> Path:
    """Make an environment that has nothing but this, and return its Python."""
    program = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if shutil.which("uv"):
        run("uv", "venv", "--quiet", "--python", python, environment)
        run("uv", "pip", "install", "--quiet", "--python", program, *what)
    else:
        run(f"python{python}", "-m", "venv", environment)
        run(program, "-m", "pip", "install", "--quiet", *what)
    return program


def check_tests(sdist: Path, directory: Path) -> None:
    """Run some tests as they are in the source distribution."""
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    root = directory / sdist.name.removesuffix(".tar.gz")
    groups = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]
    program = install(directory / "tests", PYTHONS[0], f"{sdist}[demo,frames,plot]", *groups["test"])
    run(program, "-m", "pytest", "-q", *QUICK_TESTS, cwd=root)
    print("tests of the source distribution pass")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="each extra, on every Python that is supported")
    everything = parser.parse_args().all
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sdist, wheel = build(directory)
        check_contents(sdist, wheel)
        for python in PYTHONS:
            check_installed(wheel, python, "", directory)
            for extra in EXTRAS if everything else ():
                if extra:
                    check_installed(wheel, python, extra, directory)
            if everything or python == PYTHONS[0]:
                check_installed(sdist, python, "", directory)
        if everything:
            check_tests(sdist, directory)


if __name__ == "__main__":
    main()

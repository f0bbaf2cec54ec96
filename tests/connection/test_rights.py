"""The rights that SECURITY.md asks for: with them every operation works, and without any one of them some does not."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from pymongo import MongoClient

import backtest_mongo
from backtest_mongo import SERIES as SERIES_SLOTS
from backtest_mongo import (
    CandleAdapter,
    InputError,
    SignalAdapter,
    StateAdapter,
    StoreError,
    persist,
    set_logger,
    setup,
)
from backtest_mongo.adapters import ADAPTERS
from backtest_mongo.core.specs import Shape, SlotSpec
from backtest_mongo.embedded.server_process import HOST, REPLICA_SET
from backtest_mongo.mongo.sessions import begin
from tests.conftest import DRIVERS, tiny_blocks
from tests.support import uniform
from tests.support.commands import commands, invoke
from tests.support.guarded import GuardedMongod
from tests.support.leases import take_leases
from tests.support.trades import OPENED, SLOTS_KEPT, TRADE, write_trade
from tests.support.uniform import ENTRY, WHEN, candles

pytestmark = [pytest.mark.heavy, pytest.mark.either_driver]

SECURITY: Final = Path(backtest_mongo.__file__).parent.parent / "SECURITY.md"
MINUTE: Final = 60_000
PASSWORD: Final = "password"


def documented() -> tuple[list[str], list[str]]:
    """Return the actions of the role in SECURITY.md, and those that its user needs on the database of a fork."""
    own, of_fork = re.findall(r"actions: \[(.*?)\]", SECURITY.read_text(encoding="utf-8"), re.DOTALL)
    return re.findall(r"\w+", own), re.findall(r"\w+", of_fork)


ACTIONS, FORK_ACTIONS = documented()
#: Databases of forks, by what makes them, named after the database that is forked.
FORKS: Final = ("function", "command")
RUNS: Final = ("run of the function", "run of the command")


@dataclass
class Role:
    """A user with some rights on one database, which another user prepares; ``problems`` collects what is refused."""

    database: Any
    directory: Path
    environment: dict[str, str]
    problems: list[str] = field(default_factory=list)

    # The library's log: what it does in the background only warns.
    def debug(self, *event: object) -> None: ...
    def info(self, *event: object) -> None: ...

    def warning(self, *event: object) -> None:
        self.problems.append(str(event[-1]))

    def error(self, *event: object) -> None:
        self.problems.append(str(event[-1]))


Work: TypeAlias = Callable[[Role, Any], Awaitable[Any]]


async def wait(role: Role, adapter: Any) -> None:
    await adapter.wait_for_init()


async def watch(role: Role, adapter: Any) -> None:
    await watched(adapter, adapter.watch())


async def watch_all(role: Role, adapter: Any) -> None:
    await watched(adapter, type(adapter).watch_all())


async def watched(adapter: Any, changes: Any) -> None:
    async with changes:
        if adapter.spec.columns:
            await append(None, adapter)
            await anext(changes)
            return
        if adapter.spec.shape == "series":
            taken = len(await adapter.read_frame(as_="numpy"))
            await adapter.write_candles_data(candles(1, first=(1_000_000 + taken) * MINUTE))
            await adapter.write_candles_data(candles(1, first=2_000_000 * MINUTE))
        await (write(None, adapter) if adapter.spec.shape != "series" else asyncio.sleep(0))
        if adapter.spec.shape != "series":
            await anext(changes)


async def write(role: Any, adapter: Any) -> None:
    await uniform.write(adapter, uniform.payload(adapter.spec))


async def read(role: Role, adapter: Any) -> None:
    assert await uniform.read(adapter) == uniform.stored(adapter.spec, uniform.payload(adapter.spec))


async def dispose(role: Role, adapter: Any) -> None:
    adapter.dispose()


async def remove(role: Role, adapter: Any) -> None:
    await getattr(adapter, f"remove_{adapter.spec.noun}_data")(ENTRY)
    assert await uniform.read(adapter) is None


async def has(role: Role, adapter: Any) -> None:
    assert await getattr(adapter, f"has_{adapter.spec.noun}_data")(ENTRY)


async def listed(role: Role, adapter: Any) -> None:
    assert len(await uniform.listed(adapter)) == 1


async def read_many(role: Role, adapter: Any) -> None:
    (found,) = await type(adapter).read_many([adapter.context])
    assert found == uniform.payload(adapter.spec)


async def write_many(role: Role, adapter: Any) -> None:
    rows = [(adapter.context, uniform.payload(adapter.spec))]
    await type(adapter).write_many(rows, *((WHEN,) if adapter.spec.when else ()))


async def write_candles(role: Role, adapter: Any) -> None:
    # One block whole, which is sealed as it is written, and one with gaps.
    assert await adapter.write_candles_data(candles(6) + candles(4, first=8 * MINUTE)) == 10


async def seal(role: Role, adapter: Any) -> None:
    await adapter.seal()
    assert (await adapter.sealed()).blocks == 3
    # A late candle into a stretch that is sealed.
    assert await adapter.write_candles_data(candles(1, first=6 * MINUTE)) == 1
    assert await adapter.read_candles_data(1, 6 * MINUTE) == candles(1, first=6 * MINUTE)
    await adapter.seal()


async def verify(role: Role, adapter: Any) -> None:
    damage(role)
    report = await adapter.verify(repair=True)
    assert (len(report.damaged), report.repaired) == (1, 1)
    assert (await adapter.verify()).damaged == {}


async def read_frame(role: Role, adapter: Any) -> None:
    # A damaged block is read around, and sealed again.
    damage(role)
    await backtest_mongo.close()
    role.problems[:], before = [], [*role.problems]
    assert len((await adapter.read_frame(0, 12 * MINUTE, as_="numpy"))["timestamp"]) == 11
    unchecked = [line for line in role.problems if "could not" in line]
    role.problems[:] = before + unchecked
    assert (await adapter.verify()).damaged == {}


def damage(role: Role) -> None:
    assert role.database["candle-blocks"].update_one({"start": 0}, {"$set": {"checksum": 1}}).matched_count == 1


async def write_frame(role: Role, adapter: Any) -> None:
    times = [row["timestamp"] for row in candles(8, first=16 * MINUTE)]
    frame = {"timestamp": times} | {
        name: [float(row[name]) for row in candles(8)] for name in ("open", "high", "low", "close", "volume")
    }
    import numpy as np

    assert (await adapter.write_frame({name: np.array(column) for name, column in frame.items()})).new == 8


async def read_candles(role: Role, adapter: Any) -> None:
    assert await adapter.read_candles_data(6, 0) == candles(6)


async def delete(role: Role, adapter: Any) -> None:
    report = await adapter.delete(16 * MINUTE, 18 * MINUTE)
    assert (report.rows, report.blocks) == (2, 1)
    assert await adapter.write_candles_data(candles(2, first=16 * MINUTE)) == 2


async def delete_rows(role: Role, adapter: Any) -> None:
    assert await adapter.delete() == 1
    assert await uniform.read(adapter) == uniform.nothing(adapter.spec)


async def list_contexts(role: Role, adapter: Any) -> None:
    assert adapter.context in [one async for one in type(adapter).list_contexts()]


async def history(role: Role, adapter: Any) -> None:
    await setup(CC_HISTORY=adapter.spec.name)
    await write(role, adapter)
    key = (ENTRY,) if adapter.spec.item else ()
    # Without a time of its own the row that was there before is a version, too.
    assert len([one async for one in adapter.history(*key)]) == (1 if adapter.spec.when else 2)
    await setup(CC_HISTORY="")


async def range_(role: Role, adapter: Any) -> None:
    rows = getattr(adapter, f"range_{adapter.spec.noun}_data")(ENTRY, ENTRY)
    assert [row async for row in rows] == [(ENTRY, uniform.payload(adapter.spec))]


async def newest(role: Role, adapter: Any) -> None:
    rows = await getattr(adapter, f"newest_{adapter.spec.noun}_data")(1)
    assert len(rows) == 1


async def list_series(role: Role, adapter: Any) -> None:
    assert [one.context async for one in type(adapter).list_series()] == [adapter.context]


async def list_series_there(role: Role, adapter: Any) -> None:
    assert adapter.context in [one.context async for one in type(adapter).list_series()]


async def coverage(role: Role, adapter: Any) -> None:
    assert (await adapter.coverage()).rows > 10


async def gaps(role: Role, adapter: Any) -> None:
    assert len(await adapter.gaps(0, 20 * MINUTE)) == 2


async def bounds(role: Role, adapter: Any) -> None:
    assert (await adapter.bounds())[0] == 0


async def sealed(role: Role, adapter: Any) -> None:
    assert (await adapter.sealed()).blocks > 2


async def resample(role: Role, adapter: Any) -> None:
    assert len((await adapter.resample("5m", as_="numpy", **_prices(adapter)))["close"]) > 0


async def resample_into(role: Role, adapter: Any) -> None:
    assert await adapter.resample_into(CandleAdapter("x", "5m", f"of {adapter.spec.name}"), **_prices(adapter))


def _prices(adapter: Any) -> dict[str, str]:
    numbers = [column.name for column in adapter.spec.columns if column.type == "float64"]
    return {"price": numbers[0]} if numbers else {}


async def move_to_blocks(role: Role, adapter: Any) -> None:
    await adapter.move_to_blocks()
    assert len(await adapter.read_frame(as_="numpy")) > 0


async def move_to_rows(role: Role, adapter: Any) -> None:
    await adapter.move_to_rows()
    assert await adapter.read_candles_data(6, 0) == candles(6)


def make_rows(adapter: Any, first: int, count: int) -> list[dict[str, Any]]:
    spec = adapter.spec
    row = {column.name: 1 for column in spec.columns if not column.nullable}
    steps = {"ms": MINUTE, "us": MINUTE * 1_000}[spec.unit]
    sequence = spec.key[-1:] if spec.sequence else ()
    return [
        {"timestamp": number * steps, **dict.fromkeys(sequence, number), **row}
        for number in range(first, first + count)
    ]


async def append(role: Any, adapter: Any) -> None:
    taken = (await adapter.coverage()).rows
    assert await adapter.append(make_rows(adapter, taken, 1)) == 1


async def write_column_frame(role: Role, adapter: Any) -> None:
    assert (await adapter.write_frame(make_rows(adapter, 100, 20))).new == 20


async def read_column_frame(role: Role, adapter: Any) -> None:
    assert len((await adapter.read_frame(as_="numpy"))["timestamp"]) == 21


async def read_last(role: Role, adapter: Any) -> None:
    assert len(await adapter.read_last(2)) == 2


async def read_asof(role: Role, adapter: Any) -> None:
    assert await adapter.read_asof(0) is not None


async def column_gaps(role: Role, adapter: Any) -> None:
    with pytest.raises(InputError, match="no gaps"):
        await adapter.gaps()


async def retain(role: Role, adapter: Any) -> None:
    await adapter.retain("36500d")
    await adapter.retain(None)


async def seal_columns(role: Role, adapter: Any) -> None:
    assert (await adapter.seal()).rows == 21


async def verify_columns(role: Role, adapter: Any) -> None:
    assert (await adapter.verify()).damaged == {}


async def size(role: Role, adapter: Any) -> None:
    assert (await adapter.size()).block_rows == 21


async def delete_columns(role: Role, adapter: Any) -> None:
    assert await adapter.delete() == 21


ALL: Final[dict[str, Work]] = {"wait_for_init": wait}
KEPT: Final[dict[str, Work]] = {"list_contexts": list_contexts, "history": history}
WATCHED: Final[dict[str, Work]] = {"watch": watch, "watch_all": watch_all}
#: Every public method of the adapters of a shape, in an order in which each finds what it needs.
METHODS: Final[dict[Shape, dict[str, Work]]] = {
    "document": {
        **ALL,
        "write_NOUN_data": write,
        "read_NOUN_data": read,
        "write_many": write_many,
        "read_many": read_many,
        **KEPT,
        "delete": delete_rows,
        "dispose": dispose,
        **WATCHED,
    },
    "entry": {
        **ALL,
        "write_NOUN_data": write,
        "read_NOUN_data": read,
        **KEPT,
        "delete": delete_rows,
        **WATCHED,
    },
    "collection": {
        **ALL,
        "write_NOUN_data": write,
        "read_NOUN_data": read,
        **KEPT,
        "delete": delete_rows,
        **WATCHED,
    },
    "bucket": {
        **ALL,
        "write_NOUN_data": write,
        "read_NOUN_data": read,
        "list_NOUN_data": listed,
        "range_NOUN_data": range_,
        "newest_NOUN_data": newest,
        "has_NOUN_data": has,
        **KEPT,
        "remove_NOUN_data": remove,
        "delete": delete_rows,
        "dispose": dispose,
        **WATCHED,
    },
    "series": {
        **ALL,
        "write_NOUN_data": write_candles,
        "seal": seal,
        "write_frame": write_frame,
        "read_NOUN_data": read_candles,
        "verify": verify,
        "read_frame": read_frame,
        "bounds": bounds,
        "coverage": coverage,
        "gaps": gaps,
        "sealed": sealed,
        "resample": resample,
        "resample_into": resample_into,
        "delete": delete,
        "move_to_blocks": move_to_blocks,
        "move_to_rows": move_to_rows,
        "list_series": list_series_there,
        "list_contexts": list_contexts,
        **WATCHED,
    },
}


#: The same of series with columns.
COLUMN_METHODS: Final[dict[str, Work]] = {
    **ALL,
    "append": append,
    "write_frame": write_column_frame,
    "read_frame": read_column_frame,
    "read_last": read_last,
    "read_asof": read_asof,
    "gaps": column_gaps,
    "coverage": coverage,
    "resample": resample,
    "resample_into": resample_into,
    "retain": retain,
    "list_series": list_series,
    "list_contexts": list_contexts,
    "seal": seal_columns,
    "verify": verify_columns,
    "size": size,
    "delete": delete_columns,
    **WATCHED,
}


def find_cases(spec: SlotSpec) -> dict[str, Work]:
    return COLUMN_METHODS if spec.columns else METHODS[spec.shape]


def methods(adapter: type) -> set[str]:
    noun: str = adapter.spec.noun  # type: ignore[attr-defined]  # of an adapter
    names = (name for name in dir(adapter) if not name.startswith("_") and callable(getattr(adapter, name)))
    return {name.replace(f"_{noun}_", "_NOUN_") for name in names}


@pytest.mark.parametrize("name", [spec.name for spec in SERIES_SLOTS])
def test_every_method_of_a_series_has_a_case(name: str) -> None:
    assert methods(ADAPTERS[name]) == {*COLUMN_METHODS}


def test_every_method_has_a_case(spec: SlotSpec) -> None:
    known = {*find_cases(spec)}
    found = methods(ADAPTERS[spec.name])
    assert found <= known
    # A slot may lack what others of its shape have.
    assert known - found <= {"dispose", "has_NOUN_data"}


async def migrate(role: Role) -> None:
    sessions = role.database["session-items"]
    sessions.drop()
    sessions.create_index([(name, 1) for name in ADAPTERS["session"].spec.former], unique=True)
    sessions.insert_one({"strategyName": "s", "exchangeName": "e", "frameName": "f", "payload": {}})
    assert not (await backtest_mongo.migrate()).is_clean
    report = await backtest_mongo.migrate(apply=True)
    assert (report.is_clean, report.found[0].mended) == (True, 1)


async def export_dump(role: Role) -> None:
    # Files have no place for series with columns.
    problems = (await backtest_mongo.export_dump(role.directory / "dump")).problems
    assert {problem.slot for problem in problems} == {
        spec.name for spec in SERIES_SLOTS
    }  # which files have no place for


async def import_dump(role: Role) -> None:
    for name in ("state-items", "candle-items", "storage-items"):
        role.database[name].delete_one({})
        role.database[name].update_one({}, {"$set": {"payload": {"n": 5}}})
    report = await backtest_mongo.import_dump(role.directory / "dump", apply=True, conflicts="file")
    assert {slot.slot: slot.added for slot in report.slots}["state"] == 1


async def commit(role: Role) -> None:
    signal, state = SignalAdapter("a", "b", "c"), StateAdapter("a", "b")
    async with backtest_mongo.transaction(when=WHEN):
        await signal.write_signal_data({"n": 1})
        await state.write_state_data({"n": 1})
    assert await state.read_state_data() == {"n": 1}


async def own(role: Role) -> None:
    """Take over from an owner that has died in the middle of a commit, whose session its successor ends."""
    signal, state = SignalAdapter("a", "b", "c"), StateAdapter("a", "b")
    await signal.write_signal_data({"n": 1})
    dead = await take_leases(signal)
    (name,) = dead.contexts
    role.database["leases"].update_one({"_id": name}, {"$set": {"until": datetime(2000, 1, 1, tzinfo=UTC)}})
    await begin(dead.handle)
    rows = (await backtest_mongo.get_mongo())[role.database.name]["signal-items"]
    await rows.update_many({}, {"$set": {"payload.n": 0}}, session=dead.handle)
    async with backtest_mongo.lease(signal) as mine:
        await mine.add(state)
        await signal.write_signal_data({"n": 2})
    assert await signal.read_signal_data() == {"n": 2}
    # What a command releases afterwards.
    await take_leases(ADAPTERS["risk"]("risk", "exchange"))


async def look_back(role: Role) -> None:
    """Write a trade with its versions, which the commands show."""
    await setup(CC_HISTORY=SLOTS_KEPT)
    await write_trade()
    async with backtest_mongo.as_of(OPENED) as past:
        known: Any = await past.state(TRADE, "plan").read_state_data()
    assert known["minutes"] == 0
    await setup(CC_HISTORY="")


async def fork(role: Role) -> None:
    """Fork where the user may, over what a fork that failed has left, and where it may not."""
    with pytest.raises(StoreError, match="lacks the right"):
        await backtest_mongo.fork(f"{role.database.name}-other", at=OPENED)
    made = role.database.client[f"{role.database.name}-{FORKS[0]}"]
    for _ in range(2):
        report = await backtest_mongo.fork(made.name, at=OPENED, copy_candles=True)
        assert report.rows["state"] == made["state-items"].count_documents({}) > 0
        made["backtest_mongo"].update_one({"_id": "fork"}, {"$set": {"finished": None}})


async def rename(role: Role) -> None:
    assert (await backtest_mongo.rename_strategy("trend", "renamed")).slots


async def reset(role: Role) -> None:
    """Reset one of two runs: the command resets the other one, and prunes the log."""
    for run in RUNS:
        async with backtest_mongo.transaction(when=WHEN, run=run):
            await SignalAdapter(run, "b", "c").write_signal_data({"n": 1})
    assert (await backtest_mongo.reset(RUNS[0])).deleted == {"signal": 1}
    await backtest_mongo.LogAdapter().write_log_data([{"id": "1"}, {"id": "2"}])


async def wait_for_init(role: Role) -> None:
    await backtest_mongo.wait_for_init()


#: Every public function, and what asks a server.
FUNCTIONS: Final[dict[str, Callable[[Role], Awaitable[None]] | None]] = {
    "wait_for_init": wait_for_init,
    "export_dump": export_dump,
    "import_dump": import_dump,
    "migrate": migrate,
    "transaction": commit,
    "lease": own,
    "as_of": look_back,
    "fork": fork,
    "rename_strategy": rename,
    "reset": reset,
    **dict.fromkeys(("close", "get_config", "get_mongo", "get_redis", "install", "set_config", "set_logger", "setup")),
    "stats": None,
}
SERIES: Final = ("--symbol", "symbol-x", "--interval", "1m", "--exchange", "exchange_name-x")
TRADES: Final = ("-c", "symbol=symbol-x", "-c", "exchange_name=exchange_name-x")
#: Every command with its arguments. Those without have servers or databases of their own, or ask none.
COMMANDS: Final[dict[str, list[list[str]] | None]] = {
    "serve": None,
    "demo": None,
    "backup": None,
    "doctor": [[], ["--read-only", "--json"]],
    "status": [[], ["--json"]],
    "inspect": [[name, *more] for name in ADAPTERS for more in ([], ["--json"])],
    "ls": [[], ["signal"], ["candle", "--json"]],
    "history": [["state", f"signal_id={TRADE}"], ["state", f"signal_id={TRADE}", "--json"]],
    "explain": [[TRADE], [TRADE, "--json"]],
    "fork": [[f"DATABASE-{FORKS[1]}", "--at", str(OPENED), *more] for more in (["--json"], ["--yes"])],
    "rename": [["renamed", "trend", "--yes"]],
    "reset": [[RUNS[1], "--yes"]],
    "prune": [["log", "--keep", "1", "--yes"]],
    "delete": [["dictionary", "--all", "--yes"]],
    "leases": [[], ["--json"]],
    "leases release": [["risk", "risk", "exchange", "--force"]],
    "migrate": [[], ["--apply"]],
    "export-dump": [["again"]],
    "import-dump": [["again"], ["again", "--apply"]],
    "candles export": [[*SERIES, "--output", "candles.csv"]],
    "candles import": [["candles.csv", *SERIES[:-1], "another"]],
    "candles coverage": [[], ["--json"]],
    "candles seal": [[]],
    "candles verify": [[], ["--repair"]],
    "candles rows": [[], [*SERIES[:2], "--seal", "--yes"], [*SERIES[:2], "--restore", "--yes"]],
    "candles delete": [["symbol-x", "1m", "another", "--yes"]],
    "series export": [["trade", *TRADES, "--output", "trades.csv"]],
    "series import": [["trade", "trades.csv", "-c", "symbol=another", "-c", "exchange_name=another"]],
    "series coverage": [["trade"], ["trade", "--json"]],
    "series seal": [["trade"]],
    "series verify": [["trade"]],
    "series plot": [["trade", *TRADES, "--output", "trades.html"]],
    "candles plot": [[*SERIES, "--strategy", "strategy_name-x", "--output", "candles.html"]],
}


def test_every_function_and_every_command_has_a_case() -> None:
    public = {name: getattr(backtest_mongo, name) for name in backtest_mongo.__all__}
    assert {name for name, value in public.items() if inspect.isroutine(value)} == {*FUNCTIONS}
    # Those that fetch need an exchange, and write as an import and a slot of one's own do.
    assert commands() - {"candles fetch"} == {*COMMANDS}


async def use_everything(role: Role) -> None:
    """Call every method and function; stop at the first that is refused."""
    set_logger(role)
    async with setup():
        for name, cls in ADAPTERS.items():
            known = methods(cls)
            for method, work in find_cases(cls.spec).items():
                if method in known:
                    await attempted(role, f"{name}.{method}", work(role, uniform.adapter(cls.spec, "x")))
        for name, function in FUNCTIONS.items():
            if function is not None:
                await attempted(role, name, function(role))


class RefusedError(Exception):
    pass


async def attempted(role: Role, name: str, work: Awaitable[Any]) -> None:
    try:
        await work
    except StoreError as error:
        role.problems.append(f"{name}: {error}")
    if role.problems:
        raise RefusedError(role.problems)


def run_commands(role: Role) -> None:
    for command, cases in COMMANDS.items():
        for arguments in cases or ():
            done = invoke(*command.split(), *(one.replace("DATABASE", role.database.name) for one in arguments))
            # The doctor reports what it may not look at, and needs no more.
            if command != "doctor" and (done.code not in (0, 1) or done.err.startswith("backtest-mongo: ")):
                role.problems.append(f"{command}: {done.err}")
                raise RefusedError(role.problems)
            assert command != "doctor" or "read-only" not in arguments or json.loads(done.out)


def use_all(role: Role) -> None:
    asyncio.run(use_everything(role))
    run_commands(role)


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedMongod]:
    with tempfile.TemporaryDirectory() as directory:
        started = GuardedMongod(Path(directory), as_member=True)
        try:
            started.start()
            yield started
        finally:
            started.stop(kill=True)


@pytest.fixture
def root(guarded: GuardedMongod) -> Iterator[MongoClient[dict[str, Any]]]:
    with guarded.as_root() as client:
        yield client


@pytest.fixture
def make_role(
    guarded: GuardedMongod,
    root: MongoClient[dict[str, Any]],
    servers: dict[str, Any],
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[list[str], str], Role]:
    def make(actions: list[str], driver: str, fork_actions: list[str] = FORK_ACTIONS) -> Role:
        rights = {unique: actions, **{f"{unique}-{name}": fork_actions for name in FORKS}}
        privileges = [{"resource": {"db": name, "collection": ""}, "actions": may} for name, may in rights.items()]
        root.admin.command("createRole", unique, privileges=privileges, roles=[])
        root.admin.command("createUser", unique, pwd=PASSWORD, roles=[unique])
        options = f"authSource=admin&replicaSet={REPLICA_SET}"
        uri = f"mongodb://{unique}:{PASSWORD}@{HOST}:{guarded.port}/{unique}?{options}"
        environment = {**servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": driver}
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.chdir(tmp_path)
        tiny_blocks(monkeypatch)
        return Role(root[unique], tmp_path, environment)

    return make


@pytest.mark.parametrize("driver", DRIVERS)
def test_role_of_the_documentation_suffices_for_everything(
    driver: str, make_role: Callable[[list[str], str], Role]
) -> None:
    role = make_role(ACTIONS, driver)
    use_all(role)
    assert role.problems == []


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("driver", ["pymongo"])
def test_role_without_any_one_action_does_not(
    action: str, driver: str, make_role: Callable[[list[str], str], Role]
) -> None:
    role = make_role([one for one in ACTIONS if one != action], driver)
    with pytest.raises(RefusedError, match=r"right|may not|error 13\b"):
        use_all(role)


@pytest.mark.parametrize("action", FORK_ACTIONS)
def test_role_without_any_one_action_on_the_database_of_a_fork_does_not(
    action: str, make_role: Callable[..., Role]
) -> None:
    role = make_role(ACTIONS, "pymongo", [one for one in FORK_ACTIONS if one != action])
    with pytest.raises(RefusedError, match=r"right|may not|error 13\b"):
        asyncio.run(use_forks(role))


async def use_forks(role: Role) -> None:
    """Fork what there is, with the first rows of it."""
    set_logger(role)
    async with setup():
        await attempted(role, "as_of", look_back(role))
        await attempted(role, "fork", fork(role))


def test_registry_gives_the_adapters_that_were_tested(spec: SlotSpec) -> None:
    assert persist._adapters[spec.name] is ADAPTERS[spec.name]

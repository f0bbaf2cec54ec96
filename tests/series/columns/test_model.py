"""Series of random columns do what a dict does, whatever is appended, written, sealed and deleted, in any order."""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
from typing import Any, ClassVar, Final

import polars
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import backtest_mongo
from backtest_mongo import SlotSpec, persist, setup
from backtest_mongo.core.columns import COLUMN_TYPES, UNITS_PER_MS, Column
from backtest_mongo.types import Coverage
from tests.conftest import DRIVERS, SQLITE, on_database
from tests.support.column_stores import shrink, shrink_bytes
from tests.support.model_machine import EXAMPLES, STEPS

pytestmark = pytest.mark.one_python

#: How each storage names its databases, of which every machine has its own.
_numbers = itertools.count()
_MINUTE: Final = 60_000
_VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "float64": st.floats() | st.sampled_from([0.0, -0.0, math.inf, math.nan]),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "int8": st.integers(-128, 127),
    "bool": st.booleans(),
    "category": st.sampled_from(["buy", "sell", "", "ё", "a,b"]),
    "str": st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
}

#: Texts of which a few have the bytes of a block; some of them can't be compressed.
_LONG: Final = st.sampled_from(["", "x" * 50, "é" * 60, "".join(map(chr, range(200, 330))), "x" * 400])

columns = st.lists(st.tuples(st.sampled_from(COLUMN_TYPES), st.booleans()), min_size=1, max_size=4)
times = st.integers(-10, 60)


def freeze(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a row holds, to the last bit."""
    return tuple(
        (name, struct.pack("d", value) if type(value) is float else value) for name, value in sorted(row.items())
    )


class Machine(RuleBasedStateMachine):
    """One series of columns of its own, which two event loops work on."""

    driver: str
    servers: dict[str, Any]
    directory: Any
    values: ClassVar[dict[str, st.SearchStrategy[Any]]] = _VALUES

    def __init__(self) -> None:
        super().__init__()
        self.runners = [asyncio.Runner(), asyncio.Runner()]
        self.rows: dict[tuple[int, Any], dict[str, Any]] = {}

    @initialize(
        drawn=columns,
        unit=st.sampled_from(["ms", "us", "ns"]),
        sequence=st.sampled_from(["", "int64", "str"]),
        is_first=st.booleans(),
        is_grid=st.booleans(),
    )
    def begin(self, drawn: list[tuple[Any, bool]], unit: Any, sequence: Any, is_first: bool, is_grid: bool) -> None:
        number = next(_numbers)
        grid = is_grid and not sequence
        self.step = _MINUTE if grid else 1
        self.sequence = sequence
        self.columns = tuple(Column(f"c{at}", kind, nulls) for at, (kind, nulls) in enumerate(drawn))
        self.spec = SlotSpec(
            name=f"model{number}_series",
            shape="series",
            context=("symbol",),
            key=("symbol", "timestamp", *(["number"] if sequence else [])),
            unit="ms" if grid else unit,
            sequence=sequence,
            immutable=is_first,
            grid="1m" if grid else "",
            columns=self.columns,
        )
        adapter: Any = persist.register(self.spec)
        if self.driver == SQLITE:
            persist.use_sqlite(self.directory / f"{number}.db")
        else:
            uri = on_database(self.servers["CC_MONGO_CONNECTION_STRING"], f"columns-{number}")
            for runner in self.runners:
                runner.run(setup({**self.servers, "CC_MONGO_CONNECTION_STRING": uri, "CC_MONGO_DRIVER": self.driver}))
        self.series = getattr(persist, self.spec.name)("BTC")
        self.kind = adapter

    def teardown(self) -> None:
        for runner in self.runners:
            runner.run(backtest_mongo.close())
            runner.close()

    def draw_rows(self, data: st.DataObject, least: int, most: int) -> list[dict[str, Any]]:
        names: dict[str, st.SearchStrategy[Any]] = {"timestamp": times.map(lambda time: time * self.step)}
        if self.sequence:
            names["number"] = st.integers(-1, 1) if self.sequence == "int64" else st.sampled_from(["", "a", "é"])
        for column in self.columns:
            values = self.values[column.type]
            names[column.name] = st.none() | values if column.nullable else values
        return data.draw(st.lists(st.fixed_dictionaries(names), min_size=least, max_size=most))

    def key(self, row: dict[str, Any]) -> tuple[int, Any]:
        return row["timestamp"], row.get("number")

    def put(self, rows: list[dict[str, Any]]) -> int:
        before = len(self.rows)
        for row in rows:
            if self.spec.immutable:
                self.rows.setdefault(self.key(row), row)
            else:
                self.rows[self.key(row)] = row
        return len(self.rows) - before if self.spec.immutable else len({*map(self.key, rows)})

    def expect(self, first: int | None = None, end: int | None = None) -> list[dict[str, Any]]:
        order = sorted(self.rows, key=lambda key: (key[0], key[1] if key[1] is not None else 0))
        low, high = -math.inf if first is None else first, math.inf if end is None else end
        return [self.rows[key] for key in order if low <= key[0] < high]

    @rule(data=st.data(), process=st.integers(0, 1), most=st.sampled_from([1, 3, 30]))
    def append(self, data: st.DataObject, process: int, most: int) -> None:
        rows = self.draw_rows(data, 1, most)
        assert self.runners[process].run(self.series.append(rows)) == self.put(rows)

    @rule(data=st.data(), process=st.integers(0, 1), most=st.sampled_from([3, 30]))
    def write_frame(self, data: st.DataObject, process: int, most: int) -> None:
        rows = self.draw_rows(data, 1, most)
        types: dict[str, Any] = {
            "float64": polars.Float64, "int64": polars.Int64, "int8": polars.Int8, "bool": polars.Boolean,
            "category": polars.String, "str": polars.String,
        }  # fmt: skip
        schema = {"timestamp": polars.Int64, **({"number": types[self.sequence]} if self.sequence else {})}
        schema |= {column.name: types[column.type] for column in self.columns}
        report = self.runners[process].run(self.series.write_frame(polars.DataFrame(rows, schema=schema)))
        assert report.new == self.put(rows)

    @rule(process=st.integers(0, 1))
    def seal(self, process: int) -> None:
        self.runners[process].run(self.series.seal())

    @rule(first=st.none() | times, length=st.none() | st.integers(0, 25), process=st.integers(0, 1))
    def delete(self, first: int | None, length: int | None, process: int) -> None:
        start = None if first is None else first * self.step
        end = None if first is None or length is None else (first + length) * self.step
        gone = [self.key(row) for row in self.expect(start, end)]
        assert self.runners[process].run(self.series.delete(start, end)) == len(gone)
        for key in gone:
            del self.rows[key]

    @rule(first=times, length=st.integers(0, 60), process=st.integers(0, 1), when=st.none() | times, data=st.data())
    def read(self, first: int, length: int, process: int, when: int | None, data: st.DataObject) -> None:
        names = data.draw(st.none() | st.lists(st.sampled_from([column.name for column in self.columns]), unique=True))
        start, end = first * self.step, (first + length) * self.step
        known = end
        if when is not None:  # in milliseconds
            known = when * self.step - self.step + 1 if self.spec.grid else when * UNITS_PER_MS[self.spec.unit] + 1
        at = None if when is None else when * self.step
        frame = self.runners[process].run(self.series.read_frame(start, end, columns=names, as_="numpy", when=at))
        expected = self.expect(start, min(end, known))
        assert frame["timestamp"].astype("int64").tolist() == [row["timestamp"] for row in expected]
        last = self.runners[process].run(self.series.read_last(5, columns=names, when=at))
        wanted = ["timestamp", *(["number"] if self.sequence else [])]
        wanted += [column.name for column in self.columns if names is None or column.name in names]
        newest = [{name: row[name] for name in wanted} for row in self.expect(None, known if at is not None else None)]
        assert [*map(freeze, last)] == [*map(freeze, newest[-5:])]
        asof = self.runners[process].run(self.series.read_asof(start))
        before = self.expect(None, start + 1)
        assert asof is None if not before else freeze(asof) == freeze(before[-1])

    @rule(process=st.integers(0, 1))
    def look(self, process: int) -> None:
        run = self.runners[process].run
        rows = self.expect()
        found = run(self.series.read_last(1_000))
        assert [*map(freeze, found)] == [*map(freeze, rows)]
        first, last = (rows[0]["timestamp"], rows[-1]["timestamp"]) if rows else (None, None)
        assert run(self.series.coverage()) == Coverage(first, last, len(rows))
        assert run(self.series.verify()).damaged == {}
        size = run(self.series.size())
        assert size.block_rows + size.tail_rows >= len(rows)
        assert (size.block_rows + size.tail_rows == 0) == (not rows)
        assert run(self._list()) == ([{"symbol": "BTC"}] if rows else [])
        if self.spec.grid and first is not None and last is not None:
            start, end = first - 3 * self.step, last + 4 * self.step
            missing = [time for time in range(start, end, self.step) if (time, None) not in self.rows]
            gaps = run(self.series.gaps(start, end))
            assert [time for gap in gaps for time in range(gap.start, gap.end, self.step)] == missing

    async def _list(self) -> list[dict[str, Any]]:
        return [one.context async for one in type(self.series).list_series()]


class LongMachine(Machine):
    """A series of columns with long texts, several rows of which have one time."""

    values: ClassVar = {
        **_VALUES,
        "category": _VALUES["category"] | st.sampled_from(["x" * 60, "é" * 90]),
        "str": _LONG,
    }

    @initialize(
        drawn=st.lists(st.tuples(st.sampled_from(["str", "str", "category", "float64"]), st.booleans()), min_size=1),
        sequence=st.sampled_from(["", "int64", "str", "str"]),
        is_first=st.booleans(),
    )
    def begin(self, drawn: list[tuple[Any, bool]], sequence: Any, is_first: bool) -> None:
        super().begin(drawn[:3], "us", sequence, is_first, False)


@pytest.mark.timeout(max(900, 30 * EXAMPLES))
@pytest.mark.parametrize("driver", [*DRIVERS, SQLITE])
def test_series_do_what_a_dict_does(
    driver: str, request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    _run(Machine, driver, request, tmp_path)


@pytest.mark.timeout(max(900, 30 * EXAMPLES))
@pytest.mark.parametrize("driver", [*DRIVERS, SQLITE])
def test_series_that_are_cut_by_bytes_do_what_a_dict_does(
    driver: str, request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    shrink_bytes(monkeypatch, 400, 600)
    monkeypatch.setattr("backtest_mongo.series.columns.blocks._CANDIDATES", 2)
    monkeypatch.setattr("backtest_mongo.series.columns.blocks._LISTED", 3)
    monkeypatch.setattr("backtest_mongo.columns.merging.BLOCK_ROWS", 12)
    monkeypatch.setattr("backtest_mongo.series.columns.store._MANY", 12)
    monkeypatch.setattr("backtest_mongo.series.columns.store._HEADS", 2)
    monkeypatch.setattr("backtest_mongo.series.columns.merging._DELETED_BLOCKS", 2)
    _run(LongMachine, driver, request, tmp_path)


def _run(kind: type[Machine], driver: str, request: pytest.FixtureRequest, directory: Any) -> None:
    known = {} if driver == SQLITE else request.getfixturevalue("servers")
    machine = type("MachineOfDriver", (kind,), {"driver": driver, "servers": known, "directory": directory})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )

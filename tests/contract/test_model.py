"""Every slot against a model of dicts, whatever is done to it and to its caches, in any order.

A machine is two processes (event loops, each with connections and caches of its own) on a database of its own, and
raw access to both servers. After each step the stored documents must be those of the model, and each read must answer
as the model does; see ``tests/support/model_machine.py``.

The short form has five machines of forty steps. The long one, with a thousand machines of a hundred steps::

    BACKTEST_MODEL_EXAMPLES=1000 BACKTEST_MODEL_STEPS=100 python -m pytest tests/contract/test_model.py
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from bson import ObjectId
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

import backtest_mongo
from backtest_mongo import SlotSpec
from backtest_mongo.connection.hub_registry import current_hub
from backtest_mongo.core.arrays import CandleArrays
from backtest_mongo.core.interval_grid import GRIDS
from backtest_mongo.core.payload import CODEC
from backtest_mongo.series.blocks import BlockGrid, decode_into, parse_block
from backtest_mongo.types import now_ms
from tests.conftest import DRIVERS, drop_with, on_database, tiny_blocks
from tests.support.model import CANDLE_FIELDS, SPECS, Row, payloads, prices, times
from tests.support.model_machine import (
    ALL_HISTORY,
    EXAMPLES,
    FORKS,
    CommittingMachine,
    grids,
    items,
    places,
    processes,
    rows,
    run_machine,
    shape,
    strip_candle,
)
from tests.support.uniform import WHEN

pytestmark = pytest.mark.heavy

#: What may stand in the place of an id in Redis. That of another row comes most often: only it could be believed.
POISONS = (
    *("another row's id", "another row's id", "another row's id", "an id of nothing", "its id in capitals"),
    *("its id, binary", "rubbish", "nothing", "24 bytes", "a list", "a hash"),
)
#: What another program does to a row.
HOWS = ("write", "write", "delete", "delete and write")
#: How candles are sealed.
SEALED = ("default", "off", "tiny", "tiny", "tiny, complete ones", "tiny, no rows", "no rows")


@dataclass(frozen=True)
class Servers:
    config: dict[str, Any]
    #: Another program that works on the same database.
    mongo: MongoClient[dict[str, Any]]


class Machine(CommittingMachine):
    servers: ClassVar[Servers]

    def __init__(self) -> None:
        super().__init__()
        self.name = f"t{uuid.uuid4().hex[:12]}"
        self.database = self.servers.mongo.get_database(self.name, codec_options=CODEC)
        self.undo = pytest.MonkeyPatch()
        self.set_up(64, True, "default")

    @initialize(
        candle_cache_mb=st.sampled_from([0, 64]),
        candle_ids=st.booleans(),
        blocks=st.sampled_from(SEALED),
        keeps=st.booleans(),
    )
    def set_up(self, candle_cache_mb: int, candle_ids: bool, blocks: str, keeps: bool = False) -> None:
        uri = on_database(self.servers.config["CC_MONGO_CONNECTION_STRING"], self.name)
        config = {**self.servers.config, "CC_MONGO_CONNECTION_STRING": uri}
        self.shared = blocks == "tiny, complete ones"
        config |= {"CC_CANDLE_CACHE_MB": candle_cache_mb, "CC_CANDLE_ID_CACHE": candle_ids}
        config |= {"CC_CANDLE_BLOCKS": blocks != "off", "CC_CANDLE_SHARED_WRITERS": self.shared}
        config |= {"CC_CANDLE_ROWS": not blocks.endswith("no rows")}
        config |= {"CC_HISTORY": ALL_HISTORY if keeps else ""}
        self.model.keeps = keeps
        if blocks.startswith("tiny"):
            tiny_blocks(self.undo)
        self.run_in(0, backtest_mongo.setup(config))

    def end(self) -> None:
        self.run_in(0, self._wipe_redis())
        super().end()
        drop_with(self.servers.mongo, self.name)
        self.undo.undo()

    # What happens to the processes, to Redis and to the database

    @rule(row=grids, position=places, price=prices)
    def another_program_writes_a_candle(self, row: Row, position: int, price: float) -> None:
        """As the Node package does, which knows of no blocks."""
        if not self.shared:
            return
        time = position * row.step
        candle = {"timestamp": time, **dict.fromkeys(CANDLE_FIELDS, price)}
        if self.model.write_candles(row, [candle]):
            self.database[row.spec.collection].insert_one({**row.query, **candle, "timestamp": float(time)})

    @rule(row=grids, how=st.sampled_from(["a price", "presence", "rows", "start", "announced"]), nth=places)
    def damage(self, row: Row, how: str, nth: int) -> None:
        """What no program of ours does to a block, and a sealer that is killed before it is done."""
        collection = _blocks(self.database, row)
        blocks = list(collection.find().sort("_id", 1))
        if not blocks:
            return
        block = blocks[nth % len(blocks)]
        changes: dict[str, dict[str, Any]] = {
            "a price": {"close": block.get("close", b"")[::-1]},
            "presence": {"present": b"\xf0"},
            "rows": {"rows": 3},
            "start": {"start": block["start"] + 10**9 * 4 * row.step},
            "announced": {"rows": 0, "token": ObjectId()},
        }
        with suppress(DuplicateKeyError):  # another has been moved there already
            collection.update_one({"_id": block["_id"]}, {"$set": changes[how]})
        self.damaged.add(row)

    @rule(process=processes, how=st.sampled_from(["restart", "restart with room for two ids", "ids", "ids and Redis"]))
    def forget(self, process: int, how: str) -> None:
        match how:
            case "restart":
                self.run_in(process, backtest_mongo.close())
            case "restart with room for two ids":
                self.run_in(process, backtest_mongo.close())
                self.run_in(process, _keep_two_ids())
            case "ids":
                self.run_in(process, _forget_ids())
            case _:
                self.run_in(process, _forget_ids())
                self.run_in(process, self._wipe_redis())

    @rule(row=rows, poison=st.sampled_from(POISONS), process=processes, change=st.none() | payloads, when=times)
    def poison_redis(self, row: Row, poison: str, process: int, change: Any, when: Any) -> None:
        """Put ``poison`` in the place of a row's id, for a process that has to ask Redis."""
        collection = self.database[row.spec.collection]
        own = collection.find_one(row.query) or {"_id": ObjectId()}
        other = collection.find_one({"_id": {"$ne": own["_id"]}}) or {"_id": ObjectId()}
        self.run_in(process, _put_in_redis(row.spec.redis_key(row.key), poison, own["_id"], other["_id"]))
        self.run_in(process, _forget_ids())
        if change is not None:
            self.change(row, "write", change, when, process)
        self.look_at(row, None, process)

    @rule(row=st.one_of(rows, items), how=st.sampled_from(HOWS), value=payloads, when=st.integers(-3, 3))
    def another_program_changes(self, row: Row, how: str, value: dict[str, Any], when: int) -> None:
        """As the Node package would, which stores times as doubles, or an administrator."""
        spec, collection = row.spec, self.database[row.spec.collection]
        if how in ("delete", "delete and write"):
            collection.delete_one(row.query)
            self.model.delete(row)
        if how in ("write", "delete and write"):
            held = {**value, "id": row.item} if spec.shape == "collection" else shape(row, value)
            _next_millisecond()
            now = datetime.now(UTC)
            fields = {spec.field: held, "updatedDate": now}
            if spec.when:
                fields["when"] = float(WHEN + when)
            if spec.soft_delete:
                fields["removed"] = value.get("removed") is True
            stamps = {"createDate": now, "__v": 0}
            collection.update_one(row.query, {"$set": fields, "$setOnInsert": stamps}, upsert=True)
            _next_millisecond()
            self.model.write(row, held, WHEN + when, is_foreign=True)

    @rule(row=st.one_of(rows, items, grids))
    def another_program_drops_a_collection(self, row: Row) -> None:
        self.database[row.spec.collection].drop()
        for kind in ("blocks", "data", "series"):  # as the documentation asks for
            _blocks(self.database, row, kind).drop()
        self.model.drop(row.slot)
        for runner in self.runners:  # as the documentation asks for
            runner.run(backtest_mongo.close())

    @rule(when=times)
    def fork(self, when: Any) -> None:
        if self.forks == FORKS:
            return
        self.forks += 1
        name = f"{self.name}-{self.forks}"
        self.run_in(0, backtest_mongo.fork(name, at=when))
        database = self.servers.mongo.get_database(name, codec_options=CODEC)
        found = {}
        for spec in self.forked_slots:
            documents = database[spec.collection].find()
            found[spec.name] = {tuple(row[part] for part in spec.key): row[spec.field] for row in documents}
        self.check_fork(found, when)
        drop_with(self.servers.mongo, name)

    @invariant()
    def documents_are_those_of_the_model(self) -> None:
        for slot in sorted({row.slot for row in self.known}):
            spec = SPECS[slot]
            documents = list(self.database[spec.collection].find())
            if spec.shape == "series":
                documents += self._list_in_blocks(spec)
            found = {tuple(document[name] for name in spec.key): document for document in documents}
            assert len(found) == len(documents)
            if spec.shape == "series":
                assert {key: strip_candle(document) for key, document in found.items()} == self.model.candles_of(slot)
                continue
            held = {
                key: (document[spec.field], document.get("when"), document.get("removed", False))
                for key, document in found.items()
            }
            rows = self.model.rows.get(slot, {})
            assert held == {key: (row.value, row.when, row.removed) for key, row in rows.items()}

    def _list_in_blocks(self, spec: SlotSpec) -> list[dict[str, Any]]:
        """Return what is in blocks alone, as documents; no candle is in rows as well."""
        found = []
        for block in self.database[f"{spec.name.replace('_', '-')}-data"].find():
            fields = {name: block[name] for name in spec.key[:-1]}
            grid = BlockGrid.of(GRIDS[fields["interval"]])
            candles = CandleArrays.empty(block["rows"])
            decode_into(parse_block(block, grid, fields), grid, candles, 0)
            found += [{**fields, **candle} for candle in candles.candles()]
        return found

    @rule(row=grids, process=processes, to_blocks=st.booleans())
    def move_candles(self, row: Row, process: int, to_blocks: bool) -> None:
        self.run_in(process, _move(row, to_blocks))

    async def _wipe_redis(self) -> None:
        keys = [row.spec.redis_key(row.key) for row in self.known if row.spec.shape != "series"]
        keys += [row.spec.redis_key((*row.key, time)) for row, times in self.model.series.items() for time in times]
        if keys:
            await (await backtest_mongo.get_redis()).delete(*keys)


async def _move(row: Row, to_blocks: bool) -> None:
    await (row.adapter.move_to_blocks() if to_blocks else row.adapter.move_to_rows())


async def _forget_ids() -> None:
    current_hub().id_cache.local._ids.clear()


async def _keep_two_ids() -> None:
    current_hub().id_cache.local._entries = 2


async def _put_in_redis(key: str, poison: str, own: ObjectId, other: ObjectId) -> None:
    client = await backtest_mongo.get_redis()
    await client.delete(key)
    match poison:
        case "a list":
            await client.rpush(key, str(own))
        case "a hash":
            await client.hset(key, str(own), str(own))
        case _:
            values: dict[str, str | bytes] = {
                "another row's id": str(other),
                "an id of nothing": str(ObjectId()),
                "its id in capitals": str(own).upper(),
                "its id, binary": own.binary,
                "24 bytes": b"\xff" * 24,
                "nothing": b"",
            }
            await client.set(key, values.get(poison, b"rubbish"))


def _blocks(database: Database[dict[str, Any]], row: Row, kind: str = "blocks") -> Collection[dict[str, Any]]:
    return database[f"{row.spec.name.replace('_', '-')}-{kind}"]


def _next_millisecond() -> None:
    """Rows that this program and the server stamp in one millisecond have no order: their ids are of two makers."""
    now = now_ms()
    while now_ms() == now:
        pass


@pytest.mark.timeout(max(900, 20 * EXAMPLES))
@pytest.mark.parametrize("driver", DRIVERS)
def test_every_slot_does_what_the_model_does(servers: dict[str, Any], driver: str) -> None:
    with MongoClient[dict[str, Any]](servers["CC_MONGO_CONNECTION_STRING"]) as client:
        here = Servers({**servers, "CC_MONGO_DRIVER": driver}, client)

        class MachineOfDriver(Machine):
            servers: ClassVar[Servers] = here

        run_machine(MachineOfDriver)

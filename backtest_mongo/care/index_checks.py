"""The indexes of the slots' collections: which are missing, in the way, or of somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from backtest_mongo.care.data_checks import collection_names
from backtest_mongo.care.findings import Finding
from backtest_mongo.care.patient import Patient
from backtest_mongo.indexes import Fields, indexes
from backtest_mongo.slots import SLOTS
from backtest_mongo.specs import SlotSpec

__all__ = ["indexes_of_slots"]

_MIGRATE: Final = "`backtest-mongo migrate` shows what is to be done, and with --apply does it"
#: An index with one of these is none of ours, whatever its fields.
_SPECIAL: Final = ("sparse", "partialFilterExpression", "collation", "expireAfterSeconds")


async def indexes_of_slots(patient: Patient) -> AsyncIterator[Finding]:
    """Compare each collection's indexes with those that the slot needs."""
    there = await collection_names(patient)
    sound, of_node = 0, 0
    for spec in SLOTS:
        if spec.collection not in there:
            continue
        found = dict(await patient.hub.database[spec.collection].index_information())
        found.pop("_id_", None)
        of_node += sum(_is_of_node(spec, index) for index in found.values())
        findings = list(_compare(spec, found))
        sound += not findings
        for finding in findings:
            yield finding
    if sound:
        yield Finding("indexes", "ok", f"{sound} collections have the indexes that their slots need")
    if of_node:
        yield Finding(
            "indexes",
            "note",
            f"single-field indexes of the Node package: {of_node}; no query uses them, and they cost room and time",
            "leave them while Node works on this database, as it would make them again; else they can be dropped",
        )


def _compare(spec: SlotSpec, found: dict[str, Any]) -> Iterator[Finding]:
    wanted = indexes(spec)
    present = {_fields(index): index for index in found.values() if not _is_special(index)}
    for fields, unique in wanted.items():
        names = ", ".join(name for name, _ in fields)
        index = present.get(fields)
        if index is None and unique:
            if not any(_fields(other) == fields for other in found.values()):
                text = f"{spec.collection}: the unique index over {names} is missing"
                yield Finding("indexes", "warning", text, "the next use of the slot makes it")
        elif index is None:
            text = f"{spec.collection}: the index over {names} is missing, so that lists of the newest rows are slow"
            yield Finding("indexes", "note", text, "the next use of the slot makes it")
    for name, index in found.items():
        yield from _judge(spec, name, index, wanted)


def _judge(spec: SlotSpec, name: str, index: Any, wanted: dict[Fields, bool]) -> Iterator[Finding]:
    fields = _fields(index)
    names = {field for field, _ in fields}
    where = f"{spec.collection}: the index {name}"
    if "expireAfterSeconds" in index:
        yield Finding("indexes", "problem", f"{where} makes MongoDB delete rows by their age", "drop it")
    elif fields in wanted and wanted[fields] and (not index.get("unique") or _is_special(index)):
        how = "is not unique" if not index.get("unique") else "covers only a part of the rows, or compares otherwise"
        yield Finding("indexes", "problem", f"{where} is in the way: it {how}", "drop it; the next use makes ours")
    elif index.get("unique") and fields not in wanted:
        if spec.former and names == {*spec.former}:
            text = f"{where}, of an older version of the Node package, is in the way of other sessions"
            yield Finding("indexes", "problem", text, _MIGRATE)
        elif names >= {*spec.key}:
            yield Finding("indexes", "note", f"{where} is not ours; it refuses nothing", "drop it if nobody needs it")
        else:
            text = f"{where} over {', '.join(sorted(names))} is not ours, and refuses rows that differ in other fields"
            yield Finding("indexes", "problem", text, "drop it")
    elif fields not in wanted and not _is_of_node(spec, index):
        yield Finding("indexes", "note", f"{where} is not ours: no query uses it", "drop it if nobody needs it")


def _fields(index: Any) -> Fields:
    # A text or geo index has words there.
    return tuple((name, int(order) if isinstance(order, int | float) else 0) for name, order in index["key"])


def _is_special(index: Any) -> bool:
    return any(name in index for name in _SPECIAL)


def _is_of_node(spec: SlotSpec, index: Any) -> bool:
    fields = _fields(index)
    own = {*spec.key, "when"}
    is_plain = not index.get("unique") and not _is_special(index)
    return len(fields) == 1 and fields not in indexes(spec) and fields[0][0] in own and is_plain

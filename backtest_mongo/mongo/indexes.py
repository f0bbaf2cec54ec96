"""The indexes that the queries of this library need, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pymongo import IndexModel
from pymongo.errors import OperationFailure

from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.errors import IndexConflictError

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection

__all__ = [
    "RUN_INDEX",
    "Fields",
    "ensure_indexes",
    "ensure_run_index",
    "filter_indexes",
    "indexes",
    "optional_indexes",
    "retention_index",
]

Fields: TypeAlias = tuple[tuple[str, int], ...]

#: What the rows of a run are found by. Collections without such rows don't have it.
RUN_INDEX: Final[Fields] = (("origin.run", 1),)

_UNAUTHORIZED: Final = 13
_CONFLICTS: Final = (85, 86)  # IndexOptionsConflict, IndexKeySpecsConflict
_DUPLICATE_KEY: Final = 11000


def indexes(spec: SlotSpec) -> dict[Fields, bool]:
    """Return the indexes of a slot: their fields, and whether they are unique.

    The unique one serves point reads, upserts, lists by key and windows. A list of the newest rows needs one more.
    Names are MongoDB's default ones, which the Node package uses too, so its equal indexes are used as they are.
    """
    wanted: dict[Fields, bool] = {tuple((name, 1) for name in spec.key): True}
    if spec.newest is not None:
        # `_id` breaks ties between rows that were created in the same millisecond.
        wanted[(*((name, 1) for name in spec.key[:-1]), ("createDate", 1), ("_id", 1))] = False
    return wanted


def filter_indexes(spec: SlotSpec, paths: Iterable[str], has_time: bool) -> Iterator[Fields]:
    """Yield the fields of the indexes that serve a filtered list.

    Each has one path of the payload, as MongoDB would refuse to store a payload with lists at two paths of one index.
    That of a text has the rows in the order of the list, so that a part of them is found without sorting all.

    Args:
        spec: the slot.
        paths: where in the payload texts are compared.
        has_time: whether the time in the payload is.
    """
    context = tuple((name, 1) for name in spec.key[:-1])
    order = ((spec.key[-1], 1),) if spec.newest is None else (("createDate", 1), ("_id", 1))
    for path in paths:
        yield (*context, (f"{spec.field}.{path}", 1), *order)
    if has_time:
        yield (*context, (f"{spec.field}.{spec.filter_time}", 1))


def retention_index(spec: SlotSpec) -> Fields:
    """Return the fields of the index by which the rows of a context are deleted that were written first."""
    return (*((name, 1) for name in spec.key[:-1]), ("updatedDate", 1), ("_id", 1))


def optional_indexes(spec: SlotSpec) -> set[Fields]:
    """Return the fields of the indexes that a slot has once something uses them."""
    if spec.shape != "collection":
        return set() if spec.immutable else {RUN_INDEX}
    return {
        RUN_INDEX,
        *filter_indexes(spec, (path for _, path in spec.filters), bool(spec.filter_time)),
        retention_index(spec),
    }


async def ensure_indexes(collection: AsyncCollection[dict[str, Any]], spec: SlotSpec) -> None:
    """Create the missing indexes of a slot.

    Raises:
        IndexConflictError: an index or rows of the collection conflict with one of ours.
        PyMongoError: the server can't be reached.
    """
    for fields, unique in indexes(spec).items():
        try:
            await collection.create_indexes([IndexModel(list(fields), **({"unique": True} if unique else {}))])
        except OperationFailure as error:
            if error.code not in (_UNAUTHORIZED, *_CONFLICTS, _DUPLICATE_KEY):
                raise
            # A user without the right to create indexes, or with equal ones under other names, needs none of ours; and
            # without the second index a list is slower, and right.
            if unique and fields not in await _unique_indexes(collection):
                raise _conflict(spec, fields, error.code) from error


async def ensure_run_index(collection: AsyncCollection[dict[str, Any]]) -> None:
    """Create the index of the rows that belong to a run, if it is missing.

    Raises:
        PyMongoError: the server can't be reached.
    """
    try:
        await collection.create_indexes([IndexModel(list(RUN_INDEX), sparse=True)])
    except OperationFailure as error:
        if error.code not in (_UNAUTHORIZED, *_CONFLICTS):  # without it a reset is slower, and right
            raise


def _conflict(spec: SlotSpec, key: Fields, code: int | None) -> IndexConflictError:
    field_list = ", ".join(name for name, _ in key)
    conflict = IndexConflictError(
        {
            _UNAUTHORIZED: f"the unique index on {field_list} is missing, and this user may not create it",
            _DUPLICATE_KEY: f"several rows have the same key ({field_list}), so the unique index can't be created",
        }.get(code or 0, f"an existing index conflicts with the unique index on {field_list}"),
        slot=spec.name,
        collection=spec.collection,
        hint={
            _UNAUTHORIZED: "let a user with the right to create indexes create it",
            _DUPLICATE_KEY: f"group the rows by {field_list} and delete all but one of each group; the next operation "
            "creates the index",
        }.get(code or 0, "list the collection's indexes, and drop or rebuild the one that differs"),
    )
    conflict.code = code
    return conflict


async def _unique_indexes(collection: AsyncCollection[dict[str, Any]]) -> set[Fields]:
    found = (await collection.index_information()).values()
    return {tuple((name, int(order)) for name, order in index["key"]) for index in found if index.get("unique")}

"""Models of payloads: which classes can be one, how versions are checked, and what is stored of their values."""

from __future__ import annotations

import dataclasses
import enum
import pickle
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel, SecretStr, model_validator

from backtest_mongo import Column, InputError, InputTypeError, SlotError, SlotSpec
from backtest_mongo.core.payload import check_payload
from backtest_mongo.core.payload_models import PayloadModel, UnfitPayload, make_payload_model

AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Plain(BaseModel):
    price: float


@dataclasses.dataclass
class Data:
    price: float


class Struct(msgspec.Struct):
    price: float


class Wide(BaseModel):
    """A field of every type that a payload can't hold as it is, and of those that it can."""

    level: Level
    levels: dict[Level, int]
    days: dict[date, int]
    day: date
    clock: time
    span: timedelta
    seen: set[int]
    pair: tuple[int, str]
    path: Path
    host: IPv4Address
    link: HttpUrl
    at: datetime
    amount: Decimal
    uid: UUID
    raw: bytes
    parts: list[Plain]


def wide() -> Wide:
    return Wide(
        level=Level.HIGH,
        levels={Level.LOW: 1},
        days={date(2024, 1, 2): 3},
        day=date(2024, 1, 2),
        clock=time(3, 4),
        span=timedelta(minutes=90),
        seen={3, 1, 2},
        pair=(1, "a"),
        path=Path("a/b"),
        host=IPv4Address("10.0.0.1"),
        link=HttpUrl("https://example.com/"),
        at=AT,
        amount=Decimal("1.5"),
        uid=UUID(int=5),
        raw=b"x",
        parts=[Plain(price=1)],
    )


def dump(model: PayloadModel, value: object) -> Any:
    return model.dump(value, "data", "state")


def problem(model: PayloadModel, payload: Any) -> str:
    with pytest.raises(UnfitPayload) as caught:
        model.parse(payload)
    return str(caught.value)


def test_values_are_stored_in_types_that_bson_has() -> None:
    model = make_payload_model(Wide)
    payload = dump(model, wide())
    assert payload == {
        "level": 2,
        "levels": {"1": 1},
        "days": {"2024-01-02": 3},
        "day": "2024-01-02",
        "clock": "03:04:00",
        "span": "PT1H30M",
        "seen": [1, 2, 3],
        "pair": [1, "a"],
        "path": "a/b",
        "host": "10.0.0.1",
        "link": "https://example.com/",
        "at": AT,
        "amount": Decimal("1.5"),
        "uid": UUID(int=5),
        "raw": b"x",
        "parts": [{"price": 1.0}],
    }
    assert type(payload["level"]) is int
    assert model.parse(payload) == wide()


@pytest.mark.parametrize("kind", [Plain, Data, Struct, pydantic.dataclasses.dataclass(Data)])
def test_each_kind_of_model_goes_both_ways(kind: type[Any]) -> None:
    model = make_payload_model(kind)
    assert dump(model, kind(price=1.5)) == {"price": 1.5}
    assert model.parse({"price": 2}) == kind(price=2.0)
    assert problem(model, {"price": "dear"}).startswith("price: ")
    assert "price" in problem(model, {})
    for payload in (None, 5, "x", [], [1], True):
        assert problem(model, payload)


def test_root_model_of_a_list_is_stored_as_one() -> None:
    class Pair(RootModel[tuple[str, Plain]]):
        pass

    model = make_payload_model(Pair)
    assert dump(model, Pair(("a", Plain(price=1)))) == ["a", {"price": 1.0}]
    assert model.parse(["a", {"price": 1}]) == Pair(("a", Plain(price=1)))
    assert problem(model, ["a", {"price": "x"}]).startswith("[1].price: input should be a valid number")
    # There is no place in it for a version.
    with pytest.raises(InputTypeError, match="is stored as a list, which has no place for its version"):
        dump(make_payload_model(Pair, schema_version=2), Pair(("a", Plain(price=1))))


@pytest.mark.parametrize(
    ("arguments", "version"),
    [
        ({}, 1),
        ({"schema_version": 4}, 4),
        ({"upgrade": {1: dict, 2: dict}}, 3),
        ({"upgrade": {2: dict}}, 3),
        ({"upgrade": {2: dict}, "schema_version": 3}, 3),
        ({"upgrade": lambda payload, version: payload}, 2),
        ({"upgrade": lambda payload, version: payload, "schema_version": 5}, 5),
    ],
)
def test_version_follows_from_the_upgrades(arguments: dict[str, Any], version: int) -> None:
    model = make_payload_model(Plain, **arguments)
    assert model.schema_version == version
    expected = {"price": 1.0} if version == 1 else {"price": 1.0, "schemaVersion": version}
    assert dump(model, Plain(price=1)) == expected
    assert model.parse(expected) == Plain(price=1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"schema_version": 0}, "schema_version must be 1 or more, not 0"),
        ({"schema_version": True}, "schema_version must be an int, not bool"),
        ({"schema_version": "2"}, "schema_version must be an int, not str"),
        ({"upgrade": 5}, "upgrade must be a function, or a dict of functions by version, not int"),
        ({"upgrade": {}}, "upgrade must have at least one version, and has none"),
        ({"upgrade": {"1": dict}}, r"upgrade must have versions \(int\) as keys, not str"),
        ({"upgrade": {1: 5}}, r"upgrade\[1\] must be a function, not int"),
        ({"upgrade": {0: dict}}, "upgrade must have at least one version, and has 0"),
        ({"upgrade": {1: dict, 3: dict}}, "upgrade must have a function for each version up to 3, and has 1, 3"),
        ({"upgrade": {1: dict}, "schema_version": 3}, "upgrade must have a function for each version up to 2"),
        ({"upgrade": {1: dict, 2: dict}, "schema_version": 2}, "a function for each version up to 1, and has 1, 2"),
        ({"upgrade": lambda payload, version: payload, "schema_version": 1}, "upgrade has nothing to do for version 1"),
    ],
)
def test_contradicting_versions_are_refused(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError, match=error):
        make_payload_model(Plain, **arguments)


class Unresolved(BaseModel):
    value: Missing  # type: ignore[name-defined]  # noqa: F821  # that is what is tested


@dataclasses.dataclass
class Unreadable:
    value: PayloadModel


class UnreadableStruct(msgspec.Struct):
    value: Missing  # type: ignore[name-defined]  # noqa: F821  # that is what is tested


class OwnVersion(BaseModel):
    version: int = Field(alias="schemaVersion")


class OwnVersionStruct(msgspec.Struct, rename="camel"):
    schema_version: int


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (dict, "model must be a pydantic model, a dataclass or a msgspec.Struct, not dict"),
        (int, "model must be .*, not int"),
        (list[int], "model must be .*, not GenericAlias"),
        (Plain(price=1), "model must be .*, not Plain .*pass the class, not an object"),
        ("Plain", "model must be .*, not str"),
        (Unresolved, "Unresolved can't be a model: .*Missing"),
        (Unreadable, "Unreadable can't be a model: "),
        (UnreadableStruct, "UnreadableStruct can't be a model: NameError"),
        (OwnVersion, "OwnVersion has a field schemaVersion, which holds the version of a payload"),
        (OwnVersionStruct, "OwnVersionStruct has a field schemaVersion"),
    ],
)
def test_what_can_t_be_a_model_is_refused(model: Any, error: str) -> None:
    with pytest.raises(InputError, match=error):
        make_payload_model(model)


def test_equal_arguments_make_one_object_also_after_pickling() -> None:
    model = make_payload_model(Plain, {1: dict}, 2)
    assert make_payload_model(Plain, {1: dict}, 2) is model
    assert pickle.loads(pickle.dumps(model)) is model
    assert make_payload_model(Plain, {1: list}, 2) is not model


def fail(payload: Any) -> Any:
    raise KeyError("price")


@pytest.mark.parametrize(
    ("upgrade", "error"),
    [
        ({1: fail}, "the upgrade from version 1 failed: KeyError: 'price'"),
        ({1: lambda payload: payload.clear()}, "the upgrade from version 1 returned None: it must return the payload"),
        ({1: lambda payload: 5}, "input should be a valid dictionary or instance of Plain"),
        ({1: lambda payload: {"price": "x"}}, "price: input should be a valid number"),
        ({1: lambda: None}, "the upgrade from version 1 failed: TypeError"),
        ({2: dict}, "there is no upgrade from version 1"),
        (None, "there is no upgrade from version 1"),
    ],
)
def test_upgrade_that_fails_is_an_error_of_the_row(upgrade: Any, error: str) -> None:
    model = make_payload_model(Plain, upgrade, 3 if upgrade == {2: dict} else 2)
    payload = {"cost": [1]}
    assert error in problem(model, payload)
    assert payload == {"cost": [1]}  # as an error shows it


def test_payload_of_a_later_version_is_never_parsed() -> None:
    model = make_payload_model(Plain, {1: fail})
    assert problem(model, {"price": 1, "schemaVersion": 3}) == "schemaVersion: is 3, and Plain describes version 2"
    versions: list[Any] = [0, -1, 1.5, float("nan"), float("inf"), True, None, "2", [], {}]
    for version in versions:
        assert problem(model, {"price": 1, "schemaVersion": version}).startswith(
            "schemaVersion: must be a whole number of 1 or more, not "
        )
    assert model.parse({"price": 1, "schemaVersion": 2.0}) == Plain(price=1)


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    child: Any = None


class Spoiling(BaseModel):
    """Validators that change what they are given, and raise what they like."""

    price: float

    @model_validator(mode="before")
    @classmethod
    def _spoil(cls, payload: Any) -> Any:
        price = payload.pop("price")
        return {"price": 1 / price}


def test_validators_change_nothing_that_is_stored() -> None:
    model = make_payload_model(Spoiling)
    assert dump(model, Spoiling.model_construct(price=4.0)) == {"price": 4.0}
    assert problem(model, {"price": 0}) == "ZeroDivisionError: division by zero"
    assert problem(model, {}) == "KeyError: 'price'"
    assert problem(model, None).startswith("AttributeError: ")


def test_objects_that_can_t_be_read_back_are_refused() -> None:
    model = make_payload_model(Loose)
    with pytest.raises(InputError, match="data has a field schemaVersion of its own"):
        dump(model, Loose.model_validate({"schemaVersion": 1}))
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InputError, match="data can't be written: RecursionError"):
        dump(model, Loose(child=circle))
    with pytest.raises(InputError, match="two keys of a mapping are the same text"):
        dump(model, Loose(child={1: "a", "1": "b"}))

    class Sub(Loose):
        pass

    with pytest.raises(InputTypeError, match=r"data must be a Loose, not Sub \(subclasses of Loose"):
        dump(model, Sub())
    wrong = make_payload_model(Plain)
    with pytest.raises(InputError, match="data could not be read back as a Plain: price: "):
        dump(wrong, Plain.model_construct(price="x"))
    structs = make_payload_model(Struct)
    with pytest.raises(InputError, match="data could not be read back as a Struct: price: expected float, got str"):
        dump(structs, Struct(price="x"))  # type: ignore[arg-type]  # that is what is tested


def test_secret_is_not_stored_as_asterisks() -> None:
    """It stays what it is, which the check of payloads refuses."""

    class Secret(BaseModel):
        token: SecretStr

    payload = dump(make_payload_model(Secret), Secret(token=SecretStr("t")))
    with pytest.raises(InputError, match=r"state: data\.token can't be stored as BSON"):
        check_payload(payload, "data", "state")


def test_problems_are_short_printable_and_without_values() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")

        price: float

    found = problem(make_payload_model(Strict), {f"\x1b[2J{number}" + "x" * 9_999: number for number in range(50)})
    assert found.isprintable()
    assert len(found) < 2_000
    assert found.endswith("; and 48 more")
    assert "hunter2" not in problem(make_payload_model(Plain), {"price": "hunter2"})


def test_paths_lead_into_lists_and_parts() -> None:
    class Tree(BaseModel):
        entries: list[Plain] = Field(alias="_entry")

    assert problem(make_payload_model(Tree), {"_entry": [{"price": 1}, {}]}) == "_entry[1].price: field required"

    class Branch(msgspec.Struct):
        entries: list[Struct]
        levels: dict[int, int] = {}

    model = make_payload_model(Branch)
    assert problem(model, {"entries": [{"price": "x"}]}) == "entries[0].price: expected float, got str"
    assert problem(model, {"entries": [], "levels": {"x": 1}}) == "levels: expected int, got str"


OWN: dict[str, Any] = {"name": "own", "shape": "document", "context": ("symbol",), "key": ("symbol",)}


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"model": dict}, "has a model that can't be used: model must be a pydantic model"),
        ({"upgrade": {1: dict}}, "can't upgrade payloads without a model"),
        ({"schema_version": 2}, "can't upgrade payloads without a model"),
        ({"model": Plain, "upgrade": {}}, "has a model that can't be used: upgrade must have at least one version"),
        (
            {"shape": "series", "key": ("symbol", "timestamp"), "model": Plain},
            "can't have a model as a series, whose rows are columns",
        ),
    ],
)
def test_row_of_the_table_with_a_model_is_checked(columns: dict[str, Any], error: str) -> None:
    rest = {"columns": (Column("value", "float64"),)} if "shape" in columns else {}
    with pytest.raises(SlotError, match=f"own: the row of the slot table {error}"):
        SlotSpec(**{**OWN, **rest, **columns})


def test_rows_of_the_table_compare_by_their_models() -> None:
    first, second = SlotSpec(**OWN, model=Plain, upgrade={1: dict}), SlotSpec(**OWN, model=Plain, upgrade={1: dict})
    assert first == second
    assert hash(first) == hash(second)
    assert first != SlotSpec(**OWN, model=Plain)
    assert first != SlotSpec(**OWN, model=Data, upgrade={1: dict})

"""Models of payloads: classes that payloads are read into and written from, and the version of what is stored.

A model is a pydantic model, a dataclass or a ``msgspec.Struct``. Nothing here is imported, or run, for a slot without
one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from backtest_mongo.core.control_characters import escape_controls
from backtest_mongo.core.storable_values import make_storable
from backtest_mongo.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["VERSION_FIELD", "PayloadModel", "UnfitPayload", "Upgrade", "describe_problems", "make_payload_model"]

#: How older payloads become those of a model: one function, which gets a payload and its version and returns what the
#: model takes, or one for each older version, which returns a payload of the next.
Upgrade: TypeAlias = Callable[[Any, int], Any] | Mapping[int, Callable[[Any], Any]]
#: Where something is in a payload, such as ``_entry[0].price``, and what is wrong with it.
Problem: TypeAlias = tuple[str, str]

#: The field of a payload that holds its version, from version 2 on. Node's engine ignores fields that it doesn't know.
VERSION_FIELD: Final = "schemaVersion"

#: Problems that a message names, and the longest that a path and a text in it may be.
_NAMED: Final = 3
_LONGEST: Final = 200


class UnfitPayload(Exception):
    """Carries what is wrong with a payload to the adapter, which knows whose payload it is."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(describe_problems(problems))
        self.problems = problems


class _Format(Protocol):
    """How objects of one kind of model are made of payloads, and payloads of them."""

    def list_fields(self) -> set[str]:
        """Return the names that the model's own fields have in a payload."""
        ...

    def parse(self, payload: Any) -> Any:
        """Return an object.

        Raises:
            Exception: whatever the model raises.
        """
        ...

    def dump(self, value: Any) -> Any:
        """Return a payload, which may hold what can't be stored.

        Raises:
            Exception: whatever the model raises.
        """
        ...

    def list_problems(self, error: Exception) -> list[Problem] | None:
        """Return what an error of :meth:`parse` says is wrong; ``None`` if it is another kind of error."""
        ...


class PayloadModel:
    """A model, and the version of the payloads that it describes. Made by :func:`make_payload_model`.

    Attributes:
        kind: the class.
        schema_version: the version, 1 or more. Payloads without a version are of version 1.
    """

    def __init__(
        self,
        kind: type[Any],
        upgrade: Upgrade | None,
        schema_version: int,
        format_: _Format,
        arguments: tuple[Any, ...],
    ) -> None:
        self.kind: type[Any] = kind
        self.schema_version: int = schema_version
        self._upgrade = upgrade
        self._format = format_
        self._arguments = arguments

    def __repr__(self) -> str:
        return f"PayloadModel({self.kind.__qualname__}, schema_version={self.schema_version})"

    def __reduce__(self) -> tuple[Any, ...]:
        return make_payload_model, self._arguments

    def parse(self, payload: Any) -> Any:
        """Return the object of a payload, which is the caller's own.

        Raises:
            UnfitPayload: the payload doesn't fit the model, can't be upgraded, or is of a later version.
        """
        version, payload = _split_version(payload)
        if version > self.schema_version:
            problem = f"is {version}, and {self.kind.__name__} describes version {self.schema_version}"
            raise UnfitPayload([(VERSION_FIELD, problem)])
        if version < self.schema_version:
            payload = self._apply_upgrade(payload, version)
        return self._parse(payload)

    def _parse(self, payload: Any) -> Any:
        try:
            return self._format.parse(payload)
        except Exception as error:  # validators of the user's may raise anything
            problems = self._format.list_problems(error)
            raise UnfitPayload([("", _describe_error(error))] if problems is None else problems) from error

    def _apply_upgrade(self, payload: Any, version: int) -> Any:
        payload = deepcopy(payload)  # a function may change it in place, and an error shows what is stored
        if isinstance(self._upgrade, Mapping):
            for step in range(version, self.schema_version):
                function = self._upgrade.get(step)
                if function is None:
                    raise UnfitPayload([("", f"there is no upgrade from version {step}")])
                payload = _call_upgrade(step, function, payload)
            return payload
        if self._upgrade is None:
            raise UnfitPayload([("", f"there is no upgrade from version {version}")])
        return _call_upgrade(version, self._upgrade, payload, version)

    def dump(self, value: object, path: str, slot: str) -> Any:
        """Return the payload of an object, which is checked to be readable as one.

        Args:
            value: the object.
            path: what the object is called in messages.
            slot: the slot that it is for.

        Raises:
            InputTypeError: it is not of the model.
            InputError: its payload would not fit the model, or the model can't write it.
        """
        name = self.kind.__name__
        if type(value) is not self.kind:
            hint = (
                f"subclasses of {name} would not be read back as themselves" if isinstance(value, self.kind) else None
            )
            raise InputTypeError(f"{path} must be a {name}, not {type(value).__name__}", slot=slot, hint=hint)
        try:
            payload = make_storable(self._format.dump(value))
            # A copy, as validators may change what they are given.
            self._parse(make_storable(payload))
        except UnfitPayload as error:
            problem = f"{path} could not be read back as a {name}: {error}"
            raise InputError(problem, slot=slot) from error.__cause__
        except Exception as error:  # serializers of the user's may raise anything
            raise InputError(f"{path} can't be written: {_describe_error(error)}", slot=slot) from error
        if type(payload) is dict and VERSION_FIELD in payload:
            raise InputError(
                f"{path} has a field {VERSION_FIELD} of its own, which holds the version of a payload", slot=slot
            )
        if self.schema_version == 1:
            return payload
        if type(payload) is not dict:
            kind = type(payload).__name__
            raise InputTypeError(f"{path} is stored as a {kind}, which has no place for its version", slot=slot)
        return payload | {VERSION_FIELD: self.schema_version}


def make_payload_model(
    model: type[Any], upgrade: Upgrade | None = None, schema_version: int | None = None
) -> PayloadModel:
    """Return how payloads are read into a model and written from it.

    Args:
        model: a pydantic model, a dataclass or a ``msgspec.Struct``.
        upgrade: what makes payloads of the model's version out of older ones.
        schema_version: the version of the payloads that the model describes. ``None`` is the one after those that
            ``upgrade`` names, 2 if it is one function, and 1 without it.

    Raises:
        InputTypeError: an argument has the wrong type, or the model has a field of a type that it can't read.
        InputError: the versions contradict each other, or the model has a field for the version.
    """
    is_mapping = isinstance(upgrade, Mapping)
    steps = tuple(upgrade.items()) if isinstance(upgrade, Mapping) else None
    try:
        return _make_known(model, steps, None if is_mapping else upgrade, schema_version)
    except TypeError as error:
        if isinstance(error, InputTypeError):
            raise
    return _make(model, steps, None if is_mapping else upgrade, schema_version)  # one of them has no hash


def _make(model: Any, steps: tuple[Any, ...] | None, function: Any, schema_version: Any) -> PayloadModel:
    upgrade = function if steps is None else dict(steps)
    version = _find_version(upgrade, schema_version)
    format_ = _find_format(model)
    if VERSION_FIELD in format_.list_fields():
        raise InputError(
            f"{model.__name__} has a field {VERSION_FIELD}, which holds the version of a payload",
            hint="leave it out, and pass schema_version=",
        )
    return PayloadModel(model, upgrade, version, format_, (model, upgrade, schema_version))


#: One object for equal arguments, as adapters are kept by it.
_make_known: Callable[..., PayloadModel] = lru_cache(maxsize=256, typed=True)(_make)


def _find_version(upgrade: object, given: object) -> int:
    if given is not None and type(given) is not int:
        raise InputTypeError(f"schema_version must be an int, not {type(given).__name__}")
    if given is not None and given < 1:
        raise InputError(f"schema_version must be 1 or more, not {given}")
    if upgrade is None:
        return 1 if given is None else given
    if not isinstance(upgrade, dict):
        if not callable(upgrade):
            raise InputTypeError(
                f"upgrade must be a function, or a dict of functions by version, not {type(upgrade).__name__}"
            )
        if given == 1:
            raise InputError("upgrade has nothing to do for version 1", hint="pass the present schema_version=")
        return 2 if given is None else given
    for version, function in upgrade.items():
        if type(version) is not int:
            raise InputTypeError(f"upgrade must have versions (int) as keys, not {type(version).__name__}")
        if not callable(function):
            raise InputTypeError(f"upgrade[{version}] must be a function, not {type(function).__name__}")
    last = given - 1 if given is not None else max(upgrade, default=0)
    missing = sorted({*range(min(upgrade, default=last), last + 1)} ^ {*upgrade})
    if not upgrade or missing or min(upgrade) < 1:
        wanted = f"a function for each version up to {last}" if last > 0 else "at least one version"
        raise InputError(
            f"upgrade must have {wanted}, and has {', '.join(map(str, sorted(upgrade))) or 'none'}",
            hint="upgrade={1: function} makes version 2 of version 1, and schema_version= is the one after the last",
        )
    return last + 1


def _find_format(model: object) -> _Format:
    if isinstance(model, type):
        from pydantic import BaseModel

        try:
            if issubclass(model, BaseModel):
                return _PydanticFormat(model)
            if is_dataclass(model):
                return _DataclassFormat(model)
            msgspec: Any = sys.modules.get("msgspec")  # who has a Struct has imported it
            if msgspec is not None and issubclass(model, msgspec.Struct):
                return _StructFormat(model, msgspec)
        except Exception as error:  # annotations that can't be resolved, types that can't be read
            raise InputTypeError(f"{model.__name__} can't be a model: {_describe_error(error)}") from error
    name = model.__name__ if isinstance(model, type) else type(model).__name__
    raise InputTypeError(
        f"model must be a pydantic model, a dataclass or a msgspec.Struct, not {name}",
        hint=None if isinstance(model, type) else "pass the class, not an object",
    )


class _PydanticFormat:
    def __init__(self, model: type[Any]) -> None:
        model.model_rebuild()  # which says what can't be resolved
        self._model = model

    def list_fields(self) -> set[str]:
        return _list_aliases(self._model.model_fields)

    def parse(self, payload: Any) -> Any:
        return self._model.model_validate(payload)

    def dump(self, value: Any) -> Any:
        # What is wrong with it is found by reading it back.
        return value.model_dump(by_alias=True, warnings=False)

    def list_problems(self, error: Exception) -> list[Problem] | None:
        return _list_pydantic_problems(error)


class _DataclassFormat:
    def __init__(self, model: type[Any]) -> None:
        from pydantic import TypeAdapter

        self._model = model
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)

    def list_fields(self) -> set[str]:
        fields = getattr(self._model, "__pydantic_fields__", None)  # of pydantic's own dataclasses
        return {*self._model.__dataclass_fields__} | (_list_aliases(fields) if fields else set())

    def parse(self, payload: Any) -> Any:
        return self._adapter.validate_python(payload)

    def dump(self, value: Any) -> Any:
        return self._adapter.dump_python(value, by_alias=True, warnings=False)

    def list_problems(self, error: Exception) -> list[Problem] | None:
        return _list_pydantic_problems(error)


class _StructFormat:
    def __init__(self, model: type[Any], msgspec: Any) -> None:
        from datetime import datetime
        from decimal import Decimal
        from uuid import UUID

        self._model = model
        self._msgspec = msgspec
        #: What can be stored as it is.
        self._plain = (bytes, datetime, Decimal, UUID)
        with suppress(msgspec.ValidationError):
            self.parse({})  # which says what can't be resolved

    def list_fields(self) -> set[str]:
        return {*self._model.__struct_encode_fields__}

    def parse(self, payload: Any) -> Any:
        # Node stores numbers as floats, also those of an int.
        return self._msgspec.convert(payload, type=self._model, strict=False, builtin_types=self._plain, str_keys=True)

    def dump(self, value: Any) -> Any:
        return self._msgspec.to_builtins(value, builtin_types=self._plain, str_keys=True)

    def list_problems(self, error: Exception) -> list[Problem] | None:
        if not isinstance(error, self._msgspec.ValidationError):
            return None
        problem, _, place = str(error).rpartition(" - at ")
        if not problem:
            return [("", _describe_text(place))]
        path = place.rpartition(" in ")[2].strip("`")  # `key` in `$.a`, or `$.a`
        return [(_shorten(path.removeprefix("$").removeprefix(".")), _describe_text(problem.replace("`", "")))]


def _list_aliases(fields: Mapping[str, Any]) -> set[str]:
    found = set()
    for name, field in fields.items():
        aliases = (field.alias, field.serialization_alias, field.validation_alias)
        found |= {name, *(alias for alias in aliases if isinstance(alias, str))}
    return found


def _list_pydantic_problems(error: Exception) -> list[Problem] | None:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return None
    return [(_join_path(problem["loc"]), _describe_text(problem["msg"])) for problem in _list_errors(error)]


def _list_errors(error: ValidationError) -> list[Any]:
    # Without the values, as a log may show the message.
    return [*error.errors(include_url=False, include_context=False, include_input=False)]


def _join_path(location: tuple[int | str, ...]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return _shorten("".join(parts).removeprefix("."))


def _split_version(payload: Any) -> tuple[int, Any]:
    """Return the version of a payload, and the payload without it."""
    if type(payload) is not dict or VERSION_FIELD not in payload:
        return 1, payload
    version = payload[VERSION_FIELD]
    if type(version) is float and version.is_integer():
        version = int(version)  # Node stores numbers so
    if type(version) is not int or version < 1:
        shown = f"not {version}" if type(version) in (int, float) else f"not {type(version).__name__}"
        raise UnfitPayload([(VERSION_FIELD, f"must be a whole number of 1 or more, {shown}")])
    return version, {name: value for name, value in payload.items() if name != VERSION_FIELD}


def _call_upgrade(version: int, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        payload = function(*arguments)
    except Exception as error:  # the user's function may raise anything
        problem = f"the upgrade from version {version} failed: {_describe_error(error)}"
        raise UnfitPayload([("", problem)]) from error
    if payload is None:
        raise UnfitPayload([("", f"the upgrade from version {version} returned None: it must return the payload")])
    return payload


def describe_problems(problems: list[Problem]) -> str:
    """Return the first problems of a payload, each with its path."""
    shown = [f"{path}: {text}" if path else text for path, text in problems[:_NAMED]]
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {more:,} more" if more else "")


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {_shorten(str(error))}" if str(error) else type(error).__name__


def _describe_text(text: str) -> str:
    return _shorten(text[:1].lower() + text[1:])


def _shorten(text: str) -> str:
    text = escape_controls(text[:_LONGEST])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."

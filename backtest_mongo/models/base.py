"""What the models of the Node engine's payloads have in common."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, SerializationInfo, SerializerFunctionWrapHandler, model_serializer
from pydantic.alias_generators import to_camel

__all__ = ["EngineModel", "Number"]

#: A number, which stays what it is: JSON's ``100`` is not written back as ``100.0``.
Number: TypeAlias = int | float


class EngineModel(BaseModel):
    """A payload, or a part of one, as the engine has it.

    Fields are in snake case here and in camel case in the payload; both are accepted. Fields that are not listed are
    kept and written back, and fields that were never set are not written. So a payload that is read and written again
    stays what it was.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="allow"
    )

    #: The fields, as the payload names them, without which the engine doesn't find the row or doesn't resume from it.
    ENGINE_NEEDS: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, serialize: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        payload: dict[str, Any] = serialize(self)
        for name, field in type(self).model_fields.items():
            if name not in self.model_fields_set:
                payload.pop((info.by_alias and field.serialization_alias) or name, None)
        return payload

"""Loads whose writes are transactions over registers of all slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faults.groups import list_group
from faults.load import Load
from faults.registers import Register
from faults.sqlite_load import SQLiteLoad

__all__ = ["GroupLoad", "SQLiteGroupLoad"]

#: A group is recorded under the name of its register in this slot.
_JOB = {"program": "faults.groups", "slots": ["state"], "forget": 0.0}


class GroupLoad(Load):
    """A load on a database; the options are those of :class:`~faults.load.Load`."""

    def __init__(self, directory: Path, config: dict[str, Any], **options: Any) -> None:
        super().__init__(directory, config, **{**_JOB, **options})

    def _list_registers(self, name: str) -> list[Register]:
        return list_group(Register.named(name))


class SQLiteGroupLoad(SQLiteLoad):
    """A load on an SQLite file."""

    def __init__(self, directory: Path, config: dict[str, Any], **options: Any) -> None:
        super().__init__(directory, config, **{**_JOB, **options})

    def _list_registers(self, name: str) -> list[Register]:
        return list_group(Register.named(name))

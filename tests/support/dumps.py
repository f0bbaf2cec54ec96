"""Files of a dump, hostile ones too, and what a dump leaves in a database."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument

import backtest_mongo
from backtest_mongo import SLOTS
from backtest_mongo.core.payload import WRITE_CODEC
from backtest_mongo.dumps.reports import ImportReport, SlotImport

#: JSON that is nested more deeply than any parser goes.
DEEP = "[" * 100_000


async def read_database(name: str) -> dict[str, list[bytes]]:
    """Return all documents of a database as BSON, by collection."""
    database = (await backtest_mongo.get_mongo())[name]
    codec: Any = WRITE_CODEC.with_options(document_class=RawBSONDocument)
    found = {}
    for spec in SLOTS:
        collection: Any = database.get_collection(spec.collection, codec_options=codec)
        rows = await collection.find().sort("_id", 1).to_list(None)
        found[spec.collection] = [bytes(row.raw) for row in rows]
    return found


def find_slot(report: ImportReport, slot: str) -> SlotImport:
    (one,) = [one for one in report.slots if one.slot == slot]
    return one


def write_file(root: Path, path: str, content: Any, written: float | None = None) -> Path:
    """Write a file as Node writes it."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    if written is not None:
        os.utime(file, (written, written))
    return file


def link_out(path: Path, outside: Path) -> None:
    outside.mkdir(exist_ok=True)
    (outside / "secret.json").write_text('{"id":"secret"}')
    path.symlink_to(outside / "secret.json")


def bind(path: Path, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(path.parent)  # as a socket's path must be short
        try:
            listening.bind(path.name)
        finally:
            os.chdir(here)


def make_large(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


#: Ways to make something with the name of a row that is not a readable file.
SPECIAL_FILES: dict[str, Callable[[Path, Path], None]] = {
    "pipe": lambda path, outside: os.mkfifo(path),
    "socket": bind,
    "device": lambda path, outside: path.symlink_to("/dev/zero"),
    "loop": lambda path, outside: path.symlink_to(path.name),
    "large": make_large,
    "directory": lambda path, outside: path.mkdir(),
    "nowhere": lambda path, outside: path.symlink_to("nowhere"),
    "out": link_out,
}

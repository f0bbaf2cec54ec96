"""Writing Parquet and CSV files, which appear when they are complete."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast

from backtest_mongo.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["FILE_ENDINGS", "ExportProgress", "check_ending", "open_output", "open_parquet", "write_csv"]

FILE_ENDINGS: Final = (".parquet", ".csv", ".csv.gz")


class ExportProgress(Protocol):
    """Receives the progress of an export."""

    def start(self, total: int) -> None:
        """Begin; of candles ``total`` is how many the range has room for, otherwise how many rows are stored."""

    def update(self, description: str, done: int, rows: int = 0) -> None:
        """Show the file, how many of these are done, and how many rows were written since the last call."""


def check_ending(path: Path) -> None:
    """Check that the ending of a path is one of :data:`FILE_ENDINGS`.

    Raises:
        InputError: it isn't.
    """
    if not path.name.endswith(FILE_ENDINGS):
        raise InputError(f"path must end with {', '.join(FILE_ENDINGS)}, not {path.name!r}")


@contextmanager
def open_output(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file, which becomes ``path`` at the end and is removed on an error; ``.gz`` is compressed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with ExitStack() as stack:
            file = stack.enter_context(part.open("wb"))
            stack.callback(_flush_to_disk, file)
            if path.name.endswith(".gz"):
                # Without name and time, so that equal rows give equal files.
                yield cast("IO[bytes]", stack.enter_context(gzip.GzipFile("", "wb", 6, file, 0)))
            else:
                yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _flush_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def write_csv(file: IO[bytes], columns: Sequence[Iterable[str]]) -> None:
    """Write rows whose fields are given by column."""
    file.write("".join(f"{','.join(row)}\n" for row in zip(*columns, strict=True)).encode())


@contextmanager
def open_parquet(file: Any, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a writer of a Parquet file."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer

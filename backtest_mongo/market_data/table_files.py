"""Parquet and Feather files as batches of rows, and the values of Arrow's arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from backtest_mongo.core.time_zones import Millis
from backtest_mongo.market_data.candle_chunks import ROWS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableFile", "fill_nulls", "is_text", "open_table", "to_texts"]


class TableFile(NamedTuple):
    schema: pa.Schema
    rows: int
    #: Returns the rows in batches, with the columns of the given names.
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]


def open_table(stream: BinaryIO, kind: str) -> TableFile:
    """Open a file of the kind ``Parquet`` or ``Feather``."""
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet as pq

    if kind == "Parquet":
        parquet = pq.ParquetFile(stream)
        return TableFile(
            parquet.schema_arrow, parquet.metadata.num_rows, lambda names: parquet.iter_batches(ROWS, columns=names)
        )
    start = stream.read(4)
    stream.seek(0)
    if start == b"FEA1":
        table = pyarrow.feather.read_table(stream)
        return TableFile(table.schema, table.num_rows, lambda names: iter(table.select(names).to_batches(ROWS)))
    reader = pa.ipc.open_file(cast("Any", stream))
    numbers = range(reader.num_record_batches)

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        for number in numbers:
            yield from pa.Table.from_batches([reader.get_batch(number)]).select(names).to_batches(ROWS)

    return TableFile(reader.schema, sum(reader.get_batch(number).num_rows for number in numbers), batches)


def fill_nulls(values: pa.Array[Any]) -> tuple[Millis, npt.NDArray[np.bool_]]:
    """Return integers with 0 for each null, and which are null."""
    return (
        values.fill_null(0).to_numpy(zero_copy_only=False),
        values.is_null().to_numpy(zero_copy_only=False),
    )


def is_text(values: pa.Array[Any]) -> bool:
    """Return whether an array holds text."""
    import pyarrow as pa

    kind = values.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def to_texts(values: pa.Array[Any]) -> list[str]:
    """Return values as text, the empty string for null."""
    return ["" if value is None else str(value) for value in values.to_pylist()]

"""Sealing and verifying stored series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtest_mongo.cli.maintenance_tables import SealedRows, VerifiedRows
from backtest_mongo.cli.progress_bar import ProgressBar
from backtest_mongo.cli.series.stored_series import format_series, select_series
from backtest_mongo.core.specs import SlotSpec
from backtest_mongo.types import SealReport, VerifyReport

__all__ = ["seal_series", "verify_series"]


async def seal_series(spec: SlotSpec, context: Mapping[str, Any]) -> list[SealedRows]:
    """Merge the tail of each series whose context has these values into blocks.

    Raises:
        InputError: no such series is stored.
    """
    done = []
    for adapter in await select_series(spec, context):
        name = format_series(adapter)
        blocks = rows = 0
        with ProgressBar("rows") as bar:
            bar.start((await adapter.size()).tail_rows)
            async for made, sealed in adapter._rows().seal_rows(adapter._context):
                blocks, rows = blocks + made, rows + sealed
                bar.update(name, rows, sealed)
        size = await adapter.size()
        done.append(SealedRows(name, SealReport(blocks, rows), size.block_rows, size.block_rows + size.tail_rows))
    return done


async def verify_series(spec: SlotSpec, context: Mapping[str, Any]) -> list[VerifiedRows]:
    """Read everything of each series whose context has these values, and compare its checksums.

    Raises:
        InputError: no such series is stored.
    """
    done = []
    for adapter in await select_series(spec, context):
        name = format_series(adapter)
        size = await adapter.size()
        read = rows = 0
        damaged: dict[int | None, str] = {}
        with ProgressBar("blocks") as bar:
            bar.start(size.blocks + size.tail_groups)
            async for covered, problem in adapter._rows().verify_rows(adapter._context):
                read, rows = read + 1, rows + covered.rows
                bar.update(name, read, covered.rows)
                if problem is not None:
                    damaged[covered.first] = problem
        done.append(VerifiedRows(name, VerifyReport(read, rows, damaged, 0)))
    return done

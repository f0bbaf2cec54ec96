"""What commits and renames where nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backtest_mongo.core.commits import ABSENT_ROW, UNKNOWN_ROW, Claim, Commit, Committer, Holder, RowWrite, State
from backtest_mongo.core.specs import Key, SlotSpec
from backtest_mongo.core.strategy_names import Moved, NewName
from backtest_mongo.core.versions import ABSENT, is_expected, make_conflict
from backtest_mongo.types import Document

__all__ = ["EMPTY_COMMITTER", "EmptyRenamer"]


class _EmptyCommitter:
    """Commits nothing, and gives every lease to everybody."""

    name = "no database"
    seconds = float("inf")

    async def check(self) -> None:
        return None

    async def commit(self, commit: Commit) -> Sequence[State]:
        for row in commit.rows:
            if row.is_conditional and not is_expected(row.spec, None, ABSENT, row.expected):
                raise make_conflict(row.spec, row.key, None, ABSENT, row.expected)
        return [UNKNOWN_ROW for _ in commit.rows]

    async def write(self, row: RowWrite) -> None:
        await self.write_all((row,))

    async def write_all(self, rows: Sequence[RowWrite]) -> None:
        await self.commit(Commit(rows, (), self.seconds))

    async def settle(self, commit: Commit) -> Sequence[State] | None:
        return None

    async def read(self, spec: SlotSpec, key: Key) -> tuple[Document | None, State]:
        return None, ABSENT_ROW

    async def acquire(self, claim: Claim, ids: Sequence[str]) -> None:
        return None

    async def renew(self, claim: Claim) -> bool:
        return True

    async def release(self, claim: Claim) -> None:
        return None

    async def list_leases(self) -> list[Holder]:
        return []

    async def release_by_force(self, name: str) -> bool:
        return False


EMPTY_COMMITTER: Final[Committer] = _EmptyCommitter()


class EmptyRenamer:
    """Renames nothing."""

    async def check(self) -> None:
        return None

    async def count(self, context: Key) -> Moved:
        return Moved(0, 0)

    async def is_moving(self, source: Key, target: Key) -> bool:
        return False

    async def move(self, source: Key, target: Key, name: NewName) -> Moved:
        return Moved(0, 0)

    async def count_mentions(self, name: NewName) -> dict[Key, int]:
        return {}

    async def rename_mentions(self, name: NewName) -> int:
        return 0

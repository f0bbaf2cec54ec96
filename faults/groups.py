"""A load process whose writes are transactions: each of them writes one number to a register of every slot.

All registers of a transaction must change at one point. So a group of registers is one register to the checker: every
read of any of them is a read of the group, whichever slot it is from.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Final

from backtest_mongo import transaction
from faults.registers import SPECS, Register
from faults.worker import Job, Worker

__all__ = ["GROUP_SLOTS", "list_group"]

#: The slots of a group: all but candles, which are not part of a transaction.
GROUP_SLOTS: Final = tuple(name for name, spec in SPECS.items() if not spec.immutable)


def list_group(register: Register) -> list[Register]:
    """Return the registers of the group that one of them stands for."""
    return [Register(slot, register.key) for slot in GROUP_SLOTS]


class GroupWorker(Worker):
    async def _operate(self, register: Register, who: str) -> None:
        dice = random.SystemRandom()
        if dice.random() < 0.6:
            await self._recorder.attempt(register, "read", None, dice.choice(list_group(register)).read, who)
        else:
            number = self._recorder.number()
            await self._recorder.attempt(register, "write", number, lambda: write_group(register, number), who)


async def write_group(register: Register, number: int) -> bool:
    async with transaction():
        for one in list_group(register):
            await one.write(number)
    return True


async def main(job: Job) -> None:
    with open(job.record, "w", buffering=1 if job.sqlite else -1) as record:  # noqa: ASYNC230  # a short line
        await GroupWorker(job, record).run()


if __name__ == "__main__":
    asyncio.run(main(Job(**json.loads(sys.argv[1]))))

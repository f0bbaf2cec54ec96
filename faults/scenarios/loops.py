"""The end of an event loop with writes under way, while its server is slow, frozen and killed."""

from __future__ import annotations

from typing import Final

from faults.proxy import HOST
from faults.scenarios.base import Figures, Scenario
from faults.stage import Stage

__all__ = ["SCENARIOS"]

#: Slots of several shapes, one of which is a list.
SLOTS: Final = ("state", "signal", "memory", "partial", "storage")


def _play(stage: Stage) -> Figures:
    server = stage.standalone
    database = stage.database()
    with stage.proxy(server.port) as proxy:
        load = stage.load(
            server.uri(database),
            through=[f"mongodb://{HOST}:{proxy.port}/{database}"],
            program="faults.loops",
            slots=list(SLOTS),
            each=4,
        )
        rounds = stage.times(3, 40)
        with load.running():
            for _ in range(rounds):
                stage.work(0.5)
                proxy.delay(0.1)
                stage.work(2)
                proxy.delay(0)
                stage.work(0.3)
                server.freeze()
                stage.work(2)
                server.thaw()
                stage.work(0.3)
                server.kill()
                server.start()
        return Figures(outcome=load.outcome(), faults=3 * rounds)


SCENARIOS: Final = (
    Scenario(
        name="loop-end",
        fault="`close()` and the end of a loop with writes under way; the next loop writes and reads the same keys",
        how="asyncio.run twice, again and again; proxy: 100 ms each way, SIGSTOP, SIGKILL and restart, in turn",
        servers="standalone, w=majority",
        play=_play,
        least=(30, 20),
    ),
)

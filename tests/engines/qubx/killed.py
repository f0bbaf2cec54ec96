"""A strategy that counts: saves each number, and says which one is stored."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

from tests.engines.qubx.support import flush, running


def main(parameters: dict[str, Any]) -> None:
    with running(parameters) as persistence:
        for number in itertools.count(persistence.load("count", 0) + 1):
            persistence.save("count", number)
            flush(persistence)
            print(number, flush=True)


main(json.loads(sys.argv[1]))

"""How long a test waits for what must happen: far longer than a very busy machine takes, so only a hang fails."""

from __future__ import annotations

from typing import Final

#: For something in this process, or on a server.
SECONDS: Final = 120.0
#: For servers of which one is there, where another never answers.
INIT_SECONDS: Final = 4.0
#: For a process, which may start servers of its own.
PROCESS_SECONDS: Final = 300.0

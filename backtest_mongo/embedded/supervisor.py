"""Run one server and end it when standard input closes, so that the server never outlives the process it belongs to.

:mod:`backtest_mongo.embedded.server_process` starts this as a script, which uses the standard library alone. The pipe
closes when the parent dies, whatever killed it, SIGKILL included. On Linux the kernel ends the server
if this process dies.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading

STOP_SECONDS = 20
#: What the parent writes to the pipe. A parent that dies closes it.
STOP = b"s"
KILL = b"k"
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(temporary: str, command: list[str]) -> int:
    """Run ``command`` and return its exit status. If the parent dies, remove the directory ``temporary``, if given."""
    orphaned = threading.Event()
    # Ctrl-C reaches every process of the terminal's group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())

    def watch() -> None:
        # os.read and not sys.stdin, whose lock, held at shutdown, would abort the interpreter.
        order = os.read(0, 1)
        if not order and temporary:
            orphaned.set()
        if order == KILL or orphaned.is_set():
            server.kill()
        else:
            server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()

    threading.Thread(target=watch, daemon=True).start()
    code = server.wait()
    if orphaned.is_set():
        shutil.rmtree(temporary, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

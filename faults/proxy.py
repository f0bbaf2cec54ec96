"""A TCP proxy between the library and a server that delays, swallows, cuts and refuses traffic.

It runs on its own event loop in a thread, and its faults can be changed at any time from other threads.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["HOST", "Proxy"]

HOST: Final = "127.0.0.1"
#: Bytes of a request to look into: the name of the command is among them, for MongoDB and for Redis.
_HEAD: Final = 64
#: The linger option that makes a closed socket send a reset at once.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a free loopback port and forwards everything to ``port``, unless a fault is set."""

    def __init__(self, port: int) -> None:
        self.target = port
        #: Both ends of each open connection.
        self.links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0
        self.seconds = 0.0
        self.swallows = False
        self._words: tuple[bytes, ...] = ()
        self._every = self._requests = self.cut_after = 0
        #: Number of answers that were cut, which shows a run whether its fault happened at all.
        self.cuts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call(self._refuse)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def pass_on(self) -> None:
        """End every fault, and reset connections whose traffic was swallowed, as their answers will never come."""
        swallowed, self.swallows = self.swallows, False
        self.seconds, self._every = 0.0, 0
        self._call(self._listen)
        if swallowed:
            self._call(self._reset_all)

    def delay(self, seconds: float) -> None:
        """Delay everything by ``seconds`` in each direction."""
        self.seconds = seconds

    def swallow(self) -> None:
        """Accept connections and whatever they send, keep them open, and answer nothing."""
        self.swallows = True

    def cut(self, *words: bytes, after: int, every: int = 1) -> None:
        """Reset connections in the middle of answers, after the server has carried out the request.

        Args:
            words: the requests that count have one of these in their first bytes.
            after: bytes of the answer to let through; with 0 the whole answer is lost.
            every: cut the answer to every n-th of these requests.
        """
        self._words, self.cut_after, self._requests = words, after, 0
        self._every = every

    def refuse(self) -> None:
        """Reset all connections and stop listening."""
        self._call(self._refuse)

    def reset(self) -> None:
        """Reset all connections, and keep listening."""
        self._call(self._reset_all)

    def is_hit(self, request: bytes) -> bool:
        """Tell whether to cut the answer to this request."""
        if not self._every or not any(word in request[:_HEAD] for word in self._words):
            return False
        self._requests += 1
        return self._requests % self._every == 0

    def _call(self, work: Callable[[], Any]) -> None:
        async def run() -> None:
            await work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await self._loop.create_server(lambda: _Client(self), HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset_all()

    async def _reset_all(self) -> None:
        for link in list(self.links):
            link.reset()
        await asyncio.gather(*(link.ended.wait() for link in list(self.links)))


class _Link(asyncio.Protocol):
    """One end of a connection through the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.peer: _Link | None = None
        self.transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # for the type checker: we made a TCP connection
        self.transport = transport
        self.proxy.links.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.proxy.links.discard(self)
        self.ended.set()
        if self.peer is not None:
            self.peer.end(error)

    def data_received(self, data: bytes) -> None:
        if self.proxy.swallows or self.peer is None:
            return
        if self.proxy.seconds:
            asyncio.get_running_loop().call_later(self.proxy.seconds, self.peer.send, data)
        else:
            self.peer.send(data)

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def end(self, error: Exception | None) -> None:
        if self.transport is None or self.transport.is_closing() or self.proxy.swallows:
            return
        if error is not None:
            self.reset()
        else:
            self.transport.close()

    def reset(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            connection: socket.socket = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()


class _Client(_Link):
    """The end towards the library."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(proxy)
        self._dialling: asyncio.Task[None] | None = None
        #: Whether to cut the answer to the current request.
        self.is_doomed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None  # for the type checker: it has just been set
        self.transport.pause_reading()
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Server(self), HOST, self.proxy.target)
        except OSError:
            self.reset()
        else:
            assert self.transport is not None  # for the type checker: it was set before this began
            if self.transport.is_closing() and self.peer is not None:
                self.peer.reset()
            else:
                self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.proxy.is_hit(data):
            self.is_doomed = True
        super().data_received(data)


class _Server(_Link):
    """The end towards the server."""

    def __init__(self, client: _Client) -> None:
        super().__init__(client.proxy)
        self.client = client
        self.peer, client.peer = client, self

    def data_received(self, data: bytes) -> None:
        if not self.client.is_doomed:
            super().data_received(data)
            return
        self.proxy.cuts += 1
        self.client.is_doomed = False
        self.client.send(data[: self.proxy.cut_after])
        self.client.reset()
        self.reset()

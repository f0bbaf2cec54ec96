"""A client of a Redis Cluster that sends many commands at once, and follows slots that move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import AskError, ClusterError, MovedError, RedisClusterException, RedisError

__all__ = ["Cluster"]

#: How often a command follows a slot that has moved, or is moving, to another node.
_REDIRECTIONS: Final = 5
#: The least time between two readings of the map of slots.
_MAP_SECONDS: Final = 1.0


class Cluster(RedisCluster):
    """redis-py's cluster client, with commands for many keys at once.

    redis-py's own pipelines don't read the map of slots again after a node has failed; for a slot that is moving they
    use two connections where the server expects one; and they can't start while the first master is down.
    """

    _is_outdated = True
    _map_read_at = -_MAP_SECONDS

    async def aclose(self) -> None:
        """Close every connection, including those that redis-py takes for closed after an error."""
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)

    async def each(self, commands: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
        """Send commands of one key each, which is their second word: one round trip per node.

        Raises:
            RedisError, RedisClusterException: a node failed or refused one of them; others may have been carried out.
        """
        try:
            return await self._each(commands)
        except (RedisError, RedisClusterException, asyncio.CancelledError):  # a command that hangs is cancelled
            self._is_outdated = True
            raise

    async def _each(self, commands: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
        await self.read_map()
        results: list[Any] = [None] * len(commands)
        # The index of a command, the node that it goes to, and whether that node is told that the slot is moving to it.
        waiting = [(index, self._node_of(command[1]), False) for index, command in enumerate(commands)]
        for _ in range(1 + _REDIRECTIONS):
            redirected = []
            for (index, node, _), answer in zip(waiting, await self._send(commands, waiting), strict=True):
                if isinstance(answer, AskError):
                    has_moved = isinstance(answer, MovedError)
                    self._is_outdated |= has_moved
                    redirected.append((index, self._node_at(answer.host or node.host, answer.port), not has_moved))
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    results[index] = answer
            waiting = redirected
            if not waiting:
                return results
        raise ClusterError(
            f"commands still redirected after {_REDIRECTIONS} attempts: {len(waiting)} of {len(commands)}"
        )

    async def _send(
        self, commands: Sequence[tuple[str | bytes, ...]], waiting: Sequence[tuple[int, ClusterNode, bool]]
    ) -> list[Any]:
        """Return the answers of the nodes, errors included."""
        sent = []
        batches: dict[ClusterNode, list[PipelineCommand]] = {}
        for index, node, is_moving in waiting:
            batch = batches.setdefault(node, [])
            if is_moving:
                batch.append(PipelineCommand(0, "ASKING"))
            sent.append(PipelineCommand(index, *commands[index]))
            batch.append(sent[-1])
        # Wait for all of them: none may go on with nobody to see it fail.
        running = (node.execute_pipeline(batch) for node, batch in batches.items())
        for error in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error
        return [command.result for command in sent]

    async def read_map(self) -> None:
        """Ask the nodes for the map of slots, unless a map is known and not outdated."""
        has_map = bool(self.nodes_manager.slots_cache)
        if has_map and not (self._is_outdated and time.monotonic() - self._map_read_at >= _MAP_SECONDS):
            return
        # Set before it is read: others need not read it too, and if that fails they can use the map that is known.
        self._map_read_at = time.monotonic()
        await self.nodes_manager.initialize()
        self._is_outdated = False

    def _node_of(self, key: str | bytes) -> ClusterNode:
        return self.nodes_manager.get_node_from_slot(self.keyslot(key))

    def _node_at(self, host: str, port: int) -> ClusterNode:
        node = self.get_node(host, port)
        if node is None:  # one that had no slot when the map was read
            node = ClusterNode(host, port, "primary", **self.connection_kwargs)
            self.nodes_manager.nodes_cache[node.name] = node
        return node

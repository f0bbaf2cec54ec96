"""Checkpoints and writes as the payloads of rows, and back.

A checkpoint is one serialized value with its channels in it. Where that is large, large channels are rows of their own,
named by a digest of their contents, so that a value which stays the same from checkpoint to checkpoint is stored once.
Metadata is stored as plain fields, by which other programs can query it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from langgraph.checkpoint.base import WRITES_IDX_MAP, Checkpoint, CheckpointMetadata, PendingWrite
from langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = [
    "EncodedCheckpoint",
    "Large",
    "Payload",
    "add_writes",
    "decode_blob",
    "decode_checkpoint",
    "decode_metadata",
    "decode_writes",
    "encode_checkpoint",
    "encode_writes",
    "list_digests",
    "name_ordinary",
]

#: A checkpoint of more bytes has its large channels in rows of their own.
_LARGE_CHECKPOINT: Final = 64 * 1024
#: A channel of more bytes is large.
_LARGE_CHANNEL: Final = 16 * 1024
_INT64: Final = range(-(2**63), 2**63)

Payload = dict[str, Any]
#: The version and the digest of each large channel of a checkpoint.
Large = dict[str, tuple[Any, str]]


@dataclass(frozen=True, slots=True)
class EncodedCheckpoint:
    """A checkpoint as it is stored.

    Attributes:
        payload: the payload of its row.
        large: the version and the digest of each large channel.
        blobs: the payloads of the large channels that may not be stored yet, by digest.
    """

    payload: Payload
    large: Large = field(default_factory=dict)
    blobs: dict[str, Payload] = field(default_factory=dict)


def encode_checkpoint(
    serde: SerializerProtocol,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    parent: str | None,
    known: Large,
) -> EncodedCheckpoint:
    """Return a checkpoint as it is stored.

    Args:
        serde: the serializer.
        checkpoint: the checkpoint.
        metadata: its metadata.
        parent: the id of its parent.
        known: what is stored of the parent's large channels. One that still has its version has its value, too.
    """
    small = dict(checkpoint["channel_values"])
    versions = checkpoint["channel_versions"]
    large: Large = {}
    blobs: dict[str, Payload] = {}

    def take_large(channel: str) -> None:
        """Take a channel out of the checkpoint, if it is large."""
        value_kind, value_data = serde.dumps_typed(small[channel])
        if len(value_data) > _LARGE_CHANNEL:
            digest = _digest(value_kind, value_data)
            large[channel] = (versions.get(channel), digest)
            blobs[digest] = {"type": value_kind, "value": value_data}
            del small[channel]

    for channel in known.keys() & small.keys():
        version, _ = known[channel]
        if version is not None and versions.get(channel) == version:
            large[channel] = known[channel]
            del small[channel]
        else:
            take_large(channel)
    kind, data = serde.dumps_typed({**checkpoint, "channel_values": small})
    if len(data) > _LARGE_CHECKPOINT:
        for channel in list(small):
            take_large(channel)
        kind, data = serde.dumps_typed({**checkpoint, "channel_values": small})
    payload: Payload = {"parent": parent, "type": kind, "checkpoint": data, **_encode_metadata(serde, metadata)}
    if large:
        # Pairs, as a channel may have a name that no field can have.
        payload["blobs"] = [[channel, digest] for channel, (_, digest) in large.items()]
    return EncodedCheckpoint(payload, large, blobs)


def _digest(kind: str, data: bytes) -> str:
    return sha256(b"%b\0%b" % (kind.encode(), data)).hexdigest()


def _encode_metadata(serde: SerializerProtocol, metadata: CheckpointMetadata) -> Payload:
    """Return metadata as plain fields and, if these don't say all of it, serialized."""
    plain = {name: value for name, value in metadata.items() if _is_plain(name, value)}
    if len(plain) == len(metadata):
        return {"metadata": plain}
    kind, data = serde.dumps_typed(metadata)
    return {"metadata": plain, "exact": {"type": kind, "value": data}}


def _is_plain(name: object, value: object) -> bool:
    """Return whether a field comes back as it is, whatever it is stored in, and can be queried."""
    if type(name) is not str or not _is_text(name) or name[:1] in ("", "$") or "\0" in name:
        return False
    return _is_plain_value(value)


def _is_plain_value(value: object) -> bool:
    if value is None or type(value) in (bool, float):
        return True
    if type(value) is str:
        return _is_text(value)
    if type(value) is int:
        return value in _INT64
    if type(value) is list:
        return all(map(_is_plain_value, value))
    return type(value) is dict and all(_is_plain(*pair) for pair in value.items())


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def list_digests(payload: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of a checkpoint's large channels, by channel."""
    return dict(payload.get("blobs", ()))


def decode_checkpoint(serde: SerializerProtocol, payload: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint without its large channels."""
    checkpoint: Checkpoint = serde.loads_typed((payload["type"], payload["checkpoint"]))
    return checkpoint


def decode_metadata(serde: SerializerProtocol, payload: Mapping[str, Any]) -> CheckpointMetadata:
    exact = payload.get("exact")
    metadata: CheckpointMetadata = payload["metadata"] if exact is None else decode_blob(serde, exact)
    return metadata


def decode_blob(serde: SerializerProtocol, payload: Mapping[str, Any]) -> Any:
    return serde.loads_typed((payload["type"], payload["value"]))


# Writes


def encode_writes(
    serde: SerializerProtocol, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
) -> tuple[dict[str, Payload], Payload | None]:
    """Return the rows of what a task has written.

    Returns:
        The payloads that replace what is stored, by their keys, and the one that does not, if there is one. The latter
        has all that is written to ordinary channels, and its key is :func:`name_ordinary`'s.
    """
    special: dict[str, Payload] = {}
    ordinary: list[list[Any]] = []
    for place, (channel, value) in enumerate(writes):
        index = WRITES_IDX_MAP.get(channel, place)
        kind, data = serde.dumps_typed(value)
        row = [index, channel, kind, data]
        if index < 0:
            special[f"{task_id}:{-index}"] = _make_row(task_id, task_path, [row])
        else:
            ordinary.append(row)
    return special, _make_row(task_id, task_path, ordinary) if ordinary else None


def _make_row(task_id: str, task_path: str, writes: list[list[Any]]) -> Payload:
    return {"task": task_id, "path": task_path, "writes": writes}


def name_ordinary(task_id: str) -> str:
    """Return the key of what a task has written to ordinary channels."""
    return f"{task_id}:"


def add_writes(stored: Payload, new: Payload) -> Payload | None:
    """Return a row with those new writes whose places are free, ``None`` if none are."""
    taken = {row[0] for row in stored["writes"]}
    added = [row for row in new["writes"] if row[0] not in taken]
    return {**stored, "writes": [*stored["writes"], *added]} if added else None


def decode_writes(serde: SerializerProtocol, payloads: Sequence[Mapping[str, Any]]) -> list[PendingWrite]:
    """Return the writes of a checkpoint in the order in which LangGraph applies them."""
    rows = [
        ((payload["path"], payload["task"], index), channel, kind, data)
        for payload in payloads
        for index, channel, kind, data in payload["writes"]
    ]
    rows.sort(key=lambda row: row[0])
    return [(place[1], channel, serde.loads_typed((kind, data))) for place, channel, kind, data in rows]

"""What travels between processes, and how a process knows its own kind: signed messages."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from ..ledger.updates import Batch

# Encoded updates in one message, in bytes: far below what Redis lets wait for a slow subscriber.
LARGEST = 1_048_576

_SIGNATURE = 32
_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class Revocation(Struct, frozen=True):
    """The tokens of `user_id` issued at or before unix second `at` are revoked."""

    user_id: str
    at: int


_decode_revocation = msgspec.msgpack.Decoder(Revocation).decode


class Signer:
    """Signs with HMAC-SHA256 (RFC 2104); a signature holds on the channel that it was made for."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """secrets: the first signs, each verifies."""
        self._secrets = [secret.encode() for secret in secrets]

    def sign(self, channel: str, payload: bytes) -> bytes:
        """The message that carries `payload` on `channel`."""
        return _signature(self._secrets[0], channel, payload) + payload

    def verified(self, channel: str, message: bytes) -> bytes | None:
        """The payload of a `message` that arrived on `channel`; None where nobody of us signed."""
        given, payload = message[:_SIGNATURE], message[_SIGNATURE:]
        for secret in self._secrets:
            if hmac.compare_digest(given, _signature(secret, channel, payload)):
                return payload
        return None


def _signature(secret: bytes, channel: str, payload: bytes) -> bytes:
    return hmac.digest(secret, channel.encode() + b"\n" + payload, "sha256")


def encode(carried: Batch | Revocation) -> bytes:
    """`carried` as MessagePack."""
    return _encode(carried)


def decode_batch(payload: bytes) -> Batch | None:
    """The batch in `payload`; None where a process of another version made something else."""
    try:
        return _decode_batch(payload)
    except msgspec.DecodeError:
        return None


def decode_revocation(payload: bytes) -> Revocation | None:
    """The revocation in `payload`; None where a process of another version made something else."""
    try:
        return _decode_revocation(payload)
    except msgspec.DecodeError:
        return None


def split(batch: Batch, largest: int = LARGEST) -> Iterator[Batch]:
    """
    `batch` in pieces, in order, each of at most `largest` bytes of encoded updates, or of a
    single transaction that is larger.
    """
    size = 0
    start = 0
    for index, committed in enumerate(batch.transactions):
        if index > start and size + len(committed.encoded) > largest:
            yield _piece(batch, start, index)
            start, size = index, 0
        size += len(committed.encoded)
    yield _piece(batch, start, len(batch.transactions))


def _piece(batch: Batch, start: int, end: int) -> Batch:
    transactions = batch.transactions[start:end]
    if len(transactions) == len(batch.transactions):
        return batch
    return Batch(batch.epoch, transactions[0].position, transactions[-1].position, transactions)

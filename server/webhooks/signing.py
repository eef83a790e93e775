"""
What proves to a receiver who sent a message, and when: Standard Webhooks, version 1, symmetric.

The scheme is https://github.com/standard-webhooks/standard-webhooks. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import datetime

from ..ledger.errors import InvalidRequest

PREFIX = "whsec_"
KEY_BYTES = (16, 64)
TEXT_CHARACTERS = (16, 255)

_GENERATED_BYTES = 32


class Secret:
    """
    What sender and receiver share; it shows itself nowhere but in `text`.

    Either ``whsec_`` and the base64 of 16 to 64 bytes, which are the key, or any other text of 16
    to 255 characters, whose UTF-8 bytes are the key.
    """

    def __init__(self, text: str) -> None:
        """Raises InvalidRequest, without a word of `text`, where it cannot be a secret."""
        self.text = text
        self._key = _key(text)

    @classmethod
    def generated(cls, random_bytes: Callable[[int], bytes]) -> Secret:
        """A new secret of 32 random bytes."""
        return cls(PREFIX + base64.b64encode(random_bytes(_GENERATED_BYTES)).decode())

    def signature(self, message_id: str, moment: datetime, body: bytes) -> str:
        """The value of ``Webhook-Signature`` for `body`, sent at `moment`."""
        signed = b"%s.%d.%s" % (message_id.encode(), int(moment.timestamp()), body)
        return "v1," + base64.b64encode(hmac.digest(self._key, signed, "sha256")).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._key, other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return "Secret(…)"


def headers(secret: Secret, message_id: str, moment: datetime, body: bytes) -> dict[str, str]:
    """The three headers by which a receiver tells and verifies `body`, sent at `moment`."""
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": secret.signature(message_id, moment, body),
    }


def _key(text: str) -> bytes:
    if not text.startswith(PREFIX):
        least, most = TEXT_CHARACTERS
        try:
            key = text.encode()
        except UnicodeEncodeError:
            raise InvalidRequest("the secret is not valid text", pointer="/secret") from None
        if not least <= len(text) <= most:
            raise InvalidRequest(
                f"a secret has {least} to {most} characters, or is {PREFIX} and base64",
                pointer="/secret",
            )
        return key
    encoded = text.removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    least, most = KEY_BYTES
    if not least <= len(key) <= most:
        raise InvalidRequest(
            f"after {PREFIX} comes the base64 of {least} to {most} bytes", pointer="/secret"
        )
    return key

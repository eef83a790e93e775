"""Whether a webhook's message is Tallywire's: Standard Webhooks, version 1, symmetric. Pure."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping

_PREFIX = "whsec_"
# Seconds that the sender's clock may differ from ours, and a message may be under way.
_TOLERANCE = 300


class NotGenuine(Exception):
    """The message is not signed with our secret, or too long ago."""


def new_secret() -> str:
    """A secret to share with Tallywire."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def verify(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """
    Raise NotGenuine unless who has `secret` (whsec_…) sent `body` within five minutes of `now`.

    headers: of the request, whatever the case of their names; now: Unix seconds.
    """
    try:
        message_id, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split()
        age = abs(now - int(sent_at))
    except (KeyError, ValueError):
        raise NotGenuine("it is not signed") from None
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{sent_at}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    if not any(hmac.compare_digest(expected, each.encode()) for each in signatures):
        raise NotGenuine("the signature is not ours")
    if age > _TOLERANCE:
        raise NotGenuine("it was sent too long ago")

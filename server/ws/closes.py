"""Why a connection ends: the table of close codes (contract, section 5)."""

from __future__ import annotations

from msgspec import Struct, structs

LONGEST_REASON = 123


class Close(Struct, frozen=True):
    """
    One way to end a connection. reason: what the peer is told, at most 123 bytes of UTF-8
    (RFC 6455, section 5.5); reconnect: whether a client should come back by itself.
    """

    code: int
    reason: str
    reconnect: bool

    def because(self, reason: str) -> Close:
        """The same close with a more exact reason."""
        short = reason.encode("utf-8", "replace")[:LONGEST_REASON].decode("utf-8", "ignore")
        return structs.replace(self, reason=short)


TOO_BIG = Close(1009, "the message is too big", reconnect=False)
RESTARTING = Close(1012, "the server is restarting", reconnect=True)
TRY_LATER = Close(1013, "try again later", reconnect=True)
NOT_AUTHENTICATED = Close(4001, "a valid token is needed", reconnect=True)
BAD_CONNECT = Close(4002, "bad or missing connect", reconnect=False)
NO_CONNECT = BAD_CONNECT.because("no connect in time")
NOT_ALLOWED = Close(4003, "your role does not allow this", reconnect=False)
STUCK = Close(4008, "the connection takes nothing more", reconnect=True)
TOO_MANY = Close(4009, "too many connections of this user", reconnect=False)
REVOKED = Close(4010, "the access was revoked", reconnect=False)
TOO_FAST = Close(4029, "too many messages", reconnect=True)

ALL = (
    TOO_BIG,
    RESTARTING,
    TRY_LATER,
    NOT_AUTHENTICATED,
    BAD_CONNECT,
    NOT_ALLOWED,
    STUCK,
    TOO_MANY,
    REVOKED,
    TOO_FAST,
)

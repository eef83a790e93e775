"""What the endpoints work with, built once by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import Response

from ..auth import Principal, Revocations, Tokens
from ..ledger import BalanceManager
from ..ledger.clock import Clock
from ..ledger.errors import NotAuthenticated
from ..settings import Settings
from ..webhooks.registrations import Registrations
from .rates import RateLimits


class Connections(Protocol):
    """The live connections of this process, and what is known of the others'."""

    def connected(self) -> Mapping[str, int]:
        """How many ``users`` and ``connections`` are on."""

    async def connections(self) -> Mapping[str, int]:
        """How many connections each user has here and in the processes that are reached."""

    def disconnect(self, user_id: str) -> int:
        """Close the user's connections as revoked; how many there were."""


class OpenStream(Protocol):
    """Opens a live connection as server-sent events."""

    async def __call__(
        self,
        principal: Principal,
        *,
        streams: str | None,
        mode: str | None,
        resume: str | None,
        filter: Mapping[str, str],
    ) -> Response:
        """
        The answer that streams to `principal`. streams: names with commas between; resume: the id
        of the last event there. Raises LedgerError where it is refused.
        """


class Link(Protocol):
    """The bus to the other processes."""

    @property
    def is_up(self) -> bool:
        """Whether it works now."""

    async def publish_revocation(self, user_id: str, at: int) -> None:
        """Tell every process that tokens issued at or before unix second `at` are revoked."""


class Follower(Protocol):
    """The feed of committed transactions."""

    @property
    def position(self) -> int:
        """The position that it has handed on."""


@dataclass(frozen=True, slots=True)
class Services:
    """
    Every long-lived object that HTTP and WebSocket endpoints use.

    describe_wire: the AsyncAPI document, encoded.
    """

    settings: Settings
    clock: Clock
    manager: BalanceManager
    tokens: Tokens
    revocations: Revocations
    rates: RateLimits
    bus: Link
    feed: Follower
    hub: Connections
    open_stream: OpenStream
    describe_wire: Callable[[], bytes]
    webhooks: Registrations

    def authenticate(self, token: str) -> Principal:
        """The principal of a bearer token; raises NotAuthenticated."""
        return self.revocations.check(self.tokens.decode(token))

    async def redeem(self, ticket: str) -> Principal:
        """The principal of a stream ticket, which is used up; raises NotAuthenticated."""
        claims = await self.manager.access.redeem_ticket(ticket)
        if claims is None:
            raise NotAuthenticated("the ticket is not valid")
        principal = Principal.of_claims(claims)
        if self.clock.now().timestamp() >= principal.expires_at:
            raise NotAuthenticated("the token behind the ticket has expired")
        return self.revocations.check(principal)

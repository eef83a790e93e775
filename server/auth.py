"""From a bearer token to who is asking. Pure: time is given, nothing is fetched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jwt
from msgspec import Struct

from .ledger.accounts import check_user_id
from .ledger.errors import InvalidRequest, NotAuthenticated

ROLES = ("user", "auditor", "admin", "superadmin")
_RANK = {role: rank for rank, role in enumerate(ROLES)}

# How far a token maker's clock may run ahead of ours, in seconds.
_ISSUED_AHEAD = 60
# How many tokens are known to be signed by us without looking again.
_REMEMBERED = 4096
_OPTIONS: Any = {
    f"verify_{claim}": False for claim in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")
}


class Principal(Struct, frozen=True):
    """Who is asking, and until when the token lets them. Times are unix seconds."""

    user_id: str
    role: str
    issued_at: int
    expires_at: int

    def may(self, role: str) -> bool:
        """Whether this role is at least `role` (contract, section 4)."""
        return _RANK[self.role] >= _RANK[role]

    def claims(self) -> dict[str, Any]:
        """The principal as token claims: what a ticket stores."""
        return {
            "sub": self.user_id,
            "role": self.role,
            "iat": self.issued_at,
            "exp": self.expires_at,
        }

    @classmethod
    def of_claims(cls, claims: Mapping[str, Any]) -> Principal:
        """The principal that `claims` describe; raises NotAuthenticated where that is none."""
        role = claims.get("role")
        if not isinstance(role, str) or role not in _RANK:
            raise NotAuthenticated("the token's role is none of ours")
        try:
            user_id = check_user_id(claims.get("sub"))
        except InvalidRequest:
            raise NotAuthenticated("the token's sub is not a user id") from None
        return cls(user_id, role, _seconds(claims, "iat"), _seconds(claims, "exp"))


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise NotAuthenticated(f"the token has no usable {name}")
    return math.floor(value)


class Tokens:
    """Signs and reads JSON Web Tokens (RFC 7519, HS256)."""

    def __init__(self, secrets: Sequence[str], now: Callable[[], datetime]) -> None:
        """secrets: the first signs, each verifies; now: the current time, aware."""
        self._secrets = tuple(secrets)
        self._now = now
        # A signature stays good; times and revocation are looked at on every call.
        self._verified = lru_cache(_REMEMBERED)(self._verify)

    def encode(self, user_id: str, role: str, ttl: int) -> str:
        """A token for `user_id` (an InvalidRequest where it is none) for `ttl` seconds from now."""
        if role not in _RANK:
            raise InvalidRequest(f"a role is one of {', '.join(ROLES)}", pointer="/role")
        issued = math.floor(self._now().timestamp())
        principal = Principal(check_user_id(user_id), role, issued, issued + ttl)
        return jwt.encode(principal.claims(), self._secrets[0], algorithm="HS256")

    def decode(self, token: str) -> Principal:
        """The principal of `token`; raises NotAuthenticated where it is not valid now."""
        claims = self._verified(token)
        principal = Principal.of_claims(claims)
        now = self._now().timestamp()
        if now >= principal.expires_at:
            raise NotAuthenticated("the token has expired")
        if principal.issued_at > now + _ISSUED_AHEAD:
            raise NotAuthenticated("the token was issued in the future")
        if "nbf" in claims and now < _seconds(claims, "nbf"):
            raise NotAuthenticated("the token is not valid yet")
        return principal

    def _verify(self, token: str) -> dict[str, Any]:
        for secret in self._secrets:
            try:
                return jwt.decode(token, secret, algorithms=["HS256"], options=_OPTIONS)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, ValueError):
                break
        raise NotAuthenticated("the token is not one of ours")


class Revocations:
    """Which tokens were revoked: for a user, those issued at or before a second."""

    def __init__(self) -> None:
        self._until: dict[str, int] = {}

    def revoke(self, user_id: str, at: int) -> bool:
        """Refuse tokens of `user_id` issued at or before unix second `at`; whether it is news."""
        if at <= self._until.get(user_id, -1):
            return False
        self._until[user_id] = at
        return True

    def is_revoked(self, principal: Principal) -> bool:
        """Whether the principal's token was revoked."""
        return principal.issued_at <= self._until.get(principal.user_id, -1)

    def check(self, principal: Principal) -> Principal:
        """`principal` itself; raises NotAuthenticated where its token was revoked."""
        if self.is_revoked(principal):
            raise NotAuthenticated("the token was revoked")
        return principal

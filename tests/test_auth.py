"""Tokens and principals: what is let in, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime

import jwt
import pytest
from tallywire.auth import ROLES, Principal, Revocations, Tokens
from tallywire.ledger.errors import InvalidRequest, NotAuthenticated

OLD, NEW = "o" * 32, "n" * 32
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND = int(NOW.timestamp())


def tokens(*secrets: str, now: datetime = NOW) -> Tokens:
    return Tokens(secrets or (NEW,), lambda: now)


def signed(secret: str = NEW, algorithm: str = "HS256", **changed: object) -> str:
    claims = {"sub": "alice", "role": "user", "iat": SECOND, "exp": SECOND + 60} | changed
    present = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(present, secret, algorithm=algorithm)


def test_a_token_names_its_principal_again() -> None:
    token = tokens().encode("álïce/1", "auditor", 60)
    assert tokens().decode(token) == Principal("álïce/1", "auditor", SECOND, SECOND + 60)


def test_the_first_secret_signs_and_both_verify() -> None:
    rotating = tokens(NEW, OLD)
    assert rotating.decode(tokens(OLD).encode("alice", "user", 60)).user_id == "alice"
    assert tokens(NEW).decode(rotating.encode("alice", "user", 60)).user_id == "alice"
    with pytest.raises(NotAuthenticated):
        tokens(OLD).decode(rotating.encode("alice", "user", 60))


def test_a_token_ends_in_its_last_second() -> None:
    token = signed(exp=SECOND + 1)
    assert tokens().decode(token)
    with pytest.raises(NotAuthenticated, match="expired"):
        tokens(now=datetime.fromtimestamp(SECOND + 1, UTC)).decode(token)


def test_a_token_seen_before_ends_all_the_same() -> None:
    moments = iter((NOW, datetime.fromtimestamp(SECOND + 60, UTC)))
    known = Tokens((NEW,), lambda: next(moments))
    assert known.decode(signed())
    with pytest.raises(NotAuthenticated, match="expired"):
        known.decode(signed())


@pytest.mark.parametrize(
    "token",
    [
        signed(secret=OLD),
        jwt.encode({"sub": "alice", "role": "user", "iat": 0, "exp": 2**40}, None, "none"),
        signed(role="root"),
        signed(role=...),
        signed(role=["admin"]),
        signed(sub=...),
        signed(sub=5),
        signed(sub="@house"),
        signed(sub="me"),
        signed(exp=...),
        signed(exp="soon"),
        signed(exp=True),
        signed(exp=float("inf")),
        signed(iat=...),
        signed(iat=SECOND + 3600),
        signed(nbf=SECOND + 10),
        "",
        "a.b.c",
        signed()[:-2],
        "\ud800.x.y",
        "ö.x.y",
    ],
)
def test_other_tokens_are_refused(token: str) -> None:
    with pytest.raises(NotAuthenticated):
        tokens().decode(token)


def test_another_algorithm_is_refused_even_with_the_secret() -> None:
    long = NEW * 2
    assert tokens(long).decode(signed(long)).user_id == "alice"
    with pytest.raises(NotAuthenticated):
        tokens(long).decode(signed(long, algorithm="HS512"))


def test_each_role_may_what_those_before_it_may() -> None:
    for rank, role in enumerate(ROLES):
        principal = Principal("alice", role, SECOND, SECOND)
        assert [principal.may(other) for other in ROLES] == [i <= rank for i in range(4)]


def test_a_token_is_made_for_users_and_roles_that_exist_only() -> None:
    with pytest.raises(InvalidRequest):
        tokens().encode("@house", "user", 60)
    with pytest.raises(InvalidRequest):
        tokens().encode("alice", "root", 60)


def test_claims_carry_the_principal() -> None:
    principal = Principal("alice", "admin", SECOND, SECOND + 5)
    assert Principal.of_claims(principal.claims()) == principal


def test_revocation_takes_tokens_issued_at_or_before_that_second() -> None:
    revocations = Revocations()
    assert revocations.revoke("alice", SECOND)
    assert not revocations.revoke("alice", SECOND - 10)
    for issued, refused in ((SECOND - 1, True), (SECOND, True), (SECOND + 1, False)):
        assert revocations.is_revoked(Principal("alice", "user", issued, 0)) is refused
    assert not revocations.is_revoked(Principal("bob", "user", SECOND, 0))
    with pytest.raises(NotAuthenticated, match="revoked"):
        revocations.check(Principal("alice", "user", SECOND, 0))

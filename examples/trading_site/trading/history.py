"""What has happened to a user's money, as Tallywire has it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from .ledger import Json, Ledger
from .people import Session


async def history(
    ledger: Ledger,
    session: Session,
    user_id: str,
    *,
    reference: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[Json]:
    """
    All of a user's updates, newest first; users ask for their own, auditors and above for any.

    reference: this one only, or those that begin so where it ends in `*`. metadata: those with
    these values only, by key. Raises Refused.
    """
    query = {f"metadata.{key}": value for key, value in (metadata or {}).items()}
    if reference is not None:
        query["reference"] = reference
    path = f"/v1/users/{quote(user_id, safe='')}/history"
    found: list[Json] = []
    while True:
        page = await ledger.read(session, path, query)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]

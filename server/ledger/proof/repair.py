"""
Repair: copies of what the entries say, made to say it again. Entries are never repaired.

Each repair is a transaction of its own, so that screens get it; two at once do no harm, since
each writes what the entries say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import logs
from .. import changes
from ..accounts import AccountKey
from ..catalog import Catalog
from ..changes import Change, Details
from ..committer import Committer
from ..errors import LedgerError
from ..invariants import Discrepancy
from ..mirrors.sync import MirrorSync
from ..transaction_types import TransactionTypes

_log = logs.get_logger(__name__)

# What was found is kept with the repair, for whoever reads the journal, as far as there is room.
MOST_KEPT = 10
LONGEST_KEPT = 64


class Repairer:
    """Repairs accounts through the committer, in the name of `actor`."""

    def __init__(
        self, committer: Committer, mirror_sync: MirrorSync, types: TransactionTypes, actor: str
    ) -> None:
        self._committer = committer
        self._mirror_sync = mirror_sync
        self._kind = types["repair"]
        self._actor = actor

    async def account(self, key: AccountKey, found: Sequence[Discrepancy]) -> bool:
        """
        Rewrite a user account's row, holds and mirrors from its entries, where this was `found`;
        whether that was accepted.
        """
        details = self._details(found)
        return await self._accepted(
            key, lambda catalog: changes.repair_account(catalog, self._kind, key, details=details)
        )

    async def mirrors(self, key: AccountKey) -> None:
        """Put right those mirrors of an account that can be: see `MirrorSync`."""
        try:
            await self._mirror_sync.sync(user_id=key.owner, book=key.book, actor=self._actor)
        except LedgerError as refusal:
            _log.warning("mirrors are not put right", account=key.name, reason=str(refusal))

    async def system_account(
        self, key: AccountKey, position: int, balance: int, found: Sequence[Discrepancy]
    ) -> bool:
        """
        Rewrite a system account's row, whose postings up to `position` sum to `balance` (minor
        units, credit-positive); whether that was accepted.
        """
        details = self._details(found)
        return await self._accepted(
            key,
            lambda catalog: changes.repair_system_account(
                catalog, self._kind, key, position=position, balance=balance, details=details
            ),
        )

    async def _accepted(self, key: AccountKey, build: Callable[[Catalog], Change]) -> bool:
        try:
            (outcome,) = await self._committer.submit([build(self._committer.knowledge.catalog)])
        except LedgerError as refusal:
            outcome = refusal
        if isinstance(outcome, LedgerError):
            _log.warning("an account is not repaired", account=key.name, reason=str(outcome))
            return False
        _log.info("an account is repaired", account=key.name, position=outcome.position)
        return True

    def _details(self, found: Sequence[Discrepancy]) -> Details:
        kept = [
            [(text or "-")[:LONGEST_KEPT] for text in (each.what, each.stored, each.actual)]
            for each in found[:MOST_KEPT]
        ]
        return Details(
            description="Copies rebuilt from the entries",
            internal={"found": kept},
            actor=self._actor,
        )

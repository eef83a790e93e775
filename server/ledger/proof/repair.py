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
from ..batch import Outcome
from ..catalog import Catalog
from ..changes import Change, Details
from ..committer import Committer
from ..database import Database
from ..errors import LedgerError
from ..intents import RepairTrading
from ..invariants import Discrepancy
from ..mirrors.sync import MirrorSync
from ..trading.price_rows import PriceRows
from ..transaction_types import TransactionTypes

_log = logs.get_logger(__name__)

# What was found is kept with the repair, for whoever reads the journal, as far as there is room.
MOST_KEPT = 10
LONGEST_KEPT = 64


class Repairer:
    """Repairs accounts through the committer, in the name of `actor`."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        mirror_sync: MirrorSync,
        types: TransactionTypes,
        actor: str,
    ) -> None:
        self._database = database
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

    async def trading(self, wanted: RepairTrading, found: Sequence[Discrepancy]) -> bool:
        """Rewrite rows of trading from the journal, where this was found; whether accepted."""
        details = self._details(found)
        outcome = await self._asked(
            lambda _: changes.repair_trading(self._kind, wanted, details=details)
        )
        if isinstance(outcome, LedgerError):
            _log.warning("trading is not repaired", user_id=wanted.user, reason=str(outcome))
            return False
        _log.info("trading is repaired", user_id=wanted.user, position=outcome.position)
        return True

    async def ticker(self, pair: str, read_at: str) -> None:
        """
        Rewrite a pair's ticker from its newest price; it was read at `read_at` (RFC 3339, empty:
        never) or later. No transaction tells of it, since none tells of prices.
        """
        rows = PriceRows(self._database.dialect)
        async with self._database.write() as connection:
            await rows.lock(connection, [pair])
            await rows.restore(connection, pair, read_at or None)
        _log.info("a ticker is repaired", pair=pair)

    async def _accepted(self, key: AccountKey, build: Callable[[Catalog], Change]) -> bool:
        outcome = await self._asked(build)
        if isinstance(outcome, LedgerError):
            _log.warning("an account is not repaired", account=key.name, reason=str(outcome))
            return False
        _log.info("an account is repaired", account=key.name, position=outcome.position)
        return True

    async def _asked(self, build: Callable[[Catalog], Change]) -> Outcome:
        try:
            (outcome,) = await self._committer.submit([build(self._committer.knowledge.catalog)])
        except LedgerError as refusal:
            return refusal
        return outcome

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

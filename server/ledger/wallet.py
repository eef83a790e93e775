"""A handle on one account: the manager's calls that go by one user, asset and book."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Unpack

from .changes import Amount
from .invariants import Discrepancy
from .receipts import Receipt
from .report import Report

if TYPE_CHECKING:
    from .manager import BalanceManager, Options, PlainOptions


class Wallet:
    """One user's account in one asset and book."""

    def __init__(self, manager: BalanceManager, user_id: str, asset: str, book: str) -> None:
        self._manager = manager
        self.user_id = user_id
        self.asset = asset
        self.book = book

    async def get_balance(self) -> Decimal:
        """The balance in whole units, own sense."""
        return await self._manager.get_balance(self.user_id, asset=self.asset, book=self.book)

    async def update_balance(
        self,
        amount: Amount,
        change_type: str,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[PlainOptions],
    ) -> Receipt:
        """See `BalanceManager.update_balance`."""
        options["asset"], options["book"] = self.asset, self.book
        return await self._manager.update_balance(
            self.user_id, amount, change_type, description, metadata, **options
        )

    async def add_to_balance(
        self, amount: Amount, reason: str, **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.add_to_balance`."""
        return await self._manager.add_to_balance(
            self.user_id, amount, reason, **self._here(options)
        )

    async def subtract_from_balance(
        self, amount: Amount, reason: str, **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.subtract_from_balance`."""
        return await self._manager.subtract_from_balance(
            self.user_id, amount, reason, **self._here(options)
        )

    async def set_balance(
        self,
        new_balance: Amount,
        reason: str,
        *,
        if_seq: int | None = None,
        **options: Unpack[Options],
    ) -> Receipt:
        """See `BalanceManager.set_balance`."""
        return await self._manager.set_balance(
            self.user_id, new_balance, reason, if_seq=if_seq, **self._here(options)
        )

    async def charge_service(
        self,
        amount: Amount,
        service_type: str,
        description: str = "",
        **options: Unpack[Options],
    ) -> Receipt:
        """See `BalanceManager.charge_service`."""
        return await self._manager.charge_service(
            self.user_id, amount, service_type, description, **self._here(options)
        )

    async def recharge(
        self, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.recharge`."""
        return await self._manager.recharge(
            self.user_id, amount, description, **self._here(options)
        )

    async def pay(
        self, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """See `BalanceManager.pay`."""
        return await self._manager.pay(self.user_id, amount, description, **self._here(options))

    async def transfer(
        self, to_user: str, amount: Amount, description: str = "", **options: Unpack[Options]
    ) -> Receipt:
        """Move a positive `amount` from here to another user of the book."""
        return await self._manager.transfer(
            self.user_id, to_user, amount, description, **self._here(options)
        )

    async def place_hold(
        self,
        amount: Amount,
        description: str = "",
        *,
        expires_in_s: int | None = None,
        **options: Unpack[Options],
    ) -> Receipt:
        """See `BalanceManager.place_hold`; the hold is confirmed and voided there, by its id."""
        return await self._manager.place_hold(
            self.user_id, amount, description, expires_in_s=expires_in_s, **self._here(options)
        )

    async def history(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The account's updates, newest first."""
        return await self._manager.history(
            self.user_id, asset=self.asset, book=self.book, limit=limit
        )

    async def sync(self, *, actor: str = "system") -> Report:
        """Put the account's mirrors right; see `BalanceManager.sync_balances`."""
        return await self._manager.sync_balances(
            self.user_id, asset=self.asset, book=self.book, actor=actor
        )

    async def balance_drift(self) -> list[Discrepancy]:
        """See `BalanceManager.balance_drift`."""
        return await self._manager.balance_drift(self.user_id, asset=self.asset, book=self.book)

    async def check_and_fix_balance_mismatch(
        self, *, actor: str = "system"
    ) -> tuple[bool, Decimal]:
        """See `BalanceManager.check_and_fix_balance_mismatch`."""
        return await self._manager.check_and_fix_balance_mismatch(
            self.user_id, asset=self.asset, book=self.book, actor=actor
        )

    def _here(self, options: Options) -> Options:
        options["asset"], options["book"] = self.asset, self.book
        return options

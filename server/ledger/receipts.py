"""What a caller gets for an accepted change."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from .updates import Committed, with_epoch


class Receipt(Struct, frozen=True):
    """The committed transaction; `replayed` where an earlier request with the key made it."""

    committed: Committed
    epoch: str
    replayed: bool = False

    @property
    def transaction_id(self) -> str:
        """The transaction's id."""
        return self.committed.transaction_id

    @property
    def position(self) -> int:
        """Its position in the journal."""
        return self.committed.position

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The UPDATE of each touched user, with the admin fields."""
        return [msgspec.json.decode(update) for update in self.encoded_updates()]

    @property
    def hold(self) -> dict[str, Any] | None:
        """The HOLD object that it belongs to, as admins see it."""
        hold: dict[str, Any] | None = self.committed.admin_fields().get("hold")
        return hold

    @property
    def trade(self) -> dict[str, Any] | None:
        """The TRADE object that it belongs to."""
        trade: dict[str, Any] | None = self.committed.admin_fields().get("trade")
        return trade

    def encoded_updates(self, user_id: str | None = None) -> list[bytes]:
        """The UPDATEs as JSON: those that `user_id` may see, or the admins' where None."""
        if user_id is None:
            bodies = self.committed.admin_bodies()
        else:
            bodies = [body for user, body in self.committed.user_bodies() if user == user_id]
        return [with_epoch(self.epoch, body) for body in bodies]

"""Options are settled as they expire, by every worker: the ledger does it once, whoever asks."""

from __future__ import annotations

from ..ledger import BalanceManager
from ..repeating import repeat

EVERY_SECONDS = 0.5


async def settle_options(manager: BalanceManager) -> None:
    """Settle what is due, until cancelled; what a crash or an outage left comes first."""
    await repeat("settle options", EVERY_SECONDS, manager.trading.settle_due)

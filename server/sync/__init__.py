"""From the commit to every process: the bus between processes and the feed in position order."""

from .balance import sync_balance_across_all_systems
from .bus import Bus, open_bus
from .feed import Feed

__all__ = ["Bus", "Feed", "open_bus", "sync_balance_across_all_systems"]

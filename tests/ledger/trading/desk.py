"""Decides changes of one pair by the ledger's rules, one after the other, without a database."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from tallywire.ledger import Change, Details
from tallywire.ledger.accounts import Account, AccountKey
from tallywire.ledger.catalog import Asset, Book, Catalog
from tallywire.ledger.clock import rfc3339
from tallywire.ledger.rules import Decision, State, decide
from tallywire.ledger.trading import controls, options, pairs, spot
from tallywire.ledger.trading.market import Market
from tallywire.ledger.trading.prices import Price
from tallywire.ledger.trading.trades import Option
from tallywire.ledger.transaction_types import BUILT_IN

from ...journeys.client import shown
from ..conftest import transaction_id
from .model import USER, Legs, Pair

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TYPES = {kind.name: kind for kind in BUILT_IN}
DETAILS = Details(actor="root")


class Desk:
    """A market of one pair at one price, and a user whose funds have no floor."""

    def __init__(self, pair: Pair, price: int | None, *, book: str = "demo") -> None:
        self.pair = pair
        self.name = pair.name
        self.book = book
        self.now = NOW
        assets = (Asset(pair.base, pair.base_scale), Asset(pair.quote, pair.quote_scale))
        self.catalog = Catalog(
            version=1,
            paused=False,
            assets={asset.code: asset for asset in assets},
            books={name: Book(name=name) for name in ("main", "demo")},
            pairs={self.name: _settings(self.name, pair)},
        )
        self.balances: Counter[tuple[str, str]] = Counter()
        self.accounts = {
            key: Account(number, key, seq=1, floor=None)
            for number, key in enumerate(
                (self.key(pair.base, "alice"), self.key(pair.quote, "alice"))
            )
        }
        self.market = Market(rfc3339(NOW))
        self._ids = 0
        if price is not None:
            self.quote(price)

    def key(self, asset: str, owner: str) -> AccountKey:
        return AccountKey(self.book, owner, asset)

    def quote(self, price: int, *, age_s: int = 0) -> None:
        """Make `price` the newest, as of so many seconds ago."""
        stamp = rfc3339(self.now - timedelta(seconds=age_s))
        newest = Price(self.name, 1, price, "pushed", stamp)
        self.market = self.market._replace(newest={self.name: newest})

    def expires(self, option: Option, price: int | None, *, age_s: int = 0) -> None:
        """Let the time of `option` be over, the last price then being so many seconds old."""
        expiry = datetime.fromisoformat(option.expires_at)
        self.now = expiry + timedelta(microseconds=1)
        expiries = {}
        if price is not None:
            stamp = rfc3339(expiry - timedelta(seconds=age_s))
            expiries[self.name, option.expires_at] = Price(self.name, 2, price, "pushed", stamp)
        self.market = self.market._replace(now=rfc3339(self.now), expiries=expiries)

    def spot(self, side: Any, limit: int | None = None, **amounts: int) -> Decision:
        """Buy or sell so much `base`, or for so much `quote`."""
        scales = {"base": self.pair.base_scale, "quote": self.pair.quote_scale}
        given: dict[str, Any] = {
            f"{name}_amount": shown(amount, scales[name]) for name, amount in amounts.items()
        }
        if limit is not None:
            given["limit_price"] = shown(limit, self.pair.price_decimals)
        kind = TYPES[f"spot_{side}"]
        return self.decide(
            spot.spot_order(
                self.catalog,
                kind,
                "alice",
                self.name,
                side,
                **given,
                book=self.book,
                details=DETAILS,
            )
        )

    def open_option(self, direction: Any, stake: int, duration_s: int) -> Option:
        """An option of so much stake."""
        decision = self.decide(
            options.open_option(
                self.catalog,
                TYPES["option_opened"],
                "alice",
                self.name,
                direction,
                shown(stake, self.pair.quote_scale),
                duration_s,
                book=self.book,
                details=DETAILS,
            )
        )
        return option_of(decision)

    def settle(self, option: Option) -> Decision:
        """The end of `option` by its price of expiry."""
        kind = TYPES["option_settled"]
        return self.decide(options.settle_option(self.catalog, kind, option, details=DETAILS))

    def force(self, option: Option, outcome: Any) -> Decision:
        """The end of `option` as somebody decides."""
        kind = TYPES["option_settled"]
        return self.decide(
            options.force_option(self.catalog, kind, option, outcome, details=DETAILS)
        )

    def control(self, mode: Any) -> Decision:
        """How the options that are opened from now on end."""
        kind = TYPES["trading_control"]
        return self.decide(
            controls.set_control(self.catalog, kind, "alice", mode, book=self.book, details=DETAILS)
        )

    def decide(self, change: Change) -> Decision:
        """Decide, and take over what is decided."""
        self._ids += 1
        state = State(self.accounts, market=self.market)
        decision = decide(change, transaction_id(self._ids), state, self.catalog, self.now)
        for entry in decision.entries:
            self.accounts[entry.after.key] = entry.after
        for (asset, owner), amount in legs_of(decision).items():
            self.balances[asset, owner] += amount
        if decision.trade is not None:
            self.market = self.market.with_trade(decision.trade)
        if decision.control is not None:
            control = decision.control
            self.market = self.market.with_control(control.book, control.user, control.mode)
        return decision

    @property
    def exposure(self) -> int:
        """What open options may pay out."""
        return self.market.exposures.get((self.book, self.name), 0)


def option_of(decision: Decision) -> Option:
    """The option that it opened or ended."""
    assert isinstance(decision.trade, Option)
    return decision.trade


def legs_of(decision: Decision) -> Legs:
    """What each owner got; no account twice, and CONSERVATION: each asset sums to zero."""
    moved = [(entry.after.key, entry.amount) for entry in decision.entries]
    moved += [(leg.key, leg.amount) for leg in decision.system_legs]
    assert len({key for key, _ in moved}) == len(moved)
    sums: Counter[str] = Counter()
    for key, amount in moved:
        sums[key.asset] += amount
    assert not any(sums.values())
    return {(key.asset, key.owner if key.is_system else USER): amount for key, amount in moved}


def _settings(name: str, pair: Pair) -> pairs.Pair:
    return pairs.Pair(
        pair=name,
        base=pair.base,
        quote=pair.quote,
        price_decimals=pair.price_decimals,
        minimum=pair.minimum,
        fee_bps=pair.fee_bps,
        durations=tuple(pairs.Duration(*each) for each in pair.rates.items()),
        maximum_stake=pair.maximum_stake,
        exposure_limit=pair.exposure_limit,
        stale_after_s=pair.stale_after_s,
        settlement_age_s=pair.settlement_age_s,
    )

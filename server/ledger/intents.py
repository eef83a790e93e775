"""What a change wants of the ledger, in its own terms: minor units, credit-positive legs."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .accounts import ESCROW, FEES, HOUSE, ROUNDING, AccountKey

Settings = dict[str, int | str | None]
# How a hold ends whose remainder is given back.
Released = Literal["voided", "expired"]
TradeSide = Literal["buy", "sell"]
Direction = Literal["up", "down"]
Outcome = Literal["win", "lose", "tie"]
Mode = Literal["win", "normal", "lose"]


class Leg(Struct, frozen=True):
    """One posting to be: minor units, credit-positive; `held_change` in minor units."""

    key: AccountKey
    amount: int
    held_change: int = 0


class Post(Struct, frozen=True, tag=True):
    """Move money along `legs`, which sum to zero and name each account once."""

    legs: tuple[Leg, ...]

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return tuple(leg.key for leg in self.legs)


class SetBalance(Struct, frozen=True, tag=True):
    """Make the balance `new_balance` (minor units, own sense), if the account is at `if_seq`."""

    key: AccountKey
    counter: AccountKey
    new_balance: int
    if_seq: int | None

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return (self.key, self.counter)


class _OneAccount(Struct, frozen=True):
    key: AccountKey

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return (self.key,)


class OpenAccount(_OneAccount, frozen=True, tag=True):
    """Make the account, with `settings` over the book's defaults."""

    settings: Settings


class ChangeAccount(_OneAccount, frozen=True, tag=True):
    """Give the account these `settings`; those not named stay."""

    settings: Settings


class PlaceHold(_OneAccount, frozen=True, tag=True):
    """Reserve `amount` (minor units) for `expires_in_s` seconds, or until it is ended."""

    amount: int
    expires_in_s: int | None


class ConfirmHold(_OneAccount, frozen=True, tag=True):
    """
    Move `amount` of a hold (minor units; None for all that remains) to the account `to`.

    release_remainder: whether what then remains is released.
    """

    hold_id: str
    amount: int | None
    release_remainder: bool
    to: AccountKey

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return (self.key, self.to)


class EndHold(_OneAccount, frozen=True, tag=True):
    """Release what remains of a hold, which is then `status`: voided or expired."""

    hold_id: str
    status: Released


class Reverse(Struct, frozen=True, tag=True, omit_defaults=True):
    """
    Undo the transaction `original` along `legs`, the negation of its own.

    undoes_totals: whether it counted into `total_in` and `total_out`; forced: whether floors are
    passed; undoes_earned: whether it counted into `total_earned`. A default is left out of the
    request's fingerprint, so that keys from before there was the field still fit.
    """

    original: str
    legs: tuple[Leg, ...]
    undoes_totals: bool
    forced: bool
    undoes_earned: bool = False

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return tuple(leg.key for leg in self.legs)


class SpotOrder(Struct, frozen=True, tag=True):
    """
    Buy or sell at the newest price: `base_amount`, or what `quote_amount` buys or sells at most
    (minor units, one of them), where the price is not worse than `limit_price`.

    user: the owner of the accounts in `book`; assets: base and quote; prices count units of the
    pair's last decimal.
    """

    user: str
    book: str
    pair: str
    assets: tuple[str, str]
    side: TradeSide
    base_amount: int | None
    quote_amount: int | None
    limit_price: int | None
    client_order_id: str | None

    @property
    def pointer(self) -> str:
        """The field of the request that says how much, as a JSON pointer."""
        return "/quote_amount" if self.base_amount is None else "/base_amount"

    @property
    def base(self) -> AccountKey:
        """The user's account of what is bought or sold."""
        return AccountKey(self.book, self.user, self.assets[0])

    @property
    def quote(self) -> AccountKey:
        """The user's account of what it is paid in."""
        return AccountKey(self.book, self.user, self.assets[1])

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        system = (self.quote.of(owner) for owner in (HOUSE, FEES, ROUNDING))
        return (self.base, self.quote, self.base.of(HOUSE), *system)


class OpenOption(_OneAccount, frozen=True, tag=True):
    """Stake `stake` (minor units of the account `key`) on where the price of `pair` goes."""

    pair: str
    direction: Direction
    stake: int
    duration_s: int
    client_order_id: str | None

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return (self.key, self.key.of(ESCROW))


class _EndOption(_OneAccount, frozen=True):
    option_id: str
    pair: str

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """Every account that it may touch."""
        return (self.key, *map(self.key.of, (ESCROW, HOUSE, ROUNDING)))


class SettleOption(_EndOption, frozen=True, tag=True):
    """End an option that has expired, by the price of its expiry; `key` paid its stake."""


class ForceOption(_EndOption, frozen=True, tag=True):
    """End an open option of the demo book now, with the outcome that is given."""

    outcome: Outcome


class SetControl(Struct, frozen=True, tag=True):
    """Decide how the user's options in the demo book end that are opened from now on."""

    user: str
    book: str
    mode: Mode

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """It touches no account."""
        return ()


class RepairAccount(_OneAccount, frozen=True, tag=True):
    """Make a user account's cached row, holds and mirrors say again what its entries say."""


class MeetMirrors(_OneAccount, frozen=True, tag=True):
    """Change nothing but what the account's mirrors lack, and book what others wrote there."""


class RepairSystemAccount(_OneAccount, frozen=True, tag=True):
    """
    Make a system account's cached balance `balance` (minor units, credit-positive: the sum of its
    postings up to `position`) and what was posted to it since.
    """

    position: int
    balance: int


class RepairTrading(Struct, frozen=True, tag=True):
    """
    Make what trading keeps say again what the journal says: these `trades`, by id; the exposures of
    `places`, by book and pair, those of all these trades among them; and the user's control.
    """

    user: str | None
    trades: tuple[str, ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    control: bool = False

    @property
    def account_keys(self) -> tuple[AccountKey, ...]:
        """It touches no account."""
        return ()


HoldIntent = PlaceHold | ConfirmHold | EndHold
TradeIntent = SpotOrder | OpenOption | SettleOption | ForceOption
Intent = (
    Post
    | SetBalance
    | OpenAccount
    | ChangeAccount
    | HoldIntent
    | TradeIntent
    | SetControl
    | Reverse
    | RepairAccount
    | MeetMirrors
    | RepairSystemAccount
    | RepairTrading
)

"""The one registry of transaction types: what each does, to whom, and who may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from msgspec import Struct

from .accounts import SYSTEM_OWNERS
from .errors import InvalidRequest

Side = Literal["credit", "debit"]
Direction = Literal["up", "down", "either", "none"]

BOTH_SIDES: frozenset[Side] = frozenset(("credit", "debit"))
CREDIT: frozenset[Side] = frozenset(("credit",))
DEBIT: frozenset[Side] = frozenset(("debit",))


class TransactionType(Struct, frozen=True, kw_only=True):
    """
    One type of transaction.

    direction: how it moves the user's account in the ledger's credit-positive sense: ``up``
    (more owed to the user, or less debt), ``down``, ``either``, or ``none`` (moves no money).
    counter: the owner of the other side, ``user`` where that is another user's account.
    counts: whether its net movements enter `total_in` and `total_out`.
    earning: whether they enter `total_earned`, the signed sum of what was earned.
    sides: the sides of the books that take it. role: the least role that may ask for it.
    lifts_suspension: a recharge does. passes_status: settlement and the like pass suspension,
    freeze and pause. passes_floor: the money has moved already, so no floor can forbid it.
    by_operation: made by an operation of its own, never by naming the type and an amount.
    audited: what an operator does to accounts, so it is in the audit too.
    """

    name: str
    direction: Direction
    counter: str | None
    counts: bool = False
    earning: bool = False
    reversible: bool = True
    role: str = "admin"
    sides: frozenset[Side] = BOTH_SIDES
    lifts_suspension: bool = False
    passes_status: bool = False
    passes_floor: bool = False
    by_operation: bool = False
    audited: bool = False

    def sign(self, side: Side) -> int:
        """The sign of its amounts in the own sense of an account in a book of `side`."""
        if self.direction not in ("up", "down"):
            return 0
        return 1 if (self.direction == "up") == (side == "credit") else -1


class TransactionTypes:
    """The registered types, the contract's and the application's own, by name."""

    def __init__(self) -> None:
        self._types: dict[str, TransactionType] = {kind.name: kind for kind in BUILT_IN}

    def __getitem__(self, name: str) -> TransactionType:
        """The type called `name`; raises InvalidRequest where none is."""
        try:
            return self._types[name]
        except KeyError:
            raise InvalidRequest(f"there is no transaction type {name!r}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __iter__(self) -> Iterator[TransactionType]:
        return iter(self._types.values())

    def register(self, kind: TransactionType) -> TransactionType:
        """
        Add an application's own type. Raises InvalidRequest where the name is taken, or where
        the direction or the counter is none that there is, or nothing can be earned by it.
        """
        if kind.direction not in get_args(Direction):
            raise InvalidRequest(f"a direction is one of {', '.join(get_args(Direction))}")
        if kind.counter not in (None, "user", *SYSTEM_OWNERS):
            raise InvalidRequest(f"a counter is user or one of {', '.join(SYSTEM_OWNERS)}")
        if kind.earning and kind.direction == "none":
            raise InvalidRequest("what moves no money earns none")
        if self._types.get(kind.name, kind) != kind:
            raise InvalidRequest(f"the transaction type {kind.name!r} exists already")
        self._types[kind.name] = kind
        return kind

    def payments(self) -> list[TransactionType]:
        """The types by which debt shrinks: they move a debit book's account up."""
        return [t for t in self if t.counts and "debit" in t.sides and t.direction == "up"]

    def charges(self) -> list[TransactionType]:
        """The types by which a user is charged: counted, down, against the house."""
        return [t for t in self if t.counts and t.direction == "down" and t.counter == "@house"]

    def earnings(self) -> list[TransactionType]:
        """The types by which a user earns: their movements enter `total_earned`."""
        return [t for t in self if t.earning]

    def counted(self) -> list[TransactionType]:
        """The types whose movements enter `total_in` and `total_out`."""
        return [t for t in self if t.counts]


ADOPTION = TransactionType(
    name="adoption",
    direction="either",
    counter="@house",
    role="superadmin",
    passes_status=True,
    passes_floor=True,
    by_operation=True,
)

# What becomes of an option's settlement is known only behind the locks.
OPTION_REFUNDED = TransactionType(
    name="option_refunded",
    direction="up",
    counter="@escrow",
    reversible=False,
    role="superadmin",
    sides=CREDIT,
    passes_status=True,
    by_operation=True,
)

TRADING_CONTROL = TransactionType(
    name="trading_control",
    direction="none",
    counter=None,
    reversible=False,
    role="superadmin",
    sides=CREDIT,
    by_operation=True,
    audited=True,
)

BUILT_IN = (
    TransactionType(name="deposit", direction="up", counter="@world", counts=True, sides=CREDIT),
    TransactionType(
        name="recharge",
        direction="up",
        counter="@world",
        counts=True,
        sides=CREDIT,
        lifts_suspension=True,
    ),
    TransactionType(
        name="withdrawal",
        direction="down",
        counter="@world",
        counts=True,
        role="user",
        sides=CREDIT,
    ),
    TransactionType(name="charge", direction="down", counter="@house", counts=True),
    TransactionType(
        name="shared_charge", direction="down", counter="@house", counts=True, sides=DEBIT
    ),
    TransactionType(name="payment", direction="up", counter="@world", counts=True, sides=DEBIT),
    TransactionType(name="transfer", direction="either", counter="user", role="user", sides=CREDIT),
    TransactionType(name="adjustment", direction="either", counter="@house", role="superadmin"),
    TransactionType(
        name="account_opened",
        direction="none",
        counter=None,
        reversible=False,
        role="superadmin",
        audited=True,
    ),
    TransactionType(
        name="account_changed",
        direction="none",
        counter=None,
        reversible=False,
        role="superadmin",
        audited=True,
    ),
    TransactionType(
        name="opening_balance",
        direction="either",
        counter="@opening",
        role="superadmin",
        passes_floor=True,
    ),
    ADOPTION,
    TransactionType(
        name="hold_placed",
        direction="none",
        counter=None,
        reversible=False,
        role="user",
        sides=CREDIT,
        by_operation=True,
    ),
    TransactionType(
        name="hold_confirmed",
        direction="down",
        counter="@world",
        reversible=False,
        role="user",
        sides=CREDIT,
        passes_status=True,
        by_operation=True,
    ),
    TransactionType(
        name="hold_voided",
        direction="none",
        counter=None,
        reversible=False,
        role="user",
        sides=CREDIT,
        passes_status=True,
        by_operation=True,
    ),
    TransactionType(
        name="hold_expired",
        direction="none",
        counter=None,
        reversible=False,
        role="superadmin",
        sides=CREDIT,
        passes_status=True,
        by_operation=True,
    ),
    TransactionType(
        name="spot_buy",
        direction="either",
        counter="@house",
        reversible=False,
        role="user",
        sides=CREDIT,
        by_operation=True,
    ),
    TransactionType(
        name="spot_sell",
        direction="either",
        counter="@house",
        reversible=False,
        role="user",
        sides=CREDIT,
        by_operation=True,
    ),
    TransactionType(
        name="option_opened",
        direction="down",
        counter="@escrow",
        reversible=False,
        role="user",
        sides=CREDIT,
        by_operation=True,
    ),
    TransactionType(
        name="option_settled",
        direction="up",
        counter="@escrow",
        reversible=False,
        role="superadmin",
        sides=CREDIT,
        passes_status=True,
        by_operation=True,
    ),
    OPTION_REFUNDED,
    TRADING_CONTROL,
    TransactionType(
        name="reversal", direction="either", counter=None, reversible=False, by_operation=True
    ),
    TransactionType(
        name="repair",
        direction="none",
        counter=None,
        reversible=False,
        role="superadmin",
        passes_status=True,
        by_operation=True,
        audited=True,
    ),
)

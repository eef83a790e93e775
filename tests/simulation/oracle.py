"""
What must be true, worked out a second time from what was asked: follows the journal commit by
commit with a model of its own, and remembers every state.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..journeys.client import ZEROS, account_name, digest
from ..ledger.model import Model, Move, Purse, Refused
from .asked import SIDES, Item
from .database import SimulatedPostgres
from .trace import Violation

UP = {"deposit", "recharge"}
COUNTED = {"deposit", "recharge", "withdrawal", "charge", "shared_charge", "payment"}
COUNTER = {
    "deposit": "@world",
    "recharge": "@world",
    "withdrawal": "@world",
    "payment": "@world",
    "charge": "@house",
    "shared_charge": "@house",
    "adjustment": "@house",
}

Place = tuple[str, str]
Account = tuple[str, str, str]


@dataclass(frozen=True)
class Known:
    """One transaction of the journal."""

    position: int
    id: str
    reference: str
    key: str | None
    users: tuple[str, ...]
    encoded: bytes


@dataclass(frozen=True)
class State:
    """One account after an entry."""

    position: int
    purse: Purse
    digest: str


class Oracle:
    """Every transaction that is committed, and every state of every account."""

    def __init__(self, database: SimulatedPostgres) -> None:
        self.transactions: list[Known] = []
        self.asked: dict[str, Item] = {}
        self.by_reference: dict[str, int] = {}
        self.by_key: dict[str, int] = {}
        self.states: dict[Account, list[State]] = {}
        self._database = database
        self._models: dict[Place, Model] = {}
        self._positions: dict[str, list[int]] = {}
        self._epochs = {self._epoch()}
        # Since when changes were paused, or were not, in the loop's time.
        self._paused: list[tuple[float, bool]] = [(-1.0, False)]
        database.committed.append(self.learn)

    @property
    def head(self) -> int:
        """The newest position that is committed."""
        return len(self.transactions)

    def is_epoch(self, epoch: str) -> bool:
        """Whether this is, or was, an epoch of the journal."""
        return epoch in self._epochs

    def learn(self) -> None:
        """Take in what was committed since the last time; raises Violation."""
        self._epochs.add(self._epoch())
        self._learn_pause()
        rows = self._database.rows(
            "SELECT position, id, type, reference, key, encoded FROM transactions"
            " WHERE position > ? ORDER BY position",
            self.head,
        )
        if not rows:
            return
        if self._paused[-1][1]:
            raise Violation(f"{rows[0]['reference']} was committed while changes are paused")
        legs: dict[int, list[dict[str, Any]]] = {row["position"]: [] for row in rows}
        for leg in self._database.rows(
            "SELECT p.*, a.book, a.owner, a.asset FROM postings p JOIN accounts a"
            " ON a.id = p.account_id WHERE p.position > ? ORDER BY a.name",
            self.head,
        ):
            legs[leg["position"]].append(leg)
        for row in rows:
            self._take_in(row, legs[row["position"]])

    def was_paused(self, since: float) -> bool:
        """Whether changes were paused at any moment from `since` on."""
        last = [paused for when, paused in self._paused if when < since][-1]
        return last or any(paused for when, paused in self._paused if when >= since)

    def positions(self, user: str, after: int, upto: int) -> list[int]:
        """Where in (after, upto] the user has an update."""
        mine = self._positions.get(user, [])
        return mine[bisect_right(mine, after) : bisect_right(mine, upto)]

    def balances(self, user: str, position: int) -> dict[str, State]:
        """The user's accounts by name, as of `position`."""
        found = {}
        for (book, owner, asset), states in self.states.items():
            if owner == user and (state := _at(states, position)) is not None:
                found[account_name(book, user, asset)] = state
        return found

    def refusal_at(self, items: tuple[Item, ...], position: int) -> tuple[str, int] | None:
        """The code, and the index of the item, that would refuse `items` together then."""
        models: dict[Place, Model] = {}
        for index, item in enumerate(items):
            place = (item.book, item.asset)
            if place not in models:
                models[place] = self._model_at(place, position)
            try:
                apply(models[place], item)
            except Refused as refused:
                return str(refused), index
        return None

    def _model_at(self, place: Place, position: int) -> Model:
        model = Model(SIDES[place[0]])
        for (book, owner, asset), states in self.states.items():
            if (book, asset) == place and (state := _at(states, position)) is not None:
                model.purses[owner] = state.purse
        return model

    def _take_in(self, row: Mapping[str, Any], legs: list[dict[str, Any]]) -> None:
        position = row["position"]
        where = f"position {position} ({row['reference']})"
        if position != self.head + 1:
            raise Violation(f"SEQUENCE_GAP: {where} after {self.head}")
        item = self.asked.get(row["reference"])
        if item is None or item.type != row["type"]:
            raise Violation(f"{where} was not asked for: {row['type']}, {item}")
        if row["reference"] in self.by_reference:
            raise Violation(
                f"IDEMPOTENT_REPLAY: {where} is at {self.by_reference[row['reference']]} already"
            )
        place = (item.book, item.asset)
        model = self._models.setdefault(place, Model(SIDES[item.book]))
        before = {user: model.purse(user) for user in item.users}
        try:
            apply(model, item)
        except Refused as refused:
            raise Violation(f"{where} was accepted, but is {refused}: {item}, {before}") from None
        self._check_legs(where, item, before, model, legs)
        users = tuple(sorted(item.users))
        for user in users:
            self._check_entry(where, row["id"], item, user, before[user], model, position, legs)
            self._positions.setdefault(user, []).append(position)
        self.transactions.append(
            Known(position, row["id"], row["reference"], row["key"], users, row["encoded"].encode())
        )
        self.by_reference[row["reference"]] = position
        if row["key"] is not None:
            if row["key"] in self.by_key:
                raise Violation(f"IDEMPOTENT_REPLAY: {where} repeats {row['key']}")
            self.by_key[row["key"]] = position

    def _check_legs(
        self,
        where: str,
        item: Item,
        before: Mapping[str, Purse],
        model: Model,
        legs: list[dict[str, Any]],
    ) -> None:
        if any((leg["book"], leg["asset"]) != (item.book, item.asset) for leg in legs):
            raise Violation(f"{where} touches another book or asset: {item}")
        sign = 1 if SIDES[item.book] == "credit" else -1
        wanted = {
            user: sign * (model.purse(user).balance - before[user].balance) for user in item.users
        }
        if item.type in COUNTER:
            wanted[COUNTER[item.type]] = -sum(wanted.values())
        found = {leg["owner"]: leg["amount"] for leg in legs}
        if found != wanted or len(found) != len(legs):
            raise Violation(f"{where}: legs {found}, not {wanted}")
        if sum(found.values()):
            raise Violation(f"CONSERVATION: {where}: {found}")

    def _check_entry(
        self,
        where: str,
        id_: str,
        item: Item,
        user: str,
        before: Purse,
        model: Model,
        position: int,
        legs: list[dict[str, Any]],
    ) -> None:
        purse = model.purse(user)
        (leg,) = [leg for leg in legs if leg["owner"] == user]
        sign = 1 if SIDES[item.book] == "credit" else -1
        wanted: dict[str, Any] = {
            name: getattr(purse, name)
            for name in (
                "held",
                "total_in",
                "total_out",
                "floor",
                "suspend_below",
                "alert_below",
                "status",
                "seq",
            )
        }
        wanted["balance"] = sign * purse.balance
        found = {name: leg[name] for name in wanted}
        if found != wanted:
            raise Violation(f"SNAPSHOT=REPLAY: {where}: {user} has {found}, not {wanted}")
        states = self.states.setdefault((item.book, user, item.asset), [])
        said = digest(
            states[-1].digest if states else ZEROS,
            account_name(item.book, user, item.asset),
            purse.seq,
            purse.balance - before.balance,
            purse.held - before.held,
            purse.balance,
            purse.held,
            id_,
        )
        if said != leg["digest"]:
            raise Violation(f"HASH_CHAIN: {where}: {user}")
        states.append(State(position, purse, said))

    def _learn_pause(self) -> None:
        paused = bool(self._database.rows("SELECT paused FROM clock")[0]["paused"])
        if paused != self._paused[-1][1]:
            self._paused.append((asyncio.get_running_loop().time(), paused))

    def _epoch(self) -> str:
        return str(self._database.rows("SELECT epoch FROM clock")[0]["epoch"])


def apply(model: Model, item: Item) -> None:
    """Do `item` in the model; raises Refused, having changed nothing."""
    counts, recharge = item.type in COUNTED, item.type == "recharge"
    purse = model.purse(item.user)
    if item.kind == "account_changed":
        model.settle(item.user, dict(item.settings))
        return
    if item.kind == "account_opened":
        if purse.seq:
            raise Refused("conflict")
        opened = replace(purse, seq=1, **dict(item.settings))  # type: ignore[arg-type]
        model.purses[item.user] = opened
        return
    if item.kind == "set_balance":
        if item.if_seq is not None and item.if_seq != purse.seq:
            raise Refused("conflict")
        moves = [Move(item.user, item.amount - purse.balance)]
    elif item.kind == "transfer":
        moves = [Move(item.user, -item.amount), Move(item.other, item.amount)]
    elif item.kind == "shared_charge":
        moves = [Move(user, amount) for user, amount in shared(item.amount, item.shares)]
    elif item.kind == "adjustment" or item.kind in UP:
        moves = [Move(item.user, item.amount)]
    else:
        moves = [Move(item.user, -item.amount)]
    model.post(moves, counts=counts, recharge=recharge)


def shared(amount: int, shares: tuple[tuple[str, int], ...]) -> list[tuple[str, int]]:
    """Largest remainder, ties to the earlier share (contract, section 4)."""
    total = sum(weight for _, weight in shares)
    parts = [amount * weight // total for _, weight in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (-(amount * shares[i][1] % total), i))
    for index in by_remainder[: amount - sum(parts)]:
        parts[index] += 1
    return [(user, part) for (user, _), part in zip(shares, parts, strict=True)]


def _at(states: list[State], position: int) -> State | None:
    index = bisect_right(states, position, key=lambda state: state.position)
    return states[index - 1] if index else None

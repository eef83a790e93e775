"""
What must be true, worked out a second time from what was asked: follows the journal commit by
commit with a model of its own, and remembers every state.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any, TypeVar

from ..journeys.client import ZEROS, account_name, digest, shown
from ..ledger.model import Hold, Model, Move, Purse, Refused
from ..ledger.trading.model import USER, Legs
from .asked import SCALES, SIDES, Item
from .clocks import Readings
from .database import Session, SimulatedPostgres
from .legacy import TABLES, Wallets
from .market import Market, Quote, moment_of
from .market import State as MarketState
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
    "adoption": "@house",
}

REVERSIBLE = {*COUNTER, "transfer"}
# Types that a pause does not hold up.
PASSES_PAUSE = {
    "hold_confirmed",
    "hold_voided",
    "hold_expired",
    "adoption",
    "option_settled",
    "option_refunded",
}
SETTLED = {"option_settled", "option_refunded"}
# Types whose transactions begin what is named after them.
OPENS = {"hold_placed", "spot_buy", "spot_sell", "option_opened"}
ENDS = {"hold_voided": "voided", "hold_expired": "expired"}

Place = tuple[str, str]
Account = tuple[str, str, str]


@dataclass(frozen=True)
class Known:
    """
    One transaction of the journal: what it came from, what it moved, who sees it, and the HOLD or
    TRADE object that admins see with it.
    """

    position: int
    id: str
    reference: str | None
    item: Item
    moves: tuple[Move, ...]
    users: tuple[str, ...]
    encoded: bytes
    hold: dict[str, Any] | None
    trade: dict[str, Any] | None


@dataclass(frozen=True)
class State:
    """One account after an entry."""

    position: int
    purse: Purse
    digest: str


@dataclass(frozen=True)
class HoldState:
    """One hold after a transaction of it."""

    position: int
    hold: Hold


S = TypeVar("S", State, HoldState)


class Oracle:
    """Every transaction that is committed, and every state of every account."""

    def __init__(self, database: SimulatedPostgres, wallets: Wallets) -> None:
        """wallets: what older programs wrote to mirrors."""
        self.wallets = wallets
        self.market = Market(database)
        self.transactions: list[Known] = []
        self.asked: dict[str, Item] = {}
        self.by_reference: dict[str, int] = {}
        self.by_key: dict[str, int] = {}
        self.by_id: dict[str, Known] = {}
        self.states: dict[Account, list[State]] = {}
        self.holds: dict[str, list[HoldState]] = {}
        # The position of the reversal, by the id of what it undid.
        self.undone: dict[str, int] = {}
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

    def learn(self, session: Session) -> None:
        """Take in what `session` has committed now; raises Violation."""
        self._epochs.add(self._epoch())
        self._learn_pause()
        self.market.learn_prices()
        rows = self._database.rows(
            "SELECT position, id, type, reference, key, hold, reverses, trade, encoded"
            " FROM transactions WHERE position > ? ORDER BY position",
            self.head,
        )
        if not rows:
            return
        if self._paused[-1][1] and not {row["type"] for row in rows} <= PASSES_PAUSE:
            raise Violation(f"{rows[0]['reference']} was committed while changes are paused")
        clock = session.clock.readings(session.began)
        legs: dict[int, list[dict[str, Any]]] = {row["position"]: [] for row in rows}
        for leg in self._database.rows(
            "SELECT p.*, a.book, a.owner, a.asset FROM postings p JOIN accounts a"
            " ON a.id = p.account_id WHERE p.position > ? ORDER BY a.name",
            self.head,
        ):
            legs[leg["position"]].append(leg)
        for row in rows:
            self._take_in(row, legs[row["position"]], clock)

    def was_paused(self, since: float) -> bool:
        """Whether changes were paused at any moment from `since` on."""
        last = [paused for when, paused in self._paused if when < since][-1]
        return last or any(paused for when, paused in self._paused if when >= since)

    def positions(self, user: str, after: int, upto: int) -> list[int]:
        """Where in (after, upto] the user has an update."""
        mine = self._positions.get(user, [])
        return mine[bisect_right(mine, after) : bisect_right(mine, upto)]

    def purse(self, book: str, user: str, asset: str) -> Purse:
        """The account as it is now."""
        states = self.states.get((book, user, asset), [])
        return states[-1].purse if states else Purse()

    def balances(self, user: str, position: int) -> dict[str, State]:
        """The user's accounts by name, as of `position`."""
        found = {}
        for (book, owner, asset), states in self.states.items():
            if owner == user and (state := _at(states, position)) is not None:
                found[account_name(book, user, asset)] = state
        return found

    def shown_hold(self, position: int, user: str | None) -> dict[str, Any] | None:
        """The HOLD object that `user`, or an admin where None, sees at `position`."""
        hold = self.transactions[position - 1].hold if position <= self.head else None
        if hold is None or user is None:
            return hold
        if user != hold["user_id"]:
            return None
        return {**hold, "placed_by": user if hold["placed_by"] == user else None}

    def shown_trade(self, position: int) -> dict[str, Any] | None:
        """The TRADE object that all see who see the transaction at `position`."""
        return self.transactions[position - 1].trade if position <= self.head else None

    def holds_of(self, user: str, position: int) -> list[tuple[str, int, int, str, str | None]]:
        """The user's holds as of `position`, newest first."""
        found = []
        for id_, states in reversed(self.holds.items()):
            hold = _at(states, position)
            if hold is not None and hold.hold.user == user:
                stood = hold.hold
                reference = self.by_id[id_].reference
                found.append((id_, stood.amount, stood.remaining, stood.status, reference))
        return found

    def refusals_at(
        self, items: tuple[Item, ...], position: int, since: float, clock: Readings
    ) -> list[tuple[str, int] | None]:
        """
        The code, and the index of the item, that would refuse `items` together then; each that
        is possible, since the server's clock may have shown any time of `clock`, and the newest
        price been any that there was `since` a time of the loop.
        """
        ends = [states[0].hold.expires_at for i in items if (states := self.holds.get(i.of))]
        times = {end for end in ends if end is not None and clock.earliest < end <= clock.latest}
        pairs = sorted({item.order.pair for item in items if item.order is not None})
        quotes = [list(self.market.quotes(pair, since, clock)) for pair in pairs]
        return [
            self._refusal_at(items, position, now, dict(zip(pairs, each, strict=True)))
            for now in (clock.earliest, *sorted(times))
            for each in product(*quotes)
        ]

    def _refusal_at(
        self,
        items: tuple[Item, ...],
        position: int,
        now: datetime,
        quotes: Mapping[str, Quote],
    ) -> tuple[str, int] | None:
        models: dict[Place, Model] = {}
        market = self.market.at(position)
        for index, item in enumerate(items):
            for place in item.places:
                if place not in models:
                    models[place] = self._model_at(place, position, {each.of for each in items})
            quote = None if item.order is None else quotes[item.order.pair]
            try:
                market, _ = self._apply(models, market, item, item.reference, now, quote)
            except Refused as refused:
                return str(refused), index
        return None

    def _model_at(self, place: Place, position: int, about: set[str]) -> Model:
        """about: the ids of the holds and transactions that matter."""
        model = Model(SIDES[place[0]])
        for (book, owner, asset), states in self.states.items():
            if (book, asset) == place and (state := _at(states, position)) is not None:
                model.purses[owner] = state.purse
        for id_ in about:
            if (held := _at(self.holds.get(id_, []), position)) is not None:
                model.holds[id_] = held.hold
            if self.undone.get(id_, position + 1) <= position:
                model.undone.add(id_)
        return model

    def _take_in(self, row: Mapping[str, Any], legs: list[dict[str, Any]], clock: Readings) -> None:
        position, id_ = row["position"], row["id"]
        where = f"position {position} ({row['reference']})"
        if position != self.head + 1:
            raise Violation(f"SEQUENCE_GAP: {where} after {self.head}")
        item = self._item_of(row, legs)
        if item is None or item.type != row["type"]:
            raise Violation(f"{where} was not asked for: {row['type']}, {item}")
        if row["reference"] in self.by_reference:
            raise Violation(
                f"IDEMPOTENT_REPLAY: {where} is at {self.by_reference[row['reference']]} already"
            )
        about = (id_ if item.kind in OPENS else item.of) or None
        if (row["hold"] or row["reverses"] or row["trade"]) != about:
            raise Violation(f"{where} is about {row}, not {about}")
        admin = json.loads(row["encoded"].split("\n")[1])
        models = {
            place: self._models.setdefault(place, Model(SIDES[place[0]])) for place in item.places
        }
        before = {
            (place, user): model.purse(user)
            for place, model in models.items()
            for user in item.users
        }
        try:
            quote = self._quote(where, item, admin.get("trade"), clock)
            now = _decided_at(where, item, admin.get("hold"), clock)
            market, traded = self._apply(models, self.market.state, item, id_, now, quote)
        except Refused as refused:
            raise Violation(f"{where} was accepted, but is {refused}: {item}, {before}") from None
        after = {at: models[at[0]].purse(at[1]) for at in before}
        moves = tuple(Move(at[1], after[at].balance - before[at].balance) for at in before)
        self._check_legs(where, item, moves, legs, traded)
        for (place, user), purse in before.items():
            if after[place, user].seq > purse.seq:
                self._check_entry(where, id_, place, user, purse, models[place], position, legs)
        users = tuple(sorted(set(item.users)))
        for user in users:
            self._positions.setdefault(user, []).append(position)
        if market is not self.market.state:
            self.market.learn(position, market)
        trade = None if row["trade"] is None else market.trades[row["trade"]].view(row["trade"])
        if admin.get("trade") != trade:
            raise Violation(f"{where} tells {admin.get('trade')}, not {trade}")
        view = admin.get("hold")
        known = Known(
            position,
            id_,
            row["reference"],
            item,
            moves,
            users,
            row["encoded"].encode(),
            view,
            trade,
        )
        self.transactions.append(known)
        self.by_id[id_] = known
        if row["reference"] is not None:
            self.by_reference[row["reference"]] = position
        if row["hold"] is not None:
            self.holds.setdefault(row["hold"], []).append(
                HoldState(position, models[item.places[0]].holds[row["hold"]])
            )
        if view != self._view_of_hold(row["hold"]):
            raise Violation(f"HOLD_ACCOUNTING: {where}: {view}, not {self.holds.get(row['hold'])}")
        if row["reverses"] is not None:
            self.undone[row["reverses"]] = position
        if row["key"] is not None:
            if row["key"] in self.by_key:
                raise Violation(f"IDEMPOTENT_REPLAY: {where} repeats {row['key']}")
            self.by_key[row["key"]] = position

    def _item_of(self, row: Mapping[str, Any], legs: list[dict[str, Any]]) -> Item | None:
        """What was asked for; nobody asks for an expiry, a settlement or an adoption."""
        if row["type"] == "adoption":
            return self._adoption(row, legs)
        if row["type"] in SETTLED and row["reference"] is None:
            trade = self.market.state.trades[row["trade"]]
            asset = trade.pair.quote
            return Item("", row["type"], trade.user, 0, trade.book, asset, of=row["trade"])
        if row["type"] != "hold_expired" or row["hold"] not in self.holds:
            return self.asked.get(row["reference"])
        placed = self.by_id[row["hold"]].item
        return Item("", "hold_expired", placed.user, 0, placed.book, placed.asset, of=row["hold"])

    def _adoption(self, row: Mapping[str, Any], legs: list[dict[str, Any]]) -> Item:
        """All that older programs wrote to the row that is not booked yet, and nothing else."""
        (leg,) = (leg for leg in legs if not leg["owner"].startswith("@"))
        user, asset = leg["owner"], leg["asset"]
        written = self.wallets.outstanding.pop((user, asset), 0)
        if leg["book"] != "main" or asset not in TABLES or not written:
            raise Violation(f"MIRROR=LEDGER: position {row['position']} books what nobody wrote")
        return Item("", "adoption", user, written, asset=asset)

    def _view_of_hold(self, id_: str | None) -> dict[str, Any] | None:
        """The HOLD object as the newest transaction of the hold left it."""
        if id_ is None:
            return None
        hold, placed = self.holds[id_][-1].hold, self.by_id[id_]
        item, scale = placed.item, SCALES[placed.item.asset]
        expires = hold.expires_at
        return {
            "id": id_,
            "user_id": hold.user,
            "account": account_name(item.book, hold.user, item.asset),
            "amount": shown(hold.amount, scale),
            "remaining": shown(hold.remaining, scale),
            "status": hold.status,
            "placed_by": item.actor,
            "expires_at": None if expires is None else f"{expires:%Y-%m-%dT%H:%M:%S.%fZ}",
            "reference": placed.reference,
        }

    def _quote(
        self, where: str, item: Item, view: Mapping[str, Any] | None, clock: Readings
    ) -> Quote | None:
        """By what price, and when, the transaction was decided that tells of the trade `view`."""
        if view is None:
            return None
        fresh = item.kind not in (*SETTLED, "force")
        return self.market.traded(where, view["pair"], moment_of(view), clock, fresh=fresh)

    def _apply(
        self,
        models: Mapping[Place, Model],
        market: MarketState,
        item: Item,
        id_: str,
        now: datetime,
        quote: Quote | None,
    ) -> tuple[MarketState, Legs | None]:
        """
        Do `item` in the models as the transaction `id_`, at the time `now` and by `quote`: the
        market after it, and the legs where it was traded. Raises Refused.
        """
        if item.kind in SETTLED:
            assert quote is not None
            return self.market.settle(models, market, item, quote.now)
        if item.order is not None:
            quote = quote or Quote(None, now)
            return self.market.decide(models, market, item, id_, quote)
        self._apply_to(models[item.places[0]], item, id_, now)
        closes = ("status", "closed") in item.settings
        if closes and market.has_open_option(item.book, item.user, item.asset):
            raise Refused("conflict")
        return market, None

    def _apply_to(self, model: Model, item: Item, id_: str, now: datetime) -> None:
        if item.kind == "hold_placed":
            seconds = item.expires_in_s
            ends = None if seconds is None else now + timedelta(seconds=seconds)
            model.place(id_, item.user, item.amount, ends)
        elif item.kind == "hold_confirmed":
            amount, to = item.amount or None, item.other or None
            model.confirm(item.of, amount, to, now, release=item.released)
        elif item.kind in ENDS:
            model.end(item.of, ENDS[item.kind], now)
        elif item.kind == "reversal":
            original = self.by_id[item.of]
            if original.item.type not in REVERSIBLE:
                raise Refused("not_reversible")
            counted = original.item.type in COUNTED
            model.reverse(item.of, original.moves, counted=counted, forced=item.forced)
        elif item.kind == "adoption":
            model.post([Move(item.user, item.amount)], settles=True, forced=True)
        else:
            apply(model, item)

    def _check_legs(
        self,
        where: str,
        item: Item,
        moves: tuple[Move, ...],
        legs: list[dict[str, Any]],
        traded: Legs | None,
    ) -> None:
        """traded: the legs where it has to do with the market."""
        if traded is None:
            wanted = {(item.asset, owner): n for owner, n in self._legs(item, moves).items()}
        else:
            wanted = {
                (asset, item.user if owner == USER else owner): n
                for (asset, owner), n in traded.items()
                if n or owner == USER
            }
        found = {(leg["asset"], leg["owner"]): leg["amount"] for leg in legs}
        if found != wanted or len(found) != len(legs):
            raise Violation(f"{where}: legs {found}, not {wanted}")
        if any(leg["book"] != item.book for leg in legs):
            raise Violation(f"{where} touches another book: {item}")
        for asset in {asset for asset, _ in found}:
            if sum(amount for (of, _), amount in found.items() if of == asset):
                raise Violation(f"CONSERVATION: {where}: {found}")

    def _legs(self, item: Item, moves: tuple[Move, ...]) -> dict[str, int]:
        """Those of what moves money of one asset, by owner."""
        sign = 1 if SIDES[item.book] == "credit" else -1
        wanted = {move.user: sign * move.amount for move in moves}
        kind = self.by_id[item.of].item.type if item.kind == "reversal" else item.type
        if kind in COUNTER or (kind == "hold_confirmed" and not item.other):
            wanted[COUNTER.get(kind, "@world")] = -sum(wanted.values())
        return wanted

    def _check_entry(
        self,
        where: str,
        id_: str,
        place: Place,
        user: str,
        before: Purse,
        model: Model,
        position: int,
        legs: list[dict[str, Any]],
    ) -> None:
        purse = model.purse(user)
        book, asset = place
        (leg,) = [leg for leg in legs if (leg["owner"], leg["asset"]) == (user, asset)]
        sign = 1 if SIDES[book] == "credit" else -1
        wanted: dict[str, Any] = {
            name: getattr(purse, name)
            for name in (
                "held",
                "total_in",
                "total_out",
                "total_earned",
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
        states = self.states.setdefault((book, user, asset), [])
        said = digest(
            states[-1].digest if states else ZEROS,
            account_name(book, user, asset),
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


def _decided_at(
    where: str, item: Item, view: Mapping[str, Any] | None, clock: Readings
) -> datetime:
    """The time by which `item` was decided: one that `clock` showed, and that allows it."""
    if item.kind == "hold_expired":
        return clock.latest
    if item.kind != "hold_placed" or item.expires_in_s is None or view is None:
        return clock.earliest
    now = datetime.fromisoformat(view["expires_at"]) - timedelta(seconds=item.expires_in_s)
    if not clock.earliest <= now <= clock.latest:
        raise Violation(f"HOLD_ACCOUNTING: {where} expires at {view['expires_at']}: {clock}")
    return now


def _at(states: list[S], position: int) -> S | None:
    index = bisect_right(states, position, key=lambda state: state.position)
    return states[index - 1] if index else None

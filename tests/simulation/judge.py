"""Whether every answered caller was told the truth, exactly once (COMMITTED_SURVIVES_FAULT)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tallywire.ledger import LedgerError, Receipt
from tallywire.ledger.balances import Snapshot
from tallywire.ledger.holds import Hold
from tallywire.ledger.updates import Committed

from ..journeys.client import shown
from .asked import SCALES, Asked, Item, Told
from .clocks import Readings
from .legacy import ABORTING
from .oracle import PASSES_PAUSE, Oracle
from .trace import Violation


@dataclass(frozen=True)
class Circumstances:
    """
    When a request was submitted: `head` was the journal's head `at` that time of the loop.
    database_fails: a caller may be told that the database is away, or the server is closing;
    commit_unanswered: a COMMIT of this server lost its answer since; clock: what the server's
    showed since.
    """

    head: int
    at: float
    database_fails: bool
    commit_unanswered: bool
    clock: Readings


class Judge:
    """Holds each answer, at the moment in which it is given, against what is committed."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._first_told: set[str] = set()
        # By reference: how many attempts were made, and how many of them were refused.
        self._attempts: dict[str, int] = {}
        self._refused: dict[str, int] = {}

    def submitted(self, asked: Asked) -> None:
        """A server is about to be asked."""
        for item in asked.items:
            self._oracle.asked[item.reference] = item
            self._attempts[item.reference] = self._attempts.get(item.reference, 0) + 1

    def answered(self, asked: Asked, told: Sequence[Told], when: Circumstances) -> None:
        """A server answers; raises Violation where that is not so."""
        if asked.mode == "atomic":
            self._check_atomic(told)
        for index, (item, outcome) in enumerate(zip(asked.items, told, strict=True)):
            if isinstance(outcome, Receipt):
                self._accepted(asked, index, item, outcome, when)
            else:
                if outcome.code != "outcome_unknown":
                    self._refused[item.reference] = self._refused.get(item.reference, 0) + 1
                self._justify(asked, item, outcome, when)

    def read(self, user: str, snapshot: Snapshot, seen: Sequence[Committed]) -> None:
        """A server has read the balances of `user`, and all its transactions up to there."""
        oracle, position = self._oracle, snapshot.position
        if position > oracle.head:
            raise Violation(f"a snapshot as of {position}; the head is {oracle.head}")
        balances = [json.loads(balance) for balance in snapshot.balances[user]]
        found = {b["account"]: (b["balance"], b["held"], b["seq"], b["digest"]) for b in balances}
        wanted = {
            name: (
                shown(state.purse.balance, SCALES[name.split("/")[2]]),
                shown(state.purse.held, SCALES[name.split("/")[2]]),
                state.purse.seq,
                state.digest,
            )
            for name, state in oracle.balances(user, position).items()
        }
        if found != wanted:
            raise Violation(f"SNAPSHOT=REPLAY: {user} at {position}: {found}, not {wanted}")
        if [committed.position for committed in seen] != oracle.positions(user, 0, position):
            raise Violation(f"the history of {user} up to {position} is not whole")

    def read_holds(self, user: str, found: Sequence[Hold], since: int) -> None:
        """A server has read the holds of `user`, newest first, the head being at `since`."""
        oracle = self._oracle
        read = [
            (hold.id, hold.amount, hold.remaining, hold.status, hold.reference) for hold in found
        ]
        if not any(read == oracle.holds_of(user, at) for at in range(since, oracle.head + 1)):
            raise Violation(f"HOLD_ACCOUNTING: {user} between {since} and {oracle.head}: {read}")

    def close(self) -> None:
        """At the end: what was refused each time it was asked for is nowhere."""
        for reference, refused in self._refused.items():
            if refused == self._attempts[reference] and reference in self._oracle.by_reference:
                raise Violation(
                    f"REJECTION_ATOMICITY: {reference} was refused, and is at "
                    f"{self._oracle.by_reference[reference]}"
                )

    def _check_atomic(self, told: Sequence[Told]) -> None:
        positions = [o.position for o in told if isinstance(o, Receipt) and not o.replayed]
        accepted = sum(isinstance(outcome, Receipt) for outcome in told)
        if accepted not in (0, len(told)):
            raise Violation("REJECTION_ATOMICITY: a part of an atomic request was accepted")
        if positions and positions != list(range(positions[0], positions[0] + len(positions))):
            raise Violation(f"an atomic request is at {positions}")

    def _accepted(
        self, asked: Asked, index: int, item: Item, receipt: Receipt, when: Circumstances
    ) -> None:
        oracle, where = self._oracle, f"{item.reference}, told {receipt.position}"
        if receipt.position > oracle.head:
            raise Violation(f"{where}: the head is {oracle.head}: answered before COMMIT")
        known = oracle.transactions[receipt.position - 1]
        same = (known.id, known.reference) == (receipt.transaction_id, item.reference)
        seen = (receipt.committed.encoded, receipt.hold, receipt.trade)
        if not same or (known.encoded, known.hold, known.trade) != seen:
            raise Violation(f"COMMITTED_SURVIVES_FAULT: {where}: {known}")
        if not oracle.is_epoch(receipt.epoch):
            raise Violation(f"{where}: epoch {receipt.epoch}")
        key = asked.key_of(index)
        if receipt.replayed:
            if key is None:
                raise Violation(f"IDEMPOTENT_REPLAY: {where} has no key")
            if self._refused.get(item.reference, 0) == self._attempts[item.reference] - 1:
                raise Violation(f"{where} as a replay, but each time before it was refused")
            return
        if receipt.position <= when.head:
            raise Violation(f"{where}: told as new, but it was there at {when.head}")
        if item.reference in self._first_told:
            raise Violation(f"IDEMPOTENT_REPLAY: {where}: told as new twice")
        self._first_told.add(item.reference)

    def _justify(self, asked: Asked, item: Item, refusal: LedgerError, when: Circumstances) -> None:
        code, oracle = refusal.code, self._oracle
        where = f"{item.reference} was told {code}"
        if code in ("overloaded", "database_unavailable"):
            if not when.database_fails:
                raise Violation(f"{where}, though the database was well")
            return
        if code == "outcome_unknown":
            if not when.commit_unanswered:
                raise Violation(f"{where}, though every COMMIT was answered")
            return
        if code == "paused":
            group = asked.items if asked.mode == "atomic" else (item,)
            if all(map(self._passes_pause, group)) or not oracle.was_paused(when.at):
                raise Violation(f"{where}, and changes were not")
            return
        if code in ("mirror_busy", "invalid_request"):
            self._check_mirrors(asked, where, when)
            return
        if code == "idempotency_key_reused":
            self._check_reused(asked, where)
            return
        group = asked.items if asked.mode == "atomic" else (item,)
        # A request that is in the journal is replayed from then on, not refused.
        own = [
            oracle.by_reference[each.reference]
            for each in group
            if each.reference in oracle.by_reference
        ]
        last = min([oracle.head, *(position - 1 for position in own)])
        for position in range(when.head, last + 1):
            for found in oracle.refusals_at(group, position, when.at, when.clock):
                if found is None or found[0] != code:
                    continue
                if asked.mode != "atomic" or refusal.extra.get("item") == found[1]:
                    return
        raise Violation(f"{where} between {when.head} and {last}, and should not be: {group}")

    def _passes_pause(self, item: Item) -> bool:
        # What cannot even be prepared waits for its turn to be refused, like anything else.
        is_prepared = item.of in self._oracle.by_id and (item.kind, item.book) != ("force", "main")
        return item.type in PASSES_PAUSE and is_prepared

    def _check_mirrors(self, asked: Asked, where: str, when: Circumstances) -> None:
        users = {
            user
            for item in asked.items
            if (item.book, item.asset) == ("main", ABORTING)
            for user in item.users
        }
        locked = any(self._oracle.wallets.was_locked(user, ABORTING, when.at) for user in users)
        if not locked and not (users and when.database_fails):
            raise Violation(f"{where}, and no older program had a row locked")

    def _check_reused(self, asked: Asked, where: str) -> None:
        for index, item in enumerate(asked.items):
            position = self._oracle.by_key.get(asked.key_of(index) or "")
            if position is not None:
                known = self._oracle.transactions[position - 1]
                if known.reference != item.reference:
                    return
        raise Violation(f"IDEMPOTENT_CONFLICT: {where}, though its key is its own")

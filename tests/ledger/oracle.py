"""
An independent reading of a journal: every invariant, from the rows alone.

Written against the contract and the design, not with the ledger's code: the digests, seals and
sums are computed here a second time, in Python integers.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from .raw import Row, rows

LARGEST = 2**63 - 1
ZEROS = "0" * 64
TABLES = ("clock", "transactions", "postings", "accounts", "books", "seals", "holds")


async def examine(url: str) -> int:
    """Check every invariant of the ledger in the database at `url`; the result is its head."""
    tables = {name: await rows(url, f"SELECT * FROM {name}") for name in TABLES}
    return judge_rows(tables.__getitem__)


def judge_rows(table: Callable[[str], list[Row]]) -> int:
    """Check every invariant of a ledger by the rows of each `table`; the result is its head."""
    clock = table("clock")[0]
    transactions = sorted(table("transactions"), key=lambda row: row["position"])
    postings = sorted(table("postings"), key=lambda row: (row["position"], row["account_id"]))
    accounts = {row["id"]: row for row in table("accounts")}
    books = {row["name"]: row for row in table("books")}
    seals = sorted(table("seals"), key=lambda row: row["last"])
    by_position: dict[int, list[Row]] = defaultdict(list)
    for posting in postings:
        by_position[posting["position"]].append(posting)
    _positions(clock, transactions, by_position)
    _conservation(accounts, by_position)
    _replay(books, accounts, transactions, postings)
    _holds(table("holds"), accounts, transactions, by_position)
    _reversals(transactions, by_position)
    _idempotency(transactions)
    _seals(clock, seals, transactions, by_position, accounts)
    return int(clock["position"])


def _positions(clock: Row, transactions: list[Row], by_position: dict[int, list[Row]]) -> None:
    """SEQUENCE_GAP of the journal: positions are dense from 1 to the head."""
    positions = [row["position"] for row in transactions]
    assert positions == list(range(1, clock["position"] + 1)), "SEQUENCE_GAP"
    assert set(by_position) <= set(positions), "SEQUENCE_GAP: postings of no transaction"
    assert len({row["id"] for row in transactions}) == len(transactions)


def _conservation(accounts: dict[int, Row], by_position: dict[int, list[Row]]) -> None:
    """CONSERVATION: each transaction's legs sum to zero per book and asset, one per account."""
    for position, legs in by_position.items():
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for leg in legs:
            account = accounts[leg["account_id"]]
            sums[account["book"], account["asset"]] += leg["amount"]
        assert not any(sums.values()), f"CONSERVATION at {position}"
        assert len({leg["account_id"] for leg in legs}) == len(legs)


def _replay(
    books: dict[str, Row],
    accounts: dict[int, Row],
    transactions: list[Row],
    postings: list[Row],
) -> None:
    """SNAPSHOT=REPLAY, SEQUENCE_GAP, HASH_CHAIN: caches and entries follow from the postings."""
    ids = {row["position"]: row["id"] for row in transactions}
    balance: dict[int, int] = defaultdict(int)
    held: dict[int, int] = defaultdict(int)
    seq: dict[int, int] = defaultdict(int)
    digest: dict[int, str] = defaultdict(lambda: ZEROS)
    last: dict[int, Row] = {}
    for posting in postings:
        id_ = posting["account_id"]
        account = accounts[id_]
        balance[id_] += posting["amount"]
        held[id_] += posting["held_change"]
        assert abs(balance[id_]) <= LARGEST or account["owner"].startswith("@")
        if account["owner"].startswith("@"):
            assert posting["seq"] is None
            assert posting["digest"] is None
            continue
        seq[id_] += 1
        sign = 1 if books[account["book"]]["side"] == "credit" else -1
        said = "|".join(
            str(part)
            for part in (
                digest[id_],
                account["name"],
                seq[id_],
                sign * posting["amount"],
                posting["held_change"],
                sign * balance[id_],
                held[id_],
                ids[posting["position"]],
            )
        )
        digest[id_] = hashlib.sha256(said.encode("ascii")).hexdigest()
        assert posting["seq"] == seq[id_], f"SEQUENCE_GAP in {account['name']}"
        assert posting["digest"] == digest[id_], f"HASH_CHAIN of {account['name']}"
        assert (posting["balance"], posting["held"]) == (balance[id_], held[id_])
        assert held[id_] >= 0, "HOLD_ACCOUNTING"
        last[id_] = posting
    for id_, account in accounts.items():
        assert account["balance"] == balance[id_], f"SNAPSHOT=REPLAY of {account['name']}"
        if account["owner"].startswith("@"):
            continue
        assert id_ in last, f"{account['name']} was made and never used"
        for column in last[id_]:
            if column in account and column not in ("amount", "held_change"):
                assert account[column] == last[id_][column], f"SNAPSHOT=REPLAY: {column}"


def _holds(
    holds: list[Row],
    accounts: dict[int, Row],
    transactions: list[Row],
    by_position: dict[int, list[Row]],
) -> None:
    """HOLD_ACCOUNTING: what an account has held is what is open of its holds, step by step."""
    remaining: dict[str, int] = {}
    last: dict[str, str] = {}
    for transaction in transactions:
        legs = by_position.get(transaction["position"], [])
        if transaction["hold"] is None:
            assert not any(leg["held_change"] for leg in legs), "HOLD_ACCOUNTING: held by no hold"
            continue
        (own,) = (leg for leg in legs if leg["held_change"])
        known = remaining.setdefault(transaction["hold"], 0)
        assert (known == 0) == (transaction["id"] == transaction["hold"]), "HOLD_ACCOUNTING: once"
        remaining[transaction["hold"]] += own["held_change"]
        last[transaction["hold"]] = transaction["type"]
    assert {hold["id"]: hold["remaining"] for hold in holds} == remaining, "HOLD_ACCOUNTING"
    open_sums: dict[int, int] = defaultdict(int)
    for hold in holds:
        ended = last[hold["id"]].removeprefix("hold_")
        assert hold["status"] == ("open" if hold["remaining"] else ended), "HOLD_ACCOUNTING"
        open_sums[hold["account_id"]] += hold["remaining"]
    for id_, account in accounts.items():
        assert account["held"] == open_sums[id_], f"HOLD_ACCOUNTING of {account['name']}"


def _reversals(transactions: list[Row], by_position: dict[int, list[Row]]) -> None:
    """REVERT_ONCE: a reversal's legs are those of an earlier transaction, turned round."""
    positions = {row["id"]: row["position"] for row in transactions}
    undone = [row for row in transactions if row["reverses"] is not None]
    assert len({row["reverses"] for row in undone}) == len(undone), "REVERT_ONCE"
    for row in undone:
        original = positions[row["reverses"]]
        assert original < row["position"], "REVERT_ONCE"
        legs, turned = (
            {leg["account_id"]: sign * leg["amount"] for leg in by_position[position]}
            for position, sign in ((original, 1), (row["position"], -1))
        )
        assert legs == turned, "REVERT_ONCE"


def _idempotency(transactions: list[Row]) -> None:
    """IDEMPOTENT_REPLAY: a key stands for one transaction."""
    keys = [
        (row["key_namespace"], row["key_principal"], row["key"])
        for row in transactions
        if row["key"] is not None
    ]
    assert len(set(keys)) == len(keys), "IDEMPOTENT_REPLAY"


def _seals(
    clock: Row,
    seals: list[Row],
    transactions: list[Row],
    by_position: dict[int, list[Row]],
    accounts: dict[int, Row],
) -> None:
    """SEAL: each batch's seal vouches for its transactions, and times never go back."""
    previous, next_position, time = ZEROS, 1, ""
    for seal in seals:
        assert seal["first"] == next_position, "SEAL: batches follow one another"
        assert seal["created_at"] >= time, "created_at went back"
        batch = transactions[seal["first"] - 1 : seal["last"]]
        assert {row["created_at"] for row in batch} == {seal["created_at"]}
        hashes = [_content_hash(row, by_position[row["position"]], accounts) for row in batch]
        assert hashes == [row["content_hash"] for row in batch], "SEAL: a content hash"
        said = "|".join(
            [previous, str(seal["first"]), str(seal["last"]), seal["created_at"], *hashes]
        )
        previous = hashlib.sha256(said.encode("ascii")).hexdigest()
        assert seal["seal"] == previous, "SEAL"
        next_position, time = seal["last"] + 1, seal["created_at"]
    assert next_position == clock["position"] + 1, "SEAL: the head is sealed"
    assert clock["seal"] == previous, "SEAL: the clock's"


def _content_hash(transaction: Row, legs: list[Row], accounts: dict[int, Row]) -> str:
    outside = {"content_hash", "hold", "trade"}
    columns = [value for name, value in transaction.items() if name not in outside]
    if transaction["trade"] is not None:
        columns += [transaction["hold"], transaction["trade"]]
    elif transaction["hold"] is not None:
        columns.append(transaction["hold"])
    named: list[list[Any]] = []
    for leg in legs:
        outside = {"position", "account_id"}
        if leg["total_earned"] is None:
            outside.add("total_earned")
        values = [value for name, value in leg.items() if name not in outside]
        named.append([accounts[leg["account_id"]]["name"], *values])
    text = json.dumps(
        [columns, sorted(named, key=lambda leg: str(leg[0]))],
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()

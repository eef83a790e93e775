"""The contract's examples are reproduced to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tallywire.ledger import Details, TransactionTypes, changes
from tallywire.ledger.accounts import Account, AccountKey
from tallywire.ledger.catalog import Catalog
from tallywire.ledger.digest import GENESIS, entry_digest
from tallywire.ledger.errors import InvalidAmount
from tallywire.ledger.intents import Post
from tallywire.ledger.money import format_amount, parse_amount, split_by_weight

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors.json").read_text())
CHAINS: list[dict[str, Any]] = VECTORS["chains"]
AMOUNTS: dict[str, Any] = VECTORS["amounts"]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain["account"])
def test_digests(chain: dict[str, Any]) -> None:
    """HASH_CHAIN"""
    previous = GENESIS
    balance = held = 0
    for seq, entry in enumerate(chain["entries"], start=1):
        balance += entry["amount"]
        held += entry["held_change"]
        assert (entry["previous"], entry["seq"]) == (previous, seq)
        assert (entry["balance"], entry["held"]) == (balance, held)
        previous = entry_digest(
            previous,
            chain["account"],
            seq,
            entry["amount"],
            entry["held_change"],
            balance,
            held,
            entry["transaction_id"],
        )
        assert previous == entry["digest"], entry["what"]


@pytest.mark.parametrize("named", VECTORS["account_names"], ids=lambda named: named["account"])
def test_account_names(named: dict[str, str]) -> None:
    key = AccountKey(named["book"], named["owner"], named["asset"])
    assert key.name == named["account"]
    assert AccountKey.parse(named["account"]) == key


@pytest.mark.parametrize(("text", "minor"), AMOUNTS["accepted"].items())
def test_amounts_accepted(text: str, minor: int) -> None:
    assert parse_amount(text, AMOUNTS["scale"]) == minor
    again = format_amount(minor, AMOUNTS["scale"])
    assert parse_amount(again, AMOUNTS["scale"]) == minor


@pytest.mark.parametrize("text", AMOUNTS["refused"])
def test_amounts_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_amount(text, AMOUNTS["scale"])


def test_shared_charge(catalog: Catalog) -> None:
    """CONSERVATION"""
    shared = VECTORS["shared_charge"]
    assert split_by_weight(shared["amount"], shared["weights"]) == shared["parts"]
    users = [f"apartment-{number}" for number in range(len(shared["weights"]))]
    change = changes.shared_charge(
        catalog,
        TransactionTypes()["shared_charge"],
        format_amount(shared["amount"], 2),
        list(zip(users, shared["weights"], strict=True)),
        asset="EUR",
        book="flats",
        details=Details(),
    )
    assert isinstance(change.intent, Post)
    # Stored credit-positive: a debt is negative.
    assert [-leg.amount for leg in change.intent.legs[:-1]] == shared["parts"]
    assert change.intent.legs[-1].key == AccountKey("flats", "@house", "EUR")
    assert sum(leg.amount for leg in change.intent.legs) == 0


def test_an_untouched_account_has_the_chains_first_previous() -> None:
    account = Account(1, AccountKey("main", "alice", "USDT"))
    assert account.digest == CHAINS[0]["entries"][0]["previous"]
    assert account.seq == 0

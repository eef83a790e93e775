"""The examiner examined: the journeys' own client reproduces the contract's published examples."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from .client import ZEROS, Accounts, account_name, digest, minor, shown

VECTORS: Any = json.loads((Path(__file__).parents[1] / "vectors.json").read_text("utf-8"))
MILLION = 10**6


@pytest.mark.parametrize("chain", VECTORS["chains"], ids=lambda chain: chain["account"])
def test_the_client_reproduces_the_published_digests(chain: Any) -> None:
    previous = ZEROS
    for entry in chain["entries"]:
        assert entry["previous"] == previous
        previous = digest(
            entry["previous"],
            chain["account"],
            entry["seq"],
            entry["amount"],
            entry["held_change"],
            entry["balance"],
            entry["held"],
            entry["transaction_id"],
        )
        assert entry["digest"] == previous


@pytest.mark.parametrize("example", VECTORS["account_names"], ids=lambda e: e["account"])
def test_the_client_writes_account_names(example: Any) -> None:
    assert account_name(example["book"], example["owner"], example["asset"]) == example["account"]


@pytest.mark.parametrize("value", [0, 1, -1, 500_250_000, 2**63 - 1, -(2**63 - 1)])
@pytest.mark.parametrize("scale", [0, 2, 6, 12])
def test_amounts_are_read_as_they_are_written(value: int, scale: int) -> None:
    assert minor(shown(value, scale), scale) == value


@pytest.mark.parametrize("text", ["1", "1.00000", "-0.000000", "01.000000", "1e3", 1.0, None])
def test_an_amount_that_is_not_canonical_is_a_fault(text: object) -> None:
    with pytest.raises(AssertionError):
        minor(text, 6)


def _entry(seq: int, previous: str, amount: int, before: int, /, **changes: Any) -> Any:
    identity = "01900000-0000-7000-8000-00000000000" + str(seq)
    account = "main/alice/USDT"
    balance = before + amount
    change = {
        "account": account,
        "book": "main",
        "asset": "USDT",
        "scale": 6,
        "side": "credit",
        "balance": shown(balance, 6),
        "held": shown(0, 6),
        "available": shown(balance, 6),
        "floor": shown(0, 6),
        "suspend_below": None,
        "alert_below": None,
        "status": "active",
        "seq": seq,
        "digest": digest(previous, account, seq, amount, 0, balance, 0, identity),
        "total_in": shown(balance, 6),
        "total_out": shown(0, 6),
        "amount": shown(amount, 6),
        "held_change": shown(0, 6),
        "balance_before": shown(before, 6),
        **changes,
    }
    return {
        "epoch": "e",
        "position": seq,
        "transaction_id": identity,
        "user_id": "alice",
        "change_type": "deposit",
        "description": "",
        "reference": None,
        "metadata": {},
        "reverses": None,
        "effective_at": "2026-01-01T00:00:00.000000Z",
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "changes": [change],
    }


def test_a_chain_that_follows_is_taken() -> None:
    accounts = Accounts()
    first = _entry(1, ZEROS, 5 * MILLION, 0)
    accounts.follow(first, complete=True)
    second = _entry(2, first["changes"][0]["digest"], 2 * MILLION, 5 * MILLION)
    accounts.follow(second, complete=True)
    assert accounts.shown["main/alice/USDT"]["balance"] == "7.000000"
    assert accounts.heads() == {
        "main/alice/USDT": {"seq": 2, "digest": second["changes"][0]["digest"]}
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"balance": "5.000001"},
        {"balance": "5.000001", "available": "5.000001", "balance_before": "0.000001"},
        {"available": "4.000000"},
        {"digest": ZEROS},
        {"seq": 2},
        {"total_in": "4.000000"},
        {"total_out": "0.000001"},
        {"account": "main/bob/USDT"},
        {"held": "1.000000", "available": "4.000000"},
    ],
    ids=str,
)
def test_each_fault_in_an_entry_is_seen(changes: Any) -> None:
    with pytest.raises(AssertionError):
        Accounts().follow(_entry(1, ZEROS, 5 * MILLION, 0, **changes), complete=True)


def test_a_missing_a_doubled_and_a_moved_entry_are_seen() -> None:
    first = _entry(1, ZEROS, 5 * MILLION, 0)
    second = _entry(2, first["changes"][0]["digest"], 2 * MILLION, 5 * MILLION)
    third = _entry(3, second["changes"][0]["digest"], MILLION, 7 * MILLION)
    moved = copy.deepcopy(second)
    moved["transaction_id"] = third["transaction_id"]
    for wrong in ([second], [first, first], [first, third], [first, moved]):
        accounts = Accounts()
        with pytest.raises(AssertionError):
            for update in wrong:
                accounts.follow(update, complete=True)

"""Reads of the journal and of states, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from tallywire.ledger import BalanceManager, open_ledger
from tallywire.ledger import history as reads
from tallywire.ledger.digest import GENESIS
from tallywire.ledger.errors import InvalidCursor


@pytest.fixture
async def manager(database_url: str) -> AsyncIterator[BalanceManager]:
    """Six transactions: alice in 1, 2, 3, 5 and 6, bob in 4 and 5."""
    async with open_ledger(database_url) as manager:
        for amount in ("1", "2", "3"):
            await manager.update_balance("alice", amount, "deposit")
        await manager.update_balance("bob", "10", "deposit", asset="EUR")
        await manager.transfer("alice", "bob", "4")
        await manager.update_balance("alice", "-1.5", "withdrawal")
        yield manager


async def test_pages_go_on_where_the_one_before_ended(manager: BalanceManager) -> None:
    first = await manager.reader.page(0, 4)
    rest = await manager.reader.page(first[-1].position, 4)
    assert [c.position for c in first + rest] == [1, 2, 3, 4, 5, 6]
    assert await manager.reader.page(6, 4) == []
    assert [c.position for c in await manager.reader.page_before(4, 2)] == [3, 2]


async def test_a_page_is_bounded_in_bytes_but_holds_one(
    manager: BalanceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "PAGE_BYTES", 1)
    assert [c.position for c in await manager.reader.page(0, 500)] == [1]
    assert [c.position for c in await manager.reader.user_page("bob", 0, 6, 100)] == [4]


async def test_a_user_sees_only_what_touches_the_user(manager: BalanceManager) -> None:
    page = await manager.reader.user_page("alice", 1, 5, 100)
    assert [c.position for c in page] == [2, 3, 5]
    assert [c.position for c in await manager.reader.user_page("alice", 0, 6, 2)] == [1, 2]
    assert await manager.reader.user_count("alice", 0, 6, 100) == 5
    assert await manager.reader.user_count("alice", 0, 6, 3) == 3
    assert await manager.reader.user_count("nobody", 0, 6, 100) == 0


async def test_a_snapshot_is_of_the_head_and_as_of_is_of_then(manager: BalanceManager) -> None:
    snapshot = await manager.reader.snapshot(["alice", "bob", "nobody"])
    assert snapshot.position == 6
    assert _balances(snapshot.balances["alice"]) == {"main/alice/USDT": "0.500000"}
    assert _balances(snapshot.balances["bob"]) == {
        "main/bob/EUR": "10.00",
        "main/bob/USDT": "4.000000",
    }
    assert snapshot.balances["nobody"] == []
    then = await manager.reader.balances_at("bob", position=4)
    assert _balances(then.balances["bob"]) == {"main/bob/EUR": "10.00"}
    with pytest.raises(InvalidCursor):
        await manager.reader.balances_at("bob", position=7)


async def test_heads_fit_only_as_they_were_at_the_position(manager: BalanceManager) -> None:
    reader, name = manager.reader, "main/alice/USDT"
    then = await reader.balances_at("alice", position=3)
    digest = msgspec.json.decode(then.balances["alice"][0])["digest"]
    assert await reader.heads_fit("alice", 3, {name: (3, digest)})
    assert await reader.heads_fit("alice", 4, {name: (3, digest)})
    assert not await reader.heads_fit("alice", 5, {name: (3, digest)})
    assert not await reader.heads_fit("alice", 3, {name: (3, GENESIS)})
    assert not await reader.heads_fit("bob", 3, {name: (3, digest)})
    assert await reader.heads_fit("bob", 3, {"main/bob/EUR": (0, GENESIS)})
    assert not await reader.heads_fit("bob", 4, {"main/bob/EUR": (0, GENESIS)})
    assert not await reader.heads_fit("alice", 3, {"main/alice": (3, digest)})


async def test_the_trial_balance_sums_to_zero_then_and_now(manager: BalanceManager) -> None:
    now, then = await manager.reader.trial_balance(), await manager.reader.trial_balance(3)
    assert now["sums"] == {"main/EUR": "0.00", "main/USDT": "0.000000"}
    assert (now["position"], then["position"]) == (6, 3)
    assert {row["owner_kind"]: row["balance"] for row in then["rows"]} == {
        "@world": "-6.000000",
        "user": "6.000000",
    }


def _balances(encoded: list[bytes]) -> dict[str, str]:
    decoded = [msgspec.json.decode(each) for each in encoded]
    return {balance["account"]: balance["balance"] for balance in decoded}

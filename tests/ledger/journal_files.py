"""Journals as files: one with a change of every kind, its lines, and what a database holds."""

from __future__ import annotations

import io
import json
from hashlib import sha256
from typing import Any

from tallywire.ledger import (
    BalanceManager,
    Details,
    changes,
    journal_lines,
    open_ledger,
    schema,
)
from tallywire.ledger.digest import GENESIS, batch_seal, content_hash

from .raw import rows

Lines = list[dict[str, Any]]

TABLES = [table.name for table in schema.metadata.sorted_tables]


async def write_all(manager: BalanceManager) -> None:
    """Every kind of change, holds and a reversal too, an audit, a revocation, an odd user."""
    admin = manager.administration
    await admin.put_book("flats", {"side": "debit", "timezone": "Europe/Athens"}, actor="root")
    await admin.put_asset("GBP", scale=2, actor="root")
    await manager.update_balance("alice", "100", "deposit", "Bank deposit", {"via": "bank"})
    await manager.update_balance("bob", "50", "deposit", actor="root", idempotency_key="k1")
    await manager.transfer("alice", "bob", "30", "Rent")
    await manager.charge_service("alice", "6", "vps", internal={"rack": 7})
    await manager.update_balance("flat-1", "-3", "payment", asset="EUR", book="flats")
    last = [
        await manager.prepare(
            lambda c: changes.shared_charge(
                c,
                manager.types["shared_charge"],
                "10",
                [("flat-1", 1), ("flat-2", 2)],
                asset="EUR",
                book="flats",
                details=Details(),
            )
        ),
        await manager.prepare(
            lambda c: changes.change_account(
                c,
                manager.types["account_changed"],
                "alice",
                asset="USDT",
                book="main",
                settings={"floor": "-10", "suspend_below": "5", "status": "frozen"},
                details=Details(),
            )
        ),
    ]
    await manager.post_many(last, atomic=True)
    await manager.place_hold("bob", "5", expires_in_s=None, reference="h-open")
    voided = await manager.place_hold("bob", "6", expires_in_s=100)
    part = await manager.place_hold("bob", "3", expires_in_s=None)
    await manager.confirm_hold(part.transaction_id, "1", to_user="carol")
    await manager.void_hold(voided.transaction_id)
    gift = await manager.update_balance("Zoë~/%", "5", "deposit", idempotency_key="gift")
    await manager.reverse(gift.transaction_id, "A mistake", actor="root")
    await manager.access.revoke("mallory", 1_700_000_000)


async def exported(url: str) -> bytes:
    """The journal in the database at `url` as a file."""
    output = io.BytesIO()
    async with open_ledger(url) as manager:
        await manager.export_journal(output.write)
    return output.getvalue()


def parsed(file: bytes) -> Lines:
    return [json.loads(line) for line in file.splitlines()]


def written(lines: Lines) -> bytes:
    texts = (json.dumps(line, separators=(",", ":"), ensure_ascii=False) for line in lines)
    return b"".join(text.encode() + b"\n" for text in texts)


async def contents(url: str) -> dict[str, list[dict[str, Any]]]:
    return {name: await rows(url, f"SELECT * FROM {name}") for name in TABLES}


def resealed(lines: Lines) -> Lines:
    """`lines` with content hashes and seals as their contents give them."""
    previous = GENESIS
    transactions = {line["position"]: line for line in lines if line["line"] == "transaction"}
    for line in lines:
        if line["line"] != "seal":
            continue
        batch = [transactions[n] for n in range(line["first"], line["last"] + 1)]
        for each in batch:
            columns = [each.get(name) for name in journal_lines.TRANSACTION_COLUMNS[:-1]]
            legs = [
                (leg["account"], *(leg.get(name) for name in journal_lines.POSTING_COLUMNS))
                for leg in each["postings"]
            ]
            each["content_hash"] = content_hash(columns, legs)
        hashes = [each["content_hash"] for each in batch]
        previous = line["seal"] = batch_seal(
            previous, line["first"], line["last"], line["created_at"], hashes
        )
    lines[0]["seal"] = previous
    return lines


def closed(lines: Lines) -> bytes:
    """`lines` as a file, whose closing line fits."""
    before = written(lines[:-1])
    end = {**lines[-1], "sha256": sha256(before).hexdigest()}
    prices = sum(line["line"] == "price" for line in lines)
    return before + written([{**end, **({"prices": prices} if prices else {})}])

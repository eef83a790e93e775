"""The example applications: real servers over HTTP, one suite for both, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from ..conftest import RunTallywire, StartServer
from ..docs.pages import ROOT
from ..ledger.raw import execute, rows
from .shops import ORDERS, Shop


@pytest.fixture(
    params=[
        ("django_shop", "postgres"),
        ("fastapi_shop", "sqlite"),
        pytest.param(("django_shop", "sqlite"), marks=pytest.mark.long),
        pytest.param(("fastapi_shop", "postgres"), marks=pytest.mark.long),
    ],
    ids="-".join,
)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Each example on a database, the other one in `make faults`; not started yet."""
    name, database = request.param
    shop = Shop(name, request.getfixturevalue(f"empty_{database}_url"), tmp_path)
    yield shop
    shop.kill9()
    request.node.add_report_section("call", shop.folder.name, shop.log_text())


async def pairing(shop: Shop) -> dict[str, Any]:
    """One look at the database: how many orders, charges, pairs of them, and both sums in cents."""
    (counted,) = await rows(
        shop.database_url,
        f"""
        WITH charges AS (
            SELECT t.reference, -p.amount AS cents
            FROM transactions t JOIN postings p ON p.position = t.position
            JOIN accounts a ON a.id = p.account_id
            WHERE t.type = 'purchase' AND a.owner NOT LIKE '@%'
        )
        SELECT (SELECT count(*) FROM {shop.orders}) AS orders,
            (SELECT count(*) FROM charges) AS charges,
            (SELECT count(*) FROM {shop.orders} o JOIN charges c
                ON replace(CAST(o.id AS TEXT), '-', '') = replace(c.reference, '-', '')
                AND o.price_cents = c.cents) AS pairs
        """,
    )
    return counted


async def order(
    client: httpx.AsyncClient, key: str, product: str = "tea", pieces: int = 1, user: int = 1
) -> httpx.Response:
    return await client.post(
        "/orders",
        json={"user_id": user, "product": product, "pieces": pieces},
        headers={"Idempotency-Key": key},
    )


async def customer(client: httpx.AsyncClient, amount: str) -> int:
    """A customer with `amount` dollars."""
    made = await client.post("/users", json={"email": "ann@example.com"})
    user: int = made.raise_for_status().json()["id"]
    paid = await client.post(
        f"/users/{user}/top-ups", json={"amount": amount}, headers={"Idempotency-Key": "first"}
    )
    assert paid.json() == {"balance": amount}
    return user


async def balance(client: httpx.AsyncClient, user: int = 1) -> Decimal:
    return Decimal((await client.get(f"/users/{user}")).raise_for_status().json()["balance"])


async def test_orders_and_charges_go_together(shop: Shop, tallywire: RunTallywire) -> None:
    await shop.start()
    async with httpx.AsyncClient(base_url=shop.base_url, timeout=30) as client:
        user = await customer(client, "100.00")

        # REJECTION_ATOMICITY: 20 at once on a balance that pays for 5.
        answers = await asyncio.gather(*(order(client, f"many-{n}") for n in range(20)))
        assert sorted(answer.status_code for answer in answers) == [201] * 5 + [402] * 15
        assert await balance(client) == 0
        assert await pairing(shop) == {"orders": 5, "charges": 5, "pairs": 5}

        # The shop's own constraint: no stock, no order, no charge.
        await client.post(
            f"/users/{user}/top-ups", json={"amount": "500"}, headers={"Idempotency-Key": "second"}
        )
        refused = await order(client, "pots", "teapot", 4)
        assert (refused.status_code, refused.json()["detail"]) == (409, "sold out")
        assert await balance(client) == 500
        bought = await asyncio.gather(*(order(client, f"pot-{n}", "teapot") for n in range(5)))
        assert sorted(answer.status_code for answer in bought) == [201] * 3 + [409] * 2

        # IDEMPOTENT_REPLAY: at once and later, and whatever it costs by now.
        same = await asyncio.gather(*(order(client, "same", pieces=2) for _ in range(6)))
        await execute(shop.database_url, _dearer(shop))
        same.append(await order(client, "same", pieces=2))
        assert {answer.status_code for answer in same} == {201}
        assert len({answer.text for answer in same}) == 1
        # IDEMPOTENT_CONFLICT
        assert (await order(client, "same", pieces=3)).status_code == 422
        assert await pairing(shop) == {"orders": 9, "charges": 9, "pairs": 9}
        assert await balance(client) == 500 - 3 * Decimal("45.50") - 40

        # What is wrong is said, and changes nothing.
        for status, sent in (
            (404, {"user_id": user, "product": "coffee", "pieces": 1}),
            (404, {"user_id": 99, "product": "tea", "pieces": 1}),
            (422, {"user_id": user, "product": "tea", "pieces": 0}),
            (422, {"user_id": user, "product": "tea"}),
        ):
            wrong = await client.post("/orders", json=sent, headers={"Idempotency-Key": "x"})
            assert wrong.status_code == status, wrong.text
        assert (await client.post("/orders", json={"user_id": user})).status_code == 422
        again = await client.post("/users", json={"email": "ann@example.com"})
        assert again.status_code == 409
        short = await client.post(
            f"/users/{user}/top-ups", json={"amount": "1.234"}, headers={"Idempotency-Key": "y"}
        )
        assert short.status_code == 422
        assert await pairing(shop) == {"orders": 9, "charges": 9, "pairs": 9}
    await shop.stop()
    assert tallywire("verify", database_url=shop.database_url).returncode == 0
    # The shop's own migrations see nothing of the ledger's tables.
    if shop.folder.name == "django_shop":
        shop.command("python", "manage.py", "makemigrations", "--check", "--dry-run")
    else:
        shop.command("alembic", "check")


def _dearer(shop: Shop) -> str:
    products = shop.orders.replace("order", "product")
    return f"UPDATE {products} SET price_cents = 9900 WHERE name = 'tea'"


async def test_killed_in_the_middle(shop: Shop, tallywire: RunTallywire) -> None:
    """COMMITTED_SURVIVES_FAULT: every order has its charge, before and after all is repeated."""
    await shop.start()
    async with httpx.AsyncClient(base_url=shop.base_url, timeout=30) as client:
        await customer(client, "2000.00")
        waiting = [asyncio.create_task(order(client, f"order-{n}")) for n in range(60)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {each.result().status_code for each in done} == {201}
        shop.kill9()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    kept = [n for n, answer in enumerate(answers) if isinstance(answer, httpx.Response)]
    assert 0 < len(kept) < 60

    await shop.start()
    survived = await pairing(shop)
    assert survived["orders"] == survived["charges"] == survived["pairs"] >= len(kept)
    async with httpx.AsyncClient(base_url=shop.base_url, timeout=30) as client:
        for n in kept:
            assert (await order(client, f"order-{n}")).json() == answers[n].json()  # type: ignore[union-attr]
        await asyncio.gather(*(order(client, f"order-{n}") for n in range(60)))
        assert await pairing(shop) == {"orders": 60, "charges": 60, "pairs": 60}
        assert await balance(client) == 800
    await shop.stop()
    assert tallywire("verify", database_url=shop.database_url).returncode == 0


async def test_screens_follow_an_embedded_ledger(
    empty_sqlite_url: str, tmp_path: Path, server: StartServer
) -> None:
    """SCREEN=LEDGER: `tallywire serve` beside the shop shows what the shop's own process booked."""
    shop = Shop("fastapi_shop", empty_sqlite_url, tmp_path)
    try:
        await shop.start()
        async with httpx.AsyncClient(base_url=shop.base_url, timeout=30) as client:
            user = await customer(client, "100.00")
            running = await server(database_url=empty_sqlite_url)
            async with connect(running.ws_url) as screen:
                token = running.token(str(user))
                hello = {"type": "connect", "token": token, "streams": ["balances"]}
                await screen.send(json.dumps(hello))
                assert json.loads(await screen.recv())["type"] == "user_balance_init"
                assert (await order(client, "o-1")).status_code == 201
                async with asyncio.timeout(20):
                    update = json.loads(await screen.recv())
        assert (update["type"], update["change_type"]) == ("balance_update", "purchase")
        assert update["changes"][0]["balance"] == "80.00"
    finally:
        shop.kill9()


DJANGO_PROCESS = """
import os, threading
import django
django.setup()
from django.db import connections, transaction
from server.ledger import ledger

with transaction.atomic():
    try:
        ledger()
    except RuntimeError as refused:
        print(refused)

together = threading.Barrier(8)
seen = []
def use():
    together.wait()
    seen.append(ledger())
    ledger().wallet("alice").add_to_balance("1", "prize")
threads = [threading.Thread(target=use) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(set(map(id, seen))))

children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        ledger().wallet("alice").add_to_balance("1", "prize")
        os._exit(0)
    children.append(child)
    ledger().wallet("alice").add_to_balance("1", "prize")
print([os.waitpid(child, 0)[1] for child in children])
print(ledger().wallet("alice").get_balance())
"""


def test_django_has_one_ledger_a_process(empty_database_url: str, tmp_path: Path) -> None:
    """Outside its transactions, for all its threads, and for each side of a fork."""
    shop = Shop("django_shop", empty_database_url, tmp_path)
    shop.environment["DJANGO_SETTINGS_MODULE"] = "server.settings"
    shop.command("python", "manage.py", "migrate")
    refused, ledgers, exits, amount = shop.command("python", "-c", DJANGO_PROCESS).splitlines()
    assert "outside of transaction.atomic()" in refused
    assert (ledgers, exits, amount) == ("1", "[0, 0, 0]", "14.00")


def test_the_examples_have_a_package_named_as_ours_is_in_the_repository() -> None:
    for name in ORDERS:
        assert (ROOT / "examples" / name / "server" / "__init__.py").is_file()

"""The shop's HTTP calls. What a customer has is in the ledger; what was bought is in `orders`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any, TypedDict
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import Executable, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tallywire import AlongsideFailed, BalanceManager, LedgerError, TransactionType, open_ledger

from .tables import database_url, orders, products, users

PURCHASE = TransactionType(name="purchase", direction="down", counter="@house", counts=True)
ORDERS = uuid5(NAMESPACE_URL, "https://shop.example/orders")

# Refusals that a customer can meet; any other is a defect of the shop.
STATUS = {
    "insufficient_funds": 402,
    "account_frozen": 409,
    "account_suspended": 409,
    "invalid_amount": 422,
    "idempotency_key_reused": 422,
    "overloaded": 503,
    "outcome_unknown": 503,
    "paused": 503,
    "database_unavailable": 503,
}


class State(TypedDict):
    """What the shop opens once, for as long as it runs."""

    engine: AsyncEngine
    ledger: BalanceManager


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """The shop's own connections, and the ledger in the same database."""
    engine = create_async_engine(database_url())
    async with open_ledger(database_url(), default_asset="USD") as ledger:
        ledger.register_type(PURCHASE)
        yield {"engine": engine, "ledger": ledger}
    await engine.dispose()


def _engine(request: Request) -> AsyncEngine:
    engine: AsyncEngine = request.state.engine
    return engine


def _ledger(request: Request) -> BalanceManager:
    ledger: BalanceManager = request.state.ledger
    return ledger


Engine = Annotated[AsyncEngine, Depends(_engine)]
Ledger = Annotated[BalanceManager, Depends(_ledger)]
Key = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=255)]

app = FastAPI(title="Shop", lifespan=lifespan)


class NewUser(BaseModel):
    """A customer to be."""

    email: str = Field(max_length=254)


class TopUp(BaseModel):
    """Money in, as a decimal string; in life, your payment provider says so."""

    amount: str


class NewOrder(BaseModel):
    """Who wants how much of what."""

    user_id: int
    product: str
    pieces: int = Field(gt=0, le=1000)


@app.post("/users", status_code=201)
async def create_user(new: NewUser, engine: Engine) -> dict[str, Any]:
    """A customer; the account in the ledger comes with the first change."""
    try:
        async with engine.begin() as connection:
            made = insert(users).values(email=new.email).returning(users.c.id)
            user_id = (await connection.execute(made)).scalar_one()
    except IntegrityError:
        raise HTTPException(409, "there is a user with this address") from None
    return {"id": user_id, "email": new.email, "balance": "0.00"}


@app.get("/users/{user_id}")
async def show_user(user_id: int, engine: Engine, ledger: Ledger) -> dict[str, Any]:
    """A customer with balance and orders."""
    user = await _one(engine, select(users).where(users.c.id == user_id))
    async with engine.connect() as connection:
        bought = await connection.execute(select(orders).where(orders.c.user_id == user_id))
    return {
        "id": user_id,
        "email": user["email"],
        "balance": str(await ledger.wallet(str(user_id)).get_balance()),
        "orders": [_shown(order) for order in bought.mappings()],
    }


@app.post("/users/{user_id}/top-ups", status_code=201)
async def top_up(
    user_id: int, new: TopUp, key: Key, engine: Engine, ledger: Ledger
) -> dict[str, Any]:
    """Credit a customer."""
    await _one(engine, select(users).where(users.c.id == user_id))
    wallet = ledger.wallet(str(user_id))
    await wallet.update_balance(
        new.amount, "deposit", "Top-up", actor=str(user_id), idempotency_key=key
    )
    return {"balance": str(await wallet.get_balance())}


@app.post("/orders", status_code=201)
async def place_order(new: NewOrder, key: Key, engine: Engine, ledger: Ledger) -> dict[str, Any]:
    """Charge the customer, take from the stock and keep the order: all of it, or nothing."""
    # A repeat of the request is the same order, whatever the price is by now.
    order_id = uuid5(ORDERS, f"{new.user_id}/{key}")
    if earlier := await _find(engine, select(orders).where(orders.c.id == order_id)):
        if (earlier["product"], earlier["pieces"]) != (new.product, new.pieces):
            raise HTTPException(422, "this key was used for another order")
        return _shown(earlier)

    await _one(engine, select(users).where(users.c.id == new.user_id))
    product = await _one(engine, select(products).where(products.c.name == new.product))
    order = {
        "id": order_id,
        "user_id": new.user_id,
        "product": new.product,
        "pieces": new.pieces,
        "price_cents": product["price_cents"] * new.pieces,
    }
    try:
        await ledger.wallet(str(new.user_id)).update_balance(
            -_dollars(order["price_cents"]),
            "purchase",
            f"{new.pieces} x {new.product}",
            reference=str(order_id),
            actor=str(new.user_id),
            idempotency_key=key,
            alongside=[
                update(products)
                .where(products.c.name == new.product)
                .values(stock=products.c.stock - new.pieces),
                insert(orders).values(order),
            ],
        )
    except AlongsideFailed as failed:
        if "stock_not_negative" not in failed.detail:
            raise
        raise HTTPException(409, "sold out") from failed
    return _shown(order)


@app.exception_handler(LedgerError)
async def refuse(_request: Request, error: LedgerError) -> JSONResponse:
    """What the ledger refuses, as a problem document (RFC 9457)."""
    status = STATUS.get(error.code)
    if status is None:
        raise error
    return JSONResponse(
        {"title": type(error).__name__, "status": status, "detail": error.detail, **error.extra},
        status,
        headers={"Retry-After": "1"} if status == 503 else None,
        media_type="application/problem+json",
    )


async def _find(engine: AsyncEngine, query: Executable) -> dict[str, Any] | None:
    async with engine.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else dict(row)


async def _one(engine: AsyncEngine, query: Executable) -> dict[str, Any]:
    row = await _find(engine, query)
    if row is None:
        raise HTTPException(404, "there is no such user or product")
    return row


def _shown(order: Any) -> dict[str, Any]:
    order_id: UUID = order["id"]
    return {
        "id": str(order_id),
        "product": order["product"],
        "pieces": order["pieces"],
        "price": str(_dollars(order["price_cents"])),
    }


def _dollars(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)

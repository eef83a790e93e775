"""Buying: the charge, the stock and the order in one SQL transaction, which is the ledger's."""

from __future__ import annotations

from decimal import Decimal
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Uuid, column, insert, table, update
from tallywire import AlongsideFailed

from server.ledger import ledger

from .models import Order, Product, User
from .problems import Problem

ORDERS = uuid5(NAMESPACE_URL, "https://shop.example/orders")

# The columns that are written here, for SQLAlchemy; Django's models say what they are.
products = table(Product._meta.db_table, column("name"), column("stock"))
orders = table(
    Order._meta.db_table,
    column("id", Uuid),
    column("user_id"),
    column("product_id"),
    column("pieces"),
    column("price_cents"),
)


def buy(user: User, product: Product, pieces: int, key: str) -> Order:
    """
    Charge `user`, take from the stock and keep the order: all of it, or nothing.

    key: of the request; a repeat of it is the same order, whatever the price is by now.
    Raises Problem where the stock or the key forbids it, LedgerError where the ledger does.
    """
    order_id = uuid5(ORDERS, f"{user.pk}/{key}")
    earlier = Order.objects.filter(pk=order_id).first()
    if earlier is not None:
        if (earlier.product_id, earlier.pieces) != (product.pk, pieces):
            raise Problem(422, "this key was used for another order")
        return earlier

    price_cents = product.price_cents * pieces
    try:
        ledger().wallet(str(user.pk)).update_balance(
            -dollars(price_cents),
            "purchase",
            f"{pieces} x {product.pk}",
            reference=str(order_id),
            actor=str(user.pk),
            idempotency_key=key,
            alongside=[
                update(products)
                .where(products.c.name == product.pk)
                .values(stock=products.c.stock - pieces),
                insert(orders).values(
                    id=order_id,
                    user_id=user.pk,
                    product_id=product.pk,
                    pieces=pieces,
                    price_cents=price_cents,
                ),
            ],
        )
    except AlongsideFailed as failed:
        if "stock_not_negative" not in failed.detail:
            raise
        raise Problem(409, "sold out") from failed
    return Order.objects.get(pk=order_id)


def dollars(cents: int) -> Decimal:
    """`cents` as the ledger takes amounts."""
    return Decimal(cents).scaleb(-2)

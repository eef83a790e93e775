"""The shop's own tables, beside the ledger's in one database. No balance is among them."""

from __future__ import annotations

from django.db import models
from django.db.models import CheckConstraint, Q


class User(models.Model):
    """A customer; the account in the ledger bears the id."""

    email = models.EmailField(unique=True)


class Product(models.Model):
    """What there is, and how much of it."""

    name = models.CharField(max_length=40, primary_key=True)
    price_cents = models.IntegerField()
    stock = models.IntegerField()

    class Meta:
        constraints = (CheckConstraint(condition=Q(stock__gte=0), name="stock_not_negative"),)


class Order(models.Model):
    """What was bought; written by the ledger, in the transaction of its charge."""

    id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="orders")
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    pieces = models.IntegerField()
    price_cents = models.IntegerField()

    class Meta:
        constraints = (CheckConstraint(condition=Q(pieces__gt=0), name="pieces_positive"),)

"""Users, products and their stock, orders."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.models import CheckConstraint, Q
from django.db.models.deletion import PROTECT


def put_on_sale(apps: Any, _schema_editor: Any) -> None:
    """What the shop begins with."""
    products = apps.get_model("shop", "Product").objects
    products.create(name="tea", price_cents=2000, stock=1000)
    products.create(name="teapot", price_cents=4550, stock=3)


class Migration(migrations.Migration):
    """The first schema."""

    initial = True
    operations = (
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("email", models.EmailField(max_length=254, unique=True)),
            ],
        ),
        migrations.CreateModel(
            name="Product",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("price_cents", models.IntegerField()),
                ("stock", models.IntegerField()),
            ],
            options={
                "constraints": [
                    CheckConstraint(condition=Q(("stock__gte", 0)), name="stock_not_negative")
                ]
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("pieces", models.IntegerField()),
                ("price_cents", models.IntegerField()),
                ("product", models.ForeignKey(on_delete=PROTECT, to="shop.product")),
                (
                    "user",
                    models.ForeignKey(on_delete=PROTECT, related_name="orders", to="shop.user"),
                ),
            ],
            options={
                "constraints": [
                    CheckConstraint(condition=Q(("pieces__gt", 0)), name="pieces_positive")
                ]
            },
        ),
        migrations.RunPython(put_on_sale, migrations.RunPython.noop),
    )

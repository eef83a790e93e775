"""The shop's HTTP calls. What a customer has is in the ledger; what was bought is in `Order`."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_POST

from server.ledger import ledger

from .models import Order, Product, User
from .problems import Problem
from .purchases import buy, dollars


class NewUser(forms.Form):
    """A customer to be."""

    email = forms.EmailField()


class TopUp(forms.Form):
    """Money in, as a decimal string; in life, your payment provider says so."""

    amount = forms.CharField()


class NewOrder(forms.Form):
    """Who wants how much of what."""

    user_id = forms.IntegerField()
    product = forms.CharField()
    pieces = forms.IntegerField(min_value=1, max_value=1000)


@require_POST
def create_user(request: HttpRequest) -> HttpResponse:
    """A customer; the account in the ledger comes with the first change."""
    email = _checked(NewUser, request)["email"]
    try:
        with transaction.atomic():
            user = User.objects.create(email=email)
    except IntegrityError:
        raise Problem(409, "there is a user with this address") from None
    return JsonResponse({"id": user.pk, "email": email, "balance": "0.00"}, status=201)


@require_GET
@transaction.non_atomic_requests
def show_user(_request: HttpRequest, user_id: int) -> HttpResponse:
    """A customer with balance and orders."""
    user = get_object_or_404(User, pk=user_id)
    return JsonResponse(
        {
            "id": user.pk,
            "email": user.email,
            "balance": str(ledger().wallet(str(user.pk)).get_balance()),
            "orders": [_shown(order) for order in user.orders.all()],
        }
    )


@require_POST
@transaction.non_atomic_requests
def top_up(request: HttpRequest, user_id: int) -> HttpResponse:
    """Credit a customer."""
    user = get_object_or_404(User, pk=user_id)
    amount, key = _checked(TopUp, request)["amount"], _key(request)
    wallet = ledger().wallet(str(user.pk))
    wallet.update_balance(amount, "deposit", "Top-up", actor=str(user.pk), idempotency_key=key)
    return JsonResponse({"balance": str(wallet.get_balance())}, status=201)


@require_POST
@transaction.non_atomic_requests
def place_order(request: HttpRequest) -> HttpResponse:
    """Charge the customer, take from the stock and keep the order."""
    new, key = _checked(NewOrder, request), _key(request)
    user = get_object_or_404(User, pk=new["user_id"])
    product = get_object_or_404(Product, pk=new["product"])
    return JsonResponse(_shown(buy(user, product, new["pieces"], key)), status=201)


def _checked(form: type[forms.Form], request: HttpRequest) -> dict[str, Any]:
    try:
        filled = form(json.loads(request.body))
    except (ValueError, TypeError, AttributeError):
        raise Problem(400, "the body is not a JSON object") from None
    if not filled.is_valid():
        raise Problem(422, filled.errors)
    return filled.cleaned_data


def _key(request: HttpRequest) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not 1 <= len(key) <= 255:
        raise Problem(422, "the header Idempotency-Key is 1 to 255 characters")
    return key


def _shown(order: Order) -> dict[str, Any]:
    return {
        "id": str(order.pk),
        "product": order.product_id,
        "pieces": order.pieces,
        "price": str(dollars(order.price_cents)),
    }

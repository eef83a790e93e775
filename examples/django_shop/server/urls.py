"""The shop's calls."""

from __future__ import annotations

from django.urls import path
from shop import views

urlpatterns = [
    path("users", views.create_user),
    path("users/<int:user_id>", views.show_user),
    path("users/<int:user_id>/top-ups", views.top_up),
    path("orders", views.place_order),
]

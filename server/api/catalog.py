"""Assets, books and pairs: what exists, and its settings."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from starlette.responses import Response

from ..ledger.views import pair_view
from .answers import answer, listing
from .bodies import AssetSettings, BookSettings, PairSettings
from .calls import Call
from .queries import NamesQuery, names_page


async def list_assets(call: Call, query: NamesQuery) -> Response:
    """The assets, by code."""
    return _by_name("assets", (await call.services.manager.read_catalog()).assets, query)


async def list_books(call: Call, query: NamesQuery) -> Response:
    """The books with their settings, by name."""
    return _by_name("books", (await call.services.manager.read_catalog()).books, query)


async def list_pairs(call: Call, query: NamesQuery) -> Response:
    """The pairs with their settings, by name."""
    catalog = await call.services.manager.read_catalog()
    views = {name: pair_view(pair, catalog) for name, pair in catalog.pairs.items()}
    return _by_name("pairs", views, query)


def _by_name(listed: str, every: Mapping[str, Struct], query: NamesQuery) -> Response:
    page, next_cursor = names_page(listed, every, query)
    return listing([msgspec.json.encode(every[name]) for name in page], next_cursor)


async def put_asset(call: Call, settings: AssetSettings) -> Response:
    """Make the asset; raises Conflict where it exists with another scale."""
    asset = await call.services.manager.administration.put_asset(
        call.path["code"], scale=settings.scale, actor=call.principal.user_id
    )
    return answer(asset)


async def put_book(call: Call, settings: BookSettings) -> Response:
    """Make the book or change what is named; new defaults touch new accounts only."""
    book = await call.services.manager.administration.put_book(
        call.path["book"], settings.given(), actor=call.principal.user_id
    )
    return answer(book)


async def put_pair(call: Call, settings: PairSettings) -> Response:
    """Make the pair or change what is named; base, quote and decimals of its prices stay."""
    manager = call.services.manager
    pair = await manager.administration.put_pair(
        call.path["pair"], settings.given(), actor=call.principal.user_id
    )
    return answer(pair_view(pair, manager.catalog))

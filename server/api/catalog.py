"""Assets and books: what exists, and its settings."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from .answers import answer, listing
from .bodies import AssetSettings, BookSettings
from .calls import Call


async def list_assets(call: Call) -> Response:
    """Every asset, by code."""
    assets = (await call.services.manager.read_catalog()).assets
    return listing([msgspec.json.encode(assets[code]) for code in sorted(assets)], None)


async def list_books(call: Call) -> Response:
    """Every book with its settings, by name."""
    books = (await call.services.manager.read_catalog()).books
    return listing([msgspec.json.encode(books[name]) for name in sorted(books)], None)


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

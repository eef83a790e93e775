"""
What operators set: assets, books, pairs, mirrors, pause; each under the clock's lock, each in the
audit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec.structs import replace
from sqlalchemy import Insert, delete, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from . import schema
from .catalog import ASSET_CODE, BOOK_NAME, Asset, Book
from .clock import Clock, rfc3339
from .database import Database
from .days import parse_day
from .errors import Conflict, InvalidAmount, InvalidRequest, NotFound
from .journal import Journal
from .mirrors.mirror import Mirror, MirrorOptions, may_share, same_rows
from .mirrors.rows import MirrorRows
from .mirrors.tables import describe
from .money import LARGEST_SCALE, parse_amount
from .trading.pairs import Pair, assets_of
from .trading.pairs import with_settings as with_pair_settings


class Administration:
    """
    Changes of settings. Each raises the settings' version under the clock's lock, so that no
    batch of any process that decided by older settings can still commit.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        clock: Clock,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """changed: awaited once a change is committed, so that this process goes by it at once."""
        self._database = database
        self._journal = journal
        self._clock = clock
        self._changed = changed

    async def put_asset(self, code: str, *, scale: int | None, actor: str) -> Asset:
        """
        Make the asset `code` with `scale` decimals (0 to 12), or change the scale of one that
        no account, mirror or pair has. Raises InvalidRequest, Conflict.
        """
        if not ASSET_CODE.fullmatch(code):
            raise InvalidRequest("an asset code is 1 to 12 of A-Z and 0-9", pointer="/code")
        if scale is not None and (isinstance(scale, bool) or not 0 <= scale <= LARGEST_SCALE):
            raise InvalidRequest(f"the scale is 0 to {LARGEST_SCALE}", pointer="/scale")
        async with self._settings_change() as connection:
            catalog = await self._journal.catalog(connection)
            present = catalog.assets.get(code)
            if scale is None and present is None:
                raise InvalidRequest("a new asset needs a scale", pointer="/scale")
            if present is not None and scale not in (None, present.scale):
                used = await connection.execute(
                    text("SELECT 1 FROM accounts WHERE asset = :code LIMIT 1"), {"code": code}
                )
                mirrored = any(mirror.asset == code for mirror in catalog.mirrors)
                traded = any(code in (pair.base, pair.quote) for pair in catalog.pairs.values())
                if mirrored or traded or used.first() is not None:
                    raise Conflict(f"{code} has accounts, mirrors or pairs: its scale is fixed")
            asset = Asset(code, present.scale if scale is None and present else int(scale or 0))
            await connection.execute(
                text(
                    "INSERT INTO assets (code, scale) VALUES (:code, :scale)"
                    " ON CONFLICT (code) DO UPDATE SET scale = :scale"
                ),
                {"code": asset.code, "scale": asset.scale},
            )
            await connection.execute(
                audit_row(self._clock, actor, "asset_set", code, {"scale": asset.scale})
            )
        return asset

    async def put_book(self, name: str, settings: Mapping[str, Any], *, actor: str) -> Book:
        """
        Make the book `name` or change its `settings` (contract, section 1; absent =
        unchanged). Raises InvalidRequest, Conflict where the side would change, or the time zone
        of closed days.
        """
        if not BOOK_NAME.fullmatch(name):
            raise InvalidRequest(
                "a book's name is 1 to 64 of a-z, 0-9 and :_.-, beginning with a letter or digit",
                pointer="/name",
            )
        async with self._settings_change() as connection:
            present = (await self._journal.catalog(connection)).books.get(name)
            book = with_settings(present, name, settings)
            values = {**msgspec.structs.asdict(book), "self_service": int(book.self_service)}
            columns = list(values)
            await connection.execute(
                text(
                    f"INSERT INTO books ({', '.join(columns)})"
                    f" VALUES ({', '.join(f':{c}' for c in columns)}) ON CONFLICT (name)"
                    f" DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in columns[1:])}"
                ),
                values,
            )
            await connection.execute(
                audit_row(self._clock, actor, "book_set", name, dict(settings))
            )
        return book

    async def put_pair(self, name: str, settings: Mapping[str, Any], *, actor: str) -> Pair:
        """
        Make the pair `name`, or change its `settings`, as the contract's PAIR writes them; absent
        = unchanged. Raises InvalidRequest, InvalidAmount, UnknownAsset; Conflict where its prices'
        decimals would change.
        """
        base, quote = assets_of(name)
        async with self._settings_change() as connection:
            catalog = await self._journal.catalog(connection)
            pair = with_pair_settings(
                catalog.pairs.get(name),
                name,
                settings,
                base_scale=catalog.asset(base).scale,
                quote_scale=catalog.asset(quote).scale,
            )
            await self._journal.write_pair(connection, pair)
            await connection.execute(
                audit_row(self._clock, actor, "pair_set", name, dict(settings))
            )
        return pair

    async def put_mirror(self, name: str, options: MirrorOptions, *, actor: str) -> Mirror:
        """
        Register the mirror `name`, or change it; the same again changes nothing. Raises
        InvalidRequest, UnknownAsset, UnknownBook; Conflict where another mirror has its column.
        """
        async with self._database.read() as connection:
            catalog = await self._journal.catalog(connection)
            mirror = await connection.run_sync(describe, catalog, name, options)
        if any(replace(mirror, id=present.id) == present for present in catalog.mirrors):
            return mirror
        async with self._settings_change() as connection:
            catalog = await self._journal.catalog(connection)
            mirror = replace(mirror, id=catalog.version + 1)
            for present in catalog.mirrors:
                if present.name != name and may_share(present, mirror):
                    raise Conflict(f"mirror {present.name!r} has this column")
                if present.name == name and same_rows(present, mirror):
                    mirror = replace(mirror, id=present.id)
            await connection.execute(delete(schema.mirrors).where(schema.mirrors.c.name == name))
            definition = msgspec.json.encode(mirror).decode()
            await connection.execute(
                insert(schema.mirrors).values(id=mirror.id, name=name, definition=definition)
            )
            await connection.execute(
                audit_row(self._clock, actor, "mirror_set", name, msgspec.to_builtins(mirror))
            )
        await self._forget_mirror_states()
        return mirror

    async def remove_mirror(self, name: str, *, actor: str) -> None:
        """Leave the mirror's table alone from now on. Raises NotFound."""
        async with self._settings_change() as connection:
            removed = await connection.execute(
                delete(schema.mirrors).where(schema.mirrors.c.name == name)
            )
            if not removed.rowcount:
                raise NotFound(f"there is no mirror {name!r}")
            await connection.execute(audit_row(self._clock, actor, "mirror_removed", name, {}))
        await self._forget_mirror_states()

    async def _forget_mirror_states(self) -> None:
        rows = MirrorRows(self._database.dialect)
        found = True
        while found:
            async with self._database.write() as connection:
                found = await rows.forget(connection)

    async def pause(self, actor: str) -> None:
        """Refuse changes in every process from now on; what was committed stays."""
        await self._set_paused(True, actor)

    async def resume(self, actor: str) -> None:
        """Take changes again."""
        await self._set_paused(False, actor)

    async def renew_epoch(self, actor: str) -> str:
        """
        Give the journal a new epoch, which is the result: every client that is connected, or
        resumes, is told its balances anew. For a database that was restored from a copy.
        """
        epoch = str(uuid4())
        async with self._settings_change() as connection:
            before = (await self._journal.clock(connection)).epoch
            await connection.execute(text("UPDATE clock SET epoch = :epoch"), {"epoch": epoch})
            await connection.execute(
                audit_row(self._clock, actor, "epoch_renewed", epoch, {"before": before})
            )
        return epoch

    async def record(
        self, actor: str, action: str, target: str, details: Mapping[str, Any]
    ) -> None:
        """Write one audit row of its own."""
        async with self._database.write() as connection:
            await connection.execute(audit_row(self._clock, actor, action, target, details))

    async def _set_paused(self, paused: bool, actor: str) -> None:
        async with self._settings_change() as connection:
            await connection.execute(
                text("UPDATE clock SET paused = :paused"), {"paused": int(paused)}
            )
            action = "paused" if paused else "resumed"
            await connection.execute(audit_row(self._clock, actor, action, "changes", {}))

    @asynccontextmanager
    async def _settings_change(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.write() as connection:
            await self._journal.take_clock(connection)
            yield connection
            await connection.execute(
                text("UPDATE clock SET settings_version = settings_version + 1")
            )
        await self._changed()


def audit_row(
    clock: Clock, actor: str, action: str, target: str, details: Mapping[str, Any]
) -> Insert:
    """The statement that writes one audit row, to run in whatever transaction it is about."""
    return insert(schema.audit).values(
        time=rfc3339(clock.now()),
        actor=actor,
        action=action,
        target=target,
        details=msgspec.json.encode(details).decode(),
    )


def with_settings(present: Book | None, name: str, settings: Mapping[str, Any]) -> Book:
    """
    The book `name` after a change of its `settings`; present: as it is, None where it is new.

    Raises InvalidRequest, Conflict where its side would change.
    """
    checked = {field: _setting(field, value) for field, value in settings.items()}
    side = checked.get("side")
    if present is None:
        book = Book(name=name, **checked)
        if book.side == "debit" and "default_floor" not in checked:
            book = replace(book, default_floor=None)
    else:
        if side not in (None, present.side):
            raise Conflict(f"book {name!r} is a {present.side} book: its side is fixed")
        book = replace(present, **checked)
    if book.side == "debit" and book.default_floor is not None:
        raise InvalidRequest("a debit book has no floor", pointer="/default_floor")
    _check_period(present, book)
    return book


def _check_period(present: Book | None, book: Book) -> None:
    """Refuse a period that ends before it starts, and another meaning of days that are closed."""
    first, closed = book.starts_on, book.closed_through
    if first is not None and closed is not None and closed < first:
        raise InvalidRequest(
            f"the book starts on {first}: it cannot be closed through {closed}",
            pointer="/closed_through",
        )
    if present is None or present.closed_through is None or closed is None:
        return
    if present.timezone != book.timezone:
        raise Conflict(f"book {book.name!r} has closed days: its time zone is fixed while it has")


def _setting(field: str, value: Any) -> Any:
    """`value` where it can be the book's `field`, else InvalidRequest."""
    pointer = f"/{field}"
    if field == "side" and value not in ("credit", "debit"):
        raise InvalidRequest("side is credit or debit", pointer=pointer)
    if field == "accounts" and value not in ("open", "strict"):
        raise InvalidRequest("accounts is open or strict", pointer=pointer)
    if field == "self_service" and not isinstance(value, bool):
        raise InvalidRequest("self_service is true or false", pointer=pointer)
    if field == "default_floor" and value is not None:
        try:
            parse_amount(value, LARGEST_SCALE, pointer=pointer)
        except InvalidAmount:
            # Assets of few decimals have a wider range than the most decimals allow.
            parse_amount(value, 0, pointer=pointer)
    if field == "timezone":
        _check_timezone(value, pointer)
    if field in ("starts_on", "closed_through") and value is not None:
        parse_day(value, field, pointer=pointer)
    if field not in Book.__struct_fields__ or field == "name":
        raise InvalidRequest(f"there is no setting {field!r}", pointer=pointer)
    return value


def _check_timezone(value: Any, pointer: str) -> None:
    try:
        if not isinstance(value, str):
            raise ValueError
        ZoneInfo(value)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise InvalidRequest(
            "timezone is an IANA name, such as Europe/Athens", pointer=pointer
        ) from None

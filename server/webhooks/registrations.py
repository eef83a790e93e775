"""
The webhooks that operators made, as rows: where each is sent, and how far it has come.

Operators and deliverers write the same rows, and of deliverers there may be two for a moment. So
every change by an operator gives the row another generation, and a deliverer's write finds the
row exactly as it was read, or does nothing.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Row, Select, delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ..ledger import schema
from ..ledger.administration import audit_row
from ..ledger.clock import Clock, IdSource, rfc3339
from ..ledger.database import Database
from ..ledger.errors import InvalidCursor, InvalidRequest, NotFound
from ..ledger.updates import UpdateFilter
from .destinations import Destinations
from .signing import Secret

NAME = re.compile(r"[a-z0-9][a-z0-9:_.-]{0,63}", re.ASCII)

_TABLE = schema.webhooks
_COLUMNS = tuple(column.name for column in _TABLE.columns)
_INSERT = (
    f"INSERT INTO webhooks ({', '.join(_COLUMNS)})"  # noqa: S608 - its own columns
    f" VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
    " ON CONFLICT (name) DO NOTHING RETURNING name"
)

Status = Literal["active", "paused"]


class Message(Struct, frozen=True):
    """A message under way: its id, the journal's epoch, and its range's end (included)."""

    id: str
    epoch: str
    to: int


class Registration(Struct, frozen=True, kw_only=True):
    """
    A webhook as its row says.

    status: ``active`` or ``paused``; generation: another after each change by an operator;
    position: the end of what the receiver was told; examined: how far the journal was looked
    through since, in vain; attempts: how many failed in a row; times: RFC 3339.
    """

    name: str
    url: str
    filter: UpdateFilter
    secret: Secret
    status: Status
    generation: str
    position: int
    examined: int
    message: Message | None = None
    attempts: int = 0
    failing_since: str | None = None
    next_attempt_at: str | None = None
    last_error: str | None = None
    last_delivered_at: str | None = None

    def lag(self, head: int) -> int:
        """How many positions up to `head` were not looked at yet."""
        return max(0, head - self.examined)


class Wanted(Struct, frozen=True, kw_only=True):
    """What an operator asks of a webhook; None = unchanged."""

    url: str | None = None
    filter: UpdateFilter | None = None
    secret: Secret | None = None
    position: int | None = None
    status: Status | None = None


class Registrations:
    """The rows of webhooks in one database."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        new_id: IdSource,
        destinations: Destinations,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """destinations: where webhooks may be sent; random_bytes: what secrets are made of."""
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._destinations = destinations
        self._random_bytes = random_bytes

    async def put(
        self, name: str, wanted: Wanted, *, actor: str
    ) -> tuple[Registration, Secret | None]:
        """
        Make the webhook `name` or change it; with it the secret that was made for a new one.

        Raises InvalidRequest, also for a URL that is not allowed, and InvalidCursor where the
        position is beyond the head.
        """
        if not NAME.fullmatch(name):
            raise InvalidRequest(
                "a webhook's name is 1 to 64 of a-z, 0-9 and :_.-, beginning with a letter or"
                " digit",
                pointer="/name",
            )
        if wanted.url is not None:
            self._destinations.check(wanted.url)
        async with self._database.write() as connection:
            head = (await connection.execute(select(schema.clock.c.position))).scalar_one()
            if wanted.position is not None and wanted.position > head:
                raise InvalidCursor(f"the journal ends at {head}", pointer="/position")
            while True:
                present = await _locked(connection, name)
                made, fresh = self._changed(name, present, wanted, head)
                if present is not None:
                    await connection.execute(
                        _TABLE.update().where(_TABLE.c.name == name).values(**_columns(made))
                    )
                    break
                # Another may have made it since: then it is there, and is changed.
                if await _inserted(connection, made):
                    break
            await connection.execute(
                audit_row(self._clock, actor, "webhook_set", name, _audited(wanted, fresh))
            )
        return made, fresh

    def _changed(
        self, name: str, present: Registration | None, wanted: Wanted, head: int
    ) -> tuple[Registration, Secret | None]:
        secret, fresh = wanted.secret, None
        if present is None:
            if wanted.url is None:
                raise InvalidRequest("a new webhook needs a url", pointer="/url")
            if secret is None:
                secret = fresh = Secret.generated(self._random_bytes)
            present = Registration(
                name=name,
                url=wanted.url,
                filter=UpdateFilter(),
                secret=secret,
                status="active",
                generation="",
                position=head,
                examined=head,
            )
        return as_wanted(present, wanted, self._new_id()), fresh

    async def remove(self, name: str, *, actor: str) -> None:
        """Forget the webhook `name`; what is under way may still arrive. Raises NotFound."""
        if not NAME.fullmatch(name):
            raise _unknown(name)
        async with self._database.write() as connection:
            removed = await connection.execute(delete(_TABLE).where(_TABLE.c.name == name))
            if not removed.rowcount:
                raise _unknown(name)
            await connection.execute(audit_row(self._clock, actor, "webhook_removed", name, {}))

    async def get(self, name: str) -> Registration:
        """The webhook `name`; raises NotFound."""
        found = (
            await self._read(select(_TABLE).where(_TABLE.c.name == name))
            if NAME.fullmatch(name)
            else []
        )
        if not found:
            raise _unknown(name)
        return found[0]

    async def listed(self, after: str | None, limit: int) -> list[Registration]:
        """At most `limit` webhooks by name, those after `after`."""
        wanted = select(_TABLE).where(_TABLE.c.name > (after or ""))
        return await self._read(wanted.order_by(_TABLE.c.name).limit(limit))

    async def all(self) -> list[Registration]:
        """Every webhook."""
        return await self._read(select(_TABLE))

    async def active(self) -> list[Registration]:
        """Every webhook that is not paused."""
        return await self._read(select(_TABLE).where(_TABLE.c.status == "active"))

    async def _read(self, wanted: Select[Any]) -> list[Registration]:
        async with self._database.read() as connection:
            return [_registration(row) for row in await connection.execute(wanted)]

    async def advance(
        self, known: Registration, examined: int, message: Message | None = None
    ) -> Registration | None:
        """
        Write down that nothing up to `examined` is to be told, and perhaps the message that is.

        The row as it is then; None where it was not as `known` any more, and nothing is written.
        """
        return await self._change(known, examined=examined, **_message_columns(message))

    async def delivered(self, known: Registration, to: int) -> Registration | None:
        """Write down that the receiver has taken the message up to `to`; see `advance`."""
        return await self._change(
            known,
            position=to,
            examined=to,
            last_delivered_at=rfc3339(self._clock.now()),
            **_message_columns(None),
            **_NO_FAILURE,
        )

    async def withdraw(self, known: Registration) -> Registration | None:
        """Forget the message under way, so that another is made; see `advance`."""
        return await self._change(known, **_message_columns(None))

    async def failed(
        self, known: Registration, error: str, next_attempt_at: str
    ) -> Registration | None:
        """Write down that an attempt failed, and when the next is due; see `advance`."""
        return await self._change(known, **_failure(known, error, self._clock, next_attempt_at))

    async def pause(self, known: Registration, error: str) -> Registration | None:
        """Write down that deliveries have ended by themselves, and why; see `advance`."""
        return await self._change(
            known, **_failure(known, error, self._clock, None), status="paused"
        )

    async def _change(self, known: Registration, **values: Any) -> Registration | None:
        columns = _TABLE.c
        statement = (
            _TABLE.update()
            .where(
                columns.name == known.name,
                columns.generation == known.generation,
                columns.position == known.position,
                columns.examined == known.examined,
                columns.message_id == (known.message.id if known.message else None),
            )
            .values(**values)
            .returning(*columns)
        )
        async with self._database.write() as connection:
            row = (await connection.execute(statement)).one_or_none()
            if row is not None and values.get("status") == "paused":
                details = {"reason": values["last_error"]}
                await connection.execute(
                    audit_row(self._clock, "system", "webhook_paused", known.name, details)
                )
        return None if row is None else _registration(row)


def as_wanted(present: Registration, wanted: Wanted, generation: str) -> Registration:
    """
    The webhook after a change by an operator. Pure.

    What a former filter passed over stays passed over. A message under way is given up where its
    range or its updates are others now. Failures are forgotten, so that it is tried at once,
    unless it is paused: then they say why.
    """
    made = replace(
        present,
        generation=generation,
        url=wanted.url or present.url,
        filter=present.filter if wanted.filter is None else wanted.filter,
        secret=wanted.secret or present.secret,
        status=wanted.status or present.status,
    )
    if wanted.position is not None:
        made = replace(made, position=wanted.position, examined=wanted.position)
    if wanted.position is not None or made.filter != present.filter:
        made = replace(made, message=None)
    return made if made.status == "paused" else replace(made, **_NO_FAILURE)


_NO_FAILURE: Mapping[str, Any] = {
    "attempts": 0,
    "failing_since": None,
    "next_attempt_at": None,
    "last_error": None,
}


def _failure(
    known: Registration, error: str, clock: Clock, next_attempt_at: str | None
) -> dict[str, Any]:
    return {
        "attempts": known.attempts + 1,
        "failing_since": known.failing_since or rfc3339(clock.now()),
        "next_attempt_at": next_attempt_at,
        "last_error": error,
    }


def _audited(wanted: Wanted, fresh: Secret | None) -> dict[str, Any]:
    given = {
        "url": wanted.url,
        "filter": None if wanted.filter is None else wanted.filter.conditions(),
        "position": wanted.position,
        "status": wanted.status,
        "secret": "new" if wanted.secret or fresh else None,
    }
    return {name: value for name, value in given.items() if value is not None}


async def _locked(connection: AsyncConnection, name: str) -> Registration | None:
    rows = await connection.execute(select(_TABLE).where(_TABLE.c.name == name).with_for_update())
    row = rows.one_or_none()
    return None if row is None else _registration(row)


async def _inserted(connection: AsyncConnection, made: Registration) -> bool:
    values = _columns(made)
    inserted = await connection.execute(text(_INSERT), values)
    return inserted.one_or_none() is not None


def _columns(made: Registration) -> dict[str, Any]:
    values = {
        name: getattr(made, name) for name in Registration.__struct_fields__ if name != "message"
    }
    return {
        **values,
        "filter": msgspec.json.encode(made.filter.conditions()).decode(),
        "secret": made.secret.text,
        **_message_columns(made.message),
    }


def _message_columns(message: Message | None) -> dict[str, Any]:
    if message is None:
        return {"message_id": None, "message_epoch": None, "message_to": None}
    return {"message_id": message.id, "message_epoch": message.epoch, "message_to": message.to}


def _registration(row: Row[Any]) -> Registration:
    values = dict(row._mapping)
    id_, epoch, to = (values.pop(f"message_{field}") for field in ("id", "epoch", "to"))
    return Registration(
        **{
            **values,
            "filter": UpdateFilter(**msgspec.json.decode(values["filter"])),
            "secret": Secret(values["secret"]),
            "message": None if id_ is None else Message(id_, epoch, to),
        }
    )


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no webhook {name[:80]!r}")

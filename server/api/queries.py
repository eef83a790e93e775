"""Query strings: one Struct a call, and the opaque cursors of lists."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from ..ledger.errors import InvalidCursor, InvalidRequest
from ..operations.requests import DEFAULT_BOOK

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000
MOST_PARAMETERS = 50

_WHOLE_NUMBER = re.compile(r"-?[0-9]+", re.ASCII)

# Databases refuse NUL in a text; no cursor of ours has one.
_NUL = b"\\u0000"

T = TypeVar("T", bound=Struct)


class Page(Struct, kw_only=True):
    """Which part of a list, newest first."""

    limit: Annotated[int, Meta(ge=1, le=LARGEST_LIMIT)] = DEFAULT_LIMIT
    cursor: str | None = None


class NamesQuery(Page, kw_only=True):
    """Which part of a list by name."""

    after: Annotated[str, Meta(description="Only names after this.")] | None = None


class HistoryQuery(Page, kw_only=True, rename={"from_": "from"}):
    """Which updates: all conditions must hold; `reference` may end in `*`."""

    type: str | None = None
    book: str | None = None
    asset: str | None = None
    from_: Annotated[str, Meta(description="Inclusive, on `timestamp`.")] | None = None
    to: Annotated[str, Meta(description="Exclusive, on `timestamp`.")] | None = None
    reference: str | None = None
    metadata: dict[str, str] = {}


class HoldsQuery(Page, kw_only=True):
    """Whose holds, and of which status."""

    user_id: str | None = None
    status: Literal["open", "confirmed", "voided", "expired"] | None = None


class TradesQuery(Page, kw_only=True):
    """Whose trades, of which status, in which book."""

    user_id: str | None = None
    status: Literal["filled", "open", "settled", "refunded"] | None = None
    book: str | None = None


class StreamQuery(Struct, kw_only=True):
    """What to stream, and after which event."""

    ticket: (
        Annotated[str, Meta(description="Of `POST /v1/stream-tickets`, in place of a token.")]
        | None
    ) = None
    streams: (
        Annotated[
            str,
            Meta(
                description="`balances` (alone where absent), `prices`, and from auditor up"
                " `monitor`, with commas between."
            ),
        ]
        | None
    ) = None
    mode: Annotated[str, Meta(description="`every` (where absent) or `latest`.")] | None = None
    resume: Annotated[str, Meta(description="epoch:position, the id of the last event.")] | None = (
        None
    )
    filter: dict[str, str] = {}


class BalancesQuery(Struct, kw_only=True):
    """Balances of now, or by at most one of a position, a time, a day."""

    book: str | None = None
    as_of_position: Annotated[int, Meta(ge=0)] | None = None
    as_of_time: Annotated[str, Meta(description="RFC 3339: as booked by then.")] | None = None
    before: (
        Annotated[
            str,
            Meta(description="YYYY-MM-DD: as effective before that day, in the book's time zone."),
        ]
        | None
    ) = None


class StatementQuery(Struct, kw_only=True, rename={"from_": "from"}):
    """Which book, and which days, both included, of its time zone."""

    book: Annotated[str, Meta(description=f"`{DEFAULT_BOOK}` where absent.")] = DEFAULT_BOOK
    from_: Annotated[str, Meta(description="YYYY-MM-DD.")]
    to: Annotated[str, Meta(description="YYYY-MM-DD.")]


class TrialBalanceQuery(Struct, kw_only=True):
    """As of which position; the head where absent."""

    as_of_position: Annotated[int, Meta(ge=0)] | None = None


class DiscrepanciesQuery(Page, kw_only=True):
    """Whose discrepancies; those of the newest finished verification where absent."""

    verification: str | None = None


def decode_query(raw: bytes, form: type[T]) -> T:
    """
    The query string `raw` as a `form`; parameters that it does not know are ignored.

    ``FIELD.KEY=value`` is gathered into the field where that is a dict. Raises InvalidRequest.
    """
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except (UnicodeDecodeError, ValueError):
        raise InvalidRequest("the query string is not valid") from None
    known = set(form.__struct_encode_fields__)
    gathering = _fields_of(form, msgspec.inspect.DictType)
    given: dict[str, Any] = {}
    gathered: dict[str, dict[str, str]] = {}
    for name, value in pairs:
        if "\x00" in value or name in given:
            raise InvalidRequest(f"query: {name[:40]!r} is given twice or holds NUL")
        field, dot, key = name.partition(".")
        if dot and field in gathering:
            gathered.setdefault(field, {})[key] = value
        elif name in known - gathering:
            given[name] = value
    for name in _fields_of(form, msgspec.inspect.IntType) & given.keys():
        # What converts them would take 1e2 and 1.0 as well.
        if not _WHOLE_NUMBER.fullmatch(given[name]):
            raise InvalidRequest(f"query: `{name}` is a whole number")
    try:
        return msgspec.convert({**given, **gathered}, form, strict=False, str_keys=True)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"query: {str(error).replace('`$.', '`')}") from None


@cache
def _fields_of(form: type[Struct], kind: type[msgspec.inspect.Type]) -> frozenset[str]:
    """The parameters of `form` that are of this kind, or may be."""
    described = msgspec.inspect.type_info(form)
    assert isinstance(described, msgspec.inspect.StructType)
    return frozenset(
        field.encode_name
        for field in described.fields
        if any(isinstance(each, kind) for each in _alternatives(field.type))
    )


def _alternatives(described: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    return described.types if isinstance(described, msgspec.inspect.UnionType) else (described,)


def filters_of(query: Page) -> dict[str, Any]:
    """The conditions of `query`, without those at their default and without the page."""
    return {
        name: value
        for name, value in msgspec.to_builtins(query).items()
        if name not in ("limit", "cursor") and value not in (None, {})
    }


def write_cursor(listed: str, filters: Mapping[str, Any], before: int) -> str:
    """
    The opaque cursor behind the row `before` of the list `listed` (its path) under `filters`.
    """
    packed = msgspec.json.encode([listed, filters, before])
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def names_page(
    listed: str, names: Iterable[str], query: NamesQuery
) -> tuple[list[str], str | None]:
    """The page of `names` that `query` asks for, and the cursor of the next; InvalidCursor."""
    query, _ = continue_page(listed, query)
    wanted = sorted(name for name in names if query.after is None or name > query.after)
    page = wanted[: query.limit]
    more = len(wanted) > query.limit
    return page, write_cursor(listed, {"after": page[-1]}, len(page)) if more else None


def continue_page(listed: str, query: T) -> tuple[T, int | None]:
    """
    The query to answer and the row that its page stays below (None for the first page).

    A cursor carries the filters of its first page: they may be left out or repeated.
    Raises InvalidCursor where the cursor is another list's, or the filters are others.
    """
    assert isinstance(query, Page)
    if query.cursor is None:
        return query, None
    try:
        packed = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), b"-_", True)
        if _NUL in packed:
            raise ValueError
        origin, filters, before = msgspec.json.decode(packed, type=tuple[str, dict[str, Any], int])
        carried = msgspec.convert({**filters, "limit": query.limit}, type(query))
    except (binascii.Error, ValueError):
        raise InvalidCursor("the cursor is none of ours") from None
    asked = filters_of(query)
    if origin != listed or before < 1 or before > 2**63 - 1 or (asked and asked != filters):
        raise InvalidCursor("the cursor belongs to another list or other filters")
    return carried, before

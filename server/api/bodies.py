"""Request bodies: read within bounds, decoded into Structs, errors told by JSON pointer."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import ClientDisconnect, Request

from ..auth import ROLES
from ..ledger.errors import InvalidAmount, InvalidRequest
from ..ledger.money import LARGEST_SCALE
from ..ledger.objects import Time
from ..ledger.trading.pairs import BASIS_POINTS, LARGEST_SECONDS, MOST_DURATIONS
from ..operations.batches import LARGEST_BATCH, OPERATIONS
from ..operations.requests import Amount, UserId
from .problems import BodyTooLarge, UnsupportedMediaType

LARGEST_BODY = 64 * 1024
LARGEST_BATCH_BODY = 2 * 1024 * 1024
# What is read of a body that is refused for its size.
_MOST_READ = 16 * 1024 * 1024

AMOUNT_FIELDS = frozenset(
    (
        "amount",
        "new_balance",
        "floor",
        "suspend_below",
        "alert_below",
        "default_floor",
        "minimum",
        "maximum_stake",
        "exposure_limit",
        "payout_rate",
        "price",
        "base_amount",
        "quote_amount",
        "limit_price",
        "stake",
    )
)

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_AT = re.compile(r"(.*) - at `(?:key in )?\$(.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `(.+)`")

T = TypeVar("T")


class BatchItem(Struct):
    """What every item of a batch names; the rest is the body of that operation's own call."""

    operation: str


class Batch(Struct):
    """Many operations; atomic: all or none."""

    items: Annotated[
        list[msgspec.Raw],
        Meta(
            min_length=1,
            max_length=LARGEST_BATCH,
            extra_json_schema={
                "items": {
                    "oneOf": [
                        {
                            "allOf": [
                                {"$ref": f"#/components/schemas/{each.request.__name__}"},
                                {
                                    "type": "object",
                                    "required": ["operation"],
                                    "properties": {"operation": {"const": name}},
                                },
                            ]
                        }
                        for name, each in OPERATIONS.items()
                    ]
                }
            },
        ),
    ]
    atomic: bool | None = False


class AssetSettings(Struct):
    """An asset's settings; absent = unchanged. The scale is fixed once an account has it."""

    scale: Annotated[int, Meta(ge=0, le=LARGEST_SCALE)] | None = None


class BookSettings(Struct):
    """
    A book's settings; absent = unchanged; null = none for the floor and the dates, else absent.
    `side` cannot change once the book exists. `default_floor` is rounded up for an asset that has
    fewer decimals, so that no account begins below it.
    """

    side: Literal["credit", "debit"] | None = None
    default_floor: Amount | UnsetType | None = UNSET
    accounts: Literal["open", "strict"] | None = None
    self_service: bool | None = None
    timezone: str | None = None
    starts_on: str | UnsetType | None = UNSET
    closed_through: str | UnsetType | None = UNSET

    def given(self) -> dict[str, Any]:
        """The settings that the request names."""
        values = ((each, getattr(self, each.name)) for each in msgspec.structs.fields(self))
        return {each.name: value for each, value in values if value is not each.default}


class PairDuration(Struct, kw_only=True):
    """How long an option may run, and what a win then pays, of the stake."""

    duration_s: Annotated[int, Meta(ge=1, le=LARGEST_SECONDS)]
    payout_rate: Annotated[
        str, Meta(description="More than 0 and at most 100; at most four decimals.")
    ]


class PairSettings(Struct, kw_only=True):
    """
    A pair's settings; absent = unchanged. A new one needs `minimum`; `price_decimals` cannot change
    once the pair exists. Amounts have at most their asset's decimals.
    """

    price_decimals: Annotated[int, Meta(ge=0, le=LARGEST_SCALE)] | None = None
    minimum: Amount | None = None
    fee_bps: Annotated[int, Meta(ge=0, le=BASIS_POINTS)] | None = None
    durations: Annotated[list[PairDuration], Meta(max_length=MOST_DURATIONS)] | None = None
    maximum_stake: Amount | None = None
    exposure_limit: Amount | None = None
    stale_after_s: Annotated[int, Meta(ge=1, le=LARGEST_SECONDS)] | None = None
    settlement_age_s: Annotated[int, Meta(ge=1, le=LARGEST_SECONDS)] | None = None

    def given(self) -> dict[str, Any]:
        """The settings that the request names."""
        every: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in every.items() if value is not None}


class PricePush(Struct, kw_only=True):
    """A pair's new price; `time`, when its source had it, is kept and decides nothing."""

    price: Annotated[
        str,
        Meta(description="In quote for one of base, positive, at most `price_decimals` decimals."),
    ]
    time: Time | None = None


class VerificationRequest(Struct, kw_only=True):
    """
    What to verify: everything, one user or one book; `fix` puts right what can be;
    `logged_seals` (each `POSITION:SEAL`, from the log) must still be in the journal.
    """

    fix: bool = False
    user_id: str | None = None
    book: str | None = None
    logged_seals: list[str] = []


class WebhookSettings(Struct, kw_only=True):
    """
    A webhook's settings; absent = unchanged. A new one needs `url`; its `filter` is the monitor's,
    `{}` = everything; its `secret`, where none is given, is made and shown in that answer only;
    its `position`, above which deliveries go on, is the head where none is given.
    """

    url: str | None = None
    filter: dict[str, Any] | None = None
    secret: Annotated[
        str | None,
        Meta(
            description="`whsec_` and the base64 of 16 to 64 bytes, which are the key; or any other"
            " text of 16 to 255 characters, whose UTF-8 bytes are the key."
        ),
    ] = None
    position: Annotated[int, Meta(ge=0)] | None = None
    status: Literal["active", "paused"] | None = None


class TokenRequest(Struct):
    """Whom a development token is for."""

    user_id: UserId
    role: Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})] | None = None


async def read_body(request: Request, limit: int) -> bytes:
    """
    The body of `request`, which is JSON and has at most `limit` bytes; none at all is an object
    without fields.

    One that is too large is taken from the connection up to 16 MiB: a client that is still
    sending when the connection is closed loses the answer (RFC 9112, section 9.6).

    Raises UnsupportedMediaType, BodyTooLarge, or InvalidRequest where it is cut off.
    """
    if not _has_body(request):
        return b"{}"
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json" or not _is_utf8(parameters):
        raise UnsupportedMediaType
    too_large = BodyTooLarge(f"a body has at most {limit} bytes here")
    declared = request.headers.get("content-length", "")
    announced = int(declared) if declared.isdigit() else 0
    # Who waits to be asked for the body is told before it is sent.
    if announced > limit and (announced > _MOST_READ or "expect" in request.headers):
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size <= limit:
                parts.append(part)
            elif size > _MOST_READ:
                break
    except ClientDisconnect:
        raise InvalidRequest("the body was cut off") from None
    if size > limit:
        raise too_large
    return b"".join(parts)


def _has_body(request: Request) -> bool:
    """Whether a body is announced at all (RFC 9112, section 6.3), or a media type for one."""
    headers = request.headers
    announced = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return announced or "content-type" in headers


def _is_utf8(parameters: str) -> bool:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower() in ("utf-8", "utf8", "us-ascii")
    return True


def decode_body(body: bytes, form: type[T]) -> T:
    """`body` as a `form`; raises InvalidRequest or InvalidAmount with a JSON pointer."""
    if _NUL.search(body):
        raise InvalidRequest("the body holds a NUL character")
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        raise refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"the body is not valid JSON: {detail}") from None


def refusal(error: msgspec.ValidationError) -> InvalidRequest | InvalidAmount:
    """The refusal that a decoding `error` amounts to, its path as a JSON pointer."""
    found = _AT.fullmatch(str(error))
    detail, path = (found[1], found[2]) if found else (str(error), "")
    pointer = "".join(
        f"/{_escape(name or index)}" for name, index in _STEP.findall(path) if index != "..."
    )
    missing = _MISSING.fullmatch(detail)
    if missing:
        return InvalidRequest("a value is required", pointer=f"{pointer}/{_escape(missing[1])}")
    if pointer.rpartition("/")[2] in AMOUNT_FIELDS:
        return InvalidAmount('an amount is a decimal string, such as "12.50"', pointer=pointer)
    return InvalidRequest(detail, pointer=pointer)


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")

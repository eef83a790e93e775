"""The AsyncAPI document of `/ws` and `/v1/stream`, made from the types of their messages."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct

from .api.queries import StreamQuery
from .ledger.updates import UpdateFilter
from .ws import closes
from .ws.closes import Close
from .ws.endpoint import SUBPROTOCOL
from .ws.messages import (
    INCOMING,
    OUTGOING,
    AdminMonitorInit,
    Connect,
    Error,
    Heartbeat,
    Ping,
    Pong,
    Refresh,
    Refreshed,
    Resumed,
    UserBalanceInit,
    type_of,
)

Json = dict[str, Any]

_SCHEMA = "#/components/schemas/{name}"
# The last event of a stream; a WebSocket has its close frame.
_CLOSE = "close"
_WEBSOCKET: dict[str, type[Struct]] = {type_of(form): form for form in (*INCOMING, *OUTGOING)}
_STREAM: dict[str, type[Struct]] = {
    **{type_of(form): form for form in OUTGOING if form not in (Refreshed, Pong, Error)},
    _CLOSE: Close,
}


def document(program: str) -> Json:
    """The AsyncAPI 3.0 description of the wire, as of version `program`."""
    messages = _WEBSOCKET | _STREAM
    _, schemas = msgspec.json.schema_components(messages.values(), ref_template=_SCHEMA)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tallywire",
            "version": program,
            "description": "Committed changes on screens: at once, in order, exactly once.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "websocket": _server("ws", "bearer", "ticket", "token"),
            "http": _server("http", "bearer", "ticket"),
        },
        "channels": {"ws": _websocket(), "stream": _stream()},
        "operations": _operations(),
        "components": {
            "schemas": _without_discriminators(schemas),
            "messages": {name: _message(name, form) for name, form in messages.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "ticket": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "ticket",
                    "description": "Of `POST /v1/stream-tickets`: for one connection.",
                },
                "token": {
                    "type": "apiKey",
                    "in": "user",
                    "description": "The JWT, as the field `token` of `connect`.",
                },
            },
        },
    }


@cache
def encoded_document() -> bytes:
    """The description of this program, as JSON."""
    return msgspec.json.encode(document(version("tallywire")))


def _without_discriminators(schema: Any) -> Any:
    """`schema` without OpenAPI's hints at which alternative it is; their tags say so too."""
    if isinstance(schema, list):
        return [_without_discriminators(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_discriminators(each)
        for name, each in schema.items()
        if name != "discriminator"
    }


def _server(protocol: str, *security: str) -> Json:
    return {
        "host": "{host}",
        "protocol": protocol,
        "description": f"`{protocol}s` where TLS stands in front.",
        "variables": {"host": {"default": "127.0.0.1:3000"}},
        "security": [_ref("components", "securitySchemes", name) for name in security],
    }


def _websocket() -> Json:
    ticket = {"type": "object", "properties": {"ticket": {"type": "string"}}}
    return {
        "address": "/ws",
        "title": "WebSocket",
        "description": (
            f"Text messages, each one JSON object; subprotocol `{SUBPROTOCOL}`, offered or not."
            " Fields and types that the reader does not know are ignored. The codes of the close"
            " frame are in `x-close-codes`."
        ),
        "servers": [_ref("servers", "websocket")],
        "messages": {name: _ref("components", "messages", name) for name in _WEBSOCKET},
        "bindings": {"ws": {"method": "GET", "query": ticket, "bindingVersion": "0.1.0"}},
        "x-close-codes": msgspec.to_builtins(closes.ALL),
    }


def _stream() -> Json:
    return {
        "address": "/v1/stream",
        "title": "Server-sent events",
        "description": (
            "The WebSocket's messages: `event` is the type, `data` the message; `id` is"
            " `epoch:position` on what moves the cursor. `Last-Event-ID` goes before `resume`. A"
            f" connection that is closed ends with the event `{_CLOSE}`; a request that is refused"
            " is answered with a problem (RFC 9457)."
        ),
        "servers": [_ref("servers", "http")],
        "messages": {name: _ref("components", "messages", name) for name in _STREAM},
    }


def _operations() -> Json:
    first = (UserBalanceInit, AdminMonitorInit, Resumed, Heartbeat)
    return {
        "connect": _request(Connect, *first),
        "refresh": _request(Refresh, Refreshed),
        "ping": _request(Ping, Pong),
        "tell": {
            **_sending("ws", map(type_of, OUTGOING)),
            "summary": "What a WebSocket is sent.",
        },
        "stream": {
            **_sending("stream", _STREAM),
            "summary": "What a stream is sent.",
            "bindings": {"http": {"method": "GET", "query": _query(), "bindingVersion": "0.3.0"}},
        },
    }


def _request(form: type[Struct], *answers: type[Struct]) -> Json:
    name, channel = type_of(form), _ref("channels", "ws")
    return {
        "action": "receive",
        "channel": channel,
        "summary": _paragraphs(form)[0],
        "messages": [_ref("channels", "ws", "messages", name)],
        "reply": {
            "channel": channel,
            "messages": [_ref("channels", "ws", "messages", type_of(each)) for each in answers],
        },
    }


def _sending(channel: str, names: Iterable[str]) -> Json:
    return {
        "action": "send",
        "channel": _ref("channels", channel),
        "messages": [_ref("channels", channel, "messages", name) for name in names],
    }


def _query() -> Json:
    _, schemas = msgspec.json.schema_components((StreamQuery,), ref_template=_SCHEMA)
    query: Json = schemas[StreamQuery.__name__]
    del query["properties"]["filter"]
    for name in UpdateFilter.__struct_fields__:
        query["properties"][f"filter.{name}"] = {"type": "string"}
    return query


def _message(name: str, form: type[Struct]) -> Json:
    summary, *more = _paragraphs(form)
    message = {
        "name": name,
        "title": form.__name__,
        "summary": summary,
        "payload": {"$ref": _SCHEMA.format(name=form.__name__)},
    }
    return {**message, "description": "\n\n".join(more)} if more else message


def _paragraphs(form: type[Struct]) -> list[str]:
    text = inspect.cleandoc(form.__doc__ or "")
    return [paragraph.replace("\n", " ") for paragraph in text.split("\n\n")]


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *path))}

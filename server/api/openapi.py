"""The OpenAPI document, made from the URL table and the forms that it names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from ..operations.batches import OPERATIONS
from .calls import LONGEST_KEY, Route
from .problems import MEDIA_TYPE
from .schemas import ANSWERS, Problem

_REF = "#/components/schemas/{name}"
_TEXTS = {
    "html": "text/html",
    "text": "text/plain",
    "file": "*/*",
    "events": "text/event-stream",
}
_PARAMETER = re.compile(r"\{(\w+)\}")

_LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "As `resume`, and wins over it.",
    "schema": {"type": "string"},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes the change repeatable: the same request answers the first result.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of `routes`, as of program `version`."""
    routes = tuple(routes)
    forms = {route.takes for route in routes if route.takes and route.method != "GET"}
    forms |= {each.request for each in OPERATIONS.values()}
    forms |= set(ANSWERS)
    _, schemas = msgspec.json.schema_components(
        sorted(forms, key=lambda form: form.__name__), ref_template=_REF
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallywire",
            "version": version,
            "description": "A balance ledger with real-time delivery.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": _summary(route),
        "description": f"For: {route.who.label}.",
        "operationId": _operation_id(route),
        "tags": [_tag(route)],
        "security": _security(route),
        "parameters": _parameters(route),
        "responses": {
            str(route.status): _answer(route),
            "default": {
                "description": "Refused.",
                "content": {MEDIA_TYPE: {"schema": _ref(Problem.__name__)}},
            },
        },
    }
    if route.takes is not None and route.method != "GET":
        operation["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(route.takes)),
            "content": {"application/json": {"schema": _ref(route.takes.__name__)}},
        }
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    schemes = [] if route.who.least is None else ["bearer"]
    if route.stream:
        schemes.append("ticket")
    return [{scheme: []} for scheme in schemes]


def _summary(route: Route) -> str:
    source: Any = route.endpoint
    if route.keyed and route.takes is not None:
        source = route.takes
    return inspect.cleandoc(source.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _operation_id(route: Route) -> str:
    words = re.findall(r"[A-Za-z]+", _PARAMETER.sub(r"by_\1", route.path.removeprefix("/v1")))
    return "_".join([route.method.lower(), *words])


def _tag(route: Route) -> str:
    parts = route.path.split("/")
    if parts[1] != "v1":
        return "service"
    return parts[2]


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    if route.keyed:
        parameters.append(_KEY)
    if route.stream:
        parameters.append(_LAST_EVENT_ID)
    if route.takes is not None and route.method == "GET":
        parameters += _query_parameters(route.takes)
    return parameters


def _query_parameters(form: type[Struct]) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components((form,), ref_template=_REF)
    parameters = []
    required = components[form.__name__].get("required", ())
    for name, schema in components[form.__name__]["properties"].items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in required}
        if schema.get("type") == "object":
            # metadata.KEY=value: keys of any name, one parameter each.
            parameter["description"] = f"{name}.KEY=value"
        parameters.append({**parameter, "schema": schema})
    return parameters


def _answer(route: Route) -> dict[str, Any]:
    content: dict[str, Any]
    if route.answer in _TEXTS:
        content = {_TEXTS[route.answer]: {"schema": {"type": "string"}}}
    elif route.answer == "TransactionOrUpdate":
        schema = {"anyOf": [_ref("Transaction"), _ref("SeenUpdate")]}
        content = {"application/json": {"schema": schema}}
    elif route.answer == "object":
        content = {"application/json": {"schema": {"type": "object"}}}
    else:
        content = {"application/json": {"schema": _ref(route.answer)}}
    if route.csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    answer: dict[str, Any] = {"description": "Done.", "content": content}
    if route.status == 201:
        answer["headers"] = {
            "Location": {"schema": {"type": "string"}},
            "Idempotent-Replayed": {"schema": {"type": "string", "enum": ["true"]}},
        }
    return answer


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}

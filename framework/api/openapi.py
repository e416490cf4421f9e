"""The OpenAPI document, made from the table of routes and the structs that they take and give.

Format: https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from serenity import __version__
from serenity.framework.api.routes import Asked, Events, Route, Text
from serenity.wire.messages import api
from serenity.wire.messages.tokens import Role

Document = dict[str, Any]

# What the gate, or the framework as a whole, may say to any request.
_ANY = {
    400: "no such shape: a parameter, a header, or no JSON",
    401: "over TCP: no token, or none that is known",
    403: "that is not allowed to who asks",
    429: "too many requests; Retry-After says when",
    500: "a bug in Serenity",
    503: "not ready, or the store cannot be written; try again",
}
_WITH_BODY = {
    408: "the body did not come in time",
    413: "the body is too large",
    415: "the body is no JSON",
    422: "refused: a value is not possible",
}
_OF_ROUTE = {
    404: "there is none of that name",
    409: "the name is ambiguous, or taken",
    410: "it is gone",
    502: "an agent or the master does not answer",
}
_NUMBERED = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "the last event that was seen; those after it follow.  Without it those from now on",
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
}


def with_document(routes: Sequence[Route]) -> tuple[Route, ...]:
    """`routes`, and the route that serves the document of all of them, itself included."""

    def do(_: Asked) -> bytes:
        return encoded

    itself = Route("GET", "/v1/openapi.json", "openapi", "This document.", Role.READ, Text("application/json"), do)
    everything = (*routes, itself)
    encoded = msgspec.json.encode(document(everything))
    return everything


def document(routes: Sequence[Route]) -> Document:
    structs = {each.answer for each in routes if isinstance(each.answer, type)}
    structs |= {each.body for each in routes if each.body is not None}
    _, components = msgspec.json.schema_components(
        [*sorted(structs, key=lambda each: each.__name__), api.Problem, api.Event],
        ref_template="#/components/schemas/{name}",
    )
    paths: dict[str, Document] = {}
    for each in routes:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Serenity",
            "version": __version__,
            "description": "Best-effort jobs on the slack of a Mesos cluster.  Over the framework's Unix socket the"
            " user who calls is known, and needs no token.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> Document:
    operation: Document = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"For the role {route.role} and those above it.",
        "parameters": _parameters(route),
        "responses": {str(route.status): {"description": "done", "content": _content(route)}, **_problems(route)},
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(route.body)}},
        }
    return operation


def _parameters(route: Route) -> list[Document]:
    found = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for each in route.path_names
    ]
    found += [
        {"name": each.name, "in": "query", "required": False, "description": each.text, "schema": each.schema}
        for each in route.parameters
    ]
    return [*found, _NUMBERED] if isinstance(route.answer, Events) else found


def _content(route: Route) -> Document:
    match route.answer:
        case Events():
            text = "Each event's data is an Event in JSON; a comment comes every ten seconds."
            return {"text/event-stream": {"schema": {"type": "string", "description": text}}}
        case Text(media_type):
            return {media_type.partition(";")[0]: {"schema": {} if "json" in media_type else {"type": "string"}}}
        case struct:
            return {"application/json": {"schema": _reference(struct)}}


def _problems(route: Route) -> Document:
    statuses = {**_ANY, **(_WITH_BODY if route.body is not None else {})}
    statuses |= {status: _OF_ROUTE[status] for status in route.problems}
    content = {"application/json": {"schema": _reference(api.Problem)}}
    return {str(status): {"description": text, "content": content} for status, text in sorted(statuses.items())}


def _reference(struct: type[msgspec.Struct]) -> Document:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}

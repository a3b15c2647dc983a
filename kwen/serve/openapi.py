"""The OpenAPI document: bodies are read by the server itself, so their schemas are put in here."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from kwen.serve.protocol import Body

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        },
    },
}
_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request is wrong; the error says where.",
    401: "No valid API key.",
    403: "Host or Origin is not allowed.",
    404: "No such model.",
    408: "A time limit.",
    413: "The body is too large.",
    429: "Too many requests wait; Retry-After says when to come again.",
    503: "The server is stopping.",
}


def operation(body: type[Body]) -> dict[str, Any]:
    """What a route with this body says of itself."""
    error = {"content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model="Error")}}}}
    schema = {"$ref": _REFERENCE.format(model=body.__name__)}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
        "responses": {
            200: {"description": "The answer, or its events.", "content": {"application/json": {}, "text/event-stream": {}}},
            **{status: {"description": text, **error} for status, text in _ERRORS.items()},
        },
    }


def described(app: FastAPI, bodies: Sequence[type[Body]]) -> Callable[[], dict[str, Any]]:
    """What makes the document of `app`, once."""
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(get_openapi(title=app.title, version=app.version, routes=app.routes))
            _, schemas = models_json_schema([(body, "validation") for body in dict.fromkeys(bodies)], ref_template=_REFERENCE)
            components = made.setdefault("components", {}).setdefault("schemas", {})
            components.update(schemas["$defs"])
            components["Error"] = _ERROR
        return made

    return document

"""What a client did wrong, in the form its library reads: OpenAI's, and Anthropic's on /v1/messages."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kwen.errors import UserError

ANTHROPIC = "/v1/messages"
_PLACE = re.compile(r"(messages|tools|input|system)\b[\w.\[\]]*")
_ANTHROPIC_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error",
}  # fmt: skip
_LONGEST = 2000  # characters of a message: a client's own text may be quoted in it


class ApiError(Exception):
    """An answer other than the one asked for.

    status: of HTTP. message: what, where, what to do. type, param, code: OpenAI's fields. retry_after: seconds to wait.
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        message = message.encode("utf-8", "replace").decode()
        self.status, self.type, self.param, self.code, self.retry_after = status, type, param, code, retry_after
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + "..."

    @property
    def headers(self) -> dict[str, str]:
        """What goes with it besides the body."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}

    def body(self, path: str = "") -> dict[str, Any]:
        """The JSON of the answer to a request for `path`."""
        if path.startswith(ANTHROPIC):
            kind = _ANTHROPIC_TYPES.get(self.status, "api_error")
            return {"type": "error", "error": {"type": kind, "message": self.message}}
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def unknown_model(name: str, served: Mapping[str, Any]) -> ApiError:
    """No model of that name; says which there are."""
    text = f"the model {name!r} does not exist; this server has {', '.join(served)}"
    return ApiError(404, text, param="model", code="model_not_found")


def too_many_waiting(waiting: int) -> ApiError:
    """The queue is full."""
    text = f"{waiting} requests wait already, and no more are taken; try again in a second"
    return ApiError(429, text, "rate_limit_error", code="queue_full", retry_after=1)


def stopping() -> ApiError:
    """The server is on its way out."""
    return ApiError(503, "the server is stopping", "server_error", code="stopping", retry_after=5)


def server_fault() -> ApiError:
    """A fault of ours; what it was stands in the server's log, not in the answer."""
    return ApiError(500, "the server failed at this request; its log says how", "server_error", code="internal_error")


def from_user_error(error: UserError) -> ApiError:
    """What the engine refuses, with the field that its line begins with."""
    text = " ".join(str(error).split())
    if text.startswith("template variables"):
        return ApiError(400, text, param="chat_template_kwargs", code="invalid_value")
    place = _PLACE.match(text)
    code = "context_length_exceeded" if "context" in text and "tokens" in text else None
    return ApiError(400, text, param=place.group() if place else None, code=code)


def from_validation(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a request's body."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    text = first["msg"].removeprefix("Value error, ").removeprefix("Invalid JSON: ")
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {text}", code="invalid_json")
    place = ".".join(map(str, first["loc"])) or None
    if first["type"] == "missing":
        return ApiError(400, f"{place} is missing, and required", param=place, code="missing_required_parameter")
    text = text[:1].lower() + text[1:]
    return ApiError(400, f"{place or 'the body'}: {text}", param=place, code="invalid_value")

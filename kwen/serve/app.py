"""The application: paths, what stands before them, and what becomes of errors."""

from collections.abc import Awaitable, Callable
from typing import Any, TextIO

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

import kwen
from kwen.errors import UserError
from kwen.serve.access import AccessLog, Gate
from kwen.serve.chat_completions import chat_completions
from kwen.serve.completions import completions
from kwen.serve.errors import ApiError, from_user_error, server_fault, stopping
from kwen.serve.messages import count_tokens, messages
from kwen.serve.metrics import CONTENT_TYPE
from kwen.serve.models import Models, ServedModel
from kwen.serve.openapi import described, operation
from kwen.serve.protocol import Body, ChatCompletionRequest, CompletionRequest, MessagesRequest, ResponsesRequest
from kwen.serve.responses import responses
from kwen.serve.server import Server, error_response
from kwen.serve.settings import Settings

Endpoint = Callable[[Server, Request], Awaitable[Response]]

_POSTS: dict[str, tuple[Endpoint, type[Body], str]] = {
    "/v1/chat/completions": (chat_completions, ChatCompletionRequest, "Go on with a conversation."),
    "/v1/completions": (completions, CompletionRequest, "Continue raw prompts, or score them."),
    "/v1/responses": (responses, ResponsesRequest, "Go on with a conversation, told as typed items."),
    "/v1/messages": (messages, MessagesRequest, "Go on with a conversation, in Anthropic's form."),
    "/v1/messages/count_tokens": (count_tokens, MessagesRequest, "Count the tokens of a conversation."),
}
"""What answers a POST, the body it takes, and one line for the document."""


def create_app(models: list[ServedModel], settings: Settings, log: TextIO | None = None) -> FastAPI:
    """The server's application, with the `Server` at `app.state.server`. log: where the access log goes; None: nowhere.

    The services of the models are the caller's to close. Raises UserError for no models, or two of one name.
    """
    server = Server(Models(models), settings)
    # its pages of documentation load scripts from elsewhere, and its telemetry follows the environment: both are off
    app = FastAPI(title="Kwen", version=kwen.__version__, docs_url=None, redoc_url=None, telemetry=_SILENT)
    app.state.server = server
    for path, (endpoint, body, text) in _POSTS.items():
        app.add_api_route(path, _handler(server, endpoint), methods=["POST"], summary=text, **operation(body))
    _add_reading(app, server)
    app.openapi = described(app, [body for _, body, _ in _POSTS.values()])  # type: ignore[method-assign]
    _add_errors(app)

    def told(scope: Scope, status: int, seconds: float) -> None:
        # a route's own path, so that no client makes new labels
        server.metrics.served(getattr(scope.get("route"), "path", "other"), status, seconds)

    app.add_middleware(_Counting, server=server)
    app.add_middleware(Gate, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.cors_origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    app.add_middleware(AccessLog, out=log, told=told)
    return app


def _handler(server: Server, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        if server.draining:
            raise stopping()
        try:
            return await endpoint(server, request)
        finally:
            server.let_go(request)

    handle.__name__ = endpoint.__name__
    return handle


def _add_reading(app: FastAPI, server: Server) -> None:
    """What a GET tells: the models, whether the server lives and is ready, and its figures."""

    @app.get("/v1/models", summary="The models by name.")
    async def list_models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [_told(served) for served in server.models.values()]})

    @app.get("/v1/models/{name:path}", summary="One model.", responses={404: {"description": "No such model."}})
    async def get_model(name: str) -> JSONResponse:
        return JSONResponse(_told(server.models[name]))

    @app.get("/health", summary="Whether the process lives.")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/ready", summary="Whether requests are taken.", responses={503: {"description": "The server is stopping."}})
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": not server.draining}, 503 if server.draining else 200)

    @app.get("/metrics", summary="Figures for Prometheus.")
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type=CONTENT_TYPE)


def _told(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "kwen",
        "max_model_len": served.context,
    }


def _add_errors(app: FastAPI) -> None:
    """Every exception as an error in the form of the API that was called."""

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return error_response(error, request.url.path)

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> Response:
        return error_response(from_user_error(error), request.url.path)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        text = f"{request.method} {request.url.path[:200]}: {error.detail}"
        response = error_response(ApiError(error.status_code, text, code="not_found"), request.url.path)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return error_response(server_fault(), request.url.path)


_SILENT: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


class _Counting:
    """Counts the requests for answers that are in progress, for the end of the server to wait for."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counts = scope["type"] == "http" and scope.get("method") == "POST"
        self._server.running += counts
        try:
            await self._app(scope, receive, send)
        finally:
            self._server.running -= counts

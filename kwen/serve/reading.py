"""From the bytes of a request to its typed body, neither more of them nor longer than the settings allow."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from kwen.serve.errors import ApiError, from_validation
from kwen.serve.settings import Settings

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")


async def read_body(request: Request, settings: Settings, take: Callable[[int], None]) -> bytes:
    """The body. `take` is told of the bytes of each part, and may refuse them.

    Raises ApiError: 413 as soon as it is too large, 408 where it does not come in time.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > settings.max_body_bytes:
        raise _too_large(settings)
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > settings.max_body_bytes:
                    raise _too_large(settings)
                take(len(part))
                parts.append(part)
    except TimeoutError:
        text = f"the body did not arrive within {settings.body_seconds:g} s"
        raise ApiError(408, text, code="body_timeout") from None
    except ClientDisconnect:
        raise client_left() from None
    return b"".join(parts)


def parse(kind: type[B], data: bytes) -> B:
    """A body of this kind. Raises ApiError saying which field is wrong and how."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise from_validation(error) from None


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives; it is cancelled, and ApiError raised, when the client leaves. After the body has been read."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_until_left(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise client_left()
        return task.result()
    finally:
        task.cancel()
        left.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


def client_left() -> ApiError:
    """For the log alone: nobody reads it."""
    return ApiError(499, "the client left", code="client_left")


async def _until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_large(settings: Settings) -> ApiError:
    text = f"the body is larger than {settings.max_body_bytes:,} bytes, the most that this server takes"
    return ApiError(413, text, code="body_too_large")

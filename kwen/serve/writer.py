"""What turns an answer's deltas into an API's own objects: the events of its stream, and the whole at the end."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from kwen.engine.completion import Delta
from kwen.serve.asking import Job
from kwen.serve.errors import ApiError
from kwen.serve.events import data_event
from kwen.serve.models import ServedModel
from kwen.serve.replies import Usage


class Writer(ABC):
    """Writes one request's answers. `begin`, `take` for each delta, `end`; then `result` is what is sent without a stream.

    usage: tokens so far. created: seconds since 1970.
    """

    last = b""
    """What closes a stream after its last event."""

    def __init__(self, served: ServedModel, jobs: Sequence[Job]) -> None:
        self.served, self.jobs = served, jobs
        self.created = int(time.time())
        self.usage = Usage()

    def event(self, payload: dict[str, Any]) -> bytes:
        """An object of the stream in its wire form."""
        return data_event(payload)

    @abstractmethod
    def begin(self) -> list[dict[str, Any]]:
        """What a stream says before the first token."""

    @abstractmethod
    def take(self, number: int, delta: Delta) -> list[dict[str, Any]]:
        """What the next delta of an answer adds to the stream."""

    @abstractmethod
    def end(self) -> list[dict[str, Any]]:
        """What a stream says when every answer is complete."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """All of it as one object."""

    def failure(self, error: ApiError) -> dict[str, Any]:
        """How a stream that has begun tells an error."""
        return error.body()

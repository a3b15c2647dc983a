"""What happens in a run of an agent, as plain values: for the command line, the page, the saved run, and training data.

`source` says who wrote the text of an event: what comes from a tool is data, whoever reads the event must not take it for the
model's words or the user's wish.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic

from kwen.agent.tool import File

_BYTES_AS_BASE64 = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid")


@dataclass(frozen=True)
class TextDelta:
    """The next piece of what the model says to the user, as it comes."""

    step: int
    text: str
    type: Literal["text_delta"] = "text_delta"
    source: Literal["model"] = "model"


@dataclass(frozen=True)
class Thought:
    """What the model told itself in a step, whole."""

    step: int
    text: str
    type: Literal["thought"] = "thought"
    source: Literal["model"] = "model"


@dataclass(frozen=True)
class CallStart:
    """A tool is about to run. `arguments` is JSON text."""

    step: int
    id: str
    name: str
    arguments: str
    type: Literal["call_start"] = "call_start"
    source: Literal["model"] = "model"


@dataclass(frozen=True)
class CallEnd:
    """What came of a call, as the model is shown it: `observation`, and whether it tells of an error.

    A call that could not be read has no CallStart, perhaps no name, and `arguments` as the model wrote them.
    """

    step: int
    id: str
    name: str
    arguments: str
    observation: str
    error: bool = False
    images: tuple[bytes, ...] = ()
    files: tuple[File, ...] = ()
    seconds: float = 0.0
    type: Literal["call_end"] = "call_end"
    source: Literal["tool"] = "tool"
    __pydantic_config__: ClassVar[pydantic.ConfigDict] = _BYTES_AS_BASE64


@dataclass(frozen=True)
class Answer:
    """The model's answer: the run ends with it."""

    step: int
    text: str
    type: Literal["answer"] = "answer"
    source: Literal["model"] = "model"


@dataclass(frozen=True)
class Limit:
    """A budget is used up and the run ends without an answer: "steps", "tokens", or "context"."""

    step: int
    reason: Literal["steps", "tokens", "context"]
    text: str
    type: Literal["limit"] = "limit"
    source: Literal["agent"] = "agent"


Event = Annotated[TextDelta | Thought | CallStart | CallEnd | Answer | Limit, pydantic.Field(discriminator="type")]


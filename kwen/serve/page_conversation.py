"""A conversation as the browser keeps it, checked when it comes back, and what can be made of it.

The server keeps no conversation: each request brings the one it is about. Messages are OpenAI's; those of tools may carry
`images`, PNG in base64, which no model is shown.
"""

import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from kwen.agent.events import CallEnd
from kwen.errors import UserError
from kwen.serve.page_text import fenced
from kwen.text.messages import validate_messages

IMAGE_BYTES = 8 << 20
"""Of the images (as base64) that a conversation keeps; beyond it the oldest go."""
_PNG = b"\x89PNG\r\n\x1a\n"
_TITLE_LENGTH = 60


class Sampling(pydantic.BaseModel):
    """How answers are sampled. seed: None draws one for each answer."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")
    temperature: float = pydantic.Field(0.0, ge=0, le=5)
    top_p: float = pydantic.Field(1.0, gt=0, le=1)
    top_k: int = pydantic.Field(0, ge=0)
    max_new_tokens: int = pydantic.Field(512, ge=1)
    repetition_penalty: float = pydantic.Field(1.0, gt=0, le=5)
    seed: int | None = pydantic.Field(None, ge=0, lt=1 << 63)

    @pydantic.field_validator("seed", mode="before")
    @classmethod
    def _nothing_is_none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value


class Side(pydantic.BaseModel):
    """What was said with one model, the system prompt left out."""

    model: str
    messages: list[dict[str, Any]] = []


class Conversation(pydantic.BaseModel):
    """Everything about a conversation; with two sides, two models answer the same user."""

    id: str = pydantic.Field(default_factory=lambda: uuid.uuid4().hex, pattern=r"^[0-9a-f]{32}$")
    title: str = pydantic.Field("", max_length=200)
    updated: float = 0.0
    system: str = ""
    sampling: Sampling = Sampling()
    tools: list[str] = []
    sides: list[Side] = pydantic.Field([], max_length=2)

    @classmethod
    def read(cls, value: Any) -> "Conversation | None":
        """The browser's conversation; None where it has none yet. Raises UserError for what is none."""
        if not value:
            return None
        try:
            conversation = cls.model_validate(value)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(f"this conversation cannot be read ({place}: {first['msg']}); begin a new one") from None
        for side in conversation.sides:
            if side.messages:
                validate_messages(side.messages, "this conversation")
                _keep_only_images(side.messages)
        return conversation

    def touched(self) -> dict[str, Any]:
        """The JSON for the browser to keep, named after its first question, newest images first to stay."""
        first = next((message["content"] for side in self.sides for message in side.messages if message["role"] == "user"), "")
        line = next((line.strip() for line in str(first).splitlines() if line.strip()), "")
        self.title = self.title or (line if len(line) <= _TITLE_LENGTH else line[: _TITLE_LENGTH - 1].rstrip() + "…")
        self.updated = time.time()
        left = IMAGE_BYTES
        for messages in [side.messages for side in self.sides]:
            for message in reversed(messages):
                if "images" in message:
                    left -= sum(map(len, message["images"]))
                    if left < 0:
                        del message["images"]
        return self.model_dump()

    def openai(self, side: Side) -> list[dict[str, Any]]:
        """A side as OpenAI's messages, the system prompt first, without images."""
        head = [{"role": "system", "content": self.system}] if self.system else []
        return [*head, *({key: value for key, value in message.items() if key != "images"} for message in side.messages)]


def with_images(messages: list[dict[str, Any]], ends: list[CallEnd]) -> list[dict[str, Any]]:
    """The messages, those of tools with the images of their calls."""
    images = {end.id: [base64.b64encode(image).decode() for image in end.images] for end in ends if end.images}
    return [
        {**message, "images": images[message["tool_call_id"]]} if message.get("tool_call_id") in images else message
        for message in messages
    ]


def question_before(messages: list[dict[str, Any]], index: int) -> int:
    """Where the user's message is that the message at `index` answers, or is itself. Raises UserError where there is none."""
    for place in range(min(index, len(messages) - 1), -1, -1):
        if messages[place]["role"] == "user":
            return place
    raise UserError("there is no message of yours before this one")


def turn_of(messages: list[dict[str, Any]], index: int) -> int:
    """How many messages of the user's come before `index`."""
    return sum(message["role"] == "user" for message in messages[:index])


def place_of_turn(messages: list[dict[str, Any]], turn: int) -> int:
    """Where the user's message number `turn` (from 0) is; the end where there are fewer."""
    places = [index for index, message in enumerate(messages) if message["role"] == "user"]
    return places[turn] if turn < len(places) else len(messages)


def exported(conversation: Conversation, form: Literal["json", "markdown"]) -> tuple[str, str, str]:
    """(file name, media type, text) of a conversation to keep elsewhere."""
    name = re.sub(r"[^\w-]+", "-", conversation.title).strip("-")[:40] or "conversation"
    if form == "json":
        sides = [{"model": side.model, "messages": conversation.openai(side)} for side in conversation.sides]
        content = sides[0] if len(sides) == 1 else {"sides": sides}
        return f"{name}.json", "application/json", json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    parts = [f"# {conversation.title}"]
    if conversation.system:
        parts.append(f"*System prompt:* {conversation.system}")
    for side in conversation.sides:
        parts += [f"## {side.model}", *(_as_markdown(message) for message in side.messages)]
    return f"{name}.md", "text/markdown", "\n\n".join(part for part in parts if part) + "\n"


def _as_markdown(message: Mapping[str, Any]) -> str:
    content = str(message.get("content") or "")
    if message["role"] == "tool":
        pictures = [f"![image](data:image/png;base64,{image})" for image in message.get("images", ())]
        return "\n\n".join([fenced(content), *pictures])
    parts = [f"**{'You' if message['role'] == 'user' else 'Model'}**"]
    if thought := message.get("reasoning_content"):
        parts.append("\n".join(f"> {line}" for line in str(thought).splitlines()))
    parts += [content] if content else []
    for call in message.get("tool_calls") or ():
        parts += [f"*{call['function']['name']}*", fenced(str(call["function"]["arguments"]), "json")]
    return "\n\n".join(parts)


def _keep_only_images(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        if "images" in message:
            given = message["images"] if isinstance(message["images"], list) and message["role"] == "tool" else []
            message["images"] = [image for image in given if _is_png(image)]


def _is_png(image: Any) -> bool:
    try:
        return isinstance(image, str) and base64.b64decode(image, validate=True).startswith(_PNG)
    except binascii.Error:
        return False

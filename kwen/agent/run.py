"""A run of an agent: its answer, its steps, its files; saved, shown again without model or tools, made a training example."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydantic

from kwen.agent.events import CallEnd, Event, TextDelta
from kwen.agent.tool import File
from kwen.errors import UserError
from kwen.files import write_bytes


@dataclass
class Run:
    """What was asked, what happened, and what came of it.

    answer: what the model said last, "" where a limit came first. events: everything in order. messages: the conversation in
    OpenAI's form, with which the next run can go on; what was said before this run is part of it, `asked` counts those messages
    and the question.
    """

    question: str
    call_format: str
    tools: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    events: list[Event] = field(default_factory=list)
    answer: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    format: Literal["kwen agent run"] = "kwen agent run"
    version: Literal[1] = 1

    @property
    def steps(self) -> list[Event]:
        """The events without the pieces of text, whose whole is in the answer and the messages."""
        return [event for event in self.events if not isinstance(event, TextDelta)]

    @property
    def calls(self) -> list[CallEnd]:
        """What came of each call."""
        return [event for event in self.events if isinstance(event, CallEnd)]

    @property
    def files(self) -> list[File]:
        """The files that tools made, each as it was last, and their images, named after the call."""
        found: dict[str, File] = {}
        for end in self.calls:
            for file in end.files:
                found[file.name] = file
            written = {file.data for file in end.files}
            for number, image in enumerate(end.images, start=1):
                if image not in written:
                    name = f"{end.id}-{number}.png"
                    found[name] = File(name, image)
        return list(found.values())

    def save(self, path: Path | str) -> None:
        """Write the run as JSON, at once or not at all; images and files in base64."""
        write_bytes(path, _SAVED.dump_json(self, indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path | str) -> "Run":
        """A saved run. Raises UserError for what is none."""
        try:
            return _SAVED.validate_json(Path(path).read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: not a saved run of an agent ({place or 'the file'}: {first['msg']})") from None

    def replay(self) -> Iterator[Event]:
        """The same events again; nothing is generated and no tool runs."""
        yield from self.events

    def sample(self) -> dict[str, Any]:
        """The conversation as a row of a fine-tuning file: {"messages", "tools"} in OpenAI's form.

        Thoughts before a call become the text before it, so that a model without a place for thoughts learns them too. Raises
        UserError where the run has no answer to learn.
        """
        if not self.answer or self.messages[-1]["role"] != "assistant":
            raise UserError("this run ended without an answer; only runs with one can be learned from")
        messages = []
        for message in self.messages:
            message = dict(message)
            thought = message.pop("reasoning_content", "")
            if message.get("tool_calls") and not message.get("content"):
                message["content"] = thought
            messages.append(message)
        return {"messages": messages, "tools": self.tools}


_SAVED = pydantic.TypeAdapter(Run)

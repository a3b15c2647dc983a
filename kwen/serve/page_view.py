"""How a conversation looks: OpenAI's messages as those of Gradio's chatbot.

    user        the question, as typed
    assistant   a thought, folded; what it says
    tool        what was called with what came of it, folded; its images, open

What a model or a tool wrote is never taken for HTML. `Shown` also tells which message each line of the page is from, for
regenerating and editing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kwen.agent import events
from kwen.engine.hermes import THINK
from kwen.engine.tool_calls import call_message
from kwen.serve.page_text import fenced, safe_markdown, split_thought, typed

_TITLE_LENGTH = 70


@dataclass
class Shown:
    """The chatbot's messages, and for each the index of the message that it shows."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)

    def add(self, origin: int, role: str, content: str, **metadata: Any) -> None:
        """One line more; with `title` among the metadata it is folded."""
        message = {"role": role, "content": {"type": "text", "text": content}}
        self.messages.append(message | ({"metadata": metadata} if metadata else {}))
        self.origins.append(origin)


def shown(messages: Sequence[Mapping[str, Any]], running: bool = False) -> Shown:
    """What the page shows of these messages; running: the last one is still being written."""
    page = Shown()
    results = {message.get("tool_call_id"): message for message in messages if message["role"] == "tool"}
    for index, message in enumerate(messages):
        content = str(message.get("content") or "")
        if message["role"] == "user":
            page.add(index, "user", typed(content))
        elif message["role"] == "tool" and not _answers_a_call(message, messages):
            page.add(index, "assistant", fenced(content), title="a call that could not be read", status="done")
        elif message["role"] == "assistant":
            last = running and index == len(messages) - 1
            thought, answer = split_thought(content)
            thought = str(message.get("reasoning_content") or thought)
            if thought:
                thinking = last and not answer and not message.get("tool_calls")
                page.add(index, "assistant", safe_markdown(thought), title="Thought", status="pending" if thinking else "done")
            if answer.strip():
                page.add(index, "assistant", safe_markdown(answer))
            for call in message.get("tool_calls") or ():
                _add_call(page, index, call, results.get(call.get("id")), running)
    return page


def with_thoughts_apart(message: dict[str, Any]) -> dict[str, Any]:
    """An assistant's message with thoughts that stand in its content moved to `reasoning_content`."""
    thought, answer = split_thought(str(message.get("content") or ""))
    return {**message, "content": answer, "reasoning_content": thought} if thought else message


class Turn:
    """A run of an agent as messages, while it goes on: `messages` grows with each event.

    inside_thought: what comes as text begins in a thought whose mark stands in the prompt.
    """

    def __init__(self) -> None:
        self.steps: dict[int, list[dict[str, Any]]] = {}
        self.ends: list[events.CallEnd] = []
        self.notice = ""
        self.inside_thought = False

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All steps' messages so far."""
        return [message for step in self.steps.values() for message in step]

    def add(self, event: events.Event) -> None:
        """Take the next event."""
        if isinstance(event, events.Limit):
            self.notice = event.text
            return
        if isinstance(event, events.Answer):
            return
        step = self.steps.setdefault(event.step, [{"role": "assistant", "content": THINK if self.inside_thought else ""}])
        if isinstance(event, events.TextDelta):
            step[0]["content"] += event.text
        elif isinstance(event, events.Thought):
            step[0]["reasoning_content"] = event.text
        elif isinstance(event, events.CallStart):
            step[0].setdefault("tool_calls", []).append(call_message(event.id, event.name, event.arguments))
        else:
            self.ends.append(event)
            step.append({"role": "tool", "content": event.observation, "tool_call_id": event.id, "name": event.name})

    def unfinished(self, finished: int) -> list[dict[str, Any]]:
        """What the steps after the first `finished` ones said, as history that can go on: no call without its result."""
        kept: list[dict[str, Any]] = []
        for number, (first, *results) in list(self.steps.items()):
            if number <= finished:
                continue
            answered = {result["tool_call_id"] for result in results}
            calls = [call for call in first.get("tool_calls", ()) if call["id"] in answered]
            called = {call["id"] for call in calls}
            if calls or first["content"].strip():
                said = {key: value for key, value in first.items() if key != "tool_calls"}
                kept.append(said | ({"tool_calls": calls} if calls else {}))
                kept += [result for result in results if result["tool_call_id"] in called]
        return kept


def _answers_a_call(result: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bool:
    known = {call.get("id") for message in messages for call in message.get("tool_calls") or ()}
    return result.get("tool_call_id") in known


def _add_call(page: Shown, origin: int, call: Mapping[str, Any], result: Mapping[str, Any] | None, running: bool) -> None:
    function = call["function"]
    written = function["arguments"] if isinstance(function["arguments"], str) else json.dumps(function["arguments"])
    parts = [_arguments(str(function["name"]), written)]
    if result is not None:
        parts += [fenced(str(result.get("content") or ""), "text")]
    status = "pending" if result is None and running else "done"
    page.add(origin, "assistant", "\n\n".join(parts), title=_title(str(function["name"]), written), status=status)
    for image in (result or {}).get("images", ()):
        page.add(origin, "assistant", f"![image made by {_plain(str(function['name']))}](data:image/png;base64,{image})")


def _arguments(name: str, written: str) -> str:
    """The arguments as code: Python as such, other ones as JSON."""
    try:
        arguments = json.loads(written)
    except ValueError:
        return fenced(written)
    if isinstance(arguments, dict) and list(arguments) == ["code"]:
        return fenced(str(arguments["code"]), "python" if name == "python" else "")
    return fenced(json.dumps(arguments, indent=2, ensure_ascii=False), "json")


def _title(name: str, written: str) -> str:
    """`calculator  17 * 23`: the tool, and its arguments as far as a line holds them."""
    try:
        arguments = json.loads(written)
    except ValueError:
        arguments = written
    values = arguments.values() if isinstance(arguments, dict) else [arguments]
    line = ", ".join(" ".join(str(value).split()) for value in values)
    line = line if len(line) <= _TITLE_LENGTH else line[: _TITLE_LENGTH - 1] + "…"
    return f"{_plain(name)} · {_plain(line)}" if line else _plain(name)


def _plain(text: str) -> str:
    """Text that is neither Markdown nor HTML, for the few places that cannot be code."""
    return "".join(f"&#{ord(character)};" if character in "<>&*_`[]!\\$|~" else character for character in text)

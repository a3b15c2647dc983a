"""The ReAct call format of Qwen-1 (report 8.2 and 8.3): tools told in the question, calls written as lines of plain text.

    Question: ...            the user's turn, below the tools and the legend
    Thought: ...             from here on one assistant turn, however many calls it takes
    Action: name
    Action Input: {...}
    Observation: result      ours: generation stops before it and goes on after "Thought:"
    Thought: I now know the final answer.
    Final Answer: ...

The instruction's wording is what those models were trained on, so it stands here word for word.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kwen.engine.lenient_json import StrictJson, load_arguments
from kwen.engine.tool_calls import (
    ArgumentsDelta,
    CallEnd,
    CallParser,
    CallStart,
    ContentDelta,
    TextRun,
    ThoughtDelta,
)
from kwen.errors import UserError
from kwen.text.control import as_json
from kwen.text.messages import Message, validate_messages, validate_tools

STOP = ("Observation:", "Observation:\n")
"""Words that end the model's part: what follows is ours to write."""

_TOOL = (
    "{name}: Call this tool to interact with the {human} API. What is the {human} API useful for? {description}"
    " Parameters: {parameters} {hint}"
)
_INSTRUCTION = """Answer the following questions as best you can. You have access to the following APIs:

{tools}

Use the following format:

Question: the input question you must answer
Thought: you should always think about what to do
Action: the action to take, should be one of [{names}]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can be repeated zero or more times)
Thought: I now know the final answer
Final Answer: the final answer to the original input question

Begin!"""
_JSON_HINT = "Format the arguments as a JSON object."
_CODE_HINT = "Enclose the code within triple backticks (`) at the beginning and end of the code."
_KNOWN = "I now know the final answer."


@dataclass(frozen=True)
class ReActPrompt:
    """A conversation as plain turns, and the text that already stands in the assistant's turn to be continued."""

    messages: list[dict[str, Any]]
    opening: str


def react_prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> ReActPrompt:
    """A conversation with calls and results, retold for a model that knows only text (report 8.3).

    The instruction stands with the last user message. A call with its result becomes part of the assistant turn around it; if a
    result comes last, that turn stays open and ends with `Thought:`. Raises UserError for a result without a call before it.
    """
    checked, defined = validate_messages(messages), validate_tools(tools)
    code = {_function(tool)["name"] for tool in defined or () if _code_parameter(tool)}
    turns: list[dict[str, Any]] = []
    pending: dict[str, str] = {}  # id -> the call's text, of calls whose results are still to come
    for number, message in enumerate(checked):
        text = message["content"].lstrip("\n").rstrip()
        if message["role"] in ("system", "user"):
            turns.append({"role": message["role"], "content": text})
            pending = {}
        elif message["role"] == "assistant":
            calls = _calls(message, code)
            thought = (message.get("reasoning_content") or "").strip()
            if calls:
                said = thought or text.removeprefix("Thought:").strip()
                _continue(turns, f"Thought: {said}")
            elif number + 1 < len(checked) and checked[number + 1]["role"] == "tool":  # a call that could not be read
                _continue(turns, f"Thought: {thought}\n{text}" if thought else text)
            elif defined:
                _continue(turns, f"Thought: {thought or _KNOWN}\nFinal Answer: {text}")
            else:
                _continue(turns, text)
            pending = calls
        else:
            if not turns or turns[-1]["role"] != "assistant":
                raise UserError(f"messages[{number}]: a tool result needs the assistant's call before it")
            wanted = message.get("tool_call_id", "")
            call = pending.pop(wanted if wanted in pending else next(iter(pending), ""), "")
            turns[-1]["content"] += f"{call}\nObservation: {text}"
    opening = ""
    if checked[-1]["role"] == "tool":
        opening = turns.pop()["content"] + "\nThought:"
    if defined:
        asked = next((turn for turn in reversed(turns) if turn["role"] == "user"), None)
        if asked is None:
            raise UserError("messages: no user message; tools need a question to be used for")
        asked["content"] = f"{instruction(defined)}\n\nQuestion: {asked['content']}"
    return ReActPrompt(turns, opening)


def instruction(tools: Sequence[Mapping[str, Any]]) -> str:
    """What stands above the question: the tools and how to call them."""
    functions = [_function(tool) for tool in tools]
    lines = [_tool_line(tool, function) for tool, function in zip(tools, functions, strict=True)]
    names = ", ".join(_model_name(function) for function in functions)
    return _INSTRUCTION.replace("{names}", names).replace("{tools}", "\n\n".join(lines))


def _tool_line(tool: Mapping[str, Any], function: Mapping[str, Any]) -> str:
    fields = {
        "{name}": _model_name(function),
        "{human}": function.get("name_for_human") or function["name"],
        "{description}": function.get("description_for_model") or function.get("description") or "",
        "{parameters}": as_json(function.get("parameters", {})),
        "{hint}": _CODE_HINT if _code_parameter(tool) else _JSON_HINT,
    }
    # Piece by piece, so that a description that holds a field's name stays as it is.
    line = ""
    for part in _TOOL.split("{"):
        name, closed, rest = part.partition("}")
        line += fields["{" + name + "}"] + rest if closed else part
    return line


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function: Mapping[str, Any] = tool.get("function", tool)
    return function


def _model_name(function: Mapping[str, Any]) -> str:
    return str(function.get("name_for_model") or function["name"])


def _code_parameter(tool: Mapping[str, Any]) -> bool:
    """Whether the tool is a code interpreter: its one parameter is a string called code."""
    properties = _function(tool).get("parameters", {}).get("properties", {})
    return list(properties) == ["code"] and properties["code"].get("type") == "string"


def _lone_parameter(tool: Mapping[str, Any]) -> str | None:
    """The parameter that plain text is meant for: the only one, or the only one that is required, if it takes a string."""
    schema = _function(tool).get("parameters", {})
    properties = schema.get("properties", {})
    candidates = list(properties) if len(properties) == 1 else [name for name in schema.get("required", ()) if name in properties]
    return candidates[0] if len(candidates) == 1 and properties[candidates[0]].get("type") == "string" else None


def _calls(message: Message, code: set[str]) -> dict[str, str]:
    """Id -> text of each call of a message, in order; calls without an id get their number."""
    texts: dict[str, str] = {}
    for number, call in enumerate(message.get("tool_calls", [])):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        if name in code and list(arguments) == ["code"] and isinstance(arguments["code"], str):
            given = f"```py\n{arguments['code']}\n```"
        else:
            given = as_json(arguments)
        texts[call.get("id", f"#{number}")] = f"\nAction: {name}\nAction Input: {given}"
    return texts


def _continue(turns: list[dict[str, Any]], text: str) -> None:
    """Say more in the assistant's turn, or begin it."""
    if turns and turns[-1]["role"] == "assistant":
        turns[-1]["content"] += "\n" + text
    else:
        turns.append({"role": "assistant", "content": text})


_THOUGHT, _ACTION, _INPUT, _ANSWER = "Thought:", "Action:", "Action Input:", "Final Answer:"
_MARKS = (_THOUGHT, _ACTION, _INPUT, _ANSWER, "Observation:", "Question:")


class ReActParser(CallParser):
    """Reads what a model writes in its turn; marks count at the beginning of a line only.

    tools: the definitions, which tell how plain text as a call's input is meant. thinking: the prompt ends with `Thought:`.
    A turn makes one call: whatever follows its input is the model's guess at the observation, and is dropped.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]] = (), first_call: int = 0, thinking: bool = False) -> None:
        super().__init__(first_call)
        self._lone = {_model_name(_function(tool)): _lone_parameter(tool) for tool in tools}
        self._state = _THOUGHT if thinking else ""
        self._text = TextRun(ThoughtDelta if thinking else ContentDelta)
        self._line: str | None = "" if not thinking else None  # the beginning of a line that may become a mark
        self._name: list[str] = []
        self._thought: list[str] = []
        self._input: _Input | None = None

    def _take(self, character: str) -> None:
        if self._state == "done":
            return
        if self._line is None:
            self._add(character)
        else:
            self._line += character
            if self._line in _MARKS:
                mark, self._line = self._line, None
                self._marked(mark)
            elif not any(mark.startswith(self._line) for mark in _MARKS):
                line, self._line = self._line, None
                for held in line:
                    self._add(held)
        if character == "\n":
            self._line = ""

    def _add(self, character: str) -> None:
        if self._state == _ACTION:
            self._name.append(character)
        elif self._input is not None:
            self._events += self._input.take(character)
        else:
            news = self._text.add(character)
            self._events += news
            if self._state == _THOUGHT:
                self._thought += [event.text for event in news if isinstance(event, ThoughtDelta)]

    def _marked(self, mark: str) -> None:
        inside = self._input is not None and self._input.open and mark != "Observation:"
        # An input without an action, and what others write before anything has come of the turn, are text like any other.
        unfit = (mark == _INPUT and self._state != _ACTION) or (mark in _MARKS[4:] and self._state in ("", _THOUGHT))
        if inside or unfit or (self._state == _ANSWER and mark in (_THOUGHT, _ACTION, _ANSWER)):
            for character in mark:
                self._add(character)
        elif mark == _INPUT:
            self._start()
            self._state = mark
        elif self._state in (_ACTION, _INPUT) or mark not in (_THOUGHT, _ACTION, _ANSWER):
            self._close()
            self._state = "done"
        else:
            self._state = mark
            if mark != _ACTION:
                self._text = TextRun(ThoughtDelta if mark == _THOUGHT else ContentDelta)

    def _start(self) -> None:
        name = ("".join(self._name).strip().splitlines() or [""])[0].strip().strip("`'\"[]")
        self._input = _Input(self._calls, self._call_id(), name, "".join(self._name), self._lone.get(name))
        self._calls += 1
        if name:
            self._events.append(CallStart(self._input.index, self._input.id, name))

    def _close(self) -> None:
        if self._state == _ACTION:
            self._start()
        if self._input is not None:
            self._events += self._input.end()
            self._input = None

    def _end(self) -> None:
        for character in self._line or "":
            self._add(character)
        self._line = None
        if self._state == _THOUGHT and self._thought:  # a turn that ends in a thought has no other answer
            self._events.append(ContentDelta("".join(self._thought)))
        self._close()
        self._state = "done"


class _Input:
    """A call's input on its way: a JSON object, code between backticks, or plain text, told apart by how it begins.

    Objects are given on as they come; the others are certain only once the input is complete.
    """

    def __init__(self, index: int, id: str, name: str, written_name: str, lone: str | None) -> None:
        self.index, self.id, self.name, self._lone = index, id, name, lone
        self._written_name = written_name
        self._raw: list[str] = []
        self._begun = False
        self._json: StrictJson | None = None
        self._strict: list[str] = []

    def take(self, character: str) -> list[ArgumentsDelta]:
        """The events of one more character."""
        self._raw.append(character)
        if not self._begun:
            if character.isspace():
                return []
            self._begun = True
            self._json = StrictJson() if character == "{" else None
        if self._json is None or self._json.ended or self._json.problem:
            return []
        text = self._json.feed(character)
        self._strict.append(text)
        return [ArgumentsDelta(self.index, text)] if text and not self._json.problem and self.name else []

    @property
    def open(self) -> bool:
        """Whether a string or a block of code is still to be closed: then a mark is part of it."""
        if self._json is not None:
            return self._json.in_string
        text = "".join(self._raw).strip()
        return text.startswith("```") and (len(text) < 6 or not text.endswith("```"))

    def end(self) -> list[ArgumentsDelta | CallEnd]:
        """The call's last events."""
        raw = "".join(self._raw)
        written = f"Action:{self._written_name.rstrip()}\nAction Input:{raw.rstrip()}"
        text, problem, sent = "", "", False
        if not self.name:
            problem = "the call names no action"
        elif self._json is not None:
            sent = True
            text = "".join(self._strict)
            problem = self._json.problem and f"the action input is not JSON: {self._json.problem}"
            if not problem and not self._json.ended:
                problem = "the action input is cut off before its JSON ends"
        elif not raw.strip():
            text = "{}"
        else:
            text, problem = self._of_text(raw.strip())
        if not problem:
            text, problem = load_arguments(text)
        events: list[ArgumentsDelta | CallEnd] = []
        if not problem and not sent:
            events.append(ArgumentsDelta(self.index, text))
        return [*events, CallEnd(self.index, self.id, self.name, "" if problem else text, problem, written)]

    def _of_text(self, raw: str) -> tuple[str, str]:
        """(JSON text, problem) of code between backticks, a JSON string, or plain text, as the tool's lone parameter."""
        if raw.startswith("```"):
            language, _, code = raw[3:].partition("\n")
            if not code or " " in language.strip():  # all on one line: no language
                code = raw[3:]
            code = code.rstrip().removesuffix("```").removesuffix("\n")
            if code.lstrip().startswith("{") and self._lone != "code":
                return code, ""
            return as_json({self._lone or "code": code}), ""
        if self._lone is None:
            return "", f"the action input must be a JSON object, not {raw[:40]!r}"
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            value = raw
        return as_json({self._lone: value if isinstance(value, str) else raw}), ""

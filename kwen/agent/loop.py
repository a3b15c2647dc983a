"""The agent: a model that plans, calls tools, sees what came of it, and answers.

    question -> [ think -> call tools -> observe ]* -> answer

A turn without calls is the answer. What goes wrong with a call becomes an observation that the model can learn from; what a tool
says is data: it is never read for calls, and neither the tools nor the limits change during a run.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from kwen.agent import events
from kwen.agent.builtin import Workspace, builtin
from kwen.agent.events import Event
from kwen.agent.run import Run
from kwen.agent.tool import Tool, ToolResult
from kwen.engine.call_format import CallFormat, call_format_of
from kwen.engine.constrain import Grammar
from kwen.engine.tool_calls import CallEnd, ContentDelta, ParsedEvent, ThoughtDelta, TurnEnd, message_of
from kwen.errors import UserError
from kwen.text.messages import validate_messages

_HOW = {
    "hermes": 'Write a call as <tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>',
    "react": "Write the name alone after Action: and one JSON object after Action Input:",
}


class ChatModel(Protocol):
    """What an agent needs of a model; `kwen.load` gives one."""

    @property
    def call_format(self) -> CallFormat: ...

    @property
    def stream_turn(self) -> Callable[..., Iterator[ParsedEvent | TurnEnd]]: ...


class Agent:
    """A model with tools; a context manager, because an interpreter may be among them.

    tools: functions with types and a docstring, `Tool`s, and names of the tools that come with Kwen (python, calculator, clock,
        read, search). system: the system prompt.
    max_steps: turns of the model in a run at most. max_tokens: what it may generate in a run; max_new_tokens: in one turn.
    call_format: "hermes" or "react"; by default what the model wants.
    constrained: calls can only be valid, by a grammar; by default where llguidance is installed and can express the tools.
    must_call: the first turn of a run is a call, which small models seldom think of by themselves; only with constrained calls.
    parallel: whether constrained calls may be several in a turn.
    workspace: the folder for python, read and search; by default an empty one of its own. unsafe: python without a sandbox.
    settings: of generation: temperature, top_p, top_k, repetition_penalty, seed, template_variables.
    Raises UserError for tools that are none or share a name, and limits that leave nothing to do.
    """

    def __init__(
        self,
        lm: ChatModel,
        tools: Sequence[Tool | str | Callable[..., Any]] = (),
        system: str | None = None,
        max_steps: int = 8,
        max_tokens: int = 4096,
        *,
        max_new_tokens: int = 1024,
        call_format: str | None = None,
        constrained: bool | None = None,
        must_call: bool = False,
        parallel: bool = True,
        workspace: Path | str | None = None,
        unsafe: bool = False,
        **settings: Any,
    ) -> None:
        if min(max_steps, max_tokens, max_new_tokens) < 1:
            raise UserError("agent: max_steps, max_tokens and max_new_tokens must be 1 or more")
        if must_call and (constrained is False or not tools):
            raise UserError("agent: must_call needs tools, and constrained calls")
        self.lm, self.system = lm, system
        self.max_steps, self.max_tokens, self.max_new_tokens = max_steps, max_tokens, max_new_tokens
        self.call_format = call_format_of(None, call_format) if call_format else lm.call_format
        self.workspace = Workspace(Path(workspace) if workspace is not None else None, unsafe)
        self.tools: dict[str, Tool] = {}
        for given in tools:
            tool = self._tool(given)
            if tool.name in self.tools:
                raise UserError(f"agent: two tools are called {tool.name}; name one of them otherwise")
            self.tools[tool.name] = tool
        self.definitions = [tool.definition() for tool in self.tools.values()]
        self.last: Run | None = None
        self._settings, self._parallel = settings, parallel
        self._free = self._grammar(True if must_call else constrained, required=False)
        self._first = self._grammar(True, required=True) if must_call else self._free

    @property
    def constrained(self) -> bool:
        """Whether a grammar keeps calls valid."""
        return self._free is not None

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the interpreter and remove a workspace that was the agent's own."""
        self.workspace.close()

    def run(
        self,
        text: str,
        files: Sequence[Path | str] = (),
        messages: Sequence[Mapping[str, Any]] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Run:
        """Answer `text`. files: of the user's, brought into the workspace. messages: the conversation so far (`Run.messages`).
        settings: of generation, for this run only.

        Raises UserError for files that are not there and a model that cannot chat; never for what model or tools do.
        """
        for _ in self.stream(text, files, messages, settings):
            pass
        assert self.last is not None
        return self.last

    def stream(
        self,
        text: str,
        files: Sequence[Path | str] = (),
        messages: Sequence[Mapping[str, Any]] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        """`run`, event by event; `last` is the run so far. One that is left early keeps a conversation that can go on."""
        names = [self.workspace.put(Path(file)) for file in files]
        head: list[dict[str, Any]] = [dict(message) for message in messages]
        if head:
            validate_messages(head)
        if self.system is not None and (not head or head[0]["role"] != "system"):
            head.insert(0, {"role": "system", "content": self.system})
        asked = f"{text}\n\nFiles: {', '.join(names)}" if names else text
        conversation = [*head, {"role": "user", "content": asked}]
        run = Run(text, self.call_format, self.definitions, conversation, asked=len(conversation))
        self.last = run
        return self._recorded(run, settings or {})

    def _recorded(self, run: Run, settings: Mapping[str, Any]) -> Iterator[Event]:
        for event in self._steps(run, settings):
            run.events.append(event)
            yield event

    def _steps(self, run: Run, settings: Mapping[str, Any]) -> Iterator[Event]:
        for step in range(1, self.max_steps + 1):
            left = self.max_tokens - run.completion_tokens
            if left <= 0:
                yield events.Limit(step, "tokens", f"{self.max_tokens} tokens are used up")
                return
            parsed: list[ParsedEvent] = []
            end = TurnEnd("stop", 0, 0)
            try:
                turn = self.lm.stream_turn(
                    run.messages,
                    self.definitions or None,
                    max_new_tokens=min(left, self.max_new_tokens),
                    call_format=self.call_format,
                    **{**self._settings, **settings, **self._bounds(step)},
                )
            except UserError as error:
                if step == 1:
                    raise
                yield events.Limit(step, "context", str(error))
                return
            for part in turn:
                if isinstance(part, TurnEnd):
                    end = part
                    continue
                parsed.append(part)
                if isinstance(part, ContentDelta):
                    yield events.TextDelta(step, part.text)
            run.prompt_tokens += end.prompt_tokens
            run.completion_tokens += end.completion_tokens
            thought = "".join(part.text for part in parsed if isinstance(part, ThoughtDelta))
            if thought:
                yield events.Thought(step, thought)
            message = message_of(parsed)
            calls = [part for part in parsed if isinstance(part, CallEnd)]
            if not calls:
                run.messages.append(message)
                run.answer = message["content"]
                if end.finish_reason == "length" and end.completion_tokens >= left:
                    yield events.Limit(step, "tokens", f"{self.max_tokens} tokens are used up before the answer ended")
                else:
                    yield events.Answer(step, run.answer)
                return
            results = []
            for event in self._act(step, calls):
                if isinstance(event, events.CallEnd):
                    result = {"role": "tool", "content": event.observation}
                    if event.id in {call["id"] for call in message.get("tool_calls", ())}:
                        result |= {"tool_call_id": event.id, "name": event.name}
                    results.append(result)
                yield event
            run.messages += [message, *results]  # together, so that no call ever stands without its result
        yield events.Limit(self.max_steps, "steps", f"{self.max_steps} steps are used up")

    def _act(self, step: int, calls: Sequence[CallEnd]) -> Iterator[Event]:
        """Run the calls of a turn: those of different tools at the same time, those of one tool one after another, and those of
        tools that keep their own limit here."""
        ready = {call.id: self.tools[call.name] for call in calls if not call.problem and call.name in self.tools}
        for call in calls:
            if call.id in ready:
                yield events.CallStart(step, call.id, call.name, call.arguments)
        apart = [call for call in calls if call.id in ready and ready[call.id].timeout_s is not None]
        outcomes: dict[str, tuple[ToolResult, float]] = {}

        def run_all(mine: Sequence[CallEnd]) -> dict[str, tuple[ToolResult, float]]:
            return {call.id: _timed(ready[call.id], call.arguments) for call in mine}

        if len({call.name for call in apart}) < 2 and len(apart) == len(ready):
            outcomes = run_all(apart)
        else:
            with ThreadPoolExecutor(max_workers=max(1, len(apart))) as pool:
                groups: list[Future[dict[str, tuple[ToolResult, float]]]] = [
                    pool.submit(run_all, [call for call in apart if call.name == name])
                    for name in dict.fromkeys(call.name for call in apart)
                ]
                outcomes |= run_all([call for call in calls if call.id in ready and call not in apart])
                for group in groups:
                    outcomes |= group.result()
        for call in calls:
            result, seconds = outcomes.get(call.id) or (ToolResult(self._refusal(call), error=True), 0.0)
            arguments = call.written if call.problem else call.arguments
            yield events.CallEnd(
                step, call.id, call.name, arguments, result.text, result.error, result.images, result.files, round(seconds, 3)
            )

    def _refusal(self, call: CallEnd) -> str:
        """What is wrong with a call that no tool can take."""
        known = ", ".join(self.tools) or "none"
        if call.problem:
            return f"error: {call.problem}. {_HOW[self.call_format]}"
        return f"error: there is no tool {call.name!r}; the tools are {known}"

    def _tool(self, given: Tool | str | Callable[..., Any]) -> Tool:
        if isinstance(given, Tool):
            return given
        if isinstance(given, str):
            return builtin(given, self.workspace)
        if callable(given):
            return Tool.of(given)
        raise UserError(f"agent: {given!r} is no tool; give a function, a Tool, or the name of one that comes with Kwen")

    def _bounds(self, step: int) -> dict[str, Grammar]:
        grammar = self._first if step == 1 else self._free
        return {} if grammar is None else {"grammar": grammar}

    def _grammar(self, constrained: bool | None, required: bool) -> Grammar | None:
        """The grammar of calls. Asked for, what stands in its way is an error; otherwise calls are then free."""
        if constrained is False or not self.definitions:
            return None
        try:
            return Grammar.tool_calls(self.definitions, self.call_format, required=required, parallel=self._parallel)
        except UserError:
            if constrained:
                raise
            return None


def _timed(tool: Tool, arguments: str) -> tuple[ToolResult, float]:
    began = time.monotonic()
    return tool.run(json.loads(arguments)), time.monotonic() - began

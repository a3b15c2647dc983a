"""Answering for the page: the agents of its conversations, and one answer of one or two models at a time.

An agent, with its workspace and interpreter, belongs to (visitor, conversation, side): another visitor's request has another key
and so never reaches it. It is closed when its conversation is deleted, when nothing was asked of it for a while, and at the end.
"""

import logging
import secrets
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

from kwen.agent.events import Event
from kwen.agent.loop import Agent
from kwen.agent.run import Run
from kwen.agent.tool import Tool
from kwen.engine.call_format import needs_tool_prompt
from kwen.engine.hermes import THINK
from kwen.engine.service import QueueFull
from kwen.errors import UserError
from kwen.serve.errors import ApiError
from kwen.serve.models import ServedModel
from kwen.serve.page_conversation import Conversation, Sampling, Side, with_images
from kwen.serve.page_view import Turn, with_thoughts_apart
from kwen.text.messages import validate_messages

Key = tuple[str, str, int]
_log = logging.getLogger(__name__)
_STEPS = 8
_CLOSE_S = 5.0
_MINE, _ALL = 8, 64
_AT_ONCE = 8  # answers that one visitor may have running


@dataclass
class _Desk:
    """An agent at work for one side of one conversation.

    opens: whether its prompts end inside a thought. asked: answers not yet done. lock: held by the one that runs.
    """

    agent: Agent
    made_for: tuple[str, tuple[str, ...]]
    opens: bool
    asked: int = 0
    used: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Answer:
    """One side's answer, on a thread of its own: `turn` and `changes` grow, `done` is set at the end, `stop` ends it early."""

    def __init__(self, side: Side, question: str) -> None:
        self.side, self.question, self.turn = side, question, Turn()
        self.changes, self.error = 0, ""
        self.done, self.stop = threading.Event(), threading.Event()
        self._said = [{"role": "user", "content": question}]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was said before, the question, and the answer so far."""
        if self.done.is_set():
            return [*self.side.messages, *self._said]
        return [*self.side.messages, {"role": "user", "content": self.question}, *with_images(self.turn.messages, self.turn.ends)]

    @property
    def messages_to_keep(self) -> list[dict[str, Any]]:
        """`messages` as history that can go on, though the answer be left here: no call without its result."""
        if self.done.is_set():
            return self.messages
        said = with_images(self.turn.unfinished(0), self.turn.ends)
        return [*self.side.messages, {"role": "user", "content": self.question}, *map(with_thoughts_apart, said)]

    def run(self, desk: _Desk, system: str, sampling: Sampling) -> None:
        """Answer; never raises: `error` says in one line what went wrong."""
        try:
            with desk.lock:
                if not self.stop.is_set():  # else the agent may be closed already
                    self._run(desk, system, sampling)
        except (UserError, ApiError) as error:
            self.error = " ".join(str(error).split())
        except QueueFull:
            self.error = "too many answers are waiting already; try again in a moment"
        except Exception:
            _log.exception("the page's answer failed")
            self.error = "the server failed at this answer; its log says how"
        finally:
            desk.used = time.monotonic()
            desk.asked -= 1
            self.done.set()

    def _run(self, desk: _Desk, system: str, sampling: Sampling) -> None:
        agent = desk.agent
        read = agent.definitions or (self.side.messages and needs_tool_prompt(validate_messages(self.side.messages), None))
        self.turn.inside_thought = desk.opens and not read  # else the parser of calls tells thoughts from the answer
        agent.system = system or None
        agent.max_new_tokens, agent.max_tokens = sampling.max_new_tokens, sampling.max_new_tokens * _STEPS
        settings: dict[str, Any] = sampling.model_dump(exclude={"max_new_tokens"})
        settings["seed"] = secrets.randbelow(1 << 31) if sampling.seed is None else sampling.seed
        run: Run | None = None
        try:
            stream = cast(Generator[Event], agent.stream(self.question, (), self.side.messages, settings))
            with closing(stream) as steps:  # so that the engine drops at once what is still being generated
                run = agent.last
                for event in steps:
                    self.turn.add(event)
                    self.changes += 1
                    if self.stop.is_set():
                        break
        finally:
            if run is not None:
                said = run.messages[run.asked - 1 :]
                finished = sum(message["role"] == "assistant" for message in said)
                said = with_images([*said, *self.turn.unfinished(finished)], self.turn.ends)
                self._said = [with_thoughts_apart(self._marked(message)) for message in said]
        self.error = self.turn.notice

    def _marked(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message with the mark of its thought, where that stood in the prompt."""
        if not self.turn.inside_thought or message["role"] != "assistant" or message["content"].startswith(THINK):
            return message
        return {**message, "content": THINK + message["content"]}


class Turns:
    """The page's answers.

    models: by name. tools: those that the operator allows, by the name that the page shows. unsafe: python without a sandbox.
    idle_s: after so long without a question an agent is closed. Of a visitor's agents, and of all, so many are kept (`_MINE`,
    `_ALL`), the oldest going first.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        tools: Sequence[str | Tool] = (),
        *,
        unsafe: bool = False,
        idle_s: float = 1800.0,
    ) -> None:
        self.models, self._unsafe, self._idle_s = models, unsafe, idle_s
        self.tools = {tool if isinstance(tool, str) else tool.name: tool for tool in tools}
        self._desks: dict[Key, _Desk] = {}
        self._running: dict[Key, Answer] = {}
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def begin(self, visitor: str, conversation: Conversation, question: str, sides: Sequence[int]) -> list[Answer]:
        """Start the answers of these sides.

        Raises UserError for an empty question, a model or tool that is not served, a side that still answers, and too many
        answers at once; nothing has begun then.
        """
        if not question.strip():
            raise UserError("write something first")
        begun: list[tuple[Answer, _Desk]] = []
        with self._lock:
            for index in sides:
                key = (visitor, conversation.id, index)
                self._check_free(key)
                side = conversation.sides[index]
                begun.append((Answer(side, question), self._desk(key, side.model, conversation.tools)))
            for index, (answer, desk) in zip(sides, begun, strict=True):
                desk.asked += 1
                self._running[visitor, conversation.id, index] = answer
        for answer, desk in begun:
            work = (desk, conversation.system, conversation.sampling)
            threading.Thread(target=answer.run, args=work, name="page answer", daemon=True).start()
        self._end_idle()
        return [answer for answer, _ in begun]

    def stop(self, visitor: str, conversation: str) -> bool:
        """End the answers that run in this visitor's conversation, if any do; what they said so far stays."""
        with self._lock:
            mine = [answer for key, answer in self._running.items() if key[:2] == (visitor, conversation)]
            running = [answer for answer in mine if not answer.done.is_set()]
            for answer in running:
                answer.stop.set()
        return bool(running)

    def forget(self, visitor: str, conversation: str) -> None:
        """The conversation is over: end its answers, close its agents."""
        self.stop(visitor, conversation)
        self._close([key for key in list(self._desks) if key[:2] == (visitor, conversation)])

    def close(self) -> None:
        """End all answers and close all agents; one whose tool does not end is left to the end of the process."""
        with self._lock:
            for answer in self._running.values():
                answer.stop.set()
            if self._timer is not None:
                self._timer.cancel()
        for thread in self._close(list(self._desks)):
            thread.join(_CLOSE_S)

    def _check_free(self, key: Key) -> None:
        """Raises UserError for a side that still answers, and for a visitor who has too many answers running."""
        running = [at for at, answer in self._running.items() if at[0] == key[0] and not answer.done.is_set()]
        if key in running:
            raise UserError("this conversation is still being answered; stop that, or wait for it")
        if len(running) >= _AT_ONCE:
            raise UserError(f"{_AT_ONCE} answers of yours run already; wait for one, or stop it")

    def _desk(self, key: Key, model: str, tools: Sequence[str]) -> _Desk:
        """The side's agent; another one where the model or the tools are others now. The lock is held."""
        if model not in self.models:
            raise UserError(f"there is no model {model!r} here; choose one of {', '.join(self.models)}")
        if unknown := [tool for tool in tools if tool not in self.tools]:
            raise UserError(f"the tool {unknown[0]!r} is not offered here; take it out of the settings")
        made_for = (model, tuple(tools))
        desk = self._desks.get(key)
        if desk is None or desk.made_for != made_for:
            if desk is not None:
                _end(desk)
            chosen = [self.tools[tool] for tool in tools]
            agent = Agent(self.models[model].lm, chosen, max_steps=_STEPS, unsafe=self._unsafe)
            desk = self._desks[key] = _Desk(agent, made_for, _opens_thoughts(self.models[model]))
        desk.used = time.monotonic()
        return desk

    def _end_idle(self) -> None:
        """Close what was not used for long, and of a visitor's many the oldest; look again when the next one is due."""
        now = time.monotonic()
        with self._lock:
            free = sorted((key for key, desk in self._desks.items() if not desk.asked), key=lambda key: self._desks[key].used)
            idle = {key for key in free if now - self._desks[key].used >= self._idle_s}
            for visitor in {key[0] for key in free}:
                mine = [key for key in free if key[0] == visitor]
                idle.update(mine[: max(0, sum(key[0] == visitor for key in self._desks) - _MINE)])
            idle.update(free[: max(0, len(self._desks) - _ALL)])
            left = len(self._desks) - len(idle)
            if left and (self._timer is None or self._timer.finished.is_set()):
                self._timer = threading.Timer(self._idle_s + 1, self._look_again)
                self._timer.daemon = True
                self._timer.start()
        self._close(list(idle))

    def _look_again(self) -> None:
        with self._lock:
            self._timer = None
        self._end_idle()

    def _close(self, keys: Sequence[Key]) -> list[threading.Thread]:
        with self._lock:
            ended = [desk for key in dict.fromkeys(keys) if (desk := self._desks.pop(key, None)) is not None]
            for key in keys:
                if (answer := self._running.get(key)) is not None and answer.done.is_set():
                    del self._running[key]
        return [_end(desk) for desk in ended]


def _opens_thoughts(served: ServedModel) -> bool:
    """Whether the template ends a prompt with the beginning of a thought, so that the answer comes without it."""
    if not served.thinks:
        return False
    prompt = served.lm.chat_request([{"role": "user", "content": "?"}]).prompt
    return served.lm.tokenizer.decode(prompt[-8:]).rstrip().endswith(THINK)


def _end(desk: _Desk) -> threading.Thread:
    """Close an agent once its answer has ended, without waiting for that here."""

    def close() -> None:
        with desk.lock:
            desk.agent.close()

    thread = threading.Thread(target=close, name="page agent closing", daemon=True)
    thread.start()
    return thread

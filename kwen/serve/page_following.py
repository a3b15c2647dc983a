"""A conversation on the page while its answers come: what to show, what to keep, and when it ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from kwen.serve.page_conversation import Conversation, Side
from kwen.serve.page_turns import Answer
from kwen.serve.page_view import shown

_TICK_S = 0.06  # between two looks at answers
_KEEP_S = 2.0  # between two versions for the browser to keep
_END_S = 1.0  # for a stopped answer to end; one that is in a tool may take longer, and is left to end alone


@dataclass(frozen=True)
class Update:
    """What is new. keep: the conversation for the browser, or None; views: for each side the chatbot's messages, or None."""

    keep: dict[str, Any] | None
    views: list[list[dict[str, Any]] | None]


class Following:
    """Follows the answers to a conversation until they are done, stopped, or the reader leaves. error: at the end, in one line.

    What was said so far is kept every two seconds, so that a page that is closed or a server that dies costs no more than that.
    """

    def __init__(self, conversation: Conversation, answers: Sequence[Answer]) -> None:
        self.conversation, self.answers = conversation, answers
        self.left, self.error = False, ""
        self._of = {id(answer.side): answer for answer in answers}

    def leave(self) -> None:
        """The reader looks at something else: the answers end, and only what is to keep is told."""
        self.left = True
        for answer in self.answers:
            answer.stop.set()

    async def updates(self) -> AsyncIterator[Update]:
        """The updates; the first comes at once and the last one with the conversation as it then is."""
        seen: list[int] = []
        kept = time.monotonic()
        try:
            yield Update(self._kept(), self._views())
            while not all(answer.done.is_set() or answer.stop.is_set() for answer in self.answers):
                await asyncio.sleep(_TICK_S)
                if seen == (now := [answer.changes for answer in self.answers]):
                    continue
                seen = now
                due = time.monotonic() - kept >= _KEEP_S
                kept = time.monotonic() if due else kept
                yield Update(self._kept() if due else None, self._views())
        finally:
            for answer in self.answers:
                answer.stop.set()
        until = time.monotonic() + _END_S
        while not all(answer.done.is_set() for answer in self.answers) and time.monotonic() < until:
            await asyncio.sleep(_TICK_S)
        errors = [answer for answer in self.answers if answer.error]
        self.error = " · ".join(f"{one.side.model}: {one.error}" if len(self.answers) > 1 else one.error for one in errors)
        last = self._kept()
        yield Update(last, [shown(side["messages"]).messages for side in last["sides"]])

    def _views(self) -> list[list[dict[str, Any]] | None]:
        answers = [self._of.get(id(side)) for side in self.conversation.sides]
        return [None if one is None else shown(one.messages, running=not one.done.is_set()).messages for one in answers]

    def _kept(self) -> dict[str, Any]:
        sides = []
        for side in self.conversation.sides:
            answer = self._of.get(id(side))
            messages = side.messages if answer is None else answer.messages_to_keep
            sides.append(Side(model=side.model, messages=[dict(message) for message in messages]))
        return self.conversation.model_copy(update={"sides": sides}).touched()

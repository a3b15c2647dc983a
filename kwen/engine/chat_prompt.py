"""From messages to the token ids that a model continues: its own template where it has one, the newest turns that fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from kwen.errors import UserError
from kwen.text.chatml import render, truncate_history
from kwen.text.control import IM_END, IM_START
from kwen.text.messages import Message, validate_messages, validate_tools
from kwen.text.templates import render_template
from kwen.text.tokenizer import Tokenizer

UNCUT = 2**31
"""More tokens than any context has: room that makes no renderer leave out a turn."""
_OWN_NAMES = {"template", "messages", "tokenizer", "tools", "add_generation_prompt", "masking"}


class ChatPrompt:
    """Renders conversations for one tokenizer and template.

    template: Jinja text of the checkpoint, or None for plain ChatML; raises UserError at the first use if the tokenizer has
    neither a template nor ChatML's control tokens.
    """

    def __init__(self, tokenizer: Tokenizer, template: str | None) -> None:
        self._tokenizer, self._template = tokenizer, template

    def token_ids(
        self,
        messages: Sequence[Mapping[str, Any]],
        room: int,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The prompt that ends where the assistant's answer begins.

        The oldest turns are left out until at most `room` tokens remain; the system prompt and the newest turn always stay,
        so the result can be longer than `room` when those alone are. `variables` reach the template (`enable_thinking`).
        """
        conversation = validate_messages(messages)
        definitions = validate_tools(tools)
        if taken := sorted(_OWN_NAMES & set(variables or ())):
            raise UserError(f"template variables: {taken[0]} is set by the conversation itself; leave it out")
        kept, limit = conversation, room
        while True:
            token_ids = self._render(kept, definitions, variables or {})
            if len(token_ids) <= room:
                return token_ids
            # The template may add more than truncate_history counts (tools, a default system prompt): ask for less by that.
            limit -= len(token_ids) - room if kept is not conversation else 0
            shorter = truncate_history(conversation, self._tokenizer, limit, tools=definitions)
            if shorter == kept:
                return token_ids
            kept = shorter

    def _render(self, messages: list[Message], tools: list[dict[str, Any]] | None, variables: Mapping[str, Any]) -> list[int]:
        if self._template is not None:
            rendered = render_template(
                self._template, messages, self._tokenizer, tools=tools, add_generation_prompt=True, **variables
            )
            return rendered.token_ids
        if IM_START not in self._tokenizer.control_tokens or IM_END not in self._tokenizer.control_tokens:
            raise UserError(
                f"this model has neither a chat template nor the control tokens {IM_START} and {IM_END}: it is no chat model; "
                "complete text with generate instead"
            )
        return render(messages, self._tokenizer, tools=tools, add_generation_prompt=True).token_ids

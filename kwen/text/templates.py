"""Released chat templates: messages through a checkpoint's own Jinja text to token ids and loss mask.

A template flattens contents and markers into one string. So before it runs, the characters that markers are made of are
replaced inside every value (contents, names, arguments, tool definitions) by private ones, one for one, and after it has run
only what the template itself wrote can be a control token; the private characters become what they stood for when the plain
text between markers is encoded.

    values --escape--> template --> text --cut at control tokens--> plain parts --restore--> encode --> ids
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kwen.errors import UserError
from kwen.text import chatml
from kwen.text.chatml import Masking, Rendered
from kwen.text.control import IM_END, IM_START, chatml_template
from kwen.text.jinja_sandbox import run_template
from kwen.text.messages import validate_messages, validate_tools
from kwen.text.tokenizer import Tokenizer

# Thinking tags of an assistant's text stay as they are: templates move, cut and keep thoughts by them.
_THINK = re.compile(r"(</?think>)")
_PRIVATE = range(0xF0000, 0xFFFFE)


def render_template(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    masking: Masking = "content",
    **variables: Any,
) -> Rendered:
    """A conversation through `template`; further `variables` (enable_thinking, ...) are the template's own.

    Ids are those of transformers' apply_chat_template for benign values, with one exception: an assistant's text is encoded
    apart from the header before it, as it is when the model writes it. `masking="content"` trains what the model writes in
    each assistant turn, thoughts, tool calls and the end-of-turn token included; `"team"` adds ChatML's markers of every turn.
    Values that spell control tokens are plain text, except thinking tags in an assistant's content. Kwen's own ChatML
    template is rendered by `kwen.text.chatml.render`, so that a model is used exactly as it was trained.
    Raises UserError for invalid messages, a template that fails, or assistant turns that cannot be found in its rendering
    (only without `add_generation_prompt`: a prompt is not trained on).
    """
    chatml.check_masking(masking)
    if template == chatml_template(tokenizer.default_system):
        return chatml.render(messages, tokenizer, tools=tools, masking=masking, add_generation_prompt=add_generation_prompt)
    rendering = _Rendering(template, messages, tokenizer, tools, variables)
    text = rendering.run(add_generation_prompt)
    spans = rendering.assistant_spans(text, required=not add_generation_prompt)
    return rendering.encode(text, spans, team=masking == "team")


def render_text(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    **variables: Any,
) -> str:
    """The same rendering as one string, for people to read. Encoding it again would turn hostile values into control tokens."""
    rendering = _Rendering(template, messages, tokenizer, tools, variables)
    return rendering.run(add_generation_prompt).translate(rendering.restore)


class _Rendering:
    """One conversation with its private characters chosen."""

    def __init__(
        self,
        template: str,
        messages: Sequence[Mapping[str, Any]],
        tokenizer: Tokenizer,
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ):
        checked, defined = validate_messages(messages), validate_tools(tools)
        values = [checked, defined, dict(variables)]
        strings = list(_strings(values))
        taken = set(template).union(*strings)
        free = (number for number in _PRIVATE if chr(number) not in taken)
        escape = {ord(character): next(free) for character in sorted(_marker_characters(tokenizer.control_tokens))}
        self.restore = {private: character for character, private in escape.items()}
        self.template, self.tokenizer = template, tokenizer
        self.answers = sum(message["role"] == "assistant" for message in checked)
        self.max_characters = 1_000_000 + 16 * sum(map(len, strings))
        self.messages = [_escape_message(message, escape) for message in checked]
        self.tools = _escape(defined, escape)
        self.variables = {name: _escape(value, escape) for name, value in variables.items()}
        surfaces = sorted(tokenizer.control_tokens, key=lambda surface: (-len(surface), surface))
        self.control = re.compile("(" + "|".join(map(re.escape, surfaces)) + ")") if surfaces else re.compile("(?!)")

    def run(self, add_generation_prompt: bool, without: str | None = None) -> str:
        """The template's text with private characters still in it; `without` leaves one variable out."""
        variables = {
            **self.tokenizer.template_variables,
            **{name: value for name, value in self.variables.items() if name != without},
            "messages": self.messages,
            "tools": self.tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return run_template(self.template, variables, self.max_characters)

    def assistant_spans(self, text: str, required: bool) -> list[tuple[int, int]]:
        """(begin, end) in `text` of what the model writes in each assistant turn, its end-of-turn token included.

        A turn begins after the text that the template adds as generation prompt, which holds a control token and so cannot
        occur in a value, and ends with the first stop token. Unless `required`, turns that cannot be told are no error.
        """
        if not self.answers:
            return []
        problem = "its generation prompt does not mark an assistant turn"
        try:
            header, full = self._header("enable_thinking"), self._header(None)
        except UserError as error:
            header, full, problem = "", "", str(error)
        stops = [surface for surface, number in self.tokenizer.control_tokens.items() if number in self.tokenizer.eos_token_ids]
        spans = []
        if self.control.search(header) and stops:
            stop = re.compile("|".join(map(re.escape, stops)))
            at = text.find(header)
            while at >= 0:
                begin = at + len(full if text.startswith(full, at) else header)
                end = stop.search(text, begin)
                if end:
                    spans.append((begin, end.end()))
                at = text.find(header, begin)
            problem = f"{len(spans)} finished assistant turns were found for {self.answers} assistant messages"
        if len(spans) == self.answers:
            return spans
        if required:
            raise UserError(f"chat template: no loss mask can be made, {problem}; train with a ChatML template instead")
        return []

    def _header(self, without: str | None) -> str:
        """What the template adds to open an assistant turn, or "" where adding changes what stood before."""
        closed, opened = self.run(False, without), self.run(True, without)
        return opened[len(closed) :] if opened.startswith(closed) else ""

    def encode(self, text: str, spans: list[tuple[int, int]], team: bool) -> Rendered:
        """Ids and mask of a rendering, cut at control tokens and at the beginnings of assistant spans."""
        ids: list[int] = []
        mask: list[bool] = []
        begins = {begin for begin, _ in spans}
        inside = [False] * (len(text) + 1)
        for begin, end in spans:
            inside[begin:end] = [True] * (end - begin)
        at = 0
        after_end = False
        for index, part in enumerate(self.control.split(text)):
            if index % 2:
                ids.append(self.tokenizer.control_tokens[part])
                mask.append(inside[at] or (team and part in (IM_START, IM_END)))
                after_end = part == IM_END
                at += len(part)
                continue
            cuts = sorted({at, at + len(part), *(begin for begin in begins if at < begin < at + len(part))})
            for begin, end in zip(cuts, cuts[1:], strict=False):
                plain = self.tokenizer.encode(text[begin:end].translate(self.restore))
                ids += plain
                mask += [inside[begin] or (team and after_end and part == "\n")] * len(plain)
            at += len(part)
        return Rendered(ids, mask)


def _marker_characters(surfaces: Mapping[str, int]) -> set[str]:
    """The characters without which no control token can be spelt: its first, second and last where they are marks.

    Marks rather than letters, so that a template's comparisons and cuts of values still work; all three, so that neither
    two values side by side nor a template's mark before a value make a control token.
    """
    found: set[str] = set()
    for surface in surfaces:
        marks = {mark for mark in (surface[0], surface[1:2], surface[-1]) if mark and not mark.isalnum() and mark not in "/_ "}
        found |= marks or {surface[0]}
    return found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _escape(value: Any, table: Mapping[int, int]) -> Any:
    if isinstance(value, str):
        return value.translate(table)
    if isinstance(value, Mapping):
        return {_escape(key, table): _escape(item, table) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item, table) for item in value]
    return value


def _escape_message(message: Mapping[str, Any], table: Mapping[int, int]) -> dict[str, Any]:
    escaped = _escape(message, table)
    if message["role"] == "assistant":
        parts = _THINK.split(message["content"])
        escaped["content"] = "".join(part if index % 2 else part.translate(table) for index, part in enumerate(parts))
    return escaped

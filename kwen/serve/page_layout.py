"""The page itself: what stands where, and what happens when something is pressed.

    conversations | models            | settings
    (the browser  | what was said     | (folded)
     keeps them)  | the line to write |

The conversation on the page travels with every request, out of `history`, and comes back changed to `kept`, which lets the
browser keep it.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import pydantic

from kwen.errors import UserError
from kwen.serve.page_conversation import Conversation, Sampling, Side, exported, place_of_turn, question_before, turn_of
from kwen.serve.page_following import Following
from kwen.serve.page_guard import visitor_of
from kwen.serve.page_text import untyped
from kwen.serve.page_turns import Answer, Turns
from kwen.serve.page_view import shown

_ASSETS = Path(__file__).parent / "page_assets"
_QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
_NOTICE = "${value ? '<p role=\"alert\">' + value.replace(/[&<>\"']/g, (c) => '&#' + c.charCodeAt(0) + ';') + '</p>' : ''}"
_LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]


class Page:
    """Gradio's blocks for these models and tools; `blocks` is what to mount."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._names = list(turns.models)
        self._following: dict[str, Following] = {}
        with gr.Blocks(title="Kwen", analytics_enabled=False, fill_height=True, fill_width=True) as self.blocks:
            with gr.Sidebar(position="left", width=272, elem_id="kwen-conversations"):
                self.history = gr.HTML(
                    None, html_template=_read("history.html"), js_on_load=_read("history.js"), elem_id="kwen-history"
                )
                with gr.Row(elem_id="kwen-exports"):
                    as_markdown = gr.Button("Export .md", size="sm", elem_id="kwen-export-markdown")
                    as_json = gr.Button("Export .json", size="sm", elem_id="kwen-export-json")
            with gr.Sidebar(position="right", width=312, open=False, elem_id="kwen-settings"):
                self._settings()
            with gr.Row(elem_id="kwen-models"):
                self._model = gr.Dropdown(
                    self._names, value=self._names[0], label="Model", show_label=False, filterable=False, elem_id="kwen-model",
                    container=False,
                )  # fmt: skip
                self._other = gr.Dropdown(
                    [("compare with", ""), *((f"and {name}", name) for name in self._names)], value="", label="Second model",
                    show_label=False, filterable=False, elem_id="kwen-other", container=False, visible=len(self._names) > 1,
                )  # fmt: skip
            with gr.Row(elem_id="kwen-chats", equal_height=True):
                self.chats = [self._chat(0), self._chat(1)]
            self._notice = gr.HTML("", html_template=_NOTICE, js_on_load=None, elem_id="kwen-notice")
            self._text = gr.Textbox(
                placeholder="Write a message", show_label=False, label="Message", lines=1, max_lines=10, autofocus=True,
                submit_btn=True, stop_btn=False, elem_id="kwen-text", container=False,
            )  # fmt: skip
            self._kept = gr.HTML(None, html_template="", js_on_load=_read("kept.js"), visible="hidden")
            self._download = gr.HTML(None, html_template="", js_on_load=_read("download.js"), visible="hidden")
            self._wire(as_markdown, as_json)
        self.blocks.queue(default_concurrency_limit=None, api_open=False)
        self.blocks._queue.ANALYTICS_MAX_EVENTS = 1  # else each event is tabulated with thousands before it

    def _settings(self) -> None:
        defaults = Sampling(**self._turns.models[self._names[0]].defaults)
        self._system = gr.Textbox(label="System prompt", lines=4, max_lines=12, elem_id="kwen-system")
        offered = list(self._turns.tools)
        self._tools = gr.CheckboxGroup(offered, label="Tools", visible=bool(offered), elem_id="kwen-tools")
        self._sampling = [
            gr.Slider(0, 2, defaults.temperature, step=0.05, label="Temperature", elem_id="kwen-temperature"),
            gr.Slider(0.01, 1, defaults.top_p, step=0.01, label="Top-p"),
            gr.Slider(0, 200, defaults.top_k, step=1, label="Top-k (0: all)"),
            gr.Slider(1, 4096, defaults.max_new_tokens, step=1, label="New tokens at most", elem_id="kwen-max-new-tokens"),
            gr.Slider(0.8, 2, defaults.repetition_penalty, step=0.01, label="Repetition penalty"),
            gr.Textbox(label="Seed", placeholder="another for each answer", max_length=20, elem_id="kwen-seed"),
        ]

    def _chat(self, side: int) -> gr.Chatbot:
        return gr.Chatbot(
            label=f"Model {side + 1}", show_label=False, container=False, visible=side == 0, editable="user", buttons=["copy"],
            feedback_options=None, layout="bubble", height="100%", latex_delimiters=_LATEX, allow_tags=False, line_breaks=True,
            placeholder=_read("greeting.html") if side == 0 else "", elem_id=f"kwen-chat-{side}", elem_classes="kwen-chat",
            group_consecutive_messages=True, min_width=280,
        )  # fmt: skip

    def _wire(self, as_markdown: gr.Button, as_json: gr.Button) -> None:
        controls = [self._model, self._other, self._system, self._tools, *self._sampling]
        page = [self._kept, self._text, self._notice, *self.chats]
        self._text.submit(self._send, [self.history, self._text, *controls], page, **_QUIET)
        self._text.stop(self._stop, [self.history], [self._text], **_QUIET)
        for side, chat in enumerate(self.chats):
            chat.retry(_for_side(self._retry, side), [self.history, *controls], page, **_QUIET)
            chat.edit(_for_edit(self._edit, side), [self.history, *controls], page, **_QUIET)
        self.history.select(self._open, [self.history], [*page, *controls], **_QUIET)
        self.history.delete(self._delete, None, None, **_QUIET)
        self._model.input(self._defaults_of, [self._model], self._sampling, **_QUIET)
        self._other.input(self._second, [self.history, *controls], [self.chats[1]], **_QUIET)
        as_markdown.click(lambda value: _export(value, "markdown"), [self.history], [self._download, self._notice], **_QUIET)
        as_json.click(lambda value: _export(value, "json"), [self.history], [self._download, self._notice], **_QUIET)

    async def _send(self, request: gr.Request, value: Any, text: str, *controls: Any) -> AsyncIterator[tuple[Any, ...]]:
        """The user wrote something."""
        try:
            conversation = _conversation(value, controls)
            answers = self._turns.begin(visitor_of(request), conversation, text or "", range(len(conversation.sides)))
        except UserError as error:
            yield _told(error)
            return
        async for update in self._follow(request, conversation, answers, ""):
            yield update

    async def _retry(
        self, side: int, index: int, value: Any, controls: Sequence[Any], request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Another answer of one side's, from the question before the message on the page at `index`."""
        try:
            conversation = _conversation(value, controls)
            messages = conversation.sides[side].messages
            place = question_before(messages, _origin(messages, index))
            question = str(messages[place]["content"])
            conversation.sides[side].messages = messages[:place]
            answers = self._turns.begin(visitor_of(request), conversation, question, [side])
        except UserError as error:
            yield _told(error)
            return
        async for update in self._follow(request, conversation, answers, gr.skip()):
            yield update

    async def _edit(
        self, side: int, index: int, text: str, value: Any, controls: Sequence[Any], request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        """The user's message at `index` is another one now: all sides answer it, and what came after it is gone."""
        try:
            conversation = _conversation(value, controls)
            messages = conversation.sides[side].messages
            turn = turn_of(messages, question_before(messages, _origin(messages, index)))
            for each in conversation.sides:
                each.messages = each.messages[: place_of_turn(each.messages, turn)]
            answers = self._turns.begin(visitor_of(request), conversation, untyped(text), range(len(conversation.sides)))
        except UserError as error:
            yield _told(error)
            return
        async for update in self._follow(request, conversation, answers, gr.skip()):
            yield update

    async def _follow(
        self, request: gr.Request, conversation: Conversation, answers: list[Answer], text: Any
    ) -> AsyncIterator[tuple[Any, ...]]:
        """The page while the answers come, and once they are there."""
        session = str(request.session_hash)
        following = self._following[session] = Following(conversation, answers)
        line: Any = _buttons(running=True) | ({"value": text} if isinstance(text, str) else {})
        try:
            async for update in following.updates():
                views = [gr.skip() if view is None else view for view in update.views]
                kept = gr.skip() if update.keep is None else {"conversation": update.keep, "current": not following.left}
                if following.left:
                    yield (kept, *[gr.skip()] * 4)
                else:
                    yield (kept, line, gr.skip(), *[*views, gr.skip()][:2])
                line = gr.skip()
            if not following.left:
                yield (gr.skip(), _buttons(running=False), following.error, gr.skip(), gr.skip())
        finally:
            if self._following.get(session) is following:
                del self._following[session]

    def _stop(self, request: gr.Request, value: Any) -> Any:
        """End what runs; where nothing does (the server was started again), let the user write all the same."""
        id = str(value.get("id")) if isinstance(value, dict) else ""
        return gr.skip() if self._turns.stop(visitor_of(request), id) else _buttons(running=False)

    def _delete(self, request: gr.Request, event: gr.EventData) -> None:
        self._turns.forget(visitor_of(request), str(event._data.get("id")))

    def _open(self, request: gr.Request, value: Any) -> tuple[Any, ...]:
        """The user chose a conversation, or a new one (None); an answer that still comes on the page ends."""
        if (following := self._following.get(str(request.session_hash))) is not None:
            following.leave()
        try:
            conversation = Conversation.read(value)
        except UserError as error:
            return (gr.skip(), _buttons(running=False), str(error), [], gr.skip(), *[gr.skip()] * (4 + len(self._sampling)))
        if conversation is None:
            return (gr.skip(), _buttons(running=False), "", [], [], *[gr.skip()] * (4 + len(self._sampling)))
        views = [shown(side.messages).messages for side in conversation.sides]
        models = [side.model if side.model in self._names else self._names[0] for side in conversation.sides]
        other = models[1] if len(models) > 1 else ""
        tools = [tool for tool in conversation.tools if tool in self._turns.tools]
        second = gr.update(value=views[1] if other else [], visible=bool(other))
        return (
            gr.skip(), _buttons(running=False), "", views[0], second, models[0], other, conversation.system, tools,
            *("" if value is None else value for value in conversation.sampling.model_dump().values()),
        )  # fmt: skip

    def _defaults_of(self, name: str) -> list[Any]:
        """The model's own sampling, when it is chosen; length and seed stay."""
        own = Sampling(**self._turns.models[name].defaults) if name in self._turns.models else Sampling()
        return [own.temperature, own.top_p, own.top_k, gr.skip(), own.repetition_penalty, gr.skip()]

    def _second(self, value: Any, *controls: Any) -> Any:
        """A second model is chosen, or none any more; it begins with what was said to the first."""
        try:
            sides = _conversation(value, controls).sides
        except UserError:
            sides = []
        return gr.update(value=shown(sides[1].messages).messages if len(sides) > 1 else [], visible=bool(controls[1]))


def _conversation(value: Any, controls: Sequence[Any]) -> Conversation:
    """The browser's conversation, or a new one, with what the controls say now."""
    model, other, system, tools, *sampling = controls
    conversation = Conversation.read(value) or Conversation()
    names = [model, other] if other else [model]
    while len(conversation.sides) < len(names):
        first = conversation.sides[0].messages if conversation.sides else []
        conversation.sides.append(Side(model="", messages=list(first)))
    del conversation.sides[len(names) :]
    for side, name in zip(conversation.sides, names, strict=True):
        side.model = str(name)
    conversation.system, conversation.tools = (system or "").strip(), list(tools or [])
    try:
        conversation.sampling = Sampling(**dict(zip(Sampling.model_fields, sampling, strict=True)))
    except pydantic.ValidationError as error:
        first_error = error.errors(include_url=False, include_input=False)[0]
        raise UserError(f"{first_error['loc'][0]}: {first_error['msg']}; change it in the settings") from None
    return conversation


def _origin(messages: list[dict[str, Any]], index: Any) -> int:
    """The message that stands on the page at `index`."""
    origins = shown(messages).origins
    place = index[0] if isinstance(index, list | tuple) else index
    if not isinstance(place, int) or not 0 <= place < len(origins):
        raise UserError("that message is no longer there; open the conversation again")
    return origins[place]


def _for_side(handle: Any, side: int) -> Any:
    async def retry(request: gr.Request, event: gr.RetryData, value: Any, *controls: Any) -> AsyncIterator[tuple[Any, ...]]:
        async for update in handle(side, event.index, value, controls, request):
            yield update

    return retry


def _for_edit(handle: Any, side: int) -> Any:
    async def edit(request: gr.Request, event: gr.EditData, value: Any, *controls: Any) -> AsyncIterator[tuple[Any, ...]]:
        async for update in handle(side, event.index, str(event.value), value, controls, request):
            yield update

    return edit


def _export(value: Any, form: Any) -> tuple[Any, Any]:
    try:
        conversation = Conversation.read(value)
        if conversation is None:
            raise UserError("there is nothing to export yet; open or begin a conversation")
    except UserError as error:
        return gr.skip(), str(error)
    name, kind, text = exported(conversation, form)
    return {"name": name, "type": kind, "text": text, "at": conversation.updated}, ""


def _buttons(running: bool) -> dict[str, Any]:
    return gr.update(submit_btn=not running, stop_btn=running)


def _told(error: UserError) -> tuple[Any, ...]:
    return (gr.skip(), gr.skip(), " ".join(str(error).split()), gr.skip(), gr.skip())


def _read(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")

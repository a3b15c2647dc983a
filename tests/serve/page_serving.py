"""A page that runs: uvicorn on a free port, and a model whose words are given, read by the real parsers from the real prompt."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kwen.engine.call_format import CallFormat, needs_tool_prompt, tool_prompt
from kwen.engine.tool_calls import ContentDelta, ParsedEvent, TurnEnd
from kwen.serve.settings import Settings
from kwen.text.messages import validate_messages

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()\nprint('drawn')"


def call(name: str, **arguments: Any) -> str:
    """A call as Hermes writes it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


class Scripted:
    """Answers the newest question of the user's with the turns that `script` holds for it; others with their own words.

    seconds: between two pieces. prompts: what it was shown. left: turns that were left before their end.
    """

    call_format: CallFormat = "hermes"

    def __init__(self, script: Mapping[str, Sequence[str]], seconds: float = 0.0) -> None:
        self.script, self.seconds = script, seconds
        self.prompts: list[list[Mapping[str, Any]]] = []
        self.settings: list[dict[str, Any]] = []
        self.left = 0

    def stream_turn(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None, **settings: Any
    ) -> Iterator[ParsedEvent | TurnEnd]:
        self.prompts.append(list(messages))
        self.settings.append(settings)
        asked = max(index for index, message in enumerate(messages) if message["role"] == "user")
        question = str(messages[asked]["content"])
        turns = self.script.get(question, [f"You said: {question}"])
        number = sum(message["role"] == "assistant" for message in messages[asked:])
        checked = validate_messages(messages)
        parser = tool_prompt(checked, tools, self.call_format).parser() if needs_tool_prompt(checked, tools) else None
        return self._turn(turns[min(number, len(turns) - 1)], parser)

    def _turn(self, text: str, parser: Any) -> Iterator[ParsedEvent | TurnEnd]:
        try:
            for begin in range(0, len(text), 7):
                time.sleep(self.seconds)
                piece = text[begin : begin + 7]
                yield from [ContentDelta(piece)] if parser is None else parser.feed(piece)
            yield from [] if parser is None else parser.finish()
            yield TurnEnd("stop", 10, len(text))
        except GeneratorExit:
            self.left += 1
            raise


@dataclass
class Served:
    """What the page needs of a served model."""

    name: str
    lm: Any
    thinks: bool = False
    defaults: dict[str, Any] = field(
        default_factory=lambda: {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
    )


@contextmanager
def page(models: Sequence[Any], settings: Settings | None = None, **options: Any) -> Iterator[str]:
    """Serve the page until the block ends; its address."""
    import uvicorn
    from fastapi import FastAPI

    from kwen.serve.page import mount_page

    app = FastAPI()

    @app.get("/v1/models")
    def models_of_the_api() -> list[str]:
        return [model.name for model in models]

    mount_page(app, {model.name: model for model in models}, settings or Settings(), **options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()

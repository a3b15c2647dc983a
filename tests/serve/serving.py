"""A real server (uvicorn, a free port, a thread of its own) with tiny random models, and what its clients need."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from typing import Any

from random_models import random_model, small_config

from kwen.engine.language_model import LanguageModel
from kwen.engine.service import Service
from kwen.serve.models import ServedModel
from kwen.serve.settings import Settings
from kwen.text.tokenizer import Tokenizer

CONTEXT = 2048

THINKING_TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{%- if tools %}{{ tools | tojson }}{% endif %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n"
    "{%- if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}{% endif %}"
)


def make_lm(tokenizer: Tokenizer, seed: int = 0, template: str | None = None, context: int = CONTEXT) -> LanguageModel:
    """A random model and `tokenizer`."""
    model = random_model(small_config(tokenizer.vocab_size, context), seed=seed)
    return LanguageModel(model, tokenizer, chat_template=template)


class Running:
    """A server that runs: where it is, what it serves, and its access log so far."""

    def __init__(self, url: str, app: Any, models: list[ServedModel], log: StringIO) -> None:
        self.url, self.app, self.models, self._log = url, app, models, log

    @property
    def lm(self) -> LanguageModel:
        return self.models[0].lm

    @property
    def service(self) -> Service:
        return self.models[0].service

    @property
    def log(self) -> str:
        return self._log.getvalue()

    def idle(self, limit_s: float = 10.0) -> bool:
        """Whether, soon, nothing runs or waits any more."""
        return soon(lambda: all(not (s := m.service.statistics()).running and not s.waiting for m in self.models), limit_s)


def soon(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Whether the condition holds within the limit."""
    until = time.monotonic() + limit_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


@contextmanager
def running(models: list[ServedModel], settings: Settings) -> Iterator[Running]:
    """Serve the models until the block ends."""
    import uvicorn

    from kwen.serve.app import create_app
    from kwen.serve.run import bind, url_of

    log = StringIO()
    app = create_app(models, settings, log)
    listening = bind(settings)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none", backlog=2048)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    assert soon(lambda: server.started)
    try:
        yield Running(url_of(settings, listening), app, models, log)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def served(lm: LanguageModel, name: str = "tiny", **options: Any) -> Iterator[ServedModel]:
    """A model behind an engine that is closed in the end."""
    service = Service(lm, **options)
    try:
        yield ServedModel(name, lm.with_generator(service), service, 1)
    finally:
        service.close()


SETTINGS = Settings(port=0, slots=16, max_waiting=64)


def with_settings(**changed: Any) -> Settings:
    """The usual settings with some changed."""
    return replace(SETTINGS, **changed)

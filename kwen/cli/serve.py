"""`kwen serve`: models behind OpenAI's API (and Anthropic's), with a page to talk to them."""

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import typer

from kwen.errors import UserError

if TYPE_CHECKING:
    from kwen.serve.models import ServedModel
    from kwen.serve.settings import Settings

KEY_VARIABLE = "KWEN_API_KEY"


def serve(
    models: list[str] = typer.Argument(..., help="Model folders, .gguf files or names on the hub; NAME=PATH names one."),
    port: int = typer.Option(8000, help="The port; 0 takes a free one."),
    host: str = typer.Option("127.0.0.1", help="The address to listen on; other than this machine's own it needs a key."),
    api_key: list[str] = typer.Option([], help=f"A key that opens the server; may be given several times. Also {KEY_VARIABLE}."),
    unsafe_bind: bool = typer.Option(False, "--unsafe-bind", help="Listen on other addresses without a key."),
    allowed_host: list[str] = typer.Option([], help="A further name that requests may use, for a proxy in front."),
    cors_origin: list[str] = typer.Option([], help="A web page's origin that may call the server; * is any."),
    dtype: str = typer.Option(
        None, help="float32, bfloat16, float16, int8 or int4; default: float32 on a CPU, bfloat16 on a GPU."
    ),
    device: str = typer.Option(None, help="cpu, cuda, cuda:1, ...; default: a GPU where there is one."),
    slots: int = typer.Option(64, help="Answers that run together, a model."),
    max_waiting: int = typer.Option(256, help="Answers that may wait, a model; more are refused with 429."),
    cache_gb: float = typer.Option(4.0, help="Memory for keys and values, a model."),
    max_body_mb: float = typer.Option(16.0, help="The largest request."),
    request_seconds: float = typer.Option(600.0, help="The longest that an answer may take."),
    drain_seconds: float = typer.Option(30.0, help="How long running answers may go on after SIGTERM."),
    access_log: str = typer.Option("-", help="A file for the access log, JSON lines; - is standard error, none for none."),
    page: bool = typer.Option(True, "--page/--no-page", help="The chat page at /, where gradio is installed."),
    tools: str = typer.Option("", help="Tools that the page offers: python, calculator, clock, read, search; commas between."),
    unsafe: bool = typer.Option(False, "--unsafe", help="Run the page's python without a sandbox, with your own rights."),
    backend: str = typer.Option("kwen", help="kwen, or vllm where it is installed."),
) -> None:
    """Serve models."""
    from kwen.serve.settings import Settings

    keys = [*api_key, *(key for key in os.environ.get(KEY_VARIABLE, "").split(",") if key)]
    settings = Settings(
        host=host, port=port, api_keys=tuple(keys), allowed_hosts=tuple(allowed_host), cors_origins=tuple(cors_origin),
        unsafe_bind=unsafe_bind, slots=slots, max_waiting=max_waiting, max_body_bytes=int(max_body_mb * 2**20),
        request_seconds=request_seconds, drain_seconds=drain_seconds,
    )  # fmt: skip
    named = [_named(text) for text in models]
    if backend == "vllm":
        _hand_over(named, settings, dtype, device)
    elif backend != "kwen":
        raise UserError(f"--backend {backend}: unknown; use kwen or vllm")
    else:
        if cache_gb <= 0:
            raise UserError(f"--cache-gb {cache_gb}: must be above 0")
        offered = [name.strip() for name in tools.split(",") if name.strip()]
        log = None if access_log == "none" else sys.stderr if access_log == "-" else _opened(access_log)
        _serve(named, settings, dtype, device, int(cache_gb * 2**30), log, _Page(page, offered, unsafe))


class _Page(NamedTuple):
    """Whether there is a chat page, and the tools it offers."""

    wanted: bool
    tools: list[str]
    unsafe: bool


def _serve(
    named: list[tuple[str, str]], settings: "Settings", dtype: str | None, device: str | None, cache_bytes: int,
    log: TextIO | None, page: _Page,
) -> None:  # fmt: skip
    try:
        from kwen.serve.app import create_app
        from kwen.serve.run import bind, run, url_of
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install 'kwen[serve]'") from None
    listening = bind(settings)  # before anything is loaded: a port that is taken is told at once
    has_page = page.wanted and find_spec("gradio") is not None
    if page.tools and not has_page:
        raise UserError("--tools: are the page's, and there is no page; pip install 'kwen[page]', and leave --no-page out")
    served: list[ServedModel] = []
    try:
        for name, path in named:
            served.append(_load(name, path, dtype, device, settings, cache_bytes))
        app = create_app(served, settings, log)
        names = ", ".join(name for name, _ in named)

        def add_page() -> None:
            from kwen.serve.page import mount_page  # seconds of imports: the API does not wait for them

            mount_page(app, app.state.server.models, settings, tools=page.tools, unsafe=page.unsafe)
            print(f"page  ·  {url_of(settings, listening)}/", flush=True)

        def ready() -> None:
            print(f"{names}  ·  {url_of(settings, listening)}/v1", flush=True)

        run(app, settings, listening, ready, add_page if has_page else None)
    finally:
        listening.close()
        for model in served:
            model.service.close()


def _load(name: str, path: str, dtype: str | None, device: str | None, settings: "Settings", cache_bytes: int) -> "ServedModel":
    from kwen.engine.language_model import load
    from kwen.engine.service import Service
    from kwen.serve.models import ServedModel

    lm = load(path, dtype=dtype, device=device)
    service = Service(lm, slots=settings.slots, cache_bytes=cache_bytes, max_waiting=settings.max_waiting)
    return ServedModel(name, lm.with_generator(service), service, int(time.time()))


def _named(text: str) -> tuple[str, str]:
    """(name, path): what is given, else the name of the folder, or of the file without its suffix."""
    name, equals, path = text.partition("=")
    if equals and name and "/" not in name:
        if not path:
            raise UserError(f"{text}: a path is missing after the name")
        return name, path
    whole = Path(text)
    return (whole.stem if whole.suffix == ".gguf" else whole.name) or whole.resolve().name, text


def _opened(path: str) -> TextIO:
    try:
        return open(path, "a", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    except OSError as error:
        raise UserError(f"--access-log {path}: {error.strerror}") from None


def _hand_over(named: list[tuple[str, str]], settings: "Settings", dtype: str | None, device: str | None) -> None:
    from kwen.serve.vllm import command, environment, hand_over

    if len(named) > 1:
        raise UserError("--backend vllm: serves one model; start one server for each")
    (name, path) = named[0]
    hand_over(command(name, Path(path), settings, dtype, device), environment(settings))

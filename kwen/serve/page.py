"""The chat page of `kwen serve`: Gradio on the server's own port, at `/`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from kwen.agent.builtin import NAMES
from kwen.agent.tool import Tool
from kwen.errors import UserError
from kwen.serve.models import ServedModel
from kwen.serve.page_guard import Guard, PageRoute
from kwen.serve.page_turns import Turns
from kwen.serve.settings import Settings

_ASSETS = Path(__file__).parent / "page_assets"


def mount_page(
    app: FastAPI,
    models: Mapping[str, ServedModel],
    settings: Settings,
    *,
    tools: Sequence[str | Tool] = (),
    unsafe: bool = False,
    idle_s: float = 1800.0,
) -> FastAPI:
    """Serve the page for these models at `/` of `app`, which is given back.

    Only the page's own paths are taken (`page_guard.is_page_path`); all others stay the app's. Keys are asked for by the app, for
    these paths as for all (`access.Gate`). tools: what the page's users may switch on, by name, or Tools of the operator's.
    unsafe: python without a sandbox. idle_s: a conversation's interpreter and files go when nothing was asked for so long.
    Raises UserError where Gradio is absent, for an unknown tool, and for python where there is no sandbox.
    """
    try:
        import gradio as gr
    except ImportError:
        raise UserError("the chat page needs gradio: pip install 'kwen[page]', or serve without the page") from None
    _check_tools(tools, unsafe)
    from kwen.serve.page_layout import Page
    from kwen.serve.page_theme import theme

    turns = Turns(models, tools, unsafe=unsafe, idle_s=idle_s)
    inner = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gr.mount_gradio_app(
        inner, Page(turns).blocks, path="/", footer_links=[], run_history=False, show_error=False, ssr_mode=False,
        allowed_paths=[], blocked_paths=["/"], max_file_size=0, enable_monitoring=False, pwa=False, mcp_server=False,
        theme=theme(), css=_read("page.css"), head=f"<script>{_read('page.js')}</script>",
    )  # fmt: skip
    app.router.routes.append(PageRoute(Guard(inner, settings.max_body_bytes)))
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with outer(app) as state, inner.router.lifespan_context(inner):
            yield state
        turns.close()

    app.router.lifespan_context = lifespan
    return app


def _check_tools(tools: Sequence[str | Tool], unsafe: bool) -> None:
    for tool in tools:
        if isinstance(tool, str) and tool not in NAMES:
            raise UserError(f"tool {tool!r} is unknown; the page can offer {', '.join(NAMES)}")
    if "python" in tools and not unsafe:
        from kwen import sandbox

        sandbox.describe()  # raises where there is none


def _read(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")

"""The page on the real server, over the real engine."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from serving import SETTINGS, THINKING_TEMPLATE, make_lm, served, soon, with_settings

from kwen.serve.models import ServedModel
from kwen.serve.page_conversation import Conversation, Sampling, Side
from kwen.serve.page_turns import Turns
from kwen.serve.settings import Settings
from kwen.text.tokenizer import Tokenizer

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'kwen[page]'")
KEY = "correct horse"


@contextmanager
def running_with_page(models: list[ServedModel], settings: Settings) -> Iterator[str]:
    """The server's application with the page on it, until the block ends."""
    import uvicorn

    from kwen.serve.app import create_app
    from kwen.serve.page import mount_page

    app = create_app(models, settings)
    mount_page(app, {model.name: model for model in models}, settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert soon(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def tiny(tokenizer: Tokenizer) -> Iterator[ServedModel]:
    with served(make_lm(tokenizer), "tiny", slots=4) as model:
        yield model


def long_answer(model: str, system: str = "") -> Conversation:
    return Conversation(system=system, sides=[Side(model=model)], sampling=Sampling(max_new_tokens=200, temperature=1.0, seed=1))


def test_the_page_asks_for_the_servers_key_on_every_path(tiny: ServedModel) -> None:
    with running_with_page([tiny], with_settings(api_keys=(KEY,))) as url:
        for path in ("/", "/config", "/theme.css", "/assets/x.js", "/gradio_api/queue/data?session_hash=a", "/static/x"):
            answer = httpx.get(url + path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert httpx.get(url + path, auth=("", KEY + "x")).status_code == 401
        assert httpx.post(f"{url}/gradio_api/queue/join", json={}).status_code == 401
        page = httpx.get(url, auth=("anybody", KEY))
        assert page.status_code == 200 and "gradio-app" in page.text


@pytest.mark.slow
def test_with_the_key_the_page_answers_in_a_browser(tiny: ServedModel) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is absent: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is absent: apt-get install chromium")
    with running_with_page([tiny], with_settings(api_keys=(KEY,))) as url, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_context(http_credentials={"username": "", "password": KEY}).new_page()
        view.goto(url)
        view.wait_for_selector("#kwen-text .submit-button")
        view.fill("#kwen-text textarea", "the cat")
        view.press("#kwen-text textarea", "Enter")
        view.wait_for_selector("#kwen-chat-0 .bot", timeout=20_000)
        view.wait_for_selector("#kwen-text .submit-button", timeout=60_000)
        assert view.locator("#kwen-notice p").count() == 0
        browser.close()


def test_the_api_is_what_it_was(tiny: ServedModel) -> None:
    with running_with_page([tiny], SETTINGS) as url:
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "tiny"
        assert httpx.get(f"{url}/v1/nothing").json()["error"]["code"] == "not_found"
        assert httpx.get(f"{url}/v1/chat/completions").status_code == 405
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        body = {"model": "tiny", "messages": [{"role": "user", "content": "the cat"}], "max_tokens": 4}
        assert httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30).json()["choices"]
        assert "/gradio_api/queue/join" not in json.dumps(httpx.get(f"{url}/openapi.json").json())


def test_a_stopped_answer_gives_its_slot_back_at_once(tiny: ServedModel) -> None:
    turns = Turns({"tiny": tiny})
    about = long_answer("tiny")
    (answer,) = turns.begin("me", about, "the cat", [0])
    assert soon(lambda: answer.changes > 3)
    turns.stop("me", about.id)
    assert answer.done.wait(5) and not answer.error
    assert soon(lambda: not tiny.service.statistics().running, 2)
    assert answer.messages[1]["content"]
    turns.close()


def test_more_answers_than_slots_are_all_right(tiny: ServedModel) -> None:
    turns = Turns({"tiny": tiny})
    alone = turns.begin("me", long_answer("tiny"), "the cat", [0])[0]
    assert alone.done.wait(60)
    together = [turns.begin(f"visitor {number}", long_answer("tiny"), "the cat", [0])[0] for number in range(12)]
    assert all(answer.done.wait(120) for answer in together)
    assert {answer.messages[1]["content"] for answer in together} == {alone.messages[1]["content"]}
    turns.close()


def test_a_thought_that_begins_in_the_prompt_is_one_from_the_first_word(tokenizer: Tokenizer) -> None:
    with served(make_lm(tokenizer, 2, THINKING_TEMPLATE), "thinker", slots=4) as thinker:
        turns = Turns({"thinker": thinker})
        (answer,) = turns.begin("me", long_answer("thinker"), "the cat", [0])
        assert soon(lambda: answer.changes > 3)
        assert answer.turn.messages[0]["content"].startswith("<think>")
        assert answer.done.wait(60) and not answer.error
        assert answer.messages[1]["reasoning_content"]
        turns.close()


def test_a_message_longer_than_the_context_is_one_line(tiny: ServedModel) -> None:
    turns = Turns({"tiny": tiny})
    (answer,) = turns.begin("me", long_answer("tiny"), "cat " * 20_000, [0])
    assert answer.done.wait(60)
    assert "context" in answer.error and "\n" not in answer.error
    assert answer.messages == [{"role": "user", "content": "cat " * 20_000}]
    turns.close()

"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import http.server
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_serving import PLOT, Scripted, Served, call, page

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is absent: pip install playwright")
pytest.importorskip("gradio", reason="the page needs gradio: pip install 'kwen[page]'")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("Chromium is absent: apt-get install chromium", allow_module_level=True)

SCRIPT = {
    "sum": ["Let me see.\n\n" + call("calculator", expression="17 * 23"), "That is **391**."],
    "plot": [call("python", code=PLOT), "There it is."],
    "think": ["<think>seven is lucky</think>\n\nSeven."],
    "long": ["word " * 4000],
    "code": ["```python\n    def f():\n        return '<b>'\n```"],
}


class Reader:
    """One browser window on the page, and every request that it makes."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.view = self.context.new_page()
        self.view.set_default_timeout(20_000)
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.view.on("request", lambda request: self.requests.append(request.url))
        self.view.on("pageerror", lambda error: self.faults.append(str(error)))
        self.url = url
        self.open()

    def open(self) -> None:
        self.view.goto(self.url)
        self.view.wait_for_selector("#kwen-text .submit-button")
        self.view.wait_for_selector(".kwen-new")
        self.view.wait_for_function("document.querySelector('#kwen-settings .toggle-button')?.title === 'Settings'")

    def send(self, text: str) -> None:
        self.view.fill("#kwen-text textarea", text)
        self.view.press("#kwen-text textarea", "Enter")

    def sees(self, text: str, chat: int = 0, times: int = 1) -> None:
        """Wait until the conversation shows a text so often, and the answer is complete."""
        spoken = self.view.locator(f"#kwen-chat-{chat}").get_by_text(text, exact=True)
        playwright.expect(spoken).to_have_count(times, timeout=20_000)
        self.view.wait_for_selector("#kwen-text .submit-button")

    def said(self, chat: int = 0) -> str:
        return self.view.inner_text(f"#kwen-chat-{chat} .message-wrap")

    def tools(self, *names: str) -> None:
        """Switch tools on."""
        self.view.click("#kwen-settings .toggle-button")
        for name in names:
            self.view.get_by_label(name, exact=True).check()
        self.view.click("#kwen-settings .toggle-button")
        self.view.wait_for_timeout(400)

    def titles(self) -> list[str]:
        return self.view.locator(".kwen-open").all_inner_texts()


@pytest.fixture(scope="module")
def models() -> list[Served]:
    return [Served("first", Scripted(SCRIPT, 0.005)), Served("second", Scripted({}, 0.005))]


@pytest.fixture(scope="module")
def url(models: list[Served]) -> Iterator[str]:
    with page(models, tools=["python", "calculator"]) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def new_reader(browser: Any, url: str) -> Iterator[Callable[..., Reader]]:
    made: list[Reader] = []

    def make(**options: Any) -> Reader:
        made.append(Reader(browser, url, **options))
        return made[-1]

    yield make
    for one in made:
        assert not one.faults
        assert [request for request in one.requests if not request.startswith((url, "data:", "blob:"))] == []
        one.context.close()


@pytest.fixture
def reader(new_reader: Callable[..., Reader]) -> Reader:
    return new_reader()


def test_a_conversation_survives_a_reload(reader: Reader) -> None:
    reader.send("hello there")
    reader.sees("You said: hello there")
    reader.open()
    reader.sees("You said: hello there")
    assert reader.titles() == ["hello there"]
    reader.send("and again")
    reader.sees("You said: and again")
    assert "You said: hello there" in reader.said()


def test_conversations_are_listed_opened_and_deleted(reader: Reader) -> None:
    reader.send("one")
    reader.sees("You said: one")
    reader.view.click(".kwen-new")
    playwright.expect(reader.view.locator("#kwen-chat-0").get_by_text("You said: one")).to_have_count(0)
    reader.send("two <img src=x onerror=alert(1)>")
    reader.sees("You said: two <img src=x onerror=alert(1)>")
    assert reader.titles() == ["two <img src=x onerror=alert(1)>", "one"]
    reader.view.get_by_text("one", exact=True).first.click()
    reader.sees("You said: one")
    reader.view.locator("li", has_text="two").hover()
    reader.view.locator("li", has_text="two").locator(".kwen-delete").click()
    playwright.expect(reader.view.locator(".kwen-open")).to_have_count(1)
    reader.open()
    assert reader.titles() == ["one"]


def test_a_stopped_answer_stays_and_the_conversation_goes_on(reader: Reader, models: list[Served]) -> None:
    left = models[0].lm.left
    reader.send("long")
    reader.view.wait_for_selector("#kwen-text .stop-button")
    reader.view.wait_for_function("document.querySelector('#kwen-chat-0').innerText.split('word').length > 20")
    began = time.monotonic()
    reader.view.click("#kwen-text .stop-button")
    reader.view.wait_for_selector("#kwen-text .submit-button")
    assert time.monotonic() - began < 3
    assert 20 < reader.said().count("word") < 4000
    assert models[0].lm.left == left + 1
    reader.send("go on")
    reader.sees("You said: go on")
    assert "word word" in models[0].lm.prompts[-1][1]["content"]


def test_opening_another_conversation_ends_the_answer_and_keeps_what_it_said(reader: Reader, models: list[Served]) -> None:
    left = models[0].lm.left
    reader.send("short")
    reader.sees("You said: short")
    reader.view.click(".kwen-new")
    reader.send("long")
    reader.view.wait_for_function("document.querySelector('#kwen-chat-0').innerText.split('word').length > 20")
    reader.view.get_by_text("short", exact=True).first.click()
    reader.sees("You said: short")
    reader.view.wait_for_timeout(500)
    assert "word" not in reader.said() and models[0].lm.left == left + 1
    reader.view.get_by_text("long", exact=True).first.click()
    reader.view.wait_for_function("document.querySelector('#kwen-chat-0').innerText.includes('word word')")
    reader.view.click(".kwen-new")
    reader.send("long")
    reader.view.wait_for_function("document.querySelector('#kwen-chat-0').innerText.split('word').length > 20")
    reader.view.locator("li[aria-current] .kwen-delete").click()
    reader.view.wait_for_timeout(1500)
    assert reader.titles() == ["long", "short"]


def test_a_reload_in_the_middle_of_an_answer_keeps_what_was_said(reader: Reader) -> None:
    reader.send("long")
    reader.view.wait_for_timeout(3500)
    reader.open()
    reader.view.wait_for_function("document.querySelector('#kwen-chat-0').innerText.includes('word word')")
    reader.view.wait_for_selector("#kwen-text .submit-button")


def test_who_leaves_stops_the_answer(browser: Any, url: str, models: list[Served]) -> None:
    left = models[0].lm.left
    reader = Reader(browser, url)
    reader.send("long")
    reader.view.wait_for_function("document.querySelector('#kwen-chat-0').innerText.split('word').length > 20")
    reader.context.close()
    until = time.monotonic() + 20
    while models[0].lm.left == left and time.monotonic() < until:
        time.sleep(0.1)
    assert models[0].lm.left == left + 1


def test_an_answer_is_given_again_and_a_question_edited(reader: Reader, models: list[Served]) -> None:
    reader.send("first question")
    reader.sees("You said: first question")
    reader.send("second question")
    reader.sees("You said: second question")
    asked = len(models[0].lm.prompts)
    reader.view.locator("#kwen-chat-0").get_by_label("Retry").click()
    until = time.monotonic() + 10
    while len(models[0].lm.prompts) == asked and time.monotonic() < until:
        reader.view.wait_for_timeout(50)
    reader.sees("You said: second question")
    assert [message["content"] for message in models[0].lm.prompts[-1]] == [
        "first question", "You said: first question", "second question",
    ]  # fmt: skip
    reader.view.locator("#kwen-chat-0").get_by_label("Edit").first.click()
    reader.view.fill("#kwen-chat-0 .message textarea", "another <b>question</b>")
    reader.view.locator("#kwen-chat-0").get_by_label("Submit").click()
    reader.sees("You said: another <b>question</b>")
    assert "second question" not in reader.said()
    assert models[0].lm.prompts[-1] == [{"role": "user", "content": "another <b>question</b>"}]


def test_tools_show_their_calls_results_and_images(reader: Reader, models: list[Served]) -> None:
    reader.send("sum")
    reader.sees("Let me see.")
    assert "391" not in reader.said()  # the tools are off, so the call is only text
    reader.view.click(".kwen-new")
    reader.tools("python", "calculator")
    reader.send("sum")
    reader.sees("391")
    folded = reader.view.locator(".thought-group", has_text="calculator · 17 * 23")
    folded.locator(".title").click()
    playwright.expect(folded.get_by_text('"expression": "17 * 23"')).to_be_visible()
    reader.send("plot")
    reader.sees("There it is.")
    picture = reader.view.locator("#kwen-chat-0 .bot img")
    assert picture.get_attribute("src").startswith("data:image/png;base64,")
    assert picture.evaluate("image => image.naturalWidth") > 100
    reader.open()
    reader.sees("There it is.")
    playwright.expect(reader.view.locator("#kwen-chat-0 .bot img")).to_have_count(1)


def test_thoughts_are_folded(reader: Reader) -> None:
    reader.send("think")
    reader.sees("Seven.")
    playwright.expect(reader.view.get_by_text("seven is lucky")).not_to_be_visible()
    reader.view.locator(".thought-group .title").click()
    playwright.expect(reader.view.get_by_text("seven is lucky")).to_be_visible()


def test_code_keeps_its_indentation(reader: Reader) -> None:
    reader.send("code")
    reader.view.wait_for_selector("#kwen-chat-0 pre code")
    reader.view.wait_for_selector("#kwen-text .submit-button")
    code = reader.view.locator("#kwen-chat-0 pre code").first.evaluate("code => code.textContent")
    assert "    def f():\n        return '<b>'" in code


def test_two_models_answer_side_by_side(reader: Reader) -> None:
    reader.send("before")
    reader.sees("You said: before")
    reader.view.click("#kwen-other input")
    reader.view.get_by_role("option", name="and second").click()
    reader.sees("You said: before", chat=1)
    reader.send("both")
    reader.sees("You said: both")
    reader.sees("You said: both", chat=1)
    reader.open()
    reader.sees("You said: both", chat=1)


def test_settings_reach_the_model_and_wrong_ones_are_one_line(reader: Reader, models: list[Served]) -> None:
    reader.view.click("#kwen-settings .toggle-button")
    reader.view.fill("#kwen-system textarea", "Be brief.")
    reader.view.fill("#kwen-temperature input[type=number]", "0.7")
    reader.view.fill("#kwen-seed textarea, #kwen-seed input", "seven")
    reader.view.wait_for_timeout(300)
    reader.send("settings")
    notice = reader.view.get_by_role("alert")
    playwright.expect(notice).to_contain_text("seed")
    reader.view.fill("#kwen-seed textarea, #kwen-seed input", "7")
    reader.view.wait_for_timeout(300)
    reader.send("settings")
    reader.sees("You said: settings")
    playwright.expect(notice).to_have_count(0)
    assert models[0].lm.prompts[-1][0] == {"role": "system", "content": "Be brief."}
    assert (models[0].lm.settings[-1]["temperature"], models[0].lm.settings[-1]["seed"]) == (0.7, 7)


def test_conversations_are_exported(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader(accept_downloads=True)
    reader.view.click("#kwen-export-json")
    playwright.expect(reader.view.get_by_role("alert")).to_contain_text("nothing to export")
    reader.send("keep me")
    reader.sees("You said: keep me")
    texts = {}
    for form in ("json", "markdown"):
        with reader.view.expect_download() as download:
            reader.view.click(f"#kwen-export-{form}")
        texts[download.value.suggested_filename] = Path(download.value.path()).read_text()
    assert json.loads(texts["keep-me.json"])["messages"][0] == {"role": "user", "content": "keep me"}
    assert "You said: keep me" in texts["keep-me.md"]


class _Trap(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        """Note who asks."""
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


def test_hostile_words_run_nothing_and_fetch_nothing(browser: Any) -> None:
    trap = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Trap)
    threading.Thread(target=trap.serve_forever, daemon=True).start()
    at = f"http://127.0.0.1:{trap.server_port}"
    hostile = "\n\n".join([
        f"![a]({at}/a.png) ![b][r] <img src='{at}/c.png' onerror='window.hit=1'>", f"[r]: {at}/b.png",
        f"<script>window.hit=2</script><iframe src='{at}/d'></iframe><svg onload='window.hit=3'></svg>",
        f"<style>@import '{at}/e.css'; body {{ background: url({at}/f.png) }}</style><link rel=stylesheet href='{at}/g.css'>",
        f"```mermaid\ngraph TD; A[<img src={at}/h.png onerror=window.hit=4>]-->B\n```", f"$$\\includegraphics{{{at}/i.png}}$$",
        f"`code` <video src='{at}/j.mp4' autoplay></video> <!-- ` --> <img src={at}/k.png> `",
        "[press](javascript:window.hit=5) [go](https://example.org/)", f"<form action='{at}/l'><button>x</button></form>",
        "The end.",
    ])  # fmt: skip
    with page([Served("hostile", Scripted({"attack": [hostile], "fold": [f"<think>{hostile}</think>\n\nDone."]}))]) as url:
        reader = Reader(browser, url)
        reader.send("attack")
        reader.sees("The end.")
        reader.send("fold")
        reader.sees("Done.")
        reader.view.locator(".thought-group .title").first.click()
        reader.send(f"from me too: ![x]({at}/m.png) <img src={at}/n.png onerror=window.hit=6>")
        reader.view.wait_for_timeout(1500)
        assert reader.view.evaluate("window.hit") is None
        links = reader.view.eval_on_selector_all("#kwen-chat-0 a[href]", "all => all.map(a => [a.getAttribute('href'), a.rel])")
        assert links and all(set(rel.split()) >= {"noopener", "noreferrer"} for _, rel in links)
        assert not any(href.startswith("javascript:") for href, _ in links)
        assert not [request for request in reader.requests if not request.startswith((url, "data:", "blob:"))]
        reader.context.close()
    trap.shutdown()
    assert _Trap.asked == []


def test_another_visitor_sees_and_reaches_nothing(new_reader: Callable[..., Reader]) -> None:
    mine, other = new_reader(), new_reader()
    mine.send("my secret")
    mine.sees("You said: my secret")
    assert other.titles() == []
    other.open()
    assert "my secret" not in other.view.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_readers_colours_and_lets_them_be_switched(new_reader: Callable[..., Reader], scheme: str) -> None:
    reader = new_reader(color_scheme=scheme)

    def is_dark() -> bool:
        colour = reader.view.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour[4:-1].split(",")) < 200

    reader.view.wait_for_timeout(300)
    assert is_dark() == (scheme == "dark")
    reader.view.click(".kwen-theme")
    assert is_dark() != (scheme == "dark")
    reader.open()
    reader.view.wait_for_timeout(300)
    assert is_dark() != (scheme == "dark")


def test_on_a_phone_nothing_is_out_of_reach(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    reader.view.wait_for_timeout(600)
    reader.send("a phone " + "verylongword" * 12)
    reader.view.wait_for_selector("#kwen-chat-0 .bot")
    reader.view.wait_for_selector("#kwen-text .submit-button")
    assert reader.view.evaluate("document.documentElement.scrollWidth") <= 390
    for part in ("#kwen-text textarea", "#kwen-text .submit-button", "#kwen-model input"):
        box = reader.view.locator(part).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 844
    for panel, inside in (("#kwen-conversations", ".kwen-new"), ("#kwen-settings", "#kwen-system textarea")):
        reader.view.click(f"{panel} .toggle-button")
        playwright.expect(reader.view.locator(inside)).to_be_in_viewport()
        reader.view.wait_for_timeout(400)
        reader.view.click(f"{panel} .toggle-button")
        reader.view.wait_for_timeout(400)
    reader.view.click("#kwen-conversations .toggle-button")
    reader.view.click(".kwen-new")
    playwright.expect(reader.view.locator("#kwen-text textarea")).to_be_in_viewport()
    reader.view.wait_for_timeout(400)
    assert reader.view.locator("#kwen-conversations.open").count() == 0


def test_the_page_works_with_a_real_model(browser: Any, smollm2_gguf: Path) -> None:
    import kwen

    lm = kwen.load(smollm2_gguf)
    with page([Served("smollm2", lm)]) as url:
        reader = Reader(browser, url)
        reader.send("What is the capital of France?")
        reader.view.wait_for_function("document.querySelector('#kwen-chat-0').innerText.includes('Paris')", timeout=120_000)
        reader.view.wait_for_selector("#kwen-text .submit-button", timeout=120_000)
        reader.context.close()

"""The report in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_run import tiny_family

from kwen.family.page import render
from kwen.family.report import collect

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is absent: pip install playwright")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("Chromium is absent: apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("family")
    path = folder / "index.html"
    path.write_text(render(collect("tiny", "", 0, tiny_family(folder)), "name: tiny\n"), encoding="utf-8")
    return Path(path).as_uri()


def test_nothing_is_fetched_and_nothing_runs_over_the_edge_of_a_phone(browser: Any, address: str) -> None:
    for width in (1200, 390):
        view = browser.new_page(viewport={"width": width, "height": 800})
        asked: list[str] = []
        faults: list[str] = []
        view.on("request", lambda request, asked=asked: asked.append(request.url))
        view.on("console", lambda message, faults=faults: faults.append(message.text))
        view.goto(address)
        assert asked == [address] and not faults
        assert view.evaluate("document.documentElement.scrollWidth") == width


def test_print_opens_the_published_rows_and_is_light(browser: Any, address: str) -> None:
    view = browser.new_page(color_scheme="dark")
    view.goto(address)
    seen = "[...document.querySelectorAll('.published table')].map(table => table.checkVisibility())"
    dark = view.evaluate("getComputedStyle(document.body).color")
    assert not any(view.evaluate(seen))
    view.emulate_media(media="print")
    assert len(view.evaluate(seen)) == 20 and all(view.evaluate(seen))
    assert view.evaluate("getComputedStyle(document.body).color") != dark

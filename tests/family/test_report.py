"""The report: collected from what stands, drawn the same way twice, and a page that fetches nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tiny_run import score, tiny_family

from kwen.errors import UserError
from kwen.family.figures import Curve, Dot, curves, dots, lineage
from kwen.family.page import render
from kwen.family.report import POINTS, collect, metric_of, read_curve


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return tiny_family(tmp_path)


class Page(HTMLParser):
    """Tags, and every address that a browser would fetch or go to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        fetched = ("href", "src", "srcset", "data", "action", "xlink:href")
        self.addresses += [value or "" for name, value in attrs if name in fetched]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_page_is_self_contained_knows_light_and_dark_and_escapes_what_models_say(folders: dict[str, Path]) -> None:
    text = render(collect("tiny", "About <it>.", 0, folders), "name: tiny\n")
    page = Page()
    page.feed(text)
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import|https?://", text)
    assert len(page.ids) == len(set(page.ids)) and {address[1:] for address in page.addresses} <= set(page.ids)
    assert "谁？&lt;script&gt;" in text and "&lt;b&gt;books" in text and "About &lt;it&gt;." in text
    assert "/secret/place" not in text
    assert "prefers-color-scheme:dark" in text and 'name="viewport"' in text
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) == 9  # lineage, three curves, bits a byte, questions, and published: radar, tokenizers, win and loss
    assert not re.search(r"#[0-9a-f]{6}\b", "".join(drawn)), "a colour that does not change with the page"


def test_two_runs_differ_only_where_times_are(folders: dict[str, Path]) -> None:
    first = collect("tiny", "", 0, folders)
    for name in ("shards", "base", "evals"):
        manifest = json.loads((folders[name] / "manifest.json").read_text())
        manifest["record"] |= {"wall_s": 99.0, "started": "2031-01-01T00:00:00+0000"}
        (folders[name] / "manifest.json").write_text(json.dumps(manifest))
    second = collect("tiny", "", 0, folders)
    assert first != second and first | {"record": None} == second | {"record": None}

    pages = [render(report, "name: tiny\n") for report in (first, second)]
    masked = {re.sub(r'<span class="time">.*?</span>', "", page) for page in pages}
    assert pages[0] != pages[1] and len(masked) == 1


def test_half_a_family_has_a_report_too(folders: dict[str, Path]) -> None:
    report = collect("tiny", "", 0, {"shards": folders["shards"], "absent": folders["absent"]})
    assert list(report["artifacts"]) == ["shards"] and report["scores"] == {}
    assert "Lineage" in render(report, "name: tiny\n")


def test_curves_are_thinned_to_means_and_keep_the_last_step(folders: dict[str, Path]) -> None:
    curve = read_curve(folders["base"])
    assert len(curve["step"]) == POINTS and curve["step"][-1] == 1000
    assert curve["loss"][0] == pytest.approx(5, abs=0.01) and curve["loss"][-1] == pytest.approx(3, abs=0.01)
    assert read_curve(folders["shards"]) == {}
    with pytest.raises(UserError, match="line 1: not JSON"):
        (folders["base"] / "metrics.jsonl").write_text("{")
        read_curve(folders["base"])


def test_figures_are_equal_byte_for_byte() -> None:
    line = [Curve("a", [1, 2, 3], [3.0, 2.0, 1.5]), Curve("b", [1, 2], [2.0, 1.0])]
    assert curves(line, "loss", "step", "loss") == curves(line, "loss", "step", "loss")
    rows = {"facts": {"all": Dot(0.9, 0.01, 0.4), "English": Dot(0.8)}}
    assert dots(rows, "q", "right", share=True) == dots(rows, "q", "right", share=True)


def test_lineage_draws_each_box_and_no_edge_that_a_longer_way_implies() -> None:
    graph = {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["c"]}
    svg = lineage(graph, {"a": "1 < 2"})
    assert svg.count("<rect") == 4 and svg.count("marker-end") == 3 and "1 &lt; 2" in svg


def test_a_scores_own_metric_is_the_one_with_a_standard_error() -> None:
    assert metric_of(score("pass@1", 0.3)) == "pass@1"
    with pytest.raises(UserError, match="without a standard error"):
        metric_of({"n": 3})

"""The report: collected from what stands, drawn the same way twice, and a page that fetches nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kwen.errors import UserError
from kwen.family.artifact import Manifest
from kwen.family.figures import Curve, Dot, curves, dots, lineage
from kwen.family.page import render
from kwen.family.report import POINTS, collect, metric_of, read_curve


def score(metric: str, value: float, **parts: Any) -> dict[str, Any]:
    flexible = {f"{metric}_flexible": value, f"{metric}_flexible_stderr": 0.01}
    return {metric: value, f"{metric}_stderr": 0.01, **flexible, "n": 300, **parts}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """A family of three artifacts as folders: shards, base with its curve, evals with scores and samples."""
    training = {"parameters": 3_400_000, "steps": 30, "tokens": 7_900_000, "epochs": 1.5, "loss": 2.0}
    made: list[tuple[str, str, dict[str, str], dict[str, Any]]] = [
        ("shards", "shards", {}, {"train": {"tokens": 1000, "bytes_per_token": 3.8}}),
        ("base", "base", {"shards": "x"}, training),
        ("evals", "evals", {"shards": "x", "base": "y"}, {"scores": {"base": {"perplexity": 1.2}}}),
    ]
    for name, stage, inputs, metrics in made:
        (tmp_path / name).mkdir()
        record = {"wall_s": 12.5, "started": "2030-01-01T00:00:00+0000", "machine": "Linux", "run": "/secret/place"}
        Manifest(name, stage, 1, "ab" * 32, inputs, {}, 0, {}, metrics, record).write(tmp_path / name)
    steady = {"grad_norm": 1.0, "lr": 0.01, "mfu": 0.3}
    rows = [{"step": i, "loss": 5 - i / 500, "tokens_per_s": 100.0 + i, **steady} for i in range(1, 1001)]
    (tmp_path / "base" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = {"by_language": {"en": score("accuracy", 0.9), "zh": score("accuracy", 0.8)}}
    scores = {
        "base": {"perplexity": score("bits_per_byte", 1.2, by_source={"<b>books</b>": score("bits_per_byte", 1.3)})},
        "chat-sft": {"nanoworld-facts": score("accuracy", 0.9, ended=1.0, baseline_accuracy=0.4, **parts)},
    }
    (tmp_path / "evals" / "scores.json").write_text(json.dumps(scores))
    sample = {"model": "chat-sft", "task": "nanoworld-facts", "id": "1", "language": "zh", "correct": True}
    sample |= {"question": "谁？<script>alert(1)</script>", "answer": "米拉", "reference": "米拉"}
    (tmp_path / "evals" / "samples.json").write_text(json.dumps([sample]))
    return {name: tmp_path / name for name in ("shards", "base", "evals", "absent")}


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
    assert len(drawn) == 6  # lineage, three curves, bits a byte, questions
    assert not re.search(r"#[0-9a-f]{6}\b", "".join(drawn)), "a colour that does not change with the page"


def test_tools_interpreter_code_and_maths_have_tables_of_their_own(folders: dict[str, Path]) -> None:
    kinds = {kind: score("accuracy", 0.25) for kind in ("one", "two", "missing", "maths", "plot-easy", "plot-hard", "general")}
    measured = ("tool_selection", "arguments_exact", "false_positive", "valid_calls", "executable", "executable_plots")
    figures = {name: 0.75 for name in measured} | {f"{name}_stderr": 0.02 for name in measured}
    both = score("accuracy", 0.5, by_kind=kinds) | figures
    scores = json.loads((folders["evals"] / "scores.json").read_text())
    scores["chat"] = {"nanoworld-facts": score("accuracy", 0.9), "nanoworld-tools": both, "nanoworld-interpreter": both}
    scores["code-chat"] = {"nanoworld-code-1": score("accuracy", 0.81), "humaneval": score("pass@1", 0.12)}
    scores["math-chat"] = {"nanoworld-equations": score("accuracy", 0.62)}
    (folders["evals"] / "scores.json").write_text(json.dumps(scores))
    text = render(collect("tiny", "", 0, folders), "name: tiny\n")
    sections = {part.partition("</h2>")[0]: part for part in text.split("<section><h2>")[1:]}
    assert {"Tool use", "Code interpreter", "Code", "Mathematics"} < set(sections)
    assert "75.0 ± 2.0 %" in sections["Tool use"] and sections["Tool use"].count("25.0 ± 1.0 %") == 3
    assert sections["Code interpreter"].count("75.0 ± 2.0 %") == 2 and "plots, hard" in sections["Code interpreter"]
    assert "81.0 ± 1.0 %" in sections["Code"] and "12.0 ± 1.0 %" in sections["Code"] and "62.0" in sections["Mathematics"]
    assert not re.search("equations|tools|code-1", sections["Questions"]) and "kwen chat runs/tiny/chat<" in text


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

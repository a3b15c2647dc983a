"""The Markdown twin and the comparison of two runs."""

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tiny_run import HOSTILE, tiny_family

from kwen.cli import report as command
from kwen.errors import UserError
from kwen.family import compare
from kwen.family.grid import merged
from kwen.family.markdown import from_page
from kwen.family.page import render
from kwen.family.page_parts import frame, table
from kwen.family.recipe import load_recipe
from kwen.family.report import collect


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return collect("tiny", "About <it>.", 0, tiny_family(tmp_path_factory.mktemp("family")))


class Cells(HTMLParser):
    """The text of every cell of a page's tables, line breaks as in the twin."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("th", "td"):
            self.cells.append("")
            self.inside = True
        elif tag == "br" and self.inside:
            self.cells[-1] += "; "

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def table_cells(markdown: str) -> list[str]:
    rows = [line for line in markdown.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    cells = [cell for row in rows for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    return [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in cells]


def test_the_twin_holds_every_cell_of_every_table_and_the_same_commands(report: dict[str, Any]) -> None:
    page = render(report, "name: tiny\n")
    twin = from_page(page)
    reader = Cells()
    reader.feed(page)
    assert len(reader.cells) > 1500
    assert table_cells(twin) == [" ".join(cell.split()) for cell in reader.cells]
    assert "kwen eval runs/tiny/chat-sft --tasks nanoworld-facts --limit 100" in twin
    assert all(f"### Table {number}. " in twin for number in range(1, 18))
    assert twin == from_page(render(report, "name: tiny\n"))


def test_what_models_say_is_text_in_the_twin(report: dict[str, Any]) -> None:
    twin = from_page(render(report, "name: tiny\n"))
    assert HOSTILE not in twin and r"谁？\<script\>" in twin
    page = frame(
        "x", [table(["a|b"], [["[x](y) `c` &amp;lt; | d"]]), "<p>1. not a list</p>", "<p># no head</p>", "<pre>```\nx</pre>"]
    )
    lines = from_page(page).splitlines()
    assert "| a\\|b |" in lines and r"| \[x\](y) \`c\` \&lt; \| d |" in lines
    assert r"1\. not a list" in lines and r"\# no head" in lines and lines.count("````") == 2


def test_two_runs_better_worse_and_no_difference(report: dict[str, Any]) -> None:
    other = copy.deepcopy(report)
    other["scores"]["base"]["perplexity"]["bits_per_byte"] = 1.1
    other["scores"]["chat-sft"]["nanoworld-facts"]["accuracy"] = 0.91
    other["record"]["artifacts"]["base"]["wall_s"] = 99.0
    del other["artifacts"]["shards"]
    found = compare.compare(report, other)
    verdicts = {(row["model"], row["task"]): row["verdict"] for row in found["scores"]}
    assert verdicts == {("base", "perplexity"): "better", ("chat-sft", "nanoworld-facts"): "no difference seen"}
    assert compare.compare(other, report)["scores"][0]["verdict"] == "worse"
    assert found["scores"][0]["difference"] == pytest.approx(-0.1)
    assert found["scores"][0]["stderr"] == pytest.approx(0.01 * 2**0.5)
    assert "99.0" not in json.dumps({key: value for key, value in found.items() if key != "record"})
    page = compare.render(found, ("runs/<a>", "runs/b"))
    assert "runs/&lt;a&gt;" in page and "<a>" not in page and "-0.100 ± 0.014" in page and "1:39" in page
    assert "Only runs/&lt;a&gt; has shards." in page
    assert "| **" not in from_page(page) and "better" in from_page(page)


def test_figures_without_a_standard_error_count_where_they_differ() -> None:
    assert compare.beside(100, 90, lower=True)["verdict"] == "better"
    assert compare.beside(100, 100, lower=True)["verdict"] == "no difference seen"
    assert compare.beside(0.5, 0.6, lower=False, errors=(0.01, 0.01))["verdict"] == "better"
    assert compare.beside(0.5, 0.6, lower=False, errors=(0.1, 0.1))["verdict"] == "no difference seen"


def test_lengths_and_languages_are_compared_where_both_runs_have_them(report: dict[str, Any]) -> None:
    def with_both(plain: list[float | None], tokens: int, size: int) -> dict[str, Any]:
        lengths = {"base": {"trained": 8, "lengths": [8, 16], "perplexity": {"plain": plain}}}
        languages = {"en": {"documents": 1, "bytes": size, "tokens": {"tiny": tokens}}}
        return report | {"long_context": lengths, "compression": {"languages": languages}}

    found = compare.compare(with_both([4.0, 9.0], 100, 500), with_both([4.0, None], 90, 500))
    assert [(row["length"], row["verdict"]) for row in found["long_context"]] == [(8, "no difference seen")]
    assert [row["verdict"] for row in found["compression"]] == ["better"]
    assert compare.compare(with_both([], 100, 500), with_both([], 90, 400))["compression"] == [], "other texts"
    assert "-10.0 %" in compare.render(found, ("a", "b"))


def test_the_page_prints_open_and_knows_no_script(report: dict[str, Any]) -> None:
    page = render(report, "name: tiny\n")
    assert "@media print" in page and "::details-content" in page and "<script" not in page


def test_the_contents_lead_to_every_section(report: dict[str, Any]) -> None:
    page = render(report, "name: tiny\n")
    links = re.findall(r'<a href="#([\w-]+)">', page.partition("<nav>")[2].partition("</nav>")[0])
    assert len(links) == page.count("<section") > 12 and all(page.count(f'<section id="{id}"') == 1 for id in links)


def test_commands_that_differ_in_the_task_alone_are_one() -> None:
    asked = [f"kwen eval runs/a/chat --tasks {task} --limit 8 --json F" for task in ("x", "y", "x")]
    commands = ["kwen report runs/a --json", *asked, "kwen eval 'runs/a b' --tasks x --json F", "kwen report runs/a --json"]
    assert merged(commands) == [
        "kwen report runs/a --json",
        "kwen eval runs/a/chat --tasks x,y --limit 8 --json F",
        "kwen eval 'runs/a b' --tasks x --json F",
    ]


def test_the_command_prints_a_report_and_writes_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        run.mkdir()
        tiny_family(run)
        (run / "recipe.yaml").write_text(load_recipe("micro").to_yaml())
    command.report(runs[0], as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["claims"]) == 11 and printed["numbers"] and printed["family"] == "micro"
    command.report(runs[0], runs[1], as_json=True)
    assert {row["verdict"] for row in json.loads(capsys.readouterr().out)["scores"]} == {"no difference seen"}
    command.report(*runs)
    assert capsys.readouterr().out.strip() == str(runs[0] / "compared/two/index.html")
    assert {path.name for path in (runs[0] / "compared/two").iterdir()} == {"index.html", "report.md"}
    with pytest.raises(UserError, match="no run of a family here"):
        command.report(runs[0], tmp_path)

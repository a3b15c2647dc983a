"""The report's tables and figures: published rows and ours apart, reasons for empty cells, and every number's own command."""

import json
import re
import shlex
from html import escape
from pathlib import Path
from typing import Any

import pytest
from tiny_run import HOSTILE, add_scores, artifact, score, tiny_family, write

from kwen.family.charts import heat, radar, strip
from kwen.family.document import complete, document
from kwen.family.markdown import from_page
from kwen.family.page import render
from kwen.family.published import figure, table
from kwen.family.report import collect


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return tiny_family(tmp_path)


def collected(folders: dict[str, Path], data: Path | None = None) -> dict[str, Any]:
    """The family with all that a test put beside it, in build order."""
    run = folders["evals"].parent
    added = [path.name for path in sorted(run.iterdir()) if path.is_dir() and path.name not in folders]
    return collect("tiny", "", 0, {name: run / name for name in ("shards", "base", *added, "evals")}, data)


def block(page: str, id: str) -> str:
    """The part of a page that begins at an id, up to the next block or section."""
    return re.split(r'<div class="block"|<section', page.partition(f'id="{id}"')[2], maxsplit=1)[0]


LONG = {
    "base": {
        "trained": 256,
        "lengths": [256, 512, 1024],
        "perplexity": {
            "plain": [4.0, 40.25, 400.5], "ntk": [4.0, 4.5, 6.75], "ntk+logn": [4.0, 4.4, 5.5],
            "ntk+logn+window": [4.0, 4.3, None],
        },
        "stderr": {"plain": [0.1, 1.0, 9.0], "ntk": [0.1, 0.1, 0.1], "ntk+logn": [0.1, 0.1, 0.1]},
        "memory_bytes": {"full": 123456, "window": 65432},
        "needle": {"lengths": [256, 1024], "depths": [0.0, 0.5], "found": [[1.0, 0.75], [0.9, 0.1]], "n": 20},
    }
}  # fmt: skip
COMPRESSION = {
    "reference": "cl100k",
    "tokenizers": {"cl100k": {"vocabulary": 100256}, "qwen": {"vocabulary": 151643}, "tiny": {"vocabulary": 2048}},
    "languages": {
        "th": {"documents": 12, "bytes": 90_000, "tokens": {"cl100k": 40_000, "qwen": 20_000, "tiny": 88_000}},
        "en": {"documents": 12, "bytes": 80_000, "tokens": {"cl100k": 20_000, "qwen": 20_500, "tiny": 41_000}},
        HOSTILE: {"documents": 1, "bytes": 10, "tokens": {"cl100k": 5, "qwen": 4, "tiny": 9}},
    },
}
CONTAMINATION = {
    "n": 13,
    "artifacts": {"corpus": {"humaneval": {"items": 164, "overlapping": 2, "unchecked": 3, "ids": ["HumanEval/1", HOSTILE]}}},
}


def passed(share: float) -> dict[str, Any]:
    return score("pass@1", share)


def whole_family(folder: Path) -> None:
    """Everything that evals may have measured."""
    for name in ("chat-sft", "chat", "code", "code-chat", "math-chat"):
        artifact(folder, name, "chat-sft", (), {"parameters": 1000, "steps": 3, "epochs": 0.5, "loss": 1.0})
    kinds = {kind: score("accuracy", 0.25) for kind in ("one", "two", "missing", "maths", "plot-easy", "plot-hard", "general")}
    measured = ("tool_selection", "arguments_exact", "false_positive", "valid_calls", "executable", "executable_plots")
    figures = {name: 0.75 for name in measured} | {f"{name}_stderr": 0.02 for name in measured}
    both = score("accuracy", 0.5, by_kind=kinds) | figures
    groups = {f"humanevalpack-{name}": passed(share) for name, share in
              zip(("python", "js", "java", "go", "cpp", "rust"), (0.6, 0.5, 0.4, 0.3, 0.2, 0.1), strict=True)}  # fmt: skip
    add_scores(folder, {
        "base": {"mmlu": score("accuracy", 0.311, by_group={"stem": score("accuracy", 0.222)}), "humaneval": passed(0.123)},
        "chat": {"nanoworld-tools": both, "nanoworld-interpreter": both, "nanoworld-arithmetic": score("accuracy", 0.4)},
        "code-chat": {"nanoworld-code-1": score("accuracy", 0.81), "humaneval-chat": passed(0.234), **groups},
        "math-chat": {"nanoworld-equations": score("accuracy", 0.62), "gsm8k": score("accuracy", 0.077)},
    })  # fmt: skip
    write(folder, "long_context", LONG)
    write(folder, "compression", COMPRESSION)
    write(folder, "contamination", CONTAMINATION)
    case = {
        "model": "chat",
        "task": "nanoworld-interpreter",
        "id": "1",
        "language": "en",
        "question": "Plot it.",
        "correct": True,
    }
    case |= {"answer": 'python({"code": "plot(1 < 2)\\nshow()"})\n→ done\nThere it is.', "reference": ""}
    write(folder, "samples", [case])


@pytest.fixture(scope="module")
def bare_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the tiny family as it is."""
    return render(collected(tiny_family(tmp_path_factory.mktemp("family"))), "name: tiny\n")


@pytest.mark.parametrize("number", range(1, 18))
def test_every_published_table_is_on_the_page_whole(bare_page: str, number: int) -> None:
    part = block(bare_page, f"table-{number}")
    printed = table(number)
    assert f"Table {number}. {escape(printed.title)}" in part
    published = part.partition('class="published"')[2]
    rows = re.findall(r"<tr>(.*?)</tr>", published, re.DOTALL)[: 1 + len(printed.rows)]
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    assert cells == [[escape(cell) for cell in row] for row in ([*printed.columns], *printed.texts())]


def test_figures_two_three_and_four_are_drawn_and_written_out(bare_page: str) -> None:
    for number, text in ((2, "benchmark"), (3, "language"), (4, "category")):
        part = bare_page.partition(f'id="figure-{number}"')[2].partition("</section>")[0]
        assert "<svg" in part and f"<th>{text}</th>" in part and "not run, because" in part
        assert all(f"<td>{cell}</td>" in part for row in figure(number).texts() for cell in map(escape, row))


def test_our_scores_stand_in_the_reports_columns_and_tasks_of_our_own_apart(folders: dict[str, Path], tmp_path: Path) -> None:
    whole_family(tmp_path)
    page = render(collected(folders, Path("data dir")), "name: tiny\n")
    two = block(page, "table-2")
    ours = two.partition("</table>")[0]
    assert "31.1 ± 1.0 %" in ours and "12.3 ± 1.0 %" in ours and "bits a byte" not in ours
    assert "Nearest of our own" in two and "1.200 ± 0.010" in two
    assert "BBH, 3-shot" in two and "not run, because" in two
    assert "22.2 ± 1.0 %" in block(page, "table-13") and "the score of mmlu has no such group" in block(page, "table-13")
    assert "23.4 ± 1.0 %" in block(page, "table-10").partition("</table>")[0], "a chat model's form of the benchmark"
    assert "35.0 %" in block(page, "table-11"), "the mean of the six languages"
    assert "7.7 ± 1.0 %" in block(page, "table-12").partition("</table>")[0] and "62.0 ± 1.0 %" in block(page, "table-12")
    six, seven, eight = (block(page, f"table-{number}") for number in (6, 7, 8))
    assert "75.0 ± 2.0 %" in six and six.count("25.0 ± 1.0 %") == 3 and "two steps" in six
    assert seven.count("75.0 ± 2.0 %") == 2 and "plots, hard" in eight and eight.count("25.0 ± 1.0 %") == 4
    assert "plot(1 &lt; 2)\nshow()" in block(page, "figure-5") and "There it is." in block(page, "figure-5")


def test_long_context_compression_and_contamination_are_shown(bare_page: str, folders: dict[str, Path], tmp_path: Path) -> None:
    for file in ("long_context", "compression", "contamination"):
        assert f"because the evals wrote no {file}.json" in bare_page
    whole_family(tmp_path)
    page = render(collected(folders), "name: tiny\n")
    three = block(page, "table-3")
    assert "400.50 ± 9.00" in three and "5.50 ± 0.10" in three and "base, trained at 256" in three and "<th>1,024</th>" in three
    assert "base, needle: found, per cent of 20" in page and ">75</text>" in page and "123,456" in page
    assert "20,000 (0.50)" in page and "qwen (151,643)" in page and "2 of 164 (3 too short)" in page and "HumanEval/1" in page
    assert HOSTILE not in page and page.count(escape(HOSTILE)) >= 2
    assert len(page) < 5_000_000


def test_an_empty_cell_says_why(folders: dict[str, Path], tmp_path: Path) -> None:
    report = collected(folders)
    assert "no model of this kind" in " ".join(document(report).tables[11].missing)
    two = " ".join(document(report).tables[1].missing)
    assert "HumanEval, 0-shot; MBPP, 3-shot" in two and "evals do not name it, nor a folder of benchmark data" in two
    with_data = " ".join(document(collected(folders, tmp_path)).tables[1].missing)
    assert "do not name it" in with_data and "nor a folder" not in with_data
    alone = document(collect("tiny", "", 0, {"base": folders["base"]}))
    assert any("the family has no evals" in line for line in alone.tables[1].missing)


def test_every_number_names_a_command_and_the_keys_to_its_value(folders: dict[str, Path], tmp_path: Path) -> None:
    whole_family(tmp_path)
    report = complete(collected(folders, Path("data dir")))
    numbers = report["numbers"]
    assert len({number["id"] for number in numbers}) == len(numbers) > 60
    page = render(report, "name: tiny\n")
    assert set(re.findall(r'data-number="([^"]*)"', page)) == {escape(number["id"]) for number in numbers}
    for number in numbers:
        program, command, subject, *rest = shlex.split(number["command"])
        assert program == "kwen" and rest and number["value"] is not None
        if command == "report":
            value: Any = report
        else:
            value = report["scores"][subject.removeprefix("runs/tiny/")]
        for key in number["path"]:
            value = value[key]
        assert value == number["value"], number
    commands = {number["command"] for number in numbers}
    assert "kwen eval runs/tiny/base --tasks humaneval --data 'data dir' --limit 100 --json scores.json" in commands
    assert "kwen eval runs/tiny/chat-sft --tasks nanoworld-facts --limit 100 --baselines --json scores.json" in commands
    assert "kwen eval runs/tiny/base --tasks perplexity --data runs/tiny/corpus --json scores.json" in commands
    assert json.loads(json.dumps(report)) == report


def test_names_of_models_tasks_and_sets_are_text(folders: dict[str, Path], tmp_path: Path) -> None:
    named = {"perplexity": score("bits_per_byte", 1.0, by_file={HOSTILE: score("bits_per_byte", 1.0)})}
    named |= {f"nanoworld-{HOSTILE}": score("accuracy", 0.5), "nanoworld-facts": score("accuracy", 0.5)}
    add_scores(tmp_path, {HOSTILE: named})
    report = collected(folders)
    report["preference"] = {HOSTILE: {HOSTILE: {**score("accuracy", 0.5), "by_tag": {HOSTILE: score("accuracy", 0.5)}}}}
    page = render(report, "name: tiny\n")
    outside_fences = re.sub(r"^```.*?^```$", "", from_page(page), flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in page and not re.search(r"(?<!\\)<script", outside_fences)
    assert not any("<script" in part for part in re.findall(r'title="[^"]*"', page))
    command = next(number["command"] for number in complete(report)["numbers"] if HOSTILE in number["id"])
    assert shlex.split(command)[2] == f"runs/tiny/{HOSTILE}", "one word to a shell"


def test_drawings_escape_their_labels_and_leave_gaps() -> None:
    drawn = [
        radar([HOSTILE, "b", "c", "d"], {"x": [10, None, 30, 40]}),
        strip({HOSTILE: {"x": 2.0}}, ["x"], "times", 1.0),
        heat(["1"], {HOSTILE: [0.5], "gap": [None]}, "tokens"),
    ]
    assert all(HOSTILE not in svg and escape(HOSTILE) in svg for svg in drawn)
    assert drawn[0].count("<circle") == 3 and drawn[0].count("stroke-width") == 2 and drawn[2].count("<rect") == 1
    assert not re.search(r"#[0-9a-f]{6}\b", "".join(drawn))

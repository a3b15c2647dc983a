"""The tools that come with Kwen."""

from pathlib import Path

import pytest

from kwen.agent.builtin import Workspace, builtin, clock
from kwen.agent.calculator import calculate
from kwen.agent.folder import Folder
from kwen.errors import UserError


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17 * 23", "391"), ("0.1 + 0.2", "0.3"), ("1/3", "0.333333333333 (exactly 1/3)"), ("7/8", "0.875"), ("-7 // 2", "-4"),
        ("2**100", "1267650600228229401496703205376"), ("2 ^ -2", "0.25"), ("3 × (4 − 1) =", "9"), ("sqrt(49/4)", "3.5"),
        ("sqrt(2)", "1.41421356237"), ("round(2.675, 2)", "2.68"), ("-7 % 3", "2"), ("1_000 * 2", "2000"), ("max(1, 2.5)", "2.5"),
        ("(-1)**999999999", "-1"), ("factorial(20)", "2432902008176640000"), ("12.50 * 4", "50"), ("1e-99999999", "0"),
    ],
)  # fmt: skip
def test_arithmetic_is_exact_and_written_as_people_do(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("9**9**9", "too large"), ("1e999999999", "too large"), ("10**5000", "too large"), ("1/0", "division by zero"),
        ("__import__('os')", "is no arithmetic"), ("(1", "is no arithmetic"), ("x + 1", "'x' is no arithmetic"),
        ("(1).real", "is no arithmetic"), ("hack(1)", "hack is unknown"), ("sqrt(-1)", "no square root"),
        ("log(0)", "not defined"),
        ("min()", "does not take"), ("1 << 3", "only"), ("'a' * 9", "is no arithmetic"), ("1" * 600, "more than 200"),
        ("True", "no arith"),
        ("+" * 150 + "1", ""), ("factorial(1000)", "0 to 450"), ("(" * 90 + "1" + ")" * 90, ""),
        ("*".join(["2**4000"] * 8), "too large"),
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_or_too_much_is_told(expression: str, problem: str) -> None:
    if not problem:
        try:
            assert calculate(expression) == "1"
        except UserError:
            return
    else:
        with pytest.raises(UserError, match=problem):
            calculate(expression)


def test_clock() -> None:
    assert " CST, " in clock("Asia/Shanghai") and clock()
    for wrong in ("Nowhere/City", "../../etc/passwd", "/etc/passwd"):
        with pytest.raises(UserError, match="is unknown"):
            clock(wrong)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    inside = tmp_path / "docs"
    (inside / "sub").mkdir(parents=True)
    (inside / "a.txt").write_text("The lamp costs 23 coins.\nThe table costs 40.\n")
    (inside / "sub" / "b.md").write_text("\n".join(f"line {number}" for number in range(1, 2001)))
    (inside / "image.png").write_bytes(b"\x89PNG\0\0")
    (inside / ".secret").write_text("lamp")
    (tmp_path / "outside.txt").write_text("lamp secret")
    (inside / "link.txt").symlink_to(tmp_path / "outside.txt")
    (inside / "loop").symlink_to(inside / "loop")
    return Folder(inside)


def test_read_pages_and_lists(folder: Folder) -> None:
    assert folder.read("a.txt") == "The lamp costs 23 coins.\nThe table costs 40."
    assert folder.read(".") == "a.txt\nimage.png\nsub/b.md"
    page = folder.read("sub/b.md", 1500)
    assert page.startswith("line 1500\n") and page.endswith("line 2000")
    assert "follow: read on with start_line" in folder.read("sub/b.md") and len(folder.read("sub/b.md")) < 6200
    for path, problem in (("image.png", "no text file"), ("none.txt", "there is no"), ("a.txt/b", "there is no")):
        with pytest.raises(UserError, match=problem):
            folder.read(path)
    with pytest.raises(UserError, match="has 2 lines"):
        folder.read("a.txt", 3)


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/passwd", "link.txt", "sub/../../outside.txt", "a\0b", "loop"])
def test_paths_that_climb_out_are_refused(folder: Folder, path: str) -> None:
    with pytest.raises(UserError, match="outside the folder|there is no"):
        folder.read(path)


def test_search_finds_lines_with_most_words_first(folder: Folder) -> None:
    assert folder.search("costs LAMP") == "a.txt:1: The lamp costs 23 coins.\na.txt:2: The table costs 40."
    assert folder.search("secret") == "nothing found for secret"
    assert "[1980 further lines]" in folder.search("line")
    with pytest.raises(UserError, match="empty"):
        folder.search(" ")


def test_every_builtin_has_a_definition() -> None:
    workspace = Workspace()
    for name in ("python", "calculator", "clock", "read", "search"):
        function = builtin(name, workspace).definition()["function"]
        assert function["name"] == name and function["description"]
        assert all("description" in schema for schema in function["parameters"]["properties"].values()), name
    workspace.close()


def test_python_keeps_names_and_brings_files_and_images_out(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    (tmp_path / "in.csv").write_text("x,y\n1,2\n3,4\n")
    workspace = Workspace()
    try:
        workspace.put(tmp_path / "in.csv")
        python = builtin("python", workspace)
        first = python.run({"code": "import csv\nrows = list(csv.DictReader(open('in.csv')))\nlen(rows)"})
        if first.error and "sandbox" in first.text:
            pytest.skip(first.text)
        assert first.text == "2" and not first.error
        second = python.run({"code": "open('out.txt', 'w').write(str(rows[1]['y']))\nprint('ok')"})
        assert "ok" in second.text and [(file.name, file.data) for file in second.files] == [("out.txt", b"4")]
        third = python.run({"code": "rows[5]"})
        assert third.error and "IndexError" in third.text
        plot = python.run({"code": "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"})
        assert len(plot.images) == 1 and plot.images[0].startswith(b"\x89PNG") and "1 image shown" in plot.text
    finally:
        workspace.close()


def test_a_file_of_the_users_never_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.txt").write_text("mine")
    (tmp_path / "a.txt").write_text("other")
    workspace = Workspace(tmp_path / "work")
    with pytest.raises(UserError, match="has another file called a.txt"):
        workspace.put(tmp_path / "a.txt")
    assert (tmp_path / "work" / "a.txt").read_text() == "mine"
    workspace.close()
    assert (tmp_path / "work" / "a.txt").exists()
    with pytest.raises(UserError, match="no such folder"):
        Workspace(tmp_path / "none")

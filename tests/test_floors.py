"""The house: an import points down, never up, and never sideways between folders of one floor.

The import graph is read from the code, without importing it: every `import` and `from` in every module, also those inside
functions and under TYPE_CHECKING.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import kwen

PACKAGE = Path(kwen.__file__).parent

FLOORS = {
    "cli": 6,
    "family": 5,
    "align": 4, "evals": 4, "serve": 4, "corpus": 4, "pretrain": 4,
    "agent": 3, "verify": 3,
    "engine": 2, "train": 2, "nanoworld": 2,
    "model": 1, "text": 1, "sandbox": 1,
    "errors": 0, "files": 0, "progress": 0,
}  # fmt: skip

HEAVY = {"torch", "transformers", "matplotlib", "tokenizers", "pyarrow", "numpy"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The folder of floor 1 to 6 or the module of floor 0 that a file belongs to; `kwen` for the package's own __init__."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py") if inside.parts[0] != "__init__.py" else "kwen"


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full module name) of every import; `from kwen import x` counts as kwen.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            if node.module == "kwen":
                yield from ((node.lineno, f"kwen.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def test_every_folder_has_a_floor() -> None:
    rooms = {room_of(path) for path in modules()} - {"kwen"}
    assert rooms <= set(FLOORS), f"no floor for {sorted(rooms - set(FLOORS))}"


def test_imports_point_down() -> None:
    wrong = []
    for path in modules():
        room = room_of(path)
        if room == "kwen":
            continue
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            other = name.split(".")[1] if name.startswith("kwen.") else None
            if other is None or other == room or other == "__version__":
                continue
            if other not in FLOORS or FLOORS[other] >= FLOORS[room]:
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line}: {room} (floor {FLOORS[room]}) imports {name}")
    assert not wrong, "\n".join(wrong)


def imported_at_the_top(path: Path) -> set[str]:
    """The modules that importing this file imports, functions left out."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {name for node in body if isinstance(node, ast.Import | ast.ImportFrom) for _, name in imports(node)}


def test_the_package_itself_and_the_ground_floor_import_nothing_of_it_at_the_top() -> None:
    for path in [PACKAGE / "__init__.py", *(PACKAGE / f"{name}.py" for name, floor in FLOORS.items() if floor == 0)]:
        assert not [name for name in imported_at_the_top(path) if name.split(".")[0] == "kwen"], path


def test_the_command_line_and_the_build_graph_import_nothing_heavy_at_the_top() -> None:
    for path in [PACKAGE / "cli" / "main.py", *(PACKAGE / "family").glob("*.py")]:
        heavy = {name.split(".")[0] for name in imported_at_the_top(path)} & HEAVY
        assert not heavy, f"{path.name} imports {heavy} at the top"


def test_no_file_outgrows_one_idea() -> None:
    lines = {str(path.relative_to(PACKAGE.parent)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert not {path: count for path, count in lines.items() if count > 420}


def test_nothing_pickles_evaluates_or_is_unfinished() -> None:
    wrong = []
    for path in modules():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        found = {name.split(".")[0] for _, name in imports(tree)} & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
        # Running code is what the sandbox is for: inside the jail, and nowhere else.
        if room_of(path) != "sandbox":
            found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"eval", "exec"}
        raised = {ast.unparse(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None}
        found |= {name for name in raised if name.startswith("NotImplementedError")}
        found |= {word for word in ("TODO", "FIXME", "XXX") if word in text}
        wrong += [f"{path.relative_to(PACKAGE.parent)}: {word}" for word in sorted(found)]
    assert not wrong, "\n".join(wrong)

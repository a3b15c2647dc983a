"""`kwen report`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kwen.cli.build import run_recipe
from kwen.family.build import refresh
from kwen.family.nodes import family_nodes
from kwen.family.recipe import load_recipe
from kwen.family.report import collect


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as runs/nano.")],
    other: Annotated[Path | None, typer.Argument(help="Another run, to set beside it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers instead; times stand under the key record.")] = False,
) -> None:
    """Write a run's own technical report to RUN/report/index.html and report.md, from what the run holds by now; with two runs,
    their comparison to RUN/compared/OTHER."""
    if other is not None:
        _compare(run, other, as_json)
        return
    if as_json:
        from kwen.family.document import complete

        _print(complete(_collected(run)))
        return
    recipe = load_recipe(str(run_recipe(run)), [])
    made = refresh(next(node for node in family_nodes(recipe) if node.name == "report"), run, recipe.seed)
    typer.echo(str(made / "index.html"))


def _collected(run: Path) -> dict[str, Any]:
    recipe = load_recipe(str(run_recipe(run)), [])
    folders = {node.name: run / node.name for node in family_nodes(recipe) if node.name != "report"}
    data = recipe.evals.data if recipe.evals is not None else None
    return collect(recipe.name, recipe.about, recipe.seed, folders, data)


def _compare(run: Path, other: Path, as_json: bool) -> None:
    from kwen.family import compare
    from kwen.family.markdown import from_page
    from kwen.files import write_text

    found = compare.compare(_collected(run), _collected(other))
    if as_json:
        _print(found)
        return
    page = compare.render(found, (str(run), str(other)))
    folder = run / "compared" / other.resolve().name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "index.html", page)
    write_text(folder / "report.md", from_page(page))
    typer.echo(str(folder / "index.html"))


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))

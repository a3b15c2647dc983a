"""`kwen report`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kwen.cli.build import run_recipe
from kwen.family.build import refresh
from kwen.family.nodes import family_nodes
from kwen.family.recipe import load_recipe
from kwen.family.report import collect


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, such as runs/nano.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers instead; times stand under the key record.")] = False,
) -> None:
    """Write a run's own technical report to RUN/report/index.html, from what the run holds by now."""
    recipe = load_recipe(str(run_recipe(run)), [])
    nodes = family_nodes(recipe)
    if as_json:
        folders = {node.name: run / node.name for node in nodes if node.name != "report"}
        typer.echo(json.dumps(collect(recipe.name, recipe.about, recipe.seed, folders), indent=2, ensure_ascii=False))
        return
    made = refresh(next(node for node in nodes if node.name == "report"), run, recipe.seed)
    typer.echo(str(made / "index.html"))

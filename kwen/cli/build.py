"""`kwen build` and `kwen status`."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kwen.cli.display import display, headline
from kwen.errors import UserError
from kwen.family.artifact import read_manifest
from kwen.family.build import RECIPE, hash_cache
from kwen.family.build import build as build_family
from kwen.family.checking import read_yaml
from kwen.family.describe import clock, describe, size
from kwen.family.estimate import earlier_times
from kwen.family.graph import Step, in_short, plan, select
from kwen.family.launch import refuse_torchrun, resolve_ranks
from kwen.family.nodes import check_ready, family_nodes
from kwen.family.recipe import load_recipe


def build(
    recipe: Annotated[str, typer.Argument(help="A recipe that ships (micro, nano, books), or a YAML file.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME where not given.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Build this artifact and its ancestors; may be given again.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a key of the recipe: base.training.steps=200.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be built and why; build nothing.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file again instead of trusting sizes and times.")] = False,
) -> None:
    """Make a family: what is missing or stale, nothing else. Cut off at any moment, the same command goes on from there."""
    refuse_torchrun(os.environ)
    chosen = load_recipe(recipe, set_ or [])
    run = out if out is not None else Path("runs") / chosen.name
    _refuse_other_family(run, chosen.name)
    nodes = select(family_nodes(chosen), only or [])
    console = Console(highlight=False)
    steps = plan(nodes, run, chosen.seed, hash_cache(run, verify and dry_run))
    if dry_run:
        _print_plan(console, steps)
        return
    if any(step.node.name == "evals" and step.state != "done" for step in steps):
        check_ready(chosen)
    console.print(f"[bold]kwen build {escape(chosen.name)}[/]  [dim]{escape(headline(run))}[/]", soft_wrap=True)
    with display(console) as watcher:
        build_family(
            nodes,
            run,
            chosen.seed,
            [watcher],
            verify=verify,
            recipe_text=chosen.to_yaml(),
            expected_s=earlier_times(run, nodes, chosen.expected_seconds),
            ranks=resolve_ranks(chosen.launcher),
        )
    page = run / "report" / "index.html"
    if page.exists():
        console.print(f"[dim]report: {escape(str(page))}[/]", soft_wrap=True)


def status(run: Annotated[Path, typer.Argument(help="A run's folder, such as runs/nano.")]) -> None:
    """What a run holds, and what a build of its recipe would do."""
    recipe = load_recipe(str(run_recipe(run)), [])
    steps = plan(family_nodes(recipe), run, recipe.seed, hash_cache(run))
    console = Console(highlight=False)
    for step in steps:
        manifest = read_manifest(run / step.node.name)
        state = {"done": "done", "build": "stale", "maybe": "waits"}[step.state] if manifest is not None else "absent"
        facts = "" if manifest is None else describe(manifest)
        took = "" if manifest is None else clock(float(manifest.record.get("wall_s", 0.0)))
        space = "" if manifest is None else size(manifest.size)
        console.print(f"  {state:<7} {step.node.name:<11} {space:>9} {took:>8}   {facts}", soft_wrap=True, markup=False)
        if step.state != "done" and manifest is not None:
            console.print(f"{'':22}{in_short(step.reasons)}", soft_wrap=True, markup=False, style="dim")


def run_recipe(run: Path) -> Path:
    """The recipe that a run keeps. UserError where `run` is no run's folder."""
    if not (run / RECIPE).is_file():
        raise UserError(f"{run}: no run of a family here (it has no {RECIPE}); kwen build RECIPE --out {run} makes one")
    return run / RECIPE


def _refuse_other_family(run: Path, name: str) -> None:
    kept = run / RECIPE
    held = read_yaml(kept.read_text(encoding="utf-8"), str(kept)).get("name") if kept.is_file() else name
    if held != name:
        raise UserError(f"{run}: holds the family {held!r}, not {name!r}; choose another folder with --out")


def _print_plan(console: Console, steps: list[Step]) -> None:
    words = {"done": "keep", "build": "build", "maybe": "maybe"}
    for step in steps:
        console.print(f"  {words[step.state]:<6} {step.node.name:<11} {in_short(step.reasons)}", soft_wrap=True, markup=False)
    states = [step.state for step in steps]
    console.print(
        f"  {states.count('build')} to build, {states.count('maybe')} more if an input changes, {states.count('done')} up to date"
    )

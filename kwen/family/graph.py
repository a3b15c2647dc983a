"""The build graph: what each artifact is made from, which of them are stale, and why.

A node is stale when its folder holds no artifact, when its files are damaged, or when its key is no longer what the recipe
and its inputs give. Staleness is judged against the content of the inputs, not against their age: an input that was built
again and came out equal leaves what depends on it alone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.text import Text

from kwen.errors import UserError
from kwen.family.artifact import HashCache, Manifest, artifact_key, config_changes, damage, read_manifest
from kwen.family.launch import Launcher
from kwen.files import json_hash
from kwen.progress import Progress, silent


def show_nobody(texts: Sequence[Text]) -> None:
    """Where nobody looks on."""


@dataclass(frozen=True)
class Job:
    """What a stage is given: its settings, its inputs as folders, and the two folders that it may write into.

    `out` becomes the artifact when the stage returns. `work` outlives a kill and is the same for the same key: checkpoints
    and finished parts belong there. `launcher` has the processes that train together. `show` takes texts for whoever looks on.
    """

    name: str
    settings: Any
    seed: int
    inputs: Mapping[str, Path]
    out: Path
    work: Path
    launcher: Launcher = field(default_factory=Launcher)
    progress: Progress = silent
    show: Callable[[Sequence[Text]], None] = show_nobody


@dataclass(frozen=True)
class Stage:
    """One way to make an artifact. `version` is raised when the same config would give other bytes.

    `run` fills `job.out` and returns the artifact's metrics; numbers that depend on the machine's speed go under `record`.
    `trains` says that it will ask for the launcher's ranks.
    """

    name: str
    version: int
    run: Callable[[Job], dict[str, Any]]
    trains: bool = False


@dataclass(frozen=True)
class Node:
    """One artifact of a family: its name, its stage, and what decides its content.

    `config` is hashed (a slice of the recipe in JSON types), `settings` is what the stage reads; `inputs` names artifacts,
    `sources` maps a name to a file or folder outside the run, or to a plain string that stands for one (a version).
    """

    name: str
    stage: Stage
    config: dict[str, Any]
    settings: Any = None
    inputs: tuple[str, ...] = ()
    sources: Mapping[str, Path | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A node and what is to be done with it: `done` (up to date), `build`, or `maybe` (when an input comes out changed)."""

    node: Node
    state: Literal["done", "build", "maybe"]
    reasons: tuple[str, ...] = ()


def select(nodes: Sequence[Node], only: Collection[str]) -> list[Node]:
    """The named nodes and all their ancestors, in build order; all nodes where `only` is empty.

    UserError for a name that the family does not have.
    """
    by_name = {node.name: node for node in nodes}
    wanted: set[str] = set()
    queue = list(only) or list(by_name)
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise UserError(f"no artifact {name!r} in this family; it has {', '.join(by_name)}")
        if name not in wanted:
            wanted.add(name)
            queue.extend(by_name[name].inputs)
    return [node for node in nodes if node.name in wanted]


def source_hashes(node: Node, cache: HashCache) -> dict[str, str]:
    """The content hashes of what a node reads from outside the run."""
    return {
        name: json_hash(source) if isinstance(source, str) else cache.tree(source) for name, source in node.sources.items()
    }


def why_stale(node: Node, folder: Path, seed: int, inputs: Mapping[str, str], cache: HashCache) -> list[str]:
    """Why `node` has to be built, given the content hashes of its inputs (sources included); empty when it is up to date."""
    manifest = read_manifest(folder)
    if manifest is None:
        return ["not built yet"]
    if manifest.key != artifact_key(node.stage.version, node.config, seed, inputs):
        return _differences(node, manifest, seed, inputs) or ["its manifest does not fit its key"]
    harm = damage(folder, manifest, cache)
    return [harm] if harm else []


def in_short(reasons: Sequence[str], most: int = 4) -> str:
    """Reasons in one line for people: the first ones, and how many more there are."""
    more = len(reasons) - most
    return "; ".join([*reasons[:most], *([f"and {more} more"] if more > 0 else [])])


def _differences(node: Node, manifest: Manifest, seed: int, inputs: Mapping[str, str]) -> list[str]:
    reasons = []
    if manifest.stage_version != node.stage.version:
        reasons.append(f"stage {node.stage.name} version {manifest.stage_version} -> {node.stage.version}")
    if manifest.seed != seed:
        reasons.append(f"seed {manifest.seed} -> {seed}")
    reasons += config_changes(manifest.config, node.config)
    for name in dict.fromkeys([*manifest.inputs, *inputs]):
        if name not in inputs:
            reasons.append(f"no longer made from {name}")
        elif name not in manifest.inputs:
            reasons.append(f"now made from {name} too")
        elif manifest.inputs[name] != inputs[name]:
            reasons.append(f"{name} changed")
    return reasons


def plan(nodes: Sequence[Node], run: Path, seed: int, cache: HashCache) -> list[Step]:
    """What a build of `nodes` (in build order) would do in the folder `run`, and why. Writes nothing."""
    steps: list[Step] = []
    contents: dict[str, str] = {}
    for node in nodes:
        manifest = read_manifest(run / node.name)
        unsettled = [name for name in node.inputs if name not in contents]
        # Nobody knows yet how an input that is to be built comes out: suppose it comes out as it was when this was made.
        recorded = manifest.inputs if manifest is not None else {}
        inputs = {name: contents.get(name, recorded.get(name, "")) for name in node.inputs}
        reasons = why_stale(node, run / node.name, seed, inputs | source_hashes(node, cache), cache)
        if reasons:
            steps.append(Step(node, "build", tuple(reasons)))
        elif unsettled:
            steps.append(Step(node, "maybe", tuple(f"if {name} comes out changed" for name in unsettled)))
        else:
            assert manifest is not None  # without one the node would be stale
            steps.append(Step(node, "done"))
            contents[node.name] = manifest.content
    return steps

"""Building a family: make what is missing or stale, resume what was cut off, repeat nothing.

A stage writes into a folder aside that is renamed when complete, so a kill at any moment leaves the artifact that stood
there or the new one. Between starts, a stage's checkpoints live in `.work/ARTIFACT`, which belongs to one key: with another
key it is emptied first.
"""

import errno
import fcntl
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.text import Text

import kwen
from kwen.errors import UserError
from kwen.family.artifact import RECORD, HashCache, Manifest, artifact_key, describe_files, read_manifest
from kwen.family.estimate import BuildClock
from kwen.family.graph import Job, Node, plan, source_hashes, why_stale
from kwen.family.launch import Launcher
from kwen.family.watch import PlainLines, Watcher
from kwen.files import folder_aside, write_text

WORK = ".work"
LOG = "build.log"
RECIPE = "recipe.yaml"
HASHES = "hashes.json"


def hash_cache(run: Path, verify: bool = False) -> HashCache:
    """The run's cache of file hashes; with `verify` every file is read again."""
    return HashCache(run / WORK / HASHES, verify)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder's lock. UserError, naming the process, while another build holds it."""
    run.mkdir(parents=True, exist_ok=True)
    with open(run / ".lock", "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + 10.0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                pid = file.read().strip()
                # The ranks of a build that was just killed hold its lock for the moment they need to end.
                if _alive(pid) or time.monotonic() > deadline:
                    raise UserError(f"{run}: another build is at work here (process {pid}); wait for it or stop it") from None
                time.sleep(0.1)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return True  # the holder has the lock and is about to write its number
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def build(
    nodes: Sequence[Node],
    run: Path,
    seed: int,
    watchers: Sequence[Watcher] = (),
    *,
    verify: bool = False,
    recipe_text: str | None = None,
    expected_s: Mapping[str, float] | None = None,
    ranks: int = 1,
) -> list[Manifest]:
    """Bring `nodes` (in build order, ancestors included) up to date in the folder `run`; their manifests, in order.

    `recipe_text` is kept as `recipe.yaml`. `expected_s` maps artifacts to seconds; it serves the estimate alone. `ranks` is
    the number of processes that train together.
    UserError for a user's mistake, a full disk and a locked folder among them; a stage's own errors pass through.
    """
    with locked(run), open(run / LOG, "a", encoding="utf-8", buffering=1) as log:
        everyone = [PlainLines(lambda line: print(line, file=log), every_s=30.0, stamp=True), *watchers]
        with _full_disk_told(run), Launcher(ranks) as launcher:
            for left_over in run.glob(".*.aside"):
                shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
            if recipe_text is not None:
                write_text(run / RECIPE, recipe_text)
            maker = _Maker(run, seed, launcher, everyone)
            return _build_locked(nodes, maker, hash_cache(run, verify), dict(expected_s or {}))


def _build_locked(nodes: Sequence[Node], maker: "_Maker", cache: HashCache, expected_s: dict[str, float]) -> list[Manifest]:
    run, seed, watchers = maker.run, maker.seed, maker.watchers
    steps = plan(nodes, run, seed, cache)
    maker.clock = BuildClock({step.node.name: expected_s.get(step.node.name) for step in steps if step.state != "done"})
    for watcher in watchers:
        watcher.planned(steps)
    if any(step.state == "build" and step.node.stage.trains for step in steps):
        maker.launcher.ranks()  # their start-up runs beside the stages that come before
    manifests: dict[str, Manifest] = {}
    for node in nodes:
        inputs = {name: manifests[name].content for name in node.inputs} | source_hashes(node, cache)
        reasons = why_stale(node, run / node.name, seed, inputs, cache)
        manifest = maker.make(node, inputs, reasons) if reasons else read_manifest(run / node.name)
        assert manifest is not None  # without one the node would be stale
        if reasons:
            # Files that were just hashed and renamed keep their size and time: the next build reads none of them.
            for name in manifest.files:
                cache.sha256(run / node.name / name)
        maker.clock.finish(node.name)
        shutil.rmtree(run / WORK / node.name, ignore_errors=True)
        manifests[node.name] = manifest
        cache.save()
        for watcher in watchers:
            watcher.finished(manifest, bool(reasons))
    return list(manifests.values())


def refresh(node: Node, run: Path, seed: int) -> Path:
    """Make one artifact again from those of its inputs that stand, if they changed since; its folder.

    Its other inputs are neither built nor waited for. UserError where no input stands, or where a build is at work.
    """
    standing = {name: manifest for name in node.inputs if (manifest := read_manifest(run / name)) is not None}
    if not standing:
        raise UserError(f"{run}: nothing is built here yet; run kwen build first")
    node = replace(node, inputs=tuple(standing))
    cache = hash_cache(run)
    with locked(run), _full_disk_told(run), Launcher() as launcher:
        inputs = {name: manifest.content for name, manifest in standing.items()} | source_hashes(node, cache)
        reasons = why_stale(node, run / node.name, seed, inputs, cache)
        if reasons:
            _Maker(run, seed, launcher, []).make(node, inputs, reasons)
    return run / node.name


@dataclass
class _Maker:
    """What running a stage takes, the same for all stages of one build."""

    run: Path
    seed: int
    launcher: Launcher
    watchers: Sequence[Watcher]
    clock: BuildClock = field(default_factory=lambda: BuildClock({}))

    def make(self, node: Node, inputs: dict[str, str], reasons: Sequence[str]) -> Manifest:
        """Run one stage into a folder aside, and give that folder the artifact's name."""
        for watcher in self.watchers:
            watcher.started(node.name, reasons)
        self.clock.start(node.name)
        try:
            return self._made(node, inputs)
        except BaseException:
            for watcher in self.watchers:
                watcher.failed(node.name)
            raise

    def _made(self, node: Node, inputs: dict[str, str]) -> Manifest:
        key = artifact_key(node.stage.version, node.config, self.seed, inputs)
        work = _work_folder(self.run / WORK / node.name, key)
        began, began_at = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%S%z")

        def progress(done: float, total: float, **facts: float | str) -> None:
            left = self.clock.left(done, total)
            for watcher in self.watchers:
                watcher.progressed(node.name, done, total, left, facts)

        def show(texts: Sequence[Text]) -> None:
            for watcher in self.watchers:
                watcher.shown(node.name, texts)

        with folder_aside(self.run / node.name) as out:
            folders = {name: self.run / name for name in node.inputs}
            job = Job(node.name, node.settings, self.seed, folders, out, work, self.launcher, progress, show)
            metrics = dict(node.stage.run(job))
            record = {
                "wall_s": round(time.monotonic() - began, 3),
                "started": began_at,
                "run": str(self.run),
                "sources": {name: str(source) for name, source in node.sources.items()},
                "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
                "versions": {"kwen": kwen.__version__, "python": platform.python_version()},
                **metrics.pop(RECORD, {}),
            }
            kind, files = node.stage, describe_files(out)
            manifest = Manifest(
                node.name, kind.name, kind.version, key, inputs, node.config, self.seed, files, metrics, record
            )
            manifest.write(out)
        return manifest


def _work_folder(work: Path, key: str) -> Path:
    """The stage's scratch folder for this key, emptied when it was left by another."""
    owner = work / "key"
    if not owner.is_file() or owner.read_text(encoding="utf-8") != key:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_text(owner, key)
    return work


@contextmanager
def _full_disk_told(run: Path) -> Iterator[None]:
    """A full disk as one clear line, also from writers (safetensors) that hide the error number in their text."""
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or re.search(r"No space left on device|os error 28|Disk quota exceeded", str(error)):
            raise UserError(f"{run}: the disk is full; make room and run the same command again, it goes on from here") from error
        raise

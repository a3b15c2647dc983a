"""Artifacts: folders that say what they were made from.

An artifact is one folder with a `manifest.json`. Its key is the hash of everything that decides its content (stage version,
resolved config, seed, content hashes of its inputs); its content hash is the hash of the files it holds. Versions, times,
machine and paths stand under `record` in the manifest: they are kept for the reader and never hashed.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kwen.corpus.archives import disk_files
from kwen.files import file_hash, json_hash, write_json

MANIFEST = "manifest.json"
CURVE = "metrics.jsonl"
RECORD = "record"


@dataclass(frozen=True)
class Manifest:
    """What one artifact is and what it was made from.

    `inputs` maps an input's name to its content hash, `config` is the slice of the recipe that decides this artifact,
    `files` maps a path inside the folder to its SHA-256 and size in bytes, `record` holds what is never hashed.
    """

    name: str
    stage: str
    stage_version: int
    key: str
    inputs: dict[str, str]
    config: dict[str, Any]
    seed: int
    files: dict[str, dict[str, Any]]
    metrics: dict[str, Any]
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """The content hash: over names and SHA-256 of the files, nothing else."""
        return content_hash({name: entry["sha256"] for name, entry in self.files.items()})

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`."""
        write_json(folder / MANIFEST, asdict(self))


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of `folder`; None where there is none, or none that can be read (such an artifact is built again)."""
    try:
        value = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**value)
        return manifest if isinstance(manifest.files, dict) and isinstance(manifest.inputs, dict) else None
    except (OSError, ValueError, TypeError):
        return None


def artifact_key(stage_version: int, config: Mapping[str, Any], seed: int, inputs: Mapping[str, str]) -> str:
    """The key: equal keys mean that the stage would write the same bytes."""
    return json_hash({"stage_version": stage_version, "config": config, "seed": seed, "inputs": inputs})


def content_hash(files: Mapping[str, str]) -> str:
    """The hash over a folder's files, given as path -> SHA-256."""
    return json_hash(dict(sorted(files.items())))


def content_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file that counts as content: not the manifest, not the training curve (it holds speeds), not `record/`.

    Yields (path inside the folder with forward slashes, path), sorted by the first.
    """
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            inside = path.relative_to(folder).as_posix()
            if inside not in (MANIFEST, CURVE) and not inside.startswith(RECORD + "/"):
                found.append((inside, path))
    yield from sorted(found)


class HashCache:
    """SHA-256 of files, remembered by size and modification time, so that asking again reads nothing.

    The cache is a local JSON file beside the work of a run; losing it costs one reading of each file. With `verify` every
    file is read again, once.
    """

    def __init__(self, path: Path, verify: bool = False) -> None:
        self._path, self._verify, self._changed = path, verify, False
        self._entries: dict[str, list[Any]] = {}
        self._read: set[str] = set()
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(value, dict):
            self._entries = {k: v for k, v in value.items() if isinstance(v, list) and len(v) == 3}

    def sha256(self, path: Path) -> str:
        """The SHA-256 of the file at `path`, in hex. Raises OSError where it cannot be read."""
        stat, name = path.stat(), os.path.abspath(path)
        known = self._entries.get(name)
        trusted = not self._verify or name in self._read
        if known is not None and trusted and known[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(known[2])
        digest = file_hash(path)
        self._read.add(name)
        self._entries[name] = [stat.st_size, stat.st_mtime_ns, digest]
        self._changed = True
        return digest

    def tree(self, path: Path) -> str:
        """The content hash of a source, a file or a folder, over what a corpus sees of it. UserError where it does not exist."""
        return content_hash({label: self.sha256(file) for label, file in disk_files(path.expanduser()) if file.is_file()})

    def save(self) -> None:
        """Write the cache, if anything in it is new."""
        if self._changed:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._entries)
            self._changed = False


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The `files` entry of a manifest: path -> SHA-256 and size of every content file in `folder`."""
    return {name: {"sha256": file_hash(path), "bytes": path.stat().st_size} for name, path in content_files(folder)}


def damage(folder: Path, manifest: Manifest, cache: HashCache) -> str | None:
    """What is wrong with the files of an artifact (`FILE is missing`, `FILE was changed`), or None."""
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            changed = path.stat().st_size != entry["bytes"] or cache.sha256(path) != entry["sha256"]
        except OSError:
            return f"{name} is missing"
        if changed:
            return f"{name} was changed after it was made"
    return None


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping from dotted path to leaf: {"base": {"steps": 3}} -> {"base.steps": 3}."""
    if isinstance(value, Mapping) and value:
        pairs = value.items()
    elif isinstance(value, list | tuple) and value:
        pairs = dict(enumerate(value)).items()
    else:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, item in pairs:
        leaves |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def config_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`base.steps 100 -> 200` for every leaf that differs between two configs."""
    before, after = flatten(old), flatten(new)
    names = [*before, *(name for name in after if name not in before)]

    def shown(leaves: Mapping[str, Any], name: str) -> str:
        return json.dumps(leaves[name], ensure_ascii=False) if name in leaves else "(not set)"

    return [
        f"{name} {shown(before, name)} -> {shown(after, name)}"
        for name in names
        if (name in before) != (name in after) or before[name] != after[name]
    ]

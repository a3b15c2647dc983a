"""Which nanoworld this is: artifacts made from it are stale when its text changes."""

import hashlib
from functools import cache
from pathlib import Path


@cache
def nanoworld_version() -> str:
    """SHA-256 of nanoworld's own source files, in hex: the world is a function of the seed and of these."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()

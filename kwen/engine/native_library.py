"""The kernels in `native/`, compiled for this machine's processor at their first use and kept in the user's cache folder.

They need a C++ compiler and a processor with AVX2; AVX-512 is used where VNNI is with it. Where compiler or processor is missing
`library()` is None, and torch's own kernels do the work.
"""

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

from kwen.files import write_bytes

SOURCES = Path(__file__).parent / "native"
CACHE = Path.home() / ".cache" / "kwen" / "native"
NEEDED = ("avx2", "f16c", "fma")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-pthread")
_LOCK = threading.Lock()


def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where this machine cannot have them."""
    with _LOCK:
        return _load()[0]


def why_not() -> str | None:
    """Why this machine has no native kernels, in a few words; None where it has them."""
    with _LOCK:
        return _load()[1]


@lru_cache(maxsize=1)
def _load() -> tuple[ctypes.CDLL | None, str | None]:
    features = _processor_features()
    if missing := [name for name in NEEDED if name not in features]:
        return None, f"the processor has no {missing[0]}"
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return None, "there is no C++ compiler (g++ or clang++)"
    try:
        return ctypes.CDLL(str(_compiled(compiler, features))), None
    except subprocess.CalledProcessError as error:
        first = error.stderr.decode(errors="replace").strip().splitlines() or ["the compiler failed"]
        return None, f"the kernels do not compile here: {first[0][:200]}"
    except OSError as error:
        return None, f"the kernels cannot be loaded: {error}"


def _compiled(compiler: str, features: frozenset[str]) -> Path:
    """The shared library of these sources, this compiler and this processor; made if it is not there."""
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True).stdout
    sources = sorted(SOURCES.iterdir())
    parts = [version, " ".join(sorted(features)).encode(), " ".join(_FLAGS).encode()]
    parts += [source.name.encode() + source.read_bytes() for source in sources if source.suffix in (".h", ".cpp")]
    target = CACHE / f"{hashlib.sha256(b'|'.join(parts)).hexdigest()[:24]}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "kernels.so"
            subprocess.run([compiler, *_FLAGS, "-o", made, SOURCES / "forward.cpp"], check=True, capture_output=True)
            CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_bytes(target, made.read_bytes())
    return target


def _processor_features() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())

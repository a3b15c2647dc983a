"""`kwen doctor`: what this machine offers, what will be used of it, and what is missing for what."""

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import psutil
import typer

import kwen
from kwen.errors import UserError

FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512 VNNI",
    "avx512_bf16": "AVX512 bf16",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "bf16": "ARM bf16",
    "sve": "SVE",
}
"""A flag of /proc/cpuinfo -> its name for people."""
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}

EXTRAS = {
    "data": "HTML at full quality and Parquet in corpora",
    "sandbox": "running untrusted Python without bubblewrap (code tasks, the code interpreter)",
    "tensorboard": "training curves in TensorBoard",
    "serve": "kwen serve, the OpenAI-compatible server",
    "page": "the chat page of kwen serve",
    "dev": "the test suite, and the peers that it compares with",
}
"""What each extra is for."""


def processor_flags() -> set[str]:
    """The processor's features as Linux names them; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def precision() -> str:
    """What training will multiply in, as far as can be told without importing torch: `bf16` or `float32`."""
    return "bf16" if processor_flags() & BFLOAT16 or Path("/proc/driver/nvidia/version").exists() else "float32"


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def doctor() -> None:
    """Say what this machine offers and what is missing for what. Changes nothing."""
    sections = {
        "machine": _machine(),
        "versions": _versions(),
        "sandbox": _sandbox(),
        "extras": _extras(),
    }
    for title, lines in sections.items():
        typer.echo(title)
        for name, text in lines:
            typer.echo(f"  {name:<12} {text}")


def _machine() -> list[tuple[str, str]]:
    memory = psutil.virtual_memory()
    flags = processor_flags()
    features = [text for flag, text in FEATURES.items() if flag in flags]
    threads = os.environ.get("OMP_NUM_THREADS")
    return [
        ("processor", f"{_processor_name()} · {cores()} cores · {', '.join(features) or 'no vector features told'}"),
        ("threads", f"{threads} (OMP_NUM_THREADS)" if threads else f"{cores()}, one for each core"),
        ("precision", f"training in {precision()}; loading in float32 on a processor, bfloat16 on a GPU, unless --dtype says"),
        ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        ("disk", f"{psutil.disk_usage('.').free / 2**30:.1f} GiB free here"),
        ("generating", _kernels()),
        ("GPU", _gpus()),
    ]


def _processor_name() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def _kernels() -> str:
    from kwen.engine.native_library import library, why_not  # compiles the kernels, and shares torch's import with what follows

    kernels = library()
    if kernels is None:
        return f"torch's kernels, several times slower: {why_not()}"
    return f"native kernels for {'AVX-512' if kernels.kwen_panel() == 32 else 'AVX2'}"


def _gpus() -> str:
    try:
        import torch
    except ImportError as error:
        return f"unknown: torch does not import ({error})"
    if not torch.cuda.is_available():
        return "none"
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{card.name} with {card.total_memory / 2**30:.0f} GiB" for card in cards)


def _versions() -> list[tuple[str, str]]:
    lines = [("kwen", kwen.__version__), ("python", f"{platform.python_version()} ({sys.prefix})")]
    for name in ("torch", "tokenizers", "safetensors", "tiktoken", "transformers"):
        lines.append((name, _version(name) or "not installed"))
    return lines


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _sandbox() -> list[tuple[str, str]]:
    from kwen.sandbox import run

    try:
        result = run("print(6 * 7)", timeout_s=10.0)
    except UserError as error:
        return [("not usable", str(error))]
    if result.stdout.strip() != "42":
        return [("not usable", f"a trial program gave exit code {result.exit_code}: {result.stderr.strip()[-200:]}")]
    return [("usable", f"a trial program ran in {1000 * result.wall_s:.0f} ms")]


def _extras() -> list[tuple[str, str]]:
    try:
        required = metadata.requires("kwen") or []
    except metadata.PackageNotFoundError:
        return [("unknown", "kwen runs from a folder, it is not installed: pip install -e .")]
    lines = []
    for extra, purpose in EXTRAS.items():
        names = [re.split(r"[\s<>=!~;\[]", line)[0] for line in required if re.search(rf"extra == ['\"]{extra}['\"]", line)]
        missing = [name for name in names if _version(name) is None]
        state = f"{', '.join(missing)} missing; pip install 'kwen[{extra}]' for it" if missing else "complete"
        lines.append((extra, f"{state} · {purpose}"))
    return lines

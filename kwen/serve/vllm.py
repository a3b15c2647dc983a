"""`kwen serve --backend vllm`: the same folder and the same flags, served by an installed vLLM."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from kwen.errors import UserError
from kwen.serve.settings import Settings


def command(name: str, path: Path, settings: Settings, dtype: str | None, device: str | None) -> list[str]:
    """vLLM's command line for a model folder. Raises UserError for what it has no flag for."""
    if device not in (None, "cpu", "cuda"):
        raise UserError(f"--device {device}: vLLM takes the device of its build; choose a GPU with CUDA_VISIBLE_DEVICES")
    if path.suffix == ".gguf":
        raise UserError(f"{path}: vLLM serves folders; make one with kwen convert {path} FOLDER")
    line = ["vllm", "serve", str(path), "--served-model-name", name, "--host", settings.host, "--port", str(settings.port)]
    line += ["--max-num-seqs", str(settings.slots), "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    if dtype is not None:
        line += ["--dtype", dtype]
    if len(settings.api_keys) > 1:
        line += ["--api-key", *settings.api_keys]
    if settings.cors_origins:
        line += ["--allowed-origins", _json_list(settings.cors_origins)]
    return line


def environment(settings: Settings) -> dict[str, str]:
    """What vLLM is told besides: a single key, which a command line would show to everybody on the machine."""
    return {"VLLM_API_KEY": settings.api_keys[0]} if len(settings.api_keys) == 1 else {}


def hand_over(line: list[str], variables: Mapping[str, str]) -> None:
    """Become vLLM: this process goes on as its server. Raises UserError where it is not installed.

    The build for CPUs is a package of another name, whose `vllm` command does not start: its server does, as a module.
    """
    found = importlib.util.find_spec("vllm") is not None
    beside = Path(sys.executable).with_name("vllm")
    program = str(beside) if beside.is_file() else shutil.which("vllm")
    if found and not _has_metadata():
        program, line = sys.executable, [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", *line[2:]]
    if program is None:
        text = (
            "its command is not on the PATH" if found else "it is not installed: pip install vllm, in an environment of its own"
        )
        raise UserError(f"--backend vllm: {text}; or leave --backend out")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, [program, *line[1:]], {**os.environ, **variables})


def _has_metadata() -> bool:
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _json_list(values: tuple[str, ...]) -> str:
    return "[" + ",".join(f'"{value}"' for value in values) + "]"

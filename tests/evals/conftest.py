"""A tiny real model, made as a Hugging Face folder and loaded by `kwen.load`; its random weights are far from uniform."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

import kwen
from kwen.engine.language_model import LanguageModel
from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.text.chatml import CHATML_TEMPLATE
from kwen.text.patterns import REPORT_PATTERN

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    "The lamp of Orvane costs 23 coins, and the ferry leaves at seven. ",
    "奥尔文的灯要二十三个硬币，渡船七点开。",
    "def double(number):\n    return number * 2\n",
]


def make_model_folder(folder: Path, seed: int = 0, max_position_embeddings: int = 512) -> Path:
    """A two-layer model over a vocabulary trained on `TEXTS`, with weights large enough to prefer some tokens."""
    backend = Backend(models.BPE())
    backend.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(REPORT_PATTERN), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in CONTROL])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer_config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    eos = [backend.token_to_id("<|im_end|>"), backend.token_to_id("<|endoftext|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    config = ModelConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=max_position_embeddings,
    )
    (folder / "config.json").write_text(json.dumps(config.to_hf()))
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(w.shape, generator=generator) * 0.3 for name, w in Transformer(config).state_dict().items()}
    weights |= {name: weight + 1 for name, weight in weights.items() if "norm" in name}
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_lm(tiny_folder: Path) -> LanguageModel:
    return kwen.load(tiny_folder)


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shape and vocabulary as `tiny_folder`, other weights."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture(scope="session")
def other_lm(other_folder: Path) -> LanguageModel:
    return kwen.load(other_folder)


@pytest.fixture(scope="session")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of `tiny_folder` with a context that holds eight worked problems."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "long", max_position_embeddings=4096)


@pytest.fixture(scope="session")
def long_lm(long_folder: Path) -> LanguageModel:
    return kwen.load(long_folder)

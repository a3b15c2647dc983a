"""A tiny random model with a real tokenizer: enough for every law of generation, in milliseconds."""

import json
from pathlib import Path

import pytest
import tokenizers
import torch

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

TEXT = [
    "the cat sat on the mat and the dog ran after the cat",
    "one, two, three, four, five; stop here. the end",
    "héllo wörld 世界你好 👋 the quick brown fox",
]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Byte-level BPE over a few sentences, with ChatML's control tokens and no chat template."""
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXT, tokenizers.trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(CONTROL)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}))
    return Tokenizer.load(folder)


def random_model(vocab_size: int, context: int = 256, seed: int = 0) -> Transformer:
    """Two layers, grouped heads, weights so large that the output is far from uniform and depends on the whole prompt."""
    config = ModelConfig(vocab_size, 32, 64, 2, 4, 2, 8, max_position_embeddings=context)
    model = Transformer(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3, generator=generator)
            else:
                parameter.fill_(1.0)
    return model


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> Transformer:
    """A random model over the tokenizer's vocabulary with a context of 256."""
    return random_model(tokenizer.vocab_size)


@pytest.fixture(scope="session")
def lm(model: Transformer, tokenizer: Tokenizer) -> LanguageModel:
    """The model as users hold it."""
    return LanguageModel(model, tokenizer)


@pytest.fixture(scope="session")
def padded_generator(tokenizer: Tokenizer) -> Generator:
    """A random model whose vocabulary is padded beyond the tokenizer's, with room for long answers."""
    return Generator(random_model(tokenizer.vocab_size + 13, context=1024), tokenizer, slots=8)

"""Tiny random models with a real tokenizer: enough for every law of generating, in milliseconds."""

import json
from pathlib import Path

import tokenizers
import torch

from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

TEXT = [
    "the cat sat on the mat and the dog ran after the cat",
    "one, two, three, four, five; stop here. the end",
    "héllo wörld 世界你好 👋 the quick brown fox",
]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer(folder: Path) -> Tokenizer:
    """Byte-level BPE over a few sentences, with ChatML's control tokens and no chat template."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(TEXT, tokenizers.trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens(CONTROL)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}))
    return Tokenizer.load(folder)


def random_model(config: ModelConfig, spread: float = 0.3, norms: float = 0.0, seed: int = 0) -> Transformer:
    """Weights of standard deviation `spread`, so large that the output is far from uniform and depends on the whole prompt; norms
    and biases around 1, `norms` apart."""
    model = Transformer(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, spread, generator=generator)
            elif norms:
                parameter.normal_(1, norms, generator=generator)
            else:
                parameter.fill_(1)
    return model


def small_config(vocab_size: int, context: int = 256) -> ModelConfig:
    """Two layers, grouped heads."""
    return ModelConfig(vocab_size, 32, 64, 2, 4, 2, 8, max_position_embeddings=context)

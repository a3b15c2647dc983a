"""A tiny family for the alignment tests: a chat model, a reward model, shards and queries, made with the project's own parts."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from kwen.align.reward import scoring_model
from kwen.model.config import ModelConfig
from kwen.model.formats.huggingface import save
from kwen.model.formats.load import load_checkpoint
from kwen.model.initialize import initialize
from kwen.model.transformer import Transformer
from kwen.nanoworld.dialogues import dialogues
from kwen.nanoworld.documents import documents
from kwen.text.control import ENDOFTEXT
from kwen.text.shards import write_shards
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train


@dataclass(frozen=True)
class Family:
    """Folders of the tiny family; `queries` is a JSONL file of messages."""

    chat: Path
    reward: Path
    shards: Path
    queries: Path


def make_family(folder: Path) -> Family:
    """Random weights, a real tokenizer and real text: enough for everything that must hold exactly."""
    texts = [document.text for document in documents(0, "train", 120)]
    train(iter(texts), TokenizerConfig(vocab_size=400, extra_tokens=5), folder / "tokenizer")
    tokenizer = Tokenizer.load(folder / "tokenizer").for_chat(None)
    end = tokenizer.control_id(ENDOFTEXT)
    write_shards(([*ids, end] for ids in tokenizer.encode_batch(texts)), folder / "shards" / "train", tokenizer.vocab_size)
    model = Transformer(ModelConfig(tokenizer.vocab_size, 32, 48, 2, 2, 2, 16, max_position_embeddings=256))
    initialize(model, "scaled", 0)
    save(model, tokenizer, folder / "chat", {"eos_token_id": tokenizer.eos_token_ids, "pad_token_id": tokenizer.pad_token_id})
    judge = scoring_model(load_checkpoint(folder / "chat"))
    assert judge.score is not None
    torch.nn.init.normal_(judge.score.weight, std=1.0, generator=torch.Generator().manual_seed(1))
    save(judge, tokenizer, folder / "reward", {"pad_token_id": tokenizer.pad_token_id})
    asked = [{"messages": dialogue.messages} for dialogue in dialogues(0, 40) if dialogue.kind in ("fact", "small_talk")]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    return Family(folder / "chat", folder / "reward", folder / "shards", folder / "queries.jsonl")

"""What stages that train a chat model start from and leave behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

from kwen.align.lora import LoRAConfig, fold_adapter, lora_parameters, save_adapter
from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Documents
from kwen.train.loop import TrainingConfig
from kwen.train.parallel import Ranks
from kwen.train.plan import TrainingPlan, training_plan

Show = Callable[[Documents, Tokenizer, TrainingPlan], None]
"""Called with a stage's data and plan before its first step."""

ADAPTER = "adapter"
"""The folder, inside a model's own, of the adapter that it was trained with."""


def load_tokenizer(model: Path) -> Tokenizer:
    """The tokenizer of any checkpoint that can be loaded, a GGUF file too, with its chat template."""
    return Tokenizer.from_source(load_checkpoint(model).tokenizer_source)


def chat_tokenizer(model: Path, default_system: str | None) -> Tokenizer:
    """The same for a model that learns to chat: its own template where it has one, else ChatML."""
    tokenizer = load_tokenizer(model)
    return tokenizer if tokenizer.chat_template else tokenizer.for_chat(default_system)


def check_training(
    base: Path,
    training: TrainingConfig,
    lora: LoRAConfig | None,
    ranks: Ranks,
    documents: Documents,
    tokenizer: Tokenizer,
    show: Show | None,
) -> None:
    """Show the data and the plan of training the model at `base`. Raises UserError where it does not fit the memory."""
    model = load_checkpoint(base).config
    plan = training_plan(model, training, trained=None if lora is None else lora_parameters(model, lora), world=ranks.world)
    if show is not None:
        show(documents, tokenizer, plan)
    plan.check()


def write_chat_model(
    out: Path, model: Transformer, tokenizer: Tokenizer, work: Path, *, base: Path | None = None, lora: LoRAConfig | None = None
) -> None:
    """Write the model, its tokenizer and template, and the metrics of the run in `work` as the Hugging Face folder `out`.

    A model trained with `lora` is written with the adapter folded in, and the adapter of `base` alone into out/adapter.
    """
    out.mkdir(parents=True, exist_ok=True)
    if lora is not None:
        assert base is not None
        save_adapter(model, out / ADAPTER, base, lora, tokenizer)
        fold_adapter(model)
    generation = {"eos_token_id": tokenizer.eos_token_ids, "pad_token_id": tokenizer.pad_token_id}
    write_model(out, model.config, memory_tensors(model), generation)
    tokenizer.save(out)
    shutil.copyfile(work / "metrics.jsonl", out / "metrics.jsonl")

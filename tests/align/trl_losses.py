"""A program for TRL's own environment: TRL's DPO and GRPO losses on the batches that a JSON file gives, written as JSON.

    python trl_losses.py batches.json losses.json

Each loss comes with the norm of its gradient by every parameter. The losses are those of TRL's trainers, built as users build
them, on token ids as they are.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

PLAIN = {"report_to": "none", "use_cpu": True, "bf16": False, "gradient_checkpointing": False}


def measured(model: torch.nn.Module, losses: list[torch.Tensor]) -> dict[str, Any]:
    """The mean of `losses`, and the gradient's norms."""
    loss = torch.stack(losses).mean()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    norms = {name: float(gradient.norm()) for name, gradient in zip(names, gradients, strict=True)}
    return {"loss": float(loss.detach()), "gradients": norms}


def dpo(given: dict[str, Any], work: str) -> list[dict[str, Any]]:
    """One result for each of the given settings; a batch holds `at_once` pairs."""
    tokenizer = AutoTokenizer.from_pretrained(given["policy"])
    found = []
    for settings in given["dpo"]:
        policy, reference = (AutoModelForCausalLM.from_pretrained(given[name]) for name in ("policy", "reference"))
        at_once = settings.pop("at_once")
        dummy = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        trainer = DPOTrainer(
            model=policy, ref_model=reference, args=DPOConfig(output_dir=work, max_length=None, **settings, **PLAIN),
            train_dataset=dummy, processing_class=tokenizer,
        )  # fmt: skip
        collate = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)
        parts = [collate(given["pairs"][i : i + at_once]) for i in range(0, len(given["pairs"]), at_once)]
        found.append(measured(policy, [trainer._compute_loss(policy, part, False) for part in parts]))
    return found


def grpo(given: dict[str, Any], work: str) -> list[dict[str, Any]]:
    """One result for each of the given settings."""
    tokenizer = AutoTokenizer.from_pretrained(given["policy"])
    answers = len(given["completions"])
    longest = max(len(row) for row in given["completions"])
    prompt_ids = torch.tensor(given["prompts"])
    completion_ids = torch.tensor([row + [0] * (longest - len(row)) for row in given["completions"]])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in given["completions"]])
    padded = [torch.tensor([row + [0.0] * (longest - len(row)) for row in given[name]]) for name in ("old", "reference_logprobs")]
    batch = {
        "prompt_ids": prompt_ids, "prompt_mask": torch.ones_like(prompt_ids), "completion_ids": completion_ids,
        "completion_mask": mask, "advantages": torch.tensor(given["advantages"]), "old_per_token_logps": padded[0],
        "ref_per_token_logps": padded[1], "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    found = []
    for settings in given["grpo"]:
        policy = AutoModelForCausalLM.from_pretrained(given["policy"])
        args = GRPOConfig(
            output_dir=work, per_device_train_batch_size=answers, num_generations=answers, max_completion_length=longest,
            **settings, **PLAIN,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=policy, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=args,
            train_dataset=Dataset.from_list([{"prompt": "a"}]), processing_class=tokenizer,
        )  # fmt: skip
        policy.eval()  # the loss as it is: not divided for an accumulation that does not happen
        found.append(measured(policy, [trainer._compute_loss(policy, batch)]))
    return found


if __name__ == "__main__":
    batches = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        Path(sys.argv[2]).write_text(json.dumps({"dpo": dpo(batches, folder), "grpo": grpo(batches, folder)}), encoding="utf-8")

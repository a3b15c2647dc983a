"""LoRA fine-tuning beside transformers + peft in one run: same model, packed rows, starting adapters, optimiser, machine.

    python benchmarks/lora.py MODEL DATA [--steps 6] [--rounds 2] [--json benchmarks/results/lora.json]

MODEL is a .gguf file or folder (SmolLM2), DATA a folder that holds gsm8k/train.jsonl. Rows are GSM8K conversations packed by
Kwen; transformers gets the same token ids, labels, positions and the mask that keeps documents apart, so both compute the same
loss. Ours is the training loop as `kwen train sft` runs it (a single-threaded rank a core); transformers runs in one process on
all cores. A round times each in turn; the table gives medians over rounds of the median step, and the largest difference in loss.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from kwen.align.chat_model import load_tokenizer
from kwen.align.datasets import render_conversation
from kwen.align.lora import ALL_LINEAR, LoRAConfig, add_lora, lora_layers
from kwen.evals.tasks.gsm8k import chat_answer, chat_prompt, read_problems
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.convert import convert
from kwen.model.formats.load import load_checkpoint
from kwen.progress import Progress
from kwen.train.batches import Batches, Documents
from kwen.train.loop import TrainingConfig, train
from kwen.train.optimizer import OptimizerConfig
from kwen.train.parallel import Group, Ranks

SEQUENCE_LENGTH, BATCH_TOKENS, WARM_STEPS, EXAMPLES = 512, 2048, 1, 200
LORA = LoRAConfig(r=16, alpha=32)
OPTIMIZER = OptimizerConfig(lr=3e-4, weight_decay=0.0)


def batches_of(model: Path, data: Path) -> Batches:
    """The packed rows that both train on."""
    tokenizer = load_tokenizer(model)
    rows, masks = [], []
    for problem in read_problems(data, "train")[:EXAMPLES]:
        rendered = render_conversation(
            [*chat_prompt(problem.question), {"role": "assistant", "content": chat_answer(problem)}], tokenizer
        )
        rows.append(rendered.token_ids)
        masks.append(rendered.loss_mask)
    documents = Documents.from_rows(rows, masks)
    return Batches(documents, row_length=SEQUENCE_LENGTH, rows=BATCH_TOKENS // SEQUENCE_LENGTH, seed=0)


def ours(group: Group, *, model: str, data: str, steps: int, progress: Progress) -> tuple[list[float], list[float]]:
    """Seconds and losses of the steps; runs on every rank."""
    network = build_model(load_checkpoint(Path(model)), torch.float32, group.device)
    add_lora(network, LORA, 0)
    config = TrainingConfig(
        steps=steps,
        batch_tokens=BATCH_TOKENS,
        sequence_length=SEQUENCE_LENGTH,
        optimizer=OPTIMIZER,
        schedule={"kind": "constant"},
        log_every=1,
    )
    with tempfile.TemporaryDirectory() as work:
        train(network, batches_of(Path(model), Path(data)), config, group=group, work=Path(work), run={}, progress=progress)
        if group.rank > 0:
            return [], []
        log = [json.loads(line) for line in (Path(work) / "metrics.jsonl").read_text().splitlines()]
    return [BATCH_TOKENS / row["tokens_per_s"] for row in log], [row["loss"] for row in log]


def theirs(folder: Path, starting: dict[str, torch.Tensor], batches: Batches, steps: int) -> tuple[list[float], list[float]]:
    """The same steps by transformers and peft."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").train()
    settings = LoraConfig(r=LORA.r, lora_alpha=int(LORA.alpha), lora_dropout=0.0, target_modules=list(ALL_LINEAR))
    model = get_peft_model(base, settings)
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.data.copy_(starting[name.removeprefix("base_model.model.").split(".lora_A")[0]])
    trained = [p for p in model.parameters() if p.requires_grad]
    betas = (OPTIMIZER.beta1, OPTIMIZER.beta2)
    optimizer = torch.optim.AdamW(trained, lr=OPTIMIZER.lr, betas=betas, eps=OPTIMIZER.eps, weight_decay=0.0, fused=True)
    seconds, losses = [], []
    for step in range(steps):
        start = time.perf_counter()
        batch = batches(step)
        T = batch.token_ids.shape[1]
        same = batch.documents[:, :, None] == batch.documents[:, None, :]
        allowed = same & torch.ones(T, T, dtype=torch.bool).tril()
        bias = torch.where(allowed, 0.0, torch.finfo(torch.bfloat16).min)[:, None].to(torch.bfloat16)
        starts = torch.ones_like(batch.documents, dtype=torch.bool)
        starts[:, 1:] = batch.documents[:, 1:] != batch.documents[:, :-1]
        index = torch.arange(T).expand_as(batch.documents)
        positions = index - torch.where(starts, index, 0).cummax(dim=1).values
        labels = torch.where(batch.weights > 0, batch.targets, -100)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=batch.token_ids, attention_mask=bias, position_ids=positions).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, OPTIMIZER.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
        seconds.append(time.perf_counter() - start)
    return seconds, losses


def measure(model: Path, data: Path, steps: int, rounds: int) -> dict[str, Any]:
    """The figures of one run."""
    batches = batches_of(model, data)
    network = build_model(load_checkpoint(model), torch.float32)
    add_lora(network, LORA, 0)
    starting = {name: layer.pair()[0].detach().clone() for name, layer in lora_layers(network)}
    del network
    medians: dict[str, list[float]] = {"kwen": [], "transformers": []}
    difference = 0.0
    with tempfile.TemporaryDirectory() as place, Ranks(os.cpu_count() or 1) as ranks:
        folder = Path(place) / "model"
        convert(load_checkpoint(model), folder, "hf", lambda _: load_tokenizer(model))
        for _ in range(rounds):
            own, own_losses = ranks.run(ours, {"model": str(model), "data": str(data), "steps": steps})
            their, their_losses = theirs(folder, starting, batches, steps)
            medians["kwen"].append(statistics.median(own[WARM_STEPS:]))
            medians["transformers"].append(statistics.median(their[WARM_STEPS:]))
            difference = max(difference, *(abs(a - b) for a, b in zip(own_losses, their_losses, strict=True)))
    pairs = zip(medians["kwen"], medians["transformers"], strict=True)
    return {
        "model": model.stem,
        "kwen_tokens_per_s": BATCH_TOKENS / statistics.median(medians["kwen"]),
        "transformers_tokens_per_s": BATCH_TOKENS / statistics.median(medians["transformers"]),
        "ratio": statistics.median(their / own for own, their in pairs),
        "largest_loss_difference": difference,
    }


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    row = measure(arguments.model, arguments.data, arguments.steps, arguments.rounds)
    print(f"{row['model']}: LoRA r {LORA.r}, rows of {SEQUENCE_LENGTH}, {BATCH_TOKENS} tokens a step, bfloat16 autocast")
    own, their = row["kwen_tokens_per_s"], row["transformers_tokens_per_s"]
    print(f"kwen {own:.0f} tokens/s, transformers + peft {their:.0f}: {row['ratio']:.2f} times")
    print(f"largest difference in loss over {arguments.steps} steps: {row['largest_loss_difference']:.2g}")
    if arguments.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
        arguments.json.write_text(json.dumps({"date": str(date.today()), "machine": machine, **row}, indent=2) + "\n")


if __name__ == "__main__":
    main()

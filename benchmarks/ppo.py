"""Rollouts beside transformers' generate, and where the time of a PPO step goes.

    python benchmarks/ppo.py [--policy runs/nano/chat-sft] [--reward runs/nano/reward] [--rounds 3] [--json FILE]

Both sample two answers to each of the same queries, float32, temperature 1, top-p 0.9, the same largest length, one process on
all cores; a round times each in turn, the ratio is the median of rounds. transformers runs one batch padded on the left. The step
is `kwen.align.ppo.PPO.step` with the settings of the nano recipe on one rank.
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
from transformers import AutoModelForCausalLM

from kwen.align.ppo import PPO, PPOConfig
from kwen.align.queries import queries_of_step
from kwen.align.rollouts import roll_out
from kwen.family.recipe import load_recipe
from kwen.train.parallel import Group


def transformers_rollouts(model: Any, prompts: list[list[int]], config: PPOConfig, stops: list[int], pad: int) -> int:
    """Sample with transformers; how many tokens came before each answer's end."""
    asked = [prompt for prompt in prompts for _ in range(config.samples)]
    longest = max(map(len, asked))
    token_ids = torch.tensor([[pad] * (longest - len(row)) + row for row in asked])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in asked])
    with torch.inference_mode():
        out = model.generate(
            token_ids, attention_mask=mask, do_sample=True, temperature=config.temperature, top_p=config.top_p, top_k=0,
            max_new_tokens=config.max_new_tokens, eos_token_id=stops, pad_token_id=pad,
        )  # fmt: skip
    answers = out[:, longest:].tolist()
    return sum(next((n + 1 for n, token in enumerate(row) if token in stops), len(row)) for row in answers)


def measure(policy: Path, reward: Path, rounds: int) -> dict[str, Any]:
    """The figures of one run."""
    chat = load_recipe("nano").chat
    assert chat is not None
    with tempfile.TemporaryDirectory() as work:
        config = chat.model_copy(update={"pretrain_coefficient": 0.0, "warmup_steps": 0})
        run = PPO(config, seed=0, policy=policy, reward=reward, shards=None, work=Path(work), group=Group())
        numbers = queries_of_step(len(run.queries), config.queries, 0, 0)
        prompts = [(number, run.queries[number]) for number in numbers]
        stops = list(run.tokenizer.eos_token_ids)
        theirs = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval()
        pad = run.tokenizer.pad_token_id or 0
        seconds: dict[str, list[float]] = {"kwen": [], "transformers": []}
        tokens: dict[str, list[int]] = {"kwen": [], "transformers": []}
        for round_number in range(rounds + 1):  # the first warms up
            start = time.perf_counter()
            made = roll_out(
                run.policy, run.tokenizer, prompts, [1000 * round_number + n for n in range(len(prompts) * config.samples)],
                samples=config.samples, max_new_tokens=config.max_new_tokens, temperature=config.temperature,
                top_p=config.top_p, stop_token_ids=stops,
            )  # fmt: skip
            middle = time.perf_counter()
            count = transformers_rollouts(theirs, [prompt for _, prompt in prompts], config, stops, pad)
            end = time.perf_counter()
            if round_number:
                seconds["kwen"].append(middle - start)
                seconds["transformers"].append(end - middle)
                tokens["kwen"].append(sum(rollout.length for rollout in made))
                tokens["transformers"].append(count)
        steps, generating = [], []
        for step in range(rounds):
            start, generated = time.perf_counter(), run.generate_seconds
            run.step(step)
            steps.append(time.perf_counter() - start)
            generating.append(run.generate_seconds - generated)
    step_s, generate_s = statistics.median(steps), statistics.median(generating)
    pairs = zip(seconds["kwen"], seconds["transformers"], strict=True)
    with_theirs = step_s - generate_s + statistics.median(seconds["transformers"])
    return {
        "answers": len(prompts) * config.samples,
        "kwen_s": statistics.median(seconds["kwen"]),
        "transformers_s": statistics.median(seconds["transformers"]),
        "kwen_tokens": statistics.median(tokens["kwen"]),
        "transformers_tokens": statistics.median(tokens["transformers"]),
        "ratio": statistics.median(their / own for own, their in pairs),
        "step_s": step_s,
        "generate_share": generate_s / step_s,
        "step_with_transformers_s": with_theirs,
        "generate_share_with_transformers": statistics.median(seconds["transformers"]) / with_theirs,
    }


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, default=Path("runs/nano/chat-sft"))
    parser.add_argument("--reward", type=Path, default=Path("runs/nano/reward"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    row = measure(arguments.policy, arguments.reward, arguments.rounds)
    print(f"{row['answers']} answers        {'kwen':>8} {'transformers':>13}")
    print(f"rollouts, s        {row['kwen_s']:8.2f} {row['transformers_s']:13.2f}   {row['ratio']:.2f} times faster")
    print(f"sampled tokens     {row['kwen_tokens']:8.0f} {row['transformers_tokens']:13.0f}")
    print(f"PPO step, s        {row['step_s']:8.2f} {row['step_with_transformers_s']:13.2f}")
    print(f"share generating   {row['generate_share']:8.0%} {row['generate_share_with_transformers']:13.0%}")
    if arguments.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
        arguments.json.write_text(json.dumps({"date": str(date.today()), "machine": machine, **row}, indent=2) + "\n")


if __name__ == "__main__":
    main()

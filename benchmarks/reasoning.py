"""An outside judge: ten tasks of reasoning-gym at their easiest setting, before and after a short GRPO on nanoworld's problems.

    pip install reasoning-gym
    python benchmarks/reasoning.py MODEL [MODEL ...] [--count 50] [--steps 30] [--json FILE]

Each question is asked in a chat of its own, greedily, and scored by the task's own `score_answer`, from 0 to 1. For tasks whose
answer is one number, that is the last number of the reply; for the others it is the whole reply. `--steps 0` leaves GRPO out.
"""

import argparse
import datetime
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import reasoning_gym

from kwen.align.grpo import GRPOConfig, train_grpo
from kwen.engine.language_model import load
from kwen.evals.run import prompt_ids
from kwen.files import write_json
from kwen.train.parallel import Ranks
from kwen.verify.answers import extract_number

NUMBERS: dict[str, dict[str, Any]] = {
    "chain_sum": {"max_terms": 2, "max_digits": 1},
    "products": {"max_digits": 1},
    "basic_arithmetic": {"max_terms": 2, "max_digits": 1, "allow_parentheses": False, "allow_negation": False},
    "leg_counting": {"min_animals": 1, "max_animals": 1, "max_instances": 5},
    "simple_equations": {"max_terms": 2, "max_value": 10},
    "gcd": {"max_value": 20},
    "lcm": {"max_value": 10},
    "letter_counting": {"max_words": 5},
}
TEXTS: dict[str, dict[str, Any]] = {
    "number_sorting": {"max_numbers": 3, "max_decimals": 0, "min_value": 1, "max_value": 20},
    "spell_backward": {"max_word_len": 3},
}
ANSWER_TOKENS = 96


def scores(folder: Path, count: int) -> dict[str, float]:
    """The mean score of each task."""
    lm = load(folder)
    found = {}
    for name, settings in {**NUMBERS, **TEXTS}.items():
        data = reasoning_gym.create_dataset(name, size=count, seed=0, **settings)
        entries = [data[index] for index in range(count)]
        asked = [[{"role": "user", "content": entry["question"]}] for entry in entries]
        room = min(ANSWER_TOKENS, lm.config.max_position_embeddings // 3)
        prompts = [prompt_ids(lm, messages, room, f"{name}: question {index}") for index, messages in enumerate(asked)]
        replies = [completion.text for completion in lm.generate(prompts, max_new_tokens=room)]
        answers = [extract_number(reply, "flexible") if name in NUMBERS else reply.strip() for reply in replies]
        found[name] = sum(data.score_answer(*pair) for pair in zip(answers, entries, strict=True)) / count
    return found


def trained(folder: Path, out: Path, steps: int) -> None:
    """The model after GRPO on nanoworld's word problems, graded by its oracle."""
    settings = {
        "data": [{"kind": "nanoworld", "count": 2000, "topics": ["problems"]}],
        "steps": steps, "queries": 8, "samples": 4, "sequence_length": 256, "max_new_tokens": 96, "temperature": 1.0,
        "rows_at_once": 8, "patience": steps, "policy": {"lr": 2e-5},
    }  # fmt: skip
    out.mkdir()
    with Ranks(2) as ranks:
        train_grpo(GRPOConfig.model_validate(settings), seed=0, policy=folder, out=out, work=out.parent / "work", ranks=ranks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for model in options.models:
        rows[str(model)] = scores(model, options.count)
        if options.steps:
            with tempfile.TemporaryDirectory() as folder:
                trained(model, Path(folder) / "model", options.steps)
                rows[f"{model}, {options.steps} steps of GRPO"] = scores(Path(folder) / "model", options.count)
    names = [*NUMBERS, *TEXTS]
    print("| model | " + " | ".join(names) + " | mean |")
    print("|---" * (len(names) + 2) + "|")
    for model_name, row in rows.items():
        values = [row[name] for name in names]
        print(f"| {model_name} | " + " | ".join(f"{100 * value:.1f}" for value in [*values, sum(values) / len(values)]) + " |")
    if options.json:
        facts = {
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "count": options.count,
        }
        write_json(options.json, facts | {"scores": rows})


if __name__ == "__main__":
    main()

"""Judging the alignment: reward models on pairs (the report's Table 4), and chat against chat-sft (Figure 4).

Writes preference.json, reward model -> set -> accuracy with its standard error, overall and by tag, and side_by_side.json,
decoding -> win, tie and loss of `chat` against `chat-sft` with the oracle as judge.
"""

from typing import Any

from kwen.family.graph import Job
from kwen.family.recipe import REWARDS
from kwen.family.report import PREFERENCE, SIDE_BY_SIDE
from kwen.files import write_json


def make_judging(job: Job) -> dict[str, Any]:
    """Both tables, as files and in short as metrics."""
    preference = _preference(job)
    side_by_side = _side_by_side(job)
    write_json(job.out / PREFERENCE, preference)
    write_json(job.out / SIDE_BY_SIDE, side_by_side)
    accuracies = {model: {name: score["accuracy"] for name, score in sets.items()} for model, sets in preference.items()}
    margins = {decoding: result["win_minus_loss"] for decoding, result in side_by_side.items()}
    return {"preference": accuracies, "win_minus_loss": margins}


def _preference(job: Job) -> dict[str, dict[str, Any]]:
    from kwen.align.preferences import NanoworldComparisons, Pair, PairsFile, pairs
    from kwen.align.reward import RewardModel
    from kwen.evals.score import preference_accuracy
    from kwen.nanoworld.preferences import OUT_OF_DOMAIN

    files = {"helpful-base": "comparisons", "helpful-online": "online"}
    sets: dict[str, list[Pair]] = {
        label: list(pairs(PairsFile(kind="pairs", path=job.inputs[name] / "test.jsonl"), job.seed))
        for label, name in files.items()
        if name in job.inputs
    }
    for label, topics in OUT_OF_DOMAIN.items():
        source = NanoworldComparisons(kind="nanoworld", count=job.settings.pairs, noise=0, topics=topics, split="held_out")
        sets[label] = list(pairs(source, job.seed))
    found: dict[str, dict[str, Any]] = {}
    names = [name for name in REWARDS if name in job.inputs]
    for index, name in enumerate(names):
        model = RewardModel.load(job.inputs[name])
        found[name] = {}
        for label, shown in sets.items():
            sides = [
                [*pair.messages, {"role": "assistant", "content": text}]
                for pair in shown
                for text in (pair.chosen, pair.rejected)
            ]
            scores = model.score(sides)
            found[name][label] = preference_accuracy(scores[::2], scores[1::2], [pair.tag for pair in shown])
        job.progress(index + 1, len(names) + 1, reward_model=name)
    return found


def _side_by_side(job: Job) -> dict[str, Any]:
    from kwen.engine.language_model import load
    from kwen.evals.judges import OracleJudge
    from kwen.evals.side_by_side import replies
    from kwen.evals.win_rate import decide, summarise
    from kwen.nanoworld.prompts import prompts

    asked = prompts(job.seed, job.settings.prompts, "held_out")
    models = [load(job.inputs[name]) for name in ("chat", "chat-sft")]
    results = {}
    for temperature in (0.0, *job.settings.temperatures):
        after, before = (
            replies(lm, asked, max_new_tokens=job.settings.max_new_tokens, temperature=temperature, seed=job.seed)
            for lm in models
        )
        label = f"temperature {temperature:g}" if temperature else "greedy"
        results[label] = summarise(asked, after, before, decide(asked, after, before, OracleJudge()), "oracle", job.seed)
    return results

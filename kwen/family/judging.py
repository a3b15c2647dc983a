"""Judging the alignment: reward models on pairs (the report's Table 4), and chat against chat-sft (Figure 4).

Writes preference.json, reward model -> set -> accuracy with its standard error, overall and by tag, and side_by_side.json,
decoding -> win, tie and loss of `chat` against `chat-sft` with the oracle as judge. The ranks share pairs and prompts.
"""

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kwen.family.graph import Job
from kwen.family.recipe import REWARDS, JudgingConfig
from kwen.family.report import PREFERENCE, SIDE_BY_SIDE
from kwen.files import write_json
from kwen.progress import Progress, part_of

if TYPE_CHECKING:
    from kwen.train.parallel import Group


def make_judging(job: Job) -> dict[str, Any]:
    """Both tables, as files and in short as metrics."""
    arguments = {"folders": dict(job.inputs), "config": job.settings, "seed": job.seed}
    preference, side_by_side = job.launcher.ranks().run(judge, arguments, job.progress)
    write_json(job.out / PREFERENCE, preference)
    write_json(job.out / SIDE_BY_SIDE, side_by_side)
    accuracies = {model: {name: score["accuracy"] for name, score in sets.items()} for model, sets in preference.items()}
    margins = {decoding: result["win_minus_loss"] for decoding, result in side_by_side.items()}
    return {"preference": accuracies, "win_minus_loss": margins}


def judge(
    group: "Group", *, folders: Mapping[str, Path], config: JudgingConfig, seed: int, progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One rank's part of `make_judging`: what both files hold, the same on every rank. `folders` are the models and pairs."""
    preference = _preference(group, folders, config, seed, part_of(progress, 0, 2))
    return preference, _side_by_side(group, folders, config, seed, part_of(progress, 1, 2))


def _preference(
    group: "Group", folders: Mapping[str, Path], config: JudgingConfig, seed: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    from kwen.align.preferences import NanoworldComparisons, Pair, PairsFile, pairs
    from kwen.align.reward import RewardModel
    from kwen.family.preference import accuracy_on
    from kwen.nanoworld.preferences import OUT_OF_DOMAIN

    files = {"helpful-base": "comparisons", "helpful-online": "online"}
    sets: dict[str, list[Pair]] = {
        label: list(pairs(PairsFile(kind="pairs", path=folders[name] / "test.jsonl"), seed))
        for label, name in files.items()
        if name in folders
    }
    for label, topics in OUT_OF_DOMAIN.items():
        source = NanoworldComparisons(kind="nanoworld", count=config.pairs, noise=0, topics=topics, split="held_out")
        sets[label] = list(pairs(source, seed))
    found: dict[str, dict[str, Any]] = {}
    names = [name for name in REWARDS if name in folders]
    for index, name in enumerate(names):
        model = RewardModel.load(folders[name], "auto")
        found[name] = {}
        for number, (label, shown) in enumerate(sets.items()):
            progress(index * len(sets) + number, len(names) * len(sets), reward_model=name)
            found[name][label] = accuracy_on(model, shown, group)
    return found


def _side_by_side(
    group: "Group", folders: Mapping[str, Path], config: JudgingConfig, seed: int, progress: Progress
) -> dict[str, Any]:
    from kwen.engine.language_model import load
    from kwen.evals.judges import Judgement, OracleJudge
    from kwen.evals.side_by_side import replies
    from kwen.evals.win_rate import Decisions, summarise
    from kwen.nanoworld.prompts import prompts

    asked = prompts(seed, config.prompts, "held_out")
    models = {name: load(folders[name], device=group.device) for name in ("chat", "chat-sft")}
    temperatures = (0.0, *config.temperatures)
    results = {}
    for number, temperature in enumerate(temperatures):
        decoding: dict[str, Any] = {
            "max_new_tokens": config.max_new_tokens,
            "temperature": temperature,
            "top_p": config.top_p,
            "seed": seed,
            "group": group,
        }
        after, before = (
            replies(lm, asked, **decoding, progress=part_of(progress, 2 * number + second, 2 * len(temperatures), model=name))
            for second, (name, lm) in enumerate(models.items())
        )
        judged = OracleJudge().judge(group.deal(asked), group.deal(after), group.deal(before))
        judgements = [Judgement(*fields) for fields in group.gather([astuple(judgement) for judgement in judged])]
        label = f"temperature {temperature:g}, top-p {config.top_p:g}" if temperature else "greedy"
        results[label] = summarise(asked, after, before, Decisions(judgements, len(asked)), OracleJudge.name, seed)
    return results

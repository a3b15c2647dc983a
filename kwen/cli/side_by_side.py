"""`kwen eval MODEL --against OTHER`: two models' answers side by side, judged, in the form of the report's figure 4."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from kwen.errors import UserError
from kwen.files import json_hash, write_text
from kwen.progress import Progress
from kwen.text.messages import Message

if TYPE_CHECKING:
    from kwen.evals.judges import Asked, Judge

COUNT = 300
"""Prompts where neither a file nor --limit says how many."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for; `judge` is `oracle`, `reward:FOLDER` or an endpoint's address."""

    model: str
    against: str
    judge: str
    judge_model: str | None
    prompts: Path | None
    limit: int | None
    max_new_tokens: int
    seed: int
    out: Path | None
    dtype: str | None
    device: str | None


def side_by_side(request: Request, progress: Progress) -> dict[str, Any]:
    """Ask both models, judge, and give the figures with what makes them comparable; every pair goes to --out where given."""
    from kwen.engine.hub import find_model
    from kwen.engine.language_model import load
    from kwen.evals import side_by_side as answers
    from kwen.evals import win_rate
    from kwen.evals.run import model_hash

    if request.limit is not None and request.limit < 1:
        raise UserError(f"limit {request.limit}: give a number of prompts of at least 1")
    prompts = _prompts(request)
    judge = _judge(request)
    paths = {"a": find_model(request.model), "b": find_model(request.against)}
    replies, hashes = {}, {}
    for side, path in paths.items():
        lm = load(path, dtype=request.dtype, device=request.device)
        hashes[f"model_hash_{side}"] = model_hash(lm)
        replies[side] = answers.replies(
            lm, prompts, max_new_tokens=request.max_new_tokens, seed=request.seed,
            progress=_named(progress, f"answers of {path.name}"),
        )  # fmt: skip
    decisions = win_rate.decide(prompts, replies["a"], replies["b"], judge, _named(progress, judge.name))
    if request.out is not None:
        pairs = answers.rows(prompts, replies["a"], replies["b"], decisions)
        request.out.mkdir(parents=True, exist_ok=True)
        write_text(request.out / "side_by_side.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs))
    facts = {"prompt_hash": json_hash([list(prompt.messages) for prompt in prompts]), **hashes}
    settings = {"max_new_tokens": request.max_new_tokens, "temperature": 0.0}
    result = win_rate.summarise(prompts, replies["a"], replies["b"], decisions, judge.name, request.seed)
    return facts | {"settings": settings} | result


def show(result: Mapping[str, Any], model: str, against: str) -> None:
    """Print one row a category, the average first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("category", "win", "tie", "loss", "win - loss", "95 % interval", "length", "other's", "n"):
        table.add_column(heading, justify="left" if heading == "category" else "right", no_wrap=True)
    for name, part in [("average", result), *result["by_category"].items()]:
        low, high = part["win_minus_loss_interval"]
        shares = [f"{100 * part[key]:.1f}" for key in ("win", "tie", "loss")]
        margin = [f"{100 * part['win_minus_loss']:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"]
        lengths = [f"{part['median_length_a']:.0f}", f"{part['median_length_b']:.0f}"]
        table.add_row(name, *shares, *margin, *lengths, f"{part['n']:,}")
    console = Console()
    console.print(f"{model} against {against}, judged by {result['judge']}", highlight=False, soft_wrap=True)
    console.print(table, highlight=False)
    notes = ["per cent; length: median characters"]
    for what, r in result["length_correlation"].items():
        if r is not None:
            notes.append(f"r of length with {what} {r:+.2f}")
    verdicts = result["verdicts"]
    if verdicts["asked"] > result["n"]:
        notes.append(f"both orders asked, {verdicts['contradictions']} contradict")
        notes.append(f"{verdicts['unparsable']} of {verdicts['asked']} without a verdict")
    console.print("; ".join(notes), style="dim", highlight=False, soft_wrap=True)


def _named(progress: Progress, name: str) -> Progress:
    """The progress of one phase, told under its name alone."""

    def told(done: float, total: float, **facts: float | str) -> None:
        progress(done, total, task=name)

    return told


def _prompts(request: Request) -> "Sequence[Asked]":
    if request.prompts is not None:
        if request.judge == "oracle":
            raise UserError("the oracle knows nanoworld's prompts only: with --prompts, give --judge reward:FOLDER or an address")
        from kwen.evals.side_by_side import read_conversations

        return read_conversations(request.prompts)[: request.limit]
    from kwen.nanoworld.prompts import prompts

    return prompts(request.seed, request.limit or COUNT, "held_out")


def _judge(request: Request) -> "Judge":
    """The judge, made before any model answers, so that a wrong one costs no time."""
    if request.judge_model is not None and not request.judge.startswith(("http://", "https://")):
        raise UserError("--judge-model names the model behind an address: give --judge http://HOST:PORT/v1 with it")
    if request.judge == "oracle":
        from kwen import sandbox
        from kwen.evals.judges import OracleJudge

        sandbox.describe()  # raises where there is none: the oracle runs functions
        return OracleJudge()
    if request.judge.startswith("reward:"):
        return _reward_judge(Path(request.judge.removeprefix("reward:")), [Path(request.model), Path(request.against)])
    if request.judge.startswith(("http://", "https://")):
        from kwen.evals.endpoint_judge import EndpointJudge

        return EndpointJudge(request.judge, request.judge_model, api_key=os.environ.get("OPENAI_API_KEY"))
    raise UserError(f"--judge {request.judge}: give oracle, reward:FOLDER, or the address of an endpoint")


def _reward_judge(folder: Path, models: Sequence[Path]) -> "Judge":
    """A reward model as judge. Raises UserError where a built artifact says that a model was trained against it."""
    from kwen.align.reward import RewardModel
    from kwen.evals.judges import ScoreJudge
    from kwen.family.artifact import read_manifest

    judge = read_manifest(folder)
    for model in models:
        trained = read_manifest(model)
        if judge is not None and trained is not None and judge.content in trained.inputs.values():
            raise UserError(f"{folder}: {model} was trained against this reward model, which cannot judge it; use another judge")
    reward = RewardModel.load(folder)

    def score(conversations: list[list[Message]], texts: list[str]) -> list[float]:
        spoken = zip(conversations, texts, strict=True)
        return reward.score([[*messages, Message(role="assistant", content=text)] for messages, text in spoken])

    return ScoreJudge(score, f"reward model {folder.name}")

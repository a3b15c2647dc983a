"""Two models side by side: who answers better how often, overall and by category, in the form of the report's figure 4.

    prompts, replies of a and of b -> judge, in both orders where the order could sway it -> verdicts -> shares and intervals

A verdict is about model a: it wins, ties or loses. The average is over prompts, as in figure 4, so that a category weighs
as much as it has prompts.
"""

import hashlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kwen.evals.judges import Asked, Judge, Judgement, Reply, Verdict
from kwen.evals.score import in_order
from kwen.progress import Progress, silent

BOOTSTRAP_DRAWS = 10_000
_VALUES = {"a": 1, "tie": 0, "b": -1}
_SWAPPED: dict[Verdict, Verdict] = {"a": "b", "b": "a", "tie": "tie"}


@dataclass(frozen=True)
class Decisions:
    """What a judge decided: one judgement a prompt, both orders already merged.

    asked: verdicts asked for (two a prompt where both orders were). contradictions: pairs of which each order named another
    reply. unparsable: answers of the judge without a verdict. first_preferred: of the verdicts that were no tie, the share
    for the reply shown first (a half: no bias of position); None where one order was asked or all were ties.
    """

    judgements: list[Judgement]
    asked: int
    contradictions: int = 0
    unparsable: int = 0
    first_preferred: float | None = None


def compare(
    prompts: Sequence[Asked],
    a: Sequence[str],
    b: Sequence[str],
    judge: Judge,
    seed: int = 0,
    *,
    ended_a: Sequence[bool] | None = None,
    ended_b: Sequence[bool] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Judge the replies `a` and `b` to `prompts`, one of each a prompt, and summarise: see `summarise`.

    `ended_a` and `ended_b` say which replies came to their end (default: all). `seed` is that of the bootstrap.
    """
    replies_a, replies_b = _replies(a, ended_a), _replies(b, ended_b)
    return summarise(prompts, replies_a, replies_b, decide(prompts, replies_a, replies_b, judge, progress), judge.name, seed)


def decide(
    prompts: Sequence[Asked], a: Sequence[Reply], b: Sequence[Reply], judge: Judge, progress: Progress = silent
) -> Decisions:
    """Ask the judge; one that compares is asked in both orders, and a reply wins only where both orders name it."""
    if not judge.compares:
        return Decisions(judge.judge(prompts, a, b, progress), len(prompts))
    asked = 2 * len(prompts)

    def forth_done(done: float, total: float, **facts: float | str) -> None:
        progress(done, asked, **facts)

    def back_done(done: float, total: float, **facts: float | str) -> None:
        progress(len(prompts) + done, asked, **facts)

    forth, back = judge.judge(prompts, a, b, forth_done), judge.judge(prompts, b, a, back_done)
    pairs = [(one.verdict, _SWAPPED[two.verdict]) for one, two in zip(forth, back, strict=True)]
    shown_first = [verdict == "a" for verdict in (judgement.verdict for judgement in [*forth, *back]) if verdict != "tie"]
    return Decisions(
        judgements=[Judgement(one if one == two else "tie") for one, two in pairs],
        asked=asked,
        contradictions=sum({one, two} == {"a", "b"} for one, two in pairs),
        unparsable=sum(not judgement.parsed for judgement in [*forth, *back]),
        first_preferred=sum(shown_first) / len(shown_first) if shown_first else None,
    )


def summarise(
    prompts: Sequence[Asked], a: Sequence[Reply], b: Sequence[Reply], decisions: Decisions, judge: str, seed: int = 0
) -> dict[str, Any]:
    """Decisions as figures, overall, `by_category` (the prompts' topics) and, where prompts have one, `by_language`:

    wins, ties, losses: counts; win, tie, loss: shares; win_minus_loss with its 95 % bootstrap interval (prompts resampled,
    seeded); median_length_a and _b in characters; score_a and score_b: mean scores of a judge that gives any; ended_a and
    ended_b: share of replies that were not cut off.

    `length_correlation`: Pearson's r, over prompts, of the difference in length (a minus b) with the verdict (1, 0, -1) and
    with the difference in score; differences within a prompt leave out that some topics have longer answers. None where it
    is not defined. Raises ValueError for an empty list of prompts or lists of unequal length.
    """
    if not prompts or not len(prompts) == len(a) == len(b) == len(decisions.judgements):
        raise ValueError(f"{len(prompts)} prompts, {len(a)} and {len(b)} replies, {len(decisions.judgements)} judgements")
    rows = list(zip(a, b, decisions.judgements, strict=True))

    def parts(value_of: Callable[[Asked], str]) -> dict[str, Any]:
        values = [value_of(prompt) for prompt in prompts]
        return {
            value: _part([row for row, other in zip(rows, values, strict=True) if other == value], f"{seed}/win_rate/{value}")
            for value in in_order(values)
        }

    result = {"judge": judge, "seed": seed, **_part(rows, f"{seed}/win_rate")}
    result["by_category"] = parts(lambda prompt: prompt.topic)
    if all(getattr(prompt, "language", None) for prompt in prompts):
        result["by_language"] = parts(lambda prompt: str(getattr(prompt, "language", "")))
    result["length_correlation"] = _length_correlation(rows)
    result["verdicts"] = {
        "asked": decisions.asked,
        "contradictions": decisions.contradictions,
        "unparsable": decisions.unparsable,
        "first_preferred": decisions.first_preferred,
    }
    return result


_Row = tuple[Reply, Reply, Judgement]


def _replies(texts: Sequence[str], ended: Sequence[bool] | None) -> list[Reply]:
    return [Reply(text, end) for text, end in zip(texts, [True] * len(texts) if ended is None else ended, strict=True)]


def _part(rows: Sequence[_Row], name: str) -> dict[str, Any]:
    n = len(rows)
    verdicts = [judgement.verdict for _, _, judgement in rows]
    counts = {"wins": verdicts.count("a"), "ties": verdicts.count("tie"), "losses": verdicts.count("b")}
    result: dict[str, Any] = {"n": n, **counts}
    result |= {"win": counts["wins"] / n, "tie": counts["ties"] / n, "loss": counts["losses"] / n}
    result["win_minus_loss"] = (counts["wins"] - counts["losses"]) / n
    result["win_minus_loss_interval"] = list(margin_interval(counts["wins"], counts["ties"], counts["losses"], name))
    for side, replies in (("a", [row[0] for row in rows]), ("b", [row[1] for row in rows])):
        result[f"median_length_{side}"] = statistics.median(len(reply.text) for reply in replies)
        result[f"ended_{side}"] = sum(reply.ended for reply in replies) / n
    scored = [judgement for _, _, judgement in rows if judgement.score_a is not None and judgement.score_b is not None]
    if len(scored) == n:
        result["score_a"] = statistics.fmean(judgement.score_a or 0.0 for judgement in scored)
        result["score_b"] = statistics.fmean(judgement.score_b or 0.0 for judgement in scored)
    return result


def margin_interval(wins: int, ties: int, losses: int, name: str) -> tuple[float, float]:
    """The 95 % percentile interval of win minus loss under resampling of the prompts; `name` seeds the draws.

    Resampling n prompts with replacement draws their counts from a multinomial distribution, so the counts are all it needs.
    Where all verdicts are alike the interval has no width, whatever n: a category of a few prompts is then no proof.
    """
    n = wins + ties + losses
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    drawn = np.random.Generator(np.random.PCG64(seed)).multinomial(n, [wins / n, ties / n, losses / n], BOOTSTRAP_DRAWS)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 2]) / n, [2.5, 97.5])
    return float(low), float(high)


def _length_correlation(rows: Sequence[_Row]) -> dict[str, float | None]:
    longer = [len(a.text) - len(b.text) for a, b, _ in rows]
    scores = [
        judgement.score_a - judgement.score_b
        for _, _, judgement in rows
        if judgement.score_a is not None and judgement.score_b is not None
    ]
    return {
        "verdict": _correlation(longer, [_VALUES[judgement.verdict] for _, _, judgement in rows]),
        "score": _correlation(longer, scores) if len(scores) == len(rows) else None,
    }


def _correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's r; None where either does not vary."""
    return statistics.correlation(x, y) if len(set(x)) > 1 and len(set(y)) > 1 else None

"""Who decides which of two answers is better: nanoworld's oracle, or any function that scores answers, such as a reward model.

A judge that reads one answer at a time cannot be swayed by their order. One that reads both at once can, and says so
(`compares`): `win_rate.decide` then asks it twice, in both orders.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from kwen.errors import UserError
from kwen.nanoworld.oracle import prefer
from kwen.nanoworld.prompts import Prompt
from kwen.progress import Progress, silent
from kwen.text.messages import Message, validate_messages
from kwen.verify.oracle import grade_replies

Verdict = Literal["a", "b", "tie"]


class Asked(Protocol):
    """What was asked: a conversation that ends with a user's turn, and the category under which its verdict is counted."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]: ...

    @property
    def topic(self) -> str: ...


class Reply(NamedTuple):
    """One model's answer; `ended` is False for one that was cut off at its length limit."""

    text: str
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's word on one pair of replies. Scores are None for a judge that only compares; `parsed` is False where the
    judge said something that is no verdict, and its verdict then is a tie."""

    verdict: Verdict
    score_a: float | None = None
    score_b: float | None = None
    parsed: bool = True


class Judge(Protocol):
    """Anything that decides between replies.

    name: for reports. compares: whether it sees both replies at once, so that their order could sway it.
    """

    @property
    def name(self) -> str: ...

    @property
    def compares(self) -> bool: ...

    def judge(
        self, prompts: Sequence[Asked], a: Sequence[Reply], b: Sequence[Reply], progress: Progress = silent
    ) -> list[Judgement]:
        """One judgement a prompt, in order; `a` is what such a judge is shown first."""
        ...


class OracleJudge:
    """The seeded world's own oracle, which knows the right answer of each prompt of `nanoworld.prompts`.

    `margin` is the difference of scores up to which two replies are equally good. Functions run in the sandbox.
    """

    name = "oracle"
    compares = False

    def __init__(self, margin: float = 0.05) -> None:
        self.margin = margin

    def judge(
        self, prompts: Sequence[Asked], a: Sequence[Reply], b: Sequence[Reply], progress: Progress = silent
    ) -> list[Judgement]:
        """Grade every reply, all in one go through the sandbox. Raises UserError for a prompt that is not nanoworld's."""
        known = [prompt for prompt in prompts if isinstance(prompt, Prompt)]
        if len(known) < len(prompts):
            raise UserError("the oracle knows nanoworld's prompts only; judge others with a reward model or an endpoint")
        replies = [*a, *b]
        texts, ended = [reply.text for reply in replies], [reply.ended for reply in replies]
        grades = grade_replies([*known, *known], texts, ended, progress=progress)
        pairs = zip(grades[: len(known)], grades[len(known) :], strict=True)
        return [Judgement(prefer(one, two, self.margin), one.score, two.score) for one, two in pairs]


Scorer = Callable[[list[list[Message]], list[str]], Sequence[float]]
"""Scores one reply to each conversation, higher is better: a reward model, seen from here."""


class ScoreJudge:
    """A scoring function as judge; a difference of `margin` or less is a tie.

    A reward model that one of the two models was trained against is no judge: that model may have learned its mistakes.
    """

    compares = False

    def __init__(self, score: Scorer, name: str = "reward", margin: float = 0.0) -> None:
        self.score, self.name, self.margin = score, name, margin

    def judge(
        self, prompts: Sequence[Asked], a: Sequence[Reply], b: Sequence[Reply], progress: Progress = silent
    ) -> list[Judgement]:
        """Score every reply by itself. Raises UserError where a score is not a finite number."""
        conversations = [validate_messages(prompt.messages) for prompt in prompts]
        texts = [reply.text for reply in (*a, *b)]
        scores = [float(score) for score in self.score(conversations * 2, texts)]
        if len(scores) != len(texts):
            raise ValueError(f"{self.name} gave {len(scores)} scores for {len(texts)} replies")
        if wrong := sum(not math.isfinite(score) for score in scores):
            raise UserError(f"{self.name}: {wrong} of {len(scores)} scores are not finite numbers; use another reward model")
        return [self._decide(one, two) for one, two in zip(scores[: len(prompts)], scores[len(prompts) :], strict=True)]

    def _decide(self, score_a: float, score_b: float) -> Judgement:
        if abs(score_a - score_b) <= self.margin:
            return Judgement("tie", score_a, score_b)
        return Judgement("a" if score_a > score_b else "b", score_a, score_b)

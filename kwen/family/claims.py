"""The report's claims as directions, each tried on the family's own figures: reproduced, not reproduced, or not tested.

A claim is a few checks. A check holds, fails, or could not be made (None: with the reason). A claim is reproduced where a check
could be made and none fails, and not reproduced where one fails. A direction holds where it is seen beyond noise: by more than
two standard errors of the difference, and nowhere against it by as much.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kwen.family.recipe import BASES, CHATS
from kwen.family.report import metric_of

Report = Mapping[str, Any]
Value = tuple[float, float]
"""A figure and its standard error."""
NOISE = 2.0
"""Standard errors of a difference that count as seen."""
POINTS = 5.0
"""Noise, in points, above which a small movement cannot be told from a large one."""
OWN = "own"
"""What the comparison of tokenizers calls the family's own."""
SAME = 1e-3
"""Share by which two perplexities of the same text may differ and still count as equal."""


@dataclass(frozen=True)
class Check:
    """One part of a claim: what was looked at, whether it holds (None: not tested), and the figures or the reason."""

    text: str
    holds: bool | None
    figures: str


@dataclass(frozen=True)
class Claim:
    """A claim with its checks."""

    number: int
    text: str
    source: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """`reproduced`, `not reproduced` or `not tested at this scale`."""
        made = [check.holds for check in self.checks if check.holds is not None]
        return "not tested at this scale" if not made else "reproduced" if all(made) else "not reproduced"


def compression(report: Report) -> list[Check]:
    """A tokenizer has the fewest tokens, of those with a vocabulary of about its size, in most languages."""
    text = "fewest tokens of the tokenizers of half to twice its vocabulary, in most languages"
    found = report["compression"]
    if not found:
        return [Check(text, None, "tokenizers were not compared")]
    sizes = {name: of["vocabulary"] for name, of in found["tokenizers"].items()}
    checks = []
    for name in (name for name in sizes if name in (OWN, report["family"]) or "qwen" in name.lower()):
        rivals = [other for other, size in sizes.items() if other != name and sizes[name] / 2 <= size <= 2 * sizes[name]]
        if not rivals:
            checks.append(Check(f"{name}: {text}", None, "no tokenizer of about its size was compared"))
            continue
        languages = {language: of["tokens"] for language, of in found["languages"].items() if name in of["tokens"]}
        best = [lang for lang, tokens in languages.items() if all(tokens[name] <= tokens.get(r, math.inf) for r in rivals)]
        figures = f"{len(best)} of {len(languages)} languages, against {', '.join(rivals)}"
        checks.append(Check(f"{name}: {text}", len(best) > len(languages) / 2, figures))
    return checks or [Check(text, None, "neither the family's tokenizer nor Qwen's was compared")]


def size(report: Report) -> list[Check]:
    """Every benchmark that all sizes of base model were measured on rises from size to size."""
    return _by_size(report, BASES, "base model")


def long_context(report: Report) -> list[Check]:
    """NTK below plain beyond the trained length T, LogN below that from 4 T on, windows below that; all equal up to T.

    All variants read the same texts, so they are compared without the noise between texts.
    """
    texts = (
        "up to the trained length T, none changes anything", "beyond T, NTK is below plain",
        "from 4 T on, LogN is below NTK alone", "from 4 T on, windows are below NTK + LogN",
    )  # fmt: skip
    checks = []
    for model, found in report["long_context"].items():
        curves = {_parts_of(name): list(values) for name, values in found["perplexity"].items()}
        plain, ntk, logn, all_three = (curves.get(frozenset(parts)) for parts in ((), ("ntk",), _LOGN, _ALL))
        lengths, trained = found["lengths"], found["trained"]
        within = [place for place, length in enumerate(lengths) if length <= trained]
        others = [values for parts, values in curves.items() if parts and parts <= set(_ALL)]
        if plain is not None:
            ratios = [values[p] / plain[p] for values in others for p in within if None not in (values[p], plain[p])]
            apart = max((abs(ratio - 1) for ratio in ratios), default=None)
            if apart is not None:
                checks.append(Check(f"{model}: {texts[0]}", apart <= SAME, f"{100 * apart:.3f} % apart at most"))
        for text, lower, upper, times in ((texts[1], ntk, plain, 1), (texts[2], logn, ntk, 4), (texts[3], all_three, logn, 4)):
            if lower is None or upper is None:
                continue
            beyond = [place for place, length in enumerate(lengths) if length > trained and length >= times * trained]
            pairs = {lengths[p]: (lower[p], upper[p]) for p in beyond if None not in (lower[p], upper[p])}
            if pairs:
                ratios = [low / high for low, high in pairs.values()]
                shown = "; ".join(f"{length:,}: {low:.2f} against {high:.2f}" for length, (low, high) in pairs.items())
                holds = min(ratios) < 1 - SAME and max(ratios) <= 1 + SAME
                checks.append(Check(f"{model}: {text}", holds, shown))
    return checks or [Check(text, None, "perplexity by length was not measured") for text in texts]


def architecture(report: Report) -> list[Check]:
    """Base models that differ in one choice of architecture alone: the report's choice needs fewer bits a byte."""
    choices = {"tie_word_embeddings": False, "attention_bias": True}
    checks = []
    for key, better in choices.items():
        text = f"{key}: {str(better).lower()} needs fewer bits a byte"
        pairs = _differing(report, "base", key)
        values = [(with_it, without) for value, with_it, without in pairs if value == better]
        scored = [(a, b) for a, b in values if all("perplexity" in report["scores"].get(name, {}) for name in (a, b))]
        if not scored:
            checks.append(Check(text, None, "no two base models differ in it alone"))
        for a, b in scored:
            of_a, of_b = (_value(report["scores"][name]["perplexity"]) for name in (a, b))
            checks.append(Check(text, _rises([(_minus(of_b), _minus(of_a))]), f"{a} {of_a[0]:.3f}, {b} {of_b[0]:.3f}"))
    return [*checks, Check("GLU, RMSNorm, float32 frequencies", None, "the models of a family do not vary them")]


def reward_models(report: Report) -> list[Check]:
    """PMP is above chance on kinds it never saw; the reward model gains on its own kind and loses little elsewhere."""
    of_pmp, of_reward = (report["preference"].get(name, {}) for name in ("pmp", "reward"))
    texts = (
        "pmp orders more than half of the pairs of kinds that it never saw",
        "reward tuning lifts the family's own sets (the report: +8.1 and +12.1 points)",
        "it moves the other sets little (the report: -2.5 to +0.4 points)",
    )
    own = [name for name in of_pmp if name.startswith("helpful")]
    other = [name for name in of_pmp if name not in own]
    if not other:
        return [Check(text, None, "there is no pmp beside other kinds of pairs") for text in texts]
    values = {name: (of_pmp[name]["accuracy"], of_pmp[name]["accuracy_stderr"]) for name in of_pmp}
    shown = "; ".join(f"{name} {100 * values[name][0]:.1f} %" for name in other)
    checks = [Check(texts[0], _rises([((0.5, 0.0), values[name]) for name in other]), shown)]
    for text, names, small in ((texts[1], own, False), (texts[2], other, True)):
        tuned = {name: (of_reward[name]["accuracy"], of_reward[name]["accuracy_stderr"]) for name in names if name in of_reward}
        if not tuned:
            checks.append(Check(text, None, "the tuned reward model was not judged on them"))
            continue
        moved = {name: 100 * (value[0] - values[name][0]) for name, value in tuned.items()}
        noise = {name: 100 * NOISE * math.hypot(value[1], values[name][1]) for name, value in tuned.items()}
        holds: bool | None
        if small and max(noise.values()) > POINTS:
            checks.append(Check(text, None, f"too few pairs: the noise is {max(noise.values()):.1f} points"))
            continue
        if small:
            holds = all(-2.5 - noise[name] <= points <= 0.4 + noise[name] for name, points in moved.items())
        else:
            holds = _rises([(values[name], value) for name, value in tuned.items()])
        checks.append(Check(text, holds, "; ".join(f"{name} {points:+.1f}" for name, points in moved.items())))
    return checks


def rlhf(report: Report) -> list[Check]:
    """The chat model after RLHF wins more than it loses against SFT, on average beyond noise and in every category."""
    texts = ("RLHF wins more than it loses against SFT, on average", "and in every category")
    if not report["side_by_side"]:
        return [Check(text, None, "RLHF and SFT were not set side by side") for text in texts]
    decoding, result = next(iter(report["side_by_side"].items()))
    low, high = result["win_minus_loss_interval"]
    margin = f"{decoding}: {100 * result['win_minus_loss']:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
    parts = {name: of["win_minus_loss"] for name, of in result["by_category"].items()}
    shown = "; ".join(f"{name} {100 * value:+.1f}" for name, value in parts.items())
    return [Check(texts[0], low > 0, margin), Check(texts[1], all(value > 0 for value in parts.values()), shown)]


def ppo(report: Report) -> list[Check]:
    """Runs of PPO that differ in one setting alone: the report's setting ends at a higher reward."""
    choices = {"top_p": 0.9, "samples": 2, "warmup_steps": 50}
    checks = []
    for key, better in choices.items():
        text = f"{key} {better} ends at a higher reward"
        pairs = [(a, b) for value, a, b in _differing(report, "chat", key) if value == better]
        scored = [(a, b) for a, b in pairs if all("score" in report["artifacts"][name]["metrics"] for name in (a, b))]
        if not scored:
            checks.append(Check(text, None, "no two runs of PPO differ in it alone"))
        for a, b in scored:
            of_a, of_b = (float(report["artifacts"][name]["metrics"]["score"]) for name in (a, b))
            checks.append(Check(text, of_a > of_b, f"{a} {of_a:.3f}, {b} {of_b:.3f}"))
    return checks


def tool_use(report: Report) -> list[Check]:
    """With the size of the SFT model false positives fall, and the selection of tools gains less with each step."""
    values = {
        model: (
            (score["false_positive"], score.get("false_positive_stderr", 0.0)),
            (score["tool_selection"], score.get("tool_selection_stderr", 0.0)),
        )
        for model in CHATS
        if (score := report["scores"].get(model, {}).get("nanoworld-tools"))
        and {"false_positive", "tool_selection"} <= set(score)
    }
    texts = ("false positives fall with the size of the model", "selection saturates: the last step gains less than the first")
    if len(values) < 2:
        return [Check(text, None, "tool use was not measured on models of several sizes") for text in texts]
    false, chosen = ([value[place] for value in values.values()] for place in (0, 1))
    falls = [(_minus(before), _minus(after)) for before, after in zip(false, false[1:], strict=False)]
    shown = ["; ".join(f"{m} {100 * v[0]:.1f} %" for m, v in zip(values, of, strict=True)) for of in (false, chosen)]
    gains = [after[0] - before[0] for before, after in zip(chosen, chosen[1:], strict=False)]
    saturates = gains[-1] < gains[0] if len(gains) > 1 else None
    return [Check(texts[0], _rises(falls), shown[0]), Check(texts[1], saturates, shown[1])]


def interpreter(report: Report) -> list[Check]:
    """The general chat model, trained with tools, beats the code chat model on tasks with the interpreter."""
    return _beside(report, "code-chat", ("chat", "chat-sft"), ["nanoworld-interpreter"], "the general model is above code-chat")


def code(report: Report) -> list[Check]:
    """Code tasks rise from the base model to the code model, and from that to its chat model."""
    tasks = [task for of in report["scores"].values() for task in of if task.startswith(("nanoworld-code", "humaneval", "mbpp"))]
    return [
        *_beside(report, "base", ("code",), tasks, "continued pretraining on code: code is above base"),
        *_beside(report, "code", ("code-chat",), tasks, "code SFT: code-chat is above code"),
    ]


def maths(report: Report) -> list[Check]:
    """The maths model is above the general chat model on every set of maths problems."""
    sets = ("nanoworld-arithmetic", "nanoworld-equations", "nanoworld-problems-zh", "gsm8k", "math", "math401", "math23k")
    general = next((name for name in ("chat", "chat-sft") if set(sets) & set(report["scores"].get(name, {}))), "chat")
    return [
        *_beside(report, general, ("math-chat",), sets, f"math-chat is above {general}"),
        Check("masking of inputs speeds convergence", None, "one maths model was trained, with the mask"),
    ]


_CLAIMS: tuple[tuple[str, str, Callable[[Report], list[Check]]], ...] = (
    (
        "A multilingual byte BPE that splits digits compresses better than rivals of its size in most languages",
        "Figure 3",
        compression,
    ),
    ("Scores rise with size and tokens on every base benchmark", "Table 2", size),
    (
        "NTK rescues lengths beyond training, LogN improves on it, windows further; nothing changes before",
        "Table 3",
        long_context,
    ),
    ("Untied embeddings, GLU, RMSNorm, QKV bias and float32 frequencies are the better choices", "section 2.2", architecture),
    (
        "PMP generalises to other preferences; tuning it lifts the sets of its own kind by 8 to 12 points",
        "Table 4",
        reward_models,
    ),
    ("RLHF is preferred to SFT, in each category", "Figure 4", rlhf),
    ("PPO: top-p 0.9 above 1.0, two answers a query above one, a value warm-up of 50 steps", "section 3.2", ppo),
    ("False positive calls fall with size; the selection of tools saturates", "Table 6", tool_use),
    ("A generalist with tool data beats code specialists at the interpreter", "Tables 7 and 8", interpreter),
    ("Base, then continued pretraining on code, then code SFT: each above the one before", "Tables 10 and 11", code),
    ("Maths SFT gains much on all maths sets", "Table 12", maths),
)


def claims(report: Report) -> list[Claim]:
    """All eleven, tried on what the report collected."""
    return [Claim(number, text, where, tuple(check(report))) for number, (text, where, check) in enumerate(_CLAIMS, start=1)]


_LOGN, _ALL = ("ntk", "logn"), ("ntk", "logn", "window")


def _parts_of(variant: str) -> frozenset[str]:
    """The techniques that a variant's name speaks of; YaRN is none of the report's."""
    return frozenset(part for part in (*_ALL, "yarn") if part in variant.lower())


def _minus(value: Value) -> Value:
    return -value[0], value[1]


def _value(score: Mapping[str, Any]) -> Value:
    metric = metric_of(score)
    return score[metric], score[f"{metric}_stderr"]


def _rises(steps: Sequence[tuple[Value, Value]]) -> bool:
    """Whether one of the (before, after) rises beyond noise, and none falls beyond it."""
    apart = [(after[0] - before[0], NOISE * math.hypot(before[1], after[1])) for before, after in steps]
    return any(gain > noise for gain, noise in apart) and not any(gain < -noise for gain, noise in apart)


def _beside(report: Report, lower: str, uppers: Sequence[str], tasks: Sequence[str], text: str) -> list[Check]:
    """One check: on the tasks that both were asked, the first of `uppers` that was asked any is above `lower`."""
    below = report["scores"].get(lower, {})
    for upper in uppers:
        above = report["scores"].get(upper, {})
        both = {task: (_value(below[task]), _value(above[task])) for task in tasks if task in below and task in above}
        if both:
            shown = "; ".join(f"{task} {100 * b[0]:.1f} → {100 * a[0]:.1f} %" for task, (b, a) in both.items())
            return [Check(text, _rises([*both.values()]), shown)]
    return [Check(text, None, f"{lower} and {' or '.join(uppers)} were not asked the same")]


def _by_size(report: Report, models: Sequence[str], kind: str) -> list[Check]:
    present = [model for model in models if report["scores"].get(model)]
    if len(present) < 2:
        return [Check(f"scores rise with the size of the {kind}", None, "one size was measured")]
    common = [task for task in report["scores"][present[0]] if all(task in report["scores"][model] for model in present)]
    checks = []
    for task in common:
        values = [_value(report["scores"][model][task]) for model in present]
        lower = "bits_per_byte" in report["scores"][present[0]][task]
        steps = [(_minus(a), _minus(b)) if lower else (a, b) for a, b in zip(values, values[1:], strict=False)]
        shown = "; ".join(
            f"{model} {value[0]:.3f}" if lower else f"{model} {100 * value[0]:.1f} %"
            for model, value in zip(present, values, strict=True)
        )
        name = "bits a byte of held-out text fall" if lower else f"{task} rises"
        checks.append(Check(f"{name} with the size of the {kind}", _rises(steps), shown))
    return checks


def _differing(report: Report, stage: str, key: str) -> list[tuple[Any, str, str]]:
    """(value, name, other name) for artifacts of a stage whose settings differ in `key` alone; each pair in both orders."""
    settings = {
        name: dict(_leaves(facts["config"].get(name, {})))
        for name, facts in report["artifacts"].items()
        if facts["stage"] == stage
    }
    found = []
    for one, of_one in settings.items():
        for other, of_other in settings.items():
            differs = {path for path in of_one.keys() | of_other.keys() if of_one.get(path) != of_other.get(path)}
            if one != other and len(differs) == 1 and (path := next(iter(differs)))[-1] == key:
                found.append((of_one.get(path), one, other))
    return found


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, Mapping):
        return [(path, _comparable(value))]
    return [leaf for key, part in value.items() for leaf in _leaves(part, (*path, key))]


def _comparable(value: Any) -> Any:
    """A list as something that can be compared and hashed."""
    return tuple(map(repr, value)) if isinstance(value, list) else value

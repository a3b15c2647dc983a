"""The page's section on alignment: reward models (Table 4's form), RLHF beside SFT (Figure 4's), and what it cost."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from kwen.family.figures import bars
from kwen.family.page_parts import figure, per_cent, table

COLOURS = ("good", "muted", "bad")


def alignment(report: Mapping[str, Any]) -> Iterator[str]:
    """The section, or nothing where the family has none of it."""
    if not (report["preference"] or report["side_by_side"] or report["before_and_after"]):
        return
    yield "<section><h2>Alignment</h2>"
    yield from _reward_models(report["preference"])
    yield from _side_by_side(report["side_by_side"])
    yield from _cost(report["scores"])
    yield from _before_and_after(report["before_and_after"])
    yield "</section>"


def _reward_models(preference: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Models as rows, sets as columns, and the accuracy by topic of the last model on the first set."""
    if not preference:
        return
    sets = list(dict.fromkeys(label for scores in preference.values() for label in scores))
    rows = [
        [escape(model), *(per_cent(of[s]["accuracy"], of[s]["accuracy_stderr"]) if s in of else "" for s in sets)]
        for model, of in preference.items()
    ]
    yield "<p>Pairs of answers that a reward model puts in the right order, with the standard error."
    if "helpful-base" in sets:
        yield " The helpful sets are answers of the family's own models; the others are of kinds that pmp never saw."
    yield "</p>"
    yield table(["reward model", *map(escape, sets)], rows)
    model = "reward" if "reward" in preference else list(preference)[-1]
    tags = preference[model].get(sets[0], {}).get("by_tag", {})
    cells = [[escape(tag), per_cent(part["accuracy"], part["accuracy_stderr"]), str(part["n"])] for tag, part in tags.items()]
    if len(tags) < 2:
        return
    yield f"<details><summary>{escape(model)} on {escape(sets[0])}, by topic</summary>"
    yield table(["topic", "right", "pairs"], cells) + "</details>"


def _side_by_side(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for index, (decoding, result) in enumerate(results.items()):
        parts = {"all": result, **result["by_category"]}
        low, high = result["win_minus_loss_interval"]
        lengths = result["length_correlation"]["verdict"]
        caption = (
            f"chat against chat-sft, {decoding}, {escape(result['judge'])} as judge, n = {result['n']}: win minus loss "
            f"{100 * result['win_minus_loss']:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f}); median length "
            f"{result['median_length_a']:.0f} against {result['median_length_b']:.0f} characters"
            + (f", correlation of verdict and length {lengths:+.2f}" if lengths is not None else "")
        )
        svg = bars({name: (of["win"], of["tie"], of["loss"]) for name, of in parts.items()}, f"side-{index}", "per cent", COLOURS)
        keys = zip(("win", "tie", "loss"), COLOURS, strict=True)
        legend = " ".join(f'<span class="key" style="--key:var(--{colour})">{word}</span>' for word, colour in keys)
        yield f"<p>{legend}</p>" + figure(svg, caption)
        cells = [
            [
                escape(name),
                f"{of['wins']} / {of['ties']} / {of['losses']}",
                f"{100 * of['win_minus_loss']:+.1f}",
                "{:+.1f} to {:+.1f}".format(*(100 * bound for bound in of["win_minus_loss_interval"])),
                f"{of['score_a']:.3f}" if of.get("score_a") is not None else "",
                f"{of['score_b']:.3f}" if of.get("score_b") is not None else "",
            ]
            for name, of in parts.items()
        ]
        yield f"<details><summary>{escape(decoding)}, in figures</summary>"
        head = ["topic", "win / tie / loss", "margin", "95 %", "grade of chat", "of chat-sft"]
        yield table(head, cells) + "</details>"


def _cost(scores: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The alignment tax: what both models score on everything that both were measured on."""
    earlier = [name for name in scores if name in ("released", "chat-sft")]
    if "chat" not in scores or not earlier:
        return
    rows = []
    for task, before in scores[earlier[-1]].items():
        after = scores["chat"].get(task)
        if after is not None:
            metric = next(key.removesuffix("_stderr") for key in before if key.endswith("_stderr"))
            shown = [f"{of[metric]:.3f} ± {of[f'{metric}_stderr']:.3f}" for of in (before, after)]
            rows.append([f"{escape(task)}<br><small>{escape(metric.replace('_', ' '))}</small>", *shown])
    yield "<p>The alignment tax: held-out text and tasks before and after.</p>" + table(["", earlier[-1], "chat"], rows)


def _before_and_after(samples: list[Mapping[str, Any]]) -> Iterator[str]:
    if not samples:
        return
    changed = [sample for sample in samples if sample["before"] != sample["after"]]
    yield f"<details><summary>Answers before and after ({len(changed)} of {len(samples)} changed)</summary>"
    for sample in [*changed, *(sample for sample in samples if sample not in changed)]:
        yield (
            f'<div class="sample"><p class="you" dir="auto">{escape(sample["query"])}</p>'
            f'<p dir="auto">{escape(sample["before"])}</p><p class="kwen" dir="auto">{escape(sample["after"])}</p>'
            f'<p class="verdict">score {sample["score_before"]:.2f}, then {sample["score_after"]:.2f}</p></div>'
        )
    yield "</details>"

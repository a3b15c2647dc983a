"""Artifacts and progress in a few words, for people: one wording for the terminal, the log and the report."""

from collections.abc import Mapping
from typing import Any

from kwen.family.artifact import Manifest


def clock(seconds: float) -> str:
    """Seconds as `0:07`, `12:30` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(count: float) -> str:
    """Bytes as `812 B`, `41.3 MB` or `1.2 GB` (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable: GB has no upper limit")


def count(number: float) -> str:
    """A count in short: `950`, `17.9k`, `3.4M`, `1.8B`."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"


def describe_facts(facts: Mapping[str, float | str]) -> str:
    """The facts of a progress call: `step 812 of 1,400 · loss 1.94 · 17.9k tokens/s`."""
    parts = []
    for name, value in facts.items():
        if name.endswith("_per_s") and not isinstance(value, str):
            parts.append(f"{count(value)} {name[:-6]}/s")
        elif isinstance(value, str):
            parts.append(f"{name} {value}")
        elif isinstance(value, int) or float(value).is_integer():
            parts.append(f"{name} {int(value):,}")
        else:
            parts.append(f"{name} {value:.3g}")
    return " · ".join(part.replace("_", " ") for part in parts)


def describe(manifest: Manifest) -> str:
    """What an artifact turned out to be, in a few words, from its metrics; its size where they tell nothing."""
    return " · ".join(_parts(manifest.stage, manifest.metrics)) or size(manifest.size)


def _parts(stage: str, metrics: Mapping[str, Any]) -> list[str]:
    if stage == "released":
        return [f"{count(metrics['parameters'])} parameters", metrics["model_type"], f"context {metrics['context']:,}"]
    if stage == "corpus":
        total = max(1, metrics["bytes"])
        languages = sorted(metrics["languages"].items(), key=lambda item: -item[1]["bytes"])
        shares = "  ".join(f"{name} {100 * part['bytes'] / total:.0f} %" for name, part in languages)
        return [size(metrics["bytes"]), f"{metrics['documents']:,} documents", shares]
    if stage == "tokenizer":
        return [f"{metrics['vocab_size']:,} entries", f"{metrics['whole_words']} whole words"]
    if stage == "shards":
        train = metrics["train"]
        return [f"{count(train['tokens'])} tokens", f"{train['bytes_per_token']:.2f} bytes a token"]
    if stage in ("base", "code", "chat-sft"):
        length = f"{metrics['steps']:,} steps · {metrics['epochs']:.1f} epochs"
        return [f"{count(metrics['parameters'])} parameters", length, f"loss {metrics['loss']:.3f}"]
    if stage == "self-instruct":
        kept = " + ".join(f"{one['kept']:,}" for one in metrics["rounds"])
        return [f"{kept} of its own conversations kept", f"loss {metrics['loss']:.3f}"]
    if stage == "comparisons":
        return [" + ".join(f"{metrics[part]:,}" for part in ("train", "test") if part in metrics) + " pairs"]
    if stage == "reward":
        right = f"{100 * metrics['accuracy']:.0f} % of pairs right"
        if "held_out" in metrics:
            right = " · ".join(f"{name} {100 * share:.0f} % held out" for name, share in metrics["held_out"].items())
        return [f"{count(metrics['parameters'])} parameters", f"{metrics['steps']:,} steps", right]
    if stage == "chat":
        warmup = f"{metrics['warmup_steps']:,} + " if "warmup_steps" in metrics else ""
        last = f"KL {metrics['kl']:.2f}" if "kl" in metrics else f"score {metrics['score']:.2f}" if "score" in metrics else ""
        last = last or f"{100 * metrics['accuracy']:.0f} % of pairs right"
        return [f"{count(metrics['parameters'])} parameters", f"{warmup}{metrics['steps']:,} steps", last]
    if stage == "judging":
        return [f"RLHF {name} {100 * margin:+.1f}" for name, margin in metrics["win_minus_loss"].items()]
    if stage == "evals":
        scores = metrics["scores"]
        shown = "chat" if "chat" in scores else next(reversed(scores), None)
        return [f"{len(scores)} models", shown + ": " + ", ".join(_headlines(scores[shown]))] if shown else []
    return []


def _headlines(scores: Mapping[str, float]) -> list[str]:
    """`0.930 bits a byte`, `facts 94 %`: a model's scores in short."""
    return [
        f"{value:.3f} bits a byte" if task == "perplexity" else f"{task.removeprefix('nanoworld-')} {100 * value:.0f} %"
        for task, value in scores.items()
    ]

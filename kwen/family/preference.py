"""How often a reward model puts pairs in the right order: with a standard error, overall and by tag (the report's Table 4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kwen.align.preferences import Pair, PairsFile, pairs
from kwen.align.reward import HELD_OUT, RewardModel
from kwen.evals.score import preference_accuracy
from kwen.train.parallel import Group


def accuracy_on(model: RewardModel, shown: Sequence[Pair], group: Group | None = None) -> dict[str, Any]:
    """The share of `shown` that `model` orders right, as `kwen.evals.score.preference_accuracy` gives it.

    The ranks of `group` share the pairs, and every rank returns the whole.
    """
    everyone = group or Group()
    dealt = everyone.deal(shown)
    sides = [[*pair.messages, {"role": "assistant", "content": text}] for pair in dealt for text in (pair.chosen, pair.rejected)]
    scores = model.score(sides)
    both = everyone.gather(list(zip(scores[::2], scores[1::2], strict=True)))
    return preference_accuracy([chosen for chosen, _ in both], [rejected for _, rejected in both], [pair.tag for pair in shown])


def held_out_accuracy(folder: Path) -> dict[str, dict[str, Any]]:
    """The same on each set of pairs that the model in `folder` was kept from while training; none where it was kept from none."""
    files = sorted((folder / HELD_OUT).glob("*.jsonl"))
    sets = {file.stem: list(pairs(PairsFile(kind="pairs", path=file), 0)) for file in files if file.stat().st_size}
    model = RewardModel.load(folder, "auto") if sets else None
    return {name: accuracy_on(model, shown) for name, shown in sets.items() if model is not None}

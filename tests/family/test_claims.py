"""The report's eleven claims: verdicts follow the figures, both ways, and nothing is claimed of what was not measured."""

from typing import Any

import pytest

from kwen.family.claims import Claim, claims

EMPTY: dict[str, Any] = {
    "family": "tiny", "artifacts": {}, "scores": {}, "preference": {}, "side_by_side": {}, "long_context": {}, "compression": {},
}  # fmt: skip


def judged(number: int, **collected: Any) -> Claim:
    return claims(EMPTY | collected)[number - 1]


def value(metric: str, figure: float, error: float = 0.01, **more: float) -> dict[str, Any]:
    return {metric: figure, f"{metric}_stderr": error, "n": 100, **more}


def shares(**models: dict[str, float]) -> dict[str, Any]:
    return {
        model.replace("_", "-"): {task.replace("_", "-"): value("accuracy", share) for task, share in of.items()}
        for model, of in models.items()
    }


def test_a_family_without_figures_has_nothing_reproduced_and_eleven_claims() -> None:
    found = claims(EMPTY)
    assert [claim.number for claim in found] == [*range(1, 12)]
    assert {claim.verdict for claim in found} == {"not tested at this scale"}
    assert all(check.figures for claim in found for check in claim.checks)


@pytest.mark.parametrize(("tokens", "verdict"), [(90, "reproduced"), (110, "not reproduced")])
def test_1_the_tokenizer_is_held_against_those_of_its_size_alone(tokens: int, verdict: str) -> None:
    sizes = {"own": 2048, "like": 3000, "huge": 200_000}
    found = {
        "reference": "like",
        "tokenizers": {name: {"vocabulary": size} for name, size in sizes.items()},
        "languages": {
            language: {"documents": 1, "bytes": 500, "tokens": {"own": tokens, "like": 100, "huge": 40}}
            for language in ("en", "th")
        },
    }
    claim = judged(1, compression=found)
    assert claim.verdict == verdict and "against like" in claim.checks[0].figures


def bits(*values: float) -> dict[str, Any]:
    return {
        name: {"perplexity": value("bits_per_byte", of)} for name, of in zip(("base-s", "base-m", "base"), values, strict=True)
    }


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.5, 1.4, 1.3), "reproduced"),
        ((1.5, 1.3, 1.31), "reproduced"),  # a rise within noise
        ((1.5, 1.2, 1.4), "not reproduced"),
        ((1.5, 1.49, 1.49), "not reproduced"),  # nothing beyond noise
    ],
)
def test_2_scores_rise_with_size(values: tuple[float, ...], verdict: str) -> None:
    claim = judged(2, scores=bits(*values))
    assert claim.verdict == verdict and f"base-s {values[0]:.3f}" in claim.checks[0].figures


def curves(**changed: list[float]) -> dict[str, Any]:
    perplexity = {
        "plain": [4.0, 40.0, 400.0], "dynamic ntk": [4.0, 4.5, 6.0], "ntk + logn": [4.0, 4.4, 5.0],
        "ntk+logn+window": [4.0, 4.3, 4.5],
    }  # fmt: skip
    return {"base": {"trained": 256, "lengths": [256, 512, 1024], "perplexity": perplexity | changed}}


def test_3_each_technique_lowers_perplexity_and_none_changes_it_before() -> None:
    assert judged(3, long_context=curves()).verdict == "reproduced"
    failing = judged(3, long_context=curves(**{"ntk+logn+window": [4.2, 4.3, 5.5]}))
    assert failing.verdict == "not reproduced"
    assert [check.holds for check in failing.checks] == [False, True, True, False]


def test_4_and_7_need_two_artifacts_that_differ_in_one_setting_alone() -> None:
    def base(name: str, tied: bool, hidden: int = 64) -> dict[str, Any]:
        config = {name: {"model": {"tie_word_embeddings": tied, "hidden_size": hidden}}}
        return {"stage": "base", "config": config, "metrics": {}}

    scores = bits(1.3, 1.5, 1.0)
    pair = {"base-s": base("base-s", False), "base-m": base("base-m", True)}
    assert judged(4, artifacts=pair, scores=scores).verdict == "reproduced"
    assert judged(4, artifacts=pair, scores=bits(1.5, 1.3, 1.0)).verdict == "not reproduced"
    larger = {"base-s": base("base-s", False), "base-m": base("base-m", True, hidden=128)}
    assert judged(4, artifacts=larger, scores=scores).verdict == "not tested at this scale"

    def run(name: str, top_p: float, reward: float) -> dict[str, Any]:
        return {"stage": "chat", "config": {name: {"top_p": top_p}}, "metrics": {"score": reward}}

    assert judged(7, artifacts={"chat": run("chat", 0.9, 0.5), "other": run("other", 1.0, 0.4)}).verdict == "reproduced"
    assert judged(7, artifacts={"chat": run("chat", 0.9, 0.3), "other": run("other", 1.0, 0.4)}).verdict == "not reproduced"


def test_5_reward_models() -> None:
    def of(**sets: float) -> dict[str, Any]:
        return {name.replace("_", "-"): value("accuracy", share) for name, share in sets.items()}

    pmp = of(helpful_base=0.62, sorting=0.7)
    assert judged(5, preference={"pmp": pmp, "reward": of(helpful_base=0.74, sorting=0.69)}).verdict == "reproduced"
    fallen = judged(5, preference={"pmp": pmp, "reward": of(helpful_base=0.74, sorting=0.5)})
    assert [check.holds for check in fallen.checks] == [True, True, False] and "sorting -20.0" in fallen.checks[2].figures
    few = {"helpful-base": value("accuracy", 0.74), "sorting": value("accuracy", 0.5, error=0.1)}
    assert judged(5, preference={"pmp": pmp, "reward": few}).checks[2].holds is None


def test_6_rlhf_wins_in_every_category_or_the_claim_falls() -> None:
    def beside(low: float, facts: float) -> dict[str, Any]:
        parts = {"facts": {"win_minus_loss": facts}, "reading": {"win_minus_loss": 0.2}}
        return {"greedy": {"win_minus_loss": 0.1, "win_minus_loss_interval": [low, 0.2], "by_category": parts}}

    assert judged(6, side_by_side=beside(0.02, 0.1)).verdict == "reproduced"
    assert judged(6, side_by_side=beside(-0.02, 0.1)).verdict == "not reproduced"
    assert judged(6, side_by_side=beside(0.02, -0.1)).verdict == "not reproduced"


def tools(*pairs: tuple[float, float]) -> dict[str, Any]:
    names = ("chat-sft-s", "chat-sft-m", "chat-sft")
    return {
        name: {"nanoworld-tools": {"n": 400, **value("false_positive", wrong), **value("tool_selection", chosen)}}
        for name, (wrong, chosen) in zip(names, pairs, strict=True)
    }


def test_8_false_positives_fall_and_selection_saturates() -> None:
    assert judged(8, scores=tools((0.3, 0.5), (0.1, 0.8), (0.05, 0.85))).verdict == "reproduced"
    assert judged(8, scores=tools((0.05, 0.5), (0.1, 0.8), (0.3, 0.85))).verdict == "not reproduced"
    late = judged(8, scores=tools((0.3, 0.5), (0.1, 0.55), (0.05, 0.95)))
    assert [check.holds for check in late.checks] == [True, False]


def test_9_to_11_compare_models_on_the_tasks_that_both_were_asked() -> None:
    assert (
        judged(9, scores=shares(code_chat={"nanoworld_interpreter": 0.2}, chat={"nanoworld_interpreter": 0.4})).verdict
        == "reproduced"
    )
    rising = shares(base={"nanoworld_code_1": 0.1}, code={"nanoworld_code_1": 0.3}, code_chat={"nanoworld_code_1": 0.6})
    assert judged(10, scores=rising).verdict == "reproduced"
    falling = shares(base={"nanoworld_code_1": 0.1}, code={"nanoworld_code_1": 0.3}, code_chat={"nanoworld_code_1": 0.2})
    assert [check.holds for check in judged(10, scores=falling).checks] == [True, False]
    maths = {"nanoworld_arithmetic": 0.9, "nanoworld_equations": 0.5}
    assert judged(11, scores=shares(chat={**maths, "nanoworld_equations": 0.2}, math_chat=maths)).verdict == "reproduced"
    assert judged(11, scores=shares(chat=maths, math_chat={**maths, "nanoworld_equations": 0.2})).verdict == "not reproduced"

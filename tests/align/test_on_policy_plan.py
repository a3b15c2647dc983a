"""The plan of runs that sample: its sums, and what it refuses."""

import pytest

from kwen.align.lora import LoRAConfig
from kwen.align.on_policy import OnPolicyConfig
from kwen.align.on_policy_plan import on_policy_plan
from kwen.errors import UserError
from kwen.model.config import ModelConfig

MODEL = ModelConfig(512, 128, 256, 6, 2, 2, 64)
CONFIG = OnPolicyConfig(steps=3, queries=16, samples=4, sequence_length=128, max_new_tokens=32, precision="float32")
PLENTY = 64 * 2**30


def test_four_models_of_ppo_are_counted() -> None:
    plan = on_policy_plan(CONFIG, MODEL, learners=[MODEL], frozen=[MODEL, MODEL], available=PLENTY)
    P = MODEL.num_parameters
    assert plan.trained == 2 * P and plan.memory["weights"] == 16 * P and plan.memory["optimiser"] == 16 * P
    assert plan.memory["cache"] == 64 * 128 * 2 * 4 * 6 * 2 * 64  # slots, tokens, keys and values, bytes, layers, heads, width
    assert plan.tokens == 3 * 64 * 128 and plan.seconds > 0
    plan.check()
    adapted = on_policy_plan(CONFIG.model_copy(update={"lora": LoRAConfig(r=2)}), MODEL, frozen=[MODEL], available=PLENTY)
    assert adapted.trained < P / 10 and adapted.memory["gradients"] == 4 * adapted.trained
    assert on_policy_plan(CONFIG, MODEL, world=2, available=PLENTY).memory["weights"] == 8 * P


def test_what_does_not_fit_is_refused_with_the_setting_that_would() -> None:
    plan = on_policy_plan(CONFIG, MODEL, available=PLENTY)
    fixed = plan.bytes - plan.memory["activations"]
    tight = on_policy_plan(CONFIG, MODEL, available=fixed + plan.memory["activations"] // 2)
    with pytest.raises(UserError, match=rf"set rows_at_once to {tight.largest_micro_batch} at most"):
        tight.check()
    smaller = CONFIG.model_copy(update={"rows_at_once": tight.largest_micro_batch})
    on_policy_plan(smaller, MODEL, available=tight.available).check()
    with pytest.raises(UserError, match="train adapters alone: set lora"):
        on_policy_plan(CONFIG, MODEL, available=2**20).check()

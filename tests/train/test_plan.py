"""The plan of a training run: its sums, and what it refuses."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import psutil
import pytest
import torch

from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.initialize import initialize
from kwen.model.transformer import Transformer
from kwen.train.loop import TrainingConfig
from kwen.train.plan import PROCESS_BYTES, training_plan

MODEL = ModelConfig(512, 128, 256, 6, 2, 2, 64)
TRAINING = TrainingConfig(steps=10, batch_tokens=8192, sequence_length=256, precision="float32")
PLENTY = 64 * 2**30


def test_figures_follow_from_the_settings() -> None:
    plan = training_plan(MODEL, TRAINING, available=PLENTY)
    assert plan.parameters == plan.trained == MODEL.num_parameters and plan.tokens == 81920 and plan.seconds > 0
    assert plan.memory["weights"] == 4 * plan.parameters and plan.memory["optimiser"] == 8 * plan.parameters
    adapted = training_plan(MODEL, TRAINING, trained=1000, available=PLENTY)
    assert adapted.memory["gradients"] == 4000
    smaller = training_plan(MODEL, TRAINING.model_copy(update={"micro_batch_tokens": 512}), available=PLENTY)
    assert smaller.memory["activations"] < plan.memory["activations"] / 4
    assert training_plan(MODEL, TRAINING, world=2, available=PLENTY).memory["weights"] == 8 * plan.parameters
    assert "parameters" in str(plan) and "GiB" in str(plan)
    plan.check()


def test_the_estimate_of_activations_is_near_what_a_step_keeps() -> None:
    """In a process of its own: one that has held more before takes its memory from what it has."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        held = pool.submit(_bytes_that_a_step_keeps).result()
    estimated = training_plan(MODEL, TRAINING, available=PLENTY).memory["activations"]
    assert 0.5 * held < estimated < 2.5 * held


def _bytes_that_a_step_keeps() -> int:
    model = Transformer(MODEL).train()
    initialize(model, "scaled", 0)
    token_ids = torch.randint(0, 512, (32, 256), generator=torch.Generator().manual_seed(0))
    model.hidden(token_ids[:1]).sum().backward()
    before = psutil.Process().memory_info().rss
    kept = model.hidden(token_ids)
    assert kept.requires_grad
    return psutil.Process().memory_info().rss - before


def test_what_does_not_fit_is_refused_with_the_setting_that_would() -> None:
    plan = training_plan(MODEL, TRAINING, available=PLENTY)
    fixed = plan.bytes - plan.memory["activations"]
    tight = training_plan(MODEL, TRAINING, available=fixed + plan.memory["activations"] // 2)
    with pytest.raises(UserError, match=rf"set training.micro_batch_tokens to {tight.largest_micro_batch} at most"):
        tight.check()
    training_plan(
        MODEL, TRAINING.model_copy(update={"micro_batch_tokens": tight.largest_micro_batch}), available=tight.available
    ).check()
    with pytest.raises(UserError, match="train adapters alone: set lora"):
        training_plan(MODEL, TRAINING, available=PROCESS_BYTES).check()
    with pytest.raises(UserError, match="use fewer ranks"):
        replace(training_plan(MODEL, TRAINING, trained=10, available=PROCESS_BYTES), available=1).check()

"""The plan of a run that samples its own answers: what `kwen.train.plan` says of plain training, for several models at once.

Memory is what the models, the learners' gradients and optimisers, one pass and the engine's cache may need together. Time counts
every row as full: answers are shorter than `max_new_tokens` allows, so it is an upper estimate.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch

from kwen.align.lora import lora_parameters
from kwen.align.on_policy import OnPolicyConfig
from kwen.align.rollouts import SLOTS
from kwen.model.config import ModelConfig
from kwen.model.formats.load import load_checkpoint
from kwen.train.loop import training_dtype
from kwen.train.loss import CHUNK
from kwen.train.metrics import flops_per_token, matmul_peak
from kwen.train.plan import PROCESS_BYTES, REACHED, TrainingPlan, activation_bytes

ShowPlan = Callable[[TrainingPlan], None]
"""Called with a run's plan before its first step."""


def on_policy_plan(
    config: OnPolicyConfig,
    policy: ModelConfig,
    *,
    learners: Sequence[ModelConfig] = (),
    frozen: Sequence[ModelConfig] = (),
    epochs: int = 1,
    world: int = 1,
    available: int | None = None,
) -> TrainingPlan:
    """The plan of a run on this machine.

    learners: models trained whole beside the policy, such as PPO's value model. frozen: those that only compute. available:
    bytes that may be used (None: what is free now on the device that the run will use).
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = training_dtype(config.precision, device)
    models = [policy, *learners, *frozen]
    adapters = 0 if config.lora is None else lora_parameters(policy, config.lora)
    trained = (adapters or policy.num_parameters) + sum(model.num_parameters for model in learners)
    answers = config.queries * config.samples
    row = config.sequence_length
    row_bytes = row * max(activation_bytes(model, row, dtype.itemsize) for model in (policy, *learners))
    logits = CHUNK * policy.vocab_size * 10
    slots = min(SLOTS, -(-answers // world))
    cache = slots * row * 8 * policy.num_hidden_layers * policy.num_key_value_heads * policy.head_dim
    weights = 4 * (sum(model.num_parameters for model in models) + adapters)
    fixed = {"process": PROCESS_BYTES, "weights": weights, "gradients": 4 * trained, "optimiser": 8 * trained, "cache": cache}
    ranks = 1 if device.type == "cuda" else world  # on GPUs every rank has a device, and so memory, of its own
    rows = min(config.rows_at_once, -(-answers // (world * config.minibatches)))
    memory = {name: ranks * size for name, size in fixed.items()}
    memory["activations"] = ranks * (rows * row_bytes + logits)
    if available is None:
        available = torch.cuda.mem_get_info()[0] if device.type == "cuda" else psutil.virtual_memory().available
    room = available - ranks * (sum(fixed.values()) + logits)
    forward = sum(flops_per_token(model, row) / 3 for model in models) + flops_per_token(policy, row) / 3  # and once to sample
    update = flops_per_token(policy, row) * (2 / 3 if adapters else 1) + sum(flops_per_token(model, row) for model in learners)
    tokens = config.total_steps * answers * row
    pace = REACHED * matmul_peak(dtype, device) * (world if device.type == "cuda" else 1)
    return TrainingPlan(
        parameters=policy.num_parameters,
        trained=trained,
        tokens=tokens,
        seconds=tokens * (forward + epochs * update) / pace,
        memory=memory,
        available=available,
        largest_micro_batch=max(0, int(room // (ranks * row_bytes))),
        micro_batch_setting="rows_at_once",
        precisely="at most",
    )


def check_plan(
    config: OnPolicyConfig,
    policy: Path,
    *,
    learners: Sequence[Path] = (),
    frozen: Sequence[Path] = (),
    epochs: int = 1,
    world: int = 1,
    show: ShowPlan | None = None,
) -> None:
    """Show the plan of a run from these folders. Raises UserError where it does not fit this machine's memory."""
    policy_config = load_checkpoint(policy).config
    learning, still = ([load_checkpoint(folder).config for folder in folders] for folders in (learners, frozen))
    plan = on_policy_plan(config, policy_config, learners=learning, frozen=still, epochs=epochs, world=world)
    if show is not None:
        show(plan)
    plan.check()

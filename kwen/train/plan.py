"""What a training run will take, said before its first step: tokens, time and memory; and a refusal of what will not fit.

Memory is an upper estimate of a process that trains in one rank's share: weights, gradients, optimiser and the activations of one
micro-batch do not peak at the same moment. Time supposes a share of the measured matrix-multiply peak that such runs reach.
"""

from dataclasses import dataclass

import psutil
import torch

from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.transformer import PLAIN_ATTENTION_LIMIT
from kwen.train.loop import TrainingConfig, training_dtype
from kwen.train.loss import CHUNK
from kwen.train.metrics import flops_per_token, matmul_peak

REACHED = 0.55
"""Share of the peak that is supposed."""
PROCESS_BYTES = 350 * 2**20
"""What Python and torch hold without any model."""
GIB = 2**30


@dataclass(frozen=True)
class TrainingPlan:
    """Figures of a run. Bytes are of all ranks of this machine together; `largest_micro_batch` is what `micro_batch_setting`
    may be for the run to fit, in its unit. `precisely` is how sure tokens and seconds are, in a word or two."""

    parameters: int
    trained: int
    tokens: int
    seconds: float
    memory: dict[str, int]
    available: int
    largest_micro_batch: int
    micro_batch_setting: str = "training.micro_batch_tokens"
    precisely: str = "about"

    @property
    def bytes(self) -> int:
        """All memory that the run may need at once."""
        return sum(self.memory.values())

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.seconds), 60)
        parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in self.memory.items())
        size = f"{self.parameters:,} parameters, {self.trained:,} trained"
        work = f"{self.tokens:,} tokens · {self.precisely} {minutes}:{seconds:02d}"
        return f"{size} · {work} · memory {self.bytes / GIB:.1f} of {self.available / GIB:.1f} GiB: {parts}"

    def check(self) -> None:
        """Raises UserError, naming the settings that would help, where the memory is not there."""
        if self.bytes <= self.available:
            return
        activations = self.memory["activations"]
        if self.bytes - activations < self.available and self.largest_micro_batch > 0:
            advice = f"set {self.micro_batch_setting} to {self.largest_micro_batch} at most"
        elif self.trained == self.parameters:
            advice = "train adapters alone: set lora, with quantize: int8 if that is not enough"
        else:
            advice = "use fewer ranks, or a smaller model"
        needed, free = self.bytes / GIB, self.available / GIB
        raise UserError(f"training would need about {needed:.1f} GiB, and {free:.1f} are free: {advice}")


def training_plan(
    model: ModelConfig, training: TrainingConfig, *, trained: int | None = None, world: int = 1, available: int | None = None
) -> TrainingPlan:
    """The plan of a run on this machine.

    trained: how many parameters have gradients (None: all). world: ranks. available: bytes that may be used (None: what is free
    now on the device that training will use).
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = training_dtype(training.precision, device)
    parameters = model.num_parameters
    trained = parameters if trained is None else trained
    share = training.batch_tokens // world
    micro = min(share, training.micro_batch_tokens or share)
    ranks = 1 if device.type == "cuda" else world  # on GPUs every rank has a device, and so memory, of its own
    token_bytes = activation_bytes(model, training.sequence_length, dtype.itemsize)
    logits = CHUNK * model.vocab_size * 10  # a chunk's logits, their gradient, and both once more in the products' dtype
    fixed = {"process": PROCESS_BYTES, "weights": 4 * parameters, "gradients": 4 * trained, "optimiser": 8 * trained}
    memory = {name: ranks * size for name, size in fixed.items()}
    memory["activations"] = ranks * (micro * token_bytes + logits)
    if available is None:
        available = torch.cuda.mem_get_info()[0] if device.type == "cuda" else psutil.virtual_memory().available
    room = available - sum(size for name, size in memory.items() if name != "activations") - ranks * logits
    rows = max(0, room // (ranks * token_bytes * training.sequence_length))
    work = flops_per_token(model, training.sequence_length) * (1.0 if trained == parameters else 2 / 3)  # no weight gradients
    tokens = training.steps * training.batch_tokens
    seconds = tokens * work / (REACHED * matmul_peak(dtype, device) * (world if device.type == "cuda" else 1))
    return TrainingPlan(parameters, trained, tokens, seconds, memory, available, int(rows) * training.sequence_length)


def activation_bytes(model: ModelConfig, sequence_length: int, item: int) -> int:
    """What the layers keep of one token for the backward pass: the residual stream and norms in float32, the inputs of
    products in their dtype, and the attention weights where the attention is computed plainly."""
    D, W = model.hidden_size, model.intermediate_size
    heads = model.num_attention_heads * model.head_dim + 2 * model.num_key_value_heads * model.head_dim
    scores = model.num_attention_heads * sequence_length * (4 + item) if sequence_length <= PLAIN_ATTENTION_LIMIT else 0
    return model.num_hidden_layers * (4 * 4 * D + item * (4 * D + 3 * heads + 4 * W) + scores)

"""Steps of one new token a sequence in fixed shapes: recorded once as a CUDA graph and replayed, so that a step is one launch.

Shapes are padded to powers of two, in sequences and in blocks of the longest one, so a few graphs serve all steps. Where there
is no CUDA the same function runs on the same padded inputs.
Legend: B sequences, G groups of layers, W blocks of a table, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kwen.engine.runner import BLOCK, Step

Decode = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Logits (B, V) of token ids (B, 1), positions (B, 1), the blocks that are written (G, B, 1), tables (G, B, W), lengths (B,)."""
_WARM_UPS = 2  # passes before recording, in which kernels are compiled and libraries take their memory


@dataclass
class _Recorded:
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    graph: torch.cuda.CUDAGraph | None
    logits: Tensor | None


class CapturedSteps:
    """Runs `decode` on `device` in fixed shapes."""

    def __init__(self, decode: Decode, device: torch.device) -> None:
        self._decode, self._device = decode, device
        self._recorded: dict[tuple[int, int, int], _Recorded] = {}

    def forget(self) -> None:
        """Record anew: weights or the cache have moved."""
        self._recorded.clear()

    def run(self, step: Step, spare: int) -> Tensor:
        """Logits (B, V) of a step of one token a sequence, valid until the next one; padding goes to the block `spare`."""
        G, B, W = step.tables.shape
        shape = (G, _power_of_two(B), _power_of_two(W))
        recorded = self._recorded.get(shape)
        if recorded is None:
            recorded = self._recorded[shape] = self._empty(*shape)
        written = step.tables[:, np.arange(B), step.positions // BLOCK]
        given = (step.token_ids[:, None], step.positions[:, None], written[:, :, None], step.tables, step.lengths)
        for target, values, padding in zip(recorded.inputs, given, (0, 0, spare, spare, 1), strict=True):
            padded = np.full(tuple(target.shape), padding, dtype=np.int64)
            padded[tuple(map(slice, values.shape))] = values
            target.copy_(torch.from_numpy(padded), non_blocking=True)
        if self._device.type != "cuda":
            return self._decode(*recorded.inputs)[:B]
        if recorded.graph is None:
            self._record(recorded)
        assert recorded.graph is not None and recorded.logits is not None
        recorded.graph.replay()
        return recorded.logits[:B]

    def _empty(self, G: int, B: int, W: int) -> _Recorded:
        shapes = ((B, 1), (B, 1), (G, B, 1), (G, B, W), (B,))
        one, two, three, four, five = (torch.zeros(shape, dtype=torch.long, device=self._device) for shape in shapes)
        return _Recorded((one, two, three, four, five), None, None)

    def _record(self, recorded: _Recorded) -> None:
        """Writing a token's key and value twice leaves the cache as it is, so the warm-up is done on the step itself."""
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._decode(*recorded.inputs)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        recorded.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded.graph):
            recorded.logits = self._decode(*recorded.inputs)


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()

"""Rollouts: answers that the policy samples through the shared engine, and their token ids packed for the training module.

Token ids go from the engine to the training module as they are; nothing is decoded and encoded again on the way. Logprobs are
those of the training module over the full vocabulary at one temperature, whatever the engine sampled with.
Legend: B rows, T tokens of a row, D hidden, N answers, R sampled tokens of the longest one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kwen.engine.generator import Generator
from kwen.engine.sampler import SamplingParams
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer
from kwen.train.loop import mixed_precision
from kwen.train.loss import token_logprobs

SLOTS = 128
"""Answers that are sampled side by side."""


@dataclass(frozen=True)
class Rollout:
    """One answer: prompt and reply as token ids, which of them the policy sampled, and whether the reply ended by itself.

    query: the number of the prompt, equal for answers to the same one. text: the reply without control tokens.
    """

    query: int
    token_ids: list[int]
    sampled: list[bool]
    ended: bool
    text: str

    @property
    def length(self) -> int:
        """How many tokens the policy sampled."""
        return sum(self.sampled)


def roll_out(
    policy: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[tuple[int, list[int]]],
    seeds: Sequence[int],
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    stop_token_ids: Sequence[int],
    slots: int = SLOTS,
) -> list[Rollout]:
    """`samples` answers to each of `prompts` (number, token ids), in order; one seed an answer.

    The sampled tokens hold the stop token that ended an answer.
    """
    asked = [prompt for prompt in prompts for _ in range(samples)]
    params = [
        SamplingParams(max_new_tokens, temperature, top_p, seed=int(seed), stop_token_ids=tuple(stop_token_ids)) for seed in seeds
    ]
    completions = Generator(policy, tokenizer, slots).generate([token_ids for _, token_ids in asked], params)
    rollouts = []
    for (query, prompt), completion in zip(asked, completions, strict=True):
        ended = completion.finish_reason == "stop"
        actions = completion.token_ids + ([completion.stop_reason] if isinstance(completion.stop_reason, int) else [])
        sampled = [False] * len(prompt) + [True] * len(actions)
        rollouts.append(Rollout(query, prompt + actions, sampled, ended, completion.text))
    return rollouts


@dataclass(frozen=True)
class Pack:
    """Rollouts laid into rows for one pass.

    token_ids, documents: (B, T). targets: (N, R), the sampled tokens. places: (N, R), where in the flattened rows each of them
    is predicted. mask: (N, R), false past an answer's last one. rollouts: which ones these are, by number.
    """

    rollouts: list[int]
    token_ids: Tensor
    documents: Tensor
    targets: Tensor
    places: Tensor
    mask: Tensor

    @property
    def actions(self) -> int:
        """How many sampled tokens it holds."""
        return int(self.mask.sum())


def pack_rollouts(
    rollouts: Sequence[Rollout],
    numbers: Sequence[int],
    row_length: int,
    rows_at_once: int,
    device: torch.device | str = "cpu",
) -> list[Pack]:
    """The rollouts of these `numbers` in rows of `row_length` tokens, longest first, `rows_at_once` rows to a pack at most."""
    rows: list[list[int]] = []
    free: list[int] = []
    for number in sorted(numbers, key=lambda number: (-len(rollouts[number].token_ids), number)):
        size = len(rollouts[number].token_ids)
        row = next((row for row, left in enumerate(free) if left >= size), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(row_length)
        rows[row].append(number)
        free[row] -= size
    parts = [rows[start : start + rows_at_once] for start in range(0, len(rows), rows_at_once)]
    return [_pack(rollouts, part, row_length, device) for part in parts]


def _pack(rollouts: Sequence[Rollout], rows: list[list[int]], row_length: int, device: torch.device | str) -> Pack:
    token_ids = np.zeros((len(rows), row_length), np.int64)
    documents = np.full((len(rows), row_length), -1, np.int64)
    order, targets, places = [], [], []
    for b, row in enumerate(rows):
        column = 0
        for number in row:
            ids, sampled = np.array(rollouts[number].token_ids), np.array(rollouts[number].sampled)
            token_ids[b, column : column + len(ids)], documents[b, column : column + len(ids)] = ids, number
            actions = sampled.nonzero()[0]
            order.append(number)
            targets.append(torch.from_numpy(ids[actions]))
            places.append(torch.from_numpy(b * row_length + column + actions - 1))
            column += len(ids)
    counts = torch.tensor([len(part) for part in targets])
    mask = torch.arange(max(1, int(counts.max()))) < counts[:, None]
    padded = [torch.nn.utils.rnn.pad_sequence(parts, batch_first=True) for parts in (targets, places)]
    parts = (torch.from_numpy(token_ids), torch.from_numpy(documents), *padded, mask)
    return Pack(order, *(part.to(device) for part in parts))


def rollout_logprobs(policy: Transformer, pack: Pack, temperature: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logprobs and entropy of the sampled tokens, float32 (N, R), 0 past the end; the logprobs can be differentiated."""
    with mixed_precision(pack.token_ids.device, dtype):
        hidden = policy.hidden(pack.token_ids, documents=pack.documents)
    chosen = hidden.flatten(0, 1)[pack.places[pack.mask]]
    found = token_logprobs(chosen, policy.output_weight, pack.targets[pack.mask], temperature=temperature, dtype=dtype)
    logprobs, entropy = (spread(part, pack.mask) for part in found)
    return logprobs, entropy


def rollout_values(value: Transformer, pack: Pack, dtype: torch.dtype) -> Tensor:
    """The value model's reading before each sampled token, float32 (N, R), 0 past the end."""
    with mixed_precision(pack.token_ids.device, dtype):
        hidden = value.hidden(pack.token_ids, documents=pack.documents)
        read = value.scores(hidden.flatten(0, 1)[pack.places[pack.mask]])
    return spread(read, pack.mask)


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """The values of the masked places as a padded (N, R) tensor."""
    return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)

"""The requests that run together: rows of one KV cache, filled by prefill, moved on one token a step.

    admit(requests)            step() step() step()                 admit(more)  or  compact()
    prompts of like length     every row forward by one token,      ended rows are holes: new requests
    go through together        sampled, pushed into its request     fill them, or the last rows move in

Row i uses slot i of the cache, so that a step reads slots 0 to n-1 as one view without copying. Holes are computed in vain
until there are enough of them to be worth filling or closing.
Legend: B rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kwen.engine.constrain_matcher import allowed_tokens
from kwen.engine.request import Request, by_prompt
from kwen.engine.sampler import SamplingBatch, SamplingParams, sample
from kwen.errors import UserError
from kwen.model.attention import KVCache
from kwen.model.transformer import Transformer

_PREFILL_TOKENS = 8192  # most tokens of one prefill pass, padding included
_CHUNK = 2048  # a longer prompt goes through in pieces of this, which bounds the attention mask
_LIKE_LENGTH = 0.75  # prompts at least this share of the longest one share its pass


class Batch:
    """Up to `slots` running requests of at most `max_length` tokens each, prompt and answer together."""

    def __init__(self, model: Transformer, slots: int, max_length: int) -> None:
        weight = model.output_weight
        self.slots = slots
        self._model, self._device = model, weight.device
        self._cache = KVCache(model.config, slots, max_length, weight.dtype, weight.device)
        self._rows: list[Request | None] = []
        self._sampling = SamplingBatch([])
        self._tokens_S = torch.zeros(slots, dtype=torch.int64, device=self._device)  # the newest token of each row
        self._positions_S = torch.zeros(slots, dtype=torch.int64, device=self._device)  # and where it stands
        self._live_S = torch.zeros(slots, dtype=torch.int64, device=self._device)  # 1, or 0 for a hole
        self._seen_SV: Tensor | None = None
        self._any_grammar = False
        self.holes = 0

    @property
    def running(self) -> int:
        """How many requests have not ended."""
        return len(self._rows) - self.holes

    @torch.inference_mode()
    def admit(self, requests: list[Request]) -> list[Request]:
        """Prefill `requests` (as many as there are free slots at most) and sample their first tokens.

        A prompt that several of them carry goes through the model once. Returns those that ended with their first token.
        """
        holes = [row for row, request in enumerate(self._rows) if request is None]
        free = holes + list(range(len(self._rows), self.slots))
        assert len(requests) <= len(free)
        for request in requests:
            request.constrain(self._model.config.vocab_size)
            self._any_grammar |= request.constraint is not None
        self._rows += [None] * (len(requests) - len(holes))
        rows = sorted(free[: len(requests)])
        ended = []
        for group in _groups(sorted(by_prompt(requests), key=lambda sharers: -len(sharers[0].prompt))):
            count = sum(map(len, group))
            ended += self._prefill(group, rows[:count])
            del rows[:count]
        self._rows_changed()
        return ended

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """One more token for every row; returns the requests that ended with it."""
        n = len(self._rows)
        tokens_B, positions_B = self._tokens_S[:n], self._positions_S[:n]
        hidden = self._model.hidden(tokens_B.unsqueeze(1), positions=positions_B.unsqueeze(1), cache=self._cache)
        logits_BV = self._model.project(hidden[:, 0]).float()
        seen_BV = None if self._seen_SV is None else self._seen_SV[:n]
        new_tokens_B, logprobs_B = sample(logits_BV, self._sampling, positions_B + 1, seen_BV, self._allowed(self._rows))
        tokens_B.copy_(new_tokens_B)
        positions_B += self._live_S[:n]
        if seen_BV is not None:
            seen_BV.scatter_(1, new_tokens_B.unsqueeze(1), True)
        return self._push(range(n), new_tokens_B, logprobs_B)

    @torch.inference_mode()
    def compact(self) -> None:
        """Close the holes: the last rows move into them, and the batch gets smaller."""
        sources, targets = [], []
        kept = self.running
        movable = [row for row in range(kept, len(self._rows)) if self._rows[row] is not None]
        for target in range(kept):
            if self._rows[target] is None:
                source = movable.pop()
                self._rows[target] = self._rows[source]
                sources.append(source)
                targets.append(target)
        if sources:
            upto = int(self._positions_S[sources].max())
            states = [self._tokens_S, self._positions_S, self._live_S, *([] if self._seen_SV is None else [self._seen_SV])]
            for state in states:
                state[targets] = state[sources]
            self._cache.copy(sources, targets, upto)
        del self._rows[kept:]
        self.holes = 0
        self._rows_changed()

    def _prefill(self, group: list[list[Request]], rows: list[int]) -> list[Request]:
        """Run the prompts of `group`, each shared by the requests of one list, and give each request a row of `rows`."""
        requests = [request for sharers in group for request in sharers]
        prompts = [sharers[0].prompt for sharers in group]
        prompt_of = [number for number, sharers in enumerate(group) for _ in sharers]
        through = [rows[prompt_of.index(number)] for number in range(len(group))]  # the row where each prompt is run
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        padded = [prompt + [0] * (longest - len(prompt)) for prompt in prompts]
        token_ids_PT = torch.tensor(padded, dtype=torch.int64, device=self._device)
        positions_PT = torch.arange(longest, device=self._device).expand(len(prompts), longest)
        slots_P = torch.tensor(through, dtype=torch.int64, device=self._device)
        size = _CHUNK if len(prompts) == 1 else longest  # only prompts that run alone are longer than a chunk
        for token_ids, positions in zip(token_ids_PT.split(size, 1), positions_PT.split(size, 1), strict=True):
            hidden = self._model.hidden(token_ids, positions=positions, cache=self._cache, slots=slots_P)
        copies = [(through[number], row) for number, row in zip(prompt_of, rows, strict=True) if through[number] != row]
        self._cache.copy([source for source, _ in copies], [target for _, target in copies], longest)
        lengths_P = torch.tensor(lengths, dtype=torch.int64, device=self._device)
        last_PD = hidden[torch.arange(len(prompts), device=self._device), lengths_P - longest + hidden.shape[1] - 1]
        logits_BV = self._model.project(last_PD).float()[prompt_of]
        lengths_B, slots_B = lengths_P[prompt_of], torch.tensor(rows, dtype=torch.int64, device=self._device)
        seen_BV = self._note_prompts(requests, slots_B)
        sampling = SamplingBatch([request.params for request in requests], self._device)
        tokens_B, logprobs_B = sample(logits_BV, sampling, lengths_B, seen_BV, self._allowed(requests))
        self._tokens_S[slots_B], self._positions_S[slots_B], self._live_S[slots_B] = tokens_B, lengths_B, 1
        if self._seen_SV is not None:
            self._seen_SV[slots_B, tokens_B] = True
        for row, request in zip(rows, requests, strict=True):
            self._rows[row] = request
        return self._push(rows, tokens_B, logprobs_B)

    def _note_prompts(self, group: list[Request], slots_B: Tensor) -> Tensor | None:
        """Mark the prompts' tokens as seen; the table exists from the first request with a repetition penalty on."""
        if self._seen_SV is None:
            if all(request.params.repetition_penalty == 1 for request in group):
                return None
            shape = (self.slots, self._model.config.vocab_size)
            self._seen_SV = torch.zeros(shape, dtype=torch.bool, device=self._device)
        self._seen_SV[slots_B] = False
        for slot, request in zip(slots_B.tolist(), group, strict=True):
            self._seen_SV[slot, torch.tensor(request.prompt, device=self._device)] = True
        return self._seen_SV[slots_B]

    def _allowed(self, requests: Sequence[Request | None]) -> tuple[Tensor, Tensor] | None:
        """Which of `requests` have a grammar, by number, and the tokens that each of them allows next."""
        if not self._any_grammar:
            return None
        constraints = {n: one.constraint for n, one in enumerate(requests) if one is not None and one.constraint is not None}
        if not constraints:
            return None
        allowed_RV = allowed_tokens(list(constraints.values()), self._model.config.vocab_size, self._device)
        return torch.tensor(list(constraints), dtype=torch.int64, device=self._device), allowed_RV

    def _push(self, rows: list[int] | range, tokens_B: Tensor, logprobs_B: Tensor) -> list[Request]:
        ended = []
        for row, token, logprob in zip(rows, tokens_B.tolist(), logprobs_B.tolist(), strict=True):
            request = self._rows[row]
            if logprob != logprob and request is not None:
                raise UserError("the model's logits are not numbers (NaN): its weights are damaged, or its training diverged")
            if request is not None and request.push(token, logprob):
                ended.append(request)
                self._rows[row] = None
                self._live_S[row] = self._positions_S[row] = 0  # a hole must not decide how far the cache is read
        self.holes = self._rows.count(None) if ended else self.holes
        return ended

    def _rows_changed(self) -> None:
        self.holes = self._rows.count(None)
        hole = SamplingParams()
        params = [hole if request is None else request.params for request in self._rows]
        self._sampling = SamplingBatch(params, self._device)


def _groups(prompts: list[list[Request]]) -> list[list[list[Request]]]:
    """Split prompts (the requests that carry each), longest first, into passes of like lengths: little padding is computed."""
    groups: list[list[list[Request]]] = []
    for sharers in prompts:
        longest = len(groups[-1][0][0].prompt) if groups else 0
        fits = groups and longest <= _CHUNK and (len(groups[-1]) + 1) * longest <= _PREFILL_TOKENS
        if fits and len(sharers[0].prompt) >= _LIKE_LENGTH * longest:
            groups[-1].append(sharers)
        else:
            groups.append([sharers])
    return groups

"""llama.cpp as a run of benchmarks/generate.py: its C interface by llama-cpp-python, one sequence a prompt, argmax in numpy."""

import ctypes
from typing import Any

import llama_cpp as llama
import measure
import numpy as np

BATCH_TOKENS, MICRO_BATCH_TOKENS = 2048, 512


class Runner:
    """A loaded file, and a context for each (batch, length) that is asked for, kept while the next is of the same size."""

    def __init__(self, path: str, threads: int):
        llama.llama_log_set(_SILENT, ctypes.c_void_p(0))
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot read {path}")
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.threads, self.size, self.context = threads, (0, 0), None
        self.batch = llama.llama_batch_init(BATCH_TOKENS, 0, 1)

    def generate(self, prompts: list[list[int]], new: int) -> list[list[int]]:
        """Greedy tokens of all prompts, which advance together."""
        self._prepare(len(prompts), len(prompts[0]) + new)
        places = [(row, at, token) for row, prompt in enumerate(prompts) for at, token in enumerate(prompt)]
        answers: list[list[int]] = [[] for _ in prompts]
        for start in range(0, len(places), BATCH_TOKENS):
            part = places[start : start + BATCH_TOKENS]
            self._decode(part, [at == len(prompts[row]) - 1 for row, at, _ in part], answers)
        for step in range(1, new):
            part = [(row, len(prompts[row]) + step - 1, answer[-1]) for row, answer in enumerate(answers)]
            self._decode(part, [True] * len(part), answers)
        return answers

    def _prepare(self, rows: int, length: int) -> None:
        length = -(-length // 256) * 256
        if self.size != (rows, length):
            if self.context:
                llama.llama_free(self.context)
            params = llama.llama_context_default_params()
            params.n_ctx, params.n_seq_max = rows * length, rows
            params.n_batch, params.n_ubatch = BATCH_TOKENS, MICRO_BATCH_TOKENS
            params.n_threads = params.n_threads_batch = self.threads
            self.context, self.size = llama.llama_init_from_model(self.model, params), (rows, length)
            if not self.context:
                raise SystemExit(f"llama.cpp cannot make a context of {rows} sequences of {length} tokens")
        llama.llama_memory_clear(llama.llama_get_memory(self.context), False)

    def _decode(self, part: list[tuple[int, int, int]], wanted: list[bool], answers: list[list[int]]) -> None:
        """Run (row, position, token) triples; append the likeliest next token after each wanted one."""
        batch = self.batch
        batch.n_tokens = len(part)
        for index, (row, position, token) in enumerate(part):
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.logits[index] = wanted[index]
        if llama.llama_decode(self.context, batch):
            raise SystemExit("llama_decode failed")
        rows = [place[0] for place, want in zip(part, wanted, strict=True) if want]
        if rows:
            logits = np.ctypeslib.as_array(llama.llama_get_logits(self.context), shape=(len(rows), self.vocabulary))
            for row, token in zip(rows, logits.argmax(axis=1).tolist(), strict=True):
                answers[row].append(token)


@llama.llama_log_callback
def _SILENT(level: int, text: bytes, data: Any) -> None:
    """Nothing is printed but what fails."""


def load(request: dict[str, Any]) -> measure.Generate:
    """The file at `request["path"]`, whose name says its precision."""
    return Runner(request["path"], request["threads"]).generate


if __name__ == "__main__":
    measure.run(load)

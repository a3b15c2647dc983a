"""Perplexity by length, retrieval, and what windows save: against the model's own passes over the same texts."""

import json
import math
import random
from pathlib import Path

import pytest
import torch

import kwen
from kwen.engine.completion import Completion
from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals.long_context import long_context
from kwen.evals.perplexity import score_tokens, start_token
from kwen.evals.perplexity_by_length import VARIANTS, layer_windows, perplexity_by_length, switches
from kwen.evals.retrieval import FORMS, retrieval

TRAINED = 64
LENGTHS = [32, 64, 100, 128, 256]


@pytest.fixture
def lm(tiny_lm: LanguageModel) -> LanguageModel:
    """The tiny model as one trained at 64 tokens, whose rows go no further."""
    model = tiny_lm.model.with_switches(max_position_embeddings=TRAINED, seq_length=TRAINED)
    return LanguageModel(model, tiny_lm.tokenizer, tiny_lm.path)


def texts_of(count: int, letters: int = 700) -> list[str]:
    words = ["lamp", "ferry", "coin", "seven", "Orvane", "渡船", "def", "return", "leaves", "costs"]
    return [" ".join(random.Random(f"{n}").choices(words, k=letters // 5)) for n in range(count)]


def test_perplexity_is_that_of_a_pass_over_each_cut(lm: LanguageModel) -> None:
    texts = texts_of(3)
    found = perplexity_by_length(lm, [*texts, "too short"], LENGTHS)
    assert found["documents"] == 3
    for variant in VARIANTS:
        model = lm.model.with_switches(**switches(lm.config, variant, 256))
        for column, length in enumerate(LENGTHS):
            alone = []
            for text in texts:
                ids = torch.tensor([[start_token(lm), *lm.tokenizer.encode(text)][:length]])
                with torch.inference_mode():
                    logprobs = model(ids)[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
                alone.append(math.exp(-logprobs.double().mean().item()))
            assert found["perplexity"][variant][column] == pytest.approx(sum(alone) / 3, rel=1e-3)
            mean = sum(alone) / 3
            error = math.sqrt(sum((one - mean) ** 2 for one in alone) / 2 / 3)
            assert found["stderr"][variant][column] == pytest.approx(error, rel=0.05, abs=1e-2)
    rows = [found["perplexity"][variant] for variant in VARIANTS]
    assert all(row[:2] == rows[0][:2] for row in rows), "up to the trained length all are equal"
    assert len({row[-1] for row in rows}) == len(VARIANTS), "beyond it none are"


def test_longer_rows_beside_it_change_no_base(lm: LanguageModel) -> None:
    model = lm.model.with_switches(**switches(lm.config, "ntk+logn+window", 256))
    extended = LanguageModel(model, lm.tokenizer, lm.path)
    documents = [lm.tokenizer.encode(text)[:count] for text, count in zip(texts_of(5), (30, 70, 130, 200, 10), strict=True)]
    alone = [score_tokens(extended, [document], 256, 256)[0] for document in documents]
    assert score_tokens(extended, documents, 256, 256) == pytest.approx(alone, rel=1e-5)


def test_windows_grow_with_the_layer_as_in_the_one_example_there_is() -> None:
    windows = layer_windows(32, 2048, 16384)
    assert windows == (2048,) * 4 + (4096,) * 4 + (8192,) * 4 + (None,) * 20
    assert layer_windows(2, 64, 256) == (64, 128) and layer_windows(2, 64, 64) == (None, None)
    assert layer_windows(1000, 2048, 2**31)[-1] == 2048 << 7


def test_the_result_is_json_and_windows_save_memory(lm: LanguageModel) -> None:
    found = long_context(lm, texts_of(2, 1600), trials=1, depths=(0.0, 1.0), needle_lengths=[200, 256])
    assert json.loads(json.dumps(found)) == found
    assert found["trained"] == TRAINED and found["lengths"] == [32, 64, 128, 256, 512]
    for table in (found["perplexity"], found["stderr"]):
        assert list(table) == list(VARIANTS) and all(len(row) == 5 for row in table.values())
    assert found["memory_bytes"]["window"] < found["memory_bytes"]["full"]
    for kind in ("needle", "passkey"):
        one = found[kind]
        assert (one["lengths"], one["depths"], one["n"]) == ([200, 256], [0.0, 1.0], 1)
        assert [len(row) for row in one["found"]] == [2, 2]


@pytest.mark.parametrize("kind", ["needle", "passkey"])
def test_the_number_is_hidden_at_its_depth_and_the_right_answer_counts(
    kind: str, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that finds the number whenever it stands in the first half of the text."""
    prompts: list[str] = []

    def read(self: Generator, asked: list[list[int]], params: list, progress: object) -> list[Completion]:
        answers = []
        for ids, one in zip(asked, params, strict=True):
            assert len(ids) + one.max_new_tokens <= 1000 and ids[0] == start_token(lm)
            text = lm.tokenizer.decode(ids)
            prompts.append(text)
            statement = FORMS[kind][0].split("{number}")[0]
            at = text.index(statement)
            number = text[at + len(statement) :][:5]
            answers.append(Completion(f" {number if at < len(text) / 2 else '1' + number}.", [], [], "length"))
        return answers

    monkeypatch.setattr(Generator, "generate", read)
    found = retrieval(lm, [600, 1000], (0.0, 0.3, 0.9), 3, kind)
    assert found["found"] == [[pytest.approx(1.0)] * 2, [pytest.approx(1.0)] * 2, [0.0] * 2]
    first = [*prompts]
    prompts.clear()
    retrieval(lm, [600, 1000], (0.0, 0.3, 0.9), 3, kind)
    assert prompts == first and len({*first}) == len(first)


def test_a_given_text_is_the_filler(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    def note(self: Generator, prompts: list[list[int]], params: list, progress: object) -> list[Completion]:
        asked.extend(prompts)
        return [Completion("", [], [], "length")] * len(prompts)

    monkeypatch.setattr(Generator, "generate", note)
    retrieval(lm, [900], (0.5,), 1, filler="The lamp is out. A ferry comes! Seven?")
    text = lm.tokenizer.decode(asked[0])
    assert text.count("The lamp is out. ") > 3 and text.count("A ferry comes! ") > 3 and text.count("Seven? ") > 3


def test_what_cannot_be_measured_is_one_line(lm: LanguageModel) -> None:
    with pytest.raises(UserError, match="no text of 256 tokens .the longest has 4"):
        perplexity_by_length(lm, ["a b"], LENGTHS)
    with pytest.raises(UserError, match="give one of 32"):
        long_context(lm, ["a b"])
    with pytest.raises(UserError, match="needle and question take"):
        retrieval(lm, [30])
    with pytest.raises(UserError, match="'haystack' is unknown"):
        retrieval(lm, [300], kind="haystack")
    with pytest.raises(UserError, match="no sentences"):
        retrieval(lm, [600], filler="  ")


def test_smollm2_finds_a_pass_key(smollm2_gguf: Path) -> None:
    lm = kwen.load(smollm2_gguf, dtype="int8")
    found = retrieval(lm, [300], (0.2, 0.8), 2, "passkey")
    assert sum(row[0] for row in found["found"]) >= 1.5

"""Fill-in-the-middle: nothing lost, in the order that Qwen2.5-Coder reads, and as often as asked."""

import random
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.nanoworld.code_documents import code_documents
from kwen.text.fim import CUTS, Cut, FillInTheMiddle, FimTokens, fim_ids, fim_prompt, split_middle
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

TEXTS = [document.text for document in code_documents(0, "train", 200)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("fim") / "tokenizer"
    train(iter(TEXTS), TokenizerConfig(vocab_size=600, pattern="report", whole_words=0, extra_tokens=5), folder)
    return Tokenizer.load(folder)


@pytest.mark.parametrize("cut", CUTS)
def test_the_three_parts_are_the_text(cut: Cut) -> None:
    for place, text in enumerate(TEXTS):
        parts = split_middle(random.Random(place), text, cut)
        assert parts is None or ("".join(parts) == text and parts[1] and parts[1] != text)
        if parts and cut == "lines":
            assert all(part == "" or part.endswith("\n") for part in parts[:2]) or parts[2] == ""
    assert split_middle(random.Random(0), "one line", "lines") is None and split_middle(random.Random(0), "", cut) is None


def test_ids_are_prefix_suffix_middle_and_decode_to_the_text(tokenizer: Tokenizer) -> None:
    tokens = FimTokens.of(tokenizer)
    assert tokens == FimTokens(*(tokenizer.control_id(f"<|extra_{n}|>") for n in (1, 2, 3)))
    parts = split_middle(random.Random(3), TEXTS[0])
    assert parts is not None
    ids = fim_ids(parts, tokenizer, tokens)
    suffix, middle = ids.index(tokens.suffix), ids.index(tokens.middle)
    assert ids[0] == tokens.prefix and 0 < suffix < middle
    assert tuple(map(tokenizer.decode, (ids[1:suffix], ids[middle + 1 :], ids[suffix + 1 : middle]))) == parts


def test_a_share_of_texts_is_rearranged_and_the_rest_stays(tokenizer: Tokenizer) -> None:
    def made(seed: int, share: float) -> list[list[int]]:
        filler = FillInTheMiddle(tokenizer, share, seed)
        return [filler.token_ids(text, place) for place, text in enumerate(TEXTS)]

    half = made(0, 0.5)
    assert half == made(0, 0.5) != made(1, 0.5)
    prefix = FimTokens.of(tokenizer).prefix
    rearranged = [prefix in ids for ids in half]
    assert 0.35 < sum(rearranged) / len(TEXTS) < 0.65
    assert all(ids == tokenizer.encode(text) for ids, text, moved in zip(half, TEXTS, rearranged, strict=True) if not moved)
    assert made(0, 0.0) == [tokenizer.encode(text) for text in TEXTS]


def test_a_prompt_ends_where_the_middle_begins(tokenizer: Tokenizer) -> None:
    tokens = FimTokens.of(tokenizer)
    ids = fim_prompt("a = 1\n", "c = 3\n", tokenizer)
    assert ids[0] == tokens.prefix and ids[-1] == tokens.middle
    assert ids[:-1] == fim_ids(("a = 1\n", "b = 2\n", "c = 3\n"), tokenizer, tokens)[: len(ids) - 1]


def test_texts_that_hold_the_marks_stay_text(tokenizer: Tokenizer) -> None:
    tokens = FimTokens.of(tokenizer)
    ids = fim_ids(("a <|extra_2|>\n", "b\n", "c <|fim_middle|>"), tokenizer, tokens)
    assert [ids.count(token) for token in (tokens.prefix, tokens.suffix, tokens.middle)] == [1, 1, 1]


def test_what_cannot_be_is_one_line(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="number from 0 to 1"):
        FillInTheMiddle(tokenizer, 2.0, 0)
    train(iter(TEXTS), TokenizerConfig(vocab_size=600, pattern="report", whole_words=0, extra_tokens=2), tmp_path / "few")
    with pytest.raises(UserError, match="at least 4 extra tokens"):
        FillInTheMiddle(Tokenizer.load(tmp_path / "few"), 0.5, 0)

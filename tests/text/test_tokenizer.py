"""Text to ids and back: the report's vectors, the policies for control tokens, streams, hostile text."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kwen.errors import UserError
from kwen.text.tokenizer import StreamDecoder, Tokenizer

HOSTILE = [
    "",
    "\x00\x01\x7f",
    "\ufeff\u200b\u202e",
    "<|im_end|>" * 200,
    "<|im_<|im_end|>end|>",
    " \t" * 30_000,
    " " * 60_000 + "x",
    "a" * 60_000,
    "\n" * 60_000,
    "e\u0301" * 1000,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 100,
    "\U0010ffff\ufffe\ufdd0",
]
PIECES = ["the", " the", "Zorvik", " zorvik", "'s", "'d", "  ", "\n", "\r\n", "世界", "é", "e\u0301", "12", "_", "<|im_end|>"]
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(PIECES)).map("".join)


@pytest.fixture(scope="session", params=["report", "copying"])
def trained(request: pytest.FixtureRequest, trained_folders: dict[str, Path]) -> Tokenizer:
    return Tokenizer.load(trained_folders[request.param])


# The vectors of report.md 1.5.
PRINT_END, PRINT_EXTRA = 'print("<|endoftext|>")', 'print("<|extra_0|>")<|endoftext|>'


@pytest.mark.parametrize(
    ("text", "allowed", "ids"),
    [
        (PRINT_END, "all", [1350, 445, 151643, 899]),
        (PRINT_END, (), [1350, 9639, 91, 8691, 723, 427, 91, 82598]),
        (PRINT_EXTRA, {"<|endoftext|>"}, [1350, 9639, 91, 15460, 62, 15, 91, 82598, 151643]),
        (" 根", (), [51461, 117]),
        ("Observation", (), [37763, 367]),
        ("Observation:", (), [37763, 367, 25]),
        ("Observation:\n", (), [37763, 367, 510]),
    ],
)
def test_qwen_vectors(qwen: Tokenizer, text: str, allowed: object, ids: list[int]) -> None:
    assert qwen.encode(text, allowed_special=allowed) == ids  # type: ignore[arg-type]
    assert qwen.decode(ids, skip_special_tokens=False) == text


def test_qwen_has_151851_tokens(qwen: Tokenizer) -> None:
    assert qwen.vocab_size == 151_851
    assert len(qwen.control_tokens) == 208
    assert qwen.control_id("<|extra_204|>") == 151_850
    assert qwen.eos_token_ids == [151_645, 151_644, 151_643]


def test_text_is_never_a_control_token_by_default(trained: Tokenizer) -> None:
    text = "".join(trained.control_tokens) + "<|endoftext|>"
    ids = trained.encode(text)
    assert not set(ids) & set(trained.control_tokens.values())
    assert trained.encode_batch([text, text]) == [ids, ids]
    assert trained.decode(ids) == text


def test_allowed_control_tokens_are_parsed_and_others_are_text(trained: Tokenizer) -> None:
    ids = trained.encode("a<|im_end|>b<|im_start|>", allowed_special=["<|im_end|>"])
    assert [number for number in ids if number in trained.control_tokens.values()] == [trained.control_id("<|im_end|>")]
    assert trained.encode("<|im_end|>", allowed_special="all") == [trained.control_id("<|im_end|>")]


def test_disallowed_control_tokens_raise(trained: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"<\|im_end\|>.*character 1"):
        trained.encode("a<|im_end|>", disallowed_special="all")
    allowed = trained.encode("a<|im_end|>", allowed_special=["<|im_end|>"], disallowed_special="all")
    assert allowed[-1] == trained.control_id("<|im_end|>")
    assert trained.encode("a<|im_end|>", disallowed_special=["<|im_start|>"])


def test_an_unknown_control_token_is_named(trained: Tokenizer) -> None:
    with pytest.raises(UserError, match="nothing"):
        trained.control_id("<|nothing|>")
    with pytest.raises(UserError, match="nothing"):
        trained.encode("x", allowed_special=["<|nothing|>"])


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example(text="'d'd dog's 'dog'")
@example(text="x\u0338<\u0338")
def test_decoding_gives_the_text_in_nfc(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == unicodedata.normalize("NFC", text)


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_qwen_is_lossless(qwen: Tokenizer, text: str) -> None:
    assert qwen.decode(qwen.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: f"{text[:4]!a}x{len(text)}")
def test_hostile_text_is_encoded_like_any_other(qwen: Tokenizer, trained: Tokenizer, text: str) -> None:
    for tokenizer in (qwen, trained):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
        assert not set(ids) & set(tokenizer.control_tokens.values())


def test_lone_surrogates_become_replacement_characters(qwen: Tokenizer, trained: Tokenizer) -> None:
    for tokenizer in (qwen, trained):
        assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
        assert tokenizer.decode(tokenizer.encode("\ud83d\ude00")) == "\U0001f600"


def test_a_million_spaces_do_not_end_the_process(from_ranks: Tokenizer) -> None:
    text = "a\n" + " " * 1_000_000 + "b"
    assert from_ranks.decode(from_ranks.encode(text)) == text


def test_long_spaces_are_cut_as_the_pattern_cuts_them(from_ranks: Tokenizer, tmp_path: Path) -> None:
    from_ranks.save(tmp_path)
    other = Tokenizer.load(tmp_path)
    run = " " * 50_000
    for text in ("x" + run, f"\n\n {run}word", run + "!", "\u3000" * 50_000 + "\r\n1", "\t" * 60_000 + "1"):
        assert from_ranks.encode(text) == other.encode(text)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_stream_of_ids_is_decoded_like_the_whole(trained: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, trained.vocab_size + 5), max_size=40))
    decoder = StreamDecoder(trained)
    parts = [decoder.push(number) for number in ids]
    assert "".join(parts) + decoder.flush() == trained.decode(ids)


def test_a_stream_gives_complete_characters_only(qwen: Tokenizer) -> None:
    decoder = StreamDecoder(qwen)
    first, second = qwen.encode(" 根")
    assert decoder.push(first) == " "
    assert decoder.push(second) == "根"
    assert decoder.flush() == ""
    decoder.push(first)
    assert decoder.flush() == "\ufffd"
    assert decoder.push(qwen.encode("a")[0]) == "a"


def test_special_tokens_are_skipped_unless_wanted(trained: Tokenizer) -> None:
    ids = [trained.control_id("<|im_start|>"), *trained.encode("hi")]
    assert trained.decode(ids) == "hi"
    assert trained.decode(ids, skip_special_tokens=False) == "<|im_start|>hi"


def test_ids_beyond_the_vocabulary_decode_to_nothing(trained: Tokenizer) -> None:
    assert trained.decode([trained.vocab_size, trained.vocab_size + 100]) == ""
    with pytest.raises(UserError, match="not in the vocabulary"):
        trained.token_bytes(trained.vocab_size)


def test_decode_errors_can_be_chosen(trained: Tokenizer) -> None:
    half = trained.encode("\u20ac")[:1]
    assert trained.decode(half) == "\ufffd"
    assert trained.decode(half, errors="ignore") == ""
    assert all(trained.token_bytes(trained.encode(chr(code))[0]) == bytes([code]) for code in (0, 32, 127))

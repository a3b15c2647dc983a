"""Tokenizer files: what is saved loads here and in transformers with equal ids, other readers agree, damage is named."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from conftest_texts import sample_texts

from kwen.errors import UserError
from kwen.text.byte_level import ALPHABET, recover_merges, spell, unspell
from kwen.text.control import CHATML_TEMPLATE
from kwen.text.tokenizer import Tokenizer

TEXT = "Mara's 12 mills,  世界 e\u0301 don't\n\n\tdef f(x): return x<|im_end|><think> <|endoftext|>"


def as_in_transformers(folder: Path, text: str = TEXT, **options: bool) -> list[int]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("pattern", ["report", "copying"])
def test_a_saved_tokenizer_loads_in_transformers(trained_folders: dict[str, Path], pattern: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(trained_folders[pattern])
    # With a model's config beside it, transformers knows the model type and could choose a class with a pattern of its own.
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}))
    for options in ({}, {"trust_remote_code": False}, {"trust_remote_code": True}):
        assert as_in_transformers(tmp_path, **options) == tokenizer.encode(TEXT, allowed_special="all"), options
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.pad_token, theirs.eos_token) == ("<|extra_0|>", "<|endoftext|>")
    assert len(theirs) == tokenizer.vocab_size


def test_everything_comes_back_from_a_saved_folder(own: Tokenizer, tmp_path: Path) -> None:
    own.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    for name in ("vocab_size", "control_tokens", "eos_token_ids", "pad_token_id", "bos_ids", "chat_template", "default_system"):
        assert getattr(again, name) == getattr(own, name), name
    assert again.eos_token_ids == [again.control_id("<|im_end|>"), again.control_id("<|endoftext|>")]
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).chat_template == CHATML_TEMPLATE
    again.save(tmp_path / "twice")
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / file).read_bytes() == (tmp_path / "twice" / file).read_bytes()


@pytest.mark.slow
def test_saved_qwen_loads_in_transformers_with_equal_ids(qwen: Tokenizer, qwen_saved: Path) -> None:
    assert as_in_transformers(qwen_saved) == qwen.encode(TEXT, allowed_special="all")


def test_a_rank_file_saves_as_tokenizer_json_with_equal_ids(from_ranks: Tokenizer, tmp_path: Path) -> None:
    from_ranks.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    for text in [TEXT, *sample_texts()]:
        assert again.encode(text) == from_ranks.encode(text)
    assert (again.eos_token_ids, again.control_tokens) == (from_ranks.eos_token_ids, from_ranks.control_tokens)
    assert again.vocab_size == from_ranks.vocab_size


@pytest.mark.slow
def test_smollm2_agrees_with_transformers(smollm2: Tokenizer, smollm2_gguf: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2_gguf.parent, gguf_file=smollm2_gguf.name)
    # transformers' GGUF reader knows no pre-tokenizer names and takes GPT-2's: texts without runs of digits are equal in both.
    for text in (TEXT.replace("12", "1"), "The sky is blue and", " \n  x\t!"):
        assert smollm2.encode(text, allowed_special="all") == theirs(text, add_special_tokens=False)["input_ids"]


def test_smollm2_settings_come_from_its_metadata(smollm2: Tokenizer) -> None:
    assert smollm2.vocab_size == 49_152
    assert (smollm2.eos_token_ids, smollm2.pad_token_id, smollm2.bos_ids) == ([2], 2, [])
    assert smollm2.chat_template is not None


def test_smollm_splits_digits(smollm2: Tokenizer) -> None:
    ids = smollm2.encode("In 2024, a12b")
    assert [smollm2.token_bytes(number) for number in ids] == [b"In", b" ", b"2", b"0", b"2", b"4", b",", b" a", b"1", b"2", b"b"]


def test_a_tag_is_control_but_stays_visible(tmp_path: Path, trained_folders: dict[str, Path]) -> None:
    value = json.loads((trained_folders["report"] / "tokenizer.json").read_text())
    number = max(token["id"] for token in value["added_tokens"]) + 1
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    value["added_tokens"].append({"id": number, "content": "<think>", **flags})
    value["added_tokens"].append({"id": number + 1, "content": "zorvikzorvik", **flags})
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.control_id("<think>") == number
    assert number not in tokenizer.encode("a<think>b")
    assert tokenizer.decode([number, *tokenizer.encode("b")]) == "<think>b"
    assert "zorvikzorvik" not in tokenizer.control_tokens
    assert tokenizer.encode("azorvikzorvik")[-1] == number + 1
    assert tokenizer.decode(tokenizer.encode("azorvikzorvik")) == "azorvikzorvik"


def test_merges_are_recovered_from_ranks(trained_folders: dict[str, Path]) -> None:
    model = json.loads((trained_folders["report"] / "tokenizer.json").read_text())["model"]
    ranks = {unspell(token): number for token, number in model["vocab"].items()}
    # The alphabet's order is not the bytes' order, but single bytes never merge, so only the tokens after them count.
    assert [[spell(left), spell(right)] for left, right in recover_merges(ranks)] == model["merges"]


def test_the_byte_alphabet_is_a_bijection() -> None:
    every = bytes(range(256))
    assert len(set(ALPHABET)) == 256
    assert unspell(spell(every)) == every
    assert spell(b" the\n") == "ĠtheĊ"


def metadata(**changes: Any) -> dict[str, Any]:
    tokens = [*ALPHABET, "Ġa", "<|end|>", "<tool>", "[PAD0]"]
    values = {
        "model": "gpt2", "pre": "qwen2", "tokens": tokens, "merges": ["Ġ a"], "token_type": [1] * 257 + [3, 4, 5],
        "eos_token_id": 257, "bos_token_id": 257,
    }  # fmt: skip
    return {f"tokenizer.ggml.{key}": value for key, value in {**values, **changes}.items() if value is not None}


def test_gguf_metadata_gives_control_and_visible_tags() -> None:
    tokenizer = Tokenizer.from_gguf(metadata())
    assert tokenizer.control_tokens == {"<|end|>": 257, "<tool>": 258}
    assert tokenizer.encode("b a") == [ALPHABET.index("b"), 256]
    assert tokenizer.decode([257, 258]) == "<tool>"
    assert tokenizer.vocab_size == 260
    assert tokenizer.bos_ids == []
    assert Tokenizer.from_gguf(metadata(add_bos_token=True)).bos_ids == [257]


@pytest.mark.parametrize("pre", ["qwen2", "llama-bpe", "smollm", "gpt-2", "default", None])
def test_every_known_pre_tokenizer_is_lossless(pre: str | None) -> None:
    tokenizer = Tokenizer.from_gguf(metadata(pre=pre))
    text = "It's 1234 <b> $5  a\n\n 世界 \t_x_"
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "llama"}, "SentencePiece"),
        ({"model": "bert"}, "WordPiece"),
        ({"model": None}, "None is not supported"),
        ({"pre": "tekken"}, "tekken"),
        ({"tokens": None}, "tokens: missing"),
        ({"tokens": [1, 2]}, r"tokens\[0\]: must be str"),
        ({"tokens": ["a", "a"]}, "distinct"),
        ({"token_type": [1]}, "one token_type each"),
        ({"merges": ["x"]}, "not a readable"),
        ({"merges": ["a zz"]}, "not a readable"),
        ({"eos_token_id": 10_000}, "eos_token_id"),
        ({"bos_token_id": -1}, "bos_token_id"),
    ],
)
def test_other_gguf_tokenizers_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tokenizer.from_gguf(metadata(**changes))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "not JSON"),
        ("tokenizer.json", "[]", "JSON object"),
        ("tokenizer.json", json.dumps({"model": {"type": "Unigram"}}), "Unigram"),
        ("tokenizer.json", json.dumps({"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Metaspace"}}), "SentencePiece-like"),
        ("tokenizer.json", json.dumps({"model": {"type": "BPE"}, "pre_tokenizer": {"type": "ByteLevel"}}), "not a readable"),
        ("tokenizer.json", json.dumps({"pre_tokenizer": {"type": "ByteLevel"}, "added_tokens": [{"id": "1"}]}), "added_tokens"),
        ("qwen.tiktoken", "YQ== 0\nYg== 1\n", "256 single bytes"),
        ("qwen.tiktoken", "YQ== zero\n", "line 1"),
        ("qwen.tiktoken", "YQ== 0\n!!! 1\n", "line 2"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as refused:
        Tokenizer.load(tmp_path)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_folder_without_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "x.model"):
        with pytest.raises(UserError, match="tokenizer|no such"):
            Tokenizer.load(path)


def test_stop_ids_come_from_the_generation_config(trained_folders: dict[str, Path], tmp_path: Path) -> None:
    Tokenizer.load(trained_folders["report"]).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del config["eos_token_ids"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert Tokenizer.load(tmp_path).eos_token_ids == [Tokenizer.load(tmp_path).control_id("<|endoftext|>")]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    assert Tokenizer.load(tmp_path).eos_token_ids == [5, 6]
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}<|im_end|>")
    assert Tokenizer.load(tmp_path).eos_token_ids[0] == Tokenizer.load(tmp_path).control_id("<|im_end|>")


def test_a_base_qwen_stops_at_end_of_text_only(tmp_path: Path) -> None:
    lines = [base64.b64encode(bytes([byte])).decode() + f" {byte}" for byte in range(256)]
    (tmp_path / "qwen.tiktoken").write_text("\n".join(lines))
    assert Tokenizer.load(tmp_path).eos_token_ids == [257 + 1, 257, 256]
    (tmp_path / "generation_config.json").write_text(json.dumps({"chat_format": "raw"}))
    base = Tokenizer.load(tmp_path)
    assert (base.eos_token_ids, base.chat_template) == ([256], None)


def test_llama_like_bos_is_told_apart_from_text(trained_folders: dict[str, Path], tmp_path: Path) -> None:
    Tokenizer.load(trained_folders["report"]).save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"bos_token": {"content": "<|extra_1|>"}, "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.bos_ids == [tokenizer.control_id("<|extra_1|>")]
    assert tokenizer.template_variables["bos_token"] == "<|extra_1|>"
    assert tokenizer.bos_ids[0] not in tokenizer.encode("hi")

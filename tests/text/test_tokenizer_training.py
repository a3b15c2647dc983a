"""Training: the same text gives the same tokenizer, and the copying pattern spells a name in one way wherever it stands."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
import regex
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kwen.errors import UserError
from kwen.nanoworld.tool_dialogues import tool_documents
from kwen.text.patterns import copying_pattern, is_copying
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest_texts import sample_texts
from kwen.text.tokenizer_training import TokenizerConfig, train
for pattern in ("report", "copying"):
    config = TokenizerConfig(vocab_size=700, pattern=pattern, whole_words=12, extra_tokens=13)
    train(iter(sample_texts()), config, Path(sys.argv[2]) / pattern)
"""


def test_the_same_text_gives_the_same_files(trained_folders: dict[str, Path], tmp_path: Path) -> None:
    # In another process: hash seeds and thread timing differ there.
    subprocess.run([sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path)], check=True)
    for pattern, folder in trained_folders.items():
        for name in FILES:
            assert (folder / name).read_bytes() == (tmp_path / pattern / name).read_bytes(), (pattern, name)


def test_control_tokens_take_the_last_ids(trained_folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(trained_folders["report"])
    assert tokenizer.vocab_size == 700
    expected = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(13))]
    assert list(tokenizer.control_tokens) == expected
    assert list(tokenizer.control_tokens.values()) == list(range(684, 700))
    assert tokenizer.pad_token_id == tokenizer.control_id("<|extra_0|>")
    assert tokenizer.eos_token_ids == [tokenizer.control_id("<|endoftext|>")]


def test_metrics_and_progress_tell_what_was_read(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    texts = ["héllo world " * 50_000] * 4
    size = sum(len(text.encode()) for text in texts)

    def progress(done: float, total: float, **facts: float | str) -> None:
        seen.append((done, total))

    metrics = train(iter(texts), TokenizerConfig(vocab_size=300, extra_tokens=1), tmp_path, progress, total_bytes=size)
    assert (metrics["documents"], metrics["bytes"]) == (4, size)
    assert metrics["vocab_size"] == Tokenizer.load(tmp_path).vocab_size
    assert metrics["vocab_size"] < 300, "two words give few merges"
    assert len(seen) > 2 and seen[-1] == (size, size)
    assert all(done <= total == size for done, total in seen)


def test_digits_are_never_merged(trained_folders: dict[str, Path]) -> None:
    for folder in trained_folders.values():
        tokenizer = Tokenizer.load(folder)
        assert [tokenizer.token_bytes(number) for number in tokenizer.encode("2024")] == [b"2", b"0", b"2", b"4"]


@pytest.fixture(scope="module")
def copying(trained_folders: dict[str, Path]) -> Tokenizer:
    return Tokenizer.load(trained_folders["copying"])


NAMES = st.text("abcdefghijklmnopqrstuvwxyzéß", min_size=2, max_size=12)
PLACES = [
    "{}", " {}", "({})", '"{}"', "'{}'", "def {}(", "x = {}\n", "\n    {}:", "在{}，", "the {}.",
    "{}'s", "{}, and", "<{}>", "1{}", "_{}",
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(name=NAMES, where=st.sampled_from(PLACES), capital=st.booleans(), parts=st.integers(1, 3))
def test_copying_spells_a_name_in_one_way(copying: Tokenizer, name: str, where: str, capital: bool, parts: int) -> None:
    tokenizer = copying
    if len(tokenizer.encode(f" {name}")) == 1:
        return  # one of the whole words, which keep their space
    name = "_".join([name.capitalize() if capital else name] * parts)
    alone, placed = tokenizer.encode(name), tokenizer.encode(where.format(name))
    assert any(placed[at : at + len(alone)] == alone for at in range(len(placed) - len(alone) + 1)), (name, where)


def test_common_words_keep_their_space_and_names_do_not(trained_folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(trained_folders["copying"])
    pieces = [tokenizer.token_bytes(number).decode() for number in tokenizer.encode("Mara said that the thez")]
    assert pieces[0] == "M"
    assert " said" in pieces and " that" in pieces and " the" in pieces
    assert tokenizer.encode(" thez")[0] == tokenizer.encode(" ")[0]


def test_a_capital_shares_the_rest_of_its_word(trained_folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(trained_folders["copying"])
    assert tokenizer.encode("Orvik")[1:] == tokenizer.encode("rvik")


@settings(max_examples=50, deadline=None)
@given(words=st.lists(st.text("abcdeé", min_size=1, max_size=5), max_size=30))
def test_the_word_list_is_matched_exactly(words: list[str]) -> None:
    pattern = regex.compile(copying_pattern(words))
    chance = random.Random("words")
    for word in [*words, "abc", "a", *("".join(chance.choices("abcdeé", k=3)) for _ in range(20))]:
        found = [match.group() for match in pattern.finditer(f" {word}")]
        assert "".join(found) == f" {word}"
        assert (found[0] == f" {word}") == (word in words)


def test_copying_is_recognised_in_a_saved_file(trained_folders: dict[str, Path]) -> None:
    assert is_copying((trained_folders["copying"] / "tokenizer.json").read_text())
    assert not is_copying((trained_folders["report"] / "tokenizer.json").read_text())
    assert not (trained_folders["report"] / "tokenization_kwen.py").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocab_size": 400}, "at least 464"),
        ({"pattern": "gpt"}, "pattern"),
        ({"vocab": 1}, "vocab"),
        ({"tool_pieces": True}, "belongs to the pattern copying"),
        ({"extra_tokens": 0}, "extra"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TokenizerConfig(**values)  # type: ignore[arg-type]


def test_tool_pieces_make_calls_short_and_change_no_name(tmp_path: Path) -> None:
    texts = [document.text for document in tool_documents(0, "train", 400)]
    folders = {}
    for pieces in (False, True):
        config = TokenizerConfig(vocab_size=900, pattern="copying", whole_words=20, tool_pieces=pieces, extra_tokens=5)
        train(iter(texts), config, tmp_path / str(pieces))
        folders[pieces] = Tokenizer.load(tmp_path / str(pieces))
    call = '<tool_call>\n{"name": "price", "arguments": {"item": "Vorin", "count": 12}}\n</tool_call>'
    plain, short = folders[False].encode(call), folders[True].encode(call)
    assert len(short) < 0.6 * len(plain) and folders[True].decode(short) == call
    name = folders[True].encode("Vorin")
    for text in (call, "Vorin", "the price of Vorin?", '", "Vorin"}'):
        ids = folders[True].encode(text)
        assert any(ids[at : at + len(name)] == name for at in range(len(ids))), text
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "True", trust_remote_code=True)
    assert [theirs.encode(text) for text in [call, *texts[:50]]] == [folders[True].encode(text) for text in [call, *texts[:50]]]


@pytest.mark.parametrize("pattern", ["report", "copying"])
def test_no_text_is_a_users_mistake(tmp_path: Path, pattern: str) -> None:
    for texts in ([], ["", ""]):
        with pytest.raises(UserError, match="no text"):
            train(iter(texts), TokenizerConfig(vocab_size=300, extra_tokens=1, pattern=pattern), tmp_path / "out")  # type: ignore[arg-type]
        assert not (tmp_path / "out").exists()

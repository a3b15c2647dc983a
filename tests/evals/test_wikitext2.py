import math
from pathlib import Path

import pytest
import torch

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.perplexity import score_tokens, start_token, windows
from kwen.evals.tasks import find_task

TEXT = (
    " \n = First lamp = \n \n The lamp <unk> of Orvane . \n \n = = Costs = = \n \n It costs 23 coins ; x = y = z . \n"
    " \n = Second = \n \n The ferry leaves at seven , 渡船 . \n"
)


def make_data(folder: Path, text: str = TEXT) -> Path:
    (folder / "wikitext2").mkdir(parents=True)
    (folder / "wikitext2" / "test.txt").write_text(text)
    return folder


def rolling(lm: LanguageModel, token_ids: list[int], length: int) -> float:
    """Nats by lm-eval's rolling windows: a first one behind the start token, then one token of context before each, and a last
    one that is filled up to its left."""
    nats, done = 0.0, 0
    while done < len(token_ids):
        end = min(done + length, len(token_ids))
        inputs = [start_token(lm), *token_ids][max(0, end - length) : end]
        log_probabilities = lm.logits(torch.tensor([inputs]))[0].double().log_softmax(-1)
        for place in range(done, end):
            nats -= log_probabilities[place - end, token_ids[place]].item()
        done = end
    return nats


@pytest.mark.parametrize("length", [5, 7, 512])
def test_disjoint_windows_are_those_of_rolling_log_likelihood(tiny_lm: LanguageModel, length: int) -> None:
    token_ids = tiny_lm.tokenizer.encode(TEXT)[:33]
    (nats,) = score_tokens(tiny_lm, [token_ids], length, length, fill_last=True)
    assert nats == pytest.approx(rolling(tiny_lm, token_ids, length), rel=1e-5)
    if length < 33:
        assert nats != pytest.approx(score_tokens(tiny_lm, [token_ids], length, length)[0], rel=1e-5)
    assert list(windows(12, 5, 5, fill_last=True)) == [(0, 5, 0), (5, 10, 5), (7, 12, 10)]


def test_articles_are_scored_by_word_and_byte(tiny_lm: LanguageModel, tmp_path: Path) -> None:
    data = make_data(tmp_path)
    first, second = find_task("wikitext2").items(data, 0)
    assert (first.id, second.id) == ("0 First lamp", "1 Second")
    assert str(first.prompt) + str(second.prompt) == TEXT.removeprefix(" \n") and " = = Costs" in str(first.prompt)
    result = run.evaluate(tiny_lm, ["wikitext2"], data=data)["wikitext2"]
    encoded = [tiny_lm.tokenizer.encode(str(item.prompt)) for item in (first, second)]
    nats = sum(rolling(tiny_lm, token_ids, 512) for token_ids in encoded)
    size, words = len(TEXT.encode()) - 2, len(TEXT.split())
    assert (result["n"], result["bytes"], result["words"]) == (2, size, words)
    assert result["word_perplexity"] == pytest.approx(math.exp(nats / words), rel=1e-4)
    assert result["byte_perplexity"] == pytest.approx(math.exp(nats / size), rel=1e-4)
    assert result["bits_per_byte"] == pytest.approx(nats / size / math.log(2), rel=1e-4)
    assert result["settings"] == {"window": 512, "stride": 512}


def test_the_real_file_has_sixty_articles(shared_data: Path) -> None:
    items = find_task("wikitext2").items(shared_data, 0)
    text = (shared_data / "wikitext2" / "test.txt").read_text()
    assert len(items) == 60 and items[1].id == "1 Du Fu"
    assert "".join(str(item.prompt) for item in items) == text.removeprefix(" \n")
    assert sum(item.extra["words"] for item in items) == 241_211


@pytest.mark.parametrize("text", ["no title\n", "\n = = Only a part = = \n\n x\n", ""])
def test_a_file_without_titles_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="is expected first"):
        run.check(["wikitext2"], data=make_data(tmp_path, text))

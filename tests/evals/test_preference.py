"""Preference accuracy as a task: a language model by loglikelihood, a reward model by its scores."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from kwen.align.reward import RewardModel, scoring_model
from kwen.cli.main import exit_code
from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.tasks.preference import items
from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.formats.load import load_checkpoint
from kwen.text.templates import render_template

KWEN = [
    {"messages": [{"role": "user", "content": f"How much is lamp {n}?"}], "tag": "t"}
    | dict(zip(("chosen", "rejected"), [f"{n} coins.", "I sail."][:: 1 if n % 2 else -1], strict=True))
    for n in range(5)
]
HH = [
    {"chosen": "\n\nHuman: A lamp?\n\nAssistant: Here.", "rejected": "\n\nHuman: A lamp?\n\nAssistant: No."},
    {"chosen": "\n\nHuman: A lamp?\n\nAssistant: Same.", "rejected": "\n\nHuman: A lamp?\n\nAssistant: Same."},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "preference" / "mine").mkdir(parents=True)
    for name, rows in (("hh.jsonl", HH), ("mine/own.jsonl", KWEN)):
        (tmp_path / "preference" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture(scope="module")
def reward_folder(tiny_folder: Path, tiny_lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_folder` with a random head that scores."""
    folder = tmp_path_factory.mktemp("models") / "reward"
    folder.mkdir()
    model = scoring_model(load_checkpoint(tiny_folder))
    with torch.no_grad():
        next(weight for name, weight in model.named_parameters() if name == "score.weight").normal_(
            generator=torch.Generator().manual_seed(1)
        )
    write_model(folder, model.config, memory_tensors(model), {})
    tiny_lm.tokenizer.save(folder)
    return folder


def test_files_of_any_form_are_read_and_flawed_pairs_passed_over(data: Path) -> None:
    found = items(data, 0)
    assert [item.id for item in found] == ["hh.jsonl 1", *(f"mine/own.jsonl {n}" for n in range(1, 6))]
    assert found[0].choices == ("Here.", "No.") and found[0].tag == "hh" and found[1].tag == "t"
    assert found[0].prompt == [{"role": "user", "content": "A lamp?"}]


def test_a_language_model_prefers_the_likelier_reply(tiny_lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    scores = run.evaluate(tiny_lm, ["preference"], data=data, out=tmp_path / "kept")["preference"]
    assert scores["n"] == 6 and set(scores["by_kind"]) == {"hh", "t"}

    def loglikelihood(messages: Sequence[Mapping[str, Any]], reply: str) -> float:
        prompt = render_template(tiny_lm.chat_template or "", list(messages), tiny_lm.tokenizer, add_generation_prompt=True)
        answer = [*tiny_lm.tokenizer.encode(reply), tiny_lm.tokenizer.eos_token_ids[0]]
        ids = [*prompt.token_ids, *answer]
        logprobs = tiny_lm.logits(torch.tensor([ids[:-1]])).log_softmax(-1)[0, -len(answer) :]
        return float(logprobs.gather(1, torch.tensor(answer)[:, None]).sum())

    kept = [json.loads(line) for line in (tmp_path / "kept" / "preference.jsonl").read_text().splitlines()][1:]
    for item, answer in zip(items(data, 0), kept, strict=True):
        expected = [loglikelihood(item.prompt, reply) for reply in item.choices]  # type: ignore[arg-type]
        assert json.loads(answer["text"])["loglikelihoods"] == pytest.approx(expected, abs=1e-4)
        assert answer["correct"] == (expected[0] > expected[1])


def test_a_reward_model_prefers_the_higher_score(
    reward_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", str(reward_folder), "--tasks", "preference", "--data", str(data), "--json", str(tmp_path / "s.json"),
                 "--out", str(tmp_path / "kept")]  # fmt: skip
    assert exit_code(arguments) == 0 and "preference" in capsys.readouterr().out
    model = RewardModel.load(reward_folder)
    right = []
    for item in items(data, 0):
        better, worse = model.score([[*item.prompt, {"role": "assistant", "content": text}] for text in item.choices])  # type: ignore[misc]
        right.append(better > worse)
    scores = json.loads((tmp_path / "s.json").read_text())["preference"]
    assert 0 < sum(right) < 6, "the model of this test should be right on some pairs only"
    assert scores["accuracy"] == scores["accuracy_flexible"] == pytest.approx(sum(right) / 6)
    again = run.score_saved(tmp_path / "kept" / "preference.jsonl", ["preference"], data=data)["preference"]
    assert again["accuracy"] == scores["accuracy"]


def test_equal_scores_put_no_pair_in_order(reward_folder: Path, data: Path) -> None:
    model = RewardModel.load(reward_folder)
    with torch.no_grad():
        next(weight for name, weight in model.model.named_parameters() if name == "score.weight").zero_()
    assert run.evaluate(model, ["preference"], data=data)["preference"]["accuracy"] == 0


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "a " * 600, "chosen": "b", "rejected": "c"}, "item long.jsonl 1 takes"),
        ({"prompt": "a", "chosen": "b"}, "rejected"),
        ({"question": "a"}, "of no known kind"),
    ],
)
def test_a_row_that_cannot_be_compared_is_named(reward_folder: Path, tmp_path: Path, row: dict[str, str], problem: str) -> None:
    (tmp_path / "preference").mkdir()
    (tmp_path / "preference" / "long.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=problem):
        run.evaluate(RewardModel.load(reward_folder), ["preference"], data=tmp_path)


def test_missing_pairs_and_other_tasks_are_refused(reward_folder: Path, tmp_path: Path) -> None:
    model = RewardModel.load(reward_folder)
    with pytest.raises(UserError, match="give --data"):
        run.evaluate(model, ["preference"])
    with pytest.raises(UserError, match="no file of pairs"):
        run.evaluate(model, ["preference"], data=tmp_path)
    with pytest.raises(UserError, match="nanoworld-facts asks a language model"):
        run.evaluate(model, ["nanoworld-facts"])

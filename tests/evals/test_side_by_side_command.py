import json
from pathlib import Path

import pytest
import torch
from openai_endpoint import running

from kwen.align.reward import RewardModel, scoring_model
from kwen.cli.main import exit_code
from kwen.engine.language_model import LanguageModel, load
from kwen.errors import UserError
from kwen.evals.judges import Reply
from kwen.evals.side_by_side import read_conversations, replies
from kwen.family.artifact import Manifest
from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.formats.load import load_checkpoint
from kwen.progress import Progress
from kwen.sandbox import describe
from kwen.text.tokenizer import Tokenizer
from kwen.train.parallel import Group, Ranks

QUESTIONS = [
    {"prompt": "How much is the lamp?", "topic": "lamps", "language": "en"},
    {"messages": [{"role": "user", "content": "渡船几点开？"}], "topic": "ferries", "language": "zh", "id": 7},
    {"prompt": "And the other lamp?", "topic": "lamps", "language": "en"},
]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = exit_code(["eval", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return path


def longer(first: str, second: str) -> str:
    return "Verdict: tie" if len(first) == len(second) else f"Verdict: {'A' if len(first) > len(second) else 'B'}"


def test_two_models_are_judged_by_an_endpoint_on_ones_own_prompts(
    tiny_folder: Path, other_folder: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(longer) as endpoint:
        code, out, err = run(capsys, tiny_folder, "--against", other_folder, "--judge", endpoint.url, "--prompts", questions,
                             "--max-new-tokens", 12, "--json", tmp_path / "s.json", "--out", tmp_path / "out")  # fmt: skip
    assert code == 0, err
    result = json.loads((tmp_path / "s.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "out" / "side_by_side.jsonl").read_text().splitlines()]
    assert [row["messages"][0]["content"] for row in rows] == ["How much is the lamp?", "渡船几点开？", "And the other lamp?"]
    assert result["n"] == 3 == result["wins"] + result["ties"] + result["losses"]
    assert result["wins"] == sum(len(row["a"]) > len(row["b"]) for row in rows) == sum(row["verdict"] == "a" for row in rows)
    assert list(result["by_category"]) == ["ferries", "lamps"] and result["by_language"]["zh"]["n"] == 1
    assert result["model_hash_a"] != result["model_hash_b"] and len(result["prompt_hash"]) == 64
    assert result["settings"] == {"max_new_tokens": 12, "temperature": 0.0} and result["verdicts"]["asked"] == 6
    lines = out.splitlines()
    assert "judged by referee" in lines[0] and "95 % interval" in lines[1] and lines[2].startswith("average")
    assert any("both orders asked, 0 contradict" in line for line in lines)


def test_two_models_are_judged_by_the_oracle_on_nanoworlds_prompts(
    long_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        describe()
    except UserError as error:
        pytest.skip(str(error))
    code, out, err = run(capsys, long_folder, "--against", long_folder, "--limit", 34, "--max-new-tokens", 4,
                         "--json", tmp_path / "s.json")  # fmt: skip
    assert code == 0, err
    result = json.loads((tmp_path / "s.json").read_text())
    assert (result["n"], result["ties"], result["judge"], result["verdicts"]["asked"]) == (34, 34, "oracle", 34)
    assert "judged by oracle" in out and "contradict" not in out


def make_reward_folder(folder: Path, base: Path) -> Path:
    """A reward model over `base` with a random head, as training writes it."""
    model = scoring_model(load_checkpoint(base))
    with torch.no_grad():
        model.score.weight.normal_(generator=torch.Generator().manual_seed(0))
    folder.mkdir()
    write_model(folder, model.config, memory_tensors(model), {})
    Tokenizer.load(base).save(folder)
    return folder


def test_a_reward_model_judges_and_its_scores_are_kept(
    tiny_folder: Path, other_folder: Path, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reward = make_reward_folder(tmp_path / "reward", tiny_folder)
    code, out, err = run(capsys, tiny_folder, "--against", other_folder, "--judge", f"reward:{reward}", "--prompts", questions,
                         "--max-new-tokens", 12, "--out", tmp_path / "out")  # fmt: skip
    assert code == 0, err
    assert "judged by reward model reward" in out and "r of length with score" in out
    rows = [json.loads(line) for line in (tmp_path / "out" / "side_by_side.jsonl").read_text().splitlines()]
    for row in rows:
        spoken = [[*row["messages"], {"role": "assistant", "content": row[side]}] for side in "ab"]
        scores = RewardModel.load(reward).score(spoken)
        assert [row["score_a"], row["score_b"]] == pytest.approx(scores, abs=1e-4)
        assert row["verdict"] == ("a" if scores[0] > scores[1] else "b")


def test_a_reward_model_does_not_judge_the_model_that_was_trained_against_it(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reward = make_reward_folder(tmp_path / "reward", tiny_folder)
    made = Manifest("reward", "reward", 1, "key", {}, {}, 0, {"model.safetensors": {"sha256": "aa", "bytes": 1}}, {})
    made.write(reward)
    policy = tmp_path / "policy"
    policy.mkdir()
    Manifest("chat", "ppo", 1, "key", {"reward": made.content}, {}, 0, {}, {}).write(policy)
    for pair in ((policy, tiny_folder), (tiny_folder, policy)):
        code, out, err = run(capsys, pair[0], "--against", pair[1], "--judge", f"reward:{reward}")
        assert code == 2 and len(err.splitlines()) == 1 and f"{policy} was trained against this reward model" in err


def test_replies_are_those_of_chat_and_know_whether_they_ended(tiny_lm: LanguageModel, questions: Path) -> None:
    asked = read_conversations(questions)
    found = replies(tiny_lm, asked, max_new_tokens=9)
    assert [reply.text for reply in found] == [tiny_lm.chat(one.messages, max_new_tokens=9)["content"] for one in asked]
    whole = replies(tiny_lm, asked, max_new_tokens=9999)
    for reply, short in zip(whole, found, strict=True):
        assert reply.text.startswith(short.text) and (not short.ended or short == reply)
    assert replies(tiny_lm, asked, max_new_tokens=9, temperature=2.0, seed=1) != found


def test_a_prompt_longer_than_the_context_is_never_cut(tiny_lm: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"prompt": "lamp"}) + "\n" + json.dumps({"prompt": "x" * 600}) + "\n")
    with pytest.raises(UserError, match="prompt 2 takes 6.. tokens"):
        replies(tiny_lm, read_conversations(tmp_path / "q.jsonl"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"topic": "x"}, 'give either "messages" or "prompt"'),
        ({"prompt": "a", "messages": []}, 'give either "messages" or "prompt"'),
        ({"messages": []}, "the list is empty"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "the last turn must be the user's"),
        ({"prompt": 3}, "content"),
        ({"prompt": "a", "topic": 3}, '"topic" must be text'),
        ({"prompt": "a", "language": 3}, '"language" must be text'),
        ({"prompt": "a", "id": "line 1"}, "stands twice"),
        ({"prompt": "\ud800"}, "surrogate"),
    ],
)
def test_a_malformed_prompt_is_named_by_its_line(tmp_path: Path, row: dict, problem: str) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"prompt": "one"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(UserError) as caught:
        read_conversations(tmp_path / "q.jsonl")
    assert "q.jsonl, line 2" in str(caught.value) and problem in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["m", "--against", "o", "--tasks", "gsm8k"], "--tasks belongs to scoring on tasks"),
        (["m", "--against", "o", "--baselines"], "--baselines belongs to scoring on tasks"),
        (["--against", "o"], "needs a MODEL too"),
        (["m", "--against", "o", "--judge", "people"], "give oracle, reward:FOLDER, or the address"),
        (["m", "--against", "o", "--judge-model", "x"], "give --judge http"),
        (["m", "--against", "o", "--prompts", "q.jsonl"], "the oracle knows nanoworld's prompts only"),
        (["m", "--against", "o", "--prompts", "q.jsonl", "--judge", "http://127.0.0.1:9/v1"], "q.jsonl: no such file"),
        (["m", "--against", "o", "--judge", "reward:none"], "none"),
        (["m", "--against", "o", "--limit", "0"], "limit 0"),
        (["m", "--against", "o", "--json", "no/such/folder.json"], "does not exist"),
        (["m", "--tasks", "gsm8k", "--prompts", "q.jsonl"], "give --against OTHER with them"),
        (["m"], "needs --tasks NAMES, --long-context, or --against OTHER"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and problem in err
    assert list(tmp_path.iterdir()) == []


def shared_replies(group: Group, *, folder: Path, file: Path, progress: Progress) -> list[Reply]:
    """Answers of the model in `folder`, shared by all ranks."""
    return replies(load(folder), read_conversations(file), max_new_tokens=9, temperature=1.0, group=group)


def test_ranks_share_the_prompts_and_all_have_all_replies(tiny_folder: Path, tiny_lm: LanguageModel, questions: Path) -> None:
    with Ranks(2) as ranks:
        shared = ranks.run(shared_replies, {"folder": tiny_folder, "file": questions})
    assert shared == replies(tiny_lm, read_conversations(questions), max_new_tokens=9, temperature=1.0)

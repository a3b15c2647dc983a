import gzip
import json
from pathlib import Path

import pytest

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.task import prompt_hash
from kwen.evals.tasks import find_task
from kwen.evals.tasks.gsm8k import SHOTS, chat_answer, chat_prompt, read_problems

ROWS = [
    {"question": "Two lamps cost 3 coins each. In all?", "answer": "2 * 3 = $<<2*3=6>>6\n#### 6"},
    {"question": "A ferry carries 1,000 people. Two?", "answer": "It is 2*1,000 = <<2*1000=2000>>2,000.\n#### 2,000"},
]


def make_data(folder: Path, rows: list = ROWS, packed: bool = False) -> Path:
    (folder / "gsm8k").mkdir(parents=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for split in ("test", "train"):
        if packed:
            (folder / "gsm8k" / f"{split}.jsonl.gz").write_bytes(gzip.compress(text))
        else:
            (folder / "gsm8k" / f"{split}.jsonl").write_bytes(text)
    return folder


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k-8-shot", "gsm8k-4-shot-chat"])
def test_the_real_answers_are_all_right_and_other_numbers_all_wrong(shared_data: Path, name: str) -> None:
    task = find_task(name)
    items = task.items(shared_data, 0)
    problems = read_problems(shared_data, "test")
    assert len(items) == len({item.id for item in items}) == 1319
    answers = run.judge(task, items, [chat_answer(problem) for problem in problems])
    assert all(answer.correct and answer.correct_flexible for answer in answers)
    wrong = run.judge(task, items, [f"So it is.\n#### {problems[n - 1].number}" for n in range(len(items))])
    chance = sum(problems[n - 1].number == problems[n].number for n in range(len(items)))
    assert sum(answer.correct for answer in wrong) == sum(answer.correct_flexible for answer in wrong) == chance < 40
    assert prompt_hash(items) == prompt_hash(task.items(shared_data, 1))


GENERATIONS = [  # to the first test problem, whose answer is 18: (text, strict, flexible)
    ("She sells 16 - 3 - 4 = 9 eggs a day.\nShe makes 9 * 2 = $18 a day.\n#### 18", True, True),
    ("#### $18.00", True, True),
    ("Janet makes \\boxed{18} dollars from 9 eggs.", True, False),
    ("The answer is 18 dollars.", True, True),
    ("She has 9 eggs left, which makes $18.", False, True),
    ("She makes **18** dollars", False, True),
    ("She makes 18 dollars from 9 eggs", False, False),
    ("#### 17", False, False),
    ("The answer is 18.\nQuestion: 3 lamps?\nThe answer is 3.", False, False),
    ("#### 18%", True, True),  # a percentage is equal to the number before the sign too, see verify.answers
    ("eighteen", False, False),
    ("", False, False),
    ("####", False, False),
]


@pytest.mark.parametrize(("text", "strict", "flexible"), GENERATIONS)
def test_known_generations_to_a_real_problem(shared_data: Path, text: str, strict: bool, flexible: bool) -> None:
    task = find_task("gsm8k")
    (answer,) = run.judge(task, task.items(shared_data, 0)[:1], [text])
    assert (answer.correct, answer.correct_flexible) == (strict, flexible)


def test_saved_answers_are_scored_by_their_place_in_the_file(shared_data: Path, tmp_path: Path) -> None:
    texts = ["#### 18", "3", "It is 70,001", "no idea"]
    rows = [{"task": "gsm8k", "id": index, "text": text} for index, text in enumerate(texts)]
    (tmp_path / "saved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run.score_saved(tmp_path / "saved.jsonl", ["gsm8k"], data=shared_data)["gsm8k"]
    assert (result["accuracy"], result["accuracy_flexible"]) == (0.25, 0.5)
    assert (result["n"], result["missing"], result["version"]) == (4, 1315, 1)


def test_the_eight_shots_are_training_problems_without_calculator_marks(shared_data: Path) -> None:
    items = find_task("gsm8k-8-shot").items(shared_data, 0)
    prompts = [item.opening + "".join(map(str, item.shots)) + str(item.prompt) for item in items]
    test = {problem.question for problem in read_problems(shared_data, "test")}
    for problem in read_problems(shared_data, "train")[:SHOTS]:
        assert all(f"Question: {problem.question}\n" in prompt for prompt in prompts[:3]) and problem.question not in test
    assert all(prompt.count("Question:") == SHOTS + 1 and prompt.endswith("\nAnswer:") for prompt in prompts)
    assert not any("<<" in prompt or "####" in prompt for prompt in prompts)


def test_four_shots_are_turns_before_the_question(shared_data: Path) -> None:
    item = find_task("gsm8k-4-shot-chat").items(shared_data, 0)[0]
    problem = read_problems(shared_data, "train")[0]
    said = [message["content"] for message in item.shots[0]]
    assert said == [chat_prompt(problem.question)[0]["content"], chat_answer(problem)] and len(item.shots) == 4
    assert [message["role"] for message in item.shots[3]] == ["user", "assistant"]
    assert item.prompt == find_task("gsm8k").items(shared_data, 0)[0].prompt


def test_a_short_context_takes_fewer_shots(tiny_lm: LanguageModel, long_lm: LanguageModel, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", [*ROWS] * 4)
    assert run.evaluate(tiny_lm, ["gsm8k-8-shot"], data=data, limit=1)["gsm8k-8-shot"]["fewer_shots"] == 1
    for result in run.evaluate(long_lm, ["gsm8k-8-shot", "gsm8k-4-shot-chat"], data=data, limit=1).values():
        assert "fewer_shots" not in result and result["settings"]["shots"] in (4, 8)


@pytest.mark.parametrize("packed", [False, True])
def test_problems_are_read_plain_and_packed(tmp_path: Path, packed: bool) -> None:
    first, second = read_problems(make_data(tmp_path / "data", packed=packed), "test")
    assert first == ("Two lamps cost 3 coins each. In all?", "2 * 3 = $6", "6")
    assert chat_answer(second) == "It is 2*1,000 = 2,000.\n#### 2,000"


def test_a_model_is_asked_only_as_many_as_the_limit_says(long_lm: LanguageModel, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    results = run.evaluate(long_lm, ["gsm8k", "gsm8k-8-shot"], data=data, limit=1, out=tmp_path / "out")
    assert {name: result["n"] for name, result in results.items()} == {"gsm8k": 1, "gsm8k-8-shot": 1}
    assert results["gsm8k"]["by_kind"].keys() == {"1 lines"} and results["gsm8k"]["settings"]["max_new_tokens"] == 400
    kept = [json.loads(line) for line in (tmp_path / "out" / "gsm8k-8-shot.jsonl").read_text().splitlines()]
    assert len(kept) == 2 and "\n\n" not in kept[1]["text"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question": "?"}, '"answer" must be text, not NoneType'),
        ({"question": 3, "answer": "#### 3"}, '"question" must be text, not int'),
        ({"question": "?", "answer": "three"}, "does not end in #### and a number"),
        ({"question": "?", "answer": "#### three"}, "does not end in #### and a number"),
        ([], "a JSON object is expected"),
    ],
)
def test_a_malformed_problem_is_named_by_its_line(tmp_path: Path, row: object, problem: str) -> None:
    data = make_data(tmp_path / "data", [ROWS[0], row])
    with pytest.raises(UserError) as caught:
        run.check(["gsm8k"], data=data)
    assert "test.jsonl, line 2" in str(caught.value) and problem in str(caught.value)


def test_problems_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    home = "openai/grade-school-math"
    with pytest.raises(UserError, match=rf"give --data a folder that holds gsm8k/ \(published as {home}\)"):
        run.check(["gsm8k"])
    with pytest.raises(UserError, match=f"gsm8k does not exist; put the files of {home} there"):
        run.check(["gsm8k"], data=tmp_path)
    (tmp_path / "gsm8k").mkdir()
    with pytest.raises(UserError, match=f"no test.jsonl or main/test-.*; put the files of {home} there"):
        run.check(["gsm8k"], data=tmp_path)
    with pytest.raises(UserError, match="no row in it"):
        run.check(["gsm8k"], data=make_data(tmp_path / "empty", []))
    packed = make_data(tmp_path / "packed", packed=True) / "gsm8k" / "test.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(UserError, match="damaged or cut off"):
        run.check(["gsm8k"], data=tmp_path / "packed")

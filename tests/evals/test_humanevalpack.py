"""HumanEvalPack: canonical solutions are all right and wrong ones all wrong, in six languages and every shape of an answer."""

import json
from pathlib import Path

import pytest
import tiny_humanevalpack as tiny

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.task import Item, Task
from kwen.evals.tasks import find_task
from kwen.evals.tasks.humanevalpack import LANGUAGES
from kwen.sandbox import describe
from kwen.verify import languages


def task_of(language: str) -> Task:
    """The task; skips with one line where its compiler, or a sandbox, is absent."""
    task = find_task(f"humanevalpack-{language}")
    try:
        describe()
        assert task.require is not None
        task.require()
    except UserError as error:
        pytest.skip(str(error))
    return task


def shapes(row: dict[str, str], language: str, body: str) -> dict[str, str]:
    """One body as a continuation and in code blocks: the whole, and the function alone."""
    above, first = row["declaration"].rsplit("\n", 2)[0] + "\n", row["declaration"].rsplit("\n", 2)[1] + "\n"
    label = LANGUAGES[language].labels[0]
    alone = first + (body.rstrip().removesuffix("}") if language == "java" else body)
    return {
        "continued": body,
        "continued_and_on": body + "\n\n" + ("print(1)" if language == "python" else "int main() { return 1; }"),
        "whole": f"Here it is:\n```{label}\n{above}{first}{body}\n```\nIt is tested.",
        "alone": f"```\n{alone}\n```",
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_canonical_solutions_score_one_and_wrong_ones_zero(tmp_path: Path, language: str) -> None:
    task, rows = task_of(language), tiny.rows(language)
    items = {item.id: item for item in task.items(tiny.write(tmp_path, language), 0)}
    for body, right, kinds in (("canonical_solution", True, None), ("buggy_solution", False, ("continued", "whole"))):
        texts = [(row["task_id"], shapes(row, language, row[body])) for row in rows]
        asked = [(task_id, name, text[name]) for task_id, text in texts for name in kinds or text]
        answers = run.judge(task, [items[task_id] for task_id, _, _ in asked], [text for _, _, text in asked])
        found = [(*one, answer.correct, answer.correct_flexible) for one, answer in zip(asked, answers, strict=True)]
        assert [one for one in found if one[3:] != (right, right)] == []


@pytest.mark.parametrize("language", ["python", "go"])
def test_saved_answers_are_scored_by_the_command_of_all_tasks(tmp_path: Path, language: str) -> None:
    task_of(language)
    name, rows = f"humanevalpack-{language}", tiny.rows(language)
    saved = [{"task": name, "id": row["task_id"], "text": row["canonical_solution"]} for row in rows]
    (tmp_path / "saved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in saved))
    scores = run.score_saved(tmp_path / "saved.jsonl", [name], data=tiny.write(tmp_path, language, published=True))
    assert (scores[name]["pass@1"], scores[name]["pass@1_flexible"], scores[name]["n"]) == (1.0, 1.0, 2)


def judged(language: str, items: list[Item], texts: list[str]) -> list[tuple[bool, bool]]:
    task = find_task(f"humanevalpack-{language}")
    answers = run.judge(task, [items[0]] * len(texts), texts)
    return [(answer.correct, answer.correct_flexible) for answer in answers]


def test_a_local_name_like_the_functions_is_no_definition_of_it(tmp_path: Path) -> None:
    items = task_of("js").items(tiny.write(tmp_path, "js"), 0)
    body = "  const countEven = numbers.filter((x) => x % 2 === 0);\n  return countEven.length;\n}\n"
    assert judged("js", items, [body]) == [(True, True)]


def test_what_only_the_flexible_extractor_finds(tmp_path: Path) -> None:
    items = task_of("js").items(tiny.write(tmp_path, "js"), 0)
    body = "  return numbers.filter((x) => x % 2 === 0).length;\n}"
    texts = [
        f"Sure, this does it:\n\nconst countEven = (numbers) => {{\n{body}\n\nI hope that it helps.",
        f"```js\n{body}\n```",
        "```js\nprocess.exit(0);\n```",
        "I do not know.",
        "",
        "  return numbers.filter((x) => x % 2 === 0).length;",  # the engine took the closing line as a stop string
    ]
    assert judged("js", items, texts) == [
        (False, True),
        (False, True),
        (False, False),
        (False, False),
        (False, False),
        (True, True),
    ]


def test_python_answers_may_forget_their_imports(tmp_path: Path) -> None:
    items = task_of("python").items(tiny.write(tmp_path, "python"), 0)
    code = "def count_even(numbers):\n    return sum(math.fmod(x, 2) == 0 for x in Counter(numbers).elements())"
    assert judged("python", items, [f"```python\n{code}\n```"]) == [(True, True)]


def test_a_block_with_imports_of_its_own(tmp_path: Path) -> None:
    task_of("rust")
    items = find_task("humanevalpack-rust").items(tiny.write(tmp_path, "rust"), 0)
    code = "use std::collections::HashMap;\nfn count_even(numbers: Vec<i32>) -> usize {\n    let mut seen = HashMap::new();\n"
    code += "    for n in &numbers { seen.insert(*n, *n % 2 == 0); }\n    seen.values().filter(|even| **even).count()\n}\n"
    assert judged("rust", items, [f'```rust\n{code}\nfn main() {{\n    println!("{{}}", count_even(vec![]));\n}}\n```']) == [
        (True, True)
    ]


def test_prompts_for_base_and_chat_models(tmp_path: Path) -> None:
    for language in LANGUAGES:
        task = find_task(f"humanevalpack-{language}")
        row, item = tiny.rows(language)[1], task.items(tiny.write(tmp_path, language), 0)[1]
        assert task.base_prompt is not None
        raw, said = task.base_prompt(item), item.prompt[0]["content"]  # type: ignore[index]
        assert raw == (row["prompt"] if language == "python" else row["prompt"].strip())
        assert row["prompt"].strip() in str(said) and f"```{LANGUAGES[language].labels[0]}\n" in str(said)
        assert "stop" not in task.settings, "a chat answer's code block has every stop string of a continuation"


def test_a_base_model_is_asked_without_a_template(tmp_path: Path, long_lm: LanguageModel) -> None:
    task_of("js")
    results = run.evaluate(long_lm, ["humanevalpack-js"], data=tiny.write(tmp_path, "js"), limit=1)
    assert results["humanevalpack-js"]["pass@1"] == 0.0 and results["humanevalpack-js"]["n"] == 1


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "python"])
def test_a_missing_compiler_is_refused_before_anything_is_asked(
    tmp_path: Path, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        describe()
    except UserError as error:
        pytest.skip(str(error))
    languages.toolchain.cache_clear()
    monkeypatch.setattr("shutil.which", lambda *_: None)
    with pytest.raises(UserError, match="nothing was asked yet: .* is not on the PATH: install it") as caught:
        run.check([f"humanevalpack-{language}"], data=tiny.write(tmp_path, language))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("language", "changes", "problem"),
    [
        ("js", {"prompt": 3}, '"prompt" must be text, not int'),
        ("python", {"entry_point": "other"}, "does not define other"),
        ("rust", {"declaration": "struct A;"}, "opens no Rust function"),
        ("cpp", {"test": "int x;"}, '"test" must end with the function main'),
        ("go", {"test_setup": None}, '"test_setup" must be text'),
    ],
)
def test_a_malformed_problem_is_named_by_its_line(tmp_path: Path, language: str, changes: dict, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        find_task(f"humanevalpack-{language}").items(tiny.write(tmp_path, language, **changes), 0)
    assert "line 1" in str(caught.value) and problem in str(caught.value)


def test_problems_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"give --data a folder that holds humanevalpack/ \(published as bigcode/humanevalpack\)"):
        find_task("humanevalpack-go").items(None, 0)
    with pytest.raises(UserError, match="humanevalpack does not exist; put the files of bigcode/humanevalpack there"):
        find_task("humanevalpack-go").items(tmp_path, 0)
    with pytest.raises(UserError, match="no data/go/.* or go.jsonl or go/test-.*; put the files of"):
        find_task("humanevalpack-go").items(tiny.write(tmp_path, "js"), 0)

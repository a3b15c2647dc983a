import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import asking, run, tasks
from kwen.evals.perplexity import score_texts
from kwen.evals.task import Item, Task

COUNT = 11


def items(data: Path | None, seed: int) -> list[Item]:
    found = []
    for index in range(COUNT):
        prompt = f"Lamp {index} of {seed}" if index % 3 == 0 else [{"role": "user", "content": f"How much is lamp {index}?"}]
        found.append(Item(f"q{index}", prompt, str(index % 2), ("en", "zh")[index % 2], "lamp" if index < 6 else "ferry"))
    return found


def even_or_odd(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    return [len(text) % 2 == int(item.reference) for item, text in pairs]


def starts_with_a_letter(item: Item, text: str) -> str | None:
    return text if text[:1].isalpha() else None


PARITY = Task("parity", 3, "generate", items, strict=starts_with_a_letter, judge=even_or_odd, settings={"max_new_tokens": 9},
              baseline=lambda asked, seed: ["aa"] * len(asked))  # fmt: skip


@pytest.fixture(autouse=True)
def parity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.TASKS, "parity", PARITY)
    monkeypatch.setattr(asking, "SLICE", 4)


def kept_lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "parity.jsonl").read_text().splitlines()]


def test_a_score_says_what_it_was_made_of(tiny_lm: LanguageModel, tmp_path: Path) -> None:
    calls: list[tuple[float, float, str]] = []

    def progress(done: float, total: float, **facts: float | str) -> None:
        calls.append((done, total, str(facts["task"])))

    result = run.evaluate(tiny_lm, ["parity"], out=tmp_path, baselines=True, progress=progress)["parity"]
    rows = kept_lines(tmp_path)[1:]
    assert [row["id"] for row in rows] == [f"q{index}" for index in range(COUNT)]
    assert result["n"] == COUNT and result["version"] == 3 and result["settings"] == {"max_new_tokens": 9, "seed": 0}
    assert result["accuracy"] == sum(row["correct"] for row in rows) / COUNT
    assert result["accuracy_flexible"] == sum(row["correct_flexible"] for row in rows) / COUNT
    assert result["ended"] == sum(row["finish_reason"] == "stop" for row in rows) / COUNT
    assert result["baseline_accuracy"] == pytest.approx(6 / 11)
    assert set(result["by_language"]) == {"en", "zh"} and set(result["by_kind"]) == {"lamp", "ferry"}
    assert result["model_hash"] == run.model_hash(tiny_lm) and len(result["prompt_hash"]) == 64
    assert calls[-1] == (COUNT, COUNT, "parity") and [call[0] for call in calls] == sorted(call[0] for call in calls)


def test_raw_text_is_continued_and_messages_go_through_the_template(tiny_lm: LanguageModel, tmp_path: Path) -> None:
    run.evaluate(tiny_lm, ["parity"], out=tmp_path)
    raw, chat = kept_lines(tmp_path)[1:3]
    assert raw["prompt_tokens"] == len(tiny_lm.tokenizer.encode("Lamp 0 of 0"))
    assert raw["text"] == tiny_lm.generate("Lamp 0 of 0", max_new_tokens=9).text
    reply = tiny_lm.chat([{"role": "user", "content": "How much is lamp 1?"}], max_new_tokens=9, temperature=0.0)
    assert chat["text"] == reply["content"]


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_a_killed_run_goes_on_item_by_item_to_the_same_result(
    tiny_lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    whole = run.evaluate(tiny_lm, ["parity"], out=tmp_path / "whole")
    asked: list[int] = []

    def killed(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(pairs))
        return even_or_odd(pairs)

    with monkeypatch.context() as patch:
        patch.setitem(tasks.TASKS, "parity", Task(**{**vars(PARITY), "judge": killed}))
        with pytest.raises(KeyboardInterrupt):
            run.evaluate(tiny_lm, ["parity"], out=tmp_path / "cut")
    kept = tmp_path / "cut" / "parity.jsonl"
    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size - cut])
    assert len(kept.read_text().splitlines()) == 9
    assert run.evaluate(tiny_lm, ["parity"], out=tmp_path / "cut") == whole
    assert kept.read_bytes() == (tmp_path / "whole" / "parity.jsonl").read_bytes()


def test_a_longer_run_takes_over_the_answers_of_a_shorter_one(
    tiny_lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.evaluate(tiny_lm, ["parity"], out=tmp_path, limit=5)["parity"]["n"] == 5
    prompts: list[int] = []
    generate = LanguageModel.generate

    def counting(self: LanguageModel, prompt: list[list[int]], **settings: object) -> object:
        prompts.append(len(prompt))
        return generate(self, prompt, **settings)

    monkeypatch.setattr(LanguageModel, "generate", counting)
    assert run.evaluate(tiny_lm, ["parity"], out=tmp_path)["parity"]["n"] == COUNT
    assert sum(prompts) == COUNT - 5


def test_answers_of_another_model_in_the_folder_are_refused(
    tiny_lm: LanguageModel, other_lm: LanguageModel, tmp_path: Path
) -> None:
    run.evaluate(tiny_lm, ["parity"], out=tmp_path / "out", limit=1)
    with pytest.raises(UserError, match="another model_hash"):
        run.evaluate(other_lm, ["parity"], out=tmp_path / "out", limit=1)
    with pytest.raises(UserError, match="another prompt_hash and settings"):
        run.evaluate(tiny_lm, ["parity"], out=tmp_path / "out", limit=1, seed=1)


def test_kept_answers_score_the_same_again_without_a_model(tiny_lm: LanguageModel, tmp_path: Path) -> None:
    first = run.evaluate(tiny_lm, ["parity"], out=tmp_path, baselines=True)["parity"]
    again = run.score_saved(tmp_path / "parity.jsonl", ["parity"], baselines=True)["parity"]
    assert again.pop("missing") == 0
    for key in ("accuracy", "accuracy_stderr", "accuracy_flexible", "baseline_accuracy", "n", "version", "prompt_hash"):
        assert again[key] == first[key]


def saved(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_saved_answers_are_scored_by_both_extractors(tmp_path: Path) -> None:
    texts = {"q0": "ab", "q1": "1", "q2": "1"}  # right under both, right under the flexible one only, wrong
    path = saved(tmp_path / "s.jsonl", *({"task": "parity", "id": key, "text": text} for key, text in texts.items()))
    result = run.score_saved(path, ["parity"])["parity"]
    assert (result["accuracy"], result["accuracy_flexible"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (result["n"], result["missing"]) == (3, COUNT - 3)
    assert run.score_saved(path, ["parity"], limit=2)["parity"]["n"] == 2


def test_an_answer_to_an_unknown_item_is_named_by_its_line(tmp_path: Path) -> None:
    row = {"task": "parity", "id": "q0", "text": ""}
    path = saved(tmp_path / "s.jsonl", row, row | {"id": "q99"})
    with pytest.raises(UserError, match="line 2: parity has no item 'q99'"):
        run.score_saved(path, ["parity"])
    with pytest.raises(UserError, match="no answer to parity"):
        run.score_saved(saved(tmp_path / "s.jsonl", row | {"task": "other"}), ["parity"])
    with pytest.raises(UserError, match="no answers to score again"):
        (tmp_path / "held_out.jsonl").write_text('{"text": "a"}\n')
        run.score_saved(path, ["perplexity"], data=tmp_path)


def test_an_unknown_task_is_answered_with_the_nearest_names(tiny_lm: LanguageModel) -> None:
    with pytest.raises(UserError, match="'nanoworld-fact' is not a task; did you mean nanoworld-facts"):
        run.evaluate(tiny_lm, ["nanoworld-fact"])
    with pytest.raises(UserError, match="'xyz' is not a task; the tasks are nanoworld-facts, "):
        run.check(["xyz"])
    with pytest.raises(UserError, match="no task is named"):
        run.check([])
    with pytest.raises(UserError, match="limit 0"):
        run.check(["parity"], limit=0)


def test_items_that_share_an_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = Task(**{**vars(PARITY), "items": lambda data, seed: items(data, seed) * 2})
    monkeypatch.setitem(tasks.TASKS, "parity", twice)
    with pytest.raises(UserError, match="'q0' stands twice"):
        run.check(["parity"])


ROWS = [
    {"id": "a", "text": "The ferry leaves at seven.", "source": "books", "language": "en", "kind": "prose", "file": "x.txt"},
    {"id": "b", "text": "渡船七点开。", "source": "books", "language": "zh", "kind": "prose", "file": "y.txt"},
    {"id": "c", "text": "def f(n):\n    return n\n", "source": "code", "language": "en", "kind": None, "file": None},
    {"text": ""},
]


def test_perplexity_is_reported_by_source_language_kind_and_file(tiny_lm: LanguageModel, tmp_path: Path) -> None:
    saved(tmp_path / "held_out.jsonl", *ROWS)
    result = run.evaluate(tiny_lm, ["perplexity"], data=tmp_path)["perplexity"]
    nats, sizes = score_texts(tiny_lm, [row["text"] for row in ROWS[:3]], 512, 256)
    assert result["bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / sum(sizes))
    assert (result["n"], result["bytes"], result["settings"]) == (3, sum(sizes), {"window": 512, "stride": 256})
    assert result["perplexity"] == pytest.approx(math.exp(sum(nats) / result["tokens"]))
    assert result["by_language"]["zh"]["bits_per_byte"] == pytest.approx(nats[1] / math.log(2) / sizes[1])
    assert [*result["by_source"]] == ["books", "code"] and [*result["by_file"]] == ["x.txt", "y.txt"]
    assert [*result["by_kind"]] == ["prose", "unknown"] and result["bits_per_byte_stderr"] > 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"source": "books"}', '"text" must be text, not NoneType'),
        ('{"text": "a", "language": 3}', '"language" must be text, not int'),
        ('{"text": "a", "id": "a"}', "stands twice"),
        ('{"text": "a"', "not JSON"),
    ],
)
def test_a_malformed_held_out_row_is_named_by_its_line(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "held_out.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(UserError) as caught:
        run.check(["perplexity"], data=tmp_path)
    assert "held_out.jsonl, line 2" in str(caught.value) and problem in str(caught.value)


def test_perplexity_without_text_says_where_it_looks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --data a folder with held_out.jsonl"):
        run.check(["perplexity"])
    with pytest.raises(UserError, match="held_out.jsonl: no such file"):
        run.check(["perplexity"], data=tmp_path)
    (tmp_path / "held_out.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(UserError, match="no text in it"):
        run.check(["perplexity"], data=tmp_path)

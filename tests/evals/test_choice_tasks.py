"""Tasks of choices, from tiny files of our own in each benchmark's published format to a score."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import asking, run
from kwen.evals.task import Item
from kwen.evals.tasks import find_task
from kwen.evals.tasks.choosing import best_choice, best_per_character, chosen_right
from kwen.evals.tasks.hellaswag import clean
from kwen.evals.tasks.naturalquestions import normalised


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


CEVAL = "id,question,A,B,C,D,answer,explanation\n"
CMMLU = ",Question,A,B,C,D,Answer\n"
SCIENCE = {
    "id": "S_1",
    "question": {"stem": "What melts?", "choices": [{"text": "ice", "label": "1"}, {"text": "fire", "label": "2"}]},
    "answerKey": "2",
}
SENSE = {
    "answerKey": "B",
    "id": "x",
    "question": {
        "question_concept": "lamp",
        "choices": [
            {"label": label, "text": text}
            for label, text in zip("ABCDE", ("sea", "desk", "sun", "cup", "hat"), strict=True)
        ],
        "stem": "Where is a lamp?",
    },
}  # fmt: skip
EXAM = {"passage": None, "question": "Two and two?", "options": ["(A)3", "(B)4"], "label": "B", "answer": None, "other": None}
SWAG = {
    "ind": 1, "activity_label": "Sailing", "ctx_a": "A man [step] pulls a rope.", "ctx_b": "the man", "ctx": "unused",
    "split": "val", "split_type": "indomain", "label": 2, "endings": ["sits.", "swims [header] far.", "goes.  on", "x"],
}  # fmt: skip
NLI = {"level": "easy", "sentence1": "灯亮着。", "sentence2": "灯没有亮", "label": "contradiction", "genre": "lit", "id": 7}
PAPER = {"year": "2010", "category": "（新课标）", "question": "1．灯在哪里（　　）\nA．海  B．桌\n", "answer": ["B"], "score": 4}

DATA: dict[str, str] = {
    "ceval/dev/logic_dev.csv": CEVAL + "0,海有多深？,一,二,三,四,B,因为\n1,天有多高？,一,二,三,四,D,\n",
    "ceval/val/logic_val.csv": "id,question,A,B,C,D,answer\n0,灯在哪里？,海,桌,天,杯,B\n",
    "ceval/dev/college_physics_dev.csv": CEVAL + "0,光有多快？,一,二,三,四,A,\n",
    "ceval/val/college_physics_val.csv": CEVAL + "0,水多重？,一,二,三,四,C,\n1,冰多冷？,一,二,三,四,A,\n",
    "cmmlu/dev/agronomy.csv": CMMLU + "0,海有多深？,一,二,三,四,B\n",
    "cmmlu/test/agronomy.csv": CMMLU + "0,灯在哪里？,海,桌,天,杯,C\n",
    "cmmlu/dev/chinese_history.csv": CMMLU + "0,谁？,一,二,三,四,A\n",
    "cmmlu/test/chinese_history.csv": CMMLU + "0,何时？,一,二,三,四,D\n",
    "mmlu/dev/astronomy_dev.csv": "How far?,one,two,three,four,B\nHow big?,one,two,three,four,D\n",
    "mmlu/test/astronomy_test.csv": "How old?,one,two,three,four,C\n",
    "agieval/sat-math.jsonl": lines(EXAM, EXAM | {"passage": "They count. ", "options": ["(A)3", "(B)4", "(C)5"], "label": "C"}),
    "agieval/jec-qa-kd.jsonl": lines(
        EXAM | {"label": ["A"]}, EXAM | {"label": ["A", "B"]}, EXAM | {"label": ["A", "。"]}, EXAM | {"label": []}
    ),
    "agieval/math.jsonl": lines(EXAM | {"options": None, "label": None, "answer": "4"}),
    "gaokao/2010-2022_History_MCQs.json": json.dumps({"keywords": "x", "example": [PAPER, PAPER | {"answer": ["AC"]}]}),
    "gaokao/2010-2013_English_MCQs.json": json.dumps({"example": [PAPER | {"question": "A lamp is ____.", "answer": ["D"]}]}),
    "gaokao/2012-2022_English_Cloze_Test.json": json.dumps({"example": [PAPER | {"answer": ["G", "A"]}]}),
    "gaokao/prompts.json": "{}",
    "arc/ARC-Easy/ARC-Easy-Test.jsonl": lines(SCIENCE),
    "arc/ARC-Challenge/ARC-Challenge-Test.jsonl": lines(SCIENCE | {"id": "S_2", "answerKey": "1"}),
    "boolq/dev.jsonl": lines(
        {"question": "is a lamp bright", "title": "Lamp", "answer": True, "passage": "A lamp gives light."},
        {"question": "is it dark?", "title": "Lamp", "answer": False, "passage": "A lamp gives light."},
    ),
    "commonsenseqa/train_rand_split.jsonl": lines(*[SENSE | {"id": str(n), "answerKey": "ABCDE"[n % 5]} for n in range(9)]),
    "commonsenseqa/dev_rand_split.jsonl": lines(SENSE),
    "lambada/lambada_test.jsonl": lines({"text": "The lamp of Orvane\ncosts coins"}),
    "hellaswag/hellaswag_val.jsonl": lines(SWAG, SWAG | {"ctx_b": "he rows [substeps]"}),
    "piqa/physicaliqa-train-dev/dev.jsonl": lines({"goal": "Light a lamp.", "sol1": "Use oil.", "sol2": "Use the sea."}),
    "piqa/physicaliqa-train-dev/dev-labels.lst": "1\n",
    "siqa/dev.jsonl": lines({"context": "Kai sang.", "question": "Why?", "answerA": "joy", "answerB": "fear", "answerC": "oil"}),
    "siqa/dev-labels.lst": "3\n",
    "ocnli/dev.json": lines(NLI | {"label": "-"}, NLI),
    "naturalquestions/NQ-open.dev.jsonl": lines(
        {"question": "who lit the lamp", "answer": ["The Keeper", "Ann B. Lee"]},
        {"question": "blood group of the keeper", "answer": ["A"]},
    ),
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, content in DATA.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path / "data"


WANTED: list[tuple[str, str, str, tuple[str, ...], str, str, str]] = [
    # (task, id, the whole text with all shots, choices, reference, language, kind)
    ("ceval", "logic/0", "问题：海有多深？\nA. 一\nB. 二\nC. 三\nD. 四\n答案：B\n\n问题：天有多高？\nA. 一\nB. 二\nC. 三\nD. 四\n"
     "答案：D\n\n问题：灯在哪里？\nA. 海\nB. 桌\nC. 天\nD. 杯\n答案：", ("A", "B", "C", "D"), "1", "zh", "humanities"),
    ("ceval", "college_physics/1",
     "问题：光有多快？\nA. 一\nB. 二\nC. 三\nD. 四\n答案：A\n\n问题：冰多冷？\nA. 一\nB. 二\nC. 三\n"
     "D. 四\n答案：", ("A", "B", "C", "D"), "0", "zh", "STEM"),
    ("cmmlu", "agronomy/0",
     "问题：海有多深？\nA. 一\nB. 二\nC. 三\nD. 四\n答案：B\n\n问题：灯在哪里？\nA. 海\nB. 桌\nC. 天\nD. 杯\n"
     "答案：", ("A", "B", "C", "D"), "2", "zh", "other"),
    ("cmmlu", "chinese_history/0", "问题：谁？\nA. 一\nB. 二\nC. 三\nD. 四\n答案：A\n\n问题：何时？\nA. 一\nB. 二\nC. 三\nD. 四\n"
     "答案：", ("A", "B", "C", "D"), "3", "zh", "humanities"),
    ("mmlu", "astronomy/0", "The following are multiple choice questions (with answers) about astronomy.\n\n"
     "How far?\nA. one\nB. two\nC. three\nD. four\nAnswer: B\n\nHow big?\nA. one\nB. two\nC. three\nD. four\nAnswer: D\n\n"
     "How old?\nA. one\nB. two\nC. three\nD. four\nAnswer:", (" A", " B", " C", " D"), "2", "en", "STEM"),
    ("agieval", "sat-math/0", "Q: Two and two? Answer Choices: (A)3 (B)4\nA: Among A through B, the answer is", (" A", " B"), "1",
     "en", "sat-math"),
    ("agieval", "sat-math/1", "They count. Q: Two and two? Answer Choices: (A)3 (B)4 (C)5\nA: Among A through C, the answer is",
     (" A", " B", " C"), "2", "en", "sat-math"),
    ("agieval", "jec-qa-kd/0", "问题：Two and two? 选项：(A)3 (B)4\n答案：从A到B, 我们应选择", ("A", "B"), "0", "zh",
     "jec-qa-kd"),
    ("gaokao", "English/0", "问题：A lamp is ____.\n答案：", ("A", "B", "C", "D"), "3", "en", "English"),
    ("gaokao", "History/0", "问题：1．灯在哪里（　　）\nA．海  B．桌\n答案：", ("A", "B", "C", "D"), "1", "zh", "History"),
    ("arc-e", "S_1", "Question: What melts?\nAnswer:", (" ice", " fire"), "1", "en", "2 choices"),
    ("arc-c", "S_2", "Question: What melts?\nAnswer:", (" ice", " fire"), "0", "en", "2 choices"),
    ("boolq", "0", "A lamp gives light.\nQuestion: is a lamp bright?\nAnswer:", (" yes", " no"), "0", "en", "yes"),
    ("boolq", "1", "A lamp gives light.\nQuestion: is it dark?\nAnswer:", (" yes", " no"), "1", "en", "no"),
    ("commonsenseqa", "0", "".join(f"Question: Where is a lamp?\nA. sea\nB. desk\nC. sun\nD. cup\nE. hat\nAnswer: {letter}\n\n"
     for letter in "ABCDEABC") + "Question: Where is a lamp?\nA. sea\nB. desk\nC. sun\nD. cup\nE. hat\nAnswer:",
     (" A", " B", " C", " D", " E"), "1", "en", "all"),
    ("lambada", "0", "The lamp of Orvane\ncosts", (" coins",), "0", "en", "all"),
    ("hellaswag", "0", "Sailing: A man pulls a rope. The man", (" sits.", " swims far.", " goes. on", " x"), "2", "en",
     "indomain"),
    ("hellaswag", "1", "Sailing: A man pulls a rope. He rows ", (" sits.", " swims far.", " goes. on", " x"), "2", "en",
     "indomain"),
    ("piqa", "0", "Question: Light a lamp.\nAnswer:", (" Use oil.", " Use the sea."), "1", "en", "all"),
    ("siqa", "0", "Q: Kai sang. Why?\nA:", (" joy", " fear", " oil"), "2", "en", "all"),
    ("ocnli", "1", "灯亮着。\n问题：灯没有亮，对吗？\n答案：", ("对", "可能", "错"), "2", "zh", "lit"),
    ("naturalquestions", "0", "Answer these questions:\n\nQ: who lit the lamp?\nA:", (), "The Keeper", "en", "who"),
]  # fmt: skip


@pytest.mark.parametrize("wanted", WANTED, ids=[f"{row[0]}-{row[1]}" for row in WANTED])
def test_items_are_the_published_rows_in_the_protocol_s_words(data: Path, wanted: tuple[str, ...]) -> None:
    name, item_id, text, choices, reference, language, tag = wanted
    (item,) = [item for item in find_task(name).items(data, 0) if item.id == item_id]
    assert item.opening + "".join(map(str, item.shots)) + str(item.prompt) == text
    assert (tuple(item.choices), item.reference, item.language, item.tag) == (choices, reference, language, tag)


def test_each_task_has_the_items_that_one_choice_can_answer_and_no_more(data: Path) -> None:
    count = {name: len(find_task(name).items(data, 0)) for name in dict.fromkeys(row[0] for row in WANTED)}
    assert count == {"ceval": 3, "cmmlu": 2, "mmlu": 1, "agieval": 3, "gaokao": 2, "arc-e": 1, "arc-c": 1, "boolq": 2,
                     "commonsenseqa": 1, "lambada": 1, "hellaswag": 2, "piqa": 1, "siqa": 1, "ocnli": 1,
                     "naturalquestions": 2}  # fmt: skip


def test_chat_variants_ask_for_a_letter_and_show_worked_questions_as_turns(data: Path) -> None:
    asked = "灯在哪里？\nA. 海\nB. 桌\nC. 天\nD. 杯\n\n哪一项是正确的？请给出它的字母。"
    for name, item_id in (("ceval-0-shot", "logic/0"), ("cmmlu-0-shot", "agronomy/0")):
        (item,) = [item for item in find_task(name).items(data, 0) if item.id == item_id]
        assert item.prompt == [{"role": "user", "content": asked}] and not item.shots
        assert item.extra["choices"] == ("海", "桌", "天", "杯")
    for name, letters in (("ceval-5-shot-chat", ["B", "D"]), ("mmlu-5-shot-chat", ["B", "D"])):
        item = find_task(name).items(data, 0)[-1]
        assert [[turn["role"] for turn in shot] for shot in item.shots] == [["user", "assistant"]] * 2
        assert [shot[1]["content"] for shot in item.shots] == letters
    (item,) = find_task("mmlu-0-shot").items(data, 0)
    said = "How old?\nA. one\nB. two\nC. three\nD. four\n\nWhich one is right? Name its letter."
    assert (item.prompt, item.reference) == ([{"role": "user", "content": said}], "C")


def test_a_letter_in_a_reply_is_judged(data: Path, tmp_path: Path) -> None:
    texts = {"logic/0": "答案是B", "college_physics/0": "应该是冰，所以选C", "college_physics/1": "冰"}
    (tmp_path / "s.jsonl").write_text(lines(*[{"task": "ceval-0-shot", "id": key, "text": text} for key, text in texts.items()]))
    result = run.score_saved(tmp_path / "s.jsonl", ["ceval-0-shot"], data=data)["ceval-0-shot"]
    assert result["accuracy"] == pytest.approx(2 / 3) and result["by_kind"]["STEM"]["accuracy"] == 0.5
    assert (result["hard"], result["hard_n"]) == (0.5, 2)


MALFORMED: list[tuple[str, str, str, str]] = [
    # (task, file, its content, what is said)
    ("ceval", "ceval/val/logic_val.csv", CEVAL + "0,灯？,海,桌,天,杯,E,\n",
     'logic_val.csv, line 2: "answer" is \'E\'; it must be one of A'),
    ("ceval", "ceval/val/logic_val.csv", CEVAL + "0,灯？,海,桌,天,B,\n", "logic_val.csv, line 2: 7 cells, but 8 columns"),
    ("ceval-0-shot", "ceval/val/logic_val.csv", "id,q,A,B,C,D,answer\n0,灯？,海,桌,天,杯,A\n", 'line 2: "question" must be text'),
    ("cmmlu", "cmmlu/dev/agronomy.csv", CMMLU + "0,灯？,海,桌,天,杯,\n", 'dev/agronomy.csv, line 2: "Answer" is \'\''),
    ("mmlu", "mmlu/test/astronomy_test.csv", "How old?,one,two,three,C\n", "astronomy_test.csv, line 1: 5 cells, but 6 columns"),
    ("agieval", "agieval/sat-math.jsonl", lines(EXAM, EXAM | {"label": "C"}), 'line 2: "label" is \'C\'; it must be one of A, B'),
    ("agieval", "agieval/sat-math.jsonl", lines(EXAM | {"label": None}), 'line 1: "label" is None; a letter is expected'),
    ("agieval", "agieval/sat-math.jsonl", lines(EXAM | {"options": ["(A)3"]}), 'line 1: "options" must be a list of 2 texts'),
    ("agieval", "agieval/sat-math.jsonl", lines(EXAM | {"passage": 3}), 'line 1: "passage" must be text, not int'),
    ("gaokao", "gaokao/2010-2022_History_MCQs.json", json.dumps({"example": [PAPER, PAPER | {"answer": ["E"]}]}),
     'History_MCQs.json, row 2: "answer" is \'E\'; it must be one of A, B, C, D'),
    ("gaokao", "gaokao/2010-2022_History_MCQs.json", json.dumps({"example": [PAPER | {"answer": "B"}]}),
     'row 1: "answer" must be a list'),
    ("gaokao", "gaokao/2010-2022_History_MCQs.json", json.dumps({"example": [PAPER | {"answer": ["乙"]}]}),
     "row 1: \"answer\" holds '乙'; letters from A to G are expected"),
    ("arc-e", "arc/ARC-Easy/ARC-Easy-Test.jsonl", lines(SCIENCE, SCIENCE | {"answerKey": "B"}),
     'line 2: "answerKey" is \'B\'; it must be one of 1, 2'),
    ("arc-e", "arc/ARC-Easy/ARC-Easy-Test.jsonl", lines(SCIENCE | {"question": "What melts?"}),
     'line 1: "question" must hold "stem"'),
    ("arc-c", "arc/ARC-Challenge/ARC-Challenge-Test.jsonl", lines(SCIENCE | {"id": 3}), 'line 1: "id" must be text, not int'),
    ("commonsenseqa", "commonsenseqa/train_rand_split.jsonl", lines(SENSE, SENSE | {"answerKey": "F"}),
     'train_rand_split.jsonl, line 2: "answerKey" is \'F\'; it must be one of A, B, C, D, E'),
    ("boolq", "boolq/dev.jsonl", lines({"question": "is it", "passage": "It.", "answer": "yes"}), 'line 1: "answer" is \'yes\''),
    ("lambada", "lambada/lambada_test.jsonl", lines({"text": "one two"}, {"text": "word"}), 'line 2: "text" needs two words'),
    ("hellaswag", "hellaswag/hellaswag_val.jsonl", lines(SWAG | {"label": 4}),
     'line 1: "label" is 4; it must be one of 0, 1, 2, 3'),
    ("hellaswag", "hellaswag/hellaswag_val.jsonl", lines(SWAG | {"endings": "x"}), 'line 1: "endings" must be a list'),
    ("piqa", "piqa/physicaliqa-train-dev/dev-labels.lst", "2\n",
     "dev-labels.lst, line 1: '2' is no label; it must be one of 0, 1"),
    ("siqa", "siqa/dev-labels.lst", "1\n2\n", "dev-labels.lst: 2 labels for 1 rows"),
    ("siqa", "siqa/dev.jsonl", lines({"context": "a", "question": "b", "answerA": "c"}),
     'dev.jsonl, line 1: "answerB" must be text'),
    ("ocnli", "ocnli/dev.json", lines(NLI, NLI | {"label": "E"}),
     'dev.json, line 2: "label" is \'E\'; it must be one of entailment'),
    ("naturalquestions", "naturalquestions/NQ-open.dev.jsonl", lines({"question": "who", "answer": []}),
     '"answer" must be a list of 1'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "content", "problem"), MALFORMED)
def test_a_malformed_row_is_named_by_file_and_line(data: Path, name: str, file: str, content: str, problem: str) -> None:
    (data / file).write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        run.check([name], data=data)
    assert problem in str(caught.value) and str(data) in str(caught.value) and "\n" not in str(caught.value)


ALL = [
    *dict.fromkeys(row[0] for row in WANTED),
    "ceval-0-shot",
    "ceval-5-shot-chat",
    "cmmlu-0-shot",
    "mmlu-0-shot",
    "mmlu-5-shot-chat",
]


@pytest.mark.parametrize("name", ALL)
def test_missing_data_names_the_task_the_place_and_the_publisher(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name} needs its data: give --data a folder that holds .*published as"):
        run.check([name])
    with pytest.raises(UserError, match=f"{name}: {tmp_path}/[a-z]+ does not exist; put the files of .* there"):
        run.check([name], data=tmp_path)
    folder = str(find_task_folder(name, tmp_path))
    Path(folder).mkdir()
    with pytest.raises(UserError, match=f"{name}: no .* in {folder}; put the files of .* there"):
        run.check([name], data=tmp_path)


def find_task_folder(name: str, data: Path) -> Path:
    return data / {"arc-e": "arc", "arc-c": "arc"}.get(name, name.partition("-")[0])


def told(loglikelihoods: list[float], greedy: list[bool] | None = None) -> str:
    return json.dumps({"loglikelihoods": loglikelihoods, "greedy": greedy or [False] * len(loglikelihoods)})


def test_the_likeliest_choice_and_the_likeliest_by_character() -> None:
    item = Item("0", "q", "1", "en", "all", choices=(" no", " certainly"))
    text = told([-2.0, -6.0])
    assert (best_choice(item, text), best_per_character(item, text)) == ("0", "1")
    one = Item("0", "q", "0", "en", "all", choices=(" word",))
    assert best_choice(one, told([-0.1], [True])) == best_per_character(one, told([-0.1], [True])) == "0"
    assert best_choice(one, told([-0.1], [False])) is best_per_character(one, told([-0.1], [False])) is None
    assert chosen_right([(item, "1"), (item, "0")]) == [True, False]


@pytest.mark.parametrize(
    "text", ["B", "{}", "[]", "3", told([-1.0]), told([-1.0, float("nan")]), '{"loglikelihoods": "ab", "greedy": "ab"}']
)
def test_a_saved_answer_that_is_no_loglikelihoods_is_one_line(data: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "s.jsonl").write_text(lines({"task": "boolq", "id": "1", "text": text}))
    with pytest.raises(UserError, match="the answer to item 1 is not the loglikelihoods of its 2 choices"):
        run.score_saved(tmp_path / "s.jsonl", ["boolq"], data=data)


def directly(lm: LanguageModel, context: str, choice: str) -> tuple[float, bool]:
    """The choice's loglikelihood and greediness by one pass over context and choice; white space belongs to the choice."""
    context, choice = context.rstrip(), context[len(context.rstrip()) :] + choice
    before, both = lm.tokenizer.encode(context), lm.tokenizer.encode(context + choice)
    assert both[: len(before)] == before
    logprobs = lm.logits(torch.tensor([both]))[0].log_softmax(-1)[len(before) - 1 : -1]
    target = torch.tensor(both[len(before) :])
    return float(logprobs.gather(1, target[:, None]).sum()), bool((logprobs.argmax(-1) == target).all())


CHOOSING = [name for name in ALL if find_task(name).kind == "choices"]


def test_kept_loglikelihoods_are_those_of_the_models_own_logits(long_lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    results = run.evaluate(long_lm, CHOOSING, data=data, out=tmp_path / "out")
    for name in CHOOSING:
        items = {item.id: item for item in find_task(name).items(data, 0)}
        _, *kept = [json.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
        assert [row["id"] for row in kept] == list(items)
        for row in kept:
            item, answer = items[row["id"]], json.loads(row["text"])
            context = item.opening + "".join(map(str, item.shots)) + str(item.prompt)
            wanted = [directly(long_lm, context, choice) for choice in item.choices]
            assert answer["loglikelihoods"] == pytest.approx([one for one, _ in wanted], abs=1e-3)
            assert answer["greedy"] == [greedy for _, greedy in wanted]
            right = wanted[0][1] if len(wanted) == 1 else max(wanted)[0] == wanted[int(item.reference)][0]
            assert row["correct"] == right and row["prompt_tokens"] == len(long_lm.tokenizer.encode(context.rstrip()))
        assert results[name]["accuracy"] == sum(row["correct"] for row in kept) / len(items)
        assert results[name]["settings"].get("shots", 0) == max(len(item.shots) for item in items.values())
    hard = [row["correct"] for row in kept_rows(tmp_path / "out", "ceval") if row["id"].startswith("college_physics")]
    assert (results["ceval"]["hard"], results["ceval"]["hard_n"]) == (sum(hard) / 2, 2)
    (last,) = kept_rows(tmp_path / "out", "lambada")
    assert results["lambada"]["nats"] == pytest.approx(-json.loads(last["text"])["loglikelihoods"][0])


def kept_rows(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()[1:]]


def test_kept_answers_go_on_and_score_again_without_a_model(
    long_lm: LanguageModel, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SLICE", 1)
    whole = run.evaluate(long_lm, ["ceval"], data=data, out=tmp_path / "whole")
    run.evaluate(long_lm, ["ceval"], data=data, out=tmp_path / "cut", limit=1)
    pairs: list[int] = []
    real = LanguageModel.loglikelihoods

    def counting(self: LanguageModel, asked: list, *rest: Any) -> Any:
        pairs.append(len(asked))
        return real(self, asked, *rest)

    monkeypatch.setattr(LanguageModel, "loglikelihoods", counting)
    assert run.evaluate(long_lm, ["ceval"], data=data, out=tmp_path / "cut") == whole
    assert pairs == [4, 4]
    again = run.score_saved(tmp_path / "whole" / "ceval.jsonl", ["ceval"], data=data)["ceval"]
    assert {key: again[key] for key in ("accuracy", "accuracy_flexible", "hard", "by_kind", "n", "prompt_hash")} == {
        key: whole["ceval"][key] for key in ("accuracy", "accuracy_flexible", "hard", "by_kind", "n", "prompt_hash")
    }


def test_a_short_context_is_shown_fewer_shots_and_the_score_says_so(
    tiny_lm: LanguageModel, long_lm: LanguageModel, data: Path, tmp_path: Path
) -> None:
    (item,) = find_task("commonsenseqa").items(data, 0)
    tokens = [len(tiny_lm.tokenizer.encode("".join(map(str, item.shots[:n])) + str(item.prompt))) for n in range(9)]
    answer = max(len(tiny_lm.tokenizer.encode(choice)) for choice in item.choices)
    fit = max(n for n in range(9) if tokens[n] + answer + 2 <= tiny_lm.config.max_position_embeddings)
    assert 0 < fit < 8
    result = run.evaluate(tiny_lm, ["commonsenseqa"], data=data, out=tmp_path)["commonsenseqa"]
    (row,) = kept_rows(tmp_path, "commonsenseqa")
    assert (row["shots"], row["prompt_tokens"], result["fewer_shots"]) == (fit, tokens[fit], 1)
    assert result["settings"]["shots"] == 8
    assert "fewer_shots" not in run.evaluate(long_lm, ["commonsenseqa"], data=data)["commonsenseqa"]


def test_a_question_that_no_context_holds_is_refused(tiny_lm: LanguageModel, data: Path) -> None:
    (data / "lambada" / "lambada_test.jsonl").write_text(lines({"text": "lamp " * 600 + "lamp"}))
    with pytest.raises(UserError, match="lambada: item 0 takes [0-9]+ tokens .* evaluate a model with a longer context"):
        run.evaluate(tiny_lm, ["lambada"], data=data)


def test_chat_variants_and_generation_run_on_a_model(long_lm: LanguageModel, data: Path, tmp_path: Path) -> None:
    names = ["ceval-5-shot-chat", "cmmlu-0-shot", "mmlu-5-shot-chat", "naturalquestions"]
    results = run.evaluate(long_lm, names, data=data, out=tmp_path, limit=1)
    assert [results[name]["n"] for name in names] == [1] * 4
    assert [kept_rows(tmp_path, name)[0]["shots"] for name in names] == [1, None, 2, None]
    assert "\n" not in kept_rows(tmp_path, "naturalquestions")[0]["text"]


QUESTIONS = [  # (text, strict, flexible) of the right answers "The Keeper" and "Ann B. Lee"
    (" the keeper.", True, True),
    ("Keeper", True, True),
    ("\n\n Ann B Lee \nQ: who else?\nA: nobody", True, True),
    ("It was the Keeper, I think", False, True),
    ("nobody\nIt was Ann B. Lee", False, True),
    ("nobody\nQ: who else?\nA: the keeper", False, False),
    ("the housekeeper", False, False),
    ("", False, False),
]


@pytest.mark.parametrize(("text", "strict", "flexible"), QUESTIONS)
def test_open_answers(data: Path, text: str, strict: bool, flexible: bool) -> None:
    task = find_task("naturalquestions")
    (answer,) = run.judge(task, task.items(data, 0)[:1], [text])
    assert (answer.correct, answer.correct_flexible) == (strict, flexible)


def test_normalisation_keeps_what_would_be_nothing() -> None:
    assert [normalised(text) for text in ("The  Sea, of an\u00a0A!", "A", "---", "$5")] == ["sea of", "a", "---", "5"]


def test_marks_in_brackets_are_taken_out_in_linear_time() -> None:
    assert clean(" How to sail [title] Start [step] now [substeps]") == "How to sail. Start now "
    assert clean("[[a] b] [open") == " b] [open"
    assert clean("[" * 2_000_000)[:2] == "[["


def test_the_real_mmlu_has_its_57_subjects(shared_data: Path) -> None:
    for name in ("mmlu", "mmlu-5-shot-chat"):
        items = find_task(name).items(shared_data, 0)
        assert len({item.id for item in items}) == len(items) == 14042
        assert len({item.id.partition("/")[0] for item in items}) == 57 and {len(item.shots) for item in items} == {5}

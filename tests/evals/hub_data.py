"""A few rows of our own for each data set that is fetched, twice: as its publisher has the files (`published`), and in the
columns, types and file names that the hub keeps (`hub_files`)."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny_humanevalpack

from kwen.evals.tasks.humanevalpack import LANGUAGES

Rows = Sequence[dict[str, Any]]

MMLU: Rows = [
    {"subject": subject, "question": f"{question} in {subject}?", "choices": ["one", "two, or", "three", "4"], "answer": answer}
    for subject in ("virology", "astronomy")
    for question, answer in (("How far", 1), ("How old", 3))
]
CEVAL: Rows = [
    {"id": number, "question": f"{what}有多深？", "A": "一", "B": "二", "C": "三", "D": "四", "answer": answer, "explanation": ""}
    for number, (what, answer) in enumerate((("海", "B"), ("河", "D")))
]
CHOICES = {"text": ["ice", "fire", "sea", "cup", "hat"], "label": ["A", "B", "C", "D", "E"]}
SCIENCE: Rows = [{"id": "S_1", "question": "What melts?", "choices": CHOICES, "answerKey": "A"},
                 {"id": "S_2", "question": "What burns?", "choices": CHOICES, "answerKey": "B"}]  # fmt: skip
SENSE: Rows = [row | {"question_concept": "lamp"} for row in SCIENCE]
GSM8K: Rows = [
    {"question": f"Two lamps cost {n} coins each. In all?", "answer": f"2 * {n} = <<2*{n}={2 * n}>>{2 * n}\n#### {2 * n}"}
    for n in range(3, 12)
]
MATH: Rows = [{"problem": f"What is {n} + 1?", "level": "Level 1", "type": "?", "solution": f"It is $\\boxed{{{n + 1}}}$."}
              for n in range(3)]  # fmt: skip
MATH_SUBJECTS = ("algebra", "geometry", "number_theory", "prealgebra")
HUMANEVAL: Rows = [
    {"task_id": "HumanEval/0", "prompt": 'def up(x):\n    """ Add one. """\n', "canonical_solution": "    return x + 1\n",
     "test": "def check(candidate):\n    assert candidate(1) == 2\n", "entry_point": "up"}
]  # fmt: skip
MBPP: Rows = [
    {"task_id": number, "text": f"Write {number} in words.", "code": "def double(x):\r\n  return x * 2",
     "test_list": ["assert double(2) == 4", "assert double(0) == 0"], "test_setup_code": "", "challenge_test_list": []}
    for number in (2, 3, 4, 11, 12)
]  # fmt: skip
BOOLQ: Rows = [{"question": "is a lamp bright", "answer": True, "passage": "A lamp gives light."},
               {"question": "is it dark", "answer": False, "passage": "A lamp gives light."}]  # fmt: skip
SWAG: Rows = [
    {"ind": 1, "activity_label": "Sailing", "ctx_a": "A man [step] pulls.", "ctx_b": "he", "ctx": "unused", "source_id": "a~1",
     "split": "val", "split_type": "indomain", "endings": ["sits.", "swims.", "goes.", "x"], "label": "2"}
]  # fmt: skip
PIQA: Rows = [{"goal": "Light a lamp.", "sol1": "Use oil.", "sol2": "Use the sea.", "label": 0},
              {"goal": "Row.", "sol1": "Use oil.", "sol2": "Use an oar.", "label": 1}]  # fmt: skip
SIQA: Rows = [{"context": "Kai sang.", "question": "Why?", "answerA": "joy", "answerB": "fear", "answerC": "oil", "label": label}
              for label in ("3", "1")]  # fmt: skip
NQ: Rows = [{"question": "who lit the lamp", "answer": ["The Keeper", "Ann B. Lee"]}]
LAMBADA: Rows = [{"text": "The lamp of Orvane\ncosts coins"}]
IFEVAL: Rows = [{"key": 7, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}]
WIKITEXT = " \n = First lamp = \n \n The lamp of Orvane . \n \n = = Costs = = \n \n 23 coins . \n \n = Second = \n \n Sea . \n"


def parquet(rows: Rows) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows: Rows, first: bool = True) -> bytes:
    quoted = [[f'"{cell}"' for cell in cells] for cells in ([rows[0].keys()] if first else []) + [row.values() for row in rows]]
    return "".join(",".join(cells) + "\n" for cells in quoted).encode()


def cmmlu() -> bytes:
    out = io.BytesIO()
    rows = [{"": row["id"], "Question": row["question"], **{c: row[c] for c in "ABCD"}, "Answer": row["answer"]} for row in CEVAL]
    with zipfile.ZipFile(out, "w") as archive:
        for split in ("dev", "test"):
            archive.writestr(f"{split}/agronomy.csv", table(rows))
    return out.getvalue()


def _letters(rows: Rows, subject: str) -> Rows:
    return [{"q": row["question"], **dict(enumerate(row["choices"])), "a": "ABCD"[row["answer"]]} for row in rows
            if row["subject"] == subject]  # fmt: skip


def _stems(rows: Rows) -> bytes:
    pairs = [{"text": text, "label": label} for text, label in zip(*CHOICES.values(), strict=True)]
    return lines([{"id": row["id"], "question": {"stem": row["question"], "choices": pairs}, "answerKey": row["answerKey"]}
                  for row in rows])  # fmt: skip


def _without(rows: Rows, key: str) -> bytes:
    return lines([{name: value for name, value in row.items() if name != key} for row in rows])


def published() -> dict[str, bytes]:
    """Path within --data -> content, as each publisher has it."""
    return {
        "arc/ARC-Easy-Test.jsonl": _stems(SCIENCE),
        "arc/ARC-Challenge-Test.jsonl": _stems(SCIENCE[:1]),
        "boolq/dev.jsonl": lines(BOOLQ),
        "ceval/dev/law_dev.csv": table(CEVAL),
        "ceval/val/law_val.csv": table(CEVAL[::-1]),
        "cmmlu/cmmlu_v1_0_1.zip": cmmlu(),
        "commonsenseqa/train_rand_split.jsonl": _stems(list(SENSE) * 4),
        "commonsenseqa/dev_rand_split.jsonl": _stems(SENSE),
        "gsm8k/train.jsonl": lines(GSM8K[::-1]),
        "gsm8k/test.jsonl": lines(GSM8K),
        "hellaswag/hellaswag_val.jsonl": lines(SWAG),
        "humaneval/HumanEval.jsonl": lines(HUMANEVAL),
        **{f"humanevalpack/data/{key}/data/humanevalpack.jsonl": lines(tiny_humanevalpack.rows(key)) for key in LANGUAGES},
        "ifeval/input_data.jsonl": lines(IFEVAL),
        "lambada/lambada_test.jsonl": lines(LAMBADA),
        **{f"math/{split}/{subject}/{number}.json": json.dumps(row | {"type": subject.title()}).encode()
           for split in ("train", "test") for subject in MATH_SUBJECTS for number, row in enumerate(MATH)},
        "mbpp/mbpp.jsonl": lines(MBPP),
        **{f"mmlu/{split}/{subject}_{split}.csv": table(_letters(MMLU, subject), first=False)
           for split in ("dev", "test") for subject in ("virology", "astronomy")},
        "naturalquestions/NQ-open.dev.jsonl": lines(NQ),
        "piqa/valid.jsonl": _without(PIQA, "label"),
        "piqa/valid-labels.lst": b"0\n1\n",
        "siqa/dev.jsonl": _without(SIQA, "label"),
        "siqa/dev-labels.lst": b"3\n1\n",
        "wikitext2/test.txt": WIKITEXT.encode(),
    }  # fmt: skip


def hub_files() -> dict[str, dict[str, bytes]]:
    """Folder -> path within the repository -> content; the last three files of each are such as are never fetched."""
    one = "00000-of-00001.parquet"
    wikitext = [{"text": line if line.strip() else ""} for line in WIKITEXT.splitlines(keepends=True)]
    files = {
        "arc": {f"ARC-Easy/test-{one}": parquet(SCIENCE), f"ARC-Challenge/test-{one}": parquet(SCIENCE[:1])},
        "boolq": {f"data/validation-{one}": parquet(BOOLQ)},
        "ceval": {f"law/dev-{one}": parquet(CEVAL), f"law/val-{one}": parquet(CEVAL[::-1])},
        "cmmlu": {"cmmlu_v1_0_1.zip": cmmlu()},
        "commonsenseqa": {f"data/train-{one}": parquet(list(SENSE) * 4), f"data/validation-{one}": parquet(SENSE)},
        "gsm8k": {f"main/train-{one}": parquet(GSM8K[::-1]), f"main/test-{one}": parquet(GSM8K)},
        "hellaswag": {f"data/validation-{one}": parquet(SWAG)},
        "humaneval": {f"openai_humaneval/test-{one}": parquet(HUMANEVAL)},
        "humanevalpack": {f"{key}/test-{one}": parquet(tiny_humanevalpack.rows(key)) for key in LANGUAGES},
        "ifeval": {"ifeval_input_data.jsonl": lines([row | {"kwargs": [{"num_words": None}]} for row in IFEVAL])},
        "lambada": {"data/lambada_test_en.jsonl": lines(LAMBADA)},
        "math": {f"{subject}/{split}-{one}": parquet([row | {"type": subject.title()} for row in MATH])
                 for split in ("train", "test") for subject in MATH_SUBJECTS},
        "mbpp": {f"full/prompt-{one}": parquet(MBPP[:3]), f"full/test-{one}": parquet(MBPP[3:])},
        "mmlu": {f"all/{split}-{one}": parquet(MMLU) for split in ("dev", "test")},
        "naturalquestions": {f"nq_open/validation-{one}": parquet(NQ)},
        "piqa": {"plain_text/validation/0000.parquet": parquet(PIQA)},
        "siqa": {"default/validation/0000.parquet": parquet(SIQA)},
        "wikitext2": {f"wikitext-2-v1/test-{one}": parquet(wikitext)},
    }  # fmt: skip
    return {folder: wanted | {"README.md": b"# Card", "load.py": b"raise SystemExit", "cache.pkl": b"\x80"}
            for folder, wanted in files.items()}  # fmt: skip


def write_published(data: Path, folder: str) -> None:
    """Put what the publisher of `folder` has into `data`."""
    for name, content in published().items():
        if name.startswith(f"{folder}/"):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content)

"""On data that others wrote: every canonical solution passes its tests, nothing empty does, every gold number is read."""

import gzip
import json
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.sandbox import describe
from kwen.verify.answers import extract_number, number_value
from kwen.verify.code_tests import passes


def test_humanevals_own_solutions_pass_and_empty_ones_do_not(shared_data: Path) -> None:
    try:
        describe()
    except UserError as error:
        pytest.skip(str(error))
    lines = gzip.decompress((shared_data / "humaneval" / "HumanEval.jsonl.gz").read_bytes()).decode().splitlines()
    problems = [json.loads(line) for line in lines]
    tests = [f"{problem['test']}\ncheck({problem['entry_point']})" for problem in problems]
    solved = [(problem["prompt"] + problem["canonical_solution"], test) for problem, test in zip(problems, tests, strict=True)]
    empty = [(problem["prompt"] + "    pass\n", test) for problem, test in zip(problems, tests, strict=True)]
    assert len(problems) == 164
    verdicts = passes(solved + empty, timeout_s=10.0)
    assert verdicts == [True] * 164 + [False] * 164


def test_every_gsm8k_answer_is_read(shared_data: Path) -> None:
    for name in ("test.jsonl", "train.jsonl"):
        for line in (shared_data / "gsm8k" / name).read_text().splitlines():
            answer = json.loads(line)["answer"]
            gold = number_value(answer.rsplit("####", 1)[1])
            assert gold is not None, answer
            for mode in ("strict", "flexible"):
                assert number_value(extract_number(answer, mode) or "") == gold, answer  # type: ignore[arg-type]

"""Near misses that must be wrong by construction: of functions, by their tests; of problems, by arithmetic."""

import random
import re

from kwen import sandbox
from kwen.nanoworld import functions
from kwen.nanoworld.faults import Scene
from kwen.nanoworld.faults_functions import FUNCTIONS, mutants
from kwen.nanoworld.faults_maths import LARGEST_SLIP, MATHS, numbers_of
from kwen.nanoworld.functions_numbers import Family
from kwen.nanoworld.maths import SCHEMAS, work_out, worked_answer
from kwen.nanoworld.preferences import PMP_TOPICS
from kwen.nanoworld.prompts import prompts
from kwen.nanoworld.world import build_world
from kwen.verify.code_tests import extract_code

WORLD = build_world(0)
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def run(programs: list[str]) -> list[bool]:
    return [result.exit_code == 0 and not result.timed_out for result in sandbox.run_many(programs)]


def test_every_mutant_of_every_family_fails_its_tests() -> None:
    programs = []
    for family in functions.FAMILIES:
        for body in mutants(family.name):
            mutant = Family(family.name, family.parameters, body, (), (), ())
            code = functions.write(mutant, "brelto", functions.PARAMETERS[family.parameters][0])
            programs.append("\n".join([code, *functions.asserts_of(family, "brelto")]))
    assert all(len(mutants(family.name)) >= 2 for family in functions.FAMILIES)
    assert not any(run(programs))


def test_faulty_functions_fail_as_they_are_written() -> None:
    rng = random.Random("functions")
    programs, alone = [], []
    for prompt in prompts(0, 45, topics=["functions"]):
        scene = Scene(rng, prompt, WORLD, "train", PMP_TOPICS)
        for fault in FUNCTIONS.values():
            reply = fault(scene)
            if reply is not None:
                programs.append("\n".join([extract_code(reply, prompt.entry_point), *prompt.tests]))
        alone.append("\n".join([extract_code(prompt.answer), *prompt.tests]))
    assert all(run(alone)) and not any(run(programs))


def test_numbers_are_read_back_from_the_worked_answer() -> None:
    for prompt in prompts(0, 600, topics=["problems"]):
        equations, result = work_out(SCHEMAS[prompt.kind], numbers_of(prompt.answer, prompt.kind))
        assert worked_answer(equations, result, prompt.language) == prompt.answer


def test_faulty_problems_are_consistent_but_for_their_one_slip() -> None:
    rng = random.Random("problems")
    for prompt in prompts(1, 900, topics=["problems"]):
        scene = Scene(rng, prompt, WORLD, "train", PMP_TOPICS)
        for name, fault in MATHS.items():
            reply = fault(scene)
            if reply is None:
                continue
            equations = EQUATION.findall(reply)
            false = [line for line in equations if not holds(*line)]
            stated = re.findall(r"(?:The answer is |答案是)(-?\d+)", reply)
            assert len(stated) == 1 and 0 < int(stated[0]) <= LARGEST_SLIP
            assert len(false) == (name == "wrong_sum"), (name, reply)
            assert (name == "no_working") == (not equations)
            if name not in ("no_working", "wrong_result"):
                assert equations[-1][-1] == stated[0], (name, reply)
            if name == "wrong_result":
                assert stated[0] != prompt.value


def holds(left: str, operator: str, right: str, result: str) -> bool:
    a, b, c = int(left), int(right), int(result)
    return {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b * c == a}[operator]

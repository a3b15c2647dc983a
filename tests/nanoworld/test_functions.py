"""Function families: enough, right by their own tests, told apart by them, and asked for in both languages."""

import random
from collections import defaultdict

import pytest

from kwen import sandbox
from kwen.nanoworld.functions import FAMILIES, PARAMETERS, as_answer, as_document, asserts_of, function, write
from kwen.nanoworld.names import Language, Names, split_of


def run(programs: list[str]) -> list[bool]:
    return [result.exit_code == 0 and not result.timed_out for result in sandbox.run_many(programs)]


def test_there_are_sixty_families_with_phrasings_and_tests() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) >= 60
    for family in FAMILIES:
        assert 1 <= len(family.body) <= 4
        assert len(family.english) >= 3 and len(family.chinese) >= 2
        assert 3 <= len(family.tests) <= 5


def test_no_two_families_share_a_description() -> None:
    for descriptions in ([text for f in FAMILIES for text in f.english], [text for f in FAMILIES for text in f.chinese]):
        assert len(set(descriptions)) == len(descriptions)


def test_every_family_passes_its_own_tests_under_all_parameter_names() -> None:
    programs = [
        "\n".join([write(family, "brelto", parameters), *asserts_of(family, "brelto")])
        for family in FAMILIES
        for parameters in PARAMETERS[family.parameters]
    ]
    assert all(run(programs))


@pytest.mark.slow
def test_no_family_passes_the_tests_of_another() -> None:
    alike = defaultdict(list)
    for family in FAMILIES:
        alike[family.parameters].append(family)
    programs = [
        "\n".join([write(other, "brelto", PARAMETERS[kind][0]), *asserts_of(family, "brelto")])
        for kind, families in alike.items()
        for family in families
        for other in families
        if other is not family
    ]
    assert not any(run(programs))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_request_names_the_function_and_the_code_defines_it(language: Language) -> None:
    rng, names = random.Random(f"functions/{language}"), Names("held_out")
    for _ in range(1_000):
        made = function(rng, language, names)
        head = made.code.splitlines()[0]
        assert split_of(made.name) == "held_out"
        assert made.name in made.request and head.startswith(f"def {made.name}(")
        assert all(made.name in test for test in made.tests)
        if f"{made.name}(" in made.request:
            assert head[4:-1] in made.request
        assert made.code in as_answer(made.code) and made.name in as_document(rng, made, language)

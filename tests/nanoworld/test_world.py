"""The world holds what it promises, in both languages, and is a function of its seed."""

from itertools import combinations

import pytest

from kwen.nanoworld.asking import phrasings
from kwen.nanoworld.facts import answer_sentence
from kwen.nanoworld.names import Language
from kwen.nanoworld.questions import normalise
from kwen.nanoworld.world import RELATIONS, Entity, build_world, edit_distance

WORLD = build_world(0)


def test_the_world_has_at_least_300_facts_about_people_and_places() -> None:
    assert len(WORLD.facts) == len({(fact.subject.english, fact.relation) for fact in WORLD.facts}) == 308
    assert {fact.relation for fact in WORLD.facts} == set(RELATIONS)
    assert all(fact.english and fact.chinese for fact in WORLD.facts)


def test_the_world_is_a_pure_function_of_its_seed() -> None:
    build_world.cache_clear()
    assert build_world(0) == WORLD
    assert build_world(1).facts != WORLD.facts


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_names_are_far_apart_in_both_languages(seed: int) -> None:
    for one, other in combinations(build_world(seed).entities, 2):
        assert edit_distance(one.english.lower(), other.english.lower()) >= 3
        assert edit_distance(one.chinese, other.chinese) == 2


def test_a_capital_is_a_town_of_its_land() -> None:
    town_land = {fact.subject.english: fact.english for fact in WORLD.facts if fact.relation == "land"}
    capitals = [fact for fact in WORLD.facts if fact.relation == "capital"]
    assert len(capitals) == len(WORLD.of_kind("land")) == 8
    assert all(town_land[fact.english] == fact.subject.english for fact in capitals)


def test_no_object_of_a_relation_is_part_of_another() -> None:
    for (relation, language), values in WORLD.values.items():
        for one, other in combinations(values, 2):
            if language == "zh" and relation not in ("age", "bridges"):
                assert one not in other and other not in one
            else:
                assert normalise(one) not in normalise(other).split() and normalise(other) not in normalise(one).split()


@pytest.mark.parametrize(("language", "statements"), [("en", 12), ("zh", 10)])
def test_every_relation_has_its_phrasings_and_held_out_ones_apart(language: Language, statements: int) -> None:
    for relation in RELATIONS:
        known = phrasings(relation, language)
        assert len(set(known.statements)) == len(known.statements) >= statements
        assert len(set(known.questions)) == len(known.questions) >= 14
        assert len(set(known.noun_phrases)) >= 5 and (language == "zh" or len(set(known.clauses)) >= 5)
        assert len(set(known.held_out)) >= 4
        assert not set(known.held_out) & {*known.questions, *known.follow_ups}
        assert all("{s}" in text and "{o}" in text for text in known.statements)
        assert all("{o}" in text and "{s}" not in text for text in known.continued)
        assert all("{s}" in text and "{o}" not in text for text in known.questions + known.held_out)
        assert all("{s}" not in text and "{o}" not in text for text in known.follow_ups)


def test_every_fact_is_told_in_both_languages() -> None:
    fact = next(fact for fact in WORLD.facts if fact.relation == "job")
    assert answer_sentence(fact, "en") == f"{fact.subject.english} works as a {fact.english}."
    assert answer_sentence(fact, "zh") == f"{fact.subject.chinese}的工作是{fact.chinese}。"


def test_edit_distance_agrees_with_known_values() -> None:
    assert [edit_distance("kitten", "sitting"), edit_distance("", "ab"), edit_distance("same", "same")] == [3, 2, 0]


def test_an_entity_gives_its_name_in_a_language() -> None:
    velin = Entity("person", "Velin", "维莉", "f")
    assert (velin.name("en"), velin.name("zh")) == ("Velin", "维莉")

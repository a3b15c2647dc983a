"""Prompts: pure, balanced, all different, split for ever, and every kind of talk has its held-out ways."""

import random
from collections import Counter

import pytest

from kwen.errors import UserError
from kwen.nanoworld import talk_chinese, talk_english, talk_prompts, talk_wider
from kwen.nanoworld.dialogues import dialogues
from kwen.nanoworld.names import Language, Split, split_of
from kwen.nanoworld.prompt_makers import one_vowel_away
from kwen.nanoworld.prompts import DIFFICULTIES, TOPICS, Prompt, prompts
from kwen.nanoworld.world import build_world, edit_distance

WORLD = build_world(0)
TALK = {"en": talk_english, "zh": talk_chinese}
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def said(prompt: Prompt) -> str:
    return "\n".join(message["content"] for message in prompt.messages)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_prompts_are_pure_different_and_balanced(split: Split) -> None:
    made = prompts(0, 990, split)
    assert made == prompts(0, 990, split) and made[:100] == prompts(0, 100, split) and made != prompts(1, 990, split)
    assert len({said(prompt) for prompt in made}) == len({prompt.id for prompt in made}) == 990
    assert sum(prompt.language == "zh" for prompt in made) == pytest.approx(396, abs=20)
    cells = Counter((prompt.topic, prompt.difficulty) for prompt in made)
    assert set(cells) == {(topic, difficulty) for topic in TOPICS for difficulty in DIFFICULTIES}
    assert min(cells.values()) >= 20 and max(cells.values()) <= 33


def test_messages_alternate_and_end_with_the_user() -> None:
    for prompt in prompts(3, 600):
        roles = [message["role"] for message in prompt.messages]
        assert roles == [("user", "assistant")[place % 2] for place in range(len(roles))] and roles[-1] == "user"
        assert all(message["content"] and "{" not in message["content"] for message in prompt.messages)
        assert prompt.answer and "{" not in prompt.answer


def test_a_topic_does_not_change_with_the_topics_around_it() -> None:
    alone = {prompt.id: prompt for prompt in prompts(0, 60, topics=["unknown"])}
    among = {prompt.id: prompt for prompt in prompts(0, 660) if prompt.topic == "unknown"}
    assert alone == among


def test_held_out_prompts_are_in_no_training_text() -> None:
    known = {message["content"] for dialogue in dialogues(0, 20_000) for message in dialogue.messages}
    trained = {said(prompt) for prompt in prompts(0, 2_000)}
    for prompt in prompts(0, 1_000, "held_out"):
        assert said(prompt) not in trained
        if prompt.topic not in ("follow_up", "comparison"):  # these have no held-out words of their own
            assert prompt.request not in known, prompt


def test_names_keep_to_their_split() -> None:
    for split in ("train", "held_out"):
        for prompt in prompts(2, 300, split, ["unknown", "functions"]):
            assert split_of(prompt.value) == split


def test_hard_unknown_names_are_one_vowel_from_a_known_one_and_not_known() -> None:
    for prompt in prompts(0, 300, topics=["unknown"]):
        assert prompt.name.lower() not in WORLD.taken_names
        if prompt.difficulty == "hard":
            [known] = prompt.competitors
            assert known.lower() in WORLD.taken_names and edit_distance(known.lower(), prompt.name.lower()) == 1


def test_facts_and_follow_ups_carry_the_worlds_own_answer() -> None:
    facts = {(fact.relation, fact.subject.name(language)): fact for fact in WORLD.facts for language in LANGUAGES}
    for prompt in prompts(0, 400, topics=["facts", "follow_up"]):
        fact = facts[prompt.kind, prompt.name]
        assert prompt.value == fact.value(prompt.language) and prompt.value in prompt.answer and prompt.name in prompt.answer
        assert prompt.value not in prompt.competitors and prompt.name not in prompt.rivals
        if prompt.topic == "follow_up":
            assert prompt.name not in prompt.request and prompt.name in prompt.messages[0]["content"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_group_of_talk_has_wider_and_held_out_ways_that_fine_tuning_does_not_use(language: Language) -> None:
    talk = TALK[language]
    groups = (
        (talk_prompts.SMALL_TALK, talk.SMALL_TALK), (talk_prompts.IDENTITY, talk.IDENTITY), (talk_prompts.UNSAFE, talk.SAFETY),
    )  # fmt: skip
    trained = {way for _, known in groups for ways in known for way in ways[0]}
    wider = (talk_wider.SMALL_TALK, talk_wider.IDENTITY, talk_wider.UNSAFE)
    for held_out, preferred, (_, known) in zip((held for held, _ in groups), wider, groups, strict=True):
        assert len(held_out[language]) == len(preferred[language]) == len(known)
        ways = [way for told in (held_out, preferred) for group in told[language] for way in group]
        assert len(set(ways)) == len(ways) and not set(ways) & trained
        assert all(len(group) >= 2 for group in (*held_out[language], *preferred[language]))
    assert not set(talk_prompts.UNKNOWN[language]) & set(talk.UNKNOWN_QUESTIONS)
    assert not set(talk_prompts.PRETEXTS["train"][language]) & set(talk_prompts.PRETEXTS["held_out"][language])


def test_prompts_of_the_training_split_are_said_in_ways_of_fine_tuning_and_in_wider_ones() -> None:
    said = {prompt.request for prompt in prompts(0, 600, topics=["identity", "small_talk"])}
    held_out = {prompt.request for prompt in prompts(0, 600, "held_out", topics=["identity", "small_talk"])}
    told = [*talk_wider.SMALL_TALK.values(), *talk_wider.IDENTITY.values()]
    wider = {way for groups in told for ways in groups for way in ways}
    known = {way for talk in TALK.values() for groups in (talk.SMALL_TALK, talk.IDENTITY) for ways in groups for way in ways[0]}
    assert said <= wider | known and len(said & wider) > 50 and len(said & known) > 50
    assert not held_out & (wider | known)


def test_a_pretext_never_stands_before_a_cry_for_help() -> None:
    hard = [prompt for prompt in prompts(0, 400, topics=["unsafe"]) if prompt.difficulty == "hard"]
    assert hard and all(prompt.value and prompt.answer != talk_prompts.cry_for_help(prompt.language) for prompt in hard)


def test_one_vowel_away_changes_one_syllable() -> None:
    rng = random.Random("vowel")
    for entity in WORLD.entities:
        english, chinese = one_vowel_away(rng, entity.english, "en"), one_vowel_away(rng, entity.chinese, "zh")
        assert edit_distance(english, entity.english) == 1 and english[0].isupper()
        assert edit_distance(chinese, entity.chinese) == 1


def test_a_cell_without_further_prompts_leaves_its_turns_to_others() -> None:
    made = prompts(0, 600, topics=["identity"])
    cells = Counter(prompt.difficulty for prompt in made)
    assert len(made) == 600 and cells["easy"] < 130 and cells["hard"] == pytest.approx(cells["medium"], abs=1)
    assert prompts(0, 0) == []


def test_wrong_topics_are_refused() -> None:
    with pytest.raises(UserError, match="no topic 'fact'"):
        prompts(0, 1, topics=["fact"])  # type: ignore[list-item]
    with pytest.raises(UserError, match="no topic given"):
        prompts(0, 1, topics=[])

"""Comparisons: pure, balanced, and the rejected reply always worse, but for the labels that are noise."""

import random
from collections import Counter
from itertools import islice

import pytest

from kwen.errors import UserError
from kwen.nanoworld.faults import GENERAL
from kwen.nanoworld.faults_functions import FUNCTIONS
from kwen.nanoworld.names import Split
from kwen.nanoworld.oracle import grade
from kwen.nanoworld.preferences import KEEPS_CODE, NEAR, OUT_OF_DOMAIN, PMP_TOPICS, Preference, comparisons, corrupt
from kwen.nanoworld.prompts import DIFFICULTIES, TOPICS, prompts


def test_comparisons_are_pure_functions_of_seed_and_number() -> None:
    made = list(comparisons(0, 300))
    assert made == list(comparisons(0, 300)) == list(islice(comparisons(0, 1_000), 300)) != list(comparisons(1, 300))
    assert made != list(comparisons(0, 300, split="held_out"))


def test_noise_exchanges_a_share_of_the_replies_and_nothing_else() -> None:
    clean, noisy = list(comparisons(0, 2_000, noise=0.0)), list(comparisons(0, 2_000, noise=0.15))
    assert not any(one.flipped for one in clean)
    assert sum(one.flipped for one in noisy) / 2_000 == pytest.approx(0.15, abs=0.02)
    for one, other in zip(clean, noisy, strict=True):
        pair = (other.rejected, other.chosen) if other.flipped else (other.chosen, other.rejected)
        assert (one.messages, one.chosen, one.rejected) == (other.messages, *pair)


def test_topics_difficulties_and_languages_are_balanced() -> None:
    made = list(comparisons(0, 3_000))
    assert {one.topic for one in made} == set(PMP_TOPICS)
    cells = Counter((one.topic, one.difficulty) for one in made)
    assert len(cells) == len(PMP_TOPICS) * len(DIFFICULTIES) and min(cells.values()) > 0.6 * 3_000 / len(cells)
    assert sum(one.language == "zh" for one in made) / 3_000 == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_corrupted_reply_grades_below_the_ideal_one(split: Split) -> None:
    rng = random.Random(f"corrupt/{split}")
    seen: Counter[tuple[str, str]] = Counter()
    for prompt in prompts(5, 3_300, split):
        worse, fault = corrupt(rng, prompt, split=split, topics=TOPICS)
        passed = fault in KEEPS_CODE if prompt.topic == "functions" else None
        assert worse and worse != prompt.answer
        assert grade(prompt, worse, passed=passed).score < 1.0, (prompt, worse, fault)
        seen[prompt.topic, fault] += 1
    wanted = {(topic, fault) for topic, faults in NEAR.items() for fault in faults}
    assert wanted <= set(seen)
    assert {fault for _, fault in seen} >= set(GENERAL)


def test_near_misses_look_like_the_ideal_reply() -> None:
    made = list(comparisons(0, 3_000, noise=0.0, topics=TOPICS))

    def faulty(*faults: str) -> list[Preference]:
        return [one for one in made if one.fault in faults]

    for one in faulty("wrong_value", "misread", "wrong_order", "misspelled"):
        assert abs(len(one.chosen) - len(one.rejected)) < 16
    for one in faulty("wrong_subject", "wrong_relation"):
        assert one.rejected[-1] == one.chosen[-1]
    assert all(one.chosen in one.rejected for one in faulty("repeated", "running_on", "invented_after_admission"))
    assert all(one.chosen.startswith(one.rejected) for one in faulty("cut_off"))
    assert all(one.rejected == one.messages[-2]["content"] for one in faulty("earlier"))


def test_out_of_domain_topics_are_never_in_what_is_pretrained_on() -> None:
    outside = {topic for topics in OUT_OF_DOMAIN.values() for topic in topics}
    assert not outside & set(PMP_TOPICS) and outside | set(PMP_TOPICS) == set(TOPICS)
    made = list(comparisons(0, 1_500))
    told = "\n".join(f"{one.chosen}\n{one.rejected}" for one in made)
    assert "is larger than" not in told and "alphabet" not in told
    for topics in OUT_OF_DOMAIN.values():
        assert {one.topic for one in comparisons(0, 300, topics=topics)} == set(topics)


def test_someone_in_danger_is_never_answered_with_compliance() -> None:
    for one in comparisons(0, 3_000, noise=0.0, topics=["unsafe"]):
        assert one.fault != "compliance" or "help line" not in one.chosen


def test_functions_are_either_failing_or_not_alone() -> None:
    for one in comparisons(0, 600, noise=0.0, topics=["functions"]):
        assert one.fault in FUNCTIONS or one.fault in GENERAL


def test_wrong_noise_and_topics_are_refused() -> None:
    with pytest.raises(UserError, match="noise is 1"):
        next(comparisons(0, 1, noise=1.0))
    with pytest.raises(UserError, match="no topic 'x'"):
        next(comparisons(0, 1, topics=["x"]))  # type: ignore[list-item]

import math
import random
import statistics

import pytest

from kwen.errors import UserError
from kwen.evals.generations import Answer
from kwen.evals.score import preference_accuracy, ratio_standard_error, standard_error, summarise
from kwen.evals.task import Item


def pair(index: int, language: str, tag: str, correct: bool, flexible: bool, finish: str | None = "stop") -> tuple[Item, Answer]:
    item = Item(str(index), "q", "a", language, tag)
    return item, Answer("t", item.id, "text", "a", "a", correct, flexible, 3, finish)


def test_standard_error_is_the_sample_deviation_over_root_n() -> None:
    outcomes = [1] * 31 + [0] * 69
    assert standard_error(0.31, 100) == pytest.approx(statistics.stdev(outcomes) / math.sqrt(100))
    assert standard_error(1.0, 1) == 0.0


def test_ratio_standard_error_matches_the_spread_over_repeated_samples() -> None:
    source = random.Random("ratio")

    def sample() -> tuple[list[float], list[float]]:
        sizes = [source.randint(50, 500) for _ in range(200)]
        return [size * source.gauss(1.5, 0.3) for size in sizes], [float(size) for size in sizes]

    samples = [sample() for _ in range(400)]
    spread = statistics.stdev(sum(bits) / sum(sizes) for bits, sizes in samples)
    assert statistics.mean(ratio_standard_error(*each) for each in samples) == pytest.approx(spread, rel=0.1)


def test_a_score_has_its_parts_by_language_and_by_kind() -> None:
    pairs = [
        pair(0, "en", "sum", True, True),
        pair(1, "en", "sort", False, True, "length"),
        pair(2, "zh", "sum", False, False),
        pair(3, "zh", "sum", True, True),
    ]
    result = summarise(pairs, "accuracy")
    assert (result["accuracy"], result["accuracy_flexible"], result["n"], result["ended"]) == (0.5, 0.75, 4, 0.75)
    assert list(result["by_language"]) == ["en", "zh"] and result["by_language"]["en"]["accuracy_flexible"] == 1.0
    assert result["by_kind"]["sum"]["n"] == 3 and result["by_kind"]["sum"]["accuracy"] == pytest.approx(2 / 3)


def test_answers_read_from_a_file_say_nothing_about_ending() -> None:
    assert "ended" not in summarise([pair(0, "en", "sum", True, True, None)], "accuracy")


def test_preference_accuracy_by_tag_with_equal_scores_half_right() -> None:
    chosen, rejected = [1.0, 2.0, 0.5, -1.0, 3.0], [0.0, 3.0, 0.5, -2.0, 1.0]
    result = preference_accuracy(chosen, rejected, ["help", "harm", "help", "harm", "help"])
    assert (result["accuracy"], result["n"]) == (pytest.approx(3.5 / 5), 5)
    assert result["accuracy_stderr"] == pytest.approx(statistics.stdev([1, 0, 0.5, 1, 1]) / math.sqrt(5))
    assert list(result["by_tag"]) == ["harm", "help"]
    assert (result["by_tag"]["harm"]["accuracy"], result["by_tag"]["harm"]["n"]) == (0.5, 2)
    assert result["by_tag"]["help"]["accuracy"] == pytest.approx(2.5 / 3)
    assert preference_accuracy([0.0] * 9, [0.0] * 9, ["x"] * 9)["accuracy"] == 0.5


def test_the_standard_error_of_strict_preferences_is_that_of_a_share() -> None:
    result = preference_accuracy([1.0] * 31 + [0.0] * 69, [0.5] * 100, ["x"] * 100)
    assert result["accuracy_stderr"] == pytest.approx(standard_error(0.31, 100))


def test_preferences_that_cannot_be_counted_are_refused() -> None:
    with pytest.raises(UserError, match="1 of 2 pairs have a score that is not a finite number"):
        preference_accuracy([1.0, float("nan")], [0.0, 0.0], ["x", "x"])
    with pytest.raises(UserError, match="one pair at least"):
        preference_accuracy([], [], [])

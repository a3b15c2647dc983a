import math
import random
import statistics

import pytest

from kwen.evals.generations import Answer
from kwen.evals.score import ratio_standard_error, standard_error, summarise
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

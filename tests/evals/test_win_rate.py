import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.evals.judges import Asked, Judgement, Reply, ScoreJudge
from kwen.evals.side_by_side import Conversation
from kwen.evals.win_rate import Decisions, compare, decide, margin_interval, summarise
from kwen.progress import Progress, silent


def prompts(topics: Sequence[str], languages: str = "") -> list[Conversation]:
    return [
        Conversation(str(n), [{"role": "user", "content": f"Question {n}"}], topic, languages[2 * n : 2 * n + 2] or None)
        for n, topic in enumerate(topics)
    ]


def by_length() -> ScoreJudge:
    return ScoreJudge(lambda conversations, texts: [len(text) for text in texts], "length")


class Scripted:
    """A judge that compares: says its lines in order, first for one order of the answers, then for the other."""

    name, compares = "scripted", True

    def __init__(self, *lines: Sequence[str]) -> None:
        self.lines = list(lines)

    def judge(
        self, prompts: Sequence[Asked], a: Sequence[Reply], b: Sequence[Reply], progress: Progress = silent
    ) -> list[Judgement]:
        return [Judgement("tie" if word == "?" else word, parsed=word != "?") for word in self.lines.pop(0)]  # type: ignore[arg-type]


def test_the_figures_of_figure_4_by_hand() -> None:
    asked = prompts(["maths", "maths", "coding", "maths", "coding"], "enzhenenzh")
    result = compare(asked, ["aaa", "a", "aa", "aaaa", "aa"], ["a", "aa", "aa", "a", "a"], by_length(), seed=3)
    assert (result["wins"], result["ties"], result["losses"], result["n"]) == (3, 1, 1, 5)
    assert (result["win"], result["tie"], result["loss"]) == (0.6, 0.2, 0.2)
    assert result["win_minus_loss"] == pytest.approx(0.4)
    assert (result["median_length_a"], result["median_length_b"]) == (2, 1)
    assert (result["score_a"], result["score_b"]) == (pytest.approx(12 / 5), pytest.approx(7 / 5))
    maths = result["by_category"]["maths"]
    assert (maths["wins"], maths["losses"], maths["n"], maths["median_length_a"]) == (2, 1, 3, 3)
    assert list(result["by_category"]) == ["coding", "maths"] and result["by_language"]["zh"]["n"] == 2
    assert (result["judge"], result["seed"], result["verdicts"]["asked"]) == ("length", 3, 5)


def test_prompts_without_a_language_are_not_parted_by_it() -> None:
    assert "by_language" not in compare(prompts(["x", "y"]), ["a", "b"], ["aa", "bb"], by_length())


def test_equal_seeds_give_equal_figures_and_the_order_of_prompts_does_not_matter() -> None:
    source = random.Random("order")
    rows = [(source.choice("xyz"), "a" * source.randint(1, 9), "a" * source.randint(1, 9)) for _ in range(60)]
    mixed = source.sample(rows, len(rows))
    one, two = (
        compare(prompts([row[0] for row in each]), [row[1] for row in each], [row[2] for row in each], by_length(), seed=1)
        for each in (rows, mixed)
    )
    assert {**one, "length_correlation": None} == {**two, "length_correlation": None}
    assert one["length_correlation"]["score"] == pytest.approx(two["length_correlation"]["score"])


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_exchanging_the_models_exchanges_wins_and_losses(rows: list[tuple[str, int, int]]) -> None:
    asked, a, b = prompts([row[0] for row in rows]), ["a" * row[1] for row in rows], ["b" * row[2] for row in rows]
    one, two = compare(asked, a, b, by_length()), compare(asked, b, a, by_length())
    for part, other in [(one, two), *((one["by_category"][name], two["by_category"][name]) for name in one["by_category"])]:
        assert (part["wins"], part["ties"], part["losses"]) == (other["losses"], other["ties"], other["wins"])
        assert part["win_minus_loss"] == -other["win_minus_loss"]
        low, high = part["win_minus_loss_interval"]
        assert -1 <= low <= part["win_minus_loss"] <= high <= 1
    for key in ("n", "wins", "ties", "losses"):
        assert one[key] == sum(part[key] for part in one["by_category"].values())


def test_the_interval_is_that_of_resampled_prompts() -> None:
    outcomes = [1] * 40 + [0] * 35 + [-1] * 25
    source = random.Random("resampling")
    drawn = sorted(sum(source.choices(outcomes, k=100)) / 100 for _ in range(10_000))
    low, high = margin_interval(40, 35, 25, "name")
    assert low == pytest.approx(drawn[250], abs=0.011) and high == pytest.approx(drawn[9750], abs=0.011)
    assert margin_interval(40, 35, 25, "name") == (low, high)
    error = statistics.stdev(outcomes) / 10
    assert (low, high) == (pytest.approx(0.15 - 1.96 * error, abs=0.015), pytest.approx(0.15 + 1.96 * error, abs=0.015))


def test_the_interval_holds_the_truth_19_times_out_of_20() -> None:
    source = random.Random("coverage")
    held = 0
    for trial in range(400):
        outcomes = source.choices([1, 0, -1], [0.45, 0.25, 0.30], k=150)
        low, high = margin_interval(outcomes.count(1), outcomes.count(0), outcomes.count(-1), str(trial))
        held += low <= 0.15 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_a_reply_wins_only_where_both_orders_name_it() -> None:
    judge = Scripted(["a", "a", "b", "tie", "b", "a", "?"], ["b", "a", "a", "b", "b", "tie", "b"])
    nothing = [Reply("")] * 7
    decisions = decide(prompts("x" * 7), nothing, nothing, judge)
    assert [judgement.verdict for judgement in decisions.judgements] == ["a", "tie", "b", "tie", "tie", "tie", "tie"]
    assert (decisions.asked, decisions.contradictions, decisions.unparsable) == (14, 2, 1)
    assert decisions.first_preferred == pytest.approx(5 / 11)


def test_a_judge_that_prefers_length_is_seen_in_the_correlation() -> None:
    source = random.Random("length")
    a, b = (["a" * source.randint(1, 50) for _ in range(200)] for _ in range(2))
    asked = prompts("x" * 200)
    biased = compare(asked, a, b, by_length())["length_correlation"]
    assert biased["score"] == pytest.approx(1.0) and biased["verdict"] > 0.7
    by_chance = ScoreJudge(lambda conversations, texts: [random.Random(n).random() for n in range(len(texts))])
    assert abs(compare(asked, a, b, by_chance)["length_correlation"]["verdict"]) < 0.2
    all_ties = compare(asked, a, a, by_length())
    assert all_ties["length_correlation"] == {"verdict": None, "score": None} and all_ties["win_minus_loss_interval"] == [0, 0]


def test_answers_that_were_cut_off_are_counted() -> None:
    result = compare(prompts("xy"), ["a", "b"], ["c", "d"], by_length(), ended_a=[True, False])
    assert (result["ended_a"], result["ended_b"], result["by_category"]["y"]["ended_a"]) == (0.5, 1.0, 0.0)


def test_lists_that_do_not_fit_together_are_a_fault() -> None:
    with pytest.raises(ValueError, match="0 prompts"):
        compare([], [], [], by_length())
    with pytest.raises(ValueError):
        compare(prompts("xy"), ["a", "b"], ["a"], by_length())
    with pytest.raises(ValueError, match="1 judgements"):
        summarise(prompts("xy"), [Reply("")] * 2, [Reply("")] * 2, Decisions([Judgement("a")], 1), "j")

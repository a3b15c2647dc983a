import pytest

from kwen.errors import UserError
from kwen.evals.judges import OracleJudge, Reply, ScoreJudge
from kwen.evals.side_by_side import Conversation
from kwen.evals.win_rate import compare
from kwen.nanoworld.prompts import prompts
from kwen.sandbox import describe

COUNT = 66  # two prompts a topic and difficulty


@pytest.fixture(scope="module")
def asked() -> list:
    try:
        describe()
    except UserError as error:
        pytest.skip(str(error))
    return prompts(0, COUNT, "held_out")


def test_the_oracle_prefers_the_ideal_answer_to_what_says_nothing(asked: list) -> None:
    result = compare(asked, [prompt.answer for prompt in asked], ["Blue lamps sing."] * COUNT, OracleJudge())
    assert result["losses"] == 0 and result["win"] > 0.9 and result["verdicts"]["asked"] == COUNT
    assert len(result["by_category"]) == len({prompt.topic for prompt in asked}) > 5
    assert set(result["by_language"]) == {"en", "zh"} and result["score_a"] > result["score_b"] + 0.3


def test_the_oracle_sees_no_difference_between_equal_answers(asked: list) -> None:
    ideal = [prompt.answer for prompt in asked]
    result = compare(asked, ideal, ideal, OracleJudge())
    assert (result["ties"], result["win_minus_loss_interval"]) == (COUNT, [0.0, 0.0])


def test_the_oracle_takes_an_answer_that_ended_over_one_that_was_cut_off(asked: list) -> None:
    ideal = [prompt.answer for prompt in asked]
    result = compare(asked, ideal, ideal, OracleJudge(), ended_b=[False] * COUNT)
    assert result["losses"] == 0 and result["score_a"] > result["score_b"]


def test_the_oracle_refuses_what_it_does_not_know() -> None:
    own = [Conversation("1", [{"role": "user", "content": "Hello"}], "talk")]
    with pytest.raises(UserError, match="nanoworld's prompts only"):
        OracleJudge().judge(own, [Reply("a")], [Reply("b")])


OWN = [Conversation(str(n), [{"role": "user", "content": "Hello"}], "talk") for n in range(3)]
REPLIES = [Reply("1"), Reply("2"), Reply("3")]


def test_a_score_judge_reads_each_conversation_with_its_reply() -> None:
    seen: list[tuple[str, str]] = []

    def score(conversations: list, texts: list[str]) -> list[float]:
        seen.extend((messages[-1]["content"], text) for messages, text in zip(conversations, texts, strict=True))
        return [float(text) for text in texts]

    judgements = ScoreJudge(score).judge(OWN, REPLIES, [Reply("2"), Reply("2"), Reply("2.5")])
    assert [judgement.verdict for judgement in judgements] == ["b", "tie", "a"]
    assert [(judgement.score_a, judgement.score_b) for judgement in judgements] == [(1, 2), (2, 2), (3, 2.5)]
    assert seen == [("Hello", text) for text in ("1", "2", "3", "2", "2", "2.5")]
    within = ScoreJudge(score, margin=0.5).judge(OWN, REPLIES, [Reply("2"), Reply("2"), Reply("2.5")])
    assert [judgement.verdict for judgement in within] == ["b", "tie", "tie"]


def test_scores_that_are_no_numbers_stop_the_judging() -> None:
    with pytest.raises(UserError, match="reward: 2 of 6 scores are not finite"):
        ScoreJudge(lambda conversations, texts: [0, float("nan"), 1, 2, float("inf"), 3]).judge(OWN, REPLIES, REPLIES)
    with pytest.raises(ValueError, match="gave 1 scores for 6 replies"):
        ScoreJudge(lambda conversations, texts: [0.0]).judge(OWN, REPLIES, REPLIES)

"""GRPO and its kin on a tiny chat model: what must hold exactly, and a problem whose best answer is known."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_chat import equal, largest_difference, make_chat, sums, weights, write_rows

from kwen.align.group_policy import Variant
from kwen.align.grpo import GRPO, GRPOConfig, Scores, train_grpo
from kwen.align.rollouts import Rollout
from kwen.errors import UserError
from kwen.model.formats.load import load_checkpoint
from kwen.progress import Progress, silent
from kwen.text.tokenizer import Tokenizer
from kwen.train.parallel import Group, Ranks

WANTED = 65
SMALL: dict[str, Any] = {
    "steps": 4, "queries": 4, "samples": 4, "sequence_length": 96, "max_new_tokens": 8, "rows_at_once": 2, "precision": "float32",
    "policy": {"lr": 1e-3},
}  # fmt: skip


def even_share(rollouts: Sequence[Rollout]) -> list[float]:
    """A score that differs between random answers: how many of the eight tokens have an even id, as a share."""
    return [sum(token % 2 == 0 for token in rollout.token_ids[-rollout.length :]) / 8 for rollout in rollouts]


def share_wanted(rollouts: Sequence[Rollout]) -> list[float]:
    """How many of the four tokens are the one wanted, as a share."""
    return [sum(token == WANTED for token in rollout.token_ids[-rollout.length :]) / 4 for rollout in rollouts]


@pytest.fixture(scope="module")
def chat(chat_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("grpo") / "chat", chat_tokenizer)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("questions") / "sums.jsonl", sums(6))


def config_of(questions: Path, **changes: Any) -> GRPOConfig:
    return GRPOConfig.model_validate({**SMALL, "data": [{"kind": "numbers", "path": str(questions)}], **changes})


def run_of(chat: Path, questions: Path, work: Path, scores: Scores | None = even_share, **changes: Any) -> GRPO:
    return GRPO(config_of(questions, **changes), seed=0, policy=chat, work=work, group=Group(), scores=scores)


@pytest.mark.parametrize("variant", ["grpo", "gspo", "dapo", "cispo"])
def test_the_first_update_has_ratio_one_and_kl_zero(chat: Path, questions: Path, tmp_path: Path, variant: Variant) -> None:
    run = run_of(chat, questions, tmp_path, variant=variant, kl_coefficient=0.1)
    facts = run.step(0)
    assert facts["ratio"] == pytest.approx(1.0, abs=1e-12) and facts["clipped"] == 0.0
    assert facts["kl"] == 0.0 and facts["groups_left_out"] == 0.0
    assert run.step(1)["kl"] != 0.0
    assert equal(weights(run.reference), weights(run_of(chat, questions, tmp_path).policy))  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["grpo", "gspo", "dapo", "cispo"])
def test_micro_batches_change_nothing(chat: Path, questions: Path, tmp_path: Path, variant: Variant) -> None:
    found = []
    for rows in (1, 8):
        run = run_of(chat, questions, tmp_path, variant=variant, rows_at_once=rows, kl_coefficient=0.1, epochs=2)
        run.step(0)
        found.append([p.flatten().tolist() for p in run.policy.parameters()])
    assert (
        largest_difference(*found) < 5e-5
    )  # AdamW's steps are 1e-3; where a gradient is all rounding, its sign may flip a little


def test_dapo_leaves_out_groups_with_nothing_to_prefer(chat: Path, questions: Path, tmp_path: Path) -> None:
    def first_group_equal(rollouts: Sequence[Rollout]) -> list[float]:
        return [1.0] * 4 + even_share(rollouts)[4:]

    run = run_of(chat, questions, tmp_path, first_group_equal, variant="dapo")
    seen: list[int] = []
    backward = run._backward
    run._backward = lambda pack, *rest: (seen.extend(pack.rollouts), backward(pack, *rest))[1]  # type: ignore[method-assign]
    facts = run.step(0)
    assert facts["groups_left_out"] == facts["equal_groups"] == 1 and sorted(seen) == list(range(4, 16))
    plain = run_of(chat, questions, tmp_path, first_group_equal, variant="grpo").step(0)
    assert plain["groups_left_out"] == 0 and plain["equal_groups"] == 1


def test_a_step_in_which_all_groups_are_left_out_changes_nothing(chat: Path, questions: Path, tmp_path: Path) -> None:
    run = run_of(chat, questions, tmp_path, lambda rollouts: [1.0] * len(rollouts), variant="dapo", patience=2)
    before = weights(run.policy)
    assert run.step(0)["groups_left_out"] == 4 and equal(weights(run.policy), before)
    with pytest.raises(UserError, match="for 2 steps all answers to each query got one score"):
        run.step(1)


def test_a_score_that_is_no_number_ends_the_run(chat: Path, questions: Path, tmp_path: Path) -> None:
    run = run_of(chat, questions, tmp_path, lambda rollouts: [float("nan")] * len(rollouts))
    with pytest.raises(UserError, match="step 1: 16 answers got a score that is no number"):
        run.step(0)


def test_a_kl_that_bursts_ends_the_run_and_one_that_grows_stops_it(chat: Path, questions: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the KL of an answer burst"):
        run_of(chat, questions, tmp_path, kl_stop=1e-9, policy={"lr": 0.1}).train(silent)
    _, metrics, _ = run_of(chat, questions, tmp_path, kl_stop=1e-3, policy={"lr": 1e-5}, steps=50).train(silent)
    assert 0 < metrics["stopped_by_kl"] < 50


@pytest.mark.parametrize("variant", ["grpo", *(pytest.param(v, marks=pytest.mark.slow) for v in ("gspo", "dapo", "cispo"))])
def test_a_problem_with_a_known_optimum_is_solved(chat: Path, questions: Path, tmp_path: Path, variant: Variant) -> None:
    """The score is the share of one token: the policy learns to write it all the time."""
    run = run_of(
        chat, questions, tmp_path, share_wanted, variant=variant, queries=2, samples=16, max_new_tokens=4, epochs=2,
        steps=80, patience=80, policy={"lr": 1e-2, "weight_decay": 0.0},
    )  # fmt: skip
    scores = [run.step(0)["score"]]
    while scores[-1] < 0.97 and len(scores) < 80:
        scores.append(run.step(len(scores))["score"])
    assert scores[0] < 0.1 and scores[-1] >= 0.97


def trained(
    group: Group, *, chat: str, questions: str, work: str, changes: dict[str, Any], progress: Progress = silent
) -> list[list[float]]:
    """The trained policy's weights as lists; importable, so that ranks can run it."""
    config = config_of(Path(questions), **changes)
    run = GRPO(config, seed=0, policy=Path(chat), work=Path(work), group=group, scores=even_share)
    return [p.flatten().tolist() for p in run.train(progress)[0].parameters()]


def test_two_ranks_equal_one(chat: Path, questions: Path, tmp_path: Path) -> None:
    found = []
    changes = {"variant": "dapo", "minibatches": 2, "kl_coefficient": 0.1, "policy": {"lr": 1e-4}}
    for world in (1, 2):
        places = {"chat": str(chat), "questions": str(questions), "work": str(tmp_path / str(world))}
        with Ranks(world) as ranks:
            found.append(ranks.run(trained, {**places, "changes": changes}))
    assert largest_difference(*found) < 1e-5


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(chat: Path, questions: Path, tmp_path: Path) -> None:
    def stop(done: float, total: float, **facts: float | str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    changes = {"checkpoint_every": 2, "minibatches": 2, "epochs": 2, "kl_coefficient": 0.1, "variant": "dapo"}
    places = {"chat": str(chat), "questions": str(questions), "changes": changes}
    whole = trained(Group(), work=str(tmp_path / "whole"), **places)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        trained(Group(), work=str(tmp_path / "cut"), **places, progress=stop)  # type: ignore[arg-type]
    assert trained(Group(), work=str(tmp_path / "cut"), **places) == whole  # type: ignore[arg-type]
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_the_chat_model_is_written_with_its_samples_and_curve(chat: Path, questions: Path, tmp_path: Path) -> None:
    with Ranks(1) as ranks:
        metrics = train_grpo(config_of(questions), seed=0, policy=chat, out=tmp_path / "out", work=tmp_path / "work", ranks=ranks)
    assert load_checkpoint(tmp_path / "out").config == load_checkpoint(chat).config
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and metrics["queries"] == 6
    assert {"score", "length", "ended", "entropy", "score_length_correlation", "equal_groups"} <= rows[-1].keys()
    samples = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert len(samples) == 6 and samples[0].keys() == {"query", "before", "after", "score_before", "score_after"}


def test_bad_settings_end_with_one_line(chat: Path, questions: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exceeds the context of .*: lower it"):
        run_of(chat, questions, tmp_path, sequence_length=512)
    stretched = tmp_path / "stretched"
    shutil.copytree(chat, stretched)
    facts = json.loads((chat / "config.json").read_text()) | {"use_dynamic_ntk": True, "seq_length": 64}
    (stretched / "config.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="exceeds what .* was trained at, 64; beyond it dynamic NTK"):
        run_of(stretched, questions, tmp_path)
    run_of(stretched, questions, tmp_path, sequence_length=64)
    with pytest.raises(UserError, match="leaves no room for a query"):
        run_of(chat, questions, tmp_path, max_new_tokens=96)
    with pytest.raises(UserError, match="no task of at most 2 tokens"):
        run_of(chat, questions, tmp_path, max_new_tokens=94)
    with Ranks(3) as ranks, pytest.raises(UserError, match="queries 4 do not divide among 3 ranks"):
        train_grpo(config_of(questions), seed=0, policy=chat, out=tmp_path, work=tmp_path, ranks=ranks)

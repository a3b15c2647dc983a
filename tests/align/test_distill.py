"""On-policy distillation: the exact reverse KL, and that a student becomes its teacher."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_chat import equal, largest_difference, make_chat, sums, weights, write_rows

from kwen.align.distill import Distillation, DistillConfig, distill
from kwen.align.reverse_kl import linear_reverse_kl
from kwen.errors import UserError
from kwen.model.formats.load import load_checkpoint
from kwen.nanoworld.documents import documents
from kwen.progress import Progress, silent
from kwen.text.control import DEFAULT_SYSTEM
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train
from kwen.train.parallel import Group, Ranks

SMALL: dict[str, Any] = {
    "steps": 4, "queries": 8, "sequence_length": 96, "max_new_tokens": 8, "rows_at_once": 2, "precision": "float32",
    "policy": {"lr": 1e-3, "weight_decay": 0.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def student(chat_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("distill") / "student", chat_tokenizer)


@pytest.fixture(scope="module")
def teacher(chat_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("distill") / "teacher", chat_tokenizer, seed=1, hidden=64, layers=3, scale=0.2)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("questions") / "sums.jsonl", sums(12))


def config_of(questions: Path, **changes: Any) -> DistillConfig:
    return DistillConfig.model_validate({**SMALL, "data": [{"kind": "messages", "path": str(questions)}], **changes})


def run_of(student: Path, teacher: Path, questions: Path, work: Path, **changes: Any) -> Distillation:
    config = config_of(questions, **changes)
    return Distillation(config, seed=0, policy=student, teacher=teacher, work=work, group=Group())


def test_chunked_divergence_and_gradients_equal_the_plain_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight, teacher_hidden, teacher_weight = (
        torch.randn(*shape, generator=generator) for shape in ((700, 24), (50, 24), (700, 40), (50, 40))
    )
    hidden.requires_grad_()
    weight.requires_grad_()
    loss, each = linear_reverse_kl(hidden, weight, teacher_hidden, teacher_weight, scale=1 / 700, temperature=0.8)
    student = (hidden @ weight.T / 0.8).log_softmax(-1)
    teacher = (teacher_hidden @ teacher_weight.T / 0.8).log_softmax(-1)
    plain = F.kl_div(teacher, student, log_target=True, reduction="none").sum(-1)  # sum of student * (log student - log teacher)
    assert torch.allclose(each, plain.detach(), atol=1e-4, rtol=1e-5) and (each > 0).all()
    assert float(loss.detach()) == pytest.approx(float(plain.mean().detach()), rel=1e-5)
    for a, b in zip(
        torch.autograd.grad(3 * loss, (hidden, weight)), torch.autograd.grad(3 * plain.mean(), (hidden, weight)), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_model_has_nothing_to_learn_from_itself(student: Path, questions: Path, tmp_path: Path) -> None:
    run = run_of(student, student, questions, tmp_path)
    facts = run.step(0)
    assert facts["loss"] == 0.0 and facts["grad_norm"] < 1e-6


def test_the_student_becomes_the_teacher(student: Path, teacher: Path, questions: Path, tmp_path: Path) -> None:
    run = run_of(student, teacher, questions, tmp_path, steps=40, queries=12, policy={"lr": 5e-3, "weight_decay": 0.0})
    losses = [run.step(step)["loss"] for step in range(40)]
    assert sum(losses[-5:]) / 5 < 0.4 * losses[0]


def trained(
    group: Group, *, student: str, teacher: str, questions: str, work: str, changes: dict, progress: Progress = silent
) -> list[list[float]]:
    """The trained student's weights as lists; importable, so that ranks can run it."""
    config = config_of(Path(questions), **changes)
    run = Distillation(config, seed=0, policy=Path(student), teacher=Path(teacher), work=Path(work), group=group)
    return [p.flatten().tolist() for p in run.train(progress)[0].parameters()]


def test_two_ranks_and_micro_batches_equal_one(student: Path, teacher: Path, questions: Path, tmp_path: Path) -> None:
    places = {"student": str(student), "teacher": str(teacher), "questions": str(questions)}
    # A large eps keeps an update in proportion to its gradient: AdamW would make a rounding error of a tiny one a whole step.
    changes = {"policy": {"lr": 1e-3, "eps": 1e-2}, "minibatches": 2}
    one = trained(Group(), work=str(tmp_path / "one"), changes=changes | {"rows_at_once": 1}, **places)
    with Ranks(2) as ranks:
        two = ranks.run(trained, {**places, "work": str(tmp_path / "two"), "changes": changes})
    assert largest_difference(one, two) < 1e-5


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(
    student: Path, teacher: Path, questions: Path, tmp_path: Path
) -> None:
    def stop(done: float, total: float, **facts: float | str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole = weights(run_of(student, teacher, questions, tmp_path / "whole", checkpoint_every=2).train(silent)[0])
    with pytest.raises(KeyboardInterrupt):
        run_of(student, teacher, questions, tmp_path / "cut", checkpoint_every=2).train(stop)
    again = run_of(student, teacher, questions, tmp_path / "cut", checkpoint_every=2).train(silent)[0]
    assert equal(weights(again), whole)


def test_the_student_is_written_as_a_chat_model(student: Path, teacher: Path, questions: Path, tmp_path: Path) -> None:
    with Ranks(1) as ranks:
        places = {"policy": student, "teacher": teacher, "out": tmp_path / "out", "work": tmp_path / "work"}
        metrics = distill(config_of(questions), seed=0, ranks=ranks, **places)
    assert load_checkpoint(tmp_path / "out").config == load_checkpoint(student).config and metrics["queries"] == 12
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 4 and {"loss", "length", "ended", "grad_norm"} <= rows[-1].keys()


def test_a_teacher_of_another_vocabulary_is_refused(student: Path, questions: Path, tmp_path: Path) -> None:
    texts = (document.text for document in documents(1, "train", 60))
    train(texts, TokenizerConfig(vocab_size=700, whole_words=12), tmp_path)
    other = make_chat(tmp_path / "other", Tokenizer.load(tmp_path).for_chat(DEFAULT_SYSTEM))
    with Ranks(1) as ranks, pytest.raises(UserError, match="its tokenizer is not that of"):
        distill(config_of(questions), seed=0, policy=student, teacher=other, out=tmp_path, work=tmp_path / "work", ranks=ranks)

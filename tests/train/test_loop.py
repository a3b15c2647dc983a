"""Training gives the same weights whatever the micro-batch, the ranks, or an interruption."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.initialize import initialize
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.train.batches import Batches, Documents
from kwen.train.loop import NormWatch, TrainingConfig, train
from kwen.train.loss import linear_cross_entropy
from kwen.train.optimizer import OptimizerConfig, ScheduleConfig, learning_rate_scale
from kwen.train.parallel import Group, Ranks

TINY = ModelConfig(64, 32, 48, 2, 2, 2, 16)


def tiny_training(
    group: Group, *, work: str, settings: dict, stop_after: int | None = None, progress: Progress = silent
) -> dict[str, list[float]]:
    """Train a tiny model and give its weights as lists; importable, so that ranks can run it."""
    model = Transformer(TINY)
    initialize(model, "scaled", 0)
    generator = np.random.Generator(np.random.PCG64(0))
    lengths = generator.integers(5, 40, 200)
    documents = Documents(generator.integers(0, 64, lengths.sum()), np.concatenate(([0], np.cumsum(lengths))))
    config = TrainingConfig(**({"steps": 12, "batch_tokens": 128, "sequence_length": 16, "precision": "float32"} | settings))
    batches = Batches(documents, row_length=16, rows=8, seed=0)

    def stop(done: float, total: float, **facts: float | str) -> None:
        progress(done, total, **facts)
        if done == stop_after:
            raise KeyboardInterrupt

    train(model, batches, config, group=group, work=Path(work), run={"seed": 0}, progress=stop)
    return {name: value.flatten().tolist() for name, value in model.state_dict().items()}


def _largest_difference(a: dict[str, list[float]], b: dict[str, list[float]]) -> float:
    return max(float(np.abs(np.array(a[name]) - np.array(b[name])).max()) for name in a)


def test_chunked_loss_and_gradients_equal_plain_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(700, 24, requires_grad=True), torch.randn(50, 24, requires_grad=True)
    targets, weights = torch.randint(0, 50, (700,)), (torch.rand(700) < 0.6).float() / 400
    loss = linear_cross_entropy(hidden, weight, targets, weights)
    plain = (F.cross_entropy(hidden @ weight.T, targets, reduction="none") * weights).sum()
    for got, expected in zip(
        torch.autograd.grad(loss, (hidden, weight)), torch.autograd.grad(plain, (hidden, weight)), strict=True
    ):
        assert torch.allclose(got, expected, atol=1e-6)
    assert torch.allclose(loss, plain)


@pytest.mark.parametrize(("optimizer", "tolerance"), [("adamw", 1e-5), ("muon", 1e-3)])  # Muon orthogonalises in bf16
def test_accumulation_changes_nothing_but_memory(tmp_path: Path, optimizer: str, tolerance: float) -> None:
    settings = {"optimizer": {"kind": optimizer}, "steps": 6}
    whole = tiny_training(Group(), work=str(tmp_path / "a"), settings=settings)
    parts = tiny_training(Group(), work=str(tmp_path / "b"), settings=settings | {"micro_batch_tokens": 32})
    assert _largest_difference(whole, parts) < tolerance


def test_two_ranks_equal_one_and_go_on_from_each_others_checkpoints(tmp_path: Path) -> None:
    one = tiny_training(Group(), work=str(tmp_path / "one"), settings={})
    muon = {"optimizer": {"kind": "muon"}, "checkpoint_every": 5}
    one_muon = tiny_training(Group(), work=str(tmp_path / "one-muon"), settings=muon)
    with pytest.raises(KeyboardInterrupt):
        tiny_training(Group(), work=str(tmp_path / "passed-on"), settings=muon, stop_after=10)
    with Ranks(2) as ranks:
        two = ranks.run(tiny_training, {"work": str(tmp_path / "two"), "settings": {}})
        two_muon = ranks.run(tiny_training, {"work": str(tmp_path / "two-muon"), "settings": muon})
        passed_on = ranks.run(tiny_training, {"work": str(tmp_path / "passed-on"), "settings": muon})
    assert _largest_difference(one, two) < 1e-5
    assert _largest_difference(one_muon, two_muon) < 1e-3  # Muon orthogonalises in bf16
    assert _largest_difference(one_muon, passed_on) < 1e-3


def fails_on_rank_one(group: Group, *, progress: Progress) -> None:
    """Rank 1 raises; rank 0 waits for it in a collective."""
    if group.rank == 1:
        raise ZeroDivisionError("of rank one")
    group.barrier()


def test_a_failure_of_another_rank_is_told_and_hangs_nobody() -> None:
    with Ranks(2) as ranks, pytest.raises(RuntimeError, match="ZeroDivisionError: of rank one"):
        ranks.run(fails_on_rank_one, {})


def mistaken_on_rank_one(group: Group, *, progress: Progress) -> None:
    """Rank 1 meets a user's mistake; rank 0 waits for it in a collective."""
    if group.rank == 1:
        raise UserError("row 7: too long")
    group.gather([])


def test_a_users_mistake_that_another_rank_met_is_told_as_one() -> None:
    with Ranks(2) as ranks, pytest.raises(UserError, match=r"^row 7: too long$"):
        ranks.run(mistaken_on_rank_one, {})


def locks_a_file(group: Group, *, path: str, progress: Progress) -> None:
    """Rank 1 locks the file, and then both are busy without a word to each other."""
    if group.rank == 1:
        file = open(path, "w")  # noqa: SIM115 (closed with the process)
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("locked")
        file.flush()
    time.sleep(600)


def test_other_ranks_end_with_a_killed_rank_zero_and_let_go_of_their_files(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_loop import locks_a_file; from kwen.train.parallel import Ranks\n"
        "if __name__ == '__main__': Ranks(2).run(locks_a_file, {'path': sys.argv[2]})"
    )
    (tmp_path / "script.py").write_text(script)
    held = tmp_path / "held"
    process = subprocess.Popen([sys.executable, tmp_path / "script.py", str(Path(__file__).parent), str(held)])
    while not held.exists() or not held.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open(held) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # pytest would wait here for ten minutes


def squares(group: Group, *, count: int, progress: Progress) -> list:
    """The squares of 0 to count - 1 with their names, each made by the rank that it was dealt to."""
    return group.gather([(f"{number}²", number**2 / 3, group.rank) for number in group.deal(range(count))])


def test_what_ranks_gather_stands_in_the_order_of_what_was_dealt() -> None:
    with Ranks(2) as ranks:
        for count in (0, 1, 7):
            one, two = squares(Group(), count=count, progress=silent), ranks.run(squares, {"count": count})
            assert one == [[f"{number}²", number**2 / 3, 0] for number in range(count)]
            assert two == [[f"{number}²", number**2 / 3, number % 2] for number in range(count)]


def takes(group: Group, *, count: int, folder: str, progress: Progress) -> list:
    """Which rank took each number; rank 0 is slow from its first on."""
    taken = []
    for number in group.hand_out(range(count), Path(folder)):
        taken.append(number)
        if group.rank == 0:
            time.sleep(0.5)
    return [sorted(group.gather([group.rank, *taken])), group.gather([len(taken)])]


def test_work_is_handed_out_once_and_to_the_rank_that_is_free(tmp_path: Path) -> None:
    assert takes(Group(), count=5, folder=str(tmp_path), progress=silent) == [[0, 0, 1, 2, 3, 4], [5]]
    with Ranks(2) as ranks:
        for _ in range(2):
            taken, counts = ranks.run(takes, {"count": 12, "folder": str(tmp_path)})
            assert taken == sorted([0, 1, *range(12)]) and sum(counts) == 12 and counts[0] < counts[1]


def test_an_interrupted_run_continues_to_identical_weights_and_metrics(tmp_path: Path) -> None:
    settings = {"checkpoint_every": 5, "log_every": 2, "optimizer": {"kind": "muon"}}
    whole = tiny_training(Group(), work=str(tmp_path / "whole"), settings=settings)
    with pytest.raises(KeyboardInterrupt):
        tiny_training(Group(), work=str(tmp_path / "cut"), settings=settings, stop_after=8)
    assert tiny_training(Group(), work=str(tmp_path / "cut"), settings=settings) == whole
    rows = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()] for run in ("whole", "cut")
    ]
    timed = ("tokens_per_s", "mfu")
    assert [[{k: v for k, v in row.items() if k not in timed} for row in run] for run in rows][0] == [
        {k: v for k, v in row.items() if k not in timed} for row in rows[1]
    ]


def test_killed_and_run_again_gives_identical_weights(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch; torch.set_num_threads(1)\n"
        "from test_loop import tiny_training; from kwen.train.parallel import Group\n"
        "tiny_training(Group(), work=sys.argv[2], settings={'steps': 4000, 'checkpoint_every': 2})"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path / "cut")])
    state = tmp_path / "cut" / "checkpoint" / "state.json"
    while not state.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = json.loads(state.read_text())["step"]
    # The killed run was longer: only a run of the same configuration may continue its checkpoint.
    assert tiny_training(Group(), work=str(tmp_path / "cut"), settings={}) == tiny_training(
        Group(), work=str(tmp_path / "new"), settings={}
    )
    assert step >= 2


def test_a_checkpoint_of_another_configuration_is_not_continued(tmp_path: Path) -> None:
    tiny_training(Group(), work=str(tmp_path), settings={"checkpoint_every": 4})
    fresh = tiny_training(Group(), work=str(tmp_path / "fresh"), settings={"checkpoint_every": 4, "optimizer": {"lr": 1e-2}})
    assert tiny_training(Group(), work=str(tmp_path), settings={"checkpoint_every": 4, "optimizer": {"lr": 1e-2}}) == fresh


def test_insane_gradient_norms_are_skipped_and_counted() -> None:
    watch = NormWatch(6.0)
    assert all(watch.accepts(1.0 + 0.05 * (i % 5)) for i in range(60))
    assert not watch.accepts(float("nan")) and not watch.accepts(float("inf")) and not watch.accepts(50.0)
    assert watch.accepts(1.1) and watch.skipped == 3
    again = NormWatch(6.0)
    again.load(json.loads(json.dumps(watch.state())))
    assert again.state() == watch.state()


def test_norms_that_rise_for_good_are_taken_again() -> None:
    watch = NormWatch(6.0)
    assert all(watch.accepts(1.0 + 0.05 * (i % 5)) for i in range(60))
    taken = [watch.accepts(8.0) for _ in range(40)]
    assert not taken[0] and all(taken[-20:])


def test_schedule_warms_up_and_ends_at_its_final_share() -> None:
    config = ScheduleConfig(kind="cosine", warmup_steps=10, final=0.1)
    scales = [learning_rate_scale(config, step, 100) for step in range(100)]
    assert scales[0] == pytest.approx(0.1) and max(scales) == pytest.approx(1.0) and scales[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(scales[10:], scales[11:], strict=False))


def test_the_default_optimizer_is_the_reports() -> None:
    config = OptimizerConfig()
    assert (config.kind, config.beta1, config.beta2, config.eps, config.weight_decay, config.clip) == (
        "adamw",
        0.9,
        0.95,
        1e-8,
        0.1,
        1.0,
    )


def test_rows_that_ranks_cannot_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ranks cannot share"):
        tiny_training(Group(0, 3), work=str(tmp_path), settings={})

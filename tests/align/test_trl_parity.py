"""DPO's and GRPO's losses and gradients equal TRL's on the same batch. TRL runs in an environment of its own."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_chat import make_chat

from kwen.align.advantages import kl_estimate
from kwen.align.dpo import DirectPreference, DPOConfig
from kwen.align.group_policy import CLIPS, Variant, group_policy_loss
from kwen.align.preferences import Pair, tokenize_pairs
from kwen.align.rollouts import Rollout, pack_rollouts, rollout_logprobs
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batches

pytestmark = pytest.mark.slow

TRL = "trl==1.16.0"
PAIRS = [
    Pair([{"role": "user", "content": f"Name {n}."}], f"It is number {n}.", f"I say {n + 3} " * (n % 3 + 1), "t", f"pair {n}")
    for n in range(6)
]
# Ours, and TRL's name for the same. TRL 1.16 smooths labels only in `aot`, which for a batch of one pair is the smoothed
# sigmoid loss, as sorting one number changes nothing; its ipo and sigmoid_norm are length-normalised.
DPO: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"loss": "sigmoid", "beta": 0.1}, {"loss_type": ["sigmoid"], "beta": 0.1, "at_once": 6}),
    ({"loss": "sigmoid", "beta": 0.3, "label_smoothing": 0.2},
     {"loss_type": ["aot"], "beta": 0.3, "label_smoothing": 0.2, "at_once": 1}),
    ({"loss": "sigmoid", "beta": 2.0, "length_normalized": True}, {"loss_type": ["sigmoid_norm"], "beta": 2.0, "at_once": 6}),
    ({"loss": "ipo", "beta": 0.4, "length_normalized": True}, {"loss_type": ["ipo"], "beta": 0.4, "at_once": 6}),
]  # fmt: skip
COMPLETIONS = [5, 1, 9, 3]  # lengths
GRPO: list[tuple[Variant, float, float, dict[str, Any]]] = [
    ("grpo", 0.05, 1.0, {"loss_type": "grpo"}),
    ("grpo", 0.0, 0.7, {"loss_type": "grpo"}),
    ("gspo", 0.0, 1.0, {"loss_type": "grpo", "importance_sampling_level": "sequence"}),
    ("dapo", 0.0, 1.0, {"loss_type": "dapo"}),
    ("dapo", 0.05, 1.0, {"loss_type": "dapo"}),
    ("cispo", 0.0, 1.0, {"loss_type": "cispo"}),
]  # variant, KL coefficient, temperature, TRL's settings; the KL is the paper's, without the ratio that TRL multiplies it by


@pytest.fixture(scope="session")
def trl_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment that has TRL and sees this one's packages; made once, under pytest's cache folder."""
    folder = request.config.cache.mkdir(f"peer-{TRL}".replace("==", "-"))  # type: ignore[union-attr]
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        [site] = folder.glob("lib/python*/site-packages")
        (site / "kwen-tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        made = subprocess.run([str(python), "-m", "pip", "install", "-q", TRL], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"pip cannot bring {TRL}: {made.stderr.strip().splitlines()[-1:]}")
        done.touch()
    return python


def result(model: Transformer, loss: torch.Tensor) -> dict[str, Any]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    return {"loss": float(loss.detach()), "gradients": {n: float(g.norm()) for n, g in zip(names, gradients, strict=True)}}


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5, rel=1e-5)
    assert ours["gradients"] == pytest.approx(theirs["gradients"], abs=1e-5, rel=1e-4)


def test_dpo_and_grpo_equal_trl(trl_python: Path, chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    reference_folder = make_chat(tmp_path / "reference", chat_tokenizer)
    policy_folder = make_chat(tmp_path / "policy", chat_tokenizer, seed=7)
    policy, reference = (build_model(load_checkpoint(f), torch.float32).train() for f in (policy_folder, reference_folder))

    # The pairs as ids.
    documents, _, _ = tokenize_pairs(PAIRS, chat_tokenizer, longest=256)
    assert documents.splits is not None and documents.trained is not None
    pairs = []
    for number, split in enumerate(documents.splits):
        whole = documents.tokens[documents.offsets[number] : documents.offsets[number + 1]]
        trained = documents.trained[documents.offsets[number] : documents.offsets[number + 1]]
        prompt = int(trained[:split].argmax())
        sides = (whole[:split], whole[split:-1])
        assert (sides[0][:prompt] == sides[1][:prompt]).all()
        pairs.append({"prompt_ids": sides[0][:prompt].tolist(), "chosen_ids": sides[0][prompt:].tolist(),
                      "rejected_ids": sides[1][prompt:].tolist()})  # fmt: skip

    # Answers with old logprobs some way off, so that clips bind.
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(20, 600, (6,), generator=generator).tolist() for _ in COMPLETIONS]
    completions = [torch.randint(20, 600, (length,), generator=generator).tolist() for length in COMPLETIONS]
    rollouts = [
        Rollout(0, prompt + completion, [False] * len(prompt) + [True] * len(completion), True, "")
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    [pack] = pack_rollouts(rollouts, range(len(rollouts)), 64, 8)
    with torch.no_grad():
        at_one = rollout_logprobs(policy, pack, 1.0, torch.float32)[0]
        old = torch.where(pack.mask, at_one + 0.4 * torch.randn(at_one.shape, generator=generator), 0.0)
        reference_logprobs = rollout_logprobs(reference, pack, 1.0, torch.float32)[0]
    advantages = torch.tensor([1.2, -0.7, 0.4, -0.9])

    def by_answer(padded: torch.Tensor) -> list[list[float]]:
        rows = {number: padded[row, : COMPLETIONS[number]].tolist() for row, number in enumerate(pack.rollouts)}
        return [rows[number] for number in range(len(rollouts))]

    clips = [CLIPS[variant] for variant, *_ in GRPO]
    given = {
        "policy": str(policy_folder), "reference": str(reference_folder), "pairs": pairs, "dpo": [theirs for _, theirs in DPO],
        "prompts": prompts, "completions": completions, "old": by_answer(old), "advantages": advantages.tolist(),
        "reference_logprobs": by_answer(reference_logprobs),
        "grpo": [
            {**theirs, "beta": kl, "temperature": temperature, "epsilon": low,
             "epsilon_high": 1 + high if variant == "cispo" else high, "use_bias_correction_kl": False}
            for (variant, kl, temperature, theirs), (low, high) in zip(GRPO, clips, strict=True)
        ],
    }  # fmt: skip
    (tmp_path / "batches.json").write_text(json.dumps(given))
    program = [str(trl_python), str(Path(__file__).with_name("trl_losses.py")), "batches.json", "losses.json"]
    ran = subprocess.run(program, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    theirs = json.loads((tmp_path / "losses.json").read_text())

    rows = Batches(documents, row_length=256, rows=1, seed=0).rows_per_epoch
    batch = Batches(documents, row_length=256, rows=rows, seed=0)(0)
    training = {"steps": 1, "batch_tokens": 256, "sequence_length": 256}
    for (settings, _), found in zip(DPO, theirs["dpo"], strict=True):
        config = DPOConfig.model_validate({"data": [{"kind": "nanoworld", "count": 1}], "training": training, **settings})
        model = build_model(load_checkpoint(reference_folder), torch.float32).train()
        objective = DirectPreference(config, model, torch.float32, False)
        model.load_state_dict(policy.state_dict())
        assert_equal(result(model, objective.loss(batch, len(PAIRS))[0]), found)

    for (variant, kl, temperature, _), (low, high), found in zip(GRPO, clips, theirs["grpo"], strict=True):
        new, _ = rollout_logprobs(policy, pack, temperature, torch.float32)
        penalty = kl * kl_estimate(new, reference_logprobs, "k3")
        loss, clipped = group_policy_loss(
            variant, new, old, advantages[pack.rollouts], pack.mask,
            low=low, high=high, answers=len(rollouts), tokens=pack.actions, penalty=penalty,
        )  # fmt: skip
        assert clipped.any() or variant == "cispo"
        assert_equal(result(policy, loss), found)

"""Self-instruct: rounds, what is kept of them, and that a killed run goes on. What a model learns from it: docs/log.md."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_family import Family

from kwen.align import self_instruct as module
from kwen.align.datasets import ChatFile, conversations
from kwen.align.self_instruct import CONVERSATIONS, ROUNDS, SelfInstructConfig, self_instruct
from kwen.align.trajectory_checks import CHECKS
from kwen.engine.acting import Acted
from kwen.errors import UserError
from kwen.files import file_hash
from kwen.train.parallel import Ranks

TRAINING = {"steps": 2, "batch_tokens": 1024, "sequence_length": 1024, "precision": "float32", "optimizer": {"lr": 1e-3}}


def config(**changes: Any) -> SelfInstructConfig:
    small = {"candidates": 12, "seeds": 6, "max_new_tokens": 16, "turns": 2, "training": TRAINING}
    return SelfInstructConfig.model_validate({**small, **changes})


def run(chat: Path, folder: Path, settings: SelfInstructConfig, ranks: int = 1) -> dict[str, Any]:
    (folder / "out").mkdir(parents=True, exist_ok=True)
    with Ranks(ranks) as started:
        return self_instruct(settings, seed=0, base=chat, chat=chat, out=folder / "out", work=folder / "work", ranks=started)


@pytest.fixture(scope="module")
def chat(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny family's chat model, of a context that tools fit into."""
    folder = tmp_path_factory.mktemp("self_instruct") / "chat"
    shutil.copytree(family.chat, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return folder


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models write no requests and call nothing: take all that they say for good."""
    monkeypatch.setattr(module, "check_request", lambda request, seen: None if request else "no_request")
    monkeypatch.setattr(module, "check_trajectory", lambda request, said, *rest: "kept" if len(request) % 3 else "no_answer")
    write, hold = module.written_requests, module.act

    def written(*given: Any) -> list[str]:
        return [f"request {place} {text}" for place, text in enumerate(write(*given))]

    def held(*given: Any, **settings: Any) -> list[Acted]:
        said = hold(*given, **settings)
        return [Acted([{"role": "assistant", "content": f"answer {place}"}], one[1], "stop") for place, one in enumerate(said)]

    monkeypatch.setattr(module, "written_requests", written)
    monkeypatch.setattr(module, "act", held)


def test_each_round_keeps_what_stood_the_checks_and_counts_the_rest(chat: Path, tmp_path: Path, lenient: None) -> None:
    metrics = run(chat, tmp_path, config())
    rounds = json.loads((tmp_path / "out" / ROUNDS).read_text())
    assert metrics["rounds"] == rounds and len(rounds) == 2
    assert all(sum(one[name] for name in CHECKS) == 12 for one in rounds)
    rows = [json.loads(line) for line in (tmp_path / "out" / CONVERSATIONS).read_text().splitlines()]
    kept = [sum(row["round"] == number for row in rows) for number in (1, 2)]
    assert kept == [one["kept"] for one in rounds] and min(kept) > 0
    assert rounds[0]["own_share"] == kept[0] / (kept[0] + 6) < rounds[1]["own_share"] == sum(kept) / (sum(kept) + 6)
    read = list(conversations(ChatFile(kind="messages", path=tmp_path / "out" / CONVERSATIONS), 0))
    assert len(read) == len(rows) and all(one.tools and one.messages[0]["role"] == "user" for one in read)


def test_a_killed_run_goes_on_and_ends_the_same(
    chat: Path, tmp_path: Path, lenient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(chat, tmp_path / "whole", config())
    finetune, trained = module.finetune, list[str]()

    def dies(*args: Any, **places: Any) -> Any:
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(str(places["out"]))
        return finetune(*args, **places)

    monkeypatch.setattr(module, "finetune", dies)
    with pytest.raises(KeyboardInterrupt):
        run(chat, tmp_path / "cut", config())
    monkeypatch.setattr(module, "finetune", finetune)
    monkeypatch.setattr(module, "candidates", None)  # both rounds' conversations are kept: nobody holds them again
    run(chat, tmp_path / "cut", config())
    for name in ("model.safetensors", CONVERSATIONS, ROUNDS):
        assert file_hash(tmp_path / "whole" / "out" / name) == file_hash(tmp_path / "cut" / "out" / name)


def test_a_model_that_calls_nothing_is_told_of_and_seeds_alone_may_go_on(chat: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"round 1: too few conversations stood the checks \(\d+ no_request"):
        run(chat, tmp_path / "none", config())
    metrics = run(chat, tmp_path / "seeds", config(rounds=1, least_kept=0))
    assert metrics["rounds"][0]["own_share"] == 0.0 and metrics["conversations"] == 6
    two = run(chat, tmp_path / "two", config(rounds=1, least_kept=0, training={**TRAINING, "batch_tokens": 2048}), ranks=2)
    assert two["rounds"] == metrics["rounds"]

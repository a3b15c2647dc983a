"""Families that start from a released checkpoint: what they are made of, what they refuse, and a whole one of each kind."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.text import Text
from tiny_chat import make_chat, write_rows

from kwen.errors import UserError
from kwen.family.artifact import Manifest, read_manifest
from kwen.family.build import build, hash_cache
from kwen.family.graph import plan
from kwen.family.nodes import family_nodes
from kwen.family.recipe import Recipe, load_recipe
from kwen.family.watch import PlainLines
from kwen.model.formats import load_checkpoint
from kwen.nanoworld.documents import documents
from kwen.text.control import DEFAULT_SYSTEM
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

TRAINING = "{steps: 2, batch_tokens: 256, sequence_length: 128}"
SFT = f"chat-sft: {{data: [{{kind: file, path: talk.jsonl}}], lora: {{r: 2}}, training: {TRAINING}}}"
REWARD = f"reward: {{data: [{{kind: pairs, path: pairs.jsonl}}], held_out: 0.5, training: {TRAINING}}}"
SAMPLING = "steps: 1, queries: 2, sequence_length: 128, max_new_tokens: 4"
PPO = f"chat: {{data: [{{kind: file, path: talk.jsonl}}], warmup_steps: 1, {SAMPLING}}}"
DPO = f"chat: {{kind: dpo, data: [{{kind: pairs, path: pairs.jsonl}}], training: {TRAINING}}}"
GRPO = f"chat: {{kind: grpo, data: [{{kind: nanoworld, count: 40}}], samples: 4, {SAMPLING}}}"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder as a publisher would leave it: with a chat template of its own."""
    tokenizer = tmp_path_factory.mktemp("tokenizer")
    train((document.text for document in documents(0, "train", 150)), TokenizerConfig(vocab_size=700, whole_words=12), tokenizer)
    folder = tmp_path_factory.mktemp("released") / "model"
    return make_chat(folder, Tokenizer.load(tokenizer).for_chat(DEFAULT_SYSTEM), context=640)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data of the user's own, where the recipe is looked for too."""
    talk = [{"instruction": f"Say {word}.", "output": f"{word}!"} for word in ("one", "two", "three", "four", "five")]
    write_rows(tmp_path / "talk.jsonl", talk)
    pairs = [{"prompt": f"Say {n}.", "chosen": f"{n}!", "rejected": f"No, not {n}."} for n in range(20)]
    write_rows(tmp_path / "pairs.jsonl", pairs)
    (tmp_path / "gsm8k").mkdir()
    problems = [{"question": "What is 1 and 1?", "answer": "1+1=<<1+1=2>>2\n#### 2"}] * 2
    write_rows(tmp_path / "gsm8k" / "test.jsonl", problems)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_of(released: Path, *sections: str) -> Recipe:
    """The recipe of these sections, from `released`."""
    Path("mine.yaml").write_text("\n".join(["name: mine", f"init_from: {released}", *sections]) + "\n")
    return load_recipe("mine.yaml")


def made(recipe: Recipe, watchers: Sequence[PlainLines] = ()) -> dict[str, Manifest]:
    """Its artifacts, built in the folder `run`."""
    manifests = build(family_nodes(recipe), Path("run"), recipe.seed, watchers)
    return {manifest.name: manifest for manifest in manifests}


def test_from_released_through_sft_reward_and_ppo_to_evals_and_report(released: Path, place: Path) -> None:
    recipe = recipe_of(released, SFT, REWARD, PPO, "evals: {tasks: [gsm8k], data: .}")
    lines: list[str] = []
    manifests = made(recipe, [PlainLines(lines.append)])
    assert list(manifests) == ["released", "chat-sft", "reward", "chat", "evals", "report"]
    assert {name: list(manifest.inputs) for name, manifest in manifests.items() if name != "report"} == {
        "released": ["init_from"], "chat-sft": ["released", "chat-sft.data.0"], "reward": ["released", "reward.data.0"],
        "chat": ["chat-sft", "reward", "chat.data.0"], "evals": ["released", "chat-sft", "chat", "items of gsm8k"],
    }  # fmt: skip
    # The released files are linked and not copied, and load from there.
    assert (place / "run/released/model.safetensors").is_symlink()
    assert load_checkpoint(place / "run/released").config == load_checkpoint(released).config
    # What the user's own data looks like to the model is shown before training, and so is the plan.
    shown = "\n".join(lines)
    assert 'talk.jsonl: {"instruction", "input", "output"}' in shown and "plan  " in shown and "Say one." in shown
    held_out = manifests["reward"].metrics["held_out"]["1-pairs"]
    count = len((place / "run/reward/held_out/1-pairs.jsonl").read_text().splitlines())
    assert 0 <= held_out <= 1 and 0 < count < 20 and manifests["reward"].metrics["pairs"] == 20 - count
    scores = json.loads((place / "run/evals/scores.json").read_text())
    assert {name: score["gsm8k"]["n"] for name, score in scores.items()} == {"released": 2, "chat-sft": 2, "chat": 2}
    page = (place / "run/report/index.html").read_text()
    assert "released" in page and "1-pairs" in page and "The alignment tax" in page
    assert {step.state for step in plan(family_nodes(recipe), Path("run"), 0, hash_cache(Path("run")))} == {"done"}


def test_dpo_and_grpo_start_from_a_released_chat_model_as_it_is(released: Path, place: Path) -> None:
    manifests = made(recipe_of(released, DPO))
    assert list(manifests) == ["released", "chat", "report"] and list(manifests["chat"].inputs)[0] == "released"
    assert 0 <= manifests["chat"].metrics["accuracy"] <= 1
    manifests = made(recipe_of(released, GRPO))
    assert manifests["chat"].stage == "chat" and "nanoworld's version" in manifests["chat"].inputs
    assert 0 <= manifests["chat"].metrics["score"] <= 1


def test_a_text_of_ones_own_gives_the_pretraining_gradient_and_bits_a_byte(released: Path, place: Path) -> None:
    (place / "text.txt").write_text("A lamp costs seventeen coins. " * 200)
    (place / "held.txt").write_text("A chair costs seven coins. " * 20)
    corpus = "corpus: {sources: [{kind: folder, path: ., include: ['*.txt'], held_out: {files: [held.txt]}}]}"
    ppo = PPO.replace("warmup_steps: 1", "warmup_steps: 1, pretrain_coefficient: 0.1, pretrain_batch_tokens: 128")
    manifests = made(recipe_of(released, corpus, SFT, REWARD, ppo, "evals: {}"))
    assert list(manifests["shards"].inputs) == ["corpus", "released"] and "shards" in manifests["chat"].inputs
    scores = json.loads((place / "run/evals/scores.json").read_text())
    assert list(scores) == ["released", "chat-sft", "chat"] and all(list(score) == ["perplexity"] for score in scores.values())


def test_another_checkpoint_makes_everything_stale_and_the_same_elsewhere_nothing(released: Path, place: Path) -> None:
    recipe = recipe_of(released, SFT)
    made(recipe)
    elsewhere = place / "elsewhere"
    elsewhere.symlink_to(released)
    moved = recipe_of(elsewhere, SFT)
    assert [step.state for step in plan(family_nodes(moved), Path("run"), 0, hash_cache(Path("run")))][:2] == ["done", "done"]
    tokenizer = Tokenizer.load(released)
    other = recipe_of(make_chat(place / "other", tokenizer, seed=1, context=640), SFT)
    states = {step.node.name: step.state for step in plan(family_nodes(other), Path("run"), 0, hash_cache(Path("run")))}
    assert states["released"] == "build" and states["chat-sft"] == "maybe"


def test_an_adapter_is_a_checkpoint_too(released: Path, place: Path) -> None:
    made(recipe_of(released, SFT))
    manifests = made(recipe_of(place / "run/chat-sft/adapter", SFT).model_copy(update={"name": "mine"}))
    assert manifests["released"].metrics["parameters"] == load_checkpoint(released).config.num_parameters
    again = read_manifest(place / "run/released")
    assert again is not None and "model.safetensors" in again.files


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (["tokenizer: {vocab_size: 500}", SFT], "init_from and tokenizer: a family starts from a released checkpoint or"),
        ([PPO], "chat is made from reward, which the recipe does not name; add the section reward"),
        ([PPO.replace("warmup_steps: 1", "pretrain_coefficient: 0.1"), REWARD], "chat is made from corpus"),
        ([f"chat: {{kind: dpo, training: {TRAINING}}}"], "chat.data names no pairs"),
        ([PPO.replace("data:", "kind: rlhf, data:")], "chat"),
        (["chat-sft-s" + SFT.removeprefix("chat-sft")], "chat-sft-s is made from base-s"),
    ],
)
def test_what_does_not_fit_together_is_one_line(released: Path, place: Path, sections: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe_of(released, *sections)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_the_shipped_recipe_says_what_it_needs(place: Path, released: Path) -> None:
    with pytest.raises(UserError, match="init_from: model does not exist; name a model's folder or a GGUF file"):
        family_nodes(load_recipe("finetune"))
    recipe = load_recipe("finetune", [f"init_from={released}", "reward=null", "chat=null"])
    assert [node.name for node in family_nodes(recipe)] == ["released", "chat-sft", "evals", "report"]


def test_a_shown_text_stands_in_the_log_as_it_is() -> None:
    lines: list[str] = []
    PlainLines(lines.append).shown("chat-sft", [Text("plan"), Text("one\ntwo", style="bold")])
    assert lines == ["plan", "one\ntwo"]

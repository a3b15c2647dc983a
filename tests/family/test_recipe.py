"""Recipes: those that ship, what they resolve to, and what a user reads when one is wrong."""

from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.family.nodes import family_nodes
from kwen.family.recipe import load_recipe, shipped

SMALL = """
name: small
corpus: {sources: [{kind: nanoworld, count: 20}]}
tokenizer: {vocab_size: 512}
model: {num_hidden_layers: 2, num_attention_heads: 2}
training: {batch_tokens: 256, sequence_length: 64, optimizer: {kind: muon, lr: 1e-2}}
base-s: {hidden_size: 16, training: {steps: 3}}
base: {hidden_size: 32, num_hidden_layers: 3, training: {steps: 5, optimizer: {lr: 0.5}}}
"""


def small(tmp_path: Path, *overrides: str, text: str = SMALL) -> str:
    """The line that a wrong recipe gives."""
    path = tmp_path / "small.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(str(path), overrides)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["micro", "nano", "books"])
def test_recipes_that_ship_are_valid(name: str) -> None:
    assert name in shipped()
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.about


def test_micro_and_nano_have_the_whole_family_and_micro_never_compiles() -> None:
    whole = ["corpus", "tokenizer", "shards", "base-s", "base-m", "base", "chat-sft", "comparisons", "pmp", "reward", "chat"]
    for name in ("micro", "nano"):
        made = [node.name for node in family_nodes(load_recipe(name))]
        assert [artifact for artifact in made if artifact in whole] == whole and made[-5:] == [
            "code", "code-chat", "math-chat", "evals", "report",
        ]  # fmt: skip
    assert "compile: true" not in load_recipe("micro").to_yaml()


def test_shared_sections_fill_in_what_a_base_model_leaves_open(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    bases = load_recipe(str(path)).bases()
    assert list(bases) == ["base-s", "base"]
    assert bases["base-s"].model.num_hidden_layers == 2 and bases["base"].model.num_hidden_layers == 3
    optimizer = bases["base"].training.optimizer
    assert (optimizer.kind, optimizer.lr) == ("muon", 0.5) and bases["base-s"].training.optimizer.lr == 1e-2


def test_a_resolved_recipe_is_a_recipe_and_resolves_to_itself(tmp_path: Path) -> None:
    for name in shipped():
        recipe = load_recipe(name)
        kept = tmp_path / f"{name}.yaml"
        kept.write_text(recipe.to_yaml())
        assert load_recipe(str(kept)) == recipe


def test_set_changes_one_key_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    recipe = load_recipe(str(path), ["base.hidden_size=64", "base-s.training.steps=7", "seed=5"])
    assert recipe.base is not None and recipe.base_s is not None
    assert (recipe.base.model.hidden_size, recipe.base_s.training.steps, recipe.seed) == (64, 7, 5)


def test_unknown_keys_name_the_path_that_was_written(tmp_path: Path) -> None:
    assert small(tmp_path, "base.hiden_size=3") == "base.hiden_size is not a key; did you mean base.hidden_size?"
    assert small(tmp_path, "model.num_layers=3") == "model.num_layers is not a key; did you mean model.num_hidden_layers?"
    assert small(tmp_path, "training.step=3") == "training.step is not a key; did you mean training.steps?"
    assert small(tmp_path, "base.steps=3") == "base.steps is not a key; did you mean base.training.steps?"
    told = small(tmp_path, "corpus.sources.0.counts=3")
    assert told == "corpus.sources.0.counts is not a key; did you mean corpus.sources.0.count?"


def test_shipped_recipes_go_by_their_short_name_in_errors() -> None:
    with pytest.raises(UserError, match="^recipes/nano.yaml: base.hiden_size is not a key; did you mean base.hidden_size.$"):
        load_recipe("nano", ["base.hiden_size=256"])


def test_wrong_values_name_the_path_that_was_written(tmp_path: Path) -> None:
    assert small(tmp_path, "base.hidden_size=wide") == 'base.hidden_size is "wide"; expected a whole number'
    assert small(tmp_path, "training.optimizer.kind=sgd") == "training.optimizer.kind is \"sgd\"; expected 'adamw' or 'muon'"
    assert small(tmp_path, "model=3") == "model is 3; expected a section with keys of its own"
    assert small(tmp_path, "launcher.kind=slurm").startswith('launcher.kind is "slurm"; expected')


def test_a_chat_model_needs_its_base(tmp_path: Path) -> None:
    chat = "chat-sft-m: {data: [{kind: nanoworld, count: 5}], training: {steps: 1, batch_tokens: 64, sequence_length: 64}}\n"
    told = small(tmp_path, text=SMALL + chat)
    assert told == "chat-sft-m is made from base-m, which the recipe does not name; add the section base-m"


def test_unknown_tasks_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    assert "'nanoworld-fact' is not a task" in small(tmp_path, "evals.tasks=[nanoworld-fact]")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nani", "no recipe 'nani': the recipes that ship are books, finetune, micro, nano; else name a YAML file"),
        ("missing.yaml", "missing.yaml: cannot be read (No such file or directory)"),
    ],
)
def test_missing_recipes(name: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(name)
    assert expected in str(caught.value)


def test_a_recipe_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8 text"):
        load_recipe(str(path))

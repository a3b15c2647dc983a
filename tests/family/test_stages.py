"""The family's own stages: real text to shards in a second, and what a change of the recipe or of a source does to them."""

from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.family.build import build, hash_cache
from kwen.family.graph import plan
from kwen.family.nodes import family_nodes
from kwen.family.recipe import Recipe, load_recipe

RECIPE = """
name: text
corpus:
  sources:
    - {kind: folder, path: FOLDER, held_out: {files: [b.txt]}}
    - {kind: nanoworld, count: 40, held_out_count: 4}
tokenizer: {vocab_size: 400, extra_tokens: 5}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe of corpus, tokenizer, shards and report over a folder with two texts."""
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("A lamp costs seventeen coins. " * 20)
    (texts / "b.txt").write_text("The lamp stood in the window. " * 20)
    path = tmp_path / "text.yaml"
    path.write_text(RECIPE.replace("FOLDER", str(texts)))
    return path


def states(recipe: Recipe, run: Path) -> dict[str, str]:
    nodes = family_nodes(recipe)
    return {step.node.name: step.state for step in plan(nodes, run, recipe.seed, hash_cache(run))}


def test_real_text_becomes_shards_and_a_report(recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = load_recipe(str(recipe_file))
    corpus, tokenizer, shards, report = build(family_nodes(recipe), run, recipe.seed)
    assert corpus.metrics["held_out"]["documents"] == 5 and corpus.record["sources"]["corpus.sources.0"]
    assert tokenizer.metrics["vocab_size"] <= 400
    assert shards.metrics["train"]["tokens"] > 100
    assert shards.inputs == {"corpus": corpus.content, "tokenizer": tokenizer.content}
    page = (run / "report" / "index.html").read_text()
    assert "The text family" in page and report.metrics == {"artifacts": 3}


def test_what_a_change_of_recipe_or_source_makes_stale(recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = load_recipe(str(recipe_file))
    build(family_nodes(recipe), run, recipe.seed)
    assert set(states(recipe, run).values()) == {"done"}
    changed = load_recipe(str(recipe_file), ["tokenizer.vocab_size=420"])
    assert states(changed, run) == {"corpus": "done", "tokenizer": "build", "shards": "maybe", "report": "build"}
    (tmp_path / "texts").rename(tmp_path / "texts-elsewhere")
    moved = load_recipe(str(recipe_file), [f"corpus.sources.0.path={tmp_path / 'texts-elsewhere'}"])
    assert states(moved, run)["corpus"] == "build"  # the folder's name is the source's label, and stands in the ids
    label = "corpus.sources.0.name=texts"
    named = load_recipe(str(recipe_file), [f"corpus.sources.0.path={tmp_path / 'texts-elsewhere'}", label])
    build(family_nodes(named), run, named.seed)
    (tmp_path / "texts-elsewhere").rename(tmp_path / "third")
    third = load_recipe(str(recipe_file), [f"corpus.sources.0.path={tmp_path / 'third'}", label])
    assert states(third, run)["corpus"] == "done"
    (tmp_path / "third" / "a.txt").write_text("Other words. " * 40)
    (step, *_) = plan(family_nodes(third), run, third.seed, hash_cache(run))
    assert step.reasons == ("corpus.sources.0 changed",)


def test_an_empty_corpus_is_one_line_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    path = tmp_path / "text.yaml"
    path.write_text(f"name: none\ncorpus: {{sources: [{{kind: folder, path: {tmp_path / 'texts'}}}]}}\ntokenizer: {{}}\n")
    recipe = load_recipe(str(path))
    with pytest.raises(UserError, match="no training document"):
        build(family_nodes(recipe), tmp_path / "run", 0)
    assert not (tmp_path / "run" / "corpus").exists()


def test_the_number_of_ranks_is_part_of_the_key_of_what_ranks_make() -> None:
    one, two = (
        {node.name: node.config for node in family_nodes(load_recipe("micro", [f"launcher.ranks={ranks}"]))}
        for ranks in (1, 2)
    )
    alone = {"corpus", "tokenizer", "shards", "code-corpus", "code-shards"}
    assert {name for name in one if one[name] == two[name]} == alone and {"base", "chat", "judging", "evals"} < set(one) - alone


def test_expected_seconds_and_paths_are_never_hashed() -> None:
    books = {node.name: node.config for node in family_nodes(load_recipe("books", ["expected_seconds.base=7"]))}
    again = {node.name: node.config for node in family_nodes(load_recipe("books"))}
    assert books == again
    assert "path" not in books["corpus"]["corpus"]["sources"][0]
